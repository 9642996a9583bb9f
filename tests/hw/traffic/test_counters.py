# amaranth: UnusedElaboratable=no
"""Counters in memory: exact at one increment per cycle."""
from collections import Counter as Tally
from random import Random

import pytest

from hw.traffic.counters import CounterBank
from tests.hw.traffic.machine import simulate


async def value_of(ctx, dut, row):
    ctx.set(dut.host_row, row)
    await ctx.tick()
    return ctx.get(dut.host_value)


async def count(ctx, dut, *rows):
    ctx.set(dut.count, 1)
    for row in rows:
        ctx.set(dut.row, row)
        await ctx.tick()
    ctx.set(dut.count, 0)


async def clear(ctx, dut, row):
    ctx.set(dut.host_row, row)
    ctx.set(dut.clear, 1)
    await ctx.tick().until(dut.cleared)
    ctx.set(dut.clear, 0)


@pytest.mark.parametrize("rows", [
    [2] * 9, [2, 5] * 9, [2, 2, 5] * 5, [Random(1).randrange(8) for _ in range(200)],
], ids=["one row", "two in turn", "two and one", "random"])
def test_no_increment_is_lost(rows):
    dut = CounterBank(rows=8)

    async def testbench(ctx):
        await count(ctx, dut, *rows)
        await ctx.tick()
        for row in range(8):
            assert await value_of(ctx, dut, row) == Tally(rows)[row]

    simulate(dut, testbench)


def test_clear_waits_for_the_increment_under_way_and_touches_one_counter():
    dut = CounterBank(rows=4)

    async def testbench(ctx):
        await count(ctx, dut, 1, 1, 2, 1)
        await clear(ctx, dut, 1)
        assert await value_of(ctx, dut, 1) == 0
        assert await value_of(ctx, dut, 2) == 1

    simulate(dut, testbench)


def test_an_increment_in_the_cycle_of_the_clear_comes_after_it():
    dut = CounterBank(rows=4)

    async def testbench(ctx):
        await count(ctx, dut, 1, 1, 1)
        await ctx.tick()
        ctx.set(dut.host_row, 1)
        ctx.set(dut.clear, 1)
        ctx.set(dut.row, 1)
        ctx.set(dut.count, 1)
        assert ctx.get(dut.cleared) == 1
        await ctx.tick()
        ctx.set(dut.clear, 0)
        ctx.set(dut.count, 0)
        await ctx.tick()
        assert await value_of(ctx, dut, 1) == 1

    simulate(dut, testbench)


def test_a_full_counter_stays_full():
    dut = CounterBank(rows=2, bits=3)

    async def testbench(ctx):
        await count(ctx, dut, *[1] * 6)
        await ctx.tick()
        assert await value_of(ctx, dut, 1) == 6
        await count(ctx, dut, *[1] * 6)
        await ctx.tick()
        assert await value_of(ctx, dut, 1) == 7

    simulate(dut, testbench)
