"""Merge several streams of one payload into one, in turn. Ours."""
from amaranth import *
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

__all__ = ["Merge"]


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
        In and out.

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
        # Choose the first waiting input after the last one chosen; keep a stalled choice.
        chosen = Signal(range(self._ports))
        last_chosen = Signal.like(chosen)
        stalled = Signal()
        m.d.comb += chosen.eq(last_chosen)
        with m.If(~stalled), m.Switch(last_chosen):
            for last in range(self._ports):
                with m.Case(last):
                    for step in reversed(range(1, self._ports + 1)):  # the nearest, last, wins
                        candidate = (last + step) % self._ports
                        with m.If(self.i[candidate].valid):
                            m.d.comb += chosen.eq(candidate)
        m.d.sync += [last_chosen.eq(chosen), stalled.eq(self.o.valid & ~self.o.ready)]

        with m.Switch(chosen):
            for index, source in enumerate(self.i):
                with m.Case(index):
                    m.d.comb += [
                        self.o.payload.eq(source.payload),
                        self.o.valid.eq(source.valid),
                        source.ready.eq(self.o.ready),
                    ]
        return m
