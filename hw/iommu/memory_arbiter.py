"""Share the table-memory port between everything of the unit that reads or writes tables.

::

    context walker --0-+
    page walker -----1-+--> MemoryArbiter --> table memory
    update port -----2-+
"""
from amaranth import *
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

from hw.iommu.messages import EventPort
from hw.lib.merge import Merge
from hw.lib.stream import connect_stream
from hw.spec.events import EventKind
from hw.spec.memory import CLIENT_TAG_BITS, MEMORY_TAG_BITS, MemoryRequest, memory_reply_layout

__all__ = ["MemoryArbiter"]

_CLIENT_BITS = MEMORY_TAG_BITS - CLIENT_TAG_BITS


class MemoryArbiter(wiring.Component):
    """Round-robin arbiter for memory accesses; replies find their client by tag.

    Parameters
    ----------
    clients : int
        1 to 8.
    word_bits : int
        Width of a memory word, 128 or 512.

    Members
    -------
    requests[n], replies[n]
        One pair of streams per client. The client's own tag is CLIENT_TAG_BITS wide and comes back with the reply.
    memory_request, memory_reply
        The shared port. The client's number stands above the client's tag; replies come in any order.
    events
        0: MEMORY, in the cycle in which memory accepts a request (tag: with the client's number).

    Timing
    ------
    No cycles added in either direction: a client's request is accepted in the cycle in which memory accepts it.
    Nobody waits for more than one access of every other client. A request that was offered to memory stays offered
    until it is accepted. A client that does not take its reply holds up the replies behind it.

    Source: ours.
    """

    def __init__(self, *, clients, word_bits=128):
        if not 1 <= clients <= 1 << _CLIENT_BITS:
            raise ValueError(f"clients must be between 1 and {1 << _CLIENT_BITS}, not {clients!r}")
        self._clients = clients
        word = stream.Signature(memory_reply_layout(word_bits))
        super().__init__({
            "requests": In(stream.Signature(MemoryRequest)).array(clients),
            "replies": Out(word).array(clients),
            "memory_request": Out(stream.Signature(MemoryRequest)),
            "memory_reply": In(word),
            "events": Out(EventPort()).array(1),
        })

    def elaborate(self, platform):
        m = Module()
        m.submodules.merge = merge = Merge(MemoryRequest, ports=self._clients)
        for client, request in enumerate(self.requests):
            connect_stream(m, src=request, dst=merge.i[client])
            m.d.comb += merge.i[client].payload.tag.eq(Cat(request.payload.tag[:CLIENT_TAG_BITS], Const(client, _CLIENT_BITS)))
        connect_stream(m, src=merge.o, dst=self.memory_request)

        reply_tag = self.memory_reply.payload.tag
        with m.Switch(reply_tag[CLIENT_TAG_BITS:]):
            for client, reply in enumerate(self.replies):
                with m.Case(client):
                    m.d.comb += [
                        reply.valid.eq(self.memory_reply.valid),
                        self.memory_reply.ready.eq(reply.ready),
                    ]
        for reply in self.replies:
            m.d.comb += [
                reply.payload.eq(self.memory_reply.payload),
                reply.payload.tag.eq(reply_tag[:CLIENT_TAG_BITS]),
            ]

        event = self.events[0]
        m.d.comb += [
            event.valid.eq(self.memory_request.valid & self.memory_request.ready),
            event.payload.kind.eq(EventKind.MEMORY),
            event.payload.hpa.eq(merge.o.payload.hpa),
            event.payload.tag.eq(merge.o.payload.tag),
            event.payload.detail.eq(merge.o.payload.operation),
        ]
        return m
