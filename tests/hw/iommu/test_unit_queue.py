# amaranth: UnusedElaboratable=no
"""The queue in the whole unit: registers, memory, monitor and event log tell one story."""
from hw.iommu.config import IommuConfig
from hw.iommu.unit import UNIT_EVENTS, IommuUnit
from hw.spec.capabilities import STRAPS_DEFAULT, Straps
from hw.spec.codec import decode
from hw.spec.events import EventKind
from tests.hw.iommu.bench import Listener, receive, run, send
from tests.hw.iommu.memory_mock import MemoryMock
from tests.hw.iommu.register_bench import (
    FECTL,
    FSTS,
    GCMD,
    GSTS,
    ICS,
    IEADDR,
    IECTL,
    IEDATA,
    IQA,
    IQERCD,
    IQH,
    IQT,
    QIE,
    access_of,
)

SMALL = IommuConfig(iotlb_sets=2, iotlb_ways=1, superpage_sets=2, superpage_ways=1, context_sets=2, context_ways=1,
                    walk_slots=1, context_slots=1, miss_queue_depth=1, fault_records=1)
QUEUE, STATUS, EVENT = 0x10_0000, 0x2_0000_0004, 0x3_0008
GLOBAL_CONTEXT, GLOBAL_IOTLB = 0x11, 0x12


class Machine:
    """The unit's registers, its monitor, its memory, and what its events said."""

    def __init__(self, ctx, dut, memory, log):
        self.ctx, self.dut, self.memory, self._log = ctx, dut, memory, log

    async def _access(self, window, address, width, write=None):
        accesses, replies = getattr(self.dut, f"{window}_accesses"), getattr(self.dut, f"{window}_replies")
        await send(self.ctx, accesses, access_of(address, width=width, write=write))
        reply = await receive(self.ctx, replies)
        assert reply.error == 0
        return reply.data

    async def read(self, address, width=4):
        """A register."""
        return await self._access("register", address, width)

    async def write(self, address, value, width=4):
        """A register."""
        await self._access("register", address, width, write=value)

    async def count(self, offset):
        """A counter of the monitor."""
        return await self._access("monitor", offset, 8)

    def events(self, name):
        """What one event port has said."""
        return self._log[name].payloads

    async def start(self, *descriptors):
        """Put descriptors in the queue, switch it on and ring."""
        for index, (low, high) in enumerate(descriptors):
            self.memory.store(QUEUE + 16 * index, high << 64 | low, 16)
        await self.write(IQA, QUEUE, 8)
        await self.write(GCMD, QIE)
        await self.write(IQT, 16 * len(descriptors))


def run_machine(testbench):
    """Run a testbench against a small unit with memory."""
    dut = IommuUnit(SMALL)
    memory = MemoryMock(latency=(3, 3))
    log = {name: Listener(port) for name, port in zip(UNIT_EVENTS, dut.events, strict=True)}

    async def bench(ctx):
        ctx.set(dut.straps, decode(Straps, STRAPS_DEFAULT))
        await ctx.tick()
        await testbench(Machine(ctx, dut, memory, log))
    run(dut, bench, background=[memory.process(dut.table_requests, dut.table_replies), *(port.process for port in log.values())])


def test_a_wait_behind_two_invalidations_stores_its_status_and_sends_its_event():
    async def testbench(machine):
        await machine.write(IEDATA, 0x4321)
        await machine.write(IEADDR, EVENT)
        await machine.write(IECTL, 0)
        await machine.start((GLOBAL_CONTEXT, 0), (GLOBAL_IOTLB, 0), (0xABCD << 32 | 0x35, STATUS))
        await machine.ctx.tick().repeat(200)
        assert (await machine.read(IQH), await machine.read(ICS), await machine.read(IECTL)) == (0x30, 1, 0)
        assert machine.memory.load(STATUS, 4) == 0xABCD
        assert machine.memory.load(EVENT, 4) == 0x4321
        assert (await machine.read(FSTS), await machine.read(GSTS)) == (0, QIE)
        counters = {0x00: 0, 0x08: 0, 0x10: 1, 0x18: 1, 0x20: 0, 0x28: 0, 0x48: 1, 0x50: 1, 0x60: 0, 0x68: 1}
        assert {offset: await machine.count(offset) for offset in counters} == counters
        assert [(event.kind, event.detail) for event in machine.events("DESCRIPTOR")] == [
            (EventKind.DESCRIPTOR, value) for value in (GLOBAL_CONTEXT, GLOBAL_IOTLB, STATUS << 64 | 0xABCD << 32 | 0x35)]
        assert [(event.hpa, event.detail) for event in machine.events("MESSAGE")] == [(STATUS, 0xABCD), (EVENT, 0x4321)]
        assert [len(machine.events(f"INVALIDATION_{end}")) for end in ("BEGIN", "END")] == [2, 1]
    run_machine(testbench)


def test_an_illegal_descriptor_stops_the_queue_until_software_has_repaired_it():
    async def testbench(machine):
        await machine.start((GLOBAL_CONTEXT, 0), (0x16, 0), (7 << 32 | 0x25, STATUS))
        await machine.ctx.tick().repeat(100)
        assert (await machine.read(IQH), await machine.read(FSTS), await machine.read(IQERCD, 8)) == (0x10, 0x10, 3)
        assert await machine.read(FECTL) == 0xC000_0000
        machine.memory.store(QUEUE + 16, GLOBAL_IOTLB, 16)
        await machine.write(FSTS, 0x10)
        await machine.ctx.tick().repeat(100)
        assert (await machine.read(IQH), await machine.read(FSTS), machine.memory.load(STATUS, 4)) == (0x30, 0, 7)
        assert [event.detail for event in machine.events("QUEUE_ERROR")] == [3]
        assert await machine.read(FECTL) == 0x8000_0000
        await machine.write(GCMD, 0)
        await machine.ctx.tick().repeat(20)
        assert (await machine.read(GSTS), await machine.read(IQH)) == (0, 0)
        assert await machine.count(0x00) == 0
    run_machine(testbench)


def test_messages_that_memory_refuses_are_counted_as_refused():
    async def testbench(machine):
        for hpa in (STATUS, EVENT):
            machine.memory.refuse(hpa)
        await machine.write(IEADDR, EVENT)
        await machine.write(IECTL, 0)
        await machine.start((0x35, STATUS))
        await machine.ctx.tick().repeat(100)
        assert [await machine.count(offset) for offset in (0x10, 0x18, 0x28)] == [0, 1, 2]
    run_machine(testbench)
