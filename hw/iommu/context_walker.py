"""Find out what a device's context entry says: root entry, then context entry, several devices at a time.

::

    requests --> accept --+--> waiters (one list per slot) --------------------+
                          |                                                    v
                          +--> fetcher --> root entry: fetch the context    decide --+--> answers
                               ^   ^  |    context entry: what is found --> each     +--> walk_requests
                               |   |  +--> in its slot                      waiter --+--> fill, once
                               |   +------------ fetch again <-----------------+
                               +-- memory

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
from hw.iommu.waiter_lists import WaiterLists
from hw.iommu.walk_step import context_entry_address, context_fault, root_entry_address, root_fault
from hw.lib.stream import connect_stream
from hw.spec.capabilities import Straps
from hw.spec.events import ContextDetail, EventKind
from hw.spec.faults import FaultReason
from hw.spec.memory import MemoryRequest, memory_reply_layout
from hw.spec.tables import PAGE_BITS, ContextEntry, PageSize, RootEntry, TranslationType

__all__ = ["ContextWalker"]


class _Key(data.Struct):
    """Whose context a slot fetches."""
    source_id: 16
    pasid_present: 1
    pasid: 20                    # zero unless present


class _Found(data.Struct):
    """What the tables say about a device."""
    context: Context
    fault_reason: FaultReason    # of the tables: of whatever the request is
    cacheable: 1


class ContextWalker(wiring.Component):
    """Walker of root and context tables.

    Parameters
    ----------
    config : IommuConfig
        `context_slots`, `waiters`, `memory_word_bits`.
    chunk_bits : int
        Indivisible unit of the fetches, 64 or 128. VT-d promises 128.

    Members
    -------
    requests
        Transactions whose context is not cached. Those of one source ID, and PASID, wait for one fetch: whoever comes
        while it is under way and unmarked joins it.
    answers
        Of transactions that end here: with a fault, or passed through.
    walk_requests
        The others, with their context.
    fill
        A context for the context cache, once per fetch: legal and unmarked, whatever becomes of the request. In caching mode
        also what is wrong with an entry that was read and is not legal, under domain ID 0. A memory error is never cached.
    memory_requests, memory_replies
        Table memory; the tag is the slot. Replies are always taken.
    control
        `root_table` is used as it stands when a fetch begins.
    straps, invalidation, chunk_delay
        See Straps, InvalidationPort and EntryFetcher.
    fetches
        A fetch begins, or begins again, in this cycle.
    events
        0: CONTEXT_FETCH at acceptance, of those who join too. 1: CONTEXT_RESULT when a request has been decided; its fault
        reason is the request's, so that a legal context may come with one.

    Timing
    ------
    The first read is offered in the cycle after acceptance, the second in the cycle after the root entry's reply (its last
    chunk). The fill and CONTEXT_RESULT come one cycle after the context entry's reply, the answer or walk request one
    later, then those of the others who wait, one a cycle. A request waits while there is no free slot, or no free place among
    the waiters; also for one cycle where a fetch that is under way reads on.

    Joining
    -------
    What those who joined a fetch may use of it is what they could have found in the cache: a legal context. A fault of root
    or context entry, and an error of memory, answers only those who waited when the fetch began. At the first other one
    that it would answer, the fetch begins again from the root entry, for all who wait by then.

    Forward progress: every fetch answers somebody, since the first who waits was there when it began; no list is drained for
    longer than WaiterLists promises; and a request that is accepted is behind a number of others that only falls.

    Races
    -----
    A fetch is marked if an invalidation of the context cache may cover it: global, any domain (the entry is not known
    yet), or its device by any domain ID. IOTLB invalidations do not mark a fetch: its walks begin after them. A marked fetch
    answers those who wait, fills nothing, and takes nobody new: the next request of its device begins another.
    A request that came marked, or in a cycle with `begin`, goes on marked, and the fetch that it begins is marked. Whatever
    waits for `walk_requests` in a cycle with `begin` is marked by any invalidation; so `marked` of an offered walk
    request may rise. A fill in the cycle of `begin` still goes out; one cycle later the mark stops it.

    Source: VT-d 4.1, 3.4.2 (legacy mode), 6.1 (caching mode), 9.1, 9.3, 7.2 (reasons and their order).
    """

    def __init__(self, config, *, chunk_bits=128):
        self._slots = config.context_slots
        self._fetcher = EntryFetcher(
            entry_bits=ContextEntry.as_shape().size, chunk_bits=chunk_bits, word_bits=config.memory_word_bits,
            slots=config.context_slots)
        self._waiters = WaiterLists(Transaction, lists=config.context_slots, places=config.waiters)
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
            "fetches": Out(1),
            "events": Out(EventPort()).array(2),
        })

    def elaborate(self, platform):
        m = Module()
        m.submodules.fetcher = fetcher = self._fetcher
        connect_stream(m, src=fetcher.memory_requests, dst=self.memory_requests)
        connect_stream(m, src=self.memory_replies, dst=fetcher.memory_replies)
        m.d.comb += fetcher.chunk_delay.eq(self.chunk_delay)

        m.submodules.waiters = waiters = self._waiters
        m.submodules.found = found = memory.Memory(shape=_Found, depth=self._slots, init=[])
        found_write, found_read = found.write_port(), found.read_port(domain="comb")

        busy = Signal(self._slots)
        marks = Signal(self._slots)
        at_context = Signal(self._slots)   # which of the two entries a slot waits for
        keys = Signal(data.ArrayLayout(_Key, self._slots))
        begin = self.invalidation.begin

        # Invalidations mark what they may cover; accepting a fetch, below, has the last word on its slot.
        for slot in range(self._slots):
            with m.If(begin & covers_source(self.invalidation.payload, source_id=keys[slot].source_id)):
                m.d.sync += marks[slot].eq(1)

        # Check the entry that has arrived: read on, or keep what is found for those who wait.
        arrived = fetcher.entries
        slot = arrived.payload.tag
        root_arrived = arrived.valid & ~at_context.bit_select(slot, 1)
        root_entry = RootEntry(arrived.payload.data)
        root_reason = root_fault(m, entry=root_entry, error=arrived.payload.error, straps=self.straps)
        reads_on = root_arrived & (root_reason == FaultReason.NONE)
        m.d.comb += [
            found_write.addr.eq(slot), found_write.data.eq(self._look_at_context(m)), found_write.en.eq(arrived.valid),
            waiters.finish.list.eq(slot), waiters.finish.valid.eq(arrived.valid & ~reads_on),
        ]
        with m.If(root_arrived):
            m.d.comb += [
                found_write.data.eq(0),
                found_write.data.fault_reason.eq(root_reason),
            ]
        with m.If(reads_on):
            m.d.sync += at_context.bit_select(slot, 1).eq(1)

        # Decide one waiter after the other; the first who must not have the fault lets the fetch begin again.
        current = waiters.current
        transaction = current.payload
        m.d.comb += found_read.addr.eq(current.list)
        known = found_read.data
        outdated = current.valid & ~current.fresh & (known.fault_reason != FaultReason.NONE)
        fetches_again = outdated & ~root_arrived
        deciding = Signal()
        marked = marks.bit_select(current.list, 1) | transaction.marked
        self._answer(m, deciding=deciding, marked=marked, known=known, may_decide=current.valid & ~outdated)
        m.d.comb += [waiters.advance.eq(deciding), waiters.again.eq(fetches_again)]
        with m.If(fetches_again):
            m.d.sync += at_context.bit_select(current.list, 1).eq(0)
        with m.If(deciding & current.last):
            m.d.sync += busy.bit_select(current.list, 1).eq(0)

        # Accept: into the fetch of the device, else into the lowest free slot while nothing else reads.
        accepted = self.requests.payload
        key = Signal(_Key)
        m.d.comb += [
            key.source_id.eq(accepted.request.source_id),
            key.pasid_present.eq(accepted.request.pasid_present),
            key.pasid.eq(Mux(accepted.request.pasid_present, accepted.request.pasid, 0)),
        ]
        joinable = busy & ~marks & ~waiters.closing
        joined = Cat(joinable[each] & (keys[each] == key) for each in range(self._slots))
        joins = joined.any()
        list_of_request = Signal.like(slot)
        for candidate in reversed(range(self._slots)):
            with m.If(Mux(joins, joined, ~busy)[candidate]):
                m.d.comb += list_of_request.eq(candidate)
        accepting = self.requests.valid & self.requests.ready
        begins = accepting & ~joins
        m.d.comb += [
            self.requests.ready.eq(waiters.room & (joins | (~busy.all() & ~root_arrived & ~outdated))),
            waiters.append.valid.eq(accepting),
            waiters.append.list.eq(list_of_request),
            waiters.append.begins.eq(~joins),
            waiters.append.payload.eq(accepted),
            waiters.append.payload.marked.eq(accepted.marked | begin),
        ]
        with m.If(begins):
            m.d.sync += [
                busy.bit_select(list_of_request, 1).eq(1),
                at_context.bit_select(list_of_request, 1).eq(0),
                keys[list_of_request].eq(key),
                marks.bit_select(list_of_request, 1).eq(accepted.marked | begin),
            ]

        # What is read next: a context entry, else a root entry for the second time, else one for the first. The tag is free.
        fetch = fetcher.requests
        m.d.comb += [fetch.valid.eq(reads_on | fetches_again | begins), self.fetches.eq(fetches_again | begins)]
        with m.If(root_arrived):
            m.d.comb += [
                fetch.payload.tag.eq(slot),
                fetch.payload.hpa.eq(context_entry_address(
                    source_id=Array(each.source_id for each in keys)[slot], table=root_entry.context_table_pointer)),
            ]
        with m.Else():
            m.d.comb += [
                fetch.payload.tag.eq(Mux(outdated, current.list, list_of_request)),
                fetch.payload.hpa.eq(root_entry_address(
                    source_id=Mux(outdated, transaction.request.source_id, accepted.request.source_id),
                    table=self.control.root_table)),
            ]

        self._tell(m, accepting=accepting)
        return m

    def _look_at_context(self, m):
        """What is found if the entry that has arrived is a context entry."""
        arrived = self._fetcher.entries.payload
        entry = ContextEntry(arrived.data)
        reason = context_fault(m, entry=entry, error=arrived.error, straps=self.straps)
        found = Signal(_Found, name="found_in_context")
        m.d.comb += [
            found.fault_reason.eq(reason),
            found.context.fault_processing_disable.eq(entry.fault_processing_disable & ~arrived.error),
        ]
        with m.If(reason == FaultReason.NONE):
            m.d.comb += [
                found.cacheable.eq(1),
                found.context.translation_type.eq(entry.translation_type),
                found.context.address_width.eq(entry.address_width),
                found.context.domain_id.eq(entry.domain_id),
                found.context.table_pointer.eq(entry.second_stage_pointer),
            ]
        with m.Elif(~arrived.error):
            m.d.comb += [found.cacheable.eq(self.straps.caching_mode), found.context.fault_reason.eq(reason)]
        return found

    def _answer(self, m, *, may_decide, deciding, marked, known):
        """Decide about the current waiter when its result can be kept for the taker, and fill the cache for the first."""
        transaction = self._waiters.current.payload
        request = transaction.request
        request_reason = request_fault(m, request=request, context=known.context, straps=self.straps)
        reason = Signal(FaultReason)
        m.d.comb += reason.eq(Mux(known.fault_reason != FaultReason.NONE, known.fault_reason, request_reason))

        result = Signal(WalkRequest)
        result_reason = Signal(FaultReason)
        result_waits = Signal()
        result_walks = Signal()
        answer, walk = self.answers, self.walk_requests
        leaves = (answer.valid & answer.ready) | (walk.valid & walk.ready)
        m.d.comb += deciding.eq(may_decide & (~result_waits | leaves))
        with m.If(deciding):
            m.d.sync += [
                result_waits.eq(1),
                result.transaction.eq(transaction),
                result.transaction.marked.eq(marked | self.invalidation.begin),
                result.context.eq(known.context),
                result_reason.eq(reason),
                result_walks.eq((reason == FaultReason.NONE)
                                & (known.context.translation_type != TranslationType.PASS_THROUGH)),
            ]
        with m.Else():
            with m.If(leaves):
                m.d.sync += result_waits.eq(0)
            with m.If(self.invalidation.begin):
                m.d.sync += result.transaction.marked.eq(1)
        m.d.comb += [
            walk.valid.eq(result_waits & result_walks),
            walk.payload.eq(result),
            answer.valid.eq(result_waits & ~result_walks),
            answer.payload.transaction.eq(result.transaction),
            answer.payload.context.eq(result.context),
            answer.payload.fault_reason.eq(result_reason),
            answer.payload.page_size.eq(PageSize.UNTRANSLATED),
            answer.payload.page.eq(result.transaction.request.iova[PAGE_BITS:]),
        ]

        fill, ended = self.fill, self.events[1]
        detail = Signal(ContextDetail)
        m.d.comb += [
            fill.valid.eq(deciding & self._waiters.current.first & known.cacheable & ~marked),
            fill.payload.source_id.eq(request.source_id),
            fill.payload.pasid_present.eq(request.pasid_present),
            fill.payload.pasid.eq(Mux(request.pasid_present, request.pasid, 0)),
            fill.payload.context.eq(known.context),
            detail.fault_reason.eq(reason),
            detail.translation_type.eq(known.context.translation_type),
            detail.address_width.eq(known.context.address_width),
            detail.marked.eq(marked),
            ended.valid.eq(deciding),
            ended.payload.kind.eq(EventKind.CONTEXT_RESULT),
            ended.payload.source_id.eq(request.source_id),
            ended.payload.tag.eq(request.tag),
            ended.payload.domain_id.eq(known.context.domain_id),
            ended.payload.hpa.eq(known.context.table_pointer << PAGE_BITS),
            ended.payload.detail.eq(detail),
        ]

    def _tell(self, m, *, accepting):
        """The event of an acceptance."""
        request = self.requests.payload.request
        begun = self.events[0]
        m.d.comb += [
            begun.valid.eq(accepting),
            begun.payload.kind.eq(EventKind.CONTEXT_FETCH),
            begun.payload.source_id.eq(request.source_id),
            begun.payload.tag.eq(request.tag),
        ]
