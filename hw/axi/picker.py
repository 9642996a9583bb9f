"""Choose one of many in turn. Ours."""
from functools import reduce
from operator import or_

from amaranth import *
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from hw.lib.match import first_one

__all__ = ["Picker", "position"]


def position(one_hot):
    """The number of the set bit; zero if there is none, and meaningless if there are several."""
    bits = Value.cast(one_hot)
    return reduce(or_, (Mux(bit, number, 0) for number, bit in enumerate(bits)))


class Picker(wiring.Component):
    """Round robin over the bits of a vector.

    Parameters
    ----------
    count : int
        Candidates, at least 1.

    Members
    -------
    candidates
        One bit each.
    any, chosen
        There is one; the first candidate after the one taken last.
    taken
        The chosen one is taken in this cycle.

    Timing
    ------
    Combinational. Whoever stays a candidate is taken after at most one turn of every other. The choice may change from
    cycle to cycle until it is taken.
    """

    def __init__(self, *, count):
        if count < 1:
            raise ValueError(f"count must be at least 1, not {count!r}")
        self._count = count
        super().__init__({
            "candidates": In(count), "any": Out(1), "chosen": Out(range(count)), "taken": In(1),
        })

    def elaborate(self, platform):
        m = Module()
        later = Signal(self._count)          # numbers beyond the one taken last
        behind = Signal(self._count)
        chosen = Signal(self._count)
        m.d.comb += [
            self.any.eq(self.candidates.any()),
            behind.eq(self.candidates & later),
            chosen.eq(Mux(behind.any(), first_one(behind), first_one(self.candidates))),
            self.chosen.eq(position(chosen)),
        ]
        with m.If(self.taken):
            m.d.sync += later.eq(~(chosen | (chosen - 1)))
        return m
