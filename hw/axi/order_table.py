"""Who comes before whom among the accesses under way with one ID. Ours; the rule: Arm IHI 0022, issue H, A5.3.

::

    slot 0 (ID 3) <-- slot 2 (ID 3) <-- slot 7 (ID 3)      each knows the one before it, and whether that one has
    slot 1 (ID 9) <-- slot 4 (ID 9)                         been issued, and done

No memory is indexed by ID, so an ID may be of any width.
"""
from amaranth import *
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out, Signature

from hw.axi.picker import position
from hw.lib.match import first_one

__all__ = ["OrderTable", "SlotStrobe"]


class SlotStrobe(Signature):
    """Something happens to a slot in this cycle."""

    def __init__(self, slots):
        super().__init__({"valid": Out(1), "slot": Out(range(slots))})


class OrderTable(wiring.Component):
    """Slots for accesses, and the order among those that share an ID.

    Parameters
    ----------
    slots : int
        Accesses under way at most, at least 2.
    id_bits : int

    Members
    -------
    free, free_id
        The slot that the next access gets, and that access's ID. Once offered it stays the same until it is taken.
    issued
        An access has gone out; once for each, in the order that `may_issue` allows.
    done
        An access has ended: its slot is free.
    may_issue[slot]
        Everything older of its ID has been issued, it has not.
    oldest[slot]
        Everything older of its ID is done.
    ids[slot]
        The ID of each.
    asked_id, owner, owned
        The oldest slot with that ID; there is one.
    followers[slot]
        In the cycle of `done`: it is the next younger one of the same ID. None: there is no younger one yet.

    Timing
    ------
    One access taken, one issued and one done in each cycle. `may_issue` and `oldest` follow in the next one, so accesses
    of one ID can be issued and done one per cycle. A slot can be taken again two cycles after `done`, at the earliest.

    Races
    -----
    An access that is taken in the cycle in which the one before it is issued or done counts that as past.
    """

    def __init__(self, *, slots, id_bits):
        if slots < 2:
            raise ValueError(f"slots must be at least 2, not {slots!r}")
        self._slots = slots
        super().__init__({
            "free": Out(stream.Signature(range(slots))),
            "free_id": In(id_bits),
            "issued": In(SlotStrobe(slots)),
            "done": In(SlotStrobe(slots)),
            "may_issue": Out(slots),
            "oldest": Out(slots),
            "ids": Out(data.ArrayLayout(id_bits, slots)),
            "asked_id": In(id_bits),
            "owner": Out(range(slots)),
            "owned": Out(1),
            "followers": Out(slots),
        })

    def elaborate(self, platform):
        m = Module()
        everybody = range(self._slots)
        busy, youngest, unissued = Signal(self._slots), Signal(self._slots), Signal(self._slots)
        waits_issue, waits_done = Signal(self._slots), Signal(self._slots)   # for the slot before it
        before = Signal(data.ArrayLayout(range(self._slots), self._slots))
        issued, done = (Signal(self._slots, name=name) for name in ("issued_slot", "done_slot"))
        m.d.comb += [issued.eq(self.issued.valid << self.issued.slot), done.eq(self.done.valid << self.done.slot)]

        # The next free slot, chosen one access ahead.
        taken, candidates = Signal(), Signal(self._slots)
        offered = Signal(self._slots)
        m.d.comb += [
            taken.eq(self.free.valid & self.free.ready),
            offered.eq(self.free.valid << self.free.payload),
            candidates.eq(first_one(~busy & ~offered)),
        ]
        with m.If(taken | ~self.free.valid):
            m.d.sync += [self.free.payload.eq(position(candidates)), self.free.valid.eq(candidates.any())]

        # Who is before it.
        predecessor = Signal(self._slots)
        m.d.comb += predecessor.eq(Cat(
            busy[slot] & ~done[slot] & youngest[slot] & (self.ids[slot] == self.free_id) for slot in everybody))
        for slot in everybody:
            with m.If(issued.any() & (before[slot] == self.issued.slot)):
                m.d.sync += waits_issue[slot].eq(0)
            with m.If(done.any() & (before[slot] == self.done.slot)):
                m.d.sync += waits_done[slot].eq(0)
            with m.If(issued[slot]):
                m.d.sync += unissued[slot].eq(0)
            with m.If(done[slot]):
                m.d.sync += busy[slot].eq(0)
            with m.If(taken & predecessor[slot]):
                m.d.sync += youngest[slot].eq(0)
            with m.If(taken & offered[slot]):
                m.d.sync += [
                    busy[slot].eq(1), youngest[slot].eq(1), unissued[slot].eq(1),
                    self.ids[slot].eq(self.free_id),
                    before[slot].eq(position(predecessor)),
                    waits_done[slot].eq(predecessor.any()),
                    waits_issue[slot].eq((predecessor & unissued & ~issued).any()),
                ]

        owner = Signal(self._slots)
        m.d.comb += [
            self.may_issue.eq(busy & unissued & ~waits_issue),
            self.oldest.eq(busy & ~waits_done),
            owner.eq(Cat(self.oldest[slot] & (self.ids[slot] == self.asked_id) for slot in everybody)),
            self.owner.eq(position(owner)),
            self.owned.eq(owner.any()),
            self.followers.eq(Cat(
                busy[slot] & waits_done[slot] & (before[slot] == self.done.slot) for slot in everybody)),
        ]
        return m
