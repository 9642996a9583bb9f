# amaranth: UnusedElaboratable=no
"""The root table in the whole unit: one that the host does not have blocks every DMA, and is never read."""
import pytest

from hw.spec.codec import encode
from hw.spec.dma import Status
from hw.spec.faults import FaultReason
from hw.spec.tables import ContextEntry, RootEntry, TranslationType
from tests.hw.iommu.register_bench import FRCD, FSTS, GCMD, GSTS, RTADDR, SRTP, TE
from tests.hw.iommu.unit_bench import run_machine

ROOT, CONTEXTS = 0x5000, 0x6000
DEVICE, OTHER, IOVA = 0x0010, 0x0011, 0x1234_5000


def store_tables(memory):
    """Tables that pass both devices through."""
    memory.store(ROOT, encode(RootEntry, present=1, context_table_pointer=CONTEXTS >> 12), 16)
    for device in (DEVICE, OTHER):
        memory.store(CONTEXTS + 16 * device, encode(
            ContextEntry, present=1, translation_type=TranslationType.PASS_THROUGH, address_width=2, domain_id=1), 16)


@pytest.mark.parametrize(("width", "beyond"), [(52, 1 << 52), (52, 1 << 63), (39, 1 << 39), (39, 1 << 51)])
def test_a_root_table_beyond_the_host_address_width_blocks_with_reason_30_and_no_alias_of_it_is_read(width, beyond):
    async def testbench(machine):
        store_tables(machine.memory)
        await machine.write(RTADDR, ROOT | beyond, 8)
        await machine.write(GCMD, SRTP)
        await machine.write(GCMD, TE)
        assert await machine.read(GSTS) == SRTP | TE
        await machine.ask(source_id=DEVICE, iova=IOVA)
        reply = await machine.answer()
        assert (reply.status, reply.fault_reason) == (Status.BLOCKED, FaultReason.ROOT_POINTER_INVALID)
        await machine.ctx.tick().repeat(10)
        record = await machine.read(FRCD + 8, 8)
        assert (await machine.read(FSTS), record & 0xFFFF, record >> 32 & 0xFF, record >> 63) == (2, DEVICE, 0x30, 1)
        assert machine.memory.accesses == []
        await machine.write(RTADDR, ROOT, 8)
        await machine.write(GCMD, TE | SRTP)
        await machine.ask(source_id=DEVICE, iova=IOVA)
        reply = await machine.answer()
        assert (reply.status, reply.hpa) == (Status.OK, IOVA)
        assert [(event.hpa, event.detail) for event in machine.events("CONTROL")] == [
            (0, 0b10010), (0, 0b10001), (ROOT, 0b00011)]
    run_machine(testbench, host_address_width=width)


def test_a_request_that_waits_while_such_a_root_is_latched_ends_with_the_root_table_that_it_met():
    async def testbench(machine):
        store_tables(machine.memory)
        await machine.write(RTADDR, ROOT, 8)
        await machine.write(GCMD, SRTP)
        await machine.write(GCMD, TE)
        await machine.write(RTADDR, 1 << 52 | 0x9000, 8)
        for tag, device in enumerate((DEVICE, OTHER)):   # there is one fetch at a time
            await machine.ask(source_id=device, iova=IOVA, tag=tag)
        await machine.write(GCMD, TE | SRTP)
        await machine.ask(source_id=OTHER, iova=IOVA, tag=2)
        replies = {}
        for _ in range(3):
            reply = await machine.answer()
            replies[reply.tag] = reply.status, reply.fault_reason
        passed = Status.OK, FaultReason.NONE
        assert replies == {0: passed, 1: passed, 2: (Status.BLOCKED, FaultReason.ROOT_POINTER_INVALID)}
        assert [access[2] for access in machine.memory.accesses] == [
            ROOT, CONTEXTS + 16 * DEVICE, ROOT, CONTEXTS + 16 * OTHER]
    run_machine(testbench, latency=30)
