"""Tags: which are free, and which still wait for their reply. Ours."""
from amaranth import *
from amaranth.lib import fifo, stream, wiring
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out

from hw.spec.dma import TAG_BITS
from hw.traffic.messages import Strobe

__all__ = ["TagPool"]

_TAGS = 1 << TAG_BITS


class TagPool(wiring.Component):
    """Gives out tags, each to one DMA at a time, and knows whose reply is still to come.

    After a reset the tags come in order, from 0; after that the one that has been free for longest comes first, so that
    a reply that is late or comes twice has the best chance to be noticed.

    Members
    -------
    tags
        The next tag; taken by a new DMA.
    answer, awaited
        A reply has come for this tag. `awaited` says in the same cycle whether one was due; from the next cycle
        on none is.
    release
        The DMA is done, its tag is free again.
    in_flight
        Tags taken and not yet released.

    Timing
    ------
    One tag, one answer and one release per cycle. A released tag can be taken again three cycles later.
    """

    tags: Out(stream.Signature(TAG_BITS))
    answer: In(Strobe(TAG_BITS))
    awaited: Out(1)
    release: In(Strobe(TAG_BITS))
    in_flight: Out(range(_TAGS + 1))

    def elaborate(self, platform):
        m = Module()
        m.submodules.released = released = fifo.SyncFIFOBuffered(width=TAG_BITS, depth=_TAGS)
        fresh = Signal(range(_TAGS + 1))  # tags from here on have not been used since the reset

        with m.If(fresh != _TAGS):
            m.d.comb += [self.tags.payload.eq(fresh), self.tags.valid.eq(1)]
        with m.Else():
            m.d.comb += [
                self.tags.payload.eq(released.r_data), self.tags.valid.eq(released.r_rdy), released.r_en.eq(self.tags.ready),
            ]
        m.d.comb += [released.w_data.eq(self.release.payload), released.w_en.eq(self.release.valid)]

        taken = Signal()
        m.d.comb += taken.eq(self.tags.valid & self.tags.ready)
        m.d.sync += self.in_flight.eq(self.in_flight + taken - self.release.valid)
        with m.If(taken & (fresh != _TAGS)):
            m.d.sync += fresh.eq(fresh + 1)

        # A bit per tag that two parties change: each owns a memory, and the bit is whether the two differ.
        m.submodules.asked = asked = Memory(shape=1, depth=_TAGS, init=[])
        m.submodules.answered = answered = Memory(shape=1, depth=_TAGS, init=[])
        for memory, other, strobe, tag, differ in (
            (asked, answered, taken, self.tags.payload, 1),
            (answered, asked, self.answer.valid, self.answer.payload, 0),
        ):
            write = memory.write_port()
            seen = other.read_port(domain="comb")
            m.d.comb += [seen.addr.eq(tag), write.addr.eq(tag), write.data.eq(seen.data ^ differ), write.en.eq(strobe)]
        asked_now = asked.read_port(domain="comb")
        answered_now = answered.read_port(domain="comb")
        m.d.comb += [
            asked_now.addr.eq(self.answer.payload),
            answered_now.addr.eq(self.answer.payload),
            self.awaited.eq((asked_now.data != answered_now.data) & (self.answer.payload < fresh)),
        ]
        return m
