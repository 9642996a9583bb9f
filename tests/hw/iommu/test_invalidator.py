# amaranth: UnusedElaboratable=no
"""When an invalidation begins, and when it may be said to be over."""
import random

import pytest

from hw.iommu.invalidator import Invalidator
from hw.spec.codec import decode, encode
from hw.spec.events import EventKind
from hw.spec.invalidation import Granularity, Invalidation, InvalidationKind
from tests.hw.iommu.bench import run

LISTENERS = 3
DEADLINE_CYCLES = 20_000


def context_invalidation(**fields):
    """A context-cache invalidation, as an integer."""
    return encode(Invalidation, kind=InvalidationKind.CONTEXT_CACHE, granularity=Granularity.GLOBAL, **fields)


def iotlb_invalidation(*, drain, **fields):
    """An IOTLB invalidation, as an integer."""
    return encode(
        Invalidation, kind=InvalidationKind.IOTLB, granularity=Granularity.DOMAIN_SELECTIVE, drain=drain, **fields)


class Bench:
    """An invalidator, and by hand what it listens to."""

    def __init__(self, ctx, dut):
        self.ctx, self.dut = ctx, dut

    def offer(self, invalidation):
        """Offer a request from this cycle on."""
        self.ctx.set(self.dut.requests.payload, decode(Invalidation, invalidation))
        self.ctx.set(self.dut.requests.valid, 1)

    def count(self, *, translating=None, accessing=None):
        """Set counters, {colour: count}."""
        for port, values in ((self.dut.translating, translating or {}), (self.dut.accessing, accessing or {})):
            for colour, value in values.items():
                self.ctx.set(port[colour], value)

    def seen(self):
        """(begin, done) of this cycle."""
        return self.ctx.get(self.dut.port.begin), self.ctx.get(self.dut.done)

    async def tick(self, cycles=1):
        """Let cycles pass; a request that was taken is withdrawn."""
        for _ in range(cycles):
            taken = self.ctx.get(self.dut.requests.ready)
            await self.ctx.tick()
            if taken:
                self.ctx.set(self.dut.requests.valid, 0)

    async def begin(self, invalidation):
        """Offer a request and let the cycle of its `begin` pass: afterwards it is the first cycle after it."""
        self.offer(invalidation)
        while not self.seen()[0]:
            await self.tick()
        await self.tick()

    async def quiet(self, cycles):
        """Let cycles pass in which nothing may complete."""
        for _ in range(cycles):
            assert self.seen() == (0, 0)
            await self.tick()


def run_invalidator(testbench):
    """Run a testbench against an invalidator."""
    dut = Invalidator(listeners=LISTENERS)

    async def bench(ctx):
        await testbench(Bench(ctx, dut))
    run(dut, bench, cycles=DEADLINE_CYCLES)


def test_a_request_is_taken_in_the_cycle_in_which_it_begins():
    async def testbench(bench):
        ctx, dut = bench.ctx, bench.dut
        bench.offer(context_invalidation(source_id=0x1234))
        assert (ctx.get(dut.requests.ready), ctx.get(dut.port.begin)) == (0, 0)
        await bench.tick()
        assert (ctx.get(dut.requests.ready), ctx.get(dut.port.begin)) == (1, 1)
        await bench.tick()
        assert (ctx.get(dut.requests.ready), ctx.get(dut.port.begin)) == (0, 0)
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
        bench.offer(second)
        while not bench.seen()[0]:
            assert payload() == first
            await bench.tick()
        assert payload() == second
        await bench.tick(10)
        assert payload() == second
    run_invalidator(testbench)


def test_the_colour_flips_in_the_cycle_after_begin_and_only_there():
    async def testbench(bench):
        expected = 0
        for _ in range(3):
            bench.offer(context_invalidation())
            while not bench.seen()[0]:
                assert bench.ctx.get(bench.dut.port.colour) == expected
                await bench.tick()
            assert bench.ctx.get(bench.dut.port.colour) == expected
            expected = 1 - expected
            for _ in range(6):
                await bench.tick()
                assert bench.ctx.get(bench.dut.port.colour) == expected
    run_invalidator(testbench)


def test_with_nothing_in_flight_it_completes_two_cycles_after_begin_once():
    async def testbench(bench):
        await bench.begin(iotlb_invalidation(drain=1))
        assert bench.seen() == (0, 0)
        await bench.tick()
        assert bench.seen() == (0, 1)
        await bench.tick()
        await bench.quiet(10)
    run_invalidator(testbench)


@pytest.mark.parametrize("listener", range(LISTENERS))
def test_it_waits_for_every_listener(listener):
    async def testbench(bench):
        await bench.begin(context_invalidation())
        bench.ctx.set(bench.dut.listeners_busy[listener], 1)
        await bench.quiet(20)
        bench.ctx.set(bench.dut.listeners_busy[listener], 0)
        assert bench.seen() == (0, 1)
    run_invalidator(testbench)


@pytest.mark.parametrize("invalidation", [
    context_invalidation(), iotlb_invalidation(drain=0), iotlb_invalidation(drain=1)])
@pytest.mark.parametrize("old", [0, 1])
def test_it_waits_until_nothing_of_the_old_colour_is_being_translated(invalidation, old):
    async def testbench(bench):
        if old == 1:
            await bench.begin(context_invalidation())
            await bench.tick(3)
        bench.count(translating={old: 2})
        await bench.begin(invalidation)
        await bench.quiet(20)
        bench.count(translating={old: 1, 1 - old: 5}, accessing={1 - old: 9})
        await bench.quiet(5)
        bench.count(translating={old: 0})
        assert bench.seen() == (0, 1)
    run_invalidator(testbench)


@pytest.mark.parametrize("old", [0, 1])
def test_with_drain_it_waits_until_every_access_of_the_old_colour_is_retired(old):
    async def testbench(bench):
        if old == 1:
            await bench.begin(context_invalidation())
            await bench.tick(3)
        bench.count(accessing={old: 0x100})
        await bench.begin(iotlb_invalidation(drain=1))
        await bench.quiet(20)
        bench.count(accessing={old: 0, 1 - old: 3})
        assert bench.seen() == (0, 1)
    run_invalidator(testbench)


def test_without_drain_it_does_not_wait_for_accesses():
    async def testbench(bench):
        bench.count(accessing={0: 3})
        await bench.begin(iotlb_invalidation(drain=0))
        await bench.tick()
        assert bench.seen() == (0, 1)
    run_invalidator(testbench)


@pytest.mark.parametrize("counter", ["translating", "accessing"])
def test_what_was_compared_while_it_began_and_is_counted_late_is_waited_for(counter):
    async def testbench(bench):
        await bench.begin(iotlb_invalidation(drain=1))
        await bench.tick()             # the counter was zero up to here ...
        bench.count(**{counter: {0: 1}})   # ... and shows the last request of the old colour now
        await bench.quiet(20)
        bench.count(**{counter: {0: 0}})
        assert bench.seen() == (0, 1)
    run_invalidator(testbench)


@pytest.mark.parametrize("counter", ["translating", "accessing"])
def test_the_next_one_begins_only_when_the_colour_it_flips_to_has_come_back(counter):
    async def testbench(bench):
        bench.count(accessing={0: 1})
        await bench.begin(iotlb_invalidation(drain=0))
        await bench.tick(2)
        bench.count(accessing={0: 0})
        bench.count(**{counter: {0: 1}})
        bench.offer(iotlb_invalidation(drain=0))
        await bench.quiet(20)
        assert bench.ctx.get(bench.dut.port.colour) == 1
        bench.count(**{counter: {0: 0}})
        await bench.tick()
        assert bench.seen() == (1, 0)
    run_invalidator(testbench)


def test_begin_and_end_are_events_that_name_the_invalidation():
    invalidation = encode(Invalidation, kind=InvalidationKind.CONTEXT_CACHE, granularity=Granularity.SELECTIVE,
                          domain_id=0x55, source_id=0x0208, function_mask=2)

    async def testbench(bench):
        begun, ended = bench.dut.events
        log = []
        bench.offer(invalidation)
        for _ in range(8):
            for event, pulse in zip((begun, ended), bench.seen(), strict=True):
                assert bench.ctx.get(event.valid) == pulse
                if pulse:
                    seen = bench.ctx.get(event.payload)
                    log.append((seen.kind, seen.domain_id, seen.source_id, seen.detail))
            await bench.tick()
        assert log == [(EventKind.INVALIDATION_BEGIN, 0x55, 0x0208, invalidation),
                       (EventKind.INVALIDATION_END, 0x55, 0x0208, invalidation)]
    run_invalidator(testbench)


@pytest.mark.parametrize("seed", range(6))
def test_no_old_request_is_left_at_completion_under_random_traffic(seed):
    """At `done`, no request looked up until `begin` may still be in translation, nor (drain) its access outstanding."""
    rng = random.Random(seed)
    count_late = seed % 2

    async def testbench(bench):
        ctx, dut = bench.ctx, bench.dut
        translating, accessing, busy = [], [], [0] * LISTENERS   # [colour, lookup cycle] each; cycles of scan left
        recent = []                                              # compared, not counted yet
        begun_at, drain, completed, offered, began_since_done = None, 0, 0, None, 0
        cycle = 0
        while completed < 40:
            for colour in range(2):
                bench.count(translating={colour: sum(c == colour for c, _ in translating)},
                            accessing={colour: sum(c == colour for c, _ in translating + accessing)})
            for listener, left in enumerate(busy):
                ctx.set(dut.listeners_busy[listener], left > 0)
            if offered is None and rng.random() < 0.3:
                offered = rng.randrange(2)
                bench.offer(iotlb_invalidation(drain=offered))
            begin, done = bench.seen()
            colour = ctx.get(dut.port.colour)
            if begin:
                began_since_done += 1
                begun_at, drain, offered = cycle, offered, None
                assert not [entry for entry in translating + accessing + recent if entry[0] != colour]
            if done:
                assert began_since_done == 1
                began_since_done = 0
                completed += 1
                left = translating + recent + (accessing if drain else [])
                assert not [entry for entry in left if entry[1] <= begun_at]
                assert not any(busy)
            await bench.tick()
            # what happened in this cycle shows in the next one, or a cycle later in the counters
            busy = [rng.randrange(30) for _ in busy] if begin else [max(left - 1, 0) for left in busy]
            for source, sink in ((translating, accessing), (accessing, [])):
                if source and rng.random() < 0.45:
                    sink.append(source.pop(rng.randrange(len(source))))
            looked_up = [(colour, cycle)] if rng.random() < 0.4 else []
            translating += recent if count_late else looked_up
            recent = looked_up if count_late else []
            cycle += 1
    run_invalidator(testbench)
