"""Which line of a set goes when a new one comes: one that has not been used again. Ours."""
from amaranth import *
from amaranth.lib import memory, wiring
from amaranth.lib.wiring import In, Out

from hw.lib.match import first_one

__all__ = ["LineReplacement"]


class LineReplacement(wiring.Component):
    """Not-recently-used replacement: a used bit for each line, in a memory of a word for each set.

    A new line is not used until a lookup finds it, so that what is read once does not push out what is used again. When
    all lines of a set are used, only the last one stays so. Every so many fills the used bits of the set of the fill
    are cleared: a line that is used no more does not stay for ever.

    Parameters
    ----------
    sets : int
        At least 2.
    ways : int
        At least 1.

    Members
    -------
    used_set, used
        A lookup has found these ways, one at most. Where a line is filled in the next cycle it is forgotten: used bits are a hint.
    filled, filled_set
        A line is put in in this cycle.
    same, empty
        Ways of `filled_set` that must, and that may be taken without loss.
    chosen
        The way to be taken, one-hot: the one that must; else the first that is empty; else the next in turn that is not
        used; else the next in turn.

    Timing
    ------
    `chosen` is combinational. A use counts from the second cycle after it on, a fill from the next one on.

    Source: ours.
    """

    def __init__(self, *, sets, ways):
        self._sets = sets
        self._ways = ways
        super().__init__({
            "used_set": In(range(sets)),
            "used": In(ways),
            "filled": In(1),
            "filled_set": In(range(sets)),
            "same": In(ways),
            "empty": In(ways),
            "chosen": Out(ways),
        })

    @property
    def fills_per_clearing(self):
        """Odd, so that in the long run it is not always the same sets whose turn comes."""
        return 32 * self._ways - 1

    def elaborate(self, platform):
        m = Module()
        m.submodules.words = words = memory.Memory(shape=self._ways, depth=self._sets, init=[])
        at_use, at_fill, write = words.read_port(domain="comb"), words.read_port(domain="comb"), words.write_port()

        # The way.
        in_turn = Signal(self._ways, init=-1)   # from the way whose turn it is upwards
        free = Signal(self._ways)
        m.d.comb += [
            at_fill.addr.eq(self.filled_set),
            free.eq(~at_fill.data),
        ]
        with m.If(self.same.any()):
            m.d.comb += self.chosen.eq(self.same)
        with m.Elif(self.empty.any()):
            m.d.comb += self.chosen.eq(first_one(self.empty))
        with m.Elif((free & in_turn).any()):
            m.d.comb += self.chosen.eq(first_one(free & in_turn))
        with m.Elif(free.any()):
            m.d.comb += self.chosen.eq(first_one(free))
        with m.Else():
            m.d.comb += self.chosen.eq(first_one(in_turn))
        after_chosen = Cat(self.chosen[:way].any() for way in range(self._ways))
        with m.If(self.filled):
            m.d.sync += in_turn.eq(Mux(after_chosen.any(), after_chosen, -1))

        # The used bits.
        set_index, used = Signal.like(self.used_set), Signal.like(self.used)
        all_used = Signal()
        m.d.sync += [set_index.eq(self.used_set), used.eq(self.used)]
        m.d.comb += [at_use.addr.eq(set_index), all_used.eq((at_use.data | used).all())]
        count = Signal(range(self.fills_per_clearing))
        last = count == self.fills_per_clearing - 1
        with m.If(self.filled):
            m.d.sync += count.eq(Mux(last, 0, count + 1))
            m.d.comb += [
                write.addr.eq(self.filled_set),
                write.data.eq(Mux(last, 0, at_fill.data & ~self.chosen)),
                write.en.eq(1),
            ]
        with m.Else():
            m.d.comb += [
                write.addr.eq(set_index),
                write.data.eq(Mux(all_used, used, at_use.data | used)),
                write.en.eq(used.any()),
            ]
        return m
