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
from hw.spec.faults import FaultReason
from hw.spec.invalidation import InvalidationKind
from hw.spec.tables import PAGE_BITS, TranslationType

__all__ = ["ContextCache", "ContextKey"]


class ContextKey(data.Struct):
    """Whose context. The PASID is part of it from the start, though legacy mode has none."""

    source_id: 16
    pasid_present: 1
    pasid: 20                    # zero unless present


class _Tag(data.Struct):
    """A key, and the domain that invalidations also ask for."""

    key: ContextKey
    domain_id: 16


class _Content(data.Struct):
    """A Context without the domain ID."""

    translation_type: TranslationType
    address_width: 3
    table_pointer: 40
    fault_processing_disable: 1
    fault_reason: FaultReason


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
    looked_up
        In the next cycle: this is a lookup, and what it finds is in use (LineReplacement).
    hit, context
        In the next cycle, too: whether and what is cached; zero if nothing.
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
            "looked_up": In(1),
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
            _Tag, _Content, sets=self._sets, ways=self._ways, kind=InvalidationKind.CONTEXT_CACHE,
            set_of=lambda tag: self._set_of(tag.key),
            same_key=lambda left, right: left.key.as_value() == right.key.as_value(),
            covers=lambda invalidation, tag: covers_context(
                invalidation, source_id=tag.key.source_id, domain_id=tag.domain_id),
            key_decides=False)
        fill = cache.fill.payload
        m.d.sync += cache.wanted.key.eq(self.key)
        m.d.comb += [
            cache.set_index.eq(self._set_of(self.key)),
            cache.looked_up.eq(self.looked_up),
            cache.fill.valid.eq(self.fill.valid),
            *(fill.tag.key[name].eq(self.fill.payload[name]) for name in _fields(ContextKey)),
            fill.tag.domain_id.eq(self.fill.payload.context.domain_id),
            *(fill.content[name].eq(self.fill.payload.context[name]) for name in _fields(_Content)),
            cache.invalidation.begin.eq(self.invalidation.begin),
            cache.invalidation.payload.eq(self.invalidation.payload),
            cache.invalidation.colour.eq(self.invalidation.colour),
            self.busy.eq(cache.busy),
            self.hit.eq(cache.matched.any()),
            self.context.domain_id.eq(one_hot_select(cache.matched, [tag.domain_id for tag in cache.tags])),
        ]
        content = one_hot_select(cache.matched, cache.contents)
        m.d.comb += [self.context[name].eq(content[name]) for name in _fields(_Content)]

        filled = cache.filled_content
        event = self.events[0].payload
        detail = ContextDetail(event.detail[:ContextDetail.as_shape().size])
        m.d.comb += [
            self.events[0].valid.eq(cache.filled),
            event.kind.eq(EventKind.CONTEXT_FILL),
            event.source_id.eq(cache.filled_tag.key.source_id),
            event.domain_id.eq(cache.filled_tag.domain_id),
            event.hpa.eq(filled.table_pointer << PAGE_BITS),
            *(detail[name].eq(filled[name]) for name in ("fault_reason", "translation_type", "address_width")),
        ]
        return m


def _fields(layout):
    return dict(layout.as_shape())
