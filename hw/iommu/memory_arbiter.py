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
from hw.lib.match import one_hot_select
from hw.lib.merge import Turn
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
    writers : collection of int
        The clients that may do more than read; by default all of them. Of a request of any other client only address and
        tag are looked at: it reads. So wide fields travel from those alone that have something to say there.
    exchanger : int or None
        The one writer that sends COMPARE_EXCHANGE: `expected` always is what it offers, and means nothing in
        anybody else's access. None: every writer may.

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

    def __init__(self, *, clients, word_bits=128, writers=None, exchanger=None):
        if not 1 <= clients <= 1 << _CLIENT_BITS:
            raise ValueError(f"clients must be between 1 and {1 << _CLIENT_BITS}, not {clients!r}")
        self._clients = clients
        self._writers = sorted(range(clients) if writers is None else writers)
        if not set(self._writers) <= set(range(clients)):
            raise ValueError(f"writers must be clients, 0 to {clients - 1}, not {self._writers!r}")
        if exchanger is not None and exchanger not in self._writers:
            raise ValueError(f"exchanger must be one of the writers {self._writers!r}, not {exchanger!r}")
        self._exchanger = exchanger
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
        m.submodules.turn = turn = Turn(ports=self._clients)
        access, offered = self.memory_request, [request.payload for request in self.requests]
        m.d.comb += [
            turn.waiting.eq(Cat(request.valid for request in self.requests)),
            turn.served.eq(access.ready),
            access.valid.eq(turn.waiting.any()),
        ]
        for request, chosen in zip(self.requests, turn.chosen, strict=True):
            m.d.comb += request.ready.eq(chosen & access.ready)

        # Address and tag of anybody, the rest of those who write.
        write_turns = Cat(turn.chosen[client] for client in self._writers)
        of_writers = {name: one_hot_select(write_turns, (offered[client][name] for client in self._writers))
                      for name in ("operation", "data", "write_mask", "expected")} if self._writers else {}
        if self._exchanger is not None:
            of_writers["expected"] = offered[self._exchanger].expected
        m.d.comb += [
            access.payload.hpa.eq(one_hot_select(turn.chosen, (payload.hpa for payload in offered))),
            access.payload.tag.eq(one_hot_select(turn.chosen, (
                Cat(payload.tag[:CLIENT_TAG_BITS], Const(client, _CLIENT_BITS)) for client, payload in enumerate(offered)))),
            *(access.payload[name].eq(value) for name, value in of_writers.items()),
        ]

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
            event.valid.eq(access.valid & access.ready),
            event.payload.kind.eq(EventKind.MEMORY),
            event.payload.hpa.eq(access.payload.hpa),
            event.payload.tag.eq(access.payload.tag),
            event.payload.detail.eq(access.payload.operation),
        ]
        return m
