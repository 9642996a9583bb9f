"""What the unit has counted, for the host. Source: ours (hw.spec.monitor).

::

    counted --> registers, off while stopped --> counter_file
                                                     ^ turn, total
    accesses --> one at a time: waits for its counter's turn --> replies
"""
from amaranth import *
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

from hw.lib.counter_file import CounterFile
from hw.spec.bench import HostReply, HostRequest
from hw.spec.invalidation import ABORT_MODE_DESCRIPTORS, DescriptorType
from hw.spec.monitor import COUNTED, COUNTER_BITS, MONITOR_COUNTERS, MonitorControl, MonitorRegister, descriptor_counter

__all__ = ["Monitor"]

_WORD_LOG2 = 3               # registers are 8 bytes apart: their numbers are those of the counter file
_TURN_TO_TOTAL = 3           # cycles, of the counter file


class Monitor(wiring.Component):
    """One counter per row of MonitorRegister; the one of descriptors once per type.

    Only reads of 8 bytes at a counter's offset, and reads and writes of CONTROL, are permitted; everything else is
    answered by `error` and zero.

    Parameters
    ----------
    counter_bits : int
        Width of a counter.

    Members
    -------
    accesses, replies
        One reply per access, in order. Addresses are relative to the window.
    counted
        One bit for each thing that is counted, high for one cycle each time it happens. Any number of them in any cycle.

    Timing
    ------
    The value of a counter is that of an instant between the access and its reply, exact to the cycle; everything that
    happened before the access is in it. A reply is offered within 50 cycles of the acceptance of its access, and in the
    next cycle if it is not of a counter. The next access is accepted when the reply has been taken. What is written to
    CONTROL is obeyed by what happens from the next cycle on.

    Races
    -----
    What happens in the cycle in which a `clear` is accepted is forgotten; in that of a `stop` it is counted.
    """

    def __init__(self, *, counter_bits=COUNTER_BITS):
        self._counter_bits = counter_bits
        super().__init__({
            "accesses": In(stream.Signature(HostRequest)),
            "replies": Out(stream.Signature(HostReply)),
            "counted": In(COUNTED),
        })

    def _happenings(self, control):
        """What is counted in this cycle, by the offset of its counter."""
        counted = self.counted
        happenings = {offset: counted[name.lower()] for offset, name in MONITOR_COUNTERS.items()
                      if name.lower() in dict(COUNTED)}
        happenings |= {descriptor_counter(kind): counted.descriptors[kind.value] for kind in ABORT_MODE_DESCRIPTORS}
        return happenings | {
            MonitorRegister.WAITS_COMPLETED: counted.descriptors[DescriptorType.WAIT.value],
            MonitorRegister.CYCLES: ~control.stop,
        }

    def elaborate(self, platform):
        m = Module()
        places = sorted(offset >> _WORD_LOG2 for offset in MONITOR_COUNTERS)
        m.submodules.counters = counters = CounterFile(
            counters=places[-1] + 1, counter_bits=self._counter_bits, used=places)
        control = Signal(MonitorControl)
        for offset, happened in self._happenings(control).items():
            strobe = Signal(name=f"strobe_{offset:03x}", reset_less=True)
            m.d.sync += strobe.eq(happened & ~control.stop)
            m.d.comb += counters.strobes[offset >> _WORD_LOG2].eq(strobe)

        access, reply = self.accesses.payload, self.replies
        place = access.address[_WORD_LOG2:]
        accepted = Signal()
        of_counter = Signal()        # a read of a counter is accepted
        of_control = Signal()
        awaited = Signal.like(counters.turn)
        waiting = Signal()
        coming = Signal(_TURN_TO_TOTAL)
        value = Signal(self._counter_bits, reset_less=True)
        shows_control = Signal()
        m.d.comb += [
            self.accesses.ready.eq(~(waiting | coming.any() | reply.valid)),
            accepted.eq(self.accesses.valid & self.accesses.ready & access.wide & (access.address[:_WORD_LOG2] == 0)),
            of_counter.eq(accepted & ~access.write & Cat(place == each for each in places).any()),
            of_control.eq(accepted & (access.address == MonitorRegister.CONTROL)),
        ]

        # What needs no counter is answered in the next cycle.
        written = MonitorControl(access.data[:MonitorControl.as_shape().size])
        m.d.comb += counters.clear.eq(control.clear)
        m.d.sync += control.clear.eq(0)
        with m.If(reply.ready):
            m.d.sync += reply.valid.eq(0)
        with m.If(self.accesses.valid & self.accesses.ready):
            m.d.sync += [
                reply.valid.eq(~of_counter),
                reply.payload.error.eq(~(of_counter | of_control)),
                shows_control.eq(of_control & ~access.write),
                value.eq(0),
                awaited.eq(place),
                waiting.eq(of_counter),
            ]
        with m.If(of_control & access.write):
            m.d.sync += control.eq(written)
        m.d.comb += reply.payload.data.eq(value | Mux(shows_control, control.as_value(), 0))

        # A counter is read when its turn comes.
        its_turn = waiting & (counters.turn == awaited)
        m.d.sync += coming.eq(Cat(its_turn, coming))
        with m.If(its_turn):
            m.d.sync += waiting.eq(0)
        with m.If(coming[-1]):
            m.d.sync += [reply.valid.eq(1), value.eq(counters.total)]
        return m
