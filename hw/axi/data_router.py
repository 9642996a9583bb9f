"""Sends write data where its address went, or nowhere. Ours."""
from amaranth import *
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out, flipped

from hw.axi.bus import write_layout
from hw.axi.order_table import SlotStrobe
from hw.lib.stream import Queue, connect_stream
from hw.spec.axi import MAX_BURST_BEATS

__all__ = ["DataRouter", "route_layout"]

_ROUTES = 4   # known ahead of their data


def route_layout(slots):
    """Where the next beats go: `len` + 1 of them, of the piece in `slot`, to memory or nowhere."""
    return data.StructLayout({"slot": range(slots), "len": range(MAX_BURST_BEATS), "swallow": 1})


class DataRouter(wiring.Component):
    """Routes in, in the order of the data; beats in, beats out with WLAST at the end of each piece.

    Parameters
    ----------
    data_bits, slots : int

    Members
    -------
    route
        What to do with the next beats.
    data, memory_data
        In and out.
    swallowed
        The last beat of a piece that goes nowhere is taken in this cycle.

    Timing
    ------
    One beat per cycle, no cycle between two pieces. From a route to its first beat: one cycle.
    """

    def __init__(self, *, data_bits, slots):
        self._route = route_layout(slots)
        beats = stream.Signature(write_layout(data_bits=data_bits))
        super().__init__({
            "route": In(stream.Signature(self._route)),
            "data": In(beats),
            "memory_data": Out(beats),
            "swallowed": Out(SlotStrobe(slots)),
        })

    def elaborate(self, platform):
        m = Module()
        m.submodules.routes = routes = Queue(self._route, depth=_ROUTES)
        route, sent = routes.o.payload, Signal(range(MAX_BURST_BEATS))
        taken, last = Signal(), Signal()

        connect_stream(m, src=flipped(self).route, dst=routes.i)
        m.d.comb += [
            last.eq(sent == route.len),
            taken.eq(self.data.valid & self.data.ready),
            self.memory_data.payload.eq(self.data.payload),
            self.memory_data.payload.last.eq(last),
            self.memory_data.valid.eq(self.data.valid & routes.o.valid & ~route.swallow),
            self.data.ready.eq(routes.o.valid & (self.memory_data.ready | route.swallow)),
            routes.o.ready.eq(taken & last),
            self.swallowed.valid.eq(taken & last & route.swallow), self.swallowed.slot.eq(route.slot),
        ]
        with m.If(taken):
            m.d.sync += sent.eq(Mux(last, 0, sent + 1))
        return m
