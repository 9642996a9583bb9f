# amaranth: UnusedElaboratable=no
"""The latency histogram alone: whose cycles are counted, from which edge to which."""
from collections import Counter as Tally
from collections import deque
from random import Random

import pytest

from hw.spec.bench import LatencyWatch
from hw.spec.codec import decode, encode
from hw.traffic.latency import LatencyHistogram
from tests.hw.traffic.machine import simulate


async def ticks(ctx, count):
    """That many cycles, or none."""
    for _ in range(count):
        await ctx.tick()


async def accept(ctx, dut, tag, *, device=0):
    """A request is accepted at the next edge."""
    ctx.set(dut.accepted.payload.tag, tag)
    ctx.set(dut.accepted.payload.flight.device, device)
    ctx.set(dut.accepted.valid, 1)
    await ctx.tick()
    ctx.set(dut.accepted.valid, 0)


async def reply(ctx, dut, tag, *, waits=0, awaited=1):
    """A reply is valid at the next edge, and taken `waits` edges later."""
    ctx.set(dut.reply_valid, 1)
    ctx.set(dut.reply_ready, 0)
    await ticks(ctx, waits)
    ctx.set(dut.reply_ready, 1)
    ctx.set(dut.answer.valid, awaited)
    ctx.set(dut.answer.payload, tag)
    await ctx.tick()
    ctx.set(dut.reply_valid, 0)
    ctx.set(dut.answer.valid, 0)


async def one_dma(ctx, dut, tag, latency, **options):
    """A DMA from its request to its reply."""
    device = options.pop("device", 0)
    await accept(ctx, dut, tag, device=device)
    await ticks(ctx, latency - 1)
    await reply(ctx, dut, tag, **options)


async def clear(ctx, dut, **watch):
    """Begin a window."""
    ctx.set(dut.watch, decode(LatencyWatch, encode(LatencyWatch, **watch)))
    ctx.set(dut.clear, 1)
    await ctx.tick().until(dut.cleared)
    ctx.set(dut.clear, 0)


async def counted(ctx, dut):
    """The bins that are not empty."""
    await ctx.tick().repeat(3)
    found = {}
    for latency in range(1024):
        ctx.set(dut.bin, latency)
        await ctx.tick()
        if value := ctx.get(dut.bin_value):
            found[latency] = value
    return found


def run(testbench, cycles=20_000):
    dut = LatencyHistogram()

    async def bench(ctx):
        await testbench(ctx, dut)

    simulate(dut, bench, cycles=cycles)


def test_a_latency_is_counted_from_the_edge_of_the_request_to_the_first_edge_of_the_reply():
    async def testbench(ctx, dut):
        for tag, latency in enumerate((1, 2, 3, 3, 3, 40)):
            await one_dma(ctx, dut, tag, latency)
        await one_dma(ctx, dut, 7, 5, waits=9)   # valid after 5, taken after 14
        assert await counted(ctx, dut) == {1: 1, 2: 1, 3: 3, 5: 1, 40: 1}
        assert ctx.get(dut.longest) == 40

    run(testbench)


def test_a_reply_behind_one_that_waited_is_seen_when_its_turn_comes():
    async def testbench(ctx, dut):
        await accept(ctx, dut, 0)                # edge 1
        await accept(ctx, dut, 1)                # edge 2
        await reply(ctx, dut, 0, waits=3)        # valid at edge 3, taken at edge 6
        await reply(ctx, dut, 1)                 # edge 7
        assert await counted(ctx, dut) == {2: 1, 5: 1}

    run(testbench)


def test_the_last_bin_takes_all_longer_ones_and_the_longest_is_exact():
    async def testbench(ctx, dut):
        for tag, latency in enumerate((1022, 1023, 1024, 3000)):
            await one_dma(ctx, dut, tag, latency)
        assert await counted(ctx, dut) == {1022: 1, 1023: 3}
        assert ctx.get(dut.longest) == 3000

    run(testbench)


def test_one_device_is_watched_or_all():
    async def testbench(ctx, dut):
        for watch, expected in (({"device": 3, "single": 1}, {13: 1}), ({"device": 3}, {10: 1, 13: 1, 15: 1})):
            await clear(ctx, dut, **watch)
            for device in (0, 3, 5):
                await one_dma(ctx, dut, device, 10 + device, device=device)
            assert await counted(ctx, dut) == expected
            assert ctx.get(dut.longest) == max(expected)

    run(testbench)


def test_what_was_accepted_before_the_clearing_or_during_it_does_not_count():
    async def testbench(ctx, dut):
        await accept(ctx, dut, 0)
        await accept(ctx, dut, 1)
        ctx.set(dut.clear, 1)
        await accept(ctx, dut, 2)
        await reply(ctx, dut, 0)                 # answered during the clearing
        await ctx.tick().until(dut.cleared)
        ctx.set(dut.clear, 0)
        for tag in (1, 2):
            await reply(ctx, dut, tag)
        assert await counted(ctx, dut) == {}
        assert ctx.get(dut.longest) == 0
        await one_dma(ctx, dut, 3, 6)
        assert await counted(ctx, dut) == {6: 1}

    run(testbench)


@pytest.mark.parametrize("tail", range(4))
def test_what_is_answered_as_the_clearing_begins_or_ends_leaves_nothing(tail):
    async def testbench(ctx, dut):
        for tag in range(8):
            await accept(ctx, dut, tag)
        await reply(ctx, dut, 7)                 # on its way into its bin when the clearing begins, which waits for it
        await reply(ctx, dut, 0)
        ctx.set(dut.clear, 1)
        await reply(ctx, dut, 1)
        await reply(ctx, dut, 2)
        await ticks(ctx, 1024 - 4)
        for tag in (3, 4, 5):
            assert ctx.get(dut.cleared) == (tag == 5)
            await reply(ctx, dut, tag)           # in the last cycles, the very one of `cleared` among them
        ctx.set(dut.clear, 0)
        await ticks(ctx, tail)
        await reply(ctx, dut, 6)
        assert await counted(ctx, dut) == {}
        assert ctx.get(dut.longest) == 0

    run(testbench)


def test_windows_take_turns_for_ever():
    async def testbench(ctx, dut):
        for latency in range(5, 0, -1):
            await clear(ctx, dut, device=2, single=1)
            await one_dma(ctx, dut, 9, latency, device=2)
            await one_dma(ctx, dut, 9, latency, device=3)
            assert await counted(ctx, dut) == {latency: 1}
            assert ctx.get(dut.longest) == latency
        await accept(ctx, dut, 1)
        for _ in range(2):
            await clear(ctx, dut)
        await reply(ctx, dut, 1)                 # of the window before the last
        assert await counted(ctx, dut) == {}

    run(testbench, cycles=40_000)


def test_a_reply_that_nobody_waited_for_is_not_counted():
    async def testbench(ctx, dut):
        await one_dma(ctx, dut, 1, 4)
        await reply(ctx, dut, 1, awaited=0)
        assert await counted(ctx, dut) == {4: 1}

    run(testbench)


def test_one_dma_begins_and_one_is_answered_in_every_cycle():
    random = Random(9)
    flying, expected = deque(), Tally()

    async def testbench(ctx, dut):
        ctx.set(dut.reply_ready, 1)
        for cycle in range(1500):
            answered = None
            if len(flying) > 4 and (len(flying) > 60 or random.random() < 0.9):
                flying.rotate(random.randrange(4))
                answered, since = flying.popleft()
                expected[cycle - since] += 1
            ctx.set(dut.reply_valid, answered is not None)
            ctx.set(dut.answer.valid, answered is not None)
            ctx.set(dut.answer.payload, answered or 0)
            flying.append((cycle % 1024, cycle))
            await accept(ctx, dut, cycle % 1024)
        ctx.set(dut.reply_valid, 0)
        ctx.set(dut.answer.valid, 0)
        assert await counted(ctx, dut) == expected
        assert ctx.get(dut.longest) == max(expected)
        assert sum(expected.values()) > 1200

    run(testbench)
