"""One memory in block RAM behind several ports: a board's table memory and data memory. Ours.

::

    requests[n] --> Turn --> TableMemory --> replies[n]
                     |                          ^
                     +--> whose, in order ------+
"""
from amaranth import *
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

from hw.lib.match import one_hot_select
from hw.lib.merge import Turn
from hw.lib.stream import Queue
from hw.spec.memory import QUANTUM_BITS, MemoryRequest, memory_reply_layout
from hw.top.table_memory import TableMemory

__all__ = ["SharedMemory"]


class SharedMemory(wiring.Component):
    """A `TableMemory` whose ports take turns: each sees the same words, in one order of accesses.

    Parameters
    ----------
    ports : int
        At least 1.
    depth_words, latency, init
        Of the memory.

    Members
    -------
    requests[n], replies[n]
        See hw.spec.memory; tags are the port's own. Replies come in the order of the port's requests.

    Timing
    ------
    One access per cycle in all. A port that asks is served after one access of every other port at most. A port that does
    not take its reply stops all of them.

    Source: ours.
    """

    def __init__(self, *, ports, depth_words, latency=2, init=()):
        self._memory = TableMemory(depth_words=depth_words, latency=latency, init=init)
        self._in_flight = latency + 1
        super().__init__({
            "requests": In(stream.Signature(MemoryRequest)).array(ports),
            "replies": Out(stream.Signature(memory_reply_layout(QUANTUM_BITS))).array(ports),
        })

    def elaborate(self, platform):
        m = Module()
        ports = len(self.requests)
        m.submodules.memory = memory = self._memory
        m.submodules.turn = turn = Turn(ports=ports)
        m.submodules.owners = owners = Queue(ports, depth=self._in_flight)
        accepted = Signal()
        m.d.comb += [
            turn.waiting.eq(Cat(request.valid for request in self.requests)),
            turn.served.eq(accepted),
            memory.requests.payload.eq(one_hot_select(turn.chosen, (request.payload for request in self.requests))),
            memory.requests.valid.eq(turn.waiting.any() & owners.i.ready),
            accepted.eq(memory.requests.valid & memory.requests.ready),
            owners.i.payload.eq(turn.chosen),
            owners.i.valid.eq(accepted),
        ]
        for request, chosen in zip(self.requests, turn.chosen, strict=True):
            m.d.comb += request.ready.eq(chosen & memory.requests.ready & owners.i.ready)

        readiness = Cat(reply.ready for reply in self.replies)
        m.d.comb += [
            memory.replies.ready.eq((owners.o.payload & readiness).any() & owners.o.valid),
            owners.o.ready.eq(memory.replies.valid & memory.replies.ready),
        ]
        for reply, owner in zip(self.replies, owners.o.payload, strict=True):
            m.d.comb += [
                reply.payload.eq(memory.replies.payload),
                reply.valid.eq(memory.replies.valid & owners.o.valid & owner),
            ]
        return m
