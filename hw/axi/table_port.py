"""The unit's own accesses to memory as an AXI4 manager: table reads, descriptors, status data, event messages. Ours.

::

    requests --+-- READ ------------> ar          r --+
               +-- WRITE -----------> aw, w       b --+--> replies
               +-- anything else ---> refused --------/
"""
from amaranth import *
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out, flipped
from amaranth.utils import ceil_log2

from hw.axi.bus import axi4_channels, channel_streams
from hw.lib.merge import Merge
from hw.lib.stream import Queue, connect_stream
from hw.spec.axi import TABLE_CACHE, TABLE_PROT, AxiBurst
from hw.spec.memory import (
    MEMORY_TAG_BITS,
    QUANTUM_BITS,
    QUANTUM_BYTES,
    MemoryOperation,
    MemoryRequest,
    memory_reply_layout,
)

__all__ = ["TablePort", "table_channels"]

_REFUSALS = 2   # waiting for their reply


def table_channels(word_bits):
    """The channels of the table port: IDs are tags, data is one word wide."""
    return axi4_channels(data_bits=word_bits, id_bits=MEMORY_TAG_BITS, user=0)


class TablePort(wiring.Component):
    """Every access is a burst of one beat, its ID the unit's tag: as many are under way as the unit has tags.

    A read brings one whole word. A write changes bytes of one quantum; its reply has no data. COMPARE_EXCHANGE has no
    counterpart in AXI4: it is refused with an error and never leaves. What answers SLVERR or DECERR is an error.

    The memory must read and write an aligned word of 16 bytes at one instant, and must not answer a read from before the
    instant at which it accepts it.

    Parameters
    ----------
    word_bits : int
        128 or 512.

    Members
    -------
    requests, replies
        The unit's side. Replies come in any order.
    aw, w, b, ar, r
        The channels, as streams.

    Timing
    ------
    No cycles added in either direction: a read is accepted when AR is. A write is accepted when both AW and W have been,
    in either order; neither waits for the other. One read, or one write, per cycle.
    """

    def __init__(self, *, word_bits):
        self._reply = memory_reply_layout(word_bits)
        self._word_bits = word_bits
        super().__init__({
            "requests": In(stream.Signature(MemoryRequest)),
            "replies": Out(stream.Signature(self._reply)),
            **channel_streams(table_channels(word_bits), manager=True),
        })

    def elaborate(self, platform):
        m = Module()
        m.submodules.merge = merge = Merge(self._reply, ports=3)
        m.submodules.refused = refused = Queue(MEMORY_TAG_BITS, depth=_REFUSALS)
        request = self.requests.payload
        word_bytes = self._word_bits // 8
        for channel in (self.ar, self.aw):
            m.d.comb += [
                channel.payload.id.eq(request.tag),
                channel.payload.addr.eq(request.hpa & ~(word_bytes - 1 if channel is self.ar else QUANTUM_BYTES - 1)),
                channel.payload.size.eq(ceil_log2(word_bytes if channel is self.ar else QUANTUM_BYTES)),
                channel.payload.burst.eq(AxiBurst.INCR),
                channel.payload.cache.eq(TABLE_CACHE),
                channel.payload.prot.eq(TABLE_PROT),
            ]
        quanta = self._word_bits // QUANTUM_BITS
        lane = request.hpa[ceil_log2(QUANTUM_BYTES):][:ceil_log2(quanta)]
        m.d.comb += [
            self.w.payload.data.eq(request.data.replicate(quanta)),
            self.w.payload.strb.eq(request.write_mask << (lane * QUANTUM_BYTES)),
            self.w.payload.last.eq(1),
            refused.i.payload.eq(request.tag),
        ]

        # Out.
        addressed, sent = Signal(), Signal()   # of a write that is half accepted
        with m.Switch(request.operation):
            with m.Case(MemoryOperation.READ):
                m.d.comb += [self.ar.valid.eq(self.requests.valid), self.requests.ready.eq(self.ar.ready)]
            with m.Case(MemoryOperation.WRITE):
                m.d.comb += [
                    self.aw.valid.eq(self.requests.valid & ~addressed),
                    self.w.valid.eq(self.requests.valid & ~sent),
                    self.requests.ready.eq((self.aw.ready | addressed) & (self.w.ready | sent)),
                ]
            with m.Default():
                m.d.comb += [refused.i.valid.eq(self.requests.valid), self.requests.ready.eq(refused.i.ready)]
        half = ~self.requests.ready
        m.d.sync += [
            addressed.eq(half & (addressed | (self.aw.valid & self.aw.ready))),
            sent.eq(half & (sent | (self.w.valid & self.w.ready))),
        ]

        # In.
        reads, writes, refusals = merge.i
        m.d.comb += [
            reads.payload.tag.eq(self.r.payload.id), reads.payload.data.eq(self.r.payload.data),
            reads.payload.error.eq(self.r.payload.resp.as_value()[1]),
            reads.valid.eq(self.r.valid), self.r.ready.eq(reads.ready),
            writes.payload.tag.eq(self.b.payload.id), writes.payload.error.eq(self.b.payload.resp.as_value()[1]),
            writes.valid.eq(self.b.valid), self.b.ready.eq(writes.ready),
            refusals.payload.tag.eq(refused.o.payload), refusals.payload.error.eq(1),
            refusals.valid.eq(refused.o.valid), refused.o.ready.eq(refusals.ready),
        ]
        connect_stream(m, src=merge.o, dst=flipped(self).replies)
        return m
