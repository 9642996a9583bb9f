"""The translation unit: instances and connections, nothing else.

::

     dma_requests                                                              dma_replies
          |                                                                         ^
          v                                                                         |
       lookup (context cache, IOTLB) ---------------- answers[0] --------> reply_former --> fault_recorder
          |  \\                                                              ^   ^                |
          |   \\-- walk_requests --> page_walker ------- answers[1] --------/    |          register_block <-- accesses
          |                            ^   |                                   |                |
          \\-- context_requests --> context_walker ----- answers[2] -----------/            invalidator
                                       |   |                                                    |
                                     memory_arbiter <-- update_port <-- update_requests     (to every cache and walk)
                                          |
                                     table memory
"""
from amaranth import *
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out, connect, flipped

from hw.iommu.config import IommuConfig
from hw.iommu.context_walker import ContextWalker
from hw.iommu.fault_recorder import FaultRecorder
from hw.iommu.invalidator import Invalidator
from hw.iommu.lookup import Lookup
from hw.iommu.memory_arbiter import MemoryArbiter
from hw.iommu.messages import CachesOff, EventPort
from hw.iommu.page_walker import PageWalker
from hw.iommu.register_block import Message, RegisterBlock
from hw.iommu.reply_former import ReplyFormer
from hw.iommu.update_port import UpdatePort
from hw.lib.stream import connect_stream
from hw.spec.bench import HostReply, HostRequest, UpdateReply, UpdateRequest
from hw.spec.capabilities import Straps
from hw.spec.dma import DmaReply, DmaRequest, DmaRetire
from hw.spec.memory import MemoryRequest, memory_reply_layout

__all__ = ["UNIT_EVENTS", "IommuUnit"]

UNIT_EVENTS = (
    "MEMORY", "UPDATE", "CONTROL", "CONTEXT_FETCH", "CONTEXT_RESULT", "CONTEXT_FILL", "WALK", "WALK_RESULT", "IOTLB_FILL",
    "REQUEST", "REPLY", "FAULT", "RETIRE", "INVALIDATION_BEGIN", "INVALIDATION_END",
)
"""What each of the unit's event ports reports; events of one cycle are read in this order."""


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
    table_requests, table_replies
        Table memory.
    messages
        Fault event messages.
    straps
        What this machine's unit can do; sampled in the first cycle after reset, ignored afterwards.
    chunk_delay
        Knob: cycles between the chunks of one entry fetch.
    caches_off
        Knob: caches that answer no lookup of one device, from the cycle on in which it is set.
    events
        One port per name in `UNIT_EVENTS`.

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
            "update_requests": In(stream.Signature(UpdateRequest)),
            "update_replies": Out(stream.Signature(UpdateReply)),
            "table_requests": Out(stream.Signature(MemoryRequest)),
            "table_replies": In(stream.Signature(word)),
            "messages": Out(stream.Signature(Message)),
            "straps": In(Straps),
            "chunk_delay": In(16),
            "caches_off": In(CachesOff),
            "events": Out(EventPort()).array(len(UNIT_EVENTS)),
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
        m.submodules.invalidator = invalidator = Invalidator(listeners=1)
        m.submodules.update_port = update_port = UpdatePort(word_bits=config.memory_word_bits)
        m.submodules.memory_arbiter = arbiter = MemoryArbiter(clients=3, word_bits=config.memory_word_bits)

        # The straps, as they stood in the first cycle after reset.
        straps = Signal(Straps)
        sampled = Signal()
        with m.If(~sampled):
            m.d.sync += [straps.eq(self.straps), sampled.eq(1)]
        for block in (lookup, context_walker, page_walker, fault_recorder, register_block):
            m.d.comb += block.straps.eq(straps)
        for block in (lookup, context_walker):
            m.d.comb += block.control.eq(register_block.control)
        m.d.comb += [context_walker.chunk_delay.eq(self.chunk_delay), lookup.caches_off.eq(self.caches_off)]

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

        # Registers, faults and invalidations.
        connect_stream(m, src=flipped(self).register_accesses, dst=register_block.accesses)
        connect_stream(m, src=register_block.replies, dst=flipped(self).register_replies)
        connect_stream(m, src=register_block.invalidations, dst=invalidator.requests)
        connect(m, register_block.faults, fault_recorder.registers)
        connect_stream(m, src=register_block.messages, dst=flipped(self).messages)
        m.d.comb += [
            register_block.invalidation_done.eq(invalidator.done),
            invalidator.listeners_busy[0].eq(lookup.busy),
            lookup.answered.eq(reply_former.answered),
            lookup.answered_colour.eq(reply_former.answered_colour),
        ]
        for colour in range(2):
            m.d.comb += [
                invalidator.translating[colour].eq(lookup.translating[colour]),
                invalidator.accessing[colour].eq(lookup.accessing[colour]),
            ]
        for listener in (lookup, context_walker, page_walker):
            m.d.comb += [
                listener.invalidation.begin.eq(invalidator.port.begin),
                listener.invalidation.payload.eq(invalidator.port.payload),
                listener.invalidation.colour.eq(invalidator.port.colour),
            ]

        # Table memory.
        for index, client in enumerate((context_walker, page_walker, update_port)):
            connect_stream(m, src=client.memory_requests, dst=arbiter.requests[index])
            connect_stream(m, src=arbiter.replies[index], dst=client.memory_replies)
        connect_stream(m, src=arbiter.memory_request, dst=flipped(self).table_requests)
        connect_stream(m, src=flipped(self).table_replies, dst=arbiter.memory_reply)
        connect_stream(m, src=flipped(self).update_requests, dst=update_port.requests)
        connect_stream(m, src=update_port.replies, dst=flipped(self).update_replies)

        # Events.
        sources = {
            "MEMORY": arbiter.events[0], "UPDATE": update_port.events[0], "CONTROL": register_block.events[0],
            "CONTEXT_FETCH": context_walker.events[0], "CONTEXT_RESULT": context_walker.events[1],
            "WALK": page_walker.events[0], "WALK_RESULT": page_walker.events[1],
            "REQUEST": lookup.events[0], "RETIRE": lookup.events[1],
            "CONTEXT_FILL": lookup.events[2], "IOTLB_FILL": lookup.events[3],
            "REPLY": reply_former.events[0], "FAULT": fault_recorder.events[0],
            "INVALIDATION_BEGIN": invalidator.events[0], "INVALIDATION_END": invalidator.events[1],
        }
        for index, name in enumerate(UNIT_EVENTS):
            m.d.comb += [
                self.events[index].valid.eq(sources[name].valid),
                self.events[index].payload.eq(sources[name].payload),
            ]
        return m
