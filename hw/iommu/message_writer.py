"""Store what the unit itself has to say: status data of waits, and event messages.

::

    wait status -------messages[0]--+
    fault event -------messages[1]--+--> MessageWriter --> table memory
    invalidation event messages[2]--+         |
    stored[0..2] <----------------------------+
"""
from amaranth import *
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import ceil_log2

from hw.iommu.messages import EventPort, Message
from hw.lib.merge import Merge
from hw.spec.events import EventKind
from hw.spec.memory import QUANTUM_BITS, QUANTUM_BYTES, MemoryOperation, MemoryRequest, memory_reply_layout

__all__ = ["MessageWriter"]

_SOURCES = 3
_DATA_BITS = 32
_DATA_BYTES = _DATA_BITS // 8


class _Sent(data.Struct):
    """A message, and from whom."""

    message: Message
    source: range(_SOURCES)


class MessageWriter(wiring.Component):
    """Carry out stores of 4 bytes, one at a time, the sources in turn.

    Parameters
    ----------
    word_bits : int
        Width of a memory word, 128 or 512.

    Members
    -------
    messages[source]
        0: wait status, 1: fault event, 2: invalidation event. Each is taken in the cycle in which memory accepts it.
    stored[source]
        One cycle: memory has answered, with a refusal or not.
    refused
        One cycle, with `stored`: nothing was stored.
    memory_requests, memory_replies
        Table memory; the tag is zero.
    events
        0: MESSAGE, in the cycle in which memory accepts the store.

    Timing
    ------
    No cycles added to a store; `stored` comes in the cycle of the memory's reply, and the next message is offered to
    memory in the cycle after. A message to an address beyond the memory port's 52 bits never goes there: it is taken at
    once, without an event, and is refused in the next cycle.

    Source: VT-d 4.1, 6.5.2.8 (status), 11.4.11 (events); refusals are ours.
    """

    def __init__(self, *, word_bits=128):
        super().__init__({
            "messages": In(stream.Signature(Message)).array(_SOURCES),
            "stored": Out(1).array(_SOURCES),
            "refused": Out(1),
            "memory_requests": Out(stream.Signature(MemoryRequest)),
            "memory_replies": In(stream.Signature(memory_reply_layout(word_bits))),
            "events": Out(EventPort()).array(1),
        })

    def elaborate(self, platform):
        m = Module()
        m.submodules.merge = merge = Merge(_Sent, ports=_SOURCES)
        for source, port in enumerate(self.messages):
            m.d.comb += [
                merge.i[source].payload.message.eq(port.payload),
                merge.i[source].payload.source.eq(source),
                merge.i[source].valid.eq(port.valid),
                port.ready.eq(merge.i[source].ready),
            ]

        message = merge.o.payload.message
        store = self.memory_requests.payload
        lane = message.address[ceil_log2(_DATA_BYTES):ceil_log2(QUANTUM_BYTES)]
        unreachable = message.address[len(store.hpa):].any()
        m.d.comb += [
            store.operation.eq(MemoryOperation.WRITE),
            store.hpa.eq(message.address),
            store.data.eq(message.data.replicate(QUANTUM_BITS // _DATA_BITS)),
            store.write_mask.eq(((1 << _DATA_BYTES) - 1) << (lane * _DATA_BYTES)),
        ]

        accepted_source = Signal(range(_SOURCES))
        answered, accepted = Signal(), Signal()
        m.d.comb += [
            accepted.eq(merge.o.valid & merge.o.ready),
            Cat(self.stored).eq(answered << accepted_source),
        ]
        with m.If(accepted):
            m.d.sync += accepted_source.eq(merge.o.payload.source)
        with m.FSM(name="message_writer"):
            with m.State("IDLE"):
                m.d.comb += [
                    self.memory_requests.valid.eq(merge.o.valid & ~unreachable),
                    merge.o.ready.eq(self.memory_requests.ready | unreachable),
                ]
                with m.If(accepted):
                    m.next = "STORE"
                    with m.If(unreachable):
                        m.next = "REFUSE"
            with m.State("STORE"):
                m.d.comb += [
                    self.memory_replies.ready.eq(1),
                    answered.eq(self.memory_replies.valid),
                    self.refused.eq(answered & self.memory_replies.payload.error),
                ]
                with m.If(answered):
                    m.next = "IDLE"
            with m.State("REFUSE"):
                m.d.comb += [answered.eq(1), self.refused.eq(1)]
                m.next = "IDLE"

        event = self.events[0]
        m.d.comb += [
            event.valid.eq(accepted & ~unreachable),
            event.payload.kind.eq(EventKind.MESSAGE),
            event.payload.hpa.eq(message.address),
            event.payload.tag.eq(message.kind),
            event.payload.detail.eq(message.data),
        ]
        return m
