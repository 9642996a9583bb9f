"""Streams between blocks: checked connection, and a FIFO of named structs. Ours."""
from amaranth import *
from amaranth.lib import fifo, stream, wiring
from amaranth.lib.wiring import In, Out

__all__ = ["connect_stream", "Queue"]


def connect_stream(m, *, src, dst):
    """Connect two streams, refusing payloads of different layout.

    ``wiring.connect`` compares widths only; every 128-bit table entry would connect to every other one.

    Raises
    ------
    TypeError
        If the two stream signatures are not equal.
    """
    if _upright(src) != _upright(dst):
        raise TypeError(f"cannot connect {_upright(src)!r} to {_upright(dst)!r}")
    m.d.comb += [dst.payload.eq(src.payload), dst.valid.eq(src.valid), src.ready.eq(dst.ready)]


def _upright(port):
    signature = port.signature
    return signature.flip() if isinstance(signature, wiring.FlippedSignature) else signature


class Queue(wiring.Component):
    """First-in first-out queue of one payload.

    Parameters
    ----------
    shape
        Payload.
    depth : int
        Entries, at least 1.

    Members
    -------
    i, o
        In and out.
    level
        Entries held.

    Timing
    ------
    One cycle from `i` to `o`. Takes and gives one payload per cycle; full and empty in the same cycle is
    impossible for depth > 0. No combinational path between the two sides.
    """

    def __init__(self, shape, *, depth):
        if depth < 1:
            raise ValueError(f"depth must be at least 1, not {depth!r}")
        self._shape = shape
        self._depth = depth
        super().__init__({
            "i": In(stream.Signature(shape)),
            "o": Out(stream.Signature(shape)),
            "level": Out(range(depth + 1)),
        })

    def elaborate(self, platform):
        m = Module()
        m.submodules.fifo = inner = fifo.SyncFIFO(width=Shape.cast(self._shape).width, depth=self._depth)
        m.d.comb += [
            inner.w_data.eq(self.i.payload), inner.w_en.eq(self.i.valid), self.i.ready.eq(inner.w_rdy),
            Value.cast(self.o.payload).eq(inner.r_data), self.o.valid.eq(inner.r_rdy), inner.r_en.eq(self.o.ready),
            self.level.eq(inner.level),
        ]
        return m
