"""What the tests of two peers do to a unit, done to this one, in one simulator; test_peers.py says what must be found.

The peers are kvm-unit-tests (x86/intel-iommu) and QEMU's qtests (iommu-intel-test, intel-iommu-test). Tables, descriptors
and the order of the registers are by hand, as theirs are; no driver has a say in them. Each ends with a DMA to a page that
is not mapped, so that a unit that translates nothing is told from one that is not on.
"""
import cocotb

from hw.spec.bench import MONITOR_BASE
from hw.spec.capabilities import STRAPS_DEFAULT
from hw.spec.codec import encode
from hw.spec.dma import Access, Status
from hw.spec.invalidation import DescriptorType, Granularity, IotlbDescriptor, WaitDescriptor
from hw.spec.monitor import MonitorRegister, QueueKnobs
from hw.spec.registers import GCMD_ONE_SHOT_MASK, REGISTERS
from hw.spec.tables import ContextEntry, RootEntry, SecondStageEntry, TranslationType, table_index
from sim.bench import Bench, give_result
from sim.player import DmaPlayer, PlayedRequest
from sim.transport import CosimTransport
from sw.faults import FaultLog
from sw.registers import RegisterFile, compose

ROOT, CONTEXT, QUEUE, STATUS, FAULT_MESSAGE = 0x10_0000, 0x10_1000, 0x10_2000, 0x10_3000, 0x10_4000
TABLES = 0x11_0000                                  # of domain n at TABLES + n * 0x1_0000, a page for each level
PAGE_A, PAGE_B, OTHER_A, OTHER_B = 0x40_0000, 0x41_0000, 0x42_0000, 0x43_0000
DEVICE, NEIGHBOUR = 0x0020, 0x0028
IOVA, OTHER_IOVA, UNMAPPED = 0x1056_7000, 0x1056_8000, 0x1056_9000
PATTERN = 0x1234_5678
ONE_BY_ONE = ("QIE", "QIES"), ("SRTP", "RTPS"), ("TE", "TES")

_QUEUE_BYTES = 4096
_LONGEST_WAIT = 5000
_LAZY = encode(QueueKnobs, fetch_delay=3, execute_delay=60)   # fetched is not done


class Machine:
    """The unit from reset, its registers, its queue by hand, and devices that move four bytes. Made by `start`."""

    def __init__(self, bench, registers, transport):
        self._bench = bench
        self._player = DmaPlayer(bench)
        self._faults = FaultLog(transport, registers)
        self._tail = self._waits = 0
        self.registers = registers
        self.memory = bench.memory
        self.transport = transport

    @classmethod
    async def start(cls, bench):
        """Reset the unit; memory is empty."""
        bench.memory.reset()
        bench.memory.set_timing(latency=5)
        await bench.reset(straps=STRAPS_DEFAULT, chunk_delay=0, caches_off=0, queue_knobs=_LAZY)
        transport = CosimTransport(bench)
        return cls(bench, await RegisterFile.open(transport), transport)

    # --- tables ---

    def put_context(self, source_id, domain_id, *, levels=4, translation_type=TranslationType.MULTI_LEVEL):
        """Root and context entry of a device of bus 0."""
        self._put(ROOT, encode(RootEntry, present=1, context_table_pointer=CONTEXT >> 12), 16)
        pointer = table_page(domain_id, levels) >> 12 if translation_type is TranslationType.MULTI_LEVEL else 0
        self._put(CONTEXT + 16 * source_id, encode(
            ContextEntry, present=1, translation_type=translation_type, second_stage_pointer=pointer,
            address_width=levels - 2, domain_id=domain_id), 16)

    def map(self, domain_id, iova, hpa, *, levels=4):
        """One page of a domain, and the tables down to it. Nothing is invalidated."""
        for level in range(levels, 0, -1):
            page = table_page(domain_id, level - 1) if level > 1 else hpa
            self._put(table_page(domain_id, level) + 8 * table_index(iova, level),
                      encode(SecondStageEntry, readable=1, writable=1, address=page >> 12), 8)

    def _put(self, hpa, value, size):
        self.memory.write(hpa, value.to_bytes(size, "little"))

    # --- registers and queue ---

    async def latch_root(self):
        """RTADDR, then SRTP."""
        await self.registers.write("RTADDR", RTA=ROOT >> 12)
        await self.registers.command(command="SRTP", status="RTPS")

    async def queue_on(self):
        """IQA, IQT, then QIE."""
        await self.registers.write("IQA", IQA=QUEUE >> 12)
        await self.registers.write("IQT")
        await self.registers.command(command="QIE", status="QIES")

    async def as_qtest(self):
        """Everything on, in the order of the qtests; a fault is told by a message in memory."""
        await self.latch_root()
        await self.queue_on()
        await self.registers.write("FEDATA", IMD=PATTERN)
        await self.registers.write("FEADDR", MA=FAULT_MESSAGE >> 2)
        await self.registers.write("FECTL", IM=0)
        await self.registers.command(command="TE", status="TES")

    async def invalidate(self, *descriptors):
        """Queue them and a wait, and look at the status word until it is there."""
        self._waits += 1
        wait = encode(WaitDescriptor, type=DescriptorType.WAIT, status_write=1, status_data=self._waits,
                      status_address=STATUS >> 2)
        for descriptor in (*descriptors, wait):
            self._put(QUEUE + self._tail, descriptor, 16)
            self._tail = (self._tail + 16) % _QUEUE_BYTES
        await self.registers.write("IQT", QT=self._tail // 16)
        for _ in range(_LONGEST_WAIT // 20):
            if self.memory.read(STATUS, 4) == self._waits.to_bytes(4, "little"):
                return
            await self._bench.pause(20)
        raise AssertionError(f"wait {self._waits} has no status after {_LONGEST_WAIT} cycles")

    # --- devices ---

    async def dma_write(self, iova, data=PATTERN, *, source_id=DEVICE):
        """Four bytes from a device to memory. Returns what the unit said."""
        reply = await self._ask(source_id, iova, Access.WRITE)
        if reply.status is Status.OK:
            self._put(reply.hpa, data, 4)
        return seen(reply)

    async def dma_read(self, iova, *, source_id=DEVICE):
        """Four bytes from memory to a device. Returns what the unit said, and the bytes."""
        reply = await self._ask(source_id, iova, Access.READ)
        return seen(reply), self.word(reply.hpa) if reply.status is Status.OK else None

    async def _ask(self, source_id, iova, access):
        reply, = await self._player.play([PlayedRequest(source_id, iova, access)], poll_cycles=10)
        return reply

    def word(self, hpa):
        """Four bytes of memory."""
        return int.from_bytes(self.memory.read(hpa, 4), "little")

    async def protocol_errors(self):
        """How often a rule of the programming interface was broken."""
        return await self.transport.read_register(MONITOR_BASE + MonitorRegister.PROTOCOL_ERRORS, 8)

    async def not_mapped(self, iova=UNMAPPED, *, source_id=DEVICE):
        """The negative control: a write and a read of a page that is not mapped, and the records that they leave."""
        before, _ = await self._faults.take()
        write = await self.dma_write(iova, source_id=source_id)
        read, _ = await self.dma_read(iova, source_id=source_id)
        faults, overflowed = await self._faults.take()
        return {"protocol_errors": await self.protocol_errors(), "before": len(before),
                "write": write, "read": read, "overflowed": overflowed,
                "records": [[fault.source_id, fault.iova, fault.reason.value, fault.kind.name] for fault in faults]}


def table_page(domain_id, level):
    """Where a domain's table of a level stands."""
    return TABLES + domain_id * 0x1_0000 + level * 0x1000


def seen(reply):
    """What counts of a reply."""
    return {"status": reply.status.name, "hpa": reply.hpa, "reason": reply.fault_reason.value, "hit": reply.hit}


def iotlb(granularity, **fields):
    """A descriptor that drains."""
    return encode(IotlbDescriptor, type=DescriptorType.IOTLB, granularity=granularity, drain_writes=1, drain_reads=1, **fields)


# --- kvm-unit-tests ---

async def vtd_init(bench):
    """GSTS before and after each GCMD bit, in its order; what is not there stays off and is counted as an error."""
    machine = await Machine.start(bench)
    registers = machine.registers
    result = {"FSTS": (await registers.read("FSTS")).value, "CAP": registers.cap.value, "ECAP": registers.ecap.value,
              "steps": [], "refused": []}
    machine.put_context(DEVICE, DEVICE, levels=3)
    await registers.write("RTADDR", RTA=ROOT >> 12)
    await registers.write("IQA", IQA=QUEUE >> 12)
    for command, status in ONE_BY_ONE:
        before = await registers.read("GSTS")
        await registers.command(command=command, status=status)
        after = await registers.read("GSTS")
        result["steps"].append([status, before[status], after[status]])
    result["errors_before"] = await machine.protocol_errors()
    for command, status in (("SIRTP", "IRTPS"), ("IRE", "IRES")):
        levels = (await registers.read("GSTS")).value & ~GCMD_ONE_SHOT_MASK
        await machine.transport.write_register(
            registers.offset("GCMD"), 4, levels | compose("GCMD", **{command: 1}))
        await bench.pause(200)
        result["refused"].append([status, (await registers.read("GSTS"))[status]])
    return result | {"unmapped": await machine.not_mapped(0)}


async def dmar_4b_memcpy(bench):
    """Four bytes of a page go through IOVA 0 into the device, and from there to the bytes behind them."""
    machine = await Machine.start(bench)
    machine.put_context(DEVICE, DEVICE, levels=3)
    machine.map(DEVICE, 0, PAGE_A, levels=3)
    machine.memory.write(PAGE_A, PATTERN.to_bytes(4, "little") + bytes(4))
    await machine.queue_on()
    await machine.latch_root()
    await machine.registers.command(command="TE", status="TES")
    read, data = await machine.dma_read(0)
    write = await machine.dma_write(4, data)
    return {"read": read, "write": write, "page": [machine.word(PAGE_A), machine.word(PAGE_A + 4)],
            "unmapped": await machine.not_mapped(0x1000)}


# --- QEMU qtests ---

async def reset_values(bench):
    """Every register that can be read, straight after reset, and again after the unit was used and reset.

    A fault record means nothing unless its F is set: of FRCD that bit alone is looked at.
    """
    values = []
    for _ in range(2):
        machine = await Machine.start(bench)
        found = {name: await machine.registers.read(name) for name in REGISTERS if name != "GCMD"}
        values.append({name: register.value for name, register in found.items()} | {"FRCD": found["FRCD"]["F"]})
        machine.put_context(DEVICE, 3)
        await machine.as_qtest()
        unmapped = await machine.not_mapped()
    return {"values": values, "unmapped": unmapped}


async def legacy_pass_through(bench):
    """A device in pass-through writes to where it says; its neighbour, which is translated, has nothing there."""
    machine = await Machine.start(bench)
    machine.put_context(DEVICE, 3, translation_type=TranslationType.PASS_THROUGH)
    machine.put_context(NEIGHBOUR, 4)
    await machine.as_qtest()
    write = await machine.dma_write(PAGE_A)
    return {"write": write, "memory": machine.word(PAGE_A), "unmapped": await machine.not_mapped(PAGE_A, source_id=NEIGHBOUR)}


async def legacy_translated(bench):
    """A device writes through a table of four levels."""
    machine = await Machine.start(bench)
    machine.put_context(DEVICE, 3)
    machine.map(3, IOVA, PAGE_A)
    await machine.as_qtest()
    write = await machine.dma_write(IOVA)
    unmapped = await machine.not_mapped()
    return {"write": write, "memory": machine.word(PAGE_A), "untranslated": machine.word(IOVA), "unmapped": unmapped,
            "message": machine.word(FAULT_MESSAGE)}


async def iotlb_invalidation(bench, *descriptors):
    """Two pages of a domain and one of another are used, then all lead elsewhere: before and after an invalidation."""
    machine = await Machine.start(bench)
    for source_id, domain_id in ((DEVICE, 3), (NEIGHBOUR, 4)):
        machine.put_context(source_id, domain_id)
    places = {"page": (DEVICE, IOVA), "other page": (DEVICE, OTHER_IOVA), "other domain": (NEIGHBOUR, IOVA)}

    async def use(data):
        return {name: await machine.dma_write(iova, data, source_id=source_id) for name, (source_id, iova) in places.items()}

    machine.map(3, IOVA, PAGE_A)
    machine.map(3, OTHER_IOVA, OTHER_A)
    machine.map(4, IOVA, PAGE_A + 0x1000)
    await machine.as_qtest()
    result = {"cold": await use(PATTERN)}
    machine.map(3, IOVA, PAGE_B)
    machine.map(3, OTHER_IOVA, OTHER_B)
    machine.map(4, IOVA, PAGE_B + 0x1000)
    result["stale"] = await use(PATTERN + 1)
    result["stale memory"] = [machine.word(PAGE_A), machine.word(PAGE_B)]
    await machine.invalidate(*descriptors)
    result["after"] = await use(PATTERN + 2)
    result["memory"] = [machine.word(PAGE_A), machine.word(PAGE_B)]
    return result | {"unmapped": await machine.not_mapped()}


INVALIDATIONS = {
    "nothing": (),   # the control: a wait alone
    "global": (iotlb(Granularity.GLOBAL),),
    "domain": (iotlb(Granularity.DOMAIN_SELECTIVE, domain_id=3),),
    "page": (iotlb(Granularity.SELECTIVE, domain_id=3, page=IOVA >> 12),),
    "two pages": (iotlb(Granularity.SELECTIVE, domain_id=3, page=IOVA >> 12),
                  iotlb(Granularity.SELECTIVE, domain_id=3, page=OTHER_IOVA >> 12)),
}


@cocotb.test()
async def everything(dut):
    """All of it; every case begins with a reset."""
    bench = Bench(dut, deadline_cycles=100_000)
    give_result({
        "vtd_init": await vtd_init(bench),
        "DMAR 4B memcpy": await dmar_4b_memcpy(bench),
        "reset values": await reset_values(bench),
        "legacy-pt": await legacy_pass_through(bench),
        "legacy-trans": await legacy_translated(bench),
        "iotlb-inv": {name: await iotlb_invalidation(bench, *queued) for name, queued in INVALIDATIONS.items()},
    })
