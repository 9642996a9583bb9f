r"""How long the unit takes to answer, as a histogram. Ours.

::

    accepted --> begun (by tag) --+
                                  v
    answer, when it was seen --> [difference] --> CounterBank --> bin_value
                                              \-> longest
"""
from amaranth import *
from amaranth.lib import data, wiring
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out

from hw.spec.bench import HISTOGRAM_BINS, LatencyWatch
from hw.spec.dma import TAG_BITS
from hw.traffic.counters import COUNTER_BITS, CounterBank
from hw.traffic.messages import Flight, Strobe

__all__ = ["LATENCY_BITS", "LatencyHistogram"]

LATENCY_BITS = 16
_WINDOW_BITS = 2


class _Beginning(data.Struct):
    """What is remembered of a DMA: 18 bits, so that 1,024 of them fill a block of RAM."""

    cycle: LATENCY_BITS
    window: _WINDOW_BITS   # in which it counts; 0: in none


class LatencyHistogram(wiring.Component):
    """Counts DMAs by the cycles from the edge that accepts a request to the edge at which its reply is valid first.

    A DMA belongs to the window in which it was accepted; `clear` begins a new one. As three windows take turns, a DMA
    that is in flight over three of them would be counted in the wrong one. A latency of 2**LATENCY_BITS cycles or more
    counts as the remainder.

    Members
    -------
    accepted
        A request is accepted.
    reply_valid, reply_ready, answer
        The reply stream; `answer` is high if the reply that is taken was waited for. Others are not counted.
    watch
        Whose DMAs count: of those accepted from now on.
    bin, bin_value
        One bin of the histogram, a cycle after it was named.
    longest
        The longest latency that was counted since the last `clear`; 0: none. A DMA is counted, here and in its bin, two
        cycles after its answer.
    clear, cleared
        Set all to zero; hold `clear` until `cleared`. What is accepted or answered meanwhile does not count.

    Timing
    ------
    One DMA accepted and one answered per cycle, the reply at least a cycle after its request was accepted. Clearing takes
    HISTOGRAM_BINS cycles, and a few more after a burst. A reset leaves the bins alone: clear them first.
    """

    accepted: In(Strobe(data.StructLayout({"tag": TAG_BITS, "flight": Flight})))
    reply_valid: In(1)
    reply_ready: In(1)
    answer: In(Strobe(TAG_BITS))
    watch: In(LatencyWatch)
    bin: In(range(HISTOGRAM_BINS))
    bin_value: Out(COUNTER_BITS)
    longest: Out(LATENCY_BITS)
    clear: In(1)
    cleared: Out(1)

    def elaborate(self, platform):
        m = Module()
        m.submodules.begun = begun = Memory(shape=_Beginning, depth=1 << TAG_BITS, init=[])
        m.submodules.bins = bins = CounterBank(rows=HISTOGRAM_BINS)
        now = Signal(LATENCY_BITS)
        window = Signal(_WINDOW_BITS, init=1)
        m.d.sync += now.eq(now + 1)

        # A DMA begins.
        begin = begun.write_port()
        request = self.accepted.payload
        watched = ~self.watch.single | (self.watch.device == request.flight.device)
        m.d.comb += [
            begin.addr.eq(request.tag),
            begin.data.cycle.eq(now),
            begin.data.window.eq(Mux(watched, window, 0)),
            begin.en.eq(self.accepted.valid),
        ]

        # Its reply may be on offer for some cycles before it is taken: the first one counts.
        waits = Signal()
        offered = Signal(LATENCY_BITS)
        seen = Signal(LATENCY_BITS)
        m.d.comb += seen.eq(Mux(waits, offered, now))
        m.d.sync += [waits.eq(self.reply_valid & ~self.reply_ready), offered.eq(seen)]

        # What is remembered of it comes a cycle later, and is counted after another one.
        beginning = begun.read_port()
        answered = Signal()
        answered_cycle = Signal(LATENCY_BITS)
        counts = Signal()
        latency = Signal(LATENCY_BITS)
        m.d.comb += beginning.addr.eq(self.answer.payload)
        m.d.sync += [
            answered.eq(self.answer.valid),
            answered_cycle.eq(seen),
            counts.eq(answered & (beginning.data.window == window) & ~self.clear),
            latency.eq(answered_cycle - beginning.data.cycle),
        ]
        sweep = Signal(range(HISTOGRAM_BINS))
        m.d.comb += [
            bins.count.eq(counts),
            bins.row.eq(Mux(latency < HISTOGRAM_BINS, latency, HISTOGRAM_BINS - 1)),
            bins.host_row.eq(Mux(self.clear, sweep, self.bin)),
            bins.clear.eq(self.clear),
            self.bin_value.eq(bins.host_value),
            self.cleared.eq(bins.cleared & (sweep == HISTOGRAM_BINS - 1)),
        ]
        with m.If(bins.count & (latency > self.longest)):
            m.d.sync += self.longest.eq(latency)

        # All bins are cleared, one after the other; then begins the next window.
        with m.If(bins.cleared):
            m.d.sync += sweep.eq(sweep + 1)
        with m.If(self.cleared):
            m.d.sync += [self.longest.eq(0), window.eq(Mux(window.all(), 1, window + 1))]
        return m
