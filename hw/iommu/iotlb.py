"""The IOTLB: translations tagged with the domain ID under which they were walked, one array for each page size."""
from amaranth import *
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from hw.iommu.coverage import covers_translation
from hw.iommu.messages import EventPort, FillPort, InvalidationPort, IotlbFill
from hw.iommu.tagged_cache import TaggedCache
from hw.lib.match import fold, one_hot_select
from hw.spec.events import EventKind, FillDetail
from hw.spec.invalidation import InvalidationKind
from hw.spec.tables import LEVEL_BITS, PAGE_BITS, PageSize

__all__ = ["IOVA_PAGE_BITS", "Iotlb"]

IOVA_PAGE_BITS = 45              # of the widest address, 57 bits
_SIZES = (PageSize.SIZE_4K, PageSize.SIZE_2M, PageSize.SIZE_1G)


class _Compared(data.Struct):
    """What the lookup's second cycle compares with."""

    domain_id: 16
    needs_read: 1
    needs_write: 1


class Iotlb(wiring.Component):
    """Cache of translations.

    Parameters
    ----------
    config : IommuConfig
        Sizes.

    Members
    -------
    iova_page
        Page to look up.
    compared
        In the next cycle: domain under which, and permissions that a line must have; one that lacks any does not match,
        unless it has none at all: it says that the page is not present (caching mode).
    hit, line
        In the cycle after that: whether and what is cached. The smallest page wins where several sizes match.
    fill, invalidation
        As in TaggedCache; each array takes the fills of its size.
    busy
        An array is being scanned.
    events[0]
        IOTLB_FILL, in the cycle in which the line is written. `source_id` is zero: a line belongs to a domain.

    Timing
    ------
    One lookup per cycle: index, compare, select. A lookup sees the cache as it stands in its compare cycle; it is for
    that cycle that TaggedCache states the races.

    Source: VT-d 4.1, 6.1 (caching mode), 6.2.1 (tags), 6.5.1.2 (granularities); ours (organisation).
    """

    def __init__(self, config):
        self._geometry = dict.fromkeys(_SIZES, (config.superpage_sets, config.superpage_ways))
        self._geometry[PageSize.SIZE_4K] = (config.iotlb_sets, config.iotlb_ways)
        super().__init__({
            "iova_page": In(IOVA_PAGE_BITS),
            "compared": In(_Compared),
            "hit": Out(1),
            "line": Out(IotlbFill),
            "fill": In(FillPort(IotlbFill)),
            "invalidation": In(InvalidationPort()),
            "busy": Out(1),
            "events": Out(EventPort()).array(1),
        })

    def _array(self, size):
        """The array of one page size."""
        sets, ways = self._geometry[size]
        offset_bits = LEVEL_BITS * size.value
        return TaggedCache(
            IotlbFill, sets=sets, ways=ways, kind=InvalidationKind.IOTLB,
            set_of=lambda line: fold(line.iova_page[offset_bits:], (sets - 1).bit_length()),
            same_key=lambda left, right: ((left.iova_page[offset_bits:] == right.iova_page[offset_bits:])
                                          & (left.domain_id == right.domain_id)),
            covers=lambda invalidation, line: covers_translation(
                invalidation, domain_id=line.domain_id, iova_page=line.iova_page, page_size=size))

    def elaborate(self, platform):
        m = Module()
        looked_up = Signal(IotlbFill)     # first cycle: only its page is known
        wanted = Signal(IotlbFill)        # second cycle: page and domain
        m.d.comb += looked_up.iova_page.eq(self.iova_page)
        m.d.sync += wanted.iova_page.eq(self.iova_page)
        m.d.comb += wanted.domain_id.eq(self.compared.domain_id)

        hits, candidates, busy = [], [], []
        event = self.events[0].payload
        detail = FillDetail(event.detail[:FillDetail.as_shape().size])
        for size in _SIZES:
            _, ways = self._geometry[size]
            array = self._array(size)
            m.submodules[size.name.lower()] = array
            m.d.comb += [
                array.set_index.eq(array.set_of(looked_up)),
                array.wanted.eq(wanted),
                array.fill.valid.eq(self.fill.valid & (self.fill.payload.page_size == size)),
                array.fill.payload.eq(self.fill.payload),
                array.invalidation.begin.eq(self.invalidation.begin),
                array.invalidation.payload.eq(self.invalidation.payload),
                array.invalidation.colour.eq(self.invalidation.colour),
            ]
            busy.append(array.busy)

            # Compare, then select behind a register.
            matched = Signal(ways, name=f"matched_{size.name.lower()}")
            lines = Signal(data.ArrayLayout(IotlbFill, ways), name=f"lines_{size.name.lower()}")
            m.d.sync += lines.eq(array.lines)
            for way in range(ways):
                line = array.lines[way]
                m.d.sync += matched[way].eq(array.matched[way] & (
                    (~line.readable & ~line.writable)
                    | (line.readable | ~self.compared.needs_read) & (line.writable | ~self.compared.needs_write)))
            hits.append(matched.any())
            candidates.append(one_hot_select(matched, [lines[way] for way in range(ways)]))

            with m.If(array.filled):
                filled = array.filled_line
                m.d.comb += [
                    self.events[0].valid.eq(1),
                    event.kind.eq(EventKind.IOTLB_FILL),
                    event.domain_id.eq(filled.domain_id),
                    event.iova.eq(filled.iova_page[LEVEL_BITS * size.value:] << (PAGE_BITS + LEVEL_BITS * size.value)),
                    event.hpa.eq(filled.page << PAGE_BITS),
                    detail.page_size.eq(size),
                    detail.readable.eq(filled.readable),
                    detail.writable.eq(filled.writable),
                    detail.set_index.eq(array.filled_set),
                    detail.way.eq(array.filled_way),
                    detail.table_pointer.eq(filled.table_pointer),
                ]

        m.d.comb += [self.busy.eq(Cat(busy).any()), self.hit.eq(Cat(hits).any()), self.line.eq(candidates[-1])]
        for hit, candidate in reversed(list(zip(hits, candidates, strict=True))):
            with m.If(hit):
                m.d.comb += self.line.eq(candidate)
        return m
