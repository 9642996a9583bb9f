# amaranth: UnusedElaboratable=no
"""A selective scan reads the sets that can hold what it removes, no others, and the next one follows at its heels."""

import random

import pytest

from tests.hw.iommu.request_path import begin, put, simulate
from tests.hw.iommu.tagged_bench import (
    SETS,
    WAYS,
    Tag,
    cache,
    drive_fill,
    fill,
    invalidate,
    look_up,
    of_numbers,
)

NUMBERS = SETS * WAYS


@pytest.mark.parametrize("mask", range(5))
def test_a_range_is_removed_and_nothing_else_in_as_many_cycles_as_it_has_sets(mask):
    dut = cache()

    async def bench(ctx):
        for first in range(0, 2 * NUMBERS, 1 << mask):
            for number in range(NUMBERS):
                await fill(ctx, dut, number, number)
            await begin(ctx, dut.invalidation, of_numbers(first, mask))
            busy_cycles = 0
            while ctx.get(dut.busy):
                busy_cycles += 1
                await ctx.tick()
            assert busy_cycles == min(1 << mask, SETS) - 1
            await ctx.tick().repeat(2)
            for number in range(NUMBERS):
                covered = first <= number < first + (1 << mask)
                assert await look_up(ctx, dut, number) == (None if covered else number)

    simulate(dut, bench)


@pytest.mark.parametrize("watched", range(NUMBERS))
def test_single_sets_are_scanned_every_two_cycles_and_each_line_is_gone_from_the_cycle_after_its_begin(watched):
    dut = cache()

    async def bench(ctx):
        for number in range(NUMBERS):
            await fill(ctx, dut, number)
        put(ctx, dut.wanted, Tag.const({"number": watched, "domain_id": 5}))
        ctx.set(dut.set_index, watched % SETS)
        await ctx.tick()
        for cycle in range(2 * NUMBERS + 4):
            beginning = cycle % 2 == 0 and cycle < 2 * NUMBERS
            ctx.set(dut.invalidation.begin, beginning)
            if beginning:
                put(ctx, dut.invalidation.payload, of_numbers(cycle // 2, 0))
            assert ctx.get(dut.busy) == 0
            assert (ctx.get(dut.matched) != 0) == (cycle <= 2 * watched)
            await ctx.tick()

    simulate(dut, bench)


@pytest.mark.parametrize("offset", range(-3, 4))
@pytest.mark.parametrize("again", [0, 1], ids=["alone", "over its old line"])
def test_a_fill_beside_a_scan_of_one_set_is_removed_up_to_begin_and_stays_behind_it(again, offset):
    dut = cache()

    async def bench(ctx):
        for number in range(SETS):
            if again:
                await fill(ctx, dut, number, 0xBAD)
            for cycle in range(-3, 8):
                ctx.set(dut.invalidation.begin, cycle in (0, 2))  # the second is of another set
                put(ctx, dut.invalidation.payload, of_numbers(number if cycle < 2 else number ^ 1, 0))
                drive_fill(ctx, dut, number, 0x600D, valid=cycle == offset)
                await ctx.tick()
            assert await look_up(ctx, dut, number) == (None if offset <= 0 else 0x600D)
            await invalidate(ctx, dut, of_numbers(0, 12))

    simulate(dut, bench)


@pytest.mark.parametrize("seed", range(3))
def test_what_is_found_is_what_was_filled_last_and_not_removed_since_with_scans_as_dense_as_they_may_be(seed):
    dut = cache()
    generator = random.Random(seed)
    history = {number: [] for number in range(2 * NUMBERS)}  # of a number: (cycle, content) of fills, (cycle, None)
    found_lines = 0

    def possible(number, cycle):
        """What a lookup compared in this cycle may find."""
        state = {None}
        for happened, content in history[number]:
            if content is None and happened < cycle:
                state = {None}
            if content is not None and happened <= cycle - 2:
                state = {None, content}
        return state

    async def bench(ctx):
        nonlocal found_lines
        looked_up, was_busy, rest = 0, 0, 0
        for cycle in range(1500):
            number = looked_up
            put(ctx, dut.wanted, Tag.const({"number": number, "domain_id": 5}))
            matched = ctx.get(dut.matched)
            found = ctx.get(dut.contents[matched.bit_length() - 1]) if matched else None
            assert found in possible(number, cycle)
            found_lines += found is not None
            looked_up = generator.randrange(2 * NUMBERS)
            ctx.set(dut.set_index, looked_up % SETS)

            filled = generator.randrange(2 * NUMBERS)
            filling = generator.random() < 0.6
            drive_fill(ctx, dut, filled, cycle, valid=filling)
            beginning = not was_busy and not rest and generator.random() < 0.7
            ctx.set(dut.invalidation.begin, beginning)
            was_busy, rest = ctx.get(dut.busy), 1 if beginning else 0
            if filling:
                history[filled].append((cycle, cycle))
            if beginning:
                mask = generator.choice([0, 0, 0, 1, 2])
                first = generator.randrange(2 * NUMBERS) >> mask << mask
                put(ctx, dut.invalidation.payload, of_numbers(first, mask))
                for covered in range(first, first + (1 << mask)):
                    history[covered].append((cycle, None))
            await ctx.tick()

    simulate(dut, bench)
    assert found_lines > 100
