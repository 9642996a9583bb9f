"""Many counters in one memory, each counting in every cycle. Ours.

::

    strobes --> pending counts, a few bits each, in flip-flops
                     |  one of them in each cycle, in turn
                     v
     memory word ----+---> total --> memory word
"""
from amaranth import *
from amaranth.lib import memory, wiring
from amaranth.lib.wiring import In, Out

from hw.lib.match import one_hot_select

__all__ = ["CounterFile"]

_PENDING_BITS = 6
_MOST_COUNTERS = (1 << _PENDING_BITS) - 1   # as many states does a pending count have, and one is reached in each cycle
_STAGES = 3                                 # cycles from a counter's turn until its new word is written
_LEAST_COUNTERS = _STAGES + 1               # it must have been by its next turn


def _after(pending):
    """The state that follows `pending`, an integer or a hardware value; zero is the first of 63.

    A shift register (x**6 + x**5 + 1, inverted) counts with one gate where an adder takes one for each bit.
    """
    feedback = (~(pending >> 5 ^ pending >> 4)) & 1
    return (pending << 1 | feedback) & ((1 << _PENDING_BITS) - 1)


def _states():
    """The states of a pending count, in order."""
    state = 0
    for _ in range(_MOST_COUNTERS):
        yield state
        state = _after(state)


class CounterFile(wiring.Component):
    """Saturating counters that lose nothing, for the price of a memory and six flip-flops each.

    Parameters
    ----------
    counters : int
        4 to 63.
    counter_bits : int
        Width of a counter, at least 1.
    used : set of int or None
        Counters that exist; the others stand at zero and cost nothing. None: all.

    Members
    -------
    strobes
        Bit n: counter n counts one. Any number of them, in every cycle.
    clear
        What happened up to and in this cycle is forgotten.
    turn
        The counter whose turn it is in this cycle. Each has its turn every `counters` cycles.
    total
        The value of the counter whose turn it was three cycles ago, with everything that happened up to and in that cycle.

    Timing
    ------
    After reset, too, everything is zero, whatever the memory holds.

    Races
    -----
    A total that shows in the cycle of `clear`, or in the three cycles behind it, may be of before.
    """

    def __init__(self, *, counters, counter_bits, used=None):
        if not _LEAST_COUNTERS <= counters <= _MOST_COUNTERS:
            raise ValueError(f"counters must be between {_LEAST_COUNTERS} and {_MOST_COUNTERS}, not {counters!r}")
        if counter_bits < 1:
            raise ValueError(f"counter_bits must be at least 1, not {counter_bits!r}")
        if used is not None and not set(used) <= set(range(counters)):
            raise ValueError(f"used must name counters below {counters}, not {sorted(set(used) - set(range(counters)))!r}")
        self._counters = counters
        self._counter_bits = counter_bits
        self._used = sorted(range(counters) if used is None else used)
        super().__init__({
            "strobes": In(counters),
            "clear": In(1),
            "turn": Out(range(counters)),
            "total": Out(counter_bits),
        })

    def elaborate(self, platform):
        m = Module()
        m.submodules.words = words = memory.Memory(
            shape=self._counter_bits, depth=self._counters, init=[], attrs={"ram_style": "block"})
        read, write = words.read_port(), words.write_port()

        # Whose turn it is, as a number and one-hot.
        chosen = Signal(self._counters, init=1)
        m.d.sync += [chosen.eq(chosen.rotate_left(1)), self.turn.eq(Mux(chosen[-1], 0, self.turn + 1))]

        # Pending counts begin anew at their turn; what happens in that very cycle goes into the total.
        counts = []
        for index in self._used:
            pending = Signal(_PENDING_BITS, name=f"pending_{index}")
            counts.append(pending)
            with m.If(self.strobes[index]):
                m.d.sync += pending.eq(_after(pending))
            with m.If(chosen[index] | self.clear):
                m.d.sync += pending.eq(0)
        mine = Cat(chosen[index] for index in self._used)

        # After a clear the words in memory are stale, until the turn of each has come.
        stale = Signal(range(self._counters + 1), init=self._counters)
        with m.If(self.clear):
            m.d.sync += stale.eq(self._counters - 1)
        with m.Elif(stale != 0):
            m.d.sync += stale.eq(stale - 1)

        # In its turn a counter is read; it is added up in the second cycle behind, and written in the third.
        state, happened, forgotten = Signal(_PENDING_BITS), Signal(), Signal()
        count = Signal(range(_MOST_COUNTERS))
        added = Signal(range(_MOST_COUNTERS + 1))
        word = Signal(self._counter_bits, reset_less=True)
        total = Signal(max(self._counter_bits, _PENDING_BITS) + 1)
        m.d.comb += read.addr.eq(self.turn)
        m.d.sync += [
            state.eq(one_hot_select(mine, counts)),
            happened.eq((mine & Cat(self.strobes[index] for index in self._used)).any()),
            forgotten.eq(self.clear | (stale != 0)),
        ]
        with m.If(self.clear):
            m.d.sync += [state.eq(0), happened.eq(0)]
        with m.Switch(state):
            for number, reached in enumerate(_states()):
                with m.Case(reached):
                    m.d.comb += count.eq(number)
        m.d.sync += [added.eq(count + happened), word.eq(read.data)]
        with m.If(forgotten):
            m.d.sync += word.eq(0)
        m.d.comb += total.eq(word + added)
        m.d.sync += self.total.eq(total)
        with m.If(total[self._counter_bits:].any()):
            m.d.sync += self.total.eq(-1)
        turn_of_total = self.turn
        for _ in range(_STAGES):
            before, turn_of_total = turn_of_total, Signal.like(self.turn)
            m.d.sync += turn_of_total.eq(before)
        m.d.comb += [write.addr.eq(turn_of_total), write.data.eq(self.total), write.en.eq(1)]
        return m
