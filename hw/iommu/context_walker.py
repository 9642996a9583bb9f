"""Find out what a device's context entry says: root entry, then context entry, several devices at a time.

::

    requests --> accept --> EntryFetcher --> root entry: fetch the context entry
                               ^   |
                               |   +-------> context entry: decide --> result --+--> answers
                               +-- memory                     |                 +--> walk_requests
                                                              +--> fill

One rule of the specification per step: what an entry means is in walk_step, what a request may do in checks.
"""
from amaranth import *
from amaranth.lib import data, memory, stream, wiring
from amaranth.lib.wiring import In, Out

from hw.iommu.checks import request_fault
from hw.iommu.coverage import covers_source
from hw.iommu.entry_fetcher import EntryFetcher
from hw.iommu.messages import (
    Answer,
    Context,
    ContextFill,
    EventPort,
    FillPort,
    InvalidationPort,
    Transaction,
    UnitControl,
    WalkRequest,
)
from hw.iommu.walk_step import context_entry_address, context_fault, root_entry_address, root_fault
from hw.lib.stream import connect_stream
from hw.spec.capabilities import Straps
from hw.spec.events import ContextDetail, EventKind
from hw.spec.faults import FaultReason
from hw.spec.memory import MemoryRequest, memory_reply_layout
from hw.spec.tables import PAGE_BITS, ContextEntry, PageSize, RootEntry, TranslationType

__all__ = ["ContextWalker"]


class ContextWalker(wiring.Component):
    """Walker of root and context tables.

    Parameters
    ----------
    config : IommuConfig
        `context_slots`, `memory_word_bits`.
    chunk_bits : int
        Indivisible unit of the fetches, 64 or 128. VT-d promises 128.

    Members
    -------
    requests
        Transactions whose context is not cached. Two of one device may fetch its entry twice.
    answers
        Of transactions that end here: with a fault, or passed through.
    walk_requests
        The others, with their context.
    fill
        A context for the context cache: legal and unmarked, whatever becomes of the request. In caching mode
        also what is wrong with an entry that was read and is not legal, under domain ID 0. A memory error is never cached.
    memory_requests, memory_replies
        Table memory; the tag is the slot. Replies are always taken.
    control
        `root_table` is used as it stands at acceptance.
    straps, invalidation, chunk_delay
        See Straps, InvalidationPort and EntryFetcher.
    events
        0: CONTEXT_FETCH at acceptance. 1: CONTEXT_RESULT when the request has been decided; its fault reason is the
        request's, so that a legal context may come with one.

    Timing
    ------
    The first read is offered in the cycle after acceptance. The fill and CONTEXT_RESULT come three cycles after the
    context entry's last chunk, answer or walk request one later. One transaction leaves in two cycles, at most.

    Races
    -----
    A fetch is marked if an invalidation of the context cache may cover it: global, any domain (the entry is not known
    yet), or its device by any domain ID. IOTLB invalidations do not mark a fetch: its walk begins after them. Whatever is
    accepted, or waits for `walk_requests`, in a cycle with `begin` is marked by any invalidation; so `marked` of an
    offered walk request may rise. A fill in the cycle of `begin` still goes out; one cycle later the mark stops it.

    Source: VT-d 4.1, 3.4.2 (legacy mode), 6.1 (caching mode), 9.1, 9.3, 7.2 (reasons and their order).
    """

    def __init__(self, config, *, chunk_bits=128):
        self._slots = config.context_slots
        self._fetcher = EntryFetcher(
            entry_bits=ContextEntry.as_shape().size, chunk_bits=chunk_bits, word_bits=config.memory_word_bits,
            slots=config.context_slots)
        super().__init__({
            "requests": In(stream.Signature(Transaction)),
            "answers": Out(stream.Signature(Answer)),
            "walk_requests": Out(stream.Signature(WalkRequest)),
            "fill": Out(FillPort(ContextFill)),
            "memory_requests": Out(stream.Signature(MemoryRequest)),
            "memory_replies": In(stream.Signature(memory_reply_layout(config.memory_word_bits))),
            "control": In(UnitControl),
            "straps": In(Straps),
            "invalidation": In(InvalidationPort()),
            "chunk_delay": In(16),
            "events": Out(EventPort()).array(2),
        })

    def elaborate(self, platform):
        m = Module()
        m.submodules.fetcher = fetcher = self._fetcher
        connect_stream(m, src=fetcher.memory_requests, dst=self.memory_requests)
        connect_stream(m, src=self.memory_replies, dst=fetcher.memory_replies)
        m.d.comb += fetcher.chunk_delay.eq(self.chunk_delay)

        m.submodules.slots = slots = memory.Memory(shape=Transaction, depth=self._slots, init=[])
        row_write = slots.write_port()
        row_read = slots.read_port(domain="comb")
        busy = Signal(self._slots)
        at_context = Signal(self._slots)   # which of the two entries a slot waits for
        marks = Signal(self._slots)
        source_ids = Signal(data.ArrayLayout(16, self._slots))

        # Invalidations mark what they may cover; accepting a fetch, below, has the last word on its slot.
        for slot in range(self._slots):
            with m.If(self.invalidation.begin & covers_source(self.invalidation.payload, source_id=source_ids[slot])):
                m.d.sync += marks[slot].eq(1)

        # The entry that has arrived, and whose it is.
        arrived = fetcher.entries
        slot = arrived.payload.tag
        m.d.comb += row_read.addr.eq(slot)
        transaction = row_read.data
        request = transaction.request
        root_entry = RootEntry(arrived.payload.data)
        context_entry = ContextEntry(arrived.payload.data)
        root_reason = root_fault(m, entry=root_entry, error=arrived.payload.error, straps=self.straps)
        context_reason = context_fault(m, entry=context_entry, error=arrived.payload.error, straps=self.straps)
        context = Signal(Context)
        m.d.comb += [
            context.translation_type.eq(context_entry.translation_type),
            context.address_width.eq(context_entry.address_width),
            context.domain_id.eq(context_entry.domain_id),
            context.table_pointer.eq(context_entry.second_stage_pointer),
            context.fault_processing_disable.eq(context_entry.fault_processing_disable),
        ]
        request_reason = request_fault(m, request=request, context=context, straps=self.straps)

        # Decide: go on to the context entry, or end with a reason and what is known of the context.
        result_waits = Signal()
        descending = Signal()
        deciding = Signal()
        cacheable = Signal()
        reason = Signal(FaultReason)
        known = Signal(Context)
        with m.If(~at_context.bit_select(slot, 1)):
            m.d.comb += [
                reason.eq(root_reason),
                descending.eq(arrived.valid & (root_reason == FaultReason.NONE)),
            ]
        with m.Elif(context_reason == FaultReason.NONE):
            m.d.comb += [cacheable.eq(1), reason.eq(request_reason), known.eq(context)]
        with m.Else():
            m.d.comb += reason.eq(context_reason)
            with m.If(~arrived.payload.error):
                m.d.comb += [
                    cacheable.eq(self.straps.caching_mode),
                    known.fault_processing_disable.eq(context.fault_processing_disable),
                    known.fault_reason.eq(context_reason),
                ]
        m.d.comb += deciding.eq(arrived.valid & ~descending & ~result_waits)

        # Accept: into the lowest free slot, in cycles in which no fetch goes on to its context entry.
        accepting = Signal()
        free_slot = Signal.like(slot)
        for candidate in reversed(range(self._slots)):
            with m.If(~busy[candidate]):
                m.d.comb += free_slot.eq(candidate)
        accepted = self.requests.payload
        m.d.comb += [
            self.requests.ready.eq(~busy.all() & ~descending),  # a free slot's tag is free in the fetcher
            accepting.eq(self.requests.valid & self.requests.ready),
            row_write.addr.eq(free_slot),
            row_write.data.eq(accepted),
            row_write.en.eq(accepting),
        ]
        with m.If(accepting):
            m.d.sync += [
                busy.bit_select(free_slot, 1).eq(1),
                at_context.bit_select(free_slot, 1).eq(0),
                source_ids[free_slot].eq(accepted.request.source_id),
                marks.bit_select(free_slot, 1).eq(accepted.marked | self.invalidation.begin),
            ]
        fetch = fetcher.requests
        m.d.comb += fetch.valid.eq(descending | accepting)
        with m.If(descending):
            m.d.comb += [
                fetch.payload.hpa.eq(context_entry_address(
                    source_id=request.source_id, table=root_entry.context_table_pointer)),
                fetch.payload.tag.eq(slot),
            ]
            m.d.sync += at_context.bit_select(slot, 1).eq(1)
        with m.Else():
            m.d.comb += [
                fetch.payload.hpa.eq(root_entry_address(
                    source_id=accepted.request.source_id, table=self.control.root_table)),
                fetch.payload.tag.eq(free_slot),
            ]
        m.d.comb += arrived.ready.eq(descending | deciding)
        with m.If(deciding):
            m.d.sync += busy.bit_select(slot, 1).eq(0)

        # The end of a fetch: a fill unless marked; a result always, which then waits for its taker.
        marked = marks.bit_select(slot, 1)
        m.d.comb += [
            self.fill.valid.eq(deciding & cacheable & ~marked),
            self.fill.payload.source_id.eq(request.source_id),
            self.fill.payload.pasid_present.eq(request.pasid_present),
            self.fill.payload.pasid.eq(Mux(request.pasid_present, request.pasid, 0)),
            self.fill.payload.context.eq(known),
        ]
        result = Signal(WalkRequest)
        result_reason = Signal(FaultReason)
        result_walks = Signal()
        with m.If(deciding):
            m.d.sync += [
                result_waits.eq(1),
                result.transaction.eq(transaction),
                result.transaction.marked.eq(marked | self.invalidation.begin),
                result.context.eq(known),
                result_reason.eq(reason),
                result_walks.eq((reason == FaultReason.NONE)
                                & (known.translation_type != TranslationType.PASS_THROUGH)),
            ]
        with m.Elif(self.invalidation.begin):
            m.d.sync += result.transaction.marked.eq(1)
        with m.If((self.answers.valid & self.answers.ready) | (self.walk_requests.valid & self.walk_requests.ready)):
            m.d.sync += result_waits.eq(0)
        answer = self.answers.payload
        m.d.comb += [
            self.walk_requests.valid.eq(result_waits & result_walks),
            self.walk_requests.payload.eq(result),
            self.answers.valid.eq(result_waits & ~result_walks),
            answer.transaction.eq(result.transaction),
            answer.context.eq(result.context),
            answer.fault_reason.eq(result_reason),
            answer.page_size.eq(PageSize.UNTRANSLATED),
            answer.page.eq(result.transaction.request.iova[PAGE_BITS:]),
        ]

        # Events.
        detail = Signal(ContextDetail)
        m.d.comb += [
            self.events[0].valid.eq(accepting),
            self.events[0].payload.kind.eq(EventKind.CONTEXT_FETCH),
            self.events[0].payload.source_id.eq(accepted.request.source_id),
            self.events[0].payload.tag.eq(accepted.request.tag),
            detail.fault_reason.eq(reason),
            detail.translation_type.eq(known.translation_type),
            detail.address_width.eq(known.address_width),
            detail.marked.eq(marked),
            self.events[1].valid.eq(deciding),
            self.events[1].payload.kind.eq(EventKind.CONTEXT_RESULT),
            self.events[1].payload.source_id.eq(request.source_id),
            self.events[1].payload.tag.eq(request.tag),
            self.events[1].payload.domain_id.eq(known.domain_id),
            self.events[1].payload.hpa.eq(known.table_pointer << PAGE_BITS),
            self.events[1].payload.detail.eq(detail),
        ]
        return m
