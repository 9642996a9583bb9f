"""Which walk is for whom: the keys of all walks under way, compared with who arrives and with what is invalidated."""
from amaranth import *
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import ceil_log2

from hw.iommu.coverage import covers_context, covers_region
from hw.iommu.messages import InvalidationPort
from hw.spec.tables import LEVEL_BITS

__all__ = ["WalkKey", "WalkKeys", "WalkMarks"]


class WalkKey(data.Struct):
    """What a walk is for."""

    source_id: 16                # whose context it began with
    domain_id: 16
    iova_page: 45


class WalkMarks(data.Struct):
    """An invalidation began that covers something around the walk's page: how near it is.

    Whatever sets one sets those below it too. A walk does not know the size of its page before its end, and what it
    caches on its way are lines of several entries.
    """

    near: 1                      # within its 2 MiB: no line of 4 KiB translations
    region: 1                    # within its 1 GiB: no line of 2 MiB translations or level-2 entries, nobody joins
    domain: 1                    # anything of its domain, or its context: nothing else is cached either


class WalkKeys(wiring.Component):
    """Keys and marks of the walks in flight.

    Parameters
    ----------
    slots : int
        Walks in flight, at most.
    entries : int
        Entries of a memory word: a line is so many pages.

    Members
    -------
    arriving
        Whose walk might be under way.
    matching
        In the next cycle, and while `hold` is high: slots whose walk is for the same domain and line, busy or not; a
        slot that is taken in the cycle of the compare is compared with its new key.
    hold
        `matching` stays as it is; meanwhile no slot may be taken.
    take, slot, key, marked
        In this cycle a walk begins in `slot`, for `key`; `marked`: it may cache nothing from the start.
    mark, mark_slot
        In this cycle that slot's walk is marked in every way.
    joinable
        Slots whose walk may take another waiter, as far as marks go.
    marks[slot]
        As they stand in this cycle.
    invalidation
        See InvalidationPort.

    Races
    -----
    A walk that begins in a cycle with `begin` is marked, covered or not: what it began with may be older.

    Source: ours.
    """

    def __init__(self, *, slots, entries):
        self._slots = slots
        self._line_bits = ceil_log2(entries)
        super().__init__({
            "arriving": In(WalkKey),
            "matching": Out(slots),
            "hold": In(1),
            "take": In(1),
            "slot": In(range(slots)),
            "key": In(WalkKey),
            "marked": In(1),
            "mark": In(1),
            "mark_slot": In(range(slots)),
            "joinable": Out(slots),
            "marks": Out(data.ArrayLayout(WalkMarks, slots)),
            "invalidation": In(InvalidationPort()),
        })

    def _same_line(self, left, right):
        return ((left.domain_id == right.domain_id)
                & (left.iova_page[self._line_bits:] == right.iova_page[self._line_bits:]))

    def elaborate(self, platform):
        m = Module()
        keys = Signal(data.ArrayLayout(WalkKey, self._slots))
        invalidation = self.invalidation.payload
        with m.If(self.take):
            m.d.sync += keys[self.slot].eq(self.key)
        taken_matches = self._same_line(self.arriving, self.key)

        for slot in range(self._slots):
            key, marks = keys[slot], self.marks[slot]
            takes = self.take & (self.slot == slot)
            with m.If(~self.hold):
                m.d.sync += self.matching[slot].eq(Mux(takes, taken_matches, self._same_line(self.arriving, key)))
            m.d.comb += self.joinable[slot].eq(~marks.region)

            # An invalidation marks what it covers; the beginning of a walk has the last word on its slot.
            def covered(key, region_bits):
                return covers_region(
                    invalidation, domain_id=key.domain_id, iova_page=key.iova_page, region_bits=region_bits)

            begin = self.invalidation.begin
            context = covers_context(invalidation, source_id=key.source_id, domain_id=key.domain_id)
            with m.If((begin & context) | (self.mark & (self.mark_slot == slot))):
                m.d.sync += marks.eq(-1)
            with m.If(begin & covered(key, len(key.iova_page))):
                m.d.sync += marks.domain.eq(1)
            with m.If(begin & covered(key, 2 * LEVEL_BITS)):
                m.d.sync += marks.region.eq(1)
            with m.If(begin & covered(key, LEVEL_BITS)):
                m.d.sync += marks.near.eq(1)
            with m.If(takes):
                m.d.sync += marks.eq((self.marked | begin).replicate(len(Value.cast(marks))))
        return m
