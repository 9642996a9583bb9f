"""Counters in memory: many of them, one increment per cycle. Ours."""
from amaranth import *
from amaranth.lib import wiring
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out

__all__ = ["COUNTER_BITS", "CounterBank"]

COUNTER_BITS = 32


class CounterBank(wiring.Component):
    """A bank of saturating counters, in memory.

    Parameters
    ----------
    rows : int
        Counters.
    bits : int
        Their width.

    Members
    -------
    count, row
        Add one to that counter; always taken.
    host_row, host_value
        The host's view: the counter's value one cycle after `host_row`, every `count` before that cycle included.
    clear, cleared
        Set counter `host_row` to zero; hold `clear` until `cleared`, which waits for a cycle after one without `count`.

    Timing
    ------
    One increment per cycle, of the same counter or another: the row that is being written is forwarded to the one that
    is being read. A reset leaves the counters alone.

    Races
    -----
    An increment in the cycle of `cleared` comes after it: the counter is then 1.
    """

    def __init__(self, *, rows, bits=COUNTER_BITS):
        self._rows = rows
        self._bits = bits
        super().__init__({
            "count": In(1), "row": In(range(rows)),
            "host_row": In(range(rows)), "host_value": Out(bits), "clear": In(1), "cleared": Out(1),
        })

    def elaborate(self, platform):
        m = Module()
        m.submodules.values = values = Memory(shape=self._bits, depth=self._rows, init=[])
        write = values.write_port()
        read = values.read_port(transparent_for=[write])
        host = values.read_port(transparent_for=[write])

        counting = Signal()
        counting_row = Signal.like(self.row)
        m.d.sync += [counting.eq(self.count), counting_row.eq(self.row)]
        m.d.comb += [
            read.addr.eq(self.row),
            host.addr.eq(self.host_row),
            self.host_value.eq(host.data),
            write.en.eq(counting | self.clear),
            self.cleared.eq(self.clear & ~counting),
        ]
        with m.If(counting):
            m.d.comb += [write.addr.eq(counting_row), write.data.eq(read.data + ~read.data.all())]
        with m.Else():
            m.d.comb += [write.addr.eq(self.host_row), write.data.eq(0)]
        return m
