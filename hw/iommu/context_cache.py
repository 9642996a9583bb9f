"""The context cache: what the context entries of devices said when they were last read.

In caching mode it also holds, under domain ID 0, that an entry was not legal, and why (VT-d 4.1, 6.1): ordinary lines,
which every invalidation that covers that domain removes.
"""
from amaranth import *
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from hw.iommu.coverage import covers_context
from hw.iommu.messages import Context, ContextFill, EventPort, FillPort, InvalidationPort
from hw.iommu.tagged_cache import TaggedCache
from hw.lib.match import fold, one_hot_select
from hw.spec.events import ContextDetail, EventKind
from hw.spec.invalidation import InvalidationKind
from hw.spec.tables import PAGE_BITS

__all__ = ["ContextCache", "ContextKey"]


class ContextKey(data.Struct):
    """Whose context. The PASID is part of it from the start, though legacy mode has none."""

    source_id: 16
    pasid_present: 1
    pasid: 20                    # zero unless present


class ContextCache(wiring.Component):
    """Cache of contexts, looked up by (source_id, pasid).

    Parameters
    ----------
    config : IommuConfig
        Sizes.

    Members
    -------
    key
        Whom to look up.
    hit, context
        In the next cycle: whether and what is cached.
    fill, invalidation, busy
        As in TaggedCache.
    events[0]
        CONTEXT_FILL, in the cycle in which the line is written.

    Timing
    ------
    One lookup per cycle; `hit` and `context` are combinational behind the memory. Races as in TaggedCache.

    Source: VT-d 4.1, 6.2.2 (tags), 6.5.1.1 (granularities).
    """

    def __init__(self, config):
        self._sets = config.context_sets
        self._ways = config.context_ways
        super().__init__({
            "key": In(ContextKey),
            "hit": Out(1),
            "context": Out(Context),
            "fill": In(FillPort(ContextFill)),
            "invalidation": In(InvalidationPort()),
            "busy": Out(1),
            "events": Out(EventPort()).array(1),
        })

    def _set_of(self, key):
        index_bits = (self._sets - 1).bit_length()
        source_id = fold(key.source_id, index_bits, groups=len(key.source_id))
        return source_id ^ fold(key.pasid, index_bits)

    def elaborate(self, platform):
        m = Module()
        m.submodules.cache = cache = TaggedCache(
            ContextFill, sets=self._sets, ways=self._ways, kind=InvalidationKind.CONTEXT_CACHE, set_of=self._set_of,
            same_key=lambda left, right: Cat(left[name] == right[name] for name in dict(ContextKey.as_shape())).all(),
            covers=lambda invalidation, line: covers_context(
                invalidation, source_id=line.source_id, domain_id=line.context.domain_id))
        m.d.comb += [
            cache.set_index.eq(self._set_of(self.key)),
            cache.fill.valid.eq(self.fill.valid),
            cache.fill.payload.eq(self.fill.payload),
            cache.invalidation.begin.eq(self.invalidation.begin),
            cache.invalidation.payload.eq(self.invalidation.payload),
            cache.invalidation.colour.eq(self.invalidation.colour),
            self.busy.eq(cache.busy),
            self.hit.eq(cache.matched.any()),
            self.context.eq(one_hot_select(cache.matched, [cache.lines[way].context for way in range(self._ways)])),
        ]
        for name in dict(ContextKey.as_shape()):
            m.d.sync += cache.wanted[name].eq(self.key[name])

        context = cache.filled_line.context
        event = self.events[0].payload
        detail = ContextDetail(event.detail[:ContextDetail.as_shape().size])
        m.d.comb += [
            self.events[0].valid.eq(cache.filled),
            event.kind.eq(EventKind.CONTEXT_FILL),
            event.source_id.eq(cache.filled_line.source_id),
            event.domain_id.eq(context.domain_id),
            event.hpa.eq(context.table_pointer << PAGE_BITS),
            detail.fault_reason.eq(context.fault_reason),
            detail.translation_type.eq(context.translation_type),
            detail.address_width.eq(context.address_width),
        ]
        return m
