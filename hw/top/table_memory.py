"""Table memory in block RAM: for a board, and for tests that want real gateware behind the port. Ours."""
from amaranth import *
from amaranth.lib import data, memory, stream, wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import ceil_log2

from hw.spec.memory import QUANTUM_BITS, QUANTUM_BYTES, MemoryOperation, MemoryRequest, memory_reply_layout

__all__ = ["TableMemory"]


class TableMemory(wiring.Component):
    """Memory of 128-bit words with a constant latency.

    Parameters
    ----------
    depth_words : int
        Words, at least 1; they start at address 0. Those that `init` does not name are zero.
    latency : int
        Cycles from a request's acceptance to its reply, at least 2.
    init : sequence of int
        The first words, as the device's configuration leaves them; a reset does not bring them back.

    Members
    -------
    requests, replies
        See hw.spec.memory. Replies come in the order of the requests. `error`: the address is outside, or the operation is
        RESERVED_3; nothing is stored.

    Timing
    ------
    One access per cycle, of any operation. A reply that is not taken stops everything behind it, and then no request is
    accepted.

    Races
    -----
    An access is executed whole at one instant, in the cycle after its acceptance, in the order of acceptance: it sees all
    that was accepted before it and nothing that came after.

    Source: ours.
    """

    def __init__(self, *, depth_words, latency=2, init=()):
        if depth_words < 1:
            raise ValueError(f"depth_words must be at least 1, not {depth_words!r}")
        if latency < 2:
            raise ValueError(f"latency must be at least 2, not {latency!r}")
        if len(init) > depth_words:
            raise ValueError(f"init must have at most {depth_words} words, not {len(init)}")
        self._depth_words = depth_words
        self._init = list(init)
        self._latency = latency
        self._reply = memory_reply_layout(QUANTUM_BITS)
        super().__init__({
            "requests": In(stream.Signature(MemoryRequest)),
            "replies": Out(stream.Signature(self._reply)),
        })

    def elaborate(self, platform):
        m = Module()
        m.submodules.words = words = memory.Memory(shape=QUANTUM_BITS, depth=self._depth_words, init=self._init)
        write = words.write_port(granularity=8)
        read = words.read_port(transparent_for=(write,))  # an access sees the one before it
        moving = Signal()
        m.d.comb += [moving.eq(~self.replies.valid | self.replies.ready), self.requests.ready.eq(moving)]

        # Accept: read the word.
        word_number = self.requests.payload.hpa[ceil_log2(QUANTUM_BYTES):]
        access = Signal(MemoryRequest)
        valid = Signal()
        outside = Signal()
        m.d.comb += [read.addr.eq(word_number), read.en.eq(moving)]
        with m.If(moving):
            m.d.sync += [
                valid.eq(self.requests.valid),
                access.eq(self.requests.payload),
                outside.eq(word_number >= self._depth_words),
            ]

        # Execute: compare and write it.
        result = Signal(self._reply)
        store_mask = Signal(QUANTUM_BYTES)
        m.d.comb += [
            result.tag.eq(access.tag),
            result.error.eq(outside | (access.operation == MemoryOperation.RESERVED_3)),
            result.data.eq(read.data),
            write.addr.eq(access.hpa[ceil_log2(QUANTUM_BYTES):]),
            write.data.eq(access.data),
            write.en.eq(Mux(valid & ~outside, store_mask, 0)),  # again while stalled, with the same data
        ]
        with m.Switch(access.operation):
            with m.Case(MemoryOperation.WRITE):
                m.d.comb += store_mask.eq(access.write_mask)
            with m.Case(MemoryOperation.COMPARE_EXCHANGE):
                m.d.comb += store_mask.eq((read.data == access.expected).replicate(QUANTUM_BYTES))

        # The rest of the latency.
        stages = self._latency - 1
        results = Signal(data.ArrayLayout(self._reply, stages))
        valids = Signal(stages)
        with m.If(moving):
            for stage in range(stages):
                before = (result, valid) if stage == 0 else (results[stage - 1], valids[stage - 1])
                m.d.sync += [results[stage].eq(before[0]), valids[stage].eq(before[1])]
        m.d.comb += [self.replies.payload.eq(results[stages - 1]), self.replies.valid.eq(valids[stages - 1])]
        return m
