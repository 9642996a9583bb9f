"""The IOTLB: lines of translations, tagged with the domain ID under which they were walked; an array for each page size."""
from amaranth import *
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import ceil_log2

from hw.iommu.coverage import covers_translation, differing_set_bits
from hw.iommu.messages import CachedEntry, EventPort, FillPort, InvalidationPort, iotlb_fill_layout
from hw.iommu.tagged_cache import TaggedCache
from hw.lib.match import first_one, fold, one_hot_select
from hw.spec.events import EventKind, FillDetail
from hw.spec.invalidation import InvalidationKind
from hw.spec.tables import LEVEL_BITS, PAGE_BITS, PageSize

__all__ = ["IOVA_PAGE_BITS", "Iotlb", "Translation"]

IOVA_PAGE_BITS = 45              # of the widest address, 57 bits
_SIZES = (PageSize.SIZE_4K, PageSize.SIZE_2M, PageSize.SIZE_1G)


class Translation(data.Struct):
    """What the IOTLB knows of a page."""

    page: 40                     # HPA page number of its base
    page_size: PageSize
    readable: 1                  # neither: it is not present (caching mode)
    writable: 1
    table_pointer: 40            # of the walk


class _Compared(data.Struct):
    """What the lookup's second cycle compares with."""

    domain_id: 16
    needs_read: 1
    needs_write: 1


class Iotlb(wiring.Component):
    """Cache of translations, in lines of as many neighbouring pages as one memory word has entries.

    Parameters
    ----------
    config : IommuConfig
        Sizes.

    Members
    -------
    iova_page
        Page to look up.
    compared
        In the next cycle: domain under which, and permissions that the page must have. A page of which the line knows
        nothing does not match; one that lacks a permission does not either, unless it has none at all: it is not
        present (caching mode).
    looked_up
        In the same cycle: this is a lookup, and what it finds is in use (LineReplacement).
    hit, line
        In the cycle after that: whether and what is cached. The smallest page wins where several sizes match.
    fill
        A line of pages of one size; each array takes the fills of its size. It replaces the whole line of its key.
    invalidation
        As in TaggedCache. What covers one page of a line removes the line.
    busy
        As in TaggedCache: an array is being scanned. A page-selective invalidation scans the sets that can hold a page of it.
    events[n]
        IOTLB_FILL for entry n of a line, if it is valid, in the cycle in which the line is written. `source_id` is
        zero: a line belongs to a domain.

    Timing
    ------
    One lookup per cycle: index, compare, select. A lookup sees the cache as it stands in its compare cycle; it is for
    that cycle that TaggedCache states the races.

    Source: VT-d 4.1, 6.1 (caching mode), 6.2.1 (tags), 6.5.1.2 (granularities); ours (organisation).
    """

    def __init__(self, config):
        self._entries = config.entries_per_word
        self._geometry = dict.fromkeys(_SIZES, (config.superpage_sets, config.superpage_ways))
        self._geometry[PageSize.SIZE_4K] = (config.iotlb_sets, config.iotlb_ways)
        super().__init__({
            "iova_page": In(IOVA_PAGE_BITS),
            "compared": In(_Compared),
            "looked_up": In(1),
            "hit": Out(1),
            "line": Out(Translation),
            "fill": In(FillPort(iotlb_fill_layout(self._entries))),
            "invalidation": In(InvalidationPort()),
            "busy": Out(1),
            "events": Out(EventPort()).array(self._entries),
        })

    def elaborate(self, platform):
        m = Module()
        arrays = {size: self._array(size) for size in _SIZES}
        wanted_page = Signal(IOVA_PAGE_BITS)     # second cycle
        m.d.sync += wanted_page.eq(self.iova_page)
        hits, candidates = [], []
        for size, array in arrays.items():
            m.submodules[size.name.lower()] = array
            m.d.comb += [
                array.set_index.eq(self._set_of(size, self._line_of(size, self.iova_page))),
                array.wanted.line.eq(self._line_of(size, wanted_page)),
                array.wanted.domain_id.eq(self.compared.domain_id),
                array.looked_up.eq(self.looked_up),
                array.fill.valid.eq(self.fill.valid & (self.fill.payload.page_size == size)),
                array.fill.payload.tag.line.eq(self._line_of(size, self.fill.payload.iova_page)),
                array.fill.payload.tag.domain_id.eq(self.fill.payload.domain_id),
                array.fill.payload.content.table_pointer.eq(self.fill.payload.table_pointer),
                array.fill.payload.content.entries.eq(self.fill.payload.entries),
                array.invalidation.begin.eq(self.invalidation.begin),
                array.invalidation.payload.eq(self.invalidation.payload),
                array.invalidation.colour.eq(self.invalidation.colour),
            ]
            size_hits, size_candidates = self._compare(m, size, array, wanted_page)
            hits.append(size_hits)
            candidates += size_candidates
        first_size = first_one(Cat(size_hits.any() for size_hits in hits))
        chosen = Cat(Mux(first, size_hits, 0) for first, size_hits in zip(first_size, hits, strict=True))
        m.d.comb += [
            self.busy.eq(Cat(array.busy for array in arrays.values()).any()),
            self.hit.eq(Cat(hits).any()),
            self.line.eq(one_hot_select(chosen, candidates)),
        ]
        self._tell(m, arrays)
        return m

    def _offset_bits(self, size):
        """Bits of a page number below a line."""
        return LEVEL_BITS * size.value + ceil_log2(self._entries)

    def _line_of(self, size, iova_page):
        return iova_page[self._offset_bits(size):]

    def _set_of(self, size, line):
        return fold(line, (self._geometry[size][0] - 1).bit_length())

    def _array(self, size):
        """The array of one page size."""
        sets, ways = self._geometry[size]
        offset = Const(0, self._offset_bits(size))
        tag = data.StructLayout({"domain_id": 16, "line": IOVA_PAGE_BITS - len(offset)})
        content = data.StructLayout({"table_pointer": 40, "entries": data.ArrayLayout(CachedEntry, self._entries)})
        return TaggedCache(
            tag, content, sets=sets, ways=ways, kind=InvalidationKind.IOTLB,
            set_of=lambda tag: self._set_of(size, tag.line),
            same_key=lambda left, right: (left.line == right.line) & (left.domain_id == right.domain_id),
            covers=lambda invalidation, tag: covers_translation(
                invalidation, domain_id=tag.domain_id, iova_page=Cat(offset, tag.line), page_size=size,
                entries=self._entries),
            sets_of=lambda invalidation: (
                self._set_of(size, self._line_of(size, invalidation.page[:IOVA_PAGE_BITS])),
                differing_set_bits(invalidation, region_bits=len(offset), index_bits=ceil_log2(sets))))

    def _compare(self, m, size, array, wanted_page):
        """The ways of an array that hit, and what each knows of the page, behind a register."""
        _, ways = self._geometry[size]
        hits = Signal(ways, name=f"hits_{size.name.lower()}")
        candidates = []
        for way in range(ways):
            content = array.contents[way]
            candidate = Signal(Translation, name=f"candidate_{size.name.lower()}_{way}")
            index = wanted_page[LEVEL_BITS * size.value:self._offset_bits(size)]
            entry = content.entries[index]
            usable = entry.valid & (
                (~entry.readable & ~entry.writable)
                | (entry.readable | ~self.compared.needs_read) & (entry.writable | ~self.compared.needs_write))
            m.d.sync += [
                hits[way].eq(array.matched[way] & usable),
                *(candidate[name].eq(entry[name]) for name in ("page", "readable", "writable")),
                candidate.table_pointer.eq(content.table_pointer),
            ]
            m.d.comb += candidate.page_size.eq(size)
            candidates.append(candidate)
        return hits, candidates

    def _tell(self, m, arrays):
        """Events of the line that is written in this cycle: one array at most is filled at a time."""
        for size, array in arrays.items():
            with m.If(array.filled):
                for index, port in enumerate(self.events):
                    event = port.payload
                    entry = array.filled_content.entries[index]
                    below_line = Const(index << (PAGE_BITS + LEVEL_BITS * size.value), PAGE_BITS + self._offset_bits(size))
                    detail = FillDetail(event.detail[:FillDetail.as_shape().size])
                    m.d.comb += [
                        port.valid.eq(entry.valid),
                        event.kind.eq(EventKind.IOTLB_FILL),
                        event.domain_id.eq(array.filled_tag.domain_id),
                        event.iova.eq(Cat(below_line, array.filled_tag.line)),
                        event.hpa.eq(entry.page << PAGE_BITS),
                        detail.page_size.eq(size),
                        detail.readable.eq(entry.readable),
                        detail.writable.eq(entry.writable),
                        detail.set_index.eq(array.filled_set),
                        detail.way.eq(array.filled_way),
                        detail.table_pointer.eq(array.filled_content.table_pointer),
                    ]
