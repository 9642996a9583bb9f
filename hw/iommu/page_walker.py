"""Walk second-stage tables: one engine, many walks in flight.

::

    requests[0] --+                    +--------------+--------------> answers
    requests[1] --+--> accept --> slots (a row per walk)               fill
                         |         |          ^
                         v         v          | next level
                       reads --> memory --> check

A walk owns a slot from its acceptance until its answer has been taken. Its row is written by `accept` and by `check`;
between the two, exactly one read of the walk is under way, so rows never conflict.

What will come, and where:
merging of misses on one page, in `accept`: a request that finds its domain and page in an unmarked slot's key waits on
that slot, and is answered from its result; a paging cache, in `accept` and `check`: a lookup gives the first level and
table, each table entry that passed is a fill; stages, in the row: a nested walk is a walk whose table addresses walk.
"""
from amaranth import *
from amaranth.lib import data, memory, stream, wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import ceil_log2

from hw.iommu.checks import in_interrupt_window
from hw.iommu.coverage import covers_context, covers_translation
from hw.iommu.messages import Answer, EventPort, FillPort, InvalidationPort, IotlbFill, WalkRequest
from hw.iommu.walk_step import second_stage_entry_address, second_stage_step, select_second_stage_entry
from hw.lib.merge import Merge
from hw.lib.stream import Queue, connect_stream
from hw.spec.capabilities import Straps
from hw.spec.events import EventKind, WalkDetail
from hw.spec.faults import FaultReason
from hw.spec.memory import MemoryOperation, MemoryRequest, memory_reply_layout
from hw.spec.tables import MAX_LEVEL, PAGE_BITS, PageSize, top_level

__all__ = ["PageWalker"]

_PAGE_SIZES = (PageSize.SIZE_4K, PageSize.SIZE_2M, PageSize.SIZE_1G)
_HPA_BITS = data.Layout.cast(MemoryRequest)["hpa"].width
_IOVA_PAGE_BITS = data.Layout.cast(IotlbFill)["iova_page"].width


class _Walk(data.Struct):
    """One walk in flight."""
    request: WalkRequest
    level: range(MAX_LEVEL + 1)  # of the table that is being read
    readable: 1                  # ANDed over the levels above
    writable: 1


class _Key(data.Struct):
    """What an invalidation compares a walk with."""
    source_id: 16
    domain_id: 16
    iova_page: _IOVA_PAGE_BITS


class PageWalker(wiring.Component):
    """Walker of 3-, 4- and 5-level second-stage tables.

    Parameters
    ----------
    config : IommuConfig
        `walk_slots`, `memory_word_bits`.

    Members
    -------
    requests
        0 from the lookup, 1 from the context walker; served in turn.
    answers
        One per request, in the order in which the walks end. `context` is the request's own.
    fill
        A translation for the IOTLB: of walks that ended without a fault and unmarked, unless all of it is a page of the
        interrupt window, which no request may reach: the next one reads the tables again. A superpage around the window
        is filled, and the reply former blocks what meets the window. In caching mode also the lack of a translation:
        4 KiB, neither readable nor writable, where an unmarked walk met an entry that is not present. No other fault
        is cached.
    memory_requests, memory_replies
        Table memory; the tag is the slot. Replies are always taken, one a cycle.
    straps, invalidation
        See Straps and InvalidationPort.
    events
        0: WALK at acceptance. 1: WALK_RESULT when the last entry has been checked, with the mark as it then stood.

    Timing
    ------
    The first read is offered in the cycle after acceptance, each further one two cycles after its predecessor's reply,
    the answer two cycles and the fill one cycle after the last reply. A fill never waits; an answer waits in its slot's
    place, so that a slow taker delays new walks and nothing else.

    Races
    -----
    A walk that is accepted in a cycle with `begin` is marked, covered or not. A walk in a slot is marked if the
    invalidation covers it: each slot has a mark for each page size, since it is not known which size the walk will find.
    A fill in the cycle of `begin` still goes out; one cycle later the mark stops it. An answer is never stopped.

    Source: VT-d 4.1, 3.7 (second stage), 3.14 (interrupt window), 6.1 and 6.2 (what may be cached), 7.2 (reasons).
    """

    def __init__(self, config):
        self._slots = config.walk_slots
        word = memory_reply_layout(config.memory_word_bits)
        self._word = word
        super().__init__({
            "requests": In(stream.Signature(WalkRequest)).array(2),
            "answers": Out(stream.Signature(Answer)),
            "fill": Out(FillPort(IotlbFill)),
            "memory_requests": Out(stream.Signature(MemoryRequest)),
            "memory_replies": In(stream.Signature(word)),
            "straps": In(Straps),
            "invalidation": In(InvalidationPort()),
            "events": Out(EventPort()).array(2),
        })

    def elaborate(self, platform):
        m = Module()
        slot_bits = max(1, ceil_log2(self._slots))
        m.submodules.arriving = arriving = Merge(WalkRequest, ports=len(self.requests))
        m.submodules.slots = slots = memory.Memory(shape=_Walk, depth=self._slots, init=[])
        m.submodules.reads = reads = Queue(data.StructLayout({"slot": slot_bits, "hpa": _HPA_BITS}), depth=self._slots)
        m.submodules.done = done = Queue(data.StructLayout({"slot": slot_bits, "answer": Answer}), depth=self._slots)
        row_write = slots.write_port()
        row_read = slots.read_port()  # never reads a row in the cycle in which it is written
        for source, sink in zip(self.requests, arriving.i, strict=True):
            connect_stream(m, src=source, dst=sink)

        busy = Signal(self._slots)
        keys = Signal(data.ArrayLayout(_Key, self._slots))
        marks = Signal(data.ArrayLayout(len(_PAGE_SIZES), self._slots))  # bit: PageSize

        # Invalidations mark what they cover; accepting a walk, below, has the last word on its slot.
        invalidation = self.invalidation.payload
        for slot in range(self._slots):
            key = keys[slot]
            stale_context = covers_context(invalidation, source_id=key.source_id, domain_id=key.domain_id)
            for size in _PAGE_SIZES:
                stale_page = covers_translation(
                    invalidation, domain_id=key.domain_id, iova_page=key.iova_page, page_size=size)
                with m.If(self.invalidation.begin & (stale_context | stale_page)):
                    m.d.sync += marks[slot][size.value].eq(1)

        # Check: the reply and its row, one cycle later.
        checking = Signal()
        reply = Signal(self._word)
        m.d.comb += [self.memory_replies.ready.eq(1), row_read.addr.eq(self.memory_replies.payload.tag)]
        m.d.sync += [checking.eq(self.memory_replies.valid), reply.eq(self.memory_replies.payload)]
        walk = row_read.data
        request, context = walk.request.transaction.request, walk.request.context
        entry = select_second_stage_entry(reply.data, iova=request.iova, level=walk.level)
        fault, leaf = second_stage_step(
            m, entry=entry, error=reply.error, level=walk.level, top=top_level(context.address_width),
            access=request.access, straps=self.straps)
        descending = Signal()
        ending = Signal()
        m.d.comb += [
            descending.eq(checking & (fault == FaultReason.NONE) & ~leaf),
            ending.eq(checking & ~descending),
        ]

        # Accept: into the lowest free slot, in cycles in which no walk descends.
        accepting = Signal()
        free_slot = Signal(slot_bits)
        for slot in reversed(range(self._slots)):
            with m.If(~busy[slot]):
                m.d.comb += free_slot.eq(slot)
        accepted = arriving.o.payload
        accepted_request = accepted.transaction.request
        m.d.comb += [
            arriving.o.ready.eq(~busy.all() & ~descending),
            accepting.eq(arriving.o.valid & arriving.o.ready),
        ]
        with m.If(accepting):
            m.d.sync += [
                busy.bit_select(free_slot, 1).eq(1),
                keys[free_slot].source_id.eq(accepted_request.source_id),
                keys[free_slot].domain_id.eq(accepted.context.domain_id),
                keys[free_slot].iova_page.eq(accepted_request.iova[PAGE_BITS:]),
                marks[free_slot].eq((accepted.transaction.marked | self.invalidation.begin).replicate(len(_PAGE_SIZES))),
            ]

        # Both write a row and queue a read, never in the same cycle.
        next_row = row_write.data
        with m.If(descending):
            m.d.comb += [
                row_write.addr.eq(reply.tag),
                next_row.request.eq(walk.request),
                next_row.level.eq(walk.level - 1),
                next_row.readable.eq(walk.readable & entry.readable),
                next_row.writable.eq(walk.writable & entry.writable),
                reads.i.payload.hpa.eq(second_stage_entry_address(
                    iova=request.iova, level=walk.level - 1, table=entry.address)),
            ]
        with m.Else():
            m.d.comb += [
                row_write.addr.eq(free_slot),
                next_row.request.eq(accepted),
                next_row.level.eq(top_level(accepted.context.address_width)),
                next_row.readable.eq(1),
                next_row.writable.eq(1),
                reads.i.payload.hpa.eq(second_stage_entry_address(
                    iova=accepted_request.iova, level=next_row.level, table=accepted.context.table_pointer)),
            ]
        m.d.comb += [
            row_write.en.eq(descending | accepting),
            reads.i.payload.slot.eq(row_write.addr),
            reads.i.valid.eq(descending | accepting),  # one place per slot: always ready
            self.memory_requests.payload.operation.eq(MemoryOperation.READ),
            self.memory_requests.payload.hpa.eq(reads.o.payload.hpa),
            self.memory_requests.payload.tag.eq(reads.o.payload.slot),
            self.memory_requests.valid.eq(reads.o.valid),
            reads.o.ready.eq(self.memory_requests.ready),
        ]

        # The end of a walk: a fill unless marked, an answer always.
        translated = Signal()
        missing = Signal()      # an entry that is not present
        page_size = Signal(PageSize)
        marked = Signal()
        m.d.comb += [
            translated.eq(ending & (fault == FaultReason.NONE)),
            missing.eq(ending & ~reply.error & ~entry.readable & ~entry.writable),
            marked.eq(marks[reply.tag[:slot_bits]].bit_select(page_size, 1)),
        ]
        with m.If(translated):
            m.d.comb += page_size.eq(walk.level - 1)
        answer = done.i.payload.answer
        fill = self.fill.payload
        unreachable = (page_size == PageSize.SIZE_4K) & in_interrupt_window(entry.address)
        m.d.comb += [
            self.fill.valid.eq(((translated & ~unreachable) | (missing & self.straps.caching_mode)) & ~marked),
            fill.domain_id.eq(context.domain_id),
            fill.iova_page.eq(request.iova[PAGE_BITS:]),
            fill.page_size.eq(page_size),
            fill.page.eq(answer.page),
            fill.readable.eq(walk.readable & entry.readable),
            fill.writable.eq(walk.writable & entry.writable),
            fill.table_pointer.eq(context.table_pointer),
        ]
        m.d.comb += [
            done.i.valid.eq(ending),  # one place per slot: always ready
            done.i.payload.slot.eq(reply.tag),
            answer.transaction.eq(walk.request.transaction),
            answer.transaction.marked.eq(marked),
            answer.context.eq(context),
            answer.fault_reason.eq(fault),
            answer.page_size.eq(page_size),
            answer.page.eq(Mux(translated, entry.address, 0)),
            self.answers.payload.eq(done.o.payload.answer),
            self.answers.valid.eq(done.o.valid),
            done.o.ready.eq(self.answers.ready),
        ]
        with m.If(self.answers.valid & self.answers.ready):
            m.d.sync += busy.bit_select(done.o.payload.slot, 1).eq(0)

        # Events.
        for event, kind, valid, subject in (
            (self.events[0], EventKind.WALK, accepting, accepted),
            (self.events[1], EventKind.WALK_RESULT, ending, walk.request),
        ):
            m.d.comb += [
                event.valid.eq(valid),
                event.payload.kind.eq(kind),
                event.payload.source_id.eq(subject.transaction.request.source_id),
                event.payload.domain_id.eq(subject.context.domain_id),
                event.payload.tag.eq(subject.transaction.request.tag),
                event.payload.iova.eq(subject.transaction.request.iova),
                event.payload.hpa.eq(subject.context.table_pointer << PAGE_BITS),
            ]
        detail = Signal(WalkDetail)
        m.d.comb += [
            detail.fault_reason.eq(fault),
            detail.page_size.eq(page_size),
            detail.marked.eq(marked),
            detail.page.eq(answer.page),
            self.events[1].payload.detail.eq(detail),
        ]
        return m
