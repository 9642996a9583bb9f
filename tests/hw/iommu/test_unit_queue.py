# amaranth: UnusedElaboratable=no
"""The queue in the whole unit: registers, memory, monitor and event log tell one story."""
from hw.spec.events import EventKind
from tests.hw.iommu.register_bench import (
    FECTL,
    FSTS,
    GCMD,
    GSTS,
    ICS,
    IEADDR,
    IECTL,
    IEDATA,
    IQERCD,
    IQH,
    QIE,
)
from tests.hw.iommu.unit_bench import run_machine

QUEUE, STATUS, EVENT = 0x10_0000, 0x2_0000_0004, 0x3_0008
GLOBAL_CONTEXT, GLOBAL_IOTLB, INTERRUPT_ENTRIES = 0x11, 0x12, 0x4


def test_a_wait_behind_two_invalidations_stores_its_status_and_sends_its_event():
    async def testbench(machine):
        await machine.write(IEDATA, 0x4321)
        await machine.write(IEADDR, EVENT)
        await machine.write(IECTL, 0)
        await machine.start_queue(QUEUE, (GLOBAL_CONTEXT, 0), (GLOBAL_IOTLB, 0), (0xABCD << 32 | 0x35, STATUS))
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
        await machine.start_queue(QUEUE, (GLOBAL_CONTEXT, 0), (0x16, 0), (7 << 32 | 0x25, STATUS))
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


def test_a_queue_of_two_pages_is_read_on_into_its_second_page_wherever_it_stands():
    async def testbench(machine):
        await machine.start_queue(QUEUE + 0x1000, *[(INTERRUPT_ENTRIES, 0)] * 256, (7 << 32 | 0x25, STATUS), size_log2=1)
        await machine.ctx.tick().repeat(3000)
        assert (await machine.read(IQH), await machine.read(FSTS), machine.memory.load(STATUS, 4)) == (0x1010, 0, 7)
        assert await machine.count(0x00) == 0
    run_machine(testbench)


def test_messages_that_memory_refuses_are_counted_as_refused():
    async def testbench(machine):
        for hpa in (STATUS, EVENT):
            machine.memory.refuse(hpa)
        await machine.write(IEADDR, EVENT)
        await machine.write(IECTL, 0)
        await machine.start_queue(QUEUE, (0x35, STATUS))
        await machine.ctx.tick().repeat(100)
        assert [await machine.count(offset) for offset in (0x10, 0x18, 0x28)] == [0, 1, 2]
    run_machine(testbench)
