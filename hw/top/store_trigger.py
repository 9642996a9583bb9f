"""Finds a moment at which a device has a walk and a hit in flight, so that a store can be placed there. Ours."""
from amaranth import *
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from hw.iommu.messages import EventPort
from hw.spec.dma import TAG_BITS
from hw.spec.events import ReplyDetail

__all__ = ["HIT_AGE_CYCLES", "WALK_AGE_CYCLES", "StoreTrigger"]

WALK_AGE_CYCLES = 32  # the shortest walk, to a 1 GiB page, is two reads
HIT_AGE_CYCLES = 4    # the access behind a hit is one read or write


class StoreTrigger(wiring.Component):
    """Watches one device's newest walk and newest hit.

    Members
    -------
    restart
        Forget what has been seen.
    source_id
        The device.
    walk_begins, walk_ends
        WALK and WALK_RESULT events.
    replies_out, retired
        REPLY and DONE events. A hit is in flight from its reply until the engine has judged it.
    met
        A walk and a hit that began since `restart` were both in flight at the end of the cycle before, and young: the
        walk had begun at most `WALK_AGE_CYCLES` before, the hit been answered at most `HIT_AGE_CYCLES` before. With a
        memory latency of at least `WALK_AGE_CYCLES` / 2 both are so still in flight some cycles later, when a store that is
        sent now reaches memory.

    Races
    -----
    A walk, or hit, that begins takes the place of the one that was watched, also in the cycle in which that one ends.
    What begins in the cycle of `restart` is forgotten.

    Source: ours.
    """

    restart: In(1)
    source_id: In(16)
    walk_begins: In(EventPort())
    walk_ends: In(EventPort())
    replies_out: In(EventPort())
    retired: In(EventPort())
    met: Out(1)

    def elaborate(self, platform):
        m = Module()
        reply = ReplyDetail(self.replies_out.payload.detail[:ReplyDetail.as_shape().size])
        walking = self._watch(m, name="walk", begins=self.walk_begins, of_interest=1, ends=self.walk_ends,
                              limit=WALK_AGE_CYCLES)
        hitting = self._watch(m, name="hit", begins=self.replies_out, of_interest=reply.hit, ends=self.retired,
                              limit=HIT_AGE_CYCLES)
        m.d.comb += self.met.eq(walking & hitting)
        return m

    def _watch(self, m, *, name, begins, of_interest, ends, limit):
        """A signal that is high while the newest of what `begins` is in flight and at most `limit` cycles old."""
        in_flight = Signal(name=f"{name}_in_flight")
        tag = Signal(TAG_BITS, name=f"{name}_tag")
        age = Signal(range(limit + 1), name=f"{name}_age")
        with m.If(age == limit):
            m.d.sync += in_flight.eq(0)
        with m.Else():
            m.d.sync += age.eq(age + 1)
        with m.If(ends.valid & (ends.payload.source_id == self.source_id) & (ends.payload.tag == tag)):
            m.d.sync += in_flight.eq(0)
        with m.If(begins.valid & (begins.payload.source_id == self.source_id) & of_interest):
            m.d.sync += [in_flight.eq(1), tag.eq(begins.payload.tag), age.eq(0)]
        with m.If(self.restart):
            m.d.sync += in_flight.eq(0)
        return in_flight
