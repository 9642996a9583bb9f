"""The wrapped unit between masters and memories of cocotbext-axi: what its benches share.

    AxiMaster (devices) --- s_dma --- unit --- m_dma ----+
    AxiLiteMaster (host) -- s_reg --- unit --- m_table --+-- one memory
"""
import logging
import random

import cocotb
from cocotb.triggers import RisingEdge
from cocotbext.axi import AxiBus, AxiLiteBus, AxiLiteMaster, AxiMaster, AxiRam
from cocotbext.axi.axi_channels import (
    AxiARMonitor,
    AxiARSource,
    AxiAWMonitor,
    AxiAWSource,
    AxiBSink,
    AxiRSink,
    AxiWSource,
)

from hw.spec.axi import DmaUser
from hw.spec.capabilities import STRAPS_DEFAULT, describe_straps
from hw.spec.codec import encode
from hw.spec.registers import REGISTERS, register_offset
from hw.spec.tables import ContextEntry, RootEntry, SecondStageEntry, table_index
from sim.axi import AXI_CLOCK, AXI_RESET, python_prefix

__all__ = ["PAGE", "Machine", "Tables"]

PAGE = 4096
_ADDRESS_WIDTH, _TOP_LEVEL = 1, 3       # 39 bits
_ROOT_PAGE, _FIRST_TABLE_PAGE = 0x100, 0x101
_RESET_CYCLES = 4


class Tables:
    """Root, context and second-stage tables in the memory, and what they say.

    Members
    -------
    pages
        By domain and IOVA page: (HPA page, readable, writable).
    """

    def __init__(self, memory):
        self.pages = {}
        self._memory = memory
        self._next = _FIRST_TABLE_PAGE
        self._contexts = {}
        self._tables = {}      # by domain, level and IOVA prefix
        self._memory.write(_ROOT_PAGE * PAGE, bytes(PAGE))

    def _new_page(self):
        page, self._next = self._next, self._next + 1
        self._memory.write(page * PAGE, bytes(PAGE))
        return page

    def attach(self, source_id, domain):
        """The device is in this domain from now on; one store of 16 bytes."""
        bus, function = source_id >> 8, source_id & 0xFF
        if bus not in self._contexts:
            self._contexts[bus] = self._new_page()
            entry = encode(RootEntry, present=1, context_table_pointer=self._contexts[bus])
            self._memory.write(_ROOT_PAGE * PAGE + 16 * bus, entry.to_bytes(16, "little"))
        entry = encode(ContextEntry, present=1, second_stage_pointer=self._table(domain, _TOP_LEVEL, 0),
                       address_width=_ADDRESS_WIDTH, domain_id=domain)
        self._memory.write(self._contexts[bus] * PAGE + 16 * function, entry.to_bytes(16, "little"))

    def map(self, domain, page, hpa_page, *, readable=1, writable=1):
        """One 4 KiB page."""
        iova = page * PAGE
        for level in range(_TOP_LEVEL, 1, -1):
            table = self._table(domain, level, iova >> (12 + 9 * level))
            below = self._table(domain, level - 1, iova >> (12 + 9 * (level - 1)))
            self._store(table, table_index(iova, level), readable=1, writable=1, address=below)
        self._store(self._table(domain, 1, iova >> 21), table_index(iova, 1), readable=readable, writable=writable,
                    address=hpa_page)
        self.pages[domain, page] = (hpa_page, readable, writable)

    def _table(self, domain, level, prefix):
        if (domain, level, prefix) not in self._tables:
            self._tables[domain, level, prefix] = self._new_page()
        return self._tables[domain, level, prefix]

    def _store(self, table, index, **fields):
        self._memory.write(table * PAGE + 8 * index, encode(SecondStageEntry, **fields).to_bytes(8, "little"))


class Machine:
    """One of them in a test; made by `start`.

    Members
    -------
    dma, memory, tables
        The devices' master, all memory, its tables.
    channels
        Without `devices`, the other ends of s_dma by themselves: AW, W, B, AR, R.
    bursts_out, writes_out
        What has gone to memory by AR and AW of the DMA port.
    """

    def __init__(self, dut, *, devices=True):
        logging.getLogger("cocotb.sim_top").setLevel(logging.ERROR)
        clock, reset = (getattr(dut, name) for name in (AXI_CLOCK, AXI_RESET))
        self._dut, self._clock = dut, clock
        s_dma, m_dma, m_table = (AxiBus.from_prefix(dut, python_prefix(name)) for name in ("s_dma", "m_dma", "m_table"))
        self.dma = AxiMaster(s_dma, clock, reset) if devices else None
        self.channels = None if devices else (
            AxiAWSource(s_dma.write.aw, clock, reset), AxiWSource(s_dma.write.w, clock, reset),
            AxiBSink(s_dma.write.b, clock, reset), AxiARSource(s_dma.read.ar, clock, reset), AxiRSink(s_dma.read.r, clock, reset))
        self.memory = AxiRam(m_dma, clock, reset, size=2**52)
        self.table_memory = AxiRam(m_table, clock, reset, size=2**52, mem=self.memory.mem)
        self.host = AxiLiteMaster(AxiLiteBus.from_prefix(dut, python_prefix("s_reg")), clock, reset)
        self._reads = AxiARMonitor(m_dma.read.ar, clock, reset)
        self._writes = AxiAWMonitor(m_dma.write.aw, clock, reset)
        self.bursts_out, self.writes_out = [], []
        self.tables = Tables(self.memory)

    @classmethod
    async def start(cls, dut, **options):
        """After a reset."""
        machine = cls(dut, **options)
        await machine.reset()
        cocotb.start_soon(machine._record(machine._reads, machine.bursts_out))
        cocotb.start_soon(machine._record(machine._writes, machine.writes_out))
        return machine

    async def reset(self):
        """Unit, masters and memories; memory keeps its contents."""
        self._dut.straps.value = STRAPS_DEFAULT
        self._dut.rst.value = 1
        await self.cycles(_RESET_CYCLES)
        self._dut.rst.value = 0
        await self.cycles(_RESET_CYCLES)

    async def cycles(self, count):
        """Let them pass."""
        for _ in range(count):
            await RisingEdge(self._clock)

    @property
    def cycle(self):
        """Since the reset."""
        return int(self._dut.cycle.value)

    @staticmethod
    async def _record(monitor, log):
        while True:
            log.append(await monitor.recv())

    def pause_everything(self, percent, seed):
        """From now on every channel at the other end pauses now and then; 0: never."""
        generator = random.Random(seed)

        def pauses():
            while True:
                yield generator.randrange(100) < percent
        ends = [end for side in (self.dma, self.memory, self.table_memory, self.host)
                for end in (side.write_if.aw_channel, side.write_if.w_channel, side.write_if.b_channel,
                            side.read_if.ar_channel, side.read_if.r_channel)]
        for end in ends:
            if percent:
                end.set_pause_generator(pauses())
            else:
                end.clear_pause_generator()
                end.pause = False

    # --- registers ---

    async def read_register(self, name, index=0):
        """A register of the unit."""
        row, straps = REGISTERS[name], describe_straps(STRAPS_DEFAULT)
        address = register_offset(name, fro=straps["fault_record_offset"], iro=straps["invalidation_offset"], index=index)
        reply = await self.host.read(address, row.width // 8)
        assert reply.resp == 0
        return int.from_bytes(reply.data, "little")

    async def write_register(self, name, **fields):
        """All fields of a register of the unit; those not named are zero."""
        row, straps = REGISTERS[name], describe_straps(STRAPS_DEFAULT)
        address = register_offset(name, fro=straps["fault_record_offset"], iro=straps["invalidation_offset"])
        value = sum(value << row.field(field).low for field, value in fields.items())
        reply = await self.host.write(address, value.to_bytes(row.width // 8, "little"))
        assert reply.resp == 0

    async def enable(self, *, queue_page=None):
        """Latch the root table, switch translation on; the invalidation queue too, if there is a page for it."""
        await self.write_register("RTADDR", RTA=_ROOT_PAGE)
        await self._command(("RTPS", 30), SRTP=1)
        if queue_page is not None:
            await self.write_register("IQA", IQA=queue_page)
            await self._command(("QIES", 26), QIE=1)
        await self._command(("TES", 31), QIE=int(queue_page is not None), TE=1)

    async def _command(self, status, **fields):
        await self.write_register("GCMD", **fields)
        while not await self.read_register("GSTS") >> status[1] & 1:
            pass

    @staticmethod
    def user(source_id, pasid=None):
        """AxUSER of a device's burst."""
        return encode(DmaUser, source_id=source_id, pasid_present=pasid is not None, pasid=pasid or 0)
