"""The translation unit: instances and connections, nothing else.

::

     dma_requests                                                              dma_replies
          |                                                                         ^
          v                                                                         |
       lookup (context cache, IOTLB) ---------------- answers[0] --------> reply_former --> fault_recorder
          |  \\                                                              ^   ^                |
          |   \\-- walk_requests --> page_walker ------- answers[1] --------/    |          register_block <-- accesses
          |                            ^   |                                   |
          \\-- context_requests --> context_walker ----- answers[2] -----------/
                                       |   |
     update_requests -> update_port -> memory_arbiter <- invalidation_queue, message_writer
                                          |
                                     table memory

     register_accesses -> register_block -+- requests[0] -> invalidator -> every cache and walk
                             |     |      |                     ^
                             |     |    queue port          requests[1]
                             |     |      |                     |
                             |     |      \\----- invalidation_queue
                             |     |                            |
                             |   event messages             wait status
                             |     \\----> message_writer <-----/
                             |                  |
                             \\----> monitor <---+-- invalidation_queue
                                       |
                                  monitor_accesses
"""
from amaranth import *
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out, connect, flipped

from hw.iommu.config import IommuConfig
from hw.iommu.context_walker import ContextWalker
from hw.iommu.fault_recorder import FaultRecorder
from hw.iommu.invalidation_queue import InvalidationQueue
from hw.iommu.invalidator import Invalidator
from hw.iommu.lookup import Lookup
from hw.iommu.memory_arbiter import MemoryArbiter
from hw.iommu.message_writer import MessageWriter
from hw.iommu.messages import CachesOff, EventPort
from hw.iommu.monitor import Monitor
from hw.iommu.page_walker import PageWalker
from hw.iommu.prefetcher import Prefetcher
from hw.iommu.prewalk_window import PrewalkWindow
from hw.iommu.register_block import RegisterBlock
from hw.iommu.reply_former import ReplyFormer
from hw.iommu.update_port import UpdatePort
from hw.lib.stream import connect_stream
from hw.spec.bench import HostReply, HostRequest, UpdateReply, UpdateRequest
from hw.spec.capabilities import Straps
from hw.spec.dma import DmaReply, DmaRequest, DmaRetire
from hw.spec.events import MessageKind
from hw.spec.memory import MemoryClient, MemoryRequest, memory_reply_layout
from hw.spec.monitor import QueueKnobs
from hw.spec.prefetch import PrefetchKnobs

__all__ = ["IommuUnit", "unit_events"]

_FIRST = ("MEMORY", "UPDATE", "MESSAGE", "REGISTER", "CONTROL", "DESCRIPTOR", "CONTEXT_FETCH", "CONTEXT_RESULT",
          "CONTEXT_FILL", "WALK", "PREFETCH", "WALK_RESULT")
_LAST = ("REQUEST", "REPLY", "FAULT", "RETIRE", "INVALIDATION_BEGIN", "INVALIDATION_END", "QUEUE_ERROR", "WAIT_ABANDONED")


def unit_events(config):
    """What each of the unit's event ports reports; events of one cycle are read in this order.

    A fill has as many ports as a line has entries.
    """
    entries = config.entries_per_word
    return (*_FIRST, *["STRUCTURE_FILL"] * entries, *["IOTLB_FILL"] * entries, *_LAST)


class IommuUnit(wiring.Component):
    """A VT-d shaped IOMMU: translates DMA requests through tables in memory.

    Parameters
    ----------
    config : IommuConfig
        Sizes.
    chunk_bits : int
        Indivisible unit in which context entries are fetched: 64 or 128. VT-d promises 128.

    Members
    -------
    dma_requests, dma_replies, dma_retires
        Requests in; one reply each, in any order; one retire per reply, when the memory access made with it is
        globally done.
    register_accesses, register_replies
        The VT-d register window (addresses relative to it), one access at a time.
    update_requests, update_replies
        The update port (ours): a CPU's store into table memory at one instant.
    monitor_accesses, monitor_replies
        The monitor window (ours), likewise.
    prewalk_accesses, prewalk_replies
        The pre-walk window (ours), likewise.
    table_requests, table_replies
        Table memory; descriptors, status data and event messages too.
    straps
        What this machine's unit can do; sampled in the first cycle after reset, ignored afterwards.
    chunk_delay
        Knob: cycles between the chunks of one entry fetch.
    caches_off
        Knob: caches that answer no lookup of one device, from the cycle on in which it is set.
    queue_knobs, prefetch_knobs
        Knobs of the invalidation queue and of the prefetcher.
    events
        One port per name in `unit_events(config)`.

    Timing
    ------
    One request per cycle; a hit is answered at most three cycles after the edge that accepted it.
    """

    def __init__(self, config=None, *, chunk_bits=128):
        self._config = config or IommuConfig()
        self._chunk_bits = chunk_bits
        word = memory_reply_layout(self._config.memory_word_bits)
        super().__init__({
            "dma_requests": In(stream.Signature(DmaRequest)),
            "dma_replies": Out(stream.Signature(DmaReply)),
            "dma_retires": In(stream.Signature(DmaRetire)),
            "register_accesses": In(stream.Signature(HostRequest)),
            "register_replies": Out(stream.Signature(HostReply)),
            "monitor_accesses": In(stream.Signature(HostRequest)),
            "monitor_replies": Out(stream.Signature(HostReply)),
            "update_requests": In(stream.Signature(UpdateRequest)),
            "update_replies": Out(stream.Signature(UpdateReply)),
            "table_requests": Out(stream.Signature(MemoryRequest)),
            "table_replies": In(stream.Signature(word)),
            "straps": In(Straps),
            "chunk_delay": In(16),
            "caches_off": In(CachesOff),
            "queue_knobs": In(QueueKnobs),
            "prefetch_knobs": In(PrefetchKnobs),
            "prewalk_accesses": In(stream.Signature(HostRequest)),
            "prewalk_replies": Out(stream.Signature(HostReply)),
            "events": Out(EventPort()).array(len(unit_events(self._config))),
        })

    def elaborate(self, platform):
        m = Module()
        config = self._config
        m.submodules.lookup = lookup = Lookup(config)
        m.submodules.context_walker = context_walker = ContextWalker(config, chunk_bits=self._chunk_bits)
        m.submodules.page_walker = page_walker = PageWalker(config)
        m.submodules.reply_former = reply_former = ReplyFormer()
        m.submodules.fault_recorder = fault_recorder = FaultRecorder(config)
        m.submodules.register_block = register_block = RegisterBlock(config)
        m.submodules.invalidator = invalidator = Invalidator(listeners=2)
        m.submodules.invalidation_queue = queue = InvalidationQueue(config)
        m.submodules.message_writer = writer = MessageWriter(word_bits=config.memory_word_bits)
        m.submodules.monitor = monitor = Monitor()
        m.submodules.prefetcher = prefetcher = Prefetcher(config)
        m.submodules.prewalk_window = prewalk_window = PrewalkWindow()
        m.submodules.update_port = update_port = UpdatePort(word_bits=config.memory_word_bits)
        m.submodules.memory_arbiter = arbiter = MemoryArbiter(
            clients=len(MemoryClient), word_bits=config.memory_word_bits,
            writers=(MemoryClient.UPDATE_PORT, MemoryClient.MESSAGE_WRITER), exchanger=MemoryClient.UPDATE_PORT)

        # The straps, as they stood in the first cycle after reset.
        straps = Signal(Straps)
        sampled = Signal()
        with m.If(~sampled):
            m.d.sync += [straps.eq(self.straps), sampled.eq(1)]
        for block in (lookup, context_walker, page_walker, prewalk_window, fault_recorder, register_block, queue):
            m.d.comb += block.straps.eq(straps)
        for block in (lookup, context_walker):
            m.d.comb += block.control.eq(register_block.control)
        m.d.comb += [
            context_walker.chunk_delay.eq(self.chunk_delay),
            lookup.caches_off.eq(self.caches_off),
            queue.knobs.eq(self.queue_knobs),
            prefetcher.knobs.eq(self.prefetch_knobs),
        ]

        # The path of a request.
        connect_stream(m, src=flipped(self).dma_requests, dst=lookup.requests)
        connect_stream(m, src=flipped(self).dma_retires, dst=lookup.retires)
        connect_stream(m, src=lookup.context_requests, dst=context_walker.requests)
        connect_stream(m, src=lookup.walk_requests, dst=page_walker.requests[0])
        connect_stream(m, src=context_walker.walk_requests, dst=page_walker.requests[1])
        for index, block in enumerate((lookup, page_walker, context_walker)):
            connect_stream(m, src=block.answers, dst=reply_former.answers[index])
        connect_stream(m, src=reply_former.replies, dst=flipped(self).dma_replies)
        connect_stream(m, src=reply_former.faults, dst=fault_recorder.faults)
        connect(m, context_walker.fill, lookup.context_fill)
        connect(m, page_walker.fill, lookup.iotlb_fill)

        # Walks ahead of the requests.
        connect(m, lookup.touched, prefetcher.touched)
        connect_stream(m, src=prefetcher.prefetches, dst=page_walker.prefetches)
        connect_stream(m, src=flipped(self).prewalk_accesses, dst=prewalk_window.accesses)
        connect_stream(m, src=prewalk_window.replies, dst=flipped(self).prewalk_replies)
        connect_stream(m, src=prewalk_window.walk_requests, dst=page_walker.prewalks)
        m.d.comb += prewalk_window.ended.eq(page_walker.prewalk_ended)

        # Registers, faults, invalidations and the queue.
        connect_stream(m, src=flipped(self).register_accesses, dst=register_block.accesses)
        connect_stream(m, src=register_block.replies, dst=flipped(self).register_replies)
        connect(m, register_block.faults, fault_recorder.registers)
        connect(m, register_block.queue, queue.registers)
        for index, source in enumerate((register_block, queue)):
            connect_stream(m, src=source.invalidations, dst=invalidator.requests[index])
            m.d.comb += source.invalidation_done.eq(invalidator.done[index])
        m.d.comb += [
            invalidator.listeners_busy[0].eq(lookup.busy),
            invalidator.listeners_busy[1].eq(page_walker.busy),
            lookup.answered.eq(reply_former.answered),
            lookup.answered_colour.eq(reply_former.answered_colour),
        ]
        for colour in range(2):
            m.d.comb += [
                invalidator.translating[colour].eq(lookup.translating[colour]),
                invalidator.accessing[colour].eq(lookup.accessing[colour]),
            ]
        for listener in (lookup, context_walker, page_walker, prefetcher, prewalk_window):
            m.d.comb += [
                listener.invalidation.begin.eq(invalidator.port.begin),
                listener.invalidation.payload.eq(invalidator.port.payload),
                listener.invalidation.colour.eq(invalidator.port.colour),
            ]

        # Stores of the unit's own, and what is counted.
        for kind, messages in ((MessageKind.STATUS, queue.status),
                               (MessageKind.FAULT_EVENT, register_block.fault_messages),
                               (MessageKind.INVALIDATION_EVENT, register_block.invalidation_messages)):
            connect_stream(m, src=messages, dst=writer.messages[kind])
        connect_stream(m, src=flipped(self).monitor_accesses, dst=monitor.accesses)
        connect_stream(m, src=monitor.replies, dst=flipped(self).monitor_replies)
        m.d.comb += [
            queue.status_stored.eq(writer.stored[MessageKind.STATUS]),
        ]
        self._count(m, monitor.counted, lookup, context_walker, page_walker, prefetcher, reply_former, invalidator,
                    register_block, writer, queue)

        # Table memory.
        for client, block in (
                (MemoryClient.CONTEXT_WALKER, context_walker), (MemoryClient.PAGE_WALKER, page_walker),
                (MemoryClient.UPDATE_PORT, update_port), (MemoryClient.INVALIDATION_QUEUE, queue),
                (MemoryClient.MESSAGE_WRITER, writer)):
            connect_stream(m, src=block.memory_requests, dst=arbiter.requests[client])
            connect_stream(m, src=arbiter.replies[client], dst=block.memory_replies)
        connect_stream(m, src=arbiter.memory_request, dst=flipped(self).table_requests)
        connect_stream(m, src=flipped(self).table_replies, dst=arbiter.memory_reply)
        connect_stream(m, src=flipped(self).update_requests, dst=update_port.requests)
        connect_stream(m, src=update_port.replies, dst=flipped(self).update_replies)

        # Events.
        entries = config.entries_per_word
        sources = {
            "MEMORY": arbiter.events, "UPDATE": update_port.events, "MESSAGE": writer.events,
            "CONTROL": register_block.events[:1], "REGISTER": register_block.events[1:],
            "DESCRIPTOR": queue.events[:1], "QUEUE_ERROR": queue.events[1:2], "WAIT_ABANDONED": queue.events[2:],
            "CONTEXT_FETCH": context_walker.events[:1], "CONTEXT_RESULT": context_walker.events[1:],
            "WALK": page_walker.events[:1], "WALK_RESULT": page_walker.events[1:2], "PREFETCH": page_walker.events[2:3],
            "STRUCTURE_FILL": page_walker.events[3:],
            "REQUEST": lookup.events[:1], "RETIRE": lookup.events[1:2], "CONTEXT_FILL": lookup.events[2:3],
            "IOTLB_FILL": lookup.events[3:],
            "REPLY": reply_former.events, "FAULT": fault_recorder.events,
            "INVALIDATION_BEGIN": invalidator.events[:1], "INVALIDATION_END": invalidator.events[1:],
        }
        names = unit_events(config)
        ports = [port for name in dict.fromkeys(names) for port in sources[name]]
        assert [len(sources[name]) for name in ("STRUCTURE_FILL", "IOTLB_FILL")] == [entries, entries]
        for event, source in zip(self.events, ports, strict=True):
            m.d.comb += [event.valid.eq(source.valid), event.payload.eq(source.payload)]
        return m

    def _count(self, m, counted, lookup, context_walker, page_walker, prefetcher, reply_former, invalidator,
               register_block, writer, queue):
        """What the monitor counts."""
        refused = writer.refused
        happens = {
            "requests": lookup.counts.requests, "hits": lookup.counts.hits,
            "walk_requests": lookup.counts.walk_requests, "context_misses": lookup.counts.context_requests,
            "stalls_by_walks": lookup.counts.stalled_by_walks, "stalls_by_contexts": lookup.counts.stalled_by_contexts,
            "stalls_by_answers": lookup.counts.stalled_by_answers, "stalls_by_limit": lookup.counts.stalled_by_limit,
            "context_fetches": context_walker.fetches,
            "context_reads": context_walker.memory_requests.valid & context_walker.memory_requests.ready,
            "walks": page_walker.counts.walks, "walks_joined": page_walker.counts.joined,
            "walks_again": page_walker.counts.again, "walk_reads": page_walker.counts.reads,
            "prefetches": page_walker.counts.prefetches, "prefetches_used": prefetcher.used,
            "prefetches_dropped": prefetcher.dropped | page_walker.counts.prefetches_dropped,
            "prewalks": page_walker.counts.prewalks,
            "fills": page_walker.fill.valid, "structure_fills": page_walker.counts.structure_fills,
            "blocked": reply_former.faults.valid, "drains": invalidator.done[0] | invalidator.done[1],
            "protocol_errors": register_block.protocol_error,
            "fault_messages": writer.stored[MessageKind.FAULT_EVENT] & ~refused,
            "invalidation_messages": writer.stored[MessageKind.INVALIDATION_EVENT] & ~refused,
            "refused_messages": refused, "waits_abandoned": queue.wait_abandoned,
            "descriptors": Mux(queue.executed, 1 << queue.executed_type.as_value(), 0),
        }
        assert set(happens) == set(dict(counted.shape()))
        m.d.comb += [counted[name].eq(happened) for name, happened in happens.items()]
