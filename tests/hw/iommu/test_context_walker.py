# amaranth: UnusedElaboratable=no
"""From source ID to context. Expected results are worked by hand from VT-d 4.1, 3.4.2, 9.1 and 9.3."""

import pytest

from hw.spec.codec import decode, encode
from hw.spec.dma import Access
from hw.spec.events import ContextDetail, EventKind
from hw.spec.faults import FaultReason
from hw.spec.tables import ContextEntry, PageSize, TranslationType
from tests.hw.iommu.bench import begin, receive, send, wait
from tests.hw.iommu.context_bench import (
    CONTEXT,
    CONTEXT_HPA,
    PASS_THROUGH,
    ROOT_HPA,
    SOURCE_ID,
    ContextBench,
    transaction,
)
from tests.hw.iommu.memory_mock import MemoryMock
from tests.hw.iommu.request_path import invalidation


@pytest.mark.parametrize(("word_bits", "chunk_bits"), [(128, 128), (128, 64), (512, 128), (512, 64)])
def test_a_legal_context_becomes_a_walk_and_a_fill(word_bits, chunk_bits):
    bench = ContextBench(word_bits=word_bits, chunk_bits=chunk_bits)
    sent = transaction(iova=0x12_3000, tag=9, colour=1)
    bench.look_up(sent)
    (walk,) = bench.walks.payloads
    (fill,) = bench.fills.payloads
    assert walk.transaction.as_bits() == sent.as_bits()
    assert (walk.context.table_pointer, walk.context.domain_id, walk.context.address_width) == (0x777, 5, 2)
    assert walk.context.translation_type == TranslationType.MULTI_LEVEL
    assert fill.context.as_bits() == walk.context.as_bits()
    assert (fill.source_id, fill.pasid_present, fill.pasid) == (SOURCE_ID, 0, 0)
    assert len(bench.answers) == 0


def test_a_pasid_that_is_not_present_is_no_part_of_what_is_cached():
    bench = ContextBench()
    bench.look_up(transaction(pasid=0x55))
    (fill,) = bench.fills.payloads
    assert (fill.pasid_present, fill.pasid) == (0, 0)


def test_root_and_context_entry_are_read_where_the_source_id_says():
    bench = ContextBench().look_up(transaction())
    assert [read.hpa for read in bench.reads.payloads] == [ROOT_HPA, CONTEXT_HPA]


def test_pass_through_is_answered_without_a_walk():
    bench = ContextBench(context=PASS_THROUGH).look_up(transaction(iova=0x12_3456, tag=4))
    (answer,) = bench.answers.payloads
    assert answer.fault_reason == FaultReason.NONE
    assert (answer.page_size, answer.page, answer.hit, answer.interrupt) == (PageSize.UNTRANSLATED, 0x123, 0, 0)
    assert (answer.context.domain_id, answer.transaction.request.tag) == (5, 4)
    assert len(bench.fills) == 1
    assert len(bench.walks) == 0


@pytest.mark.parametrize("field", ["_ignored_70_67", "fault_processing_disable"])
def test_fields_that_do_not_matter_here_are_let_through(field):
    assert ContextBench(context=CONTEXT | {field: 1}).reason() == FaultReason.NONE


@pytest.mark.parametrize("address_width", [1, 2, 3])
def test_every_address_width_of_sagaw_is_legal(address_width):
    assert ContextBench(context=CONTEXT | dict(address_width=address_width)).reason() == FaultReason.NONE


# --- many at once


@pytest.mark.parametrize("slots", [1, 3, 4])
def test_fetches_in_any_order_give_every_device_its_own_context(slots):
    memory = MemoryMock(latency=(1, 25), reorder=True, ready_percent=60, seed=slots)
    bench = ContextBench(memory=memory, slots=slots, chunk_bits=64, chunk_delay=3)
    for function in range(30):
        context = CONTEXT | dict(domain_id=100 + function)
        if function % 3 == 0:
            context |= dict(translation_type=TranslationType.PASS_THROUGH)
        memory.store(0x222_2000 + 16 * function, encode(ContextEntry, **context), 16)

    async def giver(ctx):
        for function in range(30):
            await send(ctx, bench.dut.requests, transaction(source_id=0x0300 + function, tag=function))

    async def answers(ctx):
        for _ in range(10):
            await receive(ctx, bench.dut.answers)
            await wait(ctx, 3)

    async def walks(ctx):
        for _ in range(20):
            await receive(ctx, bench.dut.walk_requests)
            await wait(ctx, 3)

    bench.run(giver, answers, walks, cycles=10000, results_taken=False)
    domains = {
        each.transaction.request.tag: each.context.domain_id
        for each in (*bench.answers.payloads, *bench.walks.payloads)
    }
    assert domains == {function: 100 + function for function in range(30)}
    assert {answer.transaction.request.tag % 3 for answer in bench.answers.payloads} == {0}
    assert sorted((fill.source_id, fill.context.domain_id) for fill in bench.fills.payloads) == [
        (0x0300 + function, 100 + function) for function in range(30)
    ]


def test_as_many_fetches_are_in_flight_as_there_are_slots():
    bench = ContextBench(memory=MemoryMock(latency=(60, 60)), slots=3)
    bench.look_up(*(transaction(source_id=SOURCE_ID ^ tag, tag=tag) for tag in range(4)))
    assert bench.begins.cycles[2] < 10
    assert bench.begins.cycles[3] > bench.ends.cycles[0]


@pytest.mark.parametrize("latency", [1, 2, 20])
def test_a_fetch_takes_two_reads_of_memory_latency_and_one_cycle_each_and_two_cycles_more(latency):
    bench = ContextBench(memory=MemoryMock(latency=(latency, latency))).look_up(transaction())
    (accepted,) = bench.begins.cycles
    assert bench.reads.cycles == [accepted + 1, accepted + 1 + latency + 1]
    context_entry_arrives = bench.reads.cycles[1] + latency
    assert bench.fills.cycles == bench.ends.cycles == [context_entry_arrives + 1]
    assert bench.walks.cycles == [context_entry_arrives + 2]


# --- invalidations

GLOBAL, DOMAIN, SELECTIVE = 1, 2, 3

COVERED = {  # of a fetch for source 0x03A5 (function 5): the invalidation, and whether it may cover the fetch
    "global": (invalidation("CONTEXT_CACHE", GLOBAL), 1),
    "any domain": (invalidation("CONTEXT_CACHE", DOMAIN, domain_id=6), 1),
    "the device": (invalidation("CONTEXT_CACHE", SELECTIVE, domain_id=5, source_id=0x03A5), 1),
    "another function": (invalidation("CONTEXT_CACHE", SELECTIVE, domain_id=5, source_id=0x03A4), 0),
    "another bus": (invalidation("CONTEXT_CACHE", SELECTIVE, domain_id=5, source_id=0x04A5), 0),
    "function mask 1": (invalidation("CONTEXT_CACHE", SELECTIVE, source_id=0x03A1, function_mask=1), 1),
    "function mask 1, bit 1 differs": (invalidation("CONTEXT_CACHE", SELECTIVE, source_id=0x03A3, function_mask=1), 0),
    "function mask 2": (invalidation("CONTEXT_CACHE", SELECTIVE, source_id=0x03A3, function_mask=2), 1),
    "function mask 2, bit 0 differs": (invalidation("CONTEXT_CACHE", SELECTIVE, source_id=0x03A4, function_mask=2), 0),
    "function mask 3": (invalidation("CONTEXT_CACHE", SELECTIVE, source_id=0x03A2, function_mask=3), 1),
    "function mask 3, another device": (invalidation("CONTEXT_CACHE", SELECTIVE, source_id=0x03AD, function_mask=3), 0),
    "the IOTLB, whose walk is yet to begin": (invalidation("IOTLB", GLOBAL), 0),
}


@pytest.mark.parametrize("case", COVERED)
def test_a_fetch_that_an_invalidation_covers_goes_on_marked_and_fills_nothing(case):
    what, marked = COVERED[case]
    bench = ContextBench(memory=MemoryMock(latency=(20, 20)))

    async def testbench(ctx):
        await send(ctx, bench.dut.requests, transaction())
        await wait(ctx, 30)
        await begin(ctx, bench.dut.invalidation, what)
        await bench.ended(ctx, 1)

    bench.run(testbench)
    assert bench.walks.payloads[0].context.domain_id == 5
    assert bench.walks.payloads[0].transaction.marked == marked
    assert len(bench.fills) == 1 - marked


def test_a_marked_transaction_goes_on_marked_and_fills_nothing():
    bench = ContextBench().look_up(transaction(marked=1))
    assert bench.walks.payloads[0].transaction.marked == 1
    assert len(bench.fills) == 0


def test_a_mark_does_not_outlive_its_fetch():
    bench = ContextBench(slots=1).look_up(transaction(marked=1), transaction())
    assert [walk.transaction.marked for walk in bench.walks.payloads] == [1, 0]
    assert bench.fills.cycles == bench.ends.cycles[1:]


@pytest.mark.parametrize("cycle", range(-2, 3))
def test_the_cycle_of_begin_decides_about_mark_and_fill(cycle):
    """`cycle` counts from the fill: an invalidation that begins in it is too late to stop it, but still marks the walk."""
    unmarked = ContextBench(slots=1).look_up(transaction())
    bench = ContextBench(slots=1)

    async def walker(ctx):
        await send(ctx, bench.dut.requests, transaction())
        await bench.ended(ctx, 1)

    async def invalidator(ctx):
        await wait(ctx, unmarked.fills.cycles[0] + cycle)
        await begin(ctx, bench.dut.invalidation, invalidation("CONTEXT_CACHE", GLOBAL))

    bench.run(walker, invalidator)
    assert bench.fills.cycles == [unmarked.fills.cycles[0]] * (cycle >= 0)
    assert bench.walks.payloads[0].transaction.marked == (cycle <= 0)


@pytest.mark.parametrize("kind", ["IOTLB", "CONTEXT_CACHE"])
def test_a_walk_request_that_waits_is_marked_by_any_invalidation(kind):
    bench = ContextBench()

    async def testbench(ctx):
        await send(ctx, bench.dut.requests, transaction())
        await wait(ctx, 30)
        await begin(ctx, bench.dut.invalidation, invalidation(kind, DOMAIN, domain_id=0x999))
        await wait(ctx, 3)
        await receive(ctx, bench.dut.walk_requests)

    bench.run(testbench, results_taken=False)
    assert bench.walks.payloads[0].transaction.marked == 1
    assert len(bench.fills) == 1


def test_a_transaction_accepted_while_an_invalidation_begins_is_marked():
    bench = ContextBench()

    async def walker(ctx):
        await wait(ctx, 3)
        await send(ctx, bench.dut.requests, transaction())
        await bench.ended(ctx, 1)

    async def invalidator(ctx):
        await wait(ctx, 3)
        await begin(ctx, bench.dut.invalidation, invalidation("CONTEXT_CACHE", SELECTIVE, source_id=1))

    bench.run(walker, invalidator)
    assert bench.begins.cycles == [3]
    assert len(bench.fills) == 0


# --- torn fetches, and events


@pytest.mark.parametrize(("chunk_bits", "seen"), [(128, (0x777, 5)), (64, (0x777, 6))])
def test_only_a_fetch_in_halves_can_see_half_of_an_exchange(chunk_bits, seen):
    """Pointer and domain ID are exchanged at one instant; a unit that reads halves may mix old pointer and new domain."""
    bench = ContextBench(chunk_bits=chunk_bits, chunk_delay=50)
    new = encode(ContextEntry, **CONTEXT | dict(second_stage_pointer=0x888, domain_id=6))

    async def testbench(ctx):
        await send(ctx, bench.dut.requests, transaction())
        while not any(hpa == CONTEXT_HPA for _, _, hpa, _ in bench.memory.accesses):
            await ctx.tick()
        bench.memory.store(CONTEXT_HPA, new, 16)
        await bench.ended(ctx, 1)

    bench.run(testbench)
    context = bench.walks.payloads[0].context
    assert (context.table_pointer, context.domain_id) == seen


@pytest.mark.parametrize(
    ("context", "iova", "reason"),
    [(CONTEXT, 0, FaultReason.NONE), (CONTEXT, 1 << 48, FaultReason.ADDRESS_BEYOND_WIDTH)],
)
def test_events_tell_where_a_fetch_began_and_how_it_ended(context, iova, reason):
    bench = ContextBench(context=context).look_up(transaction(tag=33, iova=iova, access=Access.WRITE))
    begun, ended = bench.begins.payloads[0], bench.ends.payloads[0]
    assert (begun.kind, begun.source_id, begun.tag) == (EventKind.CONTEXT_FETCH, SOURCE_ID, 33)
    assert (ended.kind, ended.source_id, ended.tag) == (EventKind.CONTEXT_RESULT, SOURCE_ID, 33)
    assert (ended.domain_id, ended.hpa) == (5, 0x777 << 12)
    detail = decode(ContextDetail, ended.detail)
    assert (detail.fault_reason, detail.address_width, detail.marked) == (reason, 2, 0)
    assert detail.translation_type == TranslationType.MULTI_LEVEL
    assert bench.fills.cycles == bench.ends.cycles
