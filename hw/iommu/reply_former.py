"""The unit's exit: answers from three sides become replies, and a fault report for each that is blocked."""
from amaranth import *
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

from hw.iommu.checks import in_interrupt_window
from hw.iommu.messages import Answer, EventPort, FaultReport
from hw.spec.dma import DmaReply, Status
from hw.spec.events import EventKind, ReplyDetail
from hw.spec.faults import FaultReason
from hw.spec.tables import LEVEL_BITS, PAGE_BITS, PageSize

__all__ = ["ReplyFormer"]

_HITS, _WALKS, _FAULTS = range(3)


class ReplyFormer(wiring.Component):
    """Forms one reply per answer: merges page and offset, makes the last check, reports what is blocked.

    Members
    -------
    answers[n]
        0 hits, 1 page walks, 2 context faults. Hits go first, but never twice past somebody who waits; the other two
        take turns.
    replies
        Out. A reply or a fault, never both: `hpa` is zero in a blocked one.
    faults
        One report per blocked reply, in the cycle in which the reply is handed over. The recorder is always ready.
    answered, answered_colour
        A reply of this colour is handed over in this cycle.
    events[0]
        REPLY, when it is handed over.

    Timing
    ------
    No cycles added: a reply is offered in the cycle in which its answer is. What is offered stays until taken, whatever
    else arrives.

    Source: VT-d 4.1, 3.14 (interrupt window) and 7.2 (OUTPUT_IN_INTERRUPT_WINDOW, decided here and nowhere else).
    """

    answers: In(stream.Signature(Answer)).array(3)
    replies: Out(stream.Signature(DmaReply))
    faults: Out(stream.Signature(FaultReport))
    answered: Out(1)
    answered_colour: Out(1)
    events: Out(EventPort()).array(1)

    def elaborate(self, platform):
        m = Module()
        answer = self._choose(m)
        request = answer.transaction.request

        # Page and offset. What is not translated keeps its address.
        hpa = Signal.like(self.replies.payload.hpa)
        m.d.comb += hpa.eq(Cat(request.iova[:PAGE_BITS], answer.page))
        with m.Switch(answer.page_size):
            for size in (PageSize.SIZE_2M, PageSize.SIZE_1G):
                offset_bits = PAGE_BITS + LEVEL_BITS * size.value
                with m.Case(size):
                    m.d.comb += hpa[:offset_bits].eq(request.iova[:offset_bits])

        fault_reason = Signal(FaultReason)
        blocked = Signal()
        into_window = (answer.page_size != PageSize.UNTRANSLATED) & in_interrupt_window(hpa[PAGE_BITS:])
        m.d.comb += fault_reason.eq(answer.fault_reason)
        with m.If((answer.fault_reason == FaultReason.NONE) & into_window):
            m.d.comb += fault_reason.eq(FaultReason.OUTPUT_IN_INTERRUPT_WINDOW)
        m.d.comb += blocked.eq(fault_reason != FaultReason.NONE)

        reply = self.replies.payload
        m.d.comb += [
            reply.tag.eq(request.tag),
            reply.page_size.eq(answer.page_size),
            reply.fault_reason.eq(fault_reason),
            reply.colour.eq(answer.transaction.colour),
            reply.hit.eq(answer.hit),
            reply.source_id.eq(request.source_id),
            reply.domain_id.eq(answer.context.domain_id),
            reply.table_pointer.eq(answer.context.table_pointer),
        ]
        with m.If(blocked):
            m.d.comb += reply.status.eq(Status.BLOCKED)
        with m.Else():
            m.d.comb += [reply.status.eq(Mux(answer.interrupt, Status.INTERRUPT, Status.OK)), reply.hpa.eq(hpa)]

        m.d.comb += [
            self.answered.eq(self.replies.valid & self.replies.ready),
            self.answered_colour.eq(reply.colour),
            self.faults.valid.eq(self.answered & blocked),
            self.faults.payload.request.eq(request),
            self.faults.payload.fault_reason.eq(fault_reason),
            self.faults.payload.fault_processing_disable.eq(answer.context.fault_processing_disable),
        ]

        event = self.events[0].payload
        detail = ReplyDetail(event.detail[:ReplyDetail.as_shape().size])
        m.d.comb += [
            self.events[0].valid.eq(self.answered),
            event.kind.eq(EventKind.REPLY),
            event.source_id.eq(reply.source_id),
            event.domain_id.eq(reply.domain_id),
            event.tag.eq(reply.tag),
            event.iova.eq(request.iova),
            event.hpa.eq(reply.hpa),
            *(detail[name].eq(reply[name]) for name in dict(ReplyDetail.as_shape())),
        ]
        return m

    def _choose(self, m):
        """Offer one of the answers; keep a stalled choice."""
        chosen = Signal(range(len(self.answers)))
        last_chosen = Signal.like(chosen)
        stalled = Signal()
        hits_give_way = Signal()     # a hit went past somebody who waited
        faults_first = Signal()      # of the two that are not hits, a walk was served last
        hits, walks, faults = (port.valid for port in self.answers)
        with m.If(stalled):
            m.d.comb += chosen.eq(last_chosen)
        with m.Elif(hits & ~(hits_give_way & (walks | faults))):
            m.d.comb += chosen.eq(_HITS)
        with m.Elif(faults & (faults_first | ~walks)):
            m.d.comb += chosen.eq(_FAULTS)
        with m.Else():
            m.d.comb += chosen.eq(_WALKS)
        m.d.sync += [last_chosen.eq(chosen), stalled.eq(self.replies.valid & ~self.replies.ready)]
        with m.If(self.replies.valid & self.replies.ready):
            m.d.sync += hits_give_way.eq((chosen == _HITS) & (walks | faults))
            with m.If(chosen != _HITS):
                m.d.sync += faults_first.eq(chosen == _WALKS)

        answer = Signal(Answer)
        with m.Switch(chosen):
            for index, port in enumerate(self.answers):
                with m.Case(index):
                    m.d.comb += [
                        answer.eq(port.payload),
                        self.replies.valid.eq(port.valid),
                        port.ready.eq(self.replies.ready),
                    ]
        return answer
