# amaranth: UnusedElaboratable=no
"""The IOTLB: which pages a line answers for, and with what; what an invalidation removes; which events tell of a fill."""

from dataclasses import replace

import pytest

from hw.iommu.config import IommuConfig
from hw.iommu.iotlb import Iotlb
from hw.spec.codec import decode
from hw.spec.events import EventKind, FillDetail
from hw.spec.invalidation import Granularity
from hw.spec.tables import PageSize
from tests.hw.iommu.iotlb_bench import SIZES, SPAN, fill, invalidate, look_up
from tests.hw.iommu.request_path import ABSENT, SMALL, begin, entry, invalidation, iotlb_fill, iotlb_line, put, simulate

PAGES_1G = SPAN[PageSize.SIZE_1G]


def test_the_domain_is_part_of_the_tag():
    dut = Iotlb(SMALL)

    async def bench(ctx):
        await fill(ctx, dut, iotlb_fill(domain_id=5, iova_page=9, page=0x50))
        await fill(ctx, dut, iotlb_fill(domain_id=6, iova_page=9, page=0x60))
        assert (await look_up(ctx, dut, 9, domain_id=5)).page == 0x50
        assert (await look_up(ctx, dut, 9, domain_id=6)).page == 0x60
        assert await look_up(ctx, dut, 9, domain_id=7) is None
        assert await look_up(ctx, dut, 9 + (1 << 44), domain_id=5) is None

    simulate(dut, bench)


@pytest.mark.parametrize(("readable", "writable"), [(0, 1), (1, 0), (1, 1)])
def test_a_line_whose_permission_does_not_suffice_is_a_miss(readable, writable):
    dut = Iotlb(SMALL)

    async def bench(ctx):
        await fill(ctx, dut, iotlb_fill(iova_page=3, readable=readable, writable=writable))
        for read, write in ((1, 0), (0, 1), (1, 1)):
            found = await look_up(ctx, dut, 3, read=read, write=write)
            assert (found is not None) == (read <= readable and write <= writable)

    simulate(dut, bench)


def test_a_line_without_any_permission_says_so_to_every_access_until_a_newer_one_replaces_it():
    dut = Iotlb(SMALL)

    async def bench(ctx):
        await fill(ctx, dut, iotlb_fill(iova_page=3, page=0, readable=0, writable=0))
        for read, write in ((1, 0), (0, 1), (1, 1)):
            found = await look_up(ctx, dut, 3, read=read, write=write)
            assert (found.readable, found.writable) == (0, 0)
        assert await look_up(ctx, dut, 3, domain_id=6) is None
        await fill(ctx, dut, iotlb_fill(iova_page=3, page=0x33))
        assert (await look_up(ctx, dut, 3, read=1, write=1)).page == 0x33

    simulate(dut, bench)


def test_a_smaller_page_without_permission_does_not_hide_a_larger_one_with_it():
    dut = Iotlb(SMALL)

    async def bench(ctx):
        await fill(ctx, dut, iotlb_fill(iova_page=3, writable=0, page=0x33))
        await fill(ctx, dut, iotlb_fill(iova_page=0, page_size=PageSize.SIZE_2M, page=0x200))
        assert (await look_up(ctx, dut, 3, write=0)).page == 0x33
        assert (await look_up(ctx, dut, 3, write=1)).page == 0x200

    simulate(dut, bench)


def filled(port, ctx):
    """The event of one entry: (iova, hpa, readable, writable), with what all entries of its line share; None if none."""
    if not ctx.get(port.valid):
        return None
    event = ctx.get(port.payload)
    assert (event.kind, event.source_id) == (EventKind.IOTLB_FILL, 0)
    detail = decode(FillDetail, event.detail)
    place = (event.domain_id, detail.page_size, detail.set_index, detail.way, detail.table_pointer)
    return (event.iova, event.hpa, detail.readable, detail.writable), place


@pytest.mark.parametrize(
    ("size", "iova_page", "bases", "set_index"),
    [
        (PageSize.SIZE_4K, 0x3_0205, (0x3_0204_000, 0x3_0205_000), 0b10 ^ 0b00),
        (PageSize.SIZE_2M, 0x3_0605, (0x3_0400_000, 0x3_0600_000), 1),
        (PageSize.SIZE_1G, 0x18_0000, (0x18_0000_000, 0x1C_0000_000), 1 ^ 1),
    ],
)
def test_a_fill_is_an_event_for_each_entry_with_its_place(size, iova_page, bases, set_index):
    dut = Iotlb(SMALL)

    async def bench(ctx):
        line = iotlb_line(
            [entry(0x7200, writable=0), entry(0x9200)], domain_id=0xABC, iova_page=iova_page, page_size=size
        )
        put(ctx, dut.fill.payload, line)
        ctx.set(dut.fill.valid, 1)
        assert [filled(port, ctx) for port in dut.events] == [None, None]
        await ctx.tick()
        ctx.set(dut.fill.valid, 0)
        place = (0xABC, size, set_index, 0, 0x777)
        assert filled(dut.events[0], ctx) == ((bases[0], 0x7200_000, 1, 0), place)
        assert filled(dut.events[1], ctx) == ((bases[1], 0x9200_000, 1, 1), place)
        await ctx.tick()
        assert [filled(port, ctx) for port in dut.events] == [None, None]

    simulate(dut, bench)


def test_an_entry_of_which_nothing_is_known_is_no_event_and_no_hit():
    dut = Iotlb(SMALL)

    async def bench(ctx):
        put(ctx, dut.fill.payload, iotlb_line([ABSENT, entry(0x33)], iova_page=4))
        ctx.set(dut.fill.valid, 1)
        await ctx.tick()
        ctx.set(dut.fill.valid, 0)
        assert [ctx.get(port.valid) for port in dut.events] == [0, 1]
        await ctx.tick()
        for write in (0, 1):  # an entry that is not valid has no permission, but is not a page that is not present
            assert await look_up(ctx, dut, 4, read=1 - write, write=write) is None
        assert (await look_up(ctx, dut, 5)).page == 0x33

    simulate(dut, bench)


@pytest.mark.parametrize("memory_word_bits", [128, 512])
@pytest.mark.parametrize("size", SIZES)
def test_one_fill_brings_all_pages_of_its_line_whichever_of_them_it_names(size, memory_word_bits):
    config = replace(SMALL, memory_word_bits=memory_word_bits)
    count = config.entries_per_word
    dut = Iotlb(config)
    first = 3 * PAGES_1G * 8  # the base of a line of any size

    async def bench(ctx):
        for named in range(count):
            line = [entry(0x10 * named + index) for index in range(count)]
            value = iotlb_line(line, iova_page=first + named * SPAN[size], page_size=size)
            await fill(ctx, dut, value)
            found = [await look_up(ctx, dut, first + index * SPAN[size]) for index in range(count)]
            assert [each.page for each in found] == [0x10 * named + index for index in range(count)]
            assert await look_up(ctx, dut, first + count * SPAN[size]) is None
            assert await look_up(ctx, dut, first - 1) is None

    simulate(dut, bench)


def test_a_line_over_a_line_leaves_nothing_of_the_old_one():
    dut = Iotlb(SMALL)

    async def bench(ctx):
        await fill(ctx, dut, iotlb_fill(iova_page=6, page=0x66))
        await fill(ctx, dut, iotlb_fill(iova_page=7, page=0x77))
        assert await look_up(ctx, dut, 6) is None
        assert (await look_up(ctx, dut, 7)).page == 0x77

    simulate(dut, bench)


def test_a_line_that_is_looked_up_stays_where_one_that_is_not_goes():
    dut = Iotlb(SMALL)
    pages = [128 * index for index in range(3)]  # of one set of two ways

    async def bench(ctx):
        for page in pages[:2]:
            await fill(ctx, dut, iotlb_fill(iova_page=page))
        await look_up(ctx, dut, pages[0])
        await ctx.tick()
        await fill(ctx, dut, iotlb_fill(iova_page=pages[2]))
        assert [page for page in pages if await look_up(ctx, dut, page) is not None] == [pages[0], pages[2]]

    simulate(dut, bench)


LINES = {
    "4K": iotlb_fill(domain_id=5, iova_page=0x4_0203),
    "2M": iotlb_fill(domain_id=5, iova_page=0x4_0200, page_size=PageSize.SIZE_2M),
    "1G": iotlb_fill(domain_id=5, iova_page=0x4_0000, page_size=PageSize.SIZE_1G),
}


@pytest.mark.parametrize(
    ("granularity", "fields", "removed"),
    [
        (Granularity.GLOBAL, {"domain_id": 9}, "4K 2M 1G"),
        (Granularity.DOMAIN_SELECTIVE, {"domain_id": 5}, "4K 2M 1G"),
        (Granularity.DOMAIN_SELECTIVE, {"domain_id": 6}, ""),
        (Granularity.SELECTIVE, {"domain_id": 6, "page": 0x4_0203}, ""),
        (Granularity.SELECTIVE, {"domain_id": 5, "page": 0x4_0203}, "4K 2M 1G"),
        (Granularity.SELECTIVE, {"domain_id": 5, "page": 0x4_0203, "hint": 1}, "4K 2M 1G"),  # lines are leaves
        (Granularity.SELECTIVE, {"domain_id": 5, "page": 0x4_0200, "address_mask": 9, "hint": 1}, "4K 2M 1G"),
        (Granularity.SELECTIVE, {"domain_id": 5, "page": 0x4_0202}, "4K 2M 1G"),  # the other page of the line
        (Granularity.SELECTIVE, {"domain_id": 5, "page": 0x4_0204}, "2M 1G"),
        (Granularity.SELECTIVE, {"domain_id": 5, "page": 0x4_0200, "address_mask": 1}, "2M 1G"),
        (Granularity.SELECTIVE, {"domain_id": 5, "page": 0x4_0202, "address_mask": 1}, "4K 2M 1G"),
        (Granularity.SELECTIVE, {"domain_id": 5, "page": 0x4_0000}, "2M 1G"),  # the other page of its line
        (Granularity.SELECTIVE, {"domain_id": 5, "page": 0x4_0400, "address_mask": 9}, "1G"),
        (Granularity.SELECTIVE, {"domain_id": 5, "page": 0x4_0200, "address_mask": 9}, "4K 2M 1G"),
        (Granularity.SELECTIVE, {"domain_id": 5, "page": 0x0_0000}, "1G"),  # the other page of its line
        (Granularity.SELECTIVE, {"domain_id": 5, "page": 0x8_0000, "address_mask": 18}, ""),
        (Granularity.SELECTIVE, {"domain_id": 5, "page": 0x4_0000, "address_mask": 18}, "4K 2M 1G"),
        (Granularity.SELECTIVE, {"domain_id": 5, "page": 0x4_0203 + (1 << 45)}, ""),
    ],
)
def test_an_invalidation_removes_what_it_names_and_nothing_else(granularity, fields, removed):
    dut = Iotlb(SMALL)

    async def bench(ctx):
        for name, line in LINES.items():
            await fill(ctx, dut, line)
            await invalidate(ctx, dut, invalidation("IOTLB", granularity, **fields))
            found = await look_up(ctx, dut, 0x4_0203)
            assert (found is None) == (name in removed.split())
            await invalidate(ctx, dut, invalidation("IOTLB"))

    simulate(dut, bench)


@pytest.mark.parametrize("hint", [0, 1])
@pytest.mark.parametrize("address_mask", range(7))
def test_a_range_of_pages_is_removed_from_every_set_that_it_reaches_and_its_neighbours_stay(address_mask, hint):
    dut = Iotlb(IommuConfig(iotlb_sets=8, iotlb_ways=8))
    first = 0x4_0240  # a multiple of 64
    pages = range(first - 32, first + 96)  # 64 lines of two fill the array: 8 in each set

    async def bench(ctx):
        for page in pages[::2]:
            await fill(ctx, dut, iotlb_line([entry(), entry()], domain_id=5, iova_page=page))
        covering = invalidation(
            "IOTLB", Granularity.SELECTIVE, domain_id=5, page=first, address_mask=address_mask, hint=hint
        )
        await invalidate(ctx, dut, covering)
        left = [page for page in pages if await look_up(ctx, dut, page) is not None]
        removed = range(first, first + max(2**address_mask, 2))  # a line goes as a whole
        assert left == [page for page in pages if page not in removed]

    simulate(dut, bench)


def test_an_invalidation_of_another_cache_is_none_of_its_business():
    dut = Iotlb(SMALL)

    async def bench(ctx):
        await fill(ctx, dut, LINES["4K"])
        await begin(ctx, dut.invalidation, invalidation("CONTEXT_CACHE"))
        assert ctx.get(dut.busy) == 0
        assert await look_up(ctx, dut, 0x4_0203) is not None

    simulate(dut, bench)
