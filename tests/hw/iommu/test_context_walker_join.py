# amaranth: UnusedElaboratable=no
"""Many requests of one device that wait for one fetch: who may use what it finds. Worked by hand from VT-d 4.1, 6.1."""

import random

import pytest

from hw.spec.codec import encode
from hw.spec.dma import RequestKind
from hw.spec.faults import FaultReason
from hw.spec.tables import ContextEntry, RootEntry
from tests.hw.iommu.bench import begin, receive, send, wait
from tests.hw.iommu.context_bench import (
    CONTEXT,
    CONTEXT_HPA,
    CONTEXT_PAGE,
    PASS_THROUGH,
    ROOT,
    ROOT_HPA,
    SOURCE_ID,
    ContextBench,
    transaction,
)
from tests.hw.iommu.memory_mock import MemoryMock
from tests.hw.iommu.request_path import invalidation

GLOBAL = invalidation("CONTEXT_CACHE", 1)
LATENCY = 10
NO_ROOT, NO_CONTEXT = FaultReason.ROOT_NOT_PRESENT, FaultReason.CONTEXT_NOT_PRESENT


def slow(**parameters):
    """A bench whose memory answers after LATENCY cycles."""
    return ContextBench(memory=MemoryMock(latency=(LATENCY, LATENCY)), **parameters)


def tags(results):
    return [each.transaction.request.tag for each in results.payloads]


@pytest.mark.parametrize("context", [CONTEXT, PASS_THROUGH])
def test_requests_of_one_device_share_a_fetch_and_leave_in_order_one_a_cycle(context):
    bench = slow(context=context).look_up(*(transaction(tag=tag, iova=tag << 12) for tag in range(8)))
    results = bench.walks if context is CONTEXT else bench.answers
    assert tags(results) == list(range(8))
    assert [each.transaction.request.iova >> 12 for each in results.payloads] == list(range(8))
    assert {each.context.domain_id for each in results.payloads} == {5}
    assert results.cycles == list(range(results.cycles[0], results.cycles[0] + 8))
    assert (len(bench.reads), len(bench.fills)) == (2, 1)
    assert [event.tag for event in bench.begins.payloads] == [event.tag for event in bench.ends.payloads]
    assert len(bench.begins) == 8


def test_a_request_that_comes_while_others_are_answered_joins_until_the_last_of_them():
    bench = slow()

    async def testbench(ctx):
        for tag in range(3):
            await send(ctx, bench.dut.requests, transaction(tag=tag))
        while not ctx.get(bench.dut.fill.valid):
            await ctx.tick()
        for tag in range(3, 6):
            await send(ctx, bench.dut.requests, transaction(tag=tag))
        await bench.ended(ctx, 6)

    bench.run(testbench)
    assert tags(bench.walks) == list(range(6))
    assert len(bench.reads) == 2


def test_a_request_that_comes_when_the_last_is_answered_fetches_itself():
    bench = slow()

    async def testbench(ctx):
        await send(ctx, bench.dut.requests, transaction(tag=0))
        while not ctx.get(bench.dut.fill.valid):
            await ctx.tick()
        await send(ctx, bench.dut.requests, transaction(tag=1))
        await bench.ended(ctx, 2)

    bench.run(testbench)
    assert bench.begins.cycles[1] == bench.fills.cycles[0]
    assert (len(bench.reads), len(bench.fills)) == (4, 2)


@pytest.mark.parametrize(
    "other",
    [dict(source_id=SOURCE_ID ^ 1), dict(pasid_present=1, pasid=0), dict(pasid_present=1, pasid=0x80000)],
)
def test_a_request_with_another_key_does_not_join(other):
    bench = slow()
    bench.memory.store(CONTEXT_HPA ^ 16, encode(ContextEntry, **CONTEXT), 16)
    bench.look_up(transaction(), transaction(**other))
    assert len(bench.reads) == 4
    assert len(bench.fills) == 2


def test_pasids_that_differ_do_not_join_and_one_that_is_not_present_is_no_difference():
    bench = slow(slots=4)
    bench.look_up(*(transaction(pasid_present=1, pasid=pasid) for pasid in (1, 2, 2)))
    assert sorted(fill.pasid for fill in bench.fills.payloads) == [1, 2]
    bench = slow().look_up(*(transaction(pasid=pasid) for pasid in (1, 2)))
    assert len(bench.fills) == 1


def test_each_who_waits_is_decided_by_itself():
    bench = slow().look_up(
        transaction(tag=0, iova=1 << 48),
        transaction(tag=1),
        transaction(tag=2, kind=RequestKind.TRANSLATED),
        transaction(tag=3),
    )
    assert tags(bench.walks) == [1, 3]
    assert [(answer.transaction.request.tag, answer.fault_reason) for answer in bench.answers.payloads] == [
        (0, FaultReason.ADDRESS_BEYOND_WIDTH),
        (2, FaultReason.REQUEST_TYPE_BLOCKED),
    ]
    assert len(bench.fills) == 1
    assert len(bench.reads) == 2  # these faults are their own: the context is legal, as it would be in the cache


def test_a_slow_taker_loses_and_repeats_nobody():
    bench = slow()

    async def giver(ctx):
        for tag in range(6):
            await send(ctx, bench.dut.requests, transaction(tag=tag))

    async def taker(ctx):
        for _ in range(6):
            await wait(ctx, 5)
            await receive(ctx, bench.dut.walk_requests)

    bench.run(giver, taker, results_taken=False)
    assert tags(bench.walks) == list(range(6))
    assert len(bench.fills) == 1


# --- faults

LEGAL = encode(RootEntry, **ROOT), encode(ContextEntry, **CONTEXT)
FAULTS = {  # root entry, context entry, refused address, reason
    "root entry": (0, LEGAL[1], None, NO_ROOT),
    "context entry": (LEGAL[0], 0, None, NO_CONTEXT),
    "illegal context entry": (LEGAL[0], LEGAL[1] | 1 << 127, None, FaultReason.CONTEXT_RESERVED),
    "memory, root entry": (*LEGAL, ROOT_HPA, FaultReason.ROOT_ACCESS),
    "memory, context entry": (*LEGAL, CONTEXT_HPA, FaultReason.CONTEXT_ACCESS),
}


@pytest.mark.parametrize("case", FAULTS)
@pytest.mark.parametrize("delay", range(0, 28, 3))
def test_a_request_never_has_a_fault_that_was_mended_before_it_came(case, delay):
    """The entries become legal in the cycle before the second request, which may or may not join the first's fetch."""
    root, context, refused, reason = FAULTS[case]
    bench = slow(root=root, context=context)
    if refused:
        bench.memory.refuse(refused)

    async def testbench(ctx):
        await send(ctx, bench.dut.requests, transaction(tag=0))
        await wait(ctx, delay)
        bench.memory.store(ROOT_HPA, LEGAL[0], 16)
        bench.memory.store(CONTEXT_HPA, LEGAL[1], 16)
        bench.memory.refused.clear()
        await send(ctx, bench.dut.requests, transaction(tag=1))
        await bench.ended(ctx, 2)

    bench.run(testbench)
    assert 1 in tags(bench.walks)
    assert {answer.fault_reason for answer in bench.answers.payloads} <= {reason}
    assert len(bench.fills) >= 1


@pytest.mark.parametrize("case", FAULTS)
def test_who_joined_has_the_fault_of_a_second_fetch_for_all_that_wait_by_then(case):
    root, context, refused, reason = FAULTS[case]
    bench = slow(root=root, context=context)
    if refused:
        bench.memory.refuse(refused)
    bench.look_up(*(transaction(tag=tag) for tag in range(8)))
    assert tags(bench.answers) == list(range(8))
    assert {answer.fault_reason for answer in bench.answers.payloads} == {reason}
    reads_of_a_fetch = 1 if "root" in case else 2
    assert len(bench.reads) == 2 * reads_of_a_fetch
    assert len(bench.fills) == 0
    assert bench.answers.cycles[1:] == list(range(bench.answers.cycles[1], bench.answers.cycles[1] + 7))


def test_a_second_fetch_begins_at_the_device_s_entry_of_the_root_table_that_stands_by_then():
    bench = slow(root=0)
    bench.memory.store(0x999_0000 + 16 * 3, LEGAL[0], 16)

    async def testbench(ctx):
        for tag in range(2):
            await send(ctx, bench.dut.requests, transaction(tag=tag))
        ctx.set(bench.dut.control.root_table, 0x9990)
        ctx.set(bench.dut.requests.payload, transaction(source_id=0x0400))  # whoever would come next is not asked
        await bench.ended(ctx, 2)

    bench.run(testbench)
    assert (tags(bench.answers), tags(bench.walks)) == ([0], [1])


def test_in_caching_mode_a_second_fetch_fills_again():
    bench = slow(context=0, caching_mode=1).look_up(*(transaction(tag=tag) for tag in range(3)))
    assert [fill.context.fault_reason for fill in bench.fills.payloads] == [NO_CONTEXT] * 2
    assert len(bench.reads) == 4


# --- marks


def test_a_marked_fetch_takes_nobody_new_and_marks_all_who_wait():
    bench = slow()

    async def testbench(ctx):
        for tag in range(2):
            await send(ctx, bench.dut.requests, transaction(tag=tag))
        await begin(ctx, bench.dut.invalidation, GLOBAL)
        bench.memory.store(CONTEXT_HPA, encode(ContextEntry, **CONTEXT | dict(domain_id=6)), 16)
        await send(ctx, bench.dut.requests, transaction(tag=2))
        await bench.ended(ctx, 3)

    bench.run(testbench)
    marked = {walk.transaction.request.tag: walk.transaction.marked for walk in bench.walks.payloads}
    assert marked == {0: 1, 1: 1, 2: 0}
    assert [fill.context.domain_id for fill in bench.fills.payloads] == [6]
    assert len(bench.reads) == 4


def test_a_request_that_joins_in_the_cycle_of_begin_goes_on_marked():
    bench = slow()

    async def walker(ctx):
        await send(ctx, bench.dut.requests, transaction(tag=0))
        await wait(ctx, 3)
        await send(ctx, bench.dut.requests, transaction(tag=1))
        await bench.ended(ctx, 2)

    async def invalidator(ctx):
        await wait(ctx, 4)
        await begin(ctx, bench.dut.invalidation, invalidation("IOTLB", 1))

    bench.run(walker, invalidator)
    assert bench.begins.cycles == [0, 4]
    assert [walk.transaction.marked for walk in bench.walks.payloads] == [0, 1]
    assert len(bench.fills) == 1


def test_a_marked_request_joins_and_only_it_goes_on_marked():
    bench = slow().look_up(*(transaction(tag=tag, marked=tag & 1) for tag in range(4)))
    assert [walk.transaction.marked for walk in bench.walks.payloads] == [0, 1, 0, 1]
    assert (len(bench.reads), len(bench.fills)) == (2, 1)


def test_nothing_that_a_marked_request_had_fetched_again_is_filled():
    bench = slow(context=0)

    async def testbench(ctx):
        await send(ctx, bench.dut.requests, transaction(tag=0))
        await send(ctx, bench.dut.requests, transaction(tag=1, marked=1))
        await bench.ended(ctx, 1)
        bench.memory.store(CONTEXT_HPA, LEGAL[1], 16)
        await bench.ended(ctx, 2)

    bench.run(testbench)
    assert tags(bench.walks) == [1]
    assert len(bench.fills) == 0


def test_an_invalidation_while_they_are_answered_marks_those_who_still_wait():
    bench = slow()

    async def testbench(ctx):
        for tag in range(4):
            await send(ctx, bench.dut.requests, transaction(tag=tag))
        await wait(ctx, 30)
        for _ in range(2):
            await receive(ctx, bench.dut.walk_requests)
        await begin(ctx, bench.dut.invalidation, GLOBAL)
        for _ in range(2):
            await receive(ctx, bench.dut.walk_requests)

    bench.run(testbench, results_taken=False)
    assert [walk.transaction.marked for walk in bench.walks.payloads] == [0, 0, 1, 1]


# --- load


def test_few_places_delay_requests_and_lose_none():
    bench = slow(waiters=2).look_up(*(transaction(tag=tag) for tag in range(9)))
    assert tags(bench.walks) == list(range(9))


def test_a_device_that_never_hits_holds_up_no_other():
    """It asks in every cycle, as with its cache off, and is answered in every cycle."""
    bench = slow(waiters=8, slots=2)
    bench.memory.store(CONTEXT_HPA ^ 16, LEGAL[1], 16)

    async def storm(ctx):
        for tag in range(200):
            other = tag == 20
            await send(ctx, bench.dut.requests, transaction(tag=tag, source_id=SOURCE_ID ^ other))
        await bench.ended(ctx, 200)

    bench.run(storm)
    order = tags(bench.walks)
    assert sorted(order) == list(range(200))
    assert order.index(20) < 20 + 4 * 8


@pytest.mark.parametrize("seed", range(3))
def test_every_result_is_one_that_the_request_may_have(seed):
    """Entries come and go while requests of few devices storm. A fault must have stood in memory while its request was
    here; a legal context may be older, but not newer.
    """
    choose = random.Random(seed)
    memory = MemoryMock(latency=(1, 12), reorder=True, ready_percent=70, seed=seed)
    bench = ContextBench(memory=memory, slots=2 + seed, waiters=6)
    devices, count, clock = 3, 150, [0]
    history = {device: [] for device in range(devices)}  # (cycle, domain ID or None)

    def change(device):
        legal = choose.random() < 0.5
        domain = 100 + len(history[device])
        entry = encode(ContextEntry, **CONTEXT | dict(domain_id=domain)) if legal else 0
        memory.store((CONTEXT_PAGE << 12) + 16 * device, entry, 16)
        history[device].append((clock[0], domain if legal else None))

    async def clockwork(ctx):
        while len(bench.answers) + len(bench.walks) < count:
            if clock[0] % 7 == 0:
                change(choose.randrange(devices))
            await ctx.tick()
            clock[0] += 1

    async def giver(ctx):
        for tag in range(count):
            await send(ctx, bench.dut.requests, transaction(tag=tag, source_id=0x0300 + choose.randrange(devices)))
            if choose.random() < 0.2:
                await wait(ctx, choose.randrange(30))

    for device in range(devices):
        change(device)
    bench.run(giver, clockwork, cycles=20000)
    came = {event.tag: cycle for event, cycle in zip(bench.begins.payloads, bench.begins.cycles, strict=True)}
    faults = 0
    for result in (bench.answers, bench.walks):
        for each, left in zip(result.payloads, result.cycles, strict=True):
            request = each.transaction.request
            states = history[request.source_id & 0xFF]
            if result is bench.walks:
                assert each.context.domain_id in [domain for cycle, domain in states if cycle <= left]
                continue
            faults += 1
            assert each.fault_reason == NO_CONTEXT
            ends = [cycle for cycle, _ in states[1:]] + [left + 1]
            while_here = [
                domain
                for (since, domain), until in zip(states, ends, strict=True)
                if until >= came[request.tag] and since <= left
            ]
            assert None in while_here
    assert sorted(came) == list(range(count))
    assert faults > 10
    assert len(bench.walks) > 10
    assert len(bench.reads) < 1.5 * count  # they did join
