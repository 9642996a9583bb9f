# amaranth: UnusedElaboratable=no
"""When an invalidation begins, and when a fence may say that everything begun is over."""

import pytest

from tests.hw.iommu.invalidator_bench import (
    LISTENERS,
    QUEUE,
    REGISTERS,
    context_invalidation,
    iotlb_invalidation,
    run_invalidator,
)


@pytest.mark.parametrize("source", [REGISTERS, QUEUE])
def test_an_invalidation_is_taken_in_the_cycle_in_which_it_begins(source):
    async def testbench(bench):
        bench.offer(context_invalidation(source_id=0x1234), source)
        assert (bench.taken(source), bench.seen()) == (0, (0, 0))
        await bench.tick()
        assert (bench.taken(source), bench.seen()) == (1, (1, 0))
        await bench.tick()
        await bench.quiet(10)

    run_invalidator(testbench)


def test_an_invalidation_alone_is_never_said_to_be_over():
    async def testbench(bench):
        await bench.begin(iotlb_invalidation(drain=1))
        await bench.quiet(50)

    run_invalidator(testbench)


def test_the_payload_stands_from_one_begin_to_the_next():
    first, second = context_invalidation(source_id=0x1111), iotlb_invalidation(drain=0, domain_id=7)

    async def testbench(bench):
        def payload():
            return bench.ctx.get(bench.dut.port.payload).as_bits()

        await bench.tick(2)
        bench.offer(first)
        await bench.tick()
        assert bench.seen() == (1, 0)
        assert payload() == first
        await bench.tick()
        bench.offer_fence()
        for _ in range(10):
            assert payload() == first
            await bench.tick()
        bench.offer(second)
        while not bench.seen()[0]:
            assert payload() == first
            await bench.tick()
        assert payload() == second
        await bench.tick(10)
        assert payload() == second

    run_invalidator(testbench)


@pytest.mark.parametrize("listener", range(LISTENERS))
def test_the_next_invalidation_begins_when_the_scan_of_the_one_before_is_over(listener):
    async def testbench(bench):
        await bench.begin(context_invalidation())
        bench.ctx.set(bench.dut.listeners_busy[listener], 1)
        bench.offer(iotlb_invalidation(drain=0))
        await bench.quiet(20)
        bench.ctx.set(bench.dut.listeners_busy[listener], 0)
        await bench.tick()
        assert bench.seen() == (1, 0)

    run_invalidator(testbench)


def test_the_colour_flips_in_the_cycle_after_a_fence_is_taken_and_only_there():
    async def testbench(bench):
        expected = 0
        for _ in range(3):
            bench.offer(context_invalidation())
            for _ in range(10):
                assert bench.colour() == expected
                await bench.tick()
            bench.offer_fence()
            while not bench.taken():
                assert bench.colour() == expected
                await bench.tick()
            assert bench.colour() == expected
            expected = 1 - expected
            for _ in range(6):
                await bench.tick()
                assert bench.colour() == expected

    run_invalidator(testbench)


def test_invalidations_ahead_of_one_fence_share_one_flip_and_one_completion():
    async def testbench(bench):
        for number in range(5):
            await bench.begin(iotlb_invalidation(drain=1, domain_id=number))
            assert bench.colour() == 0
        await bench.fence()
        assert bench.colour() == 1
        await bench.tick()
        assert bench.seen() == (0, 1)
        await bench.tick()
        await bench.quiet(10)
        assert bench.colour() == 1

    run_invalidator(testbench)


def test_with_nothing_in_flight_a_fence_is_done_two_cycles_after_it_is_taken_once():
    async def testbench(bench):
        await bench.begin(iotlb_invalidation(drain=1))
        bench.offer_fence()
        await bench.tick()
        assert bench.taken()
        await bench.tick()
        assert bench.seen() == (0, 0)
        await bench.tick()
        assert bench.seen() == (0, 1)
        await bench.tick()
        await bench.quiet(10)

    run_invalidator(testbench)


def test_a_fence_with_nothing_before_it_waits_for_what_was_looked_up_before():
    async def testbench(bench):
        bench.count(translating={0: 1}, accessing={0: 1})
        await bench.fence()
        await bench.quiet(20)
        bench.count(translating={0: 0})
        assert bench.seen() == (0, 1)

    run_invalidator(testbench)


@pytest.mark.parametrize("listener", range(LISTENERS))
def test_a_fence_flips_at_once_and_waits_for_every_listener(listener):
    async def testbench(bench):
        await bench.begin(context_invalidation())
        bench.ctx.set(bench.dut.listeners_busy[listener], 1)
        bench.offer_fence()
        await bench.tick(2)
        assert bench.colour() == 1
        await bench.quiet(20)
        bench.ctx.set(bench.dut.listeners_busy[listener], 0)
        await bench.quiet(2)  # its last set is compared, and cleared
        assert bench.seen() == (0, 1)

    run_invalidator(testbench)


def test_invalidations_that_no_listener_is_busy_with_begin_every_two_cycles():
    async def testbench(bench):
        begins = []
        for cycle in range(12):
            bench.offer(iotlb_invalidation(drain=1, domain_id=cycle))
            if bench.seen()[0]:
                begins.append(cycle)
            await bench.tick()
        assert begins == [1, 3, 5, 7, 9, 11]

    run_invalidator(testbench)


@pytest.mark.parametrize(
    "invalidation", [context_invalidation(), iotlb_invalidation(drain=0), iotlb_invalidation(drain=1)]
)
@pytest.mark.parametrize("old", [0, 1])
def test_a_fence_waits_until_nothing_of_the_old_colour_is_being_translated(invalidation, old):
    async def testbench(bench):
        if old == 1:
            await bench.complete_one()
        bench.count(translating={old: 2})
        await bench.begin(invalidation)
        await bench.fence()
        await bench.quiet(20)
        bench.count(translating={old: 1, 1 - old: 5}, accessing={1 - old: 9})
        await bench.quiet(5)
        bench.count(translating={old: 0})
        assert bench.seen() == (0, 1)

    run_invalidator(testbench)


@pytest.mark.parametrize("drains", [(1,), (0, 1), (1, 0), (0, 1, 0)])
@pytest.mark.parametrize("old", [0, 1])
def test_if_any_of_them_drains_the_fence_waits_until_every_access_of_the_old_colour_is_retired(drains, old):
    async def testbench(bench):
        if old == 1:
            await bench.complete_one()
        bench.count(accessing={old: 0x100})
        for drain in drains:
            await bench.begin(iotlb_invalidation(drain=drain))
        await bench.fence()
        await bench.quiet(20)
        bench.count(accessing={old: 0, 1 - old: 3})
        assert bench.seen() == (0, 1)

    run_invalidator(testbench)


def test_a_drain_asked_for_before_an_earlier_fence_is_not_waited_for_again():
    async def testbench(bench):
        await bench.begin(iotlb_invalidation(drain=1))
        await bench.fence()
        await bench.tick(2)
        bench.count(accessing={1: 3})
        await bench.begin(iotlb_invalidation(drain=0))
        await bench.fence()
        await bench.tick()
        assert bench.seen() == (0, 1)

    run_invalidator(testbench)


@pytest.mark.parametrize("counter", ["translating", "accessing"])
def test_what_was_compared_while_the_fence_was_taken_and_is_counted_late_is_waited_for(counter):
    async def testbench(bench):
        await bench.begin(iotlb_invalidation(drain=1))
        await bench.fence()
        await bench.tick()  # the counter was zero up to here ...
        bench.count(**{counter: {0: 1}})  # ... and shows the last request of the old colour now
        await bench.quiet(20)
        bench.count(**{counter: {0: 0}})
        assert bench.seen() == (0, 1)

    run_invalidator(testbench)


@pytest.mark.parametrize("counter", ["translating", "accessing"])
def test_a_fence_is_taken_only_when_the_colour_it_flips_to_has_come_back(counter):
    async def testbench(bench):
        bench.count(accessing={0: 1})
        await bench.begin(iotlb_invalidation(drain=0))
        await bench.fence()
        await bench.tick(2)
        bench.count(accessing={0: 0})
        bench.count(**{counter: {0: 1}})
        await bench.begin(iotlb_invalidation(drain=0))  # needs no colour
        bench.offer_fence()
        for _ in range(20):
            assert not bench.taken()
            await bench.tick()
        assert bench.colour() == 1
        bench.count(**{counter: {0: 0}})
        await bench.tick()
        assert bench.taken()
        await bench.tick(2)
        assert bench.seen() == (0, 1)

    run_invalidator(testbench)
