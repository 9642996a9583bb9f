"""Answers reads that do not reach memory. Ours; all ones and an error: VT-d 4.1, 7.1 (Unsupported Request)."""
from amaranth import *
from amaranth.lib import data, stream, wiring
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out

from hw.axi.bus import read_layout
from hw.axi.order_table import SlotStrobe
from hw.axi.picker import Picker
from hw.spec.axi import MAX_BURST_BEATS, AxiResponse

__all__ = ["ErrorReader"]


class ErrorReader(wiring.Component):
    """One blocked piece after the other: as many beats as were asked for, SLVERR, all ones.

    Parameters
    ----------
    data_bits, id_bits, slots : int

    Members
    -------
    piece, piece_len
        A slot is filled with a piece of so many beats, less one.
    blocked
        The piece in this slot is to be answered here.
    oldest[slot], ids[slot]
        From the `OrderTable`: a piece is answered when it is the oldest of its ID.
    data, slot
        The beats, and whose they are.

    Timing
    ------
    A piece costs its beats and one cycle. Whoever waits is served after at most one piece of every other slot.
    """

    def __init__(self, *, data_bits, id_bits, slots):
        self._slots = slots
        super().__init__({
            "piece": In(SlotStrobe(slots)), "piece_len": In(range(MAX_BURST_BEATS)),
            "blocked": In(SlotStrobe(slots)),
            "oldest": In(slots), "ids": In(data.ArrayLayout(id_bits, slots)),
            "data": Out(stream.Signature(read_layout(data_bits=data_bits, id_bits=id_bits))),
            "slot": Out(range(slots)),
        })

    def elaborate(self, platform):
        m = Module()
        m.submodules.picker = picker = Picker(count=self._slots)
        m.submodules.lengths = lengths = Memory(shape=range(MAX_BURST_BEATS), depth=self._slots, init=[])
        write, read = lengths.write_port(), lengths.read_port(domain="comb")
        waiting = Signal(self._slots)
        left = Signal(range(MAX_BURST_BEATS))
        busy, ends, answer_id = Signal(), Signal(), Signal.like(self.ids[0])

        with m.If(self.blocked.valid):
            m.d.sync += waiting.bit_select(self.blocked.slot, 1).eq(1)
        m.d.comb += [
            write.addr.eq(self.piece.slot), write.data.eq(self.piece_len), write.en.eq(self.piece.valid),
            read.addr.eq(picker.chosen),
            picker.candidates.eq(waiting & self.oldest),
            picker.taken.eq(picker.any & ~busy),
            self.data.valid.eq(busy),
            self.data.payload.id.eq(answer_id),
            self.data.payload.data.eq(-1),
            self.data.payload.resp.eq(AxiResponse.SLVERR),
            self.data.payload.last.eq(left == 0),
            ends.eq(self.data.ready & (left == 0)),
        ]
        with m.If(picker.taken):
            m.d.sync += [
                busy.eq(1), self.slot.eq(picker.chosen), answer_id.eq(self.ids[picker.chosen]), left.eq(read.data),
                waiting.bit_select(picker.chosen, 1).eq(0),
            ]
        with m.Elif(busy & self.data.ready):
            m.d.sync += [left.eq(left - 1), busy.eq(~ends)]
        return m
