"""Carry out invalidations, one at a time: tell everything that holds translations, and know when it is over.

::

    requests --> Invalidator == port (begin, payload, colour) ==> caches, queues, walkers
                 ^  |                                             |
                 |  +--> done                                     |
                 +--- listeners_busy, translating, accessing <----+

Source: the guarantees are VT-d 4.1, 6.5.1 and 6.5.3; the colours are ours.
"""
from amaranth import *
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

from hw.iommu.messages import EventPort, InvalidationPort
from hw.spec.events import EventKind
from hw.spec.invalidation import Invalidation

__all__ = ["Invalidator"]


class Invalidator(wiring.Component):
    """Begin an invalidation, flip the colour, and wait until nothing that it removed is in use.

    Why completion keeps the laws. What was compared up to the `begin` cycle has the old colour; what is compared later
    takes the new colour and is never shown what is being removed (the listeners hide it). So when no listener scans and
    no request of the old colour is still being translated, every removed entry is gone, and every fetch or walk that
    started from old tables has ended (those were marked, and have filled nothing). A request accepted after completion
    therefore finds no removed translation (L5), and the unit reads none of the old tables any more, which software
    may free (L4). With drain, the memory accesses of the old colour have been retired as well: no DMA made with
    a removed translation is outstanding (L5, L4 for data pages). This holds for context-cache invalidations too: a
    request that was looked up with the old context walks the old tables until it has been answered.

    Parameters
    ----------
    listeners : int
        How many blocks report that they are busy scanning.
    counter_bits : int
        Width of the in-flight counters.

    Members
    -------
    requests
        Invalidations; taken in the cycle in which they begin.
    port
        To the listeners.
    listeners_busy[n]
        High from the cycle after `begin` until that listener's scan has ended.
    translating[colour], accessing[colour]
        Requests of that colour that have been looked up and have no reply yet; that are not retired yet. Whether the
        second counts from the lookup or from the reply does not matter, if nothing falls between the two.
    done
        One cycle per request: completed.
    events[0], events[1]
        INVALIDATION_BEGIN, in the cycle of `begin`; INVALIDATION_END, in the cycle of `done`.

    Timing
    ------
    A request begins in the cycle after it is offered at the earliest. Before that, the colour that lookups are about
    to take has been given back by everything: without drain, the accesses that the previous invalidation left behind
    are waited for here. `colour` flips in the cycle after `begin`. What is compared in the `begin` cycle may reach the
    counters one cycle late, so they are first looked at two cycles after `begin`; `done` comes then at the earliest,
    and in the very cycle in which the last condition holds. The next request begins two cycles after `done` at
    the earliest.
    """

    def __init__(self, *, listeners, counter_bits=16):
        super().__init__({
            "requests": In(stream.Signature(Invalidation)),
            "port": Out(InvalidationPort()),
            "listeners_busy": In(1).array(listeners),
            "translating": In(counter_bits).array(2),
            "accessing": In(counter_bits).array(2),
            "done": Out(1),
            "events": Out(EventPort()).array(2),
        })

    def elaborate(self, platform):
        m = Module()
        held = Signal(Invalidation)
        colour = Signal()
        m.d.comb += [self.port.colour.eq(colour), self.port.payload.eq(held)]

        translating = Signal(2)  # by colour: something is
        accessing = Signal(2)
        scanning = Signal()
        m.d.comb += [
            translating.eq(Cat(count.any() for count in self.translating)),
            accessing.eq(Cat(count.any() for count in self.accessing)),
            scanning.eq(Cat(self.listeners_busy).any()),
        ]
        other = ~colour
        other_translating, other_accessing = translating.bit_select(other, 1), accessing.bit_select(other, 1)

        with m.FSM(name="invalidator"):
            with m.State("IDLE"):
                with m.If(self.requests.valid & ~other_translating & ~other_accessing):
                    m.next = "BEGIN"
            with m.State("BEGIN"):
                m.d.comb += [
                    self.requests.ready.eq(1),
                    self.port.begin.eq(1),
                    self.port.payload.eq(self.requests.payload),
                ]
                m.d.sync += [held.eq(self.requests.payload), colour.eq(~colour)]
                m.next = "SETTLE"
            with m.State("SETTLE"):
                m.next = "WAIT"
            with m.State("WAIT"):  # the old colour is the other one by now
                with m.If(~scanning & ~other_translating & ~(held.drain & other_accessing)):
                    m.d.comb += self.done.eq(1)
                    m.next = "IDLE"

        for event, kind, valid in zip(
                self.events, (EventKind.INVALIDATION_BEGIN, EventKind.INVALIDATION_END), (self.port.begin, self.done),
                strict=True):
            m.d.comb += [
                event.valid.eq(valid),
                event.payload.kind.eq(kind),
                event.payload.source_id.eq(self.port.payload.source_id),
                event.payload.domain_id.eq(self.port.payload.domain_id),
                event.payload.detail.eq(self.port.payload.as_value()),
            ]
        return m
