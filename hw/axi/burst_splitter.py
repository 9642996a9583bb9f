"""Cut bursts at page boundaries: each piece is one DMA request. Ours.

AXI forbids a burst to cross a 4 KiB boundary (A3.4.1). A requester behind a bridge may do it all the same, and two
neighbouring pages need not be neighbours in memory: so each page's part is translated by itself.
"""
from amaranth import *
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import ceil_log2

from hw.axi.bus import address_layout
from hw.spec.axi import AXI_ADDRESS_BITS, FIXED_BEATS_MOST, MAX_BURST_BEATS, WRAP_BEATS, AxiBurst, DmaUser
from hw.spec.tables import PAGE_BITS, PAGE_BYTES

__all__ = ["BurstSplitter", "piece_layout"]

_SIZES = 8   # AxSIZE: log2 of the bytes of a beat


def piece_layout(*, id_bits):
    """The part of a burst that lies in one page.

    burst
        A burst by itself, of which nothing crosses the page.
    iova, length_bytes
        The bytes that it touches: all of the wrapped range, one beat's worth of a FIXED burst.
    last
        Its end is the end of the burst that came in.
    refused
        The burst breaks a rule of AXI: it is to be answered with an error as it is, in one piece.
    """
    return data.StructLayout({
        "burst": address_layout(id_bits=id_bits, user=DmaUser),
        "iova": AXI_ADDRESS_BITS,
        "length_bytes": range(PAGE_BYTES + 1),
        "last": 1,
        "refused": 1,
    })


class BurstSplitter(wiring.Component):
    """One burst in, one piece or more out.

    Refused: AxBURST = 3, beats wider than the bus, a WRAP of other than 2, 4, 8 or 16 beats or not aligned to its beats, a
    FIXED of more than 16 beats, an exclusive access across pages, and a burst beyond the last page of the address space.

    Parameters
    ----------
    data_bits, id_bits : int
        Of the bus.

    Members
    -------
    bursts, pieces
        In and out.

    Timing
    ------
    No cycles added: a piece is offered in the cycle in which its burst is, and a burst in one page costs one cycle. One of n
    pages costs n cycles.
    """

    def __init__(self, *, data_bits, id_bits):
        self._size_most = ceil_log2(data_bits // 8)
        super().__init__({
            "bursts": In(stream.Signature(address_layout(id_bits=id_bits, user=DmaUser))),
            "pieces": Out(stream.Signature(piece_layout(id_bits=id_bits))),
        })

    def elaborate(self, platform):
        m = Module()
        burst, piece = self.bursts.payload, self.pieces.payload
        continuing = Signal()                       # the first piece is gone
        sent = Signal(range(MAX_BURST_BEATS))       # beats in the pieces that are gone
        next_page = Signal(AXI_ADDRESS_BITS - PAGE_BITS)

        # Where the piece begins, and how many beats of the page's rest and of the burst's rest there are.
        start, left, room = Signal(AXI_ADDRESS_BITS), Signal(range(MAX_BURST_BEATS + 1)), Signal(range(PAGE_BYTES + 1))
        beat_mask = Signal(_SIZES)
        m.d.comb += [
            beat_mask.eq(Array(Const((1 << size) - 1, _SIZES) for size in range(_SIZES))[burst.size]),
            start.eq(Mux(continuing, next_page << PAGE_BITS, burst.addr)),
            left.eq(burst.len + 1 - sent),
            room.eq((PAGE_BYTES - (start[:PAGE_BITS] & ~(beat_mask | Const(0, PAGE_BITS)))) >> burst.size),
        ]

        incr, wrap, fixed = (burst.burst == kind for kind in (AxiBurst.INCR, AxiBurst.WRAP, AxiBurst.FIXED))
        crosses, illegal = Signal(), Signal()
        m.d.comb += [
            crosses.eq(incr & (left > room) & ~illegal),
            illegal.eq(
                (burst.burst == AxiBurst.RESERVED_3) | (burst.size > self._size_most)
                | (wrap & ~Cat(burst.len + 1 == beats for beats in WRAP_BEATS).any())
                | (wrap & (burst.addr & beat_mask).any())
                | (fixed & (burst.len >= FIXED_BEATS_MOST))
                | (incr & (left > room) & (burst.lock | start[PAGE_BITS:].all()))),
        ]

        # The piece.
        beats, total = Signal(range(MAX_BURST_BEATS + 1)), Signal(range(PAGE_BYTES + 1))
        wrap_mask = beat_mask | (burst.len << burst.size)
        m.d.comb += [
            beats.eq(Mux(crosses, room, left)),
            total.eq(Mux(fixed, 1, beats) << burst.size),
            piece.burst.eq(burst),
            piece.burst.addr.eq(start),
            piece.burst.len.eq(beats - 1),
            piece.iova.eq(start & ~Mux(wrap, wrap_mask | Const(0, AXI_ADDRESS_BITS), 0)),
            piece.length_bytes.eq(total - Mux(wrap, 0, start[:_SIZES] & beat_mask)),
            piece.last.eq(~crosses),
            piece.refused.eq(illegal),
            self.pieces.valid.eq(self.bursts.valid),
            self.bursts.ready.eq(self.pieces.ready & ~crosses),
        ]
        with m.If(self.pieces.valid & self.pieces.ready):
            m.d.sync += [
                continuing.eq(crosses),
                sent.eq(Mux(crosses, sent + room, 0)),
                next_page.eq(start[PAGE_BITS:] + 1),
            ]
        return m
