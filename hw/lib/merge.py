"""Merge several streams of one payload into one, in turn. Ours.

::

    i[n].valid --> Turn --chosen, one bit per input--+--> o.valid, i[n].ready
    i[n].payload --------------------------------- AND-OR --> o.payload
"""
from amaranth import *
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

from hw.lib.match import first_one, one_hot_select

__all__ = ["Merge", "Turn"]


class Turn(wiring.Component):
    """Whose turn it is, of several that wait: round robin, one bit for each.

    Parameters
    ----------
    ports : int
        Who may wait, at least 1.

    Members
    -------
    waiting
        One bit for each port. A port that waits keeps waiting until it has been served.
    served
        The one that is chosen is served in this cycle.
    chosen
        One-hot: the first waiting port after the last one chosen; zero if none waits. A choice stands until it is served.

    Timing
    ------
    Combinational. Whoever waits is served after every other port has been at most once.
    """

    def __init__(self, *, ports):
        if ports < 1:
            raise ValueError(f"ports must be at least 1, not {ports!r}")
        self._ports = ports
        super().__init__({"waiting": In(ports), "served": In(1), "chosen": Out(ports)})

    def elaborate(self, platform):
        m = Module()
        last = Signal(self._ports, init=1)   # the one chosen last
        later = Signal(self._ports)          # all behind it
        stalled = Signal()
        behind, first = Signal(self._ports), Signal(self._ports)
        m.d.comb += [
            later.eq(Cat(last[:port].any() for port in range(self._ports))),
            behind.eq(first_one(self.waiting & later)),
            first.eq(first_one(self.waiting)),
            self.chosen.eq(Mux(stalled, last, Mux((self.waiting & later).any(), behind, first))),
        ]
        m.d.sync += stalled.eq(self.waiting.any() & ~self.served)
        with m.If(self.waiting.any()):
            m.d.sync += last.eq(self.chosen)
        return m


class Merge(wiring.Component):
    """Round-robin merge of streams.

    Parameters
    ----------
    shape
        Payload.
    ports : int
        Inputs, at least 1.

    Members
    -------
    i[n], o
        In and out. The payload of `o` is zero while nothing is offered. An input is ready only while it is valid and
        its turn has come.

    Timing
    ------
    No cycles added. Whoever waits is served after at most one payload of every other input.
    What is offered at `o` stays offered until it is taken, whatever else arrives.
    """

    def __init__(self, shape, *, ports):
        if ports < 1:
            raise ValueError(f"ports must be at least 1, not {ports!r}")
        self._ports = ports
        super().__init__({
            "i": In(stream.Signature(shape)).array(ports),
            "o": Out(stream.Signature(shape)),
        })

    def elaborate(self, platform):
        m = Module()
        m.submodules.turn = turn = Turn(ports=self._ports)
        m.d.comb += [
            turn.waiting.eq(Cat(source.valid for source in self.i)),
            turn.served.eq(self.o.ready),
            self.o.valid.eq(turn.waiting.any()),
            self.o.payload.eq(one_hot_select(turn.chosen, (source.payload for source in self.i))),
        ]
        for source, chosen in zip(self.i, turn.chosen, strict=True):
            m.d.comb += source.ready.eq(chosen & self.o.ready)
        return m
