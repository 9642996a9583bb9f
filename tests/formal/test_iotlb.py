# amaranth: UnusedElaboratable=no
"""The IOTLB tells the truth: a hit is what was last filled under that domain and page, and not invalidated since.

Lines hold two pages. Invalidations are as dense as they may be: the next begins while the last set is still compared.
"""
import pytest
from amaranth import *
from amaranth.hdl import Assert, Assume, Cover
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In

from hw.iommu.config import IommuConfig
from hw.iommu.iotlb import IOVA_PAGE_BITS, Iotlb
from hw.iommu.messages import CachedEntry, iotlb_fill_layout
from hw.spec.invalidation import Granularity, InvalidationKind
from hw.spec.tables import PageSize
from tests.formal.harness import Refuted, hold

CONFIG = IommuConfig(iotlb_sets=2, iotlb_ways=2, superpage_sets=2, superpage_ways=1)
ENTRIES = CONFIG.entries_per_word
BUSY_CYCLES = 1                # sets - 1
HIDING_CYCLES = 3              # sets + 1, from the cycle after `begin` on
DEPTH = 8
BROKEN_DEPTH = 7               # enough for each fault, and quicker
INDEX_BITS = 9


# The solver chooses these bits; all others are zero. They are the lowest and the highest of each field, and those at
# which a page number is cut, for each page size, into line, entry and rest; the logic between them treats every bit alike.
PAGE_CHOICE = (0, 1, 9, 10, 18, 19, 44)
DOMAIN_CHOICE = (0, 15)
ADDRESS_CHOICE = (0, 39)


class Key(data.Struct):
    """A page under a domain, as chosen."""
    page: len(PAGE_CHOICE)
    domain_id: len(DOMAIN_CHOICE)


class ChosenEntry(data.Struct):
    """An entry of a line, as chosen."""
    valid: 1
    readable: 1
    writable: 1
    page: len(ADDRESS_CHOICE)


class ChosenFill(data.Struct):
    """A fill, as chosen."""
    key: Key
    page_size: PageSize
    table_pointer: len(ADDRESS_CHOICE)
    entries: data.ArrayLayout(ChosenEntry, ENTRIES)


class Known(data.Struct):
    """What a line says of one page."""
    entry: CachedEntry
    table_pointer: 40


class ChosenInvalidation(data.Struct):
    """An invalidation, as chosen."""
    key: Key
    kind: InvalidationKind
    granularity: Granularity
    address_mask: 6


def spread(bits, places, width):
    """A value of that width with bits in those places, zero elsewhere."""
    return Cat(bits[places.index(place)] if place in places else Const(0, 1) for place in range(width))


class IotlbSpec(wiring.Component):
    """`block` is the IOTLB under test; `page_size` that of the page that is followed, with its line, under an arbitrary key.

    Lookups, fills and invalidations are free, but that none begins behind a busy cycle or another one.
    """

    looked_up: In(Key)          # the page in this cycle, the domain in the next
    needs_read: In(1)
    needs_write: In(1)
    in_use: In(1)
    fill_valid: In(1)
    chosen_fill: In(ChosenFill)
    begin: In(1)
    chosen_invalidation: In(ChosenInvalidation)
    followed: In(Key)

    def __init__(self, block, *, page_size):
        self._block = block
        self._below_page = INDEX_BITS * page_size.value
        self._below_line = self._below_page + (ENTRIES - 1).bit_length()
        self._page_size = page_size
        super().__init__()

    def elaborate(self, platform):
        m = Module()
        m.submodules.block = block = self._block
        fill, invalidation = block.fill.payload, block.invalidation.payload
        self._followed_page = Signal(IOVA_PAGE_BITS)
        self._followed_domain_id = Signal(16)
        m.d.comb += [
            block.iova_page.eq(spread(self.looked_up.page, PAGE_CHOICE, IOVA_PAGE_BITS)),
            block.compared.domain_id.eq(spread(self.looked_up.domain_id, DOMAIN_CHOICE, 16)),
            block.compared.needs_read.eq(self.needs_read),
            block.compared.needs_write.eq(self.needs_write),
            block.looked_up.eq(self.in_use),
            block.fill.valid.eq(self.fill_valid),
            fill.iova_page.eq(spread(self.chosen_fill.key.page, PAGE_CHOICE, IOVA_PAGE_BITS)),
            fill.domain_id.eq(spread(self.chosen_fill.key.domain_id, DOMAIN_CHOICE, 16)),
            fill.table_pointer.eq(spread(self.chosen_fill.table_pointer, ADDRESS_CHOICE, 40)),
            fill.page_size.eq(self.chosen_fill.page_size),
            block.invalidation.begin.eq(self.begin),
            invalidation.page.eq(spread(self.chosen_invalidation.key.page, PAGE_CHOICE, len(invalidation.page))),
            invalidation.domain_id.eq(spread(self.chosen_invalidation.key.domain_id, DOMAIN_CHOICE, 16)),
            *(invalidation[name].eq(self.chosen_invalidation[name]) for name in ("kind", "granularity", "address_mask")),
            self._followed_page.eq(spread(self.followed.page, PAGE_CHOICE, IOVA_PAGE_BITS)),
            self._followed_domain_id.eq(spread(self.followed.domain_id, DOMAIN_CHOICE, 16)),
        ]
        for entry, chosen in zip(fill.entries, self.chosen_fill.entries, strict=True):
            m.d.comb += [
                *(entry[name].eq(chosen[name]) for name in ("valid", "readable", "writable")),
                entry.page.eq(spread(chosen.page, ADDRESS_CHOICE, 40)),
            ]
        self._assume_neighbours(m)
        self._check_result(m, *self._follow(m))
        self._check_scan(m)
        return m

    def _assume_neighbours(self, m):
        """Fills are of pages; invalidations are legal, wait for the one before, and hold their payload."""
        chosen = self.chosen_invalidation
        before, must_wait = Signal(ChosenInvalidation), Signal()
        m.d.sync += [before.eq(chosen), must_wait.eq(self._block.busy | self.begin)]
        m.d.comb += [
            Assume(self.chosen_fill.page_size != PageSize.UNTRANSLATED),
            Assume(~(self.begin & must_wait)),
            Assume(self.begin | (chosen.as_value() == before.as_value())),
            Assume(chosen.granularity != Granularity.RESERVED_0),
            Assume(chosen.address_mask <= IOVA_PAGE_BITS),
        ]
        hold(m, self.followed)

    def _covered(self):
        """The invalidation covers the followed line: its range of pages and the line's meet."""
        payload = self._block.invalidation.payload
        line_mask = (1 << self._below_line) - 1
        range_mask = ((1 << payload.address_mask) - 1)[:len(payload.page)]
        meet = (((payload.page & ~range_mask) <= (self._followed_page | line_mask))
                & ((self._followed_page & ~line_mask & ((1 << IOVA_PAGE_BITS) - 1)) <= (payload.page | range_mask)))
        in_domain = payload.domain_id == self._followed_domain_id
        return (payload.kind == InvalidationKind.IOTLB) & (
            (payload.granularity == Granularity.GLOBAL)
            | ((payload.granularity == Granularity.DOMAIN_SELECTIVE) & in_domain)
            | ((payload.granularity == Granularity.SELECTIVE) & in_domain & meet))

    def _follow(self, m):
        """What the cache may know of the followed page, in the cycle of a compare: (valid, must hit, what).

        A fill is written in the cycle after it came. A lookup whose memory is read in that cycle finds neither the old
        line nor the new one; one that is read in the next must find it, unless another line has been put in after it,
        or it is hidden.
        """
        fill = self._block.fill.payload
        of_size = self.fill_valid & (fill.page_size == self._page_size)
        filled = (of_size & (fill.domain_id == self._followed_domain_id)
                  & (fill.iova_page[self._below_line:] == self._followed_page[self._below_line:]))
        written, written_before, valid, new, followed_by_another = Signal(), Signal(), Signal(), Signal(), Signal()
        covered, removed, removed_lately = Signal(), Signal(), Signal(HIDING_CYCLES)
        coming, come, known = Signal(Known), Signal(Known), Signal(Known)
        m.d.comb += [covered.eq(self._covered()), removed.eq(self.begin & covered)]
        m.d.sync += [
            removed_lately.eq(Cat(removed, removed_lately)),
            written.eq(filled & ~removed),
            coming.entry.eq(fill.entries[self._followed_page[self._below_page:self._below_line]]),
            coming.table_pointer.eq(fill.table_pointer),
            written_before.eq(written & ~removed),
            come.eq(coming),
            followed_by_another.eq(of_size),
            new.eq(written_before & ~removed & ~followed_by_another),
        ]
        with m.If(written_before):
            m.d.sync += [valid.eq(1), known.eq(come)]
        with m.If(written | removed):
            m.d.sync += valid.eq(0)
        return valid, new & ~removed_lately.any(), known

    def _check_result(self, m, valid, must_hit, known):
        """A result comes a cycle after its compare, of the page of the cycle before that."""
        page, needs_read, needs_write = Signal(IOVA_PAGE_BITS), Signal(), Signal()
        expected, expected_hit, of_followed = Signal(), Signal(), Signal()
        expected_known = Signal(Known)
        m.d.sync += [
            page.eq(self._block.iova_page),
            needs_read.eq(self.needs_read), needs_write.eq(self.needs_write),
            of_followed.eq((page[self._below_page:] == self._followed_page[self._below_page:])
                           & (self._block.compared.domain_id == self._followed_domain_id)),
            expected.eq(valid), expected_known.eq(known),
            expected_hit.eq(must_hit & known.entry.valid),
        ]
        hit, found, entry = self._block.hit, self._block.line, expected_known.entry
        permitted = (entry.readable | ~needs_read) & (entry.writable | ~needs_write)
        absent = ~found.readable & ~found.writable   # caching mode: the lack of a page is what was asked for, whatever is needed
        with m.If(hit):
            m.d.comb += [
                Assert(absent | found.readable | ~needs_read),
                Assert(absent | found.writable | ~needs_write),
            ]
        with m.If(hit & (found.page_size == self._page_size) & of_followed):
            m.d.comb += [
                Assert(expected),
                Assert(entry.valid),
                Assert(found.page == entry.page),
                Assert(found.readable == entry.readable),
                Assert(found.writable == entry.writable),
                Assert(found.table_pointer == expected_known.table_pointer),
            ]
        with m.If(of_followed & expected_hit & (permitted | ~entry.readable & ~entry.writable)):
            m.d.comb += Assert(hit)

    def _check_scan(self, m):
        """A scan ends, and after it the followed page can be filled and found again."""
        busy_cycles, scanned = Signal(range(BUSY_CYCLES + 2)), Signal()
        with m.If(self._block.busy):
            m.d.comb += Assert(busy_cycles < BUSY_CYCLES)
            m.d.sync += [busy_cycles.eq(busy_cycles + 1), scanned.eq(1)]
        with m.Else():
            m.d.sync += busy_cycles.eq(0)
            m.d.comb += Cover(scanned & self._block.hit & (self._block.line.page_size == self._page_size))


class BrokenIotlb(wiring.Component):
    """An IOTLB with a fault.

    mixes       does not look at one bit of the domain ID
    permits     does not look at the write permission
    lingers     begins to hide a cycle late
    narrows     removes one page where it was told a range
    readmits    takes a fill that came with an invalidation once more, after it
    confounds   takes one entry of a line for the other
    presumes    takes an entry of which nothing is known for a page that is not present
    """

    def __init__(self, fault):
        self._fault = fault
        super().__init__(Iotlb(CONFIG).signature)

    def elaborate(self, platform):
        m = Module()
        m.submodules.iotlb = iotlb = Iotlb(CONFIG)
        m.d.comb += [
            iotlb.iova_page.eq(self.iova_page),
            iotlb.compared.eq(self.compared),
            iotlb.looked_up.eq(self.looked_up),
            self.hit.eq(iotlb.hit),
            self.line.eq(iotlb.line),
            self.busy.eq(iotlb.busy),
            *(getattr(iotlb.fill, name).eq(getattr(self.fill, name)) for name in ("valid", "payload")),
            *(getattr(iotlb.invalidation, name).eq(getattr(self.invalidation, name)) for name in ("begin", "payload")),
        ]
        match self._fault:
            case "mixes":
                m.d.comb += [iotlb.compared.domain_id[15].eq(0), iotlb.fill.payload.domain_id[15].eq(0)]
            case "permits":
                m.d.comb += iotlb.compared.needs_write.eq(0)
            case "lingers":
                begun = Signal()
                m.d.sync += begun.eq(self.invalidation.begin)
                m.d.comb += iotlb.invalidation.begin.eq(begun)
            case "narrows":
                m.d.comb += iotlb.invalidation.payload.address_mask.eq(0)
            case "confounds":
                m.d.comb += [iotlb.fill.payload.entries[index].eq(self.fill.payload.entries[1 - index]) for index in (0, 1)]
            case "presumes":
                m.d.comb += [entry.valid.eq(1) for entry in iotlb.fill.payload.entries]
            case "readmits":
                held, held_valid = Signal(iotlb_fill_layout(ENTRIES)), Signal()
                m.d.sync += [held.eq(self.fill.payload), held_valid.eq(self.fill.valid & self.invalidation.begin)]
                with m.If(held_valid & ~self.fill.valid):
                    m.d.comb += [iotlb.fill.payload.eq(held), iotlb.fill.valid.eq(1)]
        return m


@pytest.mark.parametrize("page_size", [PageSize.SIZE_4K, PageSize.SIZE_2M, PageSize.SIZE_1G], ids=lambda size: size.name)
def test_a_hit_is_what_was_last_filled_under_its_key_and_not_invalidated_since(formal, page_size):
    formal.holds(IotlbSpec(Iotlb(CONFIG), page_size=page_size), depth=DEPTH)


def test_the_followed_page_can_hit_after_an_invalidation(formal):
    formal.reaches(IotlbSpec(Iotlb(CONFIG), page_size=PageSize.SIZE_4K), depth=DEPTH)


REFUTED_BY = {
    "mixes": r"Assert\((expected|found\.\w+ == \w+\.\w+)\)",   # a line that was not filled, or another one's content
    "permits": r"Assert\(absent \| found\.writable \| ~needs_write\)",
    "lingers": r"Assert\(expected\)|Assert\(busy_cycles < BUSY_CYCLES\)",  # and it is busy a cycle longer
    "narrows": r"Assert\(expected\)",
    "readmits": r"Assert\((expected|hit)\)",  # it takes the place of others, too
    "confounds": r"Assert\((entry\.valid|found\.\w+ == entry\.\w+|hit)\)",
    "presumes": r"Assert\(entry\.valid\)",
}


@pytest.mark.parametrize(("fault", "page_size"), [
    ("mixes", PageSize.SIZE_4K), ("permits", PageSize.SIZE_4K), ("readmits", PageSize.SIZE_4K),
    ("lingers", PageSize.SIZE_2M), ("narrows", PageSize.SIZE_1G), ("confounds", PageSize.SIZE_4K),
    ("presumes", PageSize.SIZE_4K)], ids=lambda value: getattr(value, "name", value))
def test_broken_iotlb_is_refuted_at_the_rule_that_it_breaks(formal, fault, page_size):
    with pytest.raises(Refuted, match=REFUTED_BY[fault]):
        formal.holds(IotlbSpec(BrokenIotlb(fault), page_size=page_size), depth=BROKEN_DEPTH)
