"""A queue in which accepted requests wait, and in which an invalidation finds them."""
from amaranth import *
from amaranth.lib import memory, stream, wiring
from amaranth.lib.wiring import In, Out

from hw.iommu.messages import Transaction

__all__ = ["TransactionQueue"]


class TransactionQueue(wiring.Component):
    """First-in first-out queue of transactions, or of messages that carry one, whose marks are level state.

    Parameters
    ----------
    shape : type[data.Struct]
        Transaction, or a Struct with a field `transaction` (WalkRequest).
    depth : int
        Entries, at least 1.

    Members
    -------
    i, o
        In and out.
    level
        Entries held.
    begin
        An invalidation begins: everything here is marked.

    Timing
    ------
    One cycle from `i` to `o`. Takes and gives one payload per cycle. No combinational path between the two sides.

    Races
    -----
    Whatever is held, put in or taken out in the cycle of `begin` leaves with its mark set. A mark may therefore appear
    in a payload that is on offer; it never disappears, and nothing else of the payload changes.

    Source: ours.
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
            "begin": In(1),
        })

    def _transaction(self, payload):
        return payload if self._shape is Transaction else payload.transaction

    def elaborate(self, platform):
        m = Module()
        m.submodules.entries = entries = memory.Memory(shape=self._shape, depth=self._depth, init=[])
        write = entries.write_port()
        read = entries.read_port(domain="comb")
        marks = Signal(self._depth)

        first = Signal(range(self._depth))
        free = Signal(range(self._depth))
        put = self.i.valid & self.i.ready
        taken = self.o.valid & self.o.ready
        m.d.comb += self.i.ready.eq(self.level != self._depth)
        m.d.comb += self.o.valid.eq(self.level != 0)
        m.d.sync += self.level.eq(self.level + put - taken)
        with m.If(put):
            m.d.sync += free.eq(self._after(free))
        with m.If(taken):
            m.d.sync += first.eq(self._after(first))

        m.d.comb += [write.addr.eq(free), write.data.eq(self.i.payload), write.en.eq(put)]
        m.d.comb += [read.addr.eq(first), self.o.payload.eq(read.data)]
        with m.If(put):
            m.d.sync += marks.bit_select(free, 1).eq(self._transaction(self.i.payload).marked)
        with m.If(self.begin):
            m.d.sync += marks.eq(-1)
        m.d.comb += self._transaction(self.o.payload).marked.eq(marks.bit_select(first, 1) | self.begin)
        return m

    def _after(self, pointer):
        return Mux(pointer == self._depth - 1, 0, pointer + 1)
