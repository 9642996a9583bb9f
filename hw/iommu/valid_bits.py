"""Valid bits of a cache in LUT RAM: one side sets them, the other clears them, in the same cycle. Ours."""
from amaranth import *
from amaranth.lib import memory, wiring
from amaranth.lib.wiring import In, Out

__all__ = ["ValidBits"]


class ValidBits(wiring.Component):
    """A word of `ways` bits for each set, written by a setter and by a clearer.

    Each has a memory of its own, that only it writes, and a bit is set where the two differ: the setter makes them
    differ, the clearer makes them equal. Flip-flops would cost several times as much, mostly for decoding.

    Parameters
    ----------
    sets, ways : int
        Size.

    Members
    -------
    read_set[n], valid[n]
        Bits of a set, in the same cycle; two readers.
    filled_set, filled
        Ways whose bits are to be set at the end of this cycle.
    cleared_set, cleared
        Ways whose bits are to be cleared at the end of this cycle; those that are set in this cycle stay.

    After power-up every bit is clear. A reset changes none: who resets has all sets cleared.

    Source: ours.
    """

    def __init__(self, *, sets, ways):
        self._sets = sets
        self._ways = ways
        super().__init__({
            "read_set": In(range(sets)).array(2),
            "valid": Out(ways).array(2),
            "filled_set": In(range(sets)),
            "filled": In(ways),
            "cleared_set": In(range(sets)),
            "cleared": In(ways),
        })

    def elaborate(self, platform):
        m = Module()
        places = (*self.read_set, self.filled_set, self.cleared_set)
        words = []                       # of the setter and of the clearer, at each of these places
        writes = []
        for name in ("setter", "clearer"):
            m.submodules[name] = rows = memory.Memory(
                shape=self._ways, depth=self._sets, init=[], attrs={"ram_style": "distributed"})
            reads = [rows.read_port(domain="comb") for _ in places]
            m.d.comb += [read.addr.eq(place) for read, place in zip(reads, places, strict=True)]
            words.append([read.data for read in reads])
            writes.append(rows.write_port())
        (*setter_read, setter_filled, setter_cleared), (*clearer_read, clearer_filled, clearer_cleared) = words
        setter_write, clearer_write = writes
        m.d.comb += [valid.eq(left ^ right) for valid, left, right in zip(
            self.valid, setter_read, clearer_read, strict=True)]
        clear = Signal(self._ways)
        m.d.comb += clear.eq(self.cleared & ~Mux(self.cleared_set == self.filled_set, self.filled, 0))
        m.d.comb += [
            setter_write.addr.eq(self.filled_set),
            setter_write.data.eq((setter_filled & ~self.filled) | (~clearer_filled & self.filled)),
            setter_write.en.eq(self.filled.any()),
            clearer_write.addr.eq(self.cleared_set),
            clearer_write.data.eq((setter_cleared & clear) | (clearer_cleared & ~clear)),
            clearer_write.en.eq(self.cleared.any()),
        ]
        return m

