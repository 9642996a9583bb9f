"""Paging-structure caches: the steps of a walk that need no read, one array for each level above the leaves.

::

                         +-- level 2 --+
    iova_page ---------> +-- level 3 --+--> the deepest that knows: level and table at which a walk begins
                         +-- level 4 --+
    fill (one level) --> +-- level 5 --+
"""
from amaranth import *
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import ceil_log2

from hw.iommu.coverage import covers_structure, differing_set_bits, leaves_only
from hw.iommu.messages import CachedEntry, EventPort, FillPort, InvalidationPort, structure_fill_layout
from hw.iommu.tagged_cache import TaggedCache
from hw.lib.match import fold, one_hot_select
from hw.spec.events import EventKind, StructureDetail
from hw.spec.invalidation import InvalidationKind
from hw.spec.tables import LEVEL_BITS, MAX_LEVEL, PAGE_BITS

__all__ = ["StructureCaches", "StructureStart"]

_LEVELS = range(2, MAX_LEVEL + 1)    # of the entries that are kept


class StructureStart(data.Struct):
    """Where a walk may begin."""

    found: 1                   # otherwise the rest is zero
    level: range(MAX_LEVEL + 1)  # of the table to be read first
    table: 40                  # its page number
    readable: 1                # ANDed over the levels that need not be read
    writable: 1


class StructureCaches(wiring.Component):
    """Caches of paging entries that name a table.

    Parameters
    ----------
    config : IommuConfig
        Sizes. An array keeps lines of `entries_per_word` neighbouring entries.

    Members
    -------
    iova_page
        IOVA[56:12] to look up.
    looked_up, domain_id, needs_read, needs_write
        In the next cycle: that a walk wants to know, its domain, and what the entries above its start must permit: what
        they do not permit must be found out from the tables as they are now.
    start
        In the same cycle as `domain_id`: the deepest entry that is cached decides.
    fill, invalidation
        As in TaggedCache; each array takes the fills of its level.
    busy
        As in TaggedCache: an array is being scanned. A page-selective invalidation scans the sets that can hold what it
        covers, and holds nobody up where the leaves alone have changed (IH).
    events[n]
        STRUCTURE_FILL of entry n of a line, in the cycle in which it is written.

    Timing
    ------
    One lookup per cycle. Its races are those of TaggedCache, in the cycle of `start`.

    Source: VT-d 4.1, 6.2.3 (paging-structure caches), 6.5.1.2 (IH); ours (organisation).
    """

    def __init__(self, config):
        self._entries = config.entries_per_word
        self._geometry = dict.fromkeys(_LEVELS, (config.upper_structure_sets, config.upper_structure_ways))
        self._geometry[2] = (config.structure_sets, config.structure_ways)
        fill = structure_fill_layout(self._entries)
        super().__init__({
            "iova_page": In(fill["iova_page"].width),
            "looked_up": In(1),
            "domain_id": In(16),
            "needs_read": In(1),
            "needs_write": In(1),
            "start": Out(StructureStart),
            "fill": In(FillPort(fill)),
            "invalidation": In(InvalidationPort()),
            "busy": Out(1),
            "events": Out(EventPort()).array(self._entries),
        })

    def _tag(self, level):
        """Tag of a line of `level`: what is left of the IOVA's page number above the line."""
        below = self._below(level)
        return data.StructLayout({"domain_id": 16, "region": len(self.iova_page) - below}), below

    def _below(self, level):
        return LEVEL_BITS * (level - 1) + ceil_log2(self._entries)

    def _array(self, level):
        """The array of one level."""
        sets, ways = self._geometry[level]
        tag, below = self._tag(level)
        return TaggedCache(
            tag, data.ArrayLayout(CachedEntry, self._entries), sets=sets, ways=ways, kind=InvalidationKind.IOTLB,
            set_of=lambda tag: fold(tag.region, ceil_log2(sets)),
            same_key=lambda left, right: (left.region == right.region) & (left.domain_id == right.domain_id),
            covers=lambda invalidation, tag: covers_structure(
                invalidation, domain_id=tag.domain_id, iova_page=tag.region << below, level=level,
                entries=self._entries),
            sets_of=lambda invalidation: self._sets_of(level, invalidation))

    def _sets_of(self, level, invalidation):
        """One set at most, in which nothing is found, where the leaves alone have changed."""
        index_bits = ceil_log2(self._geometry[level][0])
        below = self._below(level)
        differing = differing_set_bits(invalidation, region_bits=below, index_bits=index_bits)
        return (fold(invalidation.page[below:len(self.iova_page)], index_bits),
                Mux(leaves_only(invalidation), 0, differing))

    def elaborate(self, platform):
        m = Module()
        page = Signal.like(self.iova_page)    # as it was a cycle ago
        m.d.sync += page.eq(self.iova_page)
        table_pointer = Signal(self.fill.payload.shape()["table_pointer"].shape)
        m.d.sync += table_pointer.eq(self.fill.payload.table_pointer)

        starts, busy = [], []
        for level in _LEVELS:
            m.submodules[f"level_{level}"] = array = self._array(level)
            self._connect(m, array, level, page)
            busy.append(array.busy)
            starts.append(self._start(m, array, level, page))
            with m.If(array.filled):
                self._report(m, array, level, table_pointer)
        m.d.comb += self.busy.eq(Cat(busy).any())
        for start in reversed(starts):        # the deepest, last, wins
            with m.If(start.found):
                m.d.comb += self.start.eq(start)
        return m

    def _connect(self, m, array, level, page):
        """The sides of one array."""
        below = self._below(level)
        fill = self.fill.payload
        m.d.comb += [
            array.set_index.eq(fold(self.iova_page[below:], ceil_log2(self._geometry[level][0]))),
            array.looked_up.eq(self.looked_up),
            array.wanted.domain_id.eq(self.domain_id),
            array.wanted.region.eq(page[below:]),
            array.fill.valid.eq(self.fill.valid & (fill.level == level)),
            array.fill.payload.tag.domain_id.eq(fill.domain_id),
            array.fill.payload.tag.region.eq(fill.iova_page[below:]),
            array.fill.payload.content.eq(fill.entries),
            array.invalidation.begin.eq(self.invalidation.begin),
            array.invalidation.payload.eq(self.invalidation.payload),
            array.invalidation.colour.eq(self.invalidation.colour),
        ]

    def _start(self, m, array, level, page):
        """Where a walk begins, as far as this level knows."""
        position = page[LEVEL_BITS * (level - 1):self._below(level)]
        usable, entries = [], []
        for way, matched in enumerate(array.matched):
            entry = array.contents[way][position]
            entries.append(entry)
            usable.append(matched & entry.valid & (entry.readable | ~self.needs_read)
                          & (entry.writable | ~self.needs_write))
        chosen = one_hot_select(Cat(usable), entries)
        start = Signal(StructureStart, name=f"start_{level}")
        m.d.comb += [
            start.found.eq(Cat(usable).any()),
            start.level.eq(level - 1),
            start.table.eq(chosen.page),
            start.readable.eq(chosen.readable),
            start.writable.eq(chosen.writable),
        ]
        return start

    def _report(self, m, array, level, table_pointer):
        """Events of a line that is written."""
        region_bits = LEVEL_BITS * (level - 1)
        for position, port in enumerate(self.events):
            entry = array.filled_content[position]
            event = port.payload
            detail = data.View(StructureDetail, event.detail[:StructureDetail.as_shape().size])
            page = Cat(Const(0, region_bits), Const(position, ceil_log2(self._entries)), array.filled_tag.region)
            m.d.comb += [
                port.valid.eq(entry.valid),
                event.kind.eq(EventKind.STRUCTURE_FILL),
                event.domain_id.eq(array.filled_tag.domain_id),
                event.iova.eq(page << PAGE_BITS),
                event.hpa.eq(entry.page << PAGE_BITS),
                detail.level.eq(level),
                detail.readable.eq(entry.readable),
                detail.writable.eq(entry.writable),
                detail.table_pointer.eq(table_pointer),
            ]
