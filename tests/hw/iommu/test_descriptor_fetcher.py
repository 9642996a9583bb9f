# amaranth: UnusedElaboratable=no
"""The queue is read in order up to the tail, and no fetch starts while something forbids it."""

from itertools import pairwise

import pytest

from hw.spec.events import EventKind
from tests.hw.iommu.bench import wait
from tests.hw.iommu.descriptor_fetcher_bench import BASE, Bench
from tests.hw.iommu.descriptors import context_cache, iotlb

DEPTH = 16  # descriptors fetched and not executed, at most


@pytest.mark.parametrize("word_bits", [128, 512])
@pytest.mark.parametrize("wide", [0, 1])
def test_descriptors_are_passed_on_in_order_up_to_the_tail(wide, word_bits):
    descriptors = [context_cache(1), iotlb(2, domain_id=7), iotlb(3, address=0x5000), context_cache(3, source_id=9)]
    bench = Bench(wide=wide, word_bits=word_bits, latency=(1, 4))
    bench.store(*descriptors, iotlb(1))

    async def testbench(bench):
        bench.set(tail=4 * bench.units)
        await wait(bench.ctx, 120)
        assert bench.head == 4
        assert bench.passed.payloads == descriptors
        expected = [BASE + 16 * number for number in range(4 * bench.units)]
        assert [access[2] for access in bench.memory.accesses] == expected
        assert bench.errors == []

    bench.run(testbench)


@pytest.mark.parametrize("wide", [0, 1])
def test_the_event_comes_in_the_last_cycle_before_the_head_advances(wide):
    bench = Bench(wide=wide)
    bench.store(context_cache(1, domain_id=0x77))

    async def testbench(bench):
        bench.set(tail=bench.units)
        heads = []
        for _ in range(12):
            heads.append(bench.head)
            await bench.ctx.tick()
        passed, troubles = bench.events
        assert heads.index(1) == passed.cycles[0] + 1
        (event,) = passed.payloads
        assert (event.kind, event.hpa, event.tag) == (EventKind.DESCRIPTOR, BASE, wide)
        assert event.detail == context_cache(1, domain_id=0x77)
        assert len(troubles) == 0

    bench.run(testbench)


@pytest.mark.parametrize("latency", [1, 7])
@pytest.mark.parametrize(("wide", "more", "apart"), [(0, 3, 1), (1, 4, 2)])
def test_a_fetch_takes_as_many_cycles_as_it_says_and_the_others_follow_at_once(wide, more, apart, latency):
    bench = Bench(wide=wide, latency=(latency, latency))
    bench.store(*[context_cache(1)] * 7)

    async def testbench(bench):
        bench.set(tail=7 * bench.units)
        starts = bench.ctx.get(bench.dut.starting)
        assert starts == 1
        await wait(bench.ctx, 60)
        assert bench.passed.cycles == [latency + more + apart * number for number in range(7)]

    bench.run(testbench)


@pytest.mark.parametrize("size_log2", [0, 1])
@pytest.mark.parametrize("wide", [0, 1])
def test_the_head_wraps_at_the_end_of_the_queue(wide, size_log2):
    bench = Bench(wide=wide, size_log2=size_log2)
    length = (4096 << size_log2) // (16 * bench.units)
    bench.store(*[iotlb(2, domain_id=number) for number in range(length)])

    async def testbench(bench):
        bench.set(tail=(length - 1) * bench.units)  # as full as it can be
        await wait(bench.ctx, 8 * length)
        assert bench.head == length - 1
        bench.set(tail=bench.units)
        await wait(bench.ctx, 30)
        assert bench.head == 1
        numbers = [*range(length), 0]
        assert bench.passed.payloads == [iotlb(2, domain_id=number) for number in numbers]

    bench.run(testbench)


@pytest.mark.parametrize("obstacle", [{"held": 1}, {"barred": 1}, {"enabled": 0}])
@pytest.mark.parametrize("at", range(14))
def test_a_fetch_that_has_started_is_finished_and_no_other_starts(at, obstacle):
    bench = Bench(wide=1, latency=(2, 2))
    bench.store(*[context_cache(1)] * 4)

    async def testbench(bench):
        bench.set(tail=8)
        await wait(bench.ctx, at)
        fetching = bench.ctx.get(bench.dut.fetching)
        assert fetching == (0 < at < 12)
        bench.set(**obstacle)
        assert bench.ctx.get(bench.dut.starting) == 0
        started = min((at + 1) // 2, 4)  # one in two cycles
        await wait(bench.ctx, 30)
        assert len(bench.passed) == started
        assert bench.head == started
        assert len(bench.memory.accesses) == 2 * started
        assert bench.ctx.get(bench.dut.fetching) == 0

    bench.run(testbench)


def test_the_head_returns_to_zero_when_disabled_and_everything_is_executed():
    bench = Bench()
    bench.store(*[context_cache(1)] * 4)

    async def testbench(bench):
        bench.set(tail=4)
        await wait(bench.ctx, 10)
        bench.set(enabled=0)
        await wait(bench.ctx, 20)
        head = bench.head
        assert head > 0
        bench.set(empty=1)
        assert bench.head == head
        await bench.ctx.tick()
        assert bench.head == 0

    bench.run(testbench)


@pytest.mark.parametrize("waiting", [0, 1, DEPTH - 1, DEPTH])
def test_nothing_starts_for_which_there_would_be_no_room(waiting):
    bench = Bench(latency=(3, 3))
    bench.store(*[context_cache(1)] * 40)

    async def testbench(bench):
        bench.set(tail=40, waiting=waiting)
        bench.ctx.set(bench.dut.descriptors.ready, 0)
        await wait(bench.ctx, 60)
        assert len(bench.memory.accesses) == DEPTH - waiting
        assert bench.ctx.get(bench.dut.starting) == 0
        bench.set(waiting=DEPTH)
        bench.ctx.set(bench.dut.descriptors.ready, 1)
        await wait(bench.ctx, 30)
        assert bench.head == len(bench.memory.accesses) == DEPTH - waiting
        bench.set(waiting=0)
        await wait(bench.ctx, 80)
        assert bench.head == 40

    bench.run(testbench)


@pytest.mark.parametrize("delay", [1, 7, 50])
def test_the_delay_comes_before_each_fetch(delay):
    bench = Bench()
    bench.store(*[context_cache(1)] * 3)

    async def testbench(bench):
        bench.set(tail=3, delay=delay)
        for _ in range(delay + 1):
            assert bench.ctx.get(bench.dut.starting) == 1
            assert bench.ctx.get(bench.dut.fetching) == 0
            await bench.ctx.tick()
        assert bench.ctx.get(bench.dut.fetching) == 1
        await wait(bench.ctx, 200)
        ends = bench.passed.cycles
        assert [later - earlier for earlier, later in pairwise(ends)] == [1 + delay] * 2

    bench.run(testbench)


def test_what_holds_it_up_during_the_delay_keeps_it_from_starting():
    bench = Bench()
    bench.store(context_cache(1))

    async def testbench(bench):
        bench.set(tail=1, delay=10)
        await wait(bench.ctx, 9)
        bench.set(held=1)
        await wait(bench.ctx, 5)
        bench.set(held=0)
        await wait(bench.ctx, 10)
        assert bench.memory.accesses == []
        await wait(bench.ctx, 10)
        assert len(bench.memory.accesses) == 1

    bench.run(testbench)


@pytest.mark.parametrize("seed", range(4))
def test_nothing_is_lost_or_doubled_under_random_stalls(seed):
    descriptors = [iotlb(2, domain_id=number + 1) for number in range(40)]
    bench = Bench(
        wide=seed % 2, word_bits=(128, 512)[seed // 2], latency=(1, 30), reorder=True, ready_percent=50, seed=seed
    )
    bench.store(*descriptors)

    async def testbench(bench):
        for number in range(1, 41):
            bench.set(tail=number * bench.units)
            await wait(bench.ctx, (number * 7 + seed * 13) % 40)
            bench.ctx.set(bench.dut.descriptors.ready, number % 3 != 0)
        bench.ctx.set(bench.dut.descriptors.ready, 1)
        await wait(bench.ctx, 1000)
        assert bench.passed.payloads == descriptors
        assert [event.hpa for event in bench.events[0].payloads] == [BASE + 16 * bench.units * n for n in range(40)]

    bench.run(testbench)
