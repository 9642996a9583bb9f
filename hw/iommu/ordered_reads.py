"""Read memory far ahead, and get what was read in the order in which it was asked for. Ours."""
from amaranth import *
from amaranth.lib import data, memory, stream, wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import ceil_log2

from hw.spec.memory import CLIENT_TAG_BITS, QUANTUM_BITS, QUANTUM_BYTES, MemoryRequest, memory_reply_layout

__all__ = ["OrderedReads", "Quantum"]


class Quantum(data.Struct):
    """What was read."""

    data: QUANTUM_BITS           # meaningless if refused
    refused: 1


class OrderedReads(wiring.Component):
    """Reads of single quanta, many in flight; replies come in any order and leave in that of the addresses.

    ::

        addresses --> [ requested ] --> memory_requests (tag: a slot of the ring)
        quanta <-- [ ring of slots ] <-- memory_replies

    Parameters
    ----------
    word_bits : int
        Width of a memory word, 128 or 512.
    depth : int
        Reads that have begun and are not given yet: a power of two, 2 to 256.

    Members
    -------
    addresses
        HPA of each quantum: a byte address, the lowest four bits of which are ignored.
    quanta
        One for each address, in that order.
    level
        Addresses taken whose quantum is not given yet.
    memory_requests, memory_replies
        Reads; a reply is always taken. Of a wide word the addressed quantum is kept.

    Timing
    ------
    A read goes out in the cycle after its address came, and its quantum is offered in the cycle after the reply: one per
    cycle, as long as there is a slot.

    Source: ours.
    """

    def __init__(self, *, word_bits, depth):
        if not 2 <= depth <= 1 << CLIENT_TAG_BITS or depth & (depth - 1):
            raise ValueError(f"depth must be a power of two between 2 and {1 << CLIENT_TAG_BITS}, not {depth!r}")
        self._word_bits = word_bits
        self._depth = depth
        super().__init__({
            "addresses": In(stream.Signature(52)),
            "quanta": Out(stream.Signature(Quantum)),
            "level": Out(range(depth + 1)),
            "memory_requests": Out(stream.Signature(MemoryRequest)),
            "memory_replies": In(stream.Signature(memory_reply_layout(word_bits))),
        })

    def elaborate(self, platform):
        m = Module()
        request, reply = self.memory_requests, self.memory_replies
        place_bits = ceil_log2(self._word_bits // QUANTUM_BITS)
        m.submodules.places = places = memory.Memory(shape=max(1, place_bits), depth=self._depth, init=[])
        m.submodules.words = words = memory.Memory(shape=Quantum, depth=self._depth, init=[])
        answered = Signal(self._depth)
        taken, given = Signal(), Signal()
        next_slot, oldest_slot = Signal(range(self._depth)), Signal(range(self._depth))
        m.d.comb += [
            taken.eq(self.addresses.valid & self.addresses.ready),
            given.eq(self.quanta.valid & self.quanta.ready),
        ]
        m.d.sync += [
            next_slot.eq(next_slot + taken),
            oldest_slot.eq(oldest_slot + given),
            self.level.eq(self.level + taken - given),
        ]

        # Out.
        m.d.comb += self.addresses.ready.eq((self.level != self._depth) & (~request.valid | request.ready))
        with m.If(taken):
            m.d.sync += [
                request.valid.eq(1),
                request.payload.hpa.eq(self.addresses.payload),
                request.payload.tag.eq(next_slot),
            ]
        with m.Elif(request.ready):
            m.d.sync += request.valid.eq(0)
        keep_place, find_place = places.write_port(), places.read_port(domain="comb")
        place = self.addresses.payload[ceil_log2(QUANTUM_BYTES):][:place_bits]
        m.d.comb += [
            keep_place.en.eq(taken),
            keep_place.addr.eq(next_slot),
            keep_place.data.eq(place),
            find_place.addr.eq(reply.payload.tag),
        ]

        # In.
        store, oldest = words.write_port(), words.read_port(domain="comb")
        m.d.comb += [
            reply.ready.eq(1),
            store.en.eq(reply.valid),
            store.addr.eq(reply.payload.tag),
            store.data.data.eq(reply.payload.data.word_select(find_place.data[:place_bits], QUANTUM_BITS)),
            store.data.refused.eq(reply.payload.error),
            oldest.addr.eq(oldest_slot),
            self.quanta.valid.eq(answered.bit_select(oldest_slot, 1)),
            self.quanta.payload.eq(oldest.data),
        ]
        with m.If(given):
            m.d.sync += answered.bit_select(oldest_slot, 1).eq(0)
        with m.If(reply.valid):
            m.d.sync += answered.bit_select(reply.payload.tag[:len(next_slot)], 1).eq(1)
        return m
