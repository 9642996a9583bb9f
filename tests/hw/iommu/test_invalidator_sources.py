# amaranth: UnusedElaboratable=no
"""Registers and queue share one invalidator: whose fence is done, what it covers, and no old request is left then."""

import random

import pytest

from hw.spec.codec import encode
from hw.spec.events import EventKind
from hw.spec.invalidation import Granularity, Invalidation, InvalidationKind
from tests.hw.iommu.invalidator_bench import (
    LISTENERS,
    QUEUE,
    REGISTERS,
    context_invalidation,
    iotlb_invalidation,
    run_invalidator,
)


@pytest.mark.parametrize("source", [REGISTERS, QUEUE])
def test_done_goes_to_the_source_of_the_fence(source):
    async def testbench(bench):
        await bench.begin(context_invalidation(), source)
        await bench.begin(context_invalidation(), 1 - source)
        await bench.fence(source)
        await bench.tick()
        assert bench.seen(source) == (0, 1)
        await bench.tick()
        await bench.quiet(10)

    run_invalidator(testbench)


def test_a_fence_covers_what_the_other_source_has_begun():
    async def testbench(bench):
        bench.count(accessing={0: 1})
        await bench.begin(iotlb_invalidation(drain=1), REGISTERS)
        await bench.fence(QUEUE)
        await bench.quiet(20)
        bench.count(accessing={0: 0})
        assert bench.seen(QUEUE) == (0, 1)

    run_invalidator(testbench)


def test_nothing_begins_between_a_fence_and_its_completion_and_then_the_other_source_has_its_turn():
    async def testbench(bench):
        bench.count(translating={0: 1})
        await bench.fence(QUEUE)
        bench.offer(context_invalidation(source_id=0x11), REGISTERS)
        await bench.tick()
        bench.offer(context_invalidation(source_id=0x22), QUEUE)
        await bench.quiet(20)
        bench.count(translating={0: 0})
        assert bench.seen(QUEUE) == (0, 1)
        await bench.tick(2)
        assert bench.seen() == (1, 0)
        assert bench.taken(REGISTERS)
        assert bench.ctx.get(bench.dut.port.payload.source_id) == 0x11
        await bench.tick(2)
        assert bench.seen() == (1, 0)
        assert bench.taken(QUEUE)
        assert bench.ctx.get(bench.dut.port.payload.source_id) == 0x22

    run_invalidator(testbench)


def test_begin_names_each_invalidation_and_end_the_one_that_began_last():
    first = context_invalidation(source_id=0x0100, domain_id=0x11)
    last = encode(
        Invalidation,
        kind=InvalidationKind.CONTEXT_CACHE,
        granularity=Granularity.SELECTIVE,
        domain_id=0x55,
        source_id=0x0208,
        function_mask=2,
    )

    async def testbench(bench):
        log = []
        steps = [lambda: bench.offer(first), lambda: bench.offer(last), bench.offer_fence, lambda: None]
        for step in steps:
            step()
            for _ in range(8):
                for event, pulse in zip(bench.dut.events, bench.seen(), strict=True):
                    assert bench.ctx.get(event.valid) == pulse
                    if pulse:
                        seen = bench.ctx.get(event.payload)
                        log.append((seen.kind, seen.domain_id, seen.source_id, seen.detail))
                await bench.tick()
        assert log == [
            (EventKind.INVALIDATION_BEGIN, 0x11, 0x0100, first),
            (EventKind.INVALIDATION_BEGIN, 0x55, 0x0208, last),
            (EventKind.INVALIDATION_END, 0x55, 0x0208, last),
        ]

    run_invalidator(testbench)


class Traffic:
    """Requests that are looked up, translated and retired at random, with the counts that the invalidator sees."""

    def __init__(self, rng, *, count_late):
        self.rng, self.count_late = rng, count_late
        self.translating, self.accessing, self.recent = [], [], []  # (colour, lookup cycle) each
        self.busy = [0] * LISTENERS  # cycles of scan left

    def show(self, bench):
        for colour in range(2):
            bench.count(
                translating={colour: sum(c == colour for c, _ in self.translating)},
                accessing={colour: sum(c == colour for c, _ in self.translating + self.accessing)},
            )
        for listener, left in enumerate(self.busy):
            bench.ctx.set(bench.dut.listeners_busy[listener], left > 0)

    def step(self, cycle, colour, *, begin):
        rng = self.rng
        self.busy = [rng.randrange(30) for _ in self.busy] if begin else [max(left - 1, 0) for left in self.busy]
        for source, sink in ((self.translating, self.accessing), (self.accessing, [])):
            if source and rng.random() < 0.45:
                sink.append(source.pop(rng.randrange(len(source))))
        looked_up = [(colour, cycle)] if rng.random() < 0.4 else []
        self.translating += self.recent if self.count_late else looked_up
        self.recent = looked_up if self.count_late else []


@pytest.mark.parametrize("seed", range(6))
def test_no_old_request_is_left_at_completion_under_random_traffic(seed):
    """At `done`, no request looked up until the last `begin` is in translation, nor (drain) its access outstanding."""
    rng = random.Random(seed)
    traffic = Traffic(rng, count_late=seed % 2)

    async def testbench(bench):
        offered = [None, None]  # by source: "fence", or drain
        begun_at, drain, completed, cycle = -1, 0, 0, 0
        while completed < 40:
            traffic.show(bench)
            for source in (REGISTERS, QUEUE):
                if offered[source] is None and rng.random() < 0.2:
                    offered[source] = rng.choice(["fence", 0, 1])
                    if offered[source] == "fence":
                        bench.offer_fence(source)
                    else:
                        bench.offer(iotlb_invalidation(drain=offered[source]), source)
            begin = bench.ctx.get(bench.dut.port.begin)
            done = [bench.ctx.get(pulse) for pulse in bench.dut.done]
            colour = bench.colour()
            everything = traffic.translating + traffic.accessing + traffic.recent
            for source in (REGISTERS, QUEUE):
                if bench.taken(source):
                    if offered[source] == "fence":
                        assert not [entry for entry in everything if entry[0] != colour]
                    else:
                        assert begin == 1
                        assert not any(traffic.busy)
                        begun_at, drain = cycle, drain | offered[source]
                    offered[source] = None
            if any(done):
                assert sum(done) == 1
                completed += 1
                left = traffic.translating + traffic.recent + (traffic.accessing if drain else [])
                assert not [entry for entry in left if entry[1] <= begun_at]
                assert not any(traffic.busy)
                drain = 0
            await bench.tick()
            traffic.step(cycle, colour, begin=begin)
            cycle += 1

    run_invalidator(testbench)
