"""The update port: what a CPU's locked 16-byte compare-exchange, or its plain 8-byte store, does to table memory.

Ours, not VT-d's: it stands for the memory controller of the machine. It changes memory and nothing else: no cache, walk or
filter sees it, and software invalidates as the specification says.
"""
from amaranth import *
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import ceil_log2

from hw.iommu.messages import EventPort
from hw.spec.bench import UpdateOperation, UpdateReply, UpdateRequest
from hw.spec.events import EventKind
from hw.spec.memory import QUANTUM_BITS, QUANTUM_BYTES, MemoryOperation, MemoryRequest, memory_reply_layout

__all__ = ["UpdatePort"]

_STORE_BITS = 64
_STORE_BYTES = _STORE_BITS // 8


class UpdatePort(wiring.Component):
    """One store at a time, each one indivisible memory operation.

    Parameters
    ----------
    word_bits : int
        Width of a memory word, 128 or 512.

    Members
    -------
    requests, replies
        UpdateRequest in, one UpdateReply out, in order.
    memory_requests, memory_replies
        Table memory; the tag is zero.
    events
        0: UPDATE in the cycle of the memory's reply, with the outcome; none for a misaligned request. The store itself
        took place when memory accepted the operation: see Timing.

    Timing
    ------
    A request is accepted in the very cycle in which memory accepts its operation: that cycle is the commit, and the
    MEMORY event of a COMPARE_EXCHANGE or WRITE stands in it. The reply is offered one cycle after the memory's. A
    misaligned request is accepted at once, sends nothing, and is answered with an error in the next cycle.

    Source: ours.
    """

    def __init__(self, *, word_bits=128):
        self._word_bits = word_bits
        super().__init__({
            "requests": In(stream.Signature(UpdateRequest)),
            "replies": Out(stream.Signature(UpdateReply)),
            "memory_requests": Out(stream.Signature(MemoryRequest)),
            "memory_replies": In(stream.Signature(memory_reply_layout(word_bits))),
            "events": Out(EventPort()).array(1),
        })

    def elaborate(self, platform):
        m = Module()
        request = self.requests.payload
        operation = self.memory_requests.payload
        misaligned = Signal()
        in_quantum = ceil_log2(QUANTUM_BYTES)
        with m.Switch(request.operation):
            with m.Case(UpdateOperation.COMPARE_EXCHANGE_128):
                m.d.comb += [
                    misaligned.eq(request.hpa[:in_quantum].any()),
                    operation.operation.eq(MemoryOperation.COMPARE_EXCHANGE),
                    operation.data.eq(request.desired),
                ]
            with m.Case(UpdateOperation.STORE_64):
                m.d.comb += [
                    misaligned.eq(request.hpa[:ceil_log2(_STORE_BYTES)].any()),
                    operation.operation.eq(MemoryOperation.WRITE),
                    operation.data.eq(request.desired[:_STORE_BITS].replicate(QUANTUM_BITS // _STORE_BITS)),
                    operation.write_mask.eq(((1 << _STORE_BYTES) - 1) << request.hpa[:in_quantum]),
                ]
        m.d.comb += [operation.hpa.eq(request.hpa), operation.expected.eq(request.expected)]

        # The reply: the addressed quantum of the word, as it stood before.
        held = Signal(UpdateRequest)
        memory_reply = self.memory_replies.payload
        observed = memory_reply.data.word_select(
            held.hpa[in_quantum:][:ceil_log2(self._word_bits // QUANTUM_BITS)], QUANTUM_BITS)
        stored = ~memory_reply.error & (
            (held.operation == UpdateOperation.STORE_64) | (observed == held.expected))
        event = self.events[0]
        m.d.comb += [
            event.payload.kind.eq(EventKind.UPDATE),
            event.payload.hpa.eq(held.hpa),
            event.payload.tag.eq(stored),
            event.payload.detail.eq(held.desired),
        ]

        refused, answered = Signal(), Signal()
        with m.If(answered):
            m.d.sync += [
                self.replies.payload.swapped.eq(stored),
                self.replies.payload.error.eq(memory_reply.error),
                self.replies.payload.observed.eq(observed),
            ]
        with m.If(refused):  # apart, and after: the flip-flops' own reset, no logic in front of them
            m.d.sync += [self.replies.payload.eq(0), self.replies.payload.error.eq(1)]
        with m.FSM(name="update"):
            with m.State("IDLE"):
                m.d.comb += [
                    self.memory_requests.valid.eq(self.requests.valid & ~misaligned),
                    self.requests.ready.eq(self.memory_requests.ready | misaligned),
                ]
                with m.If(self.requests.valid & self.requests.ready):
                    m.d.sync += held.eq(request)
                    with m.If(misaligned):
                        m.d.comb += refused.eq(1)
                        m.next = "REPLY"
                    with m.Else():
                        m.next = "STORE"
            with m.State("STORE"):
                m.d.comb += [self.memory_replies.ready.eq(1), event.valid.eq(self.memory_replies.valid)]
                with m.If(self.memory_replies.valid):
                    m.d.comb += answered.eq(1)
                    m.next = "REPLY"
            with m.State("REPLY"):
                m.d.comb += self.replies.valid.eq(1)
                with m.If(self.replies.ready):
                    m.next = "IDLE"
        return m
