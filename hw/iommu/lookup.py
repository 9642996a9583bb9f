"""The hit path: one request per cycle through both caches, to an answer or to a walker.

::

     cycle 0   requests --> [ request_intake ] -- source_id, IOVA --> memories of both caches
     cycle 1   compare:   context hit? its domain ID into the IOTLB compare; the colour is taken
     cycle 2   select:    way of the IOTLB, checks --> one of three queues
     cycle 3              answers | walk_requests | context_requests
"""
from amaranth import *
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out, connect, flipped

from hw.iommu.checks import Settled, not_present_fault, request_fault, settled_without_context
from hw.iommu.context_cache import ContextCache
from hw.iommu.iotlb import IOVA_PAGE_BITS, Iotlb
from hw.iommu.messages import (
    Answer,
    CachesOff,
    Context,
    ContextFill,
    EventPort,
    FillPort,
    InvalidationPort,
    Touch,
    Transaction,
    UnitControl,
    WalkRequest,
    iotlb_fill_layout,
)
from hw.iommu.request_intake import MAX_ACCESSES, RequestIntake
from hw.iommu.transaction_queue import TransactionQueue
from hw.lib.stream import Queue, connect_stream
from hw.spec.capabilities import Straps
from hw.spec.dma import Access, DmaRequest, DmaRetire
from hw.spec.faults import FaultReason
from hw.spec.tables import PAGE_BITS, PageSize, TranslationType

__all__ = ["Lookup", "LookupCounts"]

_PIPELINE = 2               # requests between acceptance and a queue; each queue keeps so much room for them
_QUEUE_DEPTH = 14 + _PIPELINE  # misses that wait for a walker: bridges short times in which it takes nobody
_ANSWER_DEPTH = 2 + _PIPELINE  # answers that wait for the reply port: no hit waits for more than so many


class LookupCounts(data.Struct):
    """What happens in this cycle, for counters. A request that is offered and not accepted may have several reasons."""

    requests: 1              # one is accepted
    hits: 1                  # one is answered from the IOTLB
    walk_requests: 1         # one goes to the page walker
    context_requests: 1      # one goes to the context walker
    stalled_by_walks: 1      # one is offered and not accepted: too many wait for the page walker to take them
    stalled_by_contexts: 1   # ... for the context walker
    stalled_by_answers: 1    # ... for their answers to be taken
    stalled_by_limit: 1      # ... MAX_ACCESSES are inside


class _Compared(data.Struct):
    """A request between compare and select."""

    transaction: Transaction
    settled: Settled
    context_hit: 1
    iotlb_off: 1
    context: Context


class Lookup(wiring.Component):
    """Looks requests up, one per cycle, and answers those that need no table.

    Parameters
    ----------
    config : IommuConfig
        Sizes.

    Members
    -------
    requests
        From outside.
    retires
        From outside, always taken.
    answers
        Hits, pass-through, translation off, interrupts, and what the checks refuse, in the order of requests. In caching
        mode also what a cache says is not present, or not legal.
    walk_requests
        Context known and legal, no sufficient line in the IOTLB.
    context_requests
        Context not cached.
    touched
        In the select cycle of a request whose context is cached, legal and translates, and which no check refuses: how
        it would be walked, and whether the IOTLB answers it. The mark is that of the compare cycle.
    counts
        Strobes of one cycle.
    context_fill, iotlb_fill
        What the walkers found.
    invalidation, busy
        See InvalidationPort; `busy` is that of either cache.
    translating, accessing, answered, answered_colour
        As in RequestIntake.
    control, straps
        As they stand in the compare cycle.
    caches_off
        Knob: what is off for a device is missed by every lookup of it.
    events
        REQUEST, RETIRE, CONTEXT_FILL, then IOTLB_FILL for each entry of a line.

    Timing
    ------
    An answer is offered in the third cycle after the one in which its request was accepted, one per cycle whatever the
    mixture. Nothing waits inside: a request is accepted only while each of the three queues has room for everything
    under way: misses wait in the walkers, and the queues in front of those are short.

    Races
    -----
    A request compared in the cycle in which an invalidation begins sees everything; a later one sees nothing that is
    covered. The colour is `invalidation.colour` as it stands in the compare cycle; only a fence changes it. Whatever was
    compared up to and in the cycle of `begin` and leaves for a walker then or later is marked. A line of the IOTLB whose
    permission does not suffice is a miss: the walk decides, so that a fault comes from the tables as they are now; in
    caching mode it may come from a cache.

    Source: VT-d 4.1, 6.1 and 6.2 (caching); ours (organisation).
    """

    def __init__(self, config):
        self._config = config
        count = range(MAX_ACCESSES + 1)
        super().__init__({
            "requests": In(stream.Signature(DmaRequest)),
            "retires": In(stream.Signature(DmaRetire)),
            "control": In(UnitControl),
            "straps": In(Straps),
            "caches_off": In(CachesOff),
            "invalidation": In(InvalidationPort()),
            "busy": Out(1),
            "translating": Out(count).array(2),
            "accessing": Out(count).array(2),
            "answered": In(1),
            "answered_colour": In(1),
            "answers": Out(stream.Signature(Answer)),
            "walk_requests": Out(stream.Signature(WalkRequest)),
            "context_requests": Out(stream.Signature(Transaction)),
            "touched": Out(FillPort(Touch)),
            "counts": Out(LookupCounts),
            "context_fill": In(FillPort(ContextFill)),
            "iotlb_fill": In(FillPort(iotlb_fill_layout(config.entries_per_word))),
            "events": Out(EventPort()).array(3 + config.entries_per_word),
        })

    def elaborate(self, platform):
        m = Module()
        m.submodules.intake = intake = RequestIntake()
        m.submodules.context_cache = context_cache = ContextCache(self._config)
        m.submodules.iotlb = iotlb = Iotlb(self._config)
        m.submodules.answer_queue = answer_queue = Queue(Answer, depth=_ANSWER_DEPTH)
        m.submodules.walk_queue = walk_queue = TransactionQueue(WalkRequest, depth=_QUEUE_DEPTH)
        m.submodules.context_queue = context_queue = TransactionQueue(Transaction, depth=_QUEUE_DEPTH)

        connect_stream(m, src=flipped(self).requests, dst=intake.requests)
        connect_stream(m, src=flipped(self).retires, dst=intake.retires)
        connect_stream(m, src=answer_queue.o, dst=flipped(self).answers)
        connect_stream(m, src=walk_queue.o, dst=flipped(self).walk_requests)
        connect_stream(m, src=context_queue.o, dst=flipped(self).context_requests)
        connect(m, flipped(self.context_fill), context_cache.fill)
        connect(m, flipped(self.iotlb_fill), iotlb.fill)
        connect(m, flipped(self.invalidation), context_cache.invalidation)
        connect(m, flipped(self.invalidation), iotlb.invalidation)
        sources = (*intake.events, *context_cache.events, *iotlb.events)
        for event, source in zip(self.events, sources, strict=True):
            connect(m, source, flipped(event))

        m.d.comb += [
            self.busy.eq(context_cache.busy | iotlb.busy),
            walk_queue.begin.eq(self.invalidation.begin),
            context_queue.begin.eq(self.invalidation.begin),
            intake.colour.eq(self.invalidation.colour),
            intake.answered.eq(self.answered),
            intake.answered_colour.eq(self.answered_colour),
        ]
        for colour in range(2):
            m.d.comb += [
                self.translating[colour].eq(intake.translating[colour]),
                self.accessing[colour].eq(intake.accessing[colour]),
            ]

        # Cycle 0: accept. The memories of both caches are read.
        request = intake.accepted.payload
        full = {name: queue.level >= depth - _PIPELINE for name, queue, depth in (
            ("walks", walk_queue, _QUEUE_DEPTH), ("contexts", context_queue, _QUEUE_DEPTH),
            ("answers", answer_queue, _ANSWER_DEPTH))}
        m.d.comb += [
            intake.accepted.ready.eq(~Cat(full.values()).any()),
            context_cache.key.source_id.eq(request.source_id),
            context_cache.key.pasid_present.eq(request.pasid_present),
            context_cache.key.pasid.eq(Mux(request.pasid_present, request.pasid, 0)),
            iotlb.iova_page.eq(request.iova[PAGE_BITS:PAGE_BITS + IOVA_PAGE_BITS]),
        ]

        # Cycle 1: compare.
        comparing = Signal()
        looked_up = Signal(DmaRequest)
        m.d.sync += [comparing.eq(intake.accepted.valid & intake.accepted.ready), looked_up.eq(request)]
        m.d.comb += [
            intake.looked_up.eq(comparing),
            context_cache.looked_up.eq(comparing),
            iotlb.looked_up.eq(comparing),
            iotlb.compared.domain_id.eq(context_cache.context.domain_id),
            iotlb.compared.needs_read.eq(looked_up.access != Access.WRITE),
            iotlb.compared.needs_write.eq(looked_up.access != Access.READ),
        ]

        # Cycle 2: select.
        selecting = Signal()
        selected = Signal(_Compared)
        off = looked_up.source_id == self.caches_off.source_id
        settled = settled_without_context(m, request=looked_up, control=self.control, straps=self.straps)
        m.d.sync += [
            selecting.eq(comparing),
            selected.transaction.request.eq(looked_up),
            selected.transaction.colour.eq(self.invalidation.colour),
            selected.transaction.marked.eq(self.invalidation.begin),
            selected.settled.eq(settled),
            selected.context_hit.eq(context_cache.hit & ~(self.caches_off.context_cache & off)),
            selected.iotlb_off.eq(self.caches_off.iotlb & off),
            selected.context.eq(context_cache.context),
        ]
        m.d.comb += [
            walk_queue.i.payload.transaction.eq(selected.transaction),
            walk_queue.i.payload.context.eq(selected.context),
            context_queue.i.payload.eq(selected.transaction),
            answer_queue.i.payload.transaction.eq(selected.transaction),
            self.touched.payload.walk.eq(walk_queue.i.payload),
            self.touched.payload.hit.eq(answer_queue.i.payload.hit),
        ]
        with m.If(selecting):
            self._select(m, selected, iotlb, answer_queue.i, walking=walk_queue.i.valid, fetching=context_queue.i.valid)

        offered = self.requests.valid
        m.d.comb += [
            self.counts.requests.eq(offered & self.requests.ready),
            self.counts.hits.eq(answer_queue.i.payload.hit),
            self.counts.walk_requests.eq(walk_queue.i.valid),
            self.counts.context_requests.eq(context_queue.i.valid),
            *(self.counts[f"stalled_by_{name}"].eq(offered & reason) for name, reason in full.items()),
            self.counts.stalled_by_limit.eq(offered & intake.full),
        ]
        return m

    def _select(self, m, selected, iotlb, answers, *, walking, fetching):
        """Where a compared request goes, and with which answer."""
        request, context, answer = selected.transaction.request, selected.context, answers.payload
        fault = request_fault(m, request=request, context=context, straps=self.straps)
        passing = [answer.page_size.eq(PageSize.UNTRANSLATED), answer.page.eq(request.iova[PAGE_BITS:])]
        with m.If(selected.settled.settled):
            m.d.comb += [
                answers.valid.eq(1),
                answer.interrupt.eq(selected.settled.interrupt),
                answer.fault_reason.eq(selected.settled.fault_reason),
                *passing,
            ]
        with m.Elif(~selected.context_hit):
            m.d.comb += fetching.eq(1)
        with m.Else():
            m.d.comb += answer.context.eq(context)
            with m.If(fault != FaultReason.NONE):
                m.d.comb += [answers.valid.eq(1), answer.fault_reason.eq(fault), *passing]
            with m.Elif(context.translation_type == TranslationType.PASS_THROUGH):
                m.d.comb += [answers.valid.eq(1), *passing]
            with m.Else():
                m.d.comb += self.touched.valid.eq(1)
                with m.If(iotlb.hit & ~selected.iotlb_off):
                    m.d.comb += [
                        answers.valid.eq(1),
                        answer.context.table_pointer.eq(iotlb.line.table_pointer),  # of the walk, not of the context now
                        answer.page_size.eq(iotlb.line.page_size),
                        answer.page.eq(iotlb.line.page),
                        answer.hit.eq(1),
                    ]
                    with m.If(~iotlb.line.readable & ~iotlb.line.writable):
                        m.d.comb += answer.fault_reason.eq(not_present_fault(request))
                with m.Else():
                    m.d.comb += walking.eq(1)
