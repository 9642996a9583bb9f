"""The page walker's door: requests and the host's pre-walks in turn, prefetches when there is time."""
from amaranth import *
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from hw.iommu.messages import WalkRequest
from hw.lib.merge import Merge
from hw.spec.events import PrefetchCause

__all__ = ["Arrived", "WalkArrival"]


class Arrived(data.Struct):
    """A walk that is wanted."""

    valid: 1
    lonely: 1                    # no request waits for it
    cause: PrefetchCause         # if so
    walk: WalkRequest            # its mark includes the cycle in which it is looked at


class _Wanted(data.Struct):
    """A walk for which somebody waits."""

    from_host: 1
    walk: WalkRequest


class WalkArrival(wiring.Component):
    """Chooses who is decided about next, and holds him until he is.

    Members
    -------
    requests, prewalks
        Served in turn.
    prefetches
        When nobody else is there, and `roomy`.
    roomy
        There are slots to spare.
    coming
        Who is decided about in the next cycle: the one who is taken in this cycle, or the one who stays.
    taking
        The next one may be taken in this cycle.
    arrived
        Who is decided about in this cycle.
    going
        In: he is, and goes.
    begin
        An invalidation begins: a request or a prefetch that is here, or is taken, is marked. A pre-walk is not: its
        context comes from the host, not from a cache.

    Timing
    ------
    One per cycle, decided about in the cycle after that in which it was taken.

    Source: ours.
    """

    requests: In(stream.Signature(WalkRequest)).array(2)
    prewalks: In(stream.Signature(WalkRequest))
    prefetches: In(stream.Signature(WalkRequest))
    roomy: In(1)
    coming: Out(Arrived)
    taking: Out(1)
    arrived: Out(Arrived)
    going: In(1)
    begin: In(1)

    def elaborate(self, platform):
        m = Module()
        m.submodules.merge = merge = Merge(_Wanted, ports=len(self.requests) + 1)
        for source, sink in zip((*self.requests, self.prewalks), merge.i, strict=True):
            m.d.comb += [sink.payload.walk.eq(source.payload), sink.valid.eq(source.valid), source.ready.eq(sink.ready)]
        m.d.comb += merge.i[-1].payload.from_host.eq(1)

        held = Signal(Arrived)
        wanted = merge.o.payload
        m.d.comb += [self.taking.eq(~held.valid | self.going), merge.o.ready.eq(self.taking)]
        with m.If(~self.taking):
            m.d.comb += self.coming.eq(held)
        with m.Elif(merge.o.valid):
            m.d.comb += [
                self.coming.valid.eq(1),
                self.coming.walk.eq(wanted.walk),
                self.coming.lonely.eq(wanted.from_host),
                self.coming.cause.eq(PrefetchCause.HOST),
            ]
        with m.Elif(self.prefetches.valid & self.roomy):
            m.d.comb += [
                self.prefetches.ready.eq(1),
                self.coming.valid.eq(1),
                self.coming.walk.eq(self.prefetches.payload),
                self.coming.lonely.eq(1),
                self.coming.cause.eq(PrefetchCause.STREAM),
            ]

        m.d.sync += held.eq(self.coming)
        m.d.comb += self.arrived.eq(held)
        for looked_at, here in ((held, self.coming), (self.arrived, held)):
            host = here.lonely & (here.cause == PrefetchCause.HOST)
            domain = m.d.sync if looked_at is held else m.d.comb
            with m.If(self.begin & ~host):
                domain += looked_at.walk.transaction.marked.eq(1)
        return m
