# amaranth: UnusedElaboratable=no
"""Counters in a memory: nothing is lost, whatever the strobes."""
import random

import pytest

from hw.lib.counter_file import CounterFile
from tests.hw.iommu.bench import run

STAGES = 3   # cycles from a counter's turn to its total


def counted(strobes, *, counters, counter_bits=16, used=None, clears=()):
    """Play strobes, a word per cycle; what the totals say of each counter, as (cycle of its turn, value)."""
    dut = CounterFile(counters=counters, counter_bits=counter_bits, used=used)
    seen = {index: [] for index in range(counters)}

    async def bench(ctx):
        turns = []
        for cycle in range(len(strobes) + 2 * counters + STAGES):
            ctx.set(dut.strobes, strobes[cycle] if cycle < len(strobes) else 0)
            ctx.set(dut.clear, cycle in clears)
            turns.append(ctx.get(dut.turn))
            if cycle >= STAGES:
                seen[turns[cycle - STAGES]].append((cycle - STAGES, ctx.get(dut.total)))
            await ctx.tick()
    run(dut, bench)
    return seen


def expected(strobes, index, cycle, clears=()):
    """How often a counter was asked to count up to and in a cycle, since it was cleared."""
    first = max((clear + 1 for clear in clears if clear <= cycle), default=0)
    return sum(word >> index & 1 for word in strobes[first:cycle + 1])


def check(strobes, seen, clears=()):
    """Every total is exact; those near a clear may be of before."""
    for index, totals in seen.items():
        assert len(totals) > 1
        for cycle, value in totals:
            if not any(cycle < clear <= cycle + STAGES for clear in clears):
                assert value == expected(strobes, index, cycle, clears), (index, cycle)


@pytest.mark.parametrize("counters", [4, 5, 41, 63])
def test_nothing_is_lost_when_every_counter_counts_in_every_cycle(counters):
    strobes = [(1 << counters) - 1] * 300
    check(strobes, counted(strobes, counters=counters))


@pytest.mark.parametrize("seed", [1, 2])
def test_each_counter_counts_its_own_strobes(seed):
    source = random.Random(seed)
    strobes = [source.getrandbits(41) & source.getrandbits(41) for _ in range(500)]
    check(strobes, counted(strobes, counters=41))


@pytest.mark.parametrize("clear", range(100, 115))
def test_clear_forgets_what_came_up_to_it_and_nothing_later(clear):
    strobes = [(1 << 13) - 1] * 200
    clears = (clear, clear + 5)
    check(strobes, counted(strobes, counters=13, clears=clears), clears)


def test_a_counter_stands_still_at_its_largest_value():
    seen = counted([0b01] * 200, counters=4, counter_bits=3)
    assert max(value for _, value in seen[0]) == 7
    assert seen[0][-1][1] == 7
    assert {value for _, value in seen[1]} == {0}


def test_a_counter_that_is_not_used_stands_at_zero():
    seen = counted([(1 << 8) - 1] * 60, counters=8, used={0, 7})
    assert [seen[index][-1][1] for index in range(8)] == [60, 0, 0, 0, 0, 0, 0, 60]


@pytest.mark.parametrize(("parameters", "message"), [
    (dict(counters=3, counter_bits=8), "counters must be between 4 and 63, not 3"),
    (dict(counters=64, counter_bits=8), "counters must be between 4 and 63, not 64"),
    (dict(counters=4, counter_bits=0), "counter_bits must be at least 1, not 0"),
    (dict(counters=4, counter_bits=8, used={1, 4}), r"used must name counters below 4, not \[4\]"),
])
def test_bad_parameters_are_refused(parameters, message):
    with pytest.raises(ValueError, match=message):
        CounterFile(**parameters)
