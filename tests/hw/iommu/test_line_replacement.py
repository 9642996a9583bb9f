# amaranth: UnusedElaboratable=no
"""Which line goes: what is used again stays, what is read once does not push it out, and nothing stays for ever."""

import itertools
import random

import pytest

from tests.hw.iommu.request_path import simulate
from tests.hw.iommu.tagged_bench import SETS, cache, fill, look_up

WAYS = 4
CAPACITY = SETS * WAYS


async def access(ctx, dut, number):
    """Look a number up, and fill it if it is not there, as a walk would. True if it was."""
    found = await look_up(ctx, dut, number) is not None
    await ctx.tick()
    if not found:
        await fill(ctx, dut, number, number)
    return found


def hits(pattern):
    """How often a cache of CAPACITY lines has what the pattern asks for."""
    dut = cache(ways=WAYS)
    found = []

    async def bench(ctx):
        for number in pattern:
            found.append(await access(ctx, dut, number))

    simulate(dut, bench, cycles=10 * len(pattern))
    return sum(found)


def hits_round_robin(pattern):
    """The same of a cache that replaces the lines of each set in the order in which they came."""
    sets, found = {}, 0
    for number in pattern:
        lines = sets.setdefault(number % SETS, [])
        found += number in lines
        if number not in lines:
            lines.append(number)
            del lines[:-WAYS]
    return found


def test_a_line_that_is_used_again_survives_a_stream_of_ten_times_the_capacity():
    hot = 1
    dut = cache(ways=WAYS)

    async def bench(ctx):
        for each in (hot, hot):
            await access(ctx, dut, each)
        for number in range(100 * SETS, 100 * SETS + 10 * CAPACITY):
            assert not await access(ctx, dut, number)
            if number % SETS == 0:
                assert await access(ctx, dut, hot)

    simulate(dut, bench)


def hot_lines_beside_a_stream():
    """Half the capacity is used over and over; later a stream brings four new lines between two uses, one for each set."""
    warm = list(range(CAPACITY // 2)) * 2
    hot = itertools.cycle(range(CAPACITY // 2))
    streamed = itertools.count(1000)
    return warm + [number for _ in range(200) for number in (next(hot), *itertools.islice(streamed, 4))]


def test_hot_lines_beside_a_stream_are_found_where_round_robin_loses_them():
    pattern = hot_lines_beside_a_stream()
    uses = 200
    assert hits_round_robin(pattern) < 0.1 * uses
    assert hits(pattern) > 0.7 * uses


def test_on_random_lines_it_is_as_good_as_round_robin():
    generator = random.Random(2)
    pattern = [generator.randrange(2 * CAPACITY) for _ in range(1000)]
    assert hits(pattern) >= 0.9 * hits_round_robin(pattern)


def test_lines_that_were_used_and_are_no_more_give_way():
    """Three dead lines of a set of four have been used; two live ones come in turn."""
    dead = [SETS * index for index in (1, 2, 3)]
    live = [SETS * index for index in (4, 5)]
    pattern = [number for number in dead for _ in range(2)] + live * 200
    assert hits(pattern) - len(dead) > 0.5 * len(live * 200)


@pytest.mark.parametrize("ways", [1, 2, 4])
def test_without_uses_each_way_has_its_turn(ways):
    dut = cache(ways=ways)

    async def bench(ctx):
        taken = [await fill(ctx, dut, SETS * number) for number in range(3 * ways)]
        assert taken == list(range(ways)) * 3

    simulate(dut, bench)


def test_a_compare_that_is_no_lookup_uses_nothing():
    dut = cache(ways=2)

    async def bench(ctx):
        for number in (0, SETS):
            await fill(ctx, dut, number)
        assert await look_up(ctx, dut, 0, looked_up=0) is not None
        await ctx.tick()
        assert await fill(ctx, dut, 2 * SETS) == 0

    simulate(dut, bench)


def test_when_all_lines_of_a_set_are_used_the_last_one_used_stays():
    dut = cache(ways=2)

    async def bench(ctx):
        for number in (0, SETS):
            await fill(ctx, dut, number)
        for number in (SETS, 0):
            await look_up(ctx, dut, number)
            await ctx.tick()
        assert await fill(ctx, dut, 2 * SETS) == 1
        assert await look_up(ctx, dut, 0) is not None

    simulate(dut, bench)


def test_a_new_line_in_the_place_of_a_used_one_is_not_used():
    dut = cache(ways=2)

    async def bench(ctx):
        for number in (0, SETS):
            await fill(ctx, dut, number)
        await look_up(ctx, dut, 0)
        await ctx.tick()
        assert await fill(ctx, dut, 0) == 0  # the same line anew: as if it had never been used
        assert await fill(ctx, dut, 2 * SETS) == 1  # its turn
        assert await fill(ctx, dut, 3 * SETS) == 0

    simulate(dut, bench)
