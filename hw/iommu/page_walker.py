"""Walk second-stage tables: one engine, many walks in flight, and many who wait for each.

::

    requests[2] --+                                       +-- join --> waiters ----+
    prewalks    --+--> arrival --> keys, structures --> decide                     v
    prefetches  --+                       ^               +-- begin --> steps --> answering --> answers
                                          |                    ^       |  ^  |     |    \\---> fill
                                    invalidation               |       v  |  |     |
                                                               |      memory |     |
                                          structures <---------+--- again ---|-----+
                                          structures <-----------------------+

A request waits for the walk of its line of pages that is under way, or begins one at the deepest level that the
paging-structure caches know. The table word that ends a walk answers all who wait for it, each from his own entry.

Forward progress: a walk has one read in flight or its answer at hand, and memory answers every read. A finished walk is
answered when those that finished before it are, one waiter in each cycle in which the reply former takes one, and it
takes turns. So every slot becomes free. A walk that is walked again answers at least the waiter for whom it is; it takes
no new ones, so that nobody waits for more than the walks of those before him. Requests are taken in turn from their ports
as slots become free; prefetches only while two slots are.
"""
from amaranth import *
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out, connect, flipped

from hw.iommu.messages import Answer, EventPort, FillPort, InvalidationPort, WalkRequest, iotlb_fill_layout
from hw.iommu.structure_cache import StructureCaches
from hw.iommu.waiter_lists import WaiterLists
from hw.iommu.walk_answers import Waiter, WalkAnswers
from hw.iommu.walk_arrival import WalkArrival
from hw.iommu.walk_keys import WalkKeys
from hw.iommu.walk_steps import Walk, WalkSteps
from hw.lib.match import first_one, one_hot_number
from hw.lib.stream import connect_stream
from hw.spec.capabilities import Straps
from hw.spec.dma import Access
from hw.spec.events import EventKind, PrefetchCause, WalkStart
from hw.spec.memory import CLIENT_TAG_BITS, MemoryRequest, memory_reply_layout
from hw.spec.tables import PAGE_BITS, top_level

__all__ = ["PageWalker", "WalkerCounts"]


class WalkerCounts(data.Struct):
    """What happens in this cycle."""

    walks: 1                     # a walk begins for a request
    joined: 1                    # a request joins one
    again: 1                     # a walk is walked again
    reads: 1                     # memory takes a read
    prefetches: 1                # a walk begins for a stream
    prefetches_dropped: 1        # it does not: one is under way, or has been overtaken by an invalidation
    prewalks: 1                  # a walk begins for the host
    structure_fills: 1           # a line is put in a paging-structure cache


class _Again(data.Struct):
    """A walk that is to be walked again."""

    valid: 1
    from_top: 1                  # for the first time with this context: what is cached may be another's
    slot: CLIENT_TAG_BITS
    walk: Walk


class PageWalker(wiring.Component):
    """Walker of 3-, 4- and 5-level second-stage tables.

    Parameters
    ----------
    config : IommuConfig
        `walk_slots`, `waiters`, `memory_word_bits`, sizes of the paging-structure caches.

    Members
    -------
    requests
        0 from the lookup, 1 from the context walker; served in turn.
    prewalks, prefetches
        Walks that fill the caches and answer nobody, for the host and for a stream. Pre-walks take turns with requests;
        prefetches are taken while two slots are free and nobody else waits, and are forgotten if an invalidation begins
        meanwhile. Both are forgotten if their line is being walked already.
    prewalk_ended
        One cycle for each pre-walk, when it is over or forgotten.
    answers
        One per request. `context` holds what the reply and a fault record need.
    fill
        Translations for the IOTLB, see WalkAnswers. Of unmarked walks only.
    memory_requests, memory_replies
        Table memory; the tag is the slot. Replies are always taken, one a cycle.
    busy
        A paging-structure cache is being scanned.
    counts
        See WalkerCounts.
    straps, invalidation
        See Straps and InvalidationPort.
    events
        0: WALK, when a request begins a walk or joins one. 1: WALK_RESULT, when its answer is decided. 2: PREFETCH. From
        3 on: STRUCTURE_FILL, one for each entry of a line.

    Timing
    ------
    A request is decided in the cycle after that in which it was taken, one per cycle. Its read is offered in the next, each
    further one in the cycle after its predecessor's reply, and the answer two cycles after the last reply: a walk of n
    reads takes n (L + 1) + 3 cycles from acceptance to answer, others' turns apart. The fill comes one cycle after the last reply.

    Races
    -----
    A walk that begins in a cycle with `begin` is marked, covered or not, and so is one that begins for a marked transaction.
    A fill in the cycle of `begin` still goes out; one cycle later the mark stops it. An answer is never stopped.
    A request may join a walk that is under way, and have its translation as if it had been cached. It may not have its
    fault: what that walk met may have been repaired before the request came. Who is blocked so waits for the walk to be
    walked again, with his own context; all who wait behind him were there before, and believe it.

    Source: VT-d 4.1, 3.7 (second stage), 6.1 and 6.2 (what may be cached), 7.2 (reasons); ours (organisation).
    """

    def __init__(self, config):
        self._config = config
        word = memory_reply_layout(config.memory_word_bits)
        super().__init__({
            "requests": In(stream.Signature(WalkRequest)).array(2),
            "prewalks": In(stream.Signature(WalkRequest)),
            "prefetches": In(stream.Signature(WalkRequest)),
            "prewalk_ended": Out(1),
            "answers": Out(stream.Signature(Answer)),
            "fill": Out(FillPort(iotlb_fill_layout(config.entries_per_word))),
            "memory_requests": Out(stream.Signature(MemoryRequest)),
            "memory_replies": In(stream.Signature(word)),
            "busy": Out(1),
            "counts": Out(WalkerCounts),
            "straps": In(Straps),
            "invalidation": In(InvalidationPort()),
            "events": Out(EventPort()).array(3 + config.entries_per_word),
        })

    def elaborate(self, platform):
        m = Module()
        config, slots = self._config, self._config.walk_slots
        m.submodules.arrival = arrival = WalkArrival()
        m.submodules.keys = keys = WalkKeys(slots=slots, entries=config.entries_per_word)
        m.submodules.structures = structures = StructureCaches(config)
        m.submodules.steps = steps = WalkSteps(config)
        m.submodules.waiters = waiters = WaiterLists(Waiter, lists=slots, places=config.waiters)
        m.submodules.answering = answering = WalkAnswers(config)

        for source, sink in zip((*self.requests, self.prewalks, self.prefetches),
                                (*arrival.requests, arrival.prewalks, arrival.prefetches), strict=True):
            connect_stream(m, src=source, dst=sink)
        connect_stream(m, src=steps.memory_requests, dst=self.memory_requests)
        connect_stream(m, src=self.memory_replies, dst=steps.memory_replies)
        connect_stream(m, src=answering.answers, dst=self.answers)
        connect(m, steps.structure_fill, structures.fill)
        connect(m, answering.fill, flipped(self.fill))
        for block in (keys, structures):
            connect(m, flipped(self.invalidation), block.invalidation)
        for block in (steps, answering):
            m.d.comb += block.straps.eq(self.straps)
        for event, source in zip(self.events[1:], (*answering.events, None, *structures.events), strict=True):
            if source is not None:
                connect(m, source, flipped(event))
        m.d.comb += self.busy.eq(structures.busy)

        # Take: compare with the walks under way, and look up how far the caches lead.
        busy = Signal(slots)
        free = ~busy
        coming, arrived = arrival.coming, arrival.arrived
        wanted = arrived.walk.transaction.request
        m.d.comb += [
            arrival.roomy.eq((free & (free - 1)).any()),   # two slots
            arrival.begin.eq(self.invalidation.begin),
            keys.hold.eq(~arrival.taking),
            keys.arriving.domain_id.eq(coming.walk.context.domain_id),
            keys.arriving.iova_page.eq(coming.walk.transaction.request.iova[PAGE_BITS:]),
        ]

        # Answer: the finished walks in turn, those who wait for each in turn.
        current = waiters.current
        ended = Signal()             # the current walk has answered everyone
        sent_back = Signal(_Again)   # the one before is to be walked again: looked up in the structure caches
        again = Signal(_Again)       # ... and begins
        m.d.comb += [
            waiters.finish.valid.eq(steps.finished),
            waiters.finish.list.eq(steps.finished_slot),
            steps.select.eq(waiters.selected.valid),
            steps.select_slot.eq(waiters.selected.list),
            answering.valid.eq(current.valid),
            answering.waiter.eq(current.payload),
            answering.first.eq(current.first),
            answering.fresh.eq(current.fresh),
            answering.lonely.eq(current.lonely),
            answering.marks.eq(keys.marks[current.list]),
            waiters.advance.eq(answering.advance),
            waiters.again.eq(answering.again),
            ended.eq(answering.advance & (current.last | current.lonely)),
            keys.mark.eq(answering.again),
            keys.mark_slot.eq(current.list),
        ]
        m.d.sync += [
            sent_back.valid.eq(answering.again),
            sent_back.from_top.eq(answering.from_top),
            sent_back.slot.eq(current.list),
            sent_back.walk.domain_id.eq(answering.result.walk.domain_id),
            sent_back.walk.iova_page.eq(current.payload.transaction.request.iova[PAGE_BITS:]),
            sent_back.walk.address_width.eq(current.payload.address_width),
            sent_back.walk.table_pointer.eq(current.payload.table_pointer),
            again.eq(sent_back),
        ]
        filling = keys.marks[steps.filling_slot]
        m.d.comb += [
            answering.result.eq(steps.result),
            steps.marked.eq(Mux(steps.filling_level == 2, filling.region, filling.domain)),
        ]

        # Look up where a walk begins: a walk that is walked again goes first, and must suffice for all who wait.
        m.d.comb += [
            structures.iova_page.eq(Mux(
                sent_back.valid, sent_back.walk.iova_page, coming.walk.transaction.request.iova[PAGE_BITS:])),
            structures.looked_up.eq(steps.start),
            structures.domain_id.eq(Mux(again.valid, again.walk.domain_id, arrived.walk.context.domain_id)),
            structures.needs_read.eq(again.valid | ~arrived.lonely & (wanted.access != Access.WRITE)),
            structures.needs_write.eq(again.valid | ~arrived.lonely & (wanted.access != Access.READ)),
        ]

        # Decide: join a walk, begin one, or forget a prefetch.
        joinable = Signal(slots)
        joins, starts, forgotten = Signal(), Signal(), Signal()
        joined_slot, free_slot = Signal(range(slots)), Signal(range(slots))
        from_host = Signal(slots)
        host_ended = ended & from_host.bit_select(current.list, 1)
        m.d.comb += [
            joinable.eq(keys.matching & busy & keys.joinable & ~waiters.closing),
            joined_slot.eq(one_hot_number(first_one(joinable))),
            free_slot.eq(one_hot_number(first_one(free))),
            arrival.going.eq(joins | starts | forgotten),
            self.prewalk_ended.eq(host_ended | (forgotten & (arrived.cause == PrefetchCause.HOST))),
        ]
        with m.If(arrived.valid & joinable.any()):
            m.d.comb += [joins.eq(~arrived.lonely & waiters.room), forgotten.eq(arrived.lonely & ~host_ended)]
        with m.Elif(arrived.valid & arrived.lonely & arrived.walk.transaction.marked):
            m.d.comb += forgotten.eq(~host_ended)
        with m.Elif(arrived.valid):
            m.d.comb += starts.eq((arrived.lonely | waiters.room) & ~busy.all() & ~again.valid)
        with m.If(ended):
            m.d.sync += busy.bit_select(current.list, 1).eq(0)
        with m.If(starts):
            m.d.sync += [
                busy.bit_select(free_slot, 1).eq(1),
                from_host.bit_select(free_slot, 1).eq(arrived.lonely & (arrived.cause == PrefetchCause.HOST)),
            ]

        self._begin(m, arrived.walk, structures.start, again, steps)
        m.d.comb += steps.start.eq(starts | again.valid)
        with m.If(~again.valid):
            m.d.comb += steps.start_slot.eq(free_slot)
        context = arrived.walk.context
        waiter = waiters.append.payload
        m.d.comb += [
            keys.take.eq(starts),
            keys.slot.eq(free_slot),
            keys.key.source_id.eq(wanted.source_id),
            keys.key.domain_id.eq(context.domain_id),
            keys.key.iova_page.eq(wanted.iova[PAGE_BITS:]),
            keys.marked.eq(arrived.walk.transaction.marked),
            waiters.append.valid.eq(joins | starts),
            waiters.append.list.eq(Mux(joins, joined_slot, free_slot)),
            waiters.append.begins.eq(starts),
            waiters.append.lonely.eq(starts & arrived.lonely),
            waiter.transaction.eq(arrived.walk.transaction),
            waiter.fault_processing_disable.eq(context.fault_processing_disable),
            waiter.address_width.eq(context.address_width),
            waiter.table_pointer.eq(context.table_pointer),
        ]

        self._report(m, arrived, joins=joins, starts=starts)
        m.d.comb += [
            self.counts.walks.eq(starts & ~arrived.lonely),
            self.counts.joined.eq(joins),
            self.counts.again.eq(again.valid),
            self.counts.structure_fills.eq(steps.structure_fill.valid),
            self.counts.reads.eq(self.memory_requests.valid & self.memory_requests.ready),
            self.counts.prefetches.eq(starts & arrived.lonely & (arrived.cause == PrefetchCause.STREAM)),
            self.counts.prefetches_dropped.eq(forgotten & (arrived.cause == PrefetchCause.STREAM)),
            self.counts.prewalks.eq(starts & arrived.lonely & (arrived.cause == PrefetchCause.HOST)),
        ]
        return m

    def _begin(self, m, wanted, start, again, steps):
        """From where a walk begins."""
        walk, position = steps.start_walk, steps.start_position
        with m.If(again.valid):
            m.d.comb += [steps.start_slot.eq(again.slot), walk.eq(again.walk)]
        with m.Else():
            m.d.comb += [
                walk.domain_id.eq(wanted.context.domain_id),
                walk.iova_page.eq(wanted.transaction.request.iova[PAGE_BITS:]),
                walk.address_width.eq(wanted.context.address_width),
                walk.table_pointer.eq(wanted.context.table_pointer),
            ]
        with m.If(start.found & ~(again.valid & again.from_top)):
            m.d.comb += [
                position.level.eq(start.level),
                position.permissions.readable.eq(start.readable),
                position.permissions.writable.eq(start.writable),
                steps.start_table.eq(start.table),
            ]
        with m.Else():
            m.d.comb += [
                position.level.eq(top_level(walk.address_width)),
                position.permissions.readable.eq(1),
                position.permissions.writable.eq(1),
                steps.start_table.eq(walk.table_pointer),
            ]

    def _report(self, m, arrived, *, joins, starts):
        """Events of who begins a walk or joins one."""
        request, context = arrived.walk.transaction.request, arrived.walk.context
        walk, prefetch = self.events[0], self.events[2]
        for event, kind, valid, tag in (
            (walk, EventKind.WALK, joins | (starts & ~arrived.lonely), request.tag),
            (prefetch, EventKind.PREFETCH, starts & arrived.lonely, arrived.cause),
        ):
            m.d.comb += [
                event.valid.eq(valid),
                event.payload.kind.eq(kind),
                event.payload.source_id.eq(request.source_id),
                event.payload.domain_id.eq(context.domain_id),
                event.payload.tag.eq(tag),
                event.payload.iova.eq(request.iova),
                event.payload.hpa.eq(context.table_pointer << PAGE_BITS),
            ]
        m.d.comb += data.View(WalkStart, walk.payload.detail[:WalkStart.as_shape().size]).joined.eq(joins)
