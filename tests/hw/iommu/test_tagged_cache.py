# amaranth: UnusedElaboratable=no
"""The core of all caches: where a fill goes, and fills beside lookups and scans, at every offset."""

import random
from unittest import mock

import pytest
from amaranth import *

import hw.iommu.tagged_cache
from hw.lib.plain_memory import plain_memory
from tests.hw.iommu.request_path import begin, invalidation, put, simulate
from tests.hw.iommu.tagged_bench import (
    SETS,
    WAYS,
    Tag,
    cache,
    drive_fill,
    fill,
    invalidate,
    look_up,
    of_domain,
)


def test_a_fill_replaces_the_line_with_its_key_and_no_other():
    dut = cache()

    async def bench(ctx):
        await fill(ctx, dut, 0, 1)
        await fill(ctx, dut, SETS, 2)  # the same set
        for content in (3, 4, 5):
            await fill(ctx, dut, 0, content)
            assert await look_up(ctx, dut, 0) == content
            assert await look_up(ctx, dut, SETS) == 2
        await invalidate(ctx, dut, of_domain(5))
        assert await look_up(ctx, dut, 0) is None

    simulate(dut, bench)


def test_a_fill_is_told_with_its_place_in_the_cycle_after_it_came():
    dut = cache()

    async def bench(ctx):
        for way in range(WAYS):
            drive_fill(ctx, dut, 6 + way * SETS, 0xAB + way)
            assert ctx.get(dut.filled) == 0
            await ctx.tick()
            ctx.set(dut.fill.valid, 0)
            assert (ctx.get(dut.filled), ctx.get(dut.filled_set), ctx.get(dut.filled_way)) == (1, 6 % SETS, way)
            assert ctx.get(dut.filled_tag) == Tag.const({"number": 6 + way * SETS, "domain_id": 5})
            assert ctx.get(dut.filled_content) == 0xAB + way
            await ctx.tick()

    simulate(dut, bench)


def test_what_memory_holds_after_reset_is_no_line():
    dut = cache()

    async def bench(ctx):
        assert await look_up(ctx, dut, 0, domain_id=0) is None
        assert await fill(ctx, dut, 0, domain_id=0) == 0  # a key of all zeros, as the memory's

    simulate(dut, bench)


@pytest.mark.parametrize("apart", [1, 2, 3])
def test_fills_with_one_key_make_one_line_however_close_they_follow(apart):
    dut = cache(ways=4)

    async def bench(ctx):
        ways = []
        for cycle in range(4 * apart + 3):
            drive_fill(ctx, dut, 6, cycle, valid=cycle % apart == 0 and cycle < 4 * apart)
            if ctx.get(dut.filled):
                ways.append(ctx.get(dut.filled_way))
            await ctx.tick()
        assert ways == [0] * 4
        assert await look_up(ctx, dut, 6) == 3 * apart

    simulate(dut, bench)


def test_after_consecutive_fills_of_two_keys_each_is_found_once():
    """A line that has just been written over is not taken for the one that was read there."""
    dut = cache()
    generator = random.Random(5)

    async def bench(ctx):
        for _ in range(60):
            numbers = [SETS * generator.randrange(3) for _ in range(4)]
            for content, number in enumerate(numbers):
                drive_fill(ctx, dut, number, content)
                await ctx.tick()
            ctx.set(dut.fill.valid, 0)
            await ctx.tick()
            kept = {number: await look_up(ctx, dut, number) for number in range(0, 3 * SETS, SETS)}
            assert kept[numbers[-1]] == 3  # and look_up finds no number twice
            assert all(content is None or numbers[content] == number for number, content in kept.items())
            await invalidate(ctx, dut, of_domain(5))

    simulate(dut, bench)


@pytest.mark.parametrize("distance", range(-2, 4))
def test_a_lookup_beside_a_fill_finds_the_old_line_or_none_and_then_the_new_one(distance):
    """`distance` of the lookup's `set_index` from the fill: in the cycle in which the fill is written nothing matches."""
    dut = cache()

    async def bench(ctx):
        await fill(ctx, dut, 2, 0xBAD)
        ctx.set(dut.set_index, 1)
        put(ctx, dut.wanted, Tag.const({"number": 2, "domain_id": 5}))
        for cycle in range(-2, 6):
            drive_fill(ctx, dut, 2, 0x600D, valid=cycle == 0)
            ctx.set(dut.set_index, 2 if cycle == distance else 1)
            if cycle == distance + 1:
                matched = ctx.get(dut.matched)
                found = ctx.get(dut.contents[0]) if matched else None
            await ctx.tick()
        assert found == (0xBAD if distance < 1 else None if distance == 1 else 0x600D)

    simulate(dut, bench)


def test_a_way_that_is_written_hides_neither_the_other_ways_nor_the_other_sets():
    dut = cache()

    async def bench(ctx):
        await fill(ctx, dut, 1, 0x11)
        await fill(ctx, dut, 2, 0x22)
        for number, content in ((1, 0x11), (2, 0x22)):
            put(ctx, dut.wanted, Tag.const({"number": number, "domain_id": 5}))
            ctx.set(dut.set_index, number)
            await ctx.tick()
            for cycle in range(5):
                drive_fill(ctx, dut, 1 + SETS, valid=cycle == 1)  # the other way of the set of 1
                matched = ctx.get(dut.matched)
                assert matched == 1
                assert ctx.get(dut.contents[0]) == content
                await ctx.tick()
            await invalidate(ctx, dut, of_domain(99))

    simulate(dut, bench)


@pytest.mark.parametrize("key_decides", [True, False])
def test_from_the_cycle_after_begin_a_covered_line_is_gone_and_another_is_found_in_every_cycle(key_decides):
    for number in range(SETS):
        for looked_up_domain in (5, 6):
            dut = cache(key_decides=key_decides)

            async def bench(ctx, dut=dut, number=number, domain_id=looked_up_domain):
                await fill(ctx, dut, number, domain_id=domain_id)
                await fill(ctx, dut, number + SETS, domain_id=11 - domain_id)
                put(ctx, dut.invalidation.payload, of_domain(5))
                put(ctx, dut.wanted, Tag.const({"number": number, "domain_id": domain_id}))
                ctx.set(dut.set_index, number)
                await ctx.tick()
                for cycle in range(-2, SETS + 7):
                    ctx.set(dut.invalidation.begin, cycle == 0)
                    assert (ctx.get(dut.matched) != 0) == (domain_id == 6 or cycle <= 0)
                    await ctx.tick()

            simulate(dut, bench)


def test_a_scan_takes_one_set_per_cycle_whatever_is_filled():
    dut = cache()

    async def bench(ctx):
        assert ctx.get(dut.busy) == 0
        drive_fill(ctx, dut, 1)
        await begin(ctx, dut.invalidation, invalidation("IOTLB"))
        busy_cycles = 0
        while ctx.get(dut.busy):
            drive_fill(ctx, dut, busy_cycles)
            busy_cycles += 1
            await ctx.tick()
        assert busy_cycles == SETS - 1

    simulate(dut, bench)


def test_an_invalidation_of_another_kind_is_not_heard():
    dut = cache()

    async def bench(ctx):
        await fill(ctx, dut, 3)
        await begin(ctx, dut.invalidation, invalidation("CONTEXT_CACHE"))
        assert ctx.get(dut.busy) == 0
        await ctx.tick().repeat(SETS + 3)
        assert await look_up(ctx, dut, 3) == 1

    simulate(dut, bench)


OFFSETS = range(-3, SETS + 6)  # of a fill, in cycles after the begin of an invalidation


async def fill_beside_a_scan(ctx, dut, number, content, domain_id, offset):
    """Invalidate domain 5, put the line in `offset` cycles after that begins, and wait until all is over."""
    put(ctx, dut.invalidation.payload, of_domain(5))
    for cycle in range(OFFSETS.start, OFFSETS.stop + 4):
        ctx.set(dut.invalidation.begin, cycle == 0)
        drive_fill(ctx, dut, number, content, domain_id=domain_id, valid=cycle == offset)
        await ctx.tick()
    assert ctx.get(dut.busy) == 0


@pytest.mark.parametrize("set_index", range(SETS))
def test_a_fill_beside_a_line_that_the_scan_clears_neither_is_lost_nor_saves_it(set_index):
    dut = cache()

    async def bench(ctx):
        for offset in OFFSETS:
            await fill(ctx, dut, set_index, 0xBAD)
            await fill_beside_a_scan(ctx, dut, set_index, 0x600D, 6, offset)
            assert await look_up(ctx, dut, set_index) is None
            assert await look_up(ctx, dut, set_index, domain_id=6) == 0x600D
            await invalidate(ctx, dut, invalidation("IOTLB"))

    simulate(dut, bench)


@pytest.mark.parametrize("set_index", range(SETS))
def test_a_covered_fill_is_removed_up_to_begin_and_never_brings_the_old_line_back(set_index):
    dut = cache()

    async def bench(ctx):
        for offset in OFFSETS:
            await fill(ctx, dut, set_index, 0xBAD)
            await fill_beside_a_scan(ctx, dut, set_index, 0x600D, 5, offset)
            found = await look_up(ctx, dut, set_index)
            assert offset > 0 or found is None
            assert found is None or found == 0x600D
            assert found is not None or offset <= 0 or offset < set_index  # written before the scan read it: dropped
            await invalidate(ctx, dut, invalidation("IOTLB"))

    simulate(dut, bench)


@pytest.mark.parametrize(
    ("set_index", "written"), [(0, 2), *((index, written) for index in range(1, SETS) for written in (1, 2))]
)
def test_a_line_written_in_the_cycle_in_which_the_scan_reads_or_clears_its_way_stays(set_index, written):
    dut = cache()

    async def bench(ctx):
        await fill(ctx, dut, set_index, 0xBAD)
        await fill_beside_a_scan(ctx, dut, set_index, 0x600D, 5, set_index + written - 1)
        assert await look_up(ctx, dut, set_index) == 0x600D

    simulate(dut, bench)


def garbage_where_written(m, name, shape, *, enable, address, reads, **more):
    """A plain memory that makes the most of its freedom: what is read in the cycle in which it is written is all ones."""
    rows = plain_memory(m, name, shape, enable=enable, address=address, reads=reads, **more)
    garbled = []
    for number, (row, read) in enumerate(zip(rows, reads, strict=True)):
        clash = Signal(name=f"{name}_{number}_clash")
        garbage = Signal.like(row, name=f"{name}_{number}_garbled")
        m.d.sync += clash.eq(enable & (address == read))
        m.d.comb += Value.cast(garbage).eq(Value.cast(row) | clash.replicate(len(Value.cast(row))))
        garbled.append(garbage)
    return garbled


async def random_run(ctx, dut):
    """Everything at once on few lines, of which one is all ones; returns what lookups found, cycle by cycle."""
    generator = random.Random(9)
    found = []
    numbers = [0, 4, 0xFFB, 0xFFF]  # of two sets
    for _ in range(1500):
        drive_fill(ctx, dut, generator.choice(numbers), generator.getrandbits(16),
                   domain_id=generator.choice([5, 255]), valid=generator.getrandbits(1))  # fmt: skip
        beginning = not ctx.get(dut.busy) and generator.random() < 0.1
        ctx.set(dut.invalidation.begin, beginning)
        if beginning:
            put(ctx, dut.invalidation.payload, of_domain(generator.choice([5, 255])))
        ctx.set(dut.set_index, generator.choice([0, 3]))
        ctx.set(dut.looked_up, generator.getrandbits(1))
        put(ctx, dut.wanted, Tag.const({"number": generator.choice(numbers), "domain_id": generator.choice([5, 255])}))
        matched = ctx.get(dut.matched)
        assert matched & (matched - 1) == 0
        found.append(ctx.get(dut.contents[matched.bit_length() - 1]) if matched else None)
        found.append(ctx.get(dut.filled_way) if ctx.get(dut.filled) else None)
        await ctx.tick()
    return found


def test_what_is_read_while_it_is_written_changes_nothing():
    runs = []
    for memory in (plain_memory, garbage_where_written):
        with mock.patch.object(hw.iommu.tagged_cache, "plain_memory", memory):
            dut = cache()

            async def bench(ctx, dut=dut):
                runs.append(await random_run(ctx, dut))

            simulate(dut, bench)
    assert len(set(runs[0])) > 100
    assert runs[0] == runs[1]
