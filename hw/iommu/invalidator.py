"""Carry out invalidations: tell everything that holds translations, and know when they are over.

::

    registers: requests[0] --> Invalidator == port (begin, payload, colour) ==> caches, queues, walkers
    queue:     requests[1] --> ^  |                                             |
               done[0..1]  <------+                                             |
                               +--- listeners_busy, translating, accessing <----+

Source: the guarantees are VT-d 4.1, 6.5.1 and 6.5.3; the colours are ours.
"""
from amaranth import *
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from hw.iommu.messages import EventPort, InvalidationPort, InvalidationStep
from hw.lib.merge import Merge
from hw.spec.events import EventKind
from hw.spec.invalidation import Invalidation

__all__ = ["Invalidator"]

_SOURCES = 2


class _Asked(data.Struct):
    """A step, and who wants it."""

    step: InvalidationStep
    source: range(_SOURCES)


class Invalidator(wiring.Component):
    """Begin invalidations one after the other; at a fence, flip the colour and wait until nothing removed is in use.

    Why completion keeps the laws. What is compared after the `begin` cycle is never shown what that invalidation
    removes (the listeners hide it). A fence flips the colour later than every `begin` before it, so that whatever was
    compared up to one of those `begin` cycles has the old colour. When no listener scans and no request of the old
    colour is still being translated, every removed entry is gone, and every fetch or walk that started from old tables
    has ended (those were marked, and have filled nothing). A request accepted after completion therefore finds no
    removed translation (L5), and the unit reads none of the old tables any more, which software may free (L4). With
    drain, the memory accesses of the old colour have been retired as well: no DMA made with a removed translation is
    outstanding (L5, L4 for data pages). This holds for context-cache invalidations too: a request that was looked up
    with the old context walks the old tables until it has been answered.

    Why the fence flips, and not each `begin`. Hiding and marking need no colour; it only tells the requests that may
    have met a removed translation from those that cannot have. The flip at the fence divides later than need be: what was
    compared between a `begin` and the fence is old too, and is waited for though it saw nothing. That costs a little
    time and breaks no law, and any number of invalidations ahead of one wait share one flip and one drain.

    Two colours suffice because a fence first waits until the colour that it flips to has been given back entirely, by
    translations and by accesses: a fence without drain leaves accesses behind. Until then invalidations behind that
    fence wait too. The old colour is handed to no lookup meanwhile, so that this wait always ends.

    Parameters
    ----------
    listeners : int
        How many blocks report that they are busy scanning.
    counter_bits : int
        Width of the in-flight counters.

    Members
    -------
    requests[source]
        Steps: an invalidation is taken in the cycle in which it begins, a fence in the cycle in which the colour flips.
        0: registers; 1: queue. They are served in turn; a fence covers what either of them has begun.
    port
        To the listeners.
    listeners_busy[n]
        See InvalidationPort.
    translating[colour], accessing[colour]
        Requests of that colour that have been looked up and have no reply yet; that are not retired yet. Whether the
        second counts from the lookup or from the reply does not matter, if nothing falls between the two.
    done[source]
        One cycle per fence of that source: everything that had begun when it was taken has completed. Accesses are waited
        for if any invalidation that began since the fence before has `drain`.
    events[0], events[1]
        INVALIDATION_BEGIN, in the cycle of `begin`; INVALIDATION_END, in the cycle of any `done`. END carries the
        invalidation that began last, zeros if none ever did.

    Timing
    ------
    A step is taken in the cycle after it is offered at the earliest, an invalidation as soon as no listener is busy with the
    one before, so that one can begin in every second cycle; a fence at once, even while the last scan still runs: drain
    and scan overlap. `colour` changes in the cycle after a fence is taken. What is compared in the cycle in which it is
    taken may reach the counters one cycle late, so they are first looked at two cycles later; `done` comes then at the
    earliest, and in the very cycle in which the last condition holds. A scan counts as over when no listener has been busy
    in that cycle or the two before: then everything has been cleared. No step is taken between a fence and its `done`, and
    the next one two cycles after `done` at the earliest.
    """

    def __init__(self, *, listeners, counter_bits=16):
        super().__init__({
            "requests": In(stream.Signature(InvalidationStep)).array(_SOURCES),
            "port": Out(InvalidationPort()),
            "listeners_busy": In(1).array(listeners),
            "translating": In(counter_bits).array(2),
            "accessing": In(counter_bits).array(2),
            "done": Out(1).array(_SOURCES),
            "events": Out(EventPort()).array(2),
        })

    def elaborate(self, platform):
        m = Module()
        m.submodules.merge = merge = Merge(_Asked, ports=_SOURCES)
        for source, request in enumerate(self.requests):
            m.d.comb += [
                merge.i[source].payload.step.eq(request.payload),
                merge.i[source].payload.source.eq(source),
                merge.i[source].valid.eq(request.valid),
                request.ready.eq(merge.i[source].ready),
            ]
        asked = merge.o.payload
        held = Signal(Invalidation)
        colour = Signal()
        drain = Signal()                   # of anything that began since the last fence
        fence_source = Signal(range(_SOURCES))
        done = Signal()
        m.d.comb += [self.port.colour.eq(colour), self.port.payload.eq(held)]

        translating = Signal(2)  # by colour: something is
        accessing = Signal(2)
        scanning = Signal()
        scanned_lately = Signal(2)   # `scanning` of the last two cycles
        m.d.sync += scanned_lately.eq(Cat(scanning, scanned_lately))
        m.d.comb += [
            translating.eq(Cat(count.any() for count in self.translating)),
            accessing.eq(Cat(count.any() for count in self.accessing)),
            scanning.eq(Cat(self.listeners_busy).any()),
        ]
        other = ~colour
        other_translating, other_accessing = translating.bit_select(other, 1), accessing.bit_select(other, 1)

        with m.FSM(name="invalidator"):
            with m.State("IDLE"):
                with m.If(merge.o.valid & asked.step.fence & ~other_translating & ~other_accessing):
                    m.next = "FLIP"
                with m.If(merge.o.valid & ~asked.step.fence & ~scanning):
                    m.d.sync += held.eq(asked.step.invalidation)
                    m.next = "BEGIN"
            with m.State("BEGIN"):
                m.d.comb += [merge.o.ready.eq(1), self.port.begin.eq(1)]
                m.d.sync += drain.eq(drain | held.drain)
                m.next = "IDLE"
            with m.State("FLIP"):
                m.d.comb += merge.o.ready.eq(1)
                m.d.sync += [fence_source.eq(asked.source), colour.eq(~colour)]
                m.next = "SETTLE"
            with m.State("SETTLE"):
                m.next = "WAIT"
            with m.State("WAIT"):  # the old colour is the other one by now
                with m.If(~scanning & ~scanned_lately.any() & ~other_translating & ~(drain & other_accessing)):
                    m.d.comb += [done.eq(1), Cat(self.done).eq(1 << fence_source)]
                    m.d.sync += drain.eq(0)
                    m.next = "IDLE"

        for event, kind, valid in zip(
                self.events, (EventKind.INVALIDATION_BEGIN, EventKind.INVALIDATION_END), (self.port.begin, done),
                strict=True):
            m.d.comb += [
                event.valid.eq(valid),
                event.payload.kind.eq(kind),
                event.payload.source_id.eq(self.port.payload.source_id),
                event.payload.domain_id.eq(self.port.payload.domain_id),
                event.payload.detail.eq(self.port.payload.as_value()),
            ]
        return m
