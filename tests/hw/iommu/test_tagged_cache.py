# amaranth: UnusedElaboratable=no
"""What both caches owe to their common core: where a fill goes, and fills beside a scan, at every offset.

Tested through the IOTLB, whose lines are easy to tell apart.
"""

import pytest

from hw.iommu.iotlb import Iotlb
from hw.spec.codec import decode
from hw.spec.events import FillDetail
from hw.spec.invalidation import Granularity
from tests.hw.iommu.iotlb_bench import fill, invalidate, look_up
from tests.hw.iommu.request_path import SMALL, begin, invalidation, iotlb_fill, put, simulate


def test_a_fill_replaces_the_line_with_its_key_and_no_other():
    dut = Iotlb(SMALL)

    async def bench(ctx):
        await fill(ctx, dut, iotlb_fill(iova_page=0, page=1))
        await fill(ctx, dut, iotlb_fill(iova_page=4 * 64, page=2))  # the same set of the small cache
        for page in (3, 4, 5):
            await fill(ctx, dut, iotlb_fill(iova_page=0, page=page))
            assert (await look_up(ctx, dut, 0)).page == page
            assert (await look_up(ctx, dut, 4 * 64)).page == 2
        await invalidate(ctx, dut, invalidation("IOTLB", Granularity.SELECTIVE, domain_id=5, page=0))
        assert await look_up(ctx, dut, 0) is None

    simulate(dut, bench)


def test_what_memory_holds_after_reset_is_no_line():
    dut = Iotlb(SMALL)

    async def bench(ctx):
        assert await look_up(ctx, dut, 0, domain_id=0, read=0) is None
        put(ctx, dut.fill.payload, iotlb_fill(domain_id=0, iova_page=0))  # a key of all zeros, as the memory's
        ctx.set(dut.fill.valid, 1)
        await ctx.tick()
        assert decode(FillDetail, ctx.get(dut.events[0].payload.detail)).way == 0

    simulate(dut, bench)


def test_two_fills_with_one_key_in_consecutive_cycles_make_one_line():
    dut = Iotlb(SMALL)

    async def bench(ctx):
        ctx.set(dut.fill.valid, 1)
        for page in (0x11, 0x22):
            put(ctx, dut.fill.payload, iotlb_fill(iova_page=6, page=page))
            await ctx.tick()
        ctx.set(dut.fill.valid, 0)
        ways = []
        for _ in range(3):
            if ctx.get(dut.events[0].valid):
                ways.append(decode(FillDetail, ctx.get(dut.events[0].payload.detail)).way)
            await ctx.tick()
        assert ways == [0]
        assert (await look_up(ctx, dut, 6)).page == 0x22

    simulate(dut, bench)


def test_a_full_set_loses_one_line_to_a_new_one_and_each_way_in_turn():
    dut = Iotlb(SMALL)
    pages = [64 * index for index in range(4)]  # all of one set, which has two ways

    async def bench(ctx):
        for count, page in enumerate(pages, start=1):
            await fill(ctx, dut, iotlb_fill(iova_page=page, page=page + 1))
            present = [each for each in pages if await look_up(ctx, dut, each) is not None]
            assert present == pages[max(count - 2, 0) : count]

    simulate(dut, bench)


def test_a_scan_takes_one_set_per_cycle():
    dut = Iotlb(SMALL)

    async def bench(ctx):
        assert ctx.get(dut.busy) == 0
        await begin(ctx, dut.invalidation, invalidation("IOTLB"))
        busy_cycles = 0
        while ctx.get(dut.busy):
            busy_cycles += 1
            await ctx.tick()
        assert busy_cycles == SMALL.iotlb_sets + 1

    simulate(dut, bench)


OFFSETS = range(-3, SMALL.iotlb_sets + 4)  # of a fill, in cycles after the begin of an invalidation


async def fill_beside_a_scan(ctx, dut, line, offset):
    """Invalidate domain 5, put the line in `offset` cycles after that begins, and wait until all is over."""
    put(ctx, dut.invalidation.payload, invalidation("IOTLB", Granularity.DOMAIN_SELECTIVE, domain_id=5))
    put(ctx, dut.fill.payload, line)
    for cycle in range(OFFSETS.start, OFFSETS.stop + 4):
        ctx.set(dut.invalidation.begin, cycle == 0)
        ctx.set(dut.fill.valid, cycle == offset)
        await ctx.tick()
    assert ctx.get(dut.busy) == 0


@pytest.mark.parametrize("set_index", range(SMALL.iotlb_sets))
def test_a_fill_beside_a_line_that_the_scan_clears_neither_is_lost_nor_saves_it(set_index):
    dut = Iotlb(SMALL)

    async def bench(ctx):
        for offset in OFFSETS:
            await fill(ctx, dut, iotlb_fill(domain_id=5, iova_page=set_index, page=0xBAD))
            await fill_beside_a_scan(ctx, dut, iotlb_fill(domain_id=6, iova_page=set_index, page=0x600D), offset)
            assert await look_up(ctx, dut, set_index, domain_id=5) is None
            assert (await look_up(ctx, dut, set_index, domain_id=6)).page == 0x600D
            await invalidate(ctx, dut, invalidation("IOTLB"))

    simulate(dut, bench)


@pytest.mark.parametrize("set_index", range(SMALL.iotlb_sets))
def test_a_covered_fill_is_removed_up_to_begin_and_never_brings_the_old_line_back(set_index):
    dut = Iotlb(SMALL)

    async def bench(ctx):
        for offset in OFFSETS:
            await fill(ctx, dut, iotlb_fill(iova_page=set_index, page=0xBAD))
            await fill_beside_a_scan(ctx, dut, iotlb_fill(iova_page=set_index, page=0x600D), offset)
            found = await look_up(ctx, dut, set_index)
            assert offset > 0 or found is None
            assert found is None or found.page == 0x600D
            assert found is not None or offset <= SMALL.iotlb_sets + 1
            await invalidate(ctx, dut, invalidation("IOTLB"))

    simulate(dut, bench)


@pytest.mark.parametrize("set_index", range(SMALL.iotlb_sets))
def test_a_fill_that_takes_the_way_the_scan_clears_in_that_cycle_stays(set_index):
    dut = Iotlb(SMALL)
    compared_cycle = set_index + 2  # of the scan, after begin; a fill is written one cycle after it came

    async def bench(ctx):
        await fill(ctx, dut, iotlb_fill(iova_page=set_index, page=0xBAD))
        await fill_beside_a_scan(ctx, dut, iotlb_fill(iova_page=set_index, page=0x600D), compared_cycle - 1)
        assert (await look_up(ctx, dut, set_index)).page == 0x600D

    simulate(dut, bench)
