# amaranth: UnusedElaboratable=no
"""The IOTLB against an account in Python of what may be cached when: lookups in every cycle, fills and scans among.

In `SMALL` each set of each array has room for every key that the random tests use in it, so that nothing is evicted
and a miss needs an invalidation as its reason.
"""

import random

import pytest

from hw.iommu.config import IommuConfig
from hw.iommu.iotlb import Iotlb
from hw.spec.codec import decode
from hw.spec.events import EventKind, FillDetail
from hw.spec.invalidation import Granularity
from hw.spec.tables import PageSize
from tests.hw.iommu.iotlb_bench import fill, invalidate, look_up
from tests.hw.iommu.request_path import SMALL, begin, invalidation, iotlb_fill, put, simulate

PAGES_2M, PAGES_1G = 512, 512 * 512
SIZES = (PageSize.SIZE_4K, PageSize.SIZE_2M, PageSize.SIZE_1G)
SPAN = {PageSize.SIZE_4K: 1, PageSize.SIZE_2M: PAGES_2M, PageSize.SIZE_1G: PAGES_1G}  # 4 KiB pages in a page
SETS = {
    PageSize.SIZE_4K: SMALL.iotlb_sets,
    PageSize.SIZE_2M: SMALL.superpage_sets,
    PageSize.SIZE_1G: SMALL.superpage_sets,
}
POOL = {  # first pages of the pages used by the random test: one for each set
    PageSize.SIZE_4K: [0, 1, PAGES_2M + 2, PAGES_1G + 3],
    PageSize.SIZE_2M: [0, PAGES_2M],
    PageSize.SIZE_1G: [0, PAGES_1G],
}
DOMAINS = [5, 6]


def covered(value, line):
    """Does the invalidation name this line? By intervals of 4 KiB pages."""
    if value.granularity == Granularity.GLOBAL:
        return True
    if value.domain_id != line.domain_id:
        return False
    if value.granularity == Granularity.DOMAIN_SELECTIVE:
        return True
    first, last = value.page, value.page + (1 << value.address_mask) - 1
    span = SPAN[line.page_size]
    line_first = line.iova_page - line.iova_page % span
    return first <= line_first + span - 1 and line_first <= last


def bits(line):
    """A line that can be compared with no line."""
    return None if line is None else line.as_bits()


def answers(line, read, write):
    """Does the line suffice, or say that there is no page at all?"""
    return not (line.readable or line.writable) or (line.readable >= read and line.writable >= write)


class Account:
    """What was put in and what was taken out, by cycle."""

    def __init__(self):
        self.fills = []  # (cycle, line)
        self.invalidations = []  # (begin cycle, invalidation)

    def permitted(self, cycle, iova_page, domain_id, read, write):
        """Every result that a lookup compared in `cycle` may have."""
        results = []
        for size in SIZES:
            line, state = self._latest(cycle, size, iova_page // SPAN[size], domain_id)
            if line is None or state == "gone" or not answers(line, read, write):
                continue
            results.append(line)
            if state == "certain":
                return results
        return [*results, None]

    def _latest(self, cycle, size, number, domain_id):
        for arrived, line in reversed(self.fills):
            same = line.page_size == size and line.iova_page // SPAN[size] == number and line.domain_id == domain_id
            if same and arrived <= cycle - 2:  # one cycle to find its place, one to be written
                return line, self._state(cycle, arrived, line)
        return None, "gone"

    def _state(self, cycle, arrived, line):
        state = "certain"
        for begun, value in self.invalidations:
            if begun >= cycle or not covered(value, line):
                continue
            if arrived <= begun:
                return "gone"
            if arrived <= begun + SETS[line.page_size] + 2:
                state = "either"  # newer than the invalidation, but the scan may come by
        return state


@pytest.mark.parametrize("seed", range(4))
def test_every_lookup_of_a_random_run_is_right(seed):
    dut = Iotlb(SMALL)
    generator = random.Random(seed)
    account = Account()
    outcomes = {"hit": 0, "miss": 0}

    def random_fill():
        size = generator.choice(SIZES)
        return iotlb_fill(
            domain_id=generator.choice(DOMAINS),
            iova_page=generator.choice(POOL[size]) + generator.randrange(SPAN[size]),
            page_size=size,
            page=generator.getrandbits(40),
            readable=int(generator.random() < 0.9),
            writable=int(generator.random() < 0.7),
            table_pointer=generator.getrandbits(40),
        )

    def random_invalidation():
        mask = generator.choice([0, 1, 2, 9, 10, 18, 19])
        page = generator.choice(generator.choice(list(POOL.values()))) + generator.randrange(4)
        return invalidation(
            generator.choice(["IOTLB"] * 5 + ["CONTEXT_CACHE"]),
            generator.choice([Granularity.SELECTIVE] * 3 + [Granularity.DOMAIN_SELECTIVE, Granularity.GLOBAL]),
            domain_id=generator.choice(DOMAINS),
            page=page >> mask << mask,
            address_mask=mask,
        )

    async def bench(ctx):
        indexed = compared = None  # lookups in the pipeline
        rest, was_busy = 0, 0
        for cycle in range(700):
            if compared is not None:
                wanted, compare_cycle = compared
                found = ctx.get(dut.line) if ctx.get(dut.hit) else None
                permitted = account.permitted(compare_cycle, *wanted)
                assert bits(found) in [bits(line) for line in permitted]
                outcomes["hit" if found is not None else "miss"] += 1
            if indexed is not None:
                _, domain_id, read, write = indexed
                ctx.set(dut.compared.domain_id, domain_id)
                ctx.set(dut.compared.needs_read, read)
                ctx.set(dut.compared.needs_write, write)
                compared = (indexed, cycle)
            needs = generator.choice([(1, 0), (0, 1), (1, 1)])
            page = generator.choice(generator.choice(list(POOL.values()))) + generator.choice([0, 0, 1, 511])
            indexed = (page, generator.choice(DOMAINS), *needs)
            ctx.set(dut.iova_page, page)

            filling = generator.random() < 0.3
            ctx.set(dut.fill.valid, filling)
            if filling:
                line = random_fill()
                put(ctx, dut.fill.payload, line)
                account.fills.append((cycle, line))
            rest = max(rest - 1, 0)
            beginning = not was_busy and rest == 0 and generator.random() < (0.1 if seed % 2 else 0.4)
            was_busy = ctx.get(dut.busy)
            ctx.set(dut.invalidation.begin, beginning)
            if beginning:
                value = random_invalidation()
                put(ctx, dut.invalidation.payload, value)
                if value.kind.name == "IOTLB":
                    account.invalidations.append((cycle, value))
                rest = 2
            await ctx.tick()

    simulate(dut, bench)
    assert min(outcomes.values()) > 50


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


def test_a_fill_is_an_event_with_its_place():
    dut = Iotlb(SMALL)

    async def bench(ctx):
        line = iotlb_fill(domain_id=0xABC, iova_page=0x3_0205, page=0x7200, page_size=PageSize.SIZE_2M, writable=0)
        put(ctx, dut.fill.payload, line)
        ctx.set(dut.fill.valid, 1)
        assert ctx.get(dut.events[0].valid) == 0
        await ctx.tick()
        ctx.set(dut.fill.valid, 0)
        assert ctx.get(dut.events[0].valid) == 1
        event = ctx.get(dut.events[0].payload)
        detail = decode(FillDetail, event.detail)
        assert (event.kind, event.domain_id) == (EventKind.IOTLB_FILL, 0xABC)
        assert (event.iova, event.hpa) == (0x3_0200 << 12, 0x7200 << 12)
        assert (detail.page_size, detail.readable, detail.writable) == (PageSize.SIZE_2M, 1, 0)
        assert (detail.set_index, detail.way, detail.table_pointer) == (1, 0, 0x777)
        await ctx.tick()
        assert ctx.get(dut.events[0].valid) == 0

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
        (Granularity.SELECTIVE, {"domain_id": 5, "page": 0x4_0204}, "2M 1G"),
        (Granularity.SELECTIVE, {"domain_id": 5, "page": 0x4_0200, "address_mask": 1}, "2M 1G"),
        (Granularity.SELECTIVE, {"domain_id": 5, "page": 0x4_0202, "address_mask": 1}, "4K 2M 1G"),
        (Granularity.SELECTIVE, {"domain_id": 5, "page": 0x4_0400, "address_mask": 9}, "1G"),
        (Granularity.SELECTIVE, {"domain_id": 5, "page": 0x4_0200, "address_mask": 9}, "4K 2M 1G"),
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
@pytest.mark.parametrize("address_mask", range(6))
def test_a_range_of_pages_is_removed_from_every_set_that_it_reaches_and_its_neighbours_stay(address_mask, hint):
    dut = Iotlb(IommuConfig(iotlb_sets=8, iotlb_ways=8))
    first = 0x4_0220  # a multiple of 32
    pages = range(first - 16, first + 48)  # 64 lines fill the array: 8 in each set

    async def bench(ctx):
        for page in pages:
            await fill(ctx, dut, iotlb_fill(domain_id=5, iova_page=page))
        covering = invalidation(
            "IOTLB", Granularity.SELECTIVE, domain_id=5, page=first, address_mask=address_mask, hint=hint
        )
        await invalidate(ctx, dut, covering)
        left = [page for page in pages if await look_up(ctx, dut, page) is not None]
        assert left == [page for page in pages if not first <= page < first + 2**address_mask]

    simulate(dut, bench)


def test_an_invalidation_of_another_cache_is_none_of_its_business():
    dut = Iotlb(SMALL)

    async def bench(ctx):
        await fill(ctx, dut, LINES["4K"])
        await begin(ctx, dut.invalidation, invalidation("CONTEXT_CACHE"))
        assert ctx.get(dut.busy) == 0
        assert await look_up(ctx, dut, 0x4_0203) is not None

    simulate(dut, bench)
