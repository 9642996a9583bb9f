"""The host's way to have pages walked ahead of a domain replacement. Ours (hw.spec.prewalk).

::

    accesses --> registers: context entry, source ID
                 PAGE --> check --> waiting --> walk_requests
                                    pending, done <-- ended
"""
from amaranth import *
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

from hw.iommu.checks import in_interrupt_window, request_fault
from hw.iommu.messages import InvalidationPort, WalkRequest
from hw.iommu.walk_step import context_fault
from hw.spec.bench import HostReply, HostRequest
from hw.spec.capabilities import Straps
from hw.spec.dma import Access, RequestKind
from hw.spec.faults import FaultReason
from hw.spec.prewalk import PrewalkPage, PrewalkRegister, PrewalkSource, PrewalkStatus
from hw.spec.tables import PAGE_BITS, ContextEntry, TranslationType

__all__ = ["PrewalkWindow"]

_WORD_BITS = 64
_WRITABLE = (PrewalkRegister.CONTEXT_LOW, PrewalkRegister.CONTEXT_HIGH, PrewalkRegister.SOURCE_ID)


class PrewalkWindow(wiring.Component):
    """Registers of PrewalkRegister, and one walk at a time on its way to the page walker.

    Members
    -------
    accesses, replies
        Host accesses, addresses relative to the window, one at a time. Errors: no such register, not 8 bytes wide, a
        read of any register but STATUS, a write to any but STATUS while a walk waits, and a PAGE that no device could
        translate under the context: the entry is not legal, or passes addresses through, or the page is beyond the
        widths of the context and the machine, or in the interrupt window. A bad context is an error of PAGE, not of
        CONTEXT.
    walk_requests
        The walk: an untranslated read of one byte, that nobody waits for. Context and page stand still until it is taken.
    ended
        One cycle for each walk taken from here that is over.
    invalidation
        What waits when one begins is marked.
    straps
        As they stand.

    Timing
    ------
    A PAGE is answered in the second cycle after its acceptance, and from then on offered; everything else in the next
    cycle.

    Races
    -----
    A walk taken in the cycle of `begin` leaves with its mark set. One that ends in the cycle in which another is accepted,
    or in which STATUS is written, is counted. A PAGE that is checked in the cycle of `begin` is not marked: nothing of it
    has been read.
    """

    accesses: In(stream.Signature(HostRequest))
    replies: Out(stream.Signature(HostReply))
    walk_requests: Out(stream.Signature(WalkRequest))
    ended: In(1)
    invalidation: In(InvalidationPort())
    straps: In(Straps)

    def elaborate(self, platform):
        m = Module()
        written = {row: Signal(_WORD_BITS, name=row.name.lower()) for row in _WRITABLE}
        entry = ContextEntry(Cat(written[PrewalkRegister.CONTEXT_LOW], written[PrewalkRegister.CONTEXT_HIGH]))
        source = PrewalkSource(written[PrewalkRegister.SOURCE_ID][:PrewalkSource.as_shape().size])
        page = Signal(PrewalkPage)
        status = Signal(PrewalkStatus)
        marked = Signal()

        # The walk.
        walk = self.walk_requests
        context, transaction = walk.payload.context, walk.payload.transaction
        m.d.comb += [
            walk.valid.eq(status.waiting),
            transaction.marked.eq(marked | self.invalidation.begin),
            transaction.request.source_id.eq(source.source_id),
            transaction.request.kind.eq(RequestKind.UNTRANSLATED),
            transaction.request.access.eq(Access.READ),
            transaction.request.iova.eq(Cat(Const(0, PAGE_BITS), page.iova_page)),
            transaction.request.length_bytes.eq(1),
            context.translation_type.eq(entry.translation_type),
            context.address_width.eq(entry.address_width),
            context.domain_id.eq(entry.domain_id),
            context.table_pointer.eq(entry.second_stage_pointer),
            context.fault_processing_disable.eq(entry.fault_processing_disable),
        ]
        of_entry = context_fault(m, entry=entry, error=0, straps=self.straps)
        of_request = request_fault(m, request=transaction.request, context=context, straps=self.straps)
        legal = Signal()
        m.d.comb += legal.eq(
            (of_entry == FaultReason.NONE) & (entry.translation_type != TranslationType.PASS_THROUGH)
            & (of_request == FaultReason.NONE) & ~in_interrupt_window(page.iova_page)
            & ~page["_reserved_63_52"].any())

        # Host accesses: a PAGE is checked, everything else is answered at once.
        access, reply = self.accesses.payload, self.replies
        accepted, writable, checking, accepted_walk = Signal(), Signal(), Signal(), Signal()
        m.d.comb += [
            self.accesses.ready.eq(~(reply.valid | checking)),
            accepted.eq(self.accesses.valid & self.accesses.ready),
            writable.eq(accepted & access.wide & access.write & ~status.waiting),
            accepted_walk.eq(checking & legal),
        ]
        with m.If(reply.ready):
            m.d.sync += reply.valid.eq(0)
        with m.If(accepted):
            m.d.sync += [reply.valid.eq(1), reply.payload.data.eq(0), reply.payload.error.eq(1)]
        of_status = Signal()
        m.d.comb += of_status.eq(accepted & access.wide & (access.address == PrewalkRegister.STATUS))
        with m.If(of_status & ~access.write):
            m.d.sync += [reply.payload.data.eq(status), reply.payload.error.eq(0)]
        for row, register in written.items():
            with m.If(writable & (access.address == row)):
                m.d.sync += [register.eq(access.data), reply.payload.error.eq(0)]
        m.d.sync += checking.eq(0)
        with m.If(writable & (access.address == PrewalkRegister.PAGE)):
            m.d.sync += [page.eq(access.data), checking.eq(1), reply.valid.eq(0)]
        with m.If(checking):
            m.d.sync += [reply.valid.eq(1), reply.payload.error.eq(~legal)]

        # What has become of the walks.
        with m.If(accepted_walk):
            m.d.sync += [status.waiting.eq(1), marked.eq(0)]
        with m.Elif(walk.valid & walk.ready):
            m.d.sync += status.waiting.eq(0)
        with m.If(self.invalidation.begin & status.waiting):
            m.d.sync += marked.eq(1)
        m.d.sync += status.pending.eq(status.pending + accepted_walk - self.ended)
        with m.If(of_status & access.write):
            m.d.sync += [reply.payload.error.eq(0), status.done.eq(self.ended), status.disturbed.eq(0)]
        with m.Else():
            m.d.sync += status.done.eq(status.done + self.ended)
        with m.If(self.invalidation.begin & (status.pending != 0)):
            m.d.sync += status.disturbed.eq(1)
        return m
