"""What all caches have in common: a set-associative array to be searched, filled and scanned.

::

    index ---> [ tags ] [ contents ] ---> key compare, valid, not hidden ---> matched ---> used
    fill ----> [ tags ] ---> over the same line, in an empty way, or over one that is not in use
    scan ----> [ tags ] ---> clear what the invalidation covers, one set per cycle, in the sets that can hold any

The tags of a way are read in three places, its contents in one. No read port sees what is written in the same cycle:
the few cases in which that matters are told from the addresses (section Races of `TaggedCache`).
"""
from amaranth import *
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from hw.iommu.line_replacement import LineReplacement
from hw.iommu.messages import FillPort, InvalidationPort
from hw.lib.plain_memory import plain_memory
from hw.spec.invalidation import Invalidation

__all__ = ["TaggedCache"]


class _Scan:
    """What the parts of a cache know of its scan."""

    def __init__(self, sets, ways):
        self.invalidation = Signal(Invalidation)      # from the cycle after `begin` on
        self.read_set = Signal(range(sets))           # read in this cycle
        self.compared_set = Signal(range(sets))       # read in the cycle before
        self.clearing = Signal(ways)                  # ways of `compared_set` that are not valid from the next cycle on
        self.hiding = Signal()                        # what `invalidation` covers may still be valid


class TaggedCache(wiring.Component):
    """Set-associative array of lines. Tags and contents are in memory, valid bits in flip-flops.

    Parameters
    ----------
    tag, content : ShapeCastable
        What a line is found and invalidated by, and what is found.
    sets : int
        Power of two, at least 2.
    ways : int
        At least 1.
    kind : InvalidationKind
        Invalidations that concern it.
    set_of : callable(tag) -> Value
        Set of a tag's key.
    same_key : callable(tag, tag) -> Value
        True if the keys of two tags are equal.
    covers : callable(invalidation, tag) -> Value
        True if an invalidation of `kind` removes the line with this tag.
    key_decides : bool
        `covers` looks at nothing of the tag but its key, so that one comparison with the key looked for does for all
        ways.
    sets_of : callable(invalidation) -> (Value, Value), optional
        Sets that can hold what an invalidation of `kind` covers: one of them, and the bits in which the others differ
        from it, the lowest so many. Without it every set can.

    Members
    -------
    set_index
        Set to be looked up.
    wanted
        In the cycle after `set_index`: tag whose key is looked for. What is not key is ignored.
    looked_up
        In the same cycle as `wanted`: this is a lookup, and what it finds is in use.
    tags, contents, matched
        In the same cycle as `wanted`: lines of the set, and the way that matches and may be used, one at most.
    fill
        A line to be put in: `tag` and `content`; any number in consecutive cycles.
    filled, filled_set, filled_way, filled_tag, filled_content
        A line is written in this cycle, that after its fill; a lookup whose `set_index` comes later finds it.
    invalidation
        What begins in a cycle after one in which `busy` is high is undefined.
    busy
        An invalidation of `kind` is being carried out, and none may begin in the next cycle.

    Timing
    ------
    One lookup per cycle, always, whatever else goes on. A fill is written in the cycle after it came: over the line
    with the same key, so that there are never two; else where LineReplacement says. A scan of n sets reads them in the
    n cycles after `begin`, and clears the last one in the cycle after that, in which the next invalidation may begin.
    `busy` is high in the first n - 1 of these, whatever else goes on: never, if there is one set. The payload may change
    with the next `begin`.

    Races
    -----
    A lookup compared in the cycle of `begin` sees everything; from the next cycle on what the invalidation covers is
    hidden until the scan has cleared it. A fill up to and in the cycle of `begin` is removed if covered. A later fill is
    newer than the invalidation: a way written in the cycle in which the scan reads or clears it stays; where the scan
    comes by later and the line is covered, it is dropped.
    A way written in the cycle of a lookup's `set_index` matches nothing, whatever it held or will hold.

    Source: ours.
    """

    def __init__(self, tag, content, *, sets, ways, kind, set_of, same_key, covers, key_decides=True,
                 sets_of=None):
        self._tag = tag
        self._content = content
        self._sets = sets
        self._ways = ways
        self._kind = kind
        self.set_of = set_of
        self._same_key = same_key
        self._covers = covers
        self._key_decides = key_decides
        self._sets_of = sets_of or (lambda invalidation: (Const(0), Const(sets - 1)))
        super().__init__({
            "set_index": In(range(sets)),
            "wanted": In(tag),
            "looked_up": In(1),
            "tags": Out(data.ArrayLayout(tag, ways)),
            "contents": Out(data.ArrayLayout(content, ways)),
            "matched": Out(ways),
            "fill": In(FillPort(data.StructLayout({"tag": tag, "content": content}))),
            "filled": Out(1),
            "filled_set": Out(range(sets)),
            "filled_way": Out(range(ways)),
            "filled_tag": Out(tag),
            "filled_content": Out(content),
            "invalidation": In(InvalidationPort()),
            "busy": Out(1),
        })

    def elaborate(self, platform):
        m = Module()
        m.submodules.replacement = replacement = LineReplacement(sets=self._sets, ways=self._ways)
        valid = [Signal(self._sets, name=f"valid_{way}") for way in range(self._ways)]
        written = Signal(self._ways)            # ways of `filled_set` written in this cycle
        scan = _Scan(self._sets, self._ways)
        reads = (self.set_index, scan.read_set, self.set_of(self.fill.payload.tag))
        scanned_tags, fill_tags = [], []
        for way in range(self._ways):
            place = {"depth": self._sets, "enable": written[way], "address": self.filled_set}
            found_tag, scanned_tag, fill_tag = plain_memory(
                m, f"tags_{way}", self._tag, **place, data=self.filled_tag, reads=reads)
            content, = plain_memory(
                m, f"contents_{way}", self._content, **place, data=self.filled_content, reads=[self.set_index])
            m.d.comb += [self.tags[way].eq(found_tag), self.contents[way].eq(content)]
            scanned_tags.append(scanned_tag)
            fill_tags.append(fill_tag)
        last_tag = Signal.like(self.filled_tag)  # of the fill that was written in the cycle before
        m.d.sync += last_tag.eq(self.filled_tag)
        self._look_up(m, valid, written, scan, replacement)
        self._scan(m, scan, scanned_tags, last_tag, valid, written)
        # Sets what the scan clears: the newer line stays.
        self._fill(m, fill_tags, last_tag, valid, written, replacement)
        return m

    @staticmethod
    def _valid_in(valid, set_index):
        return Cat(way_valid.bit_select(set_index, 1) for way_valid in valid)

    def _look_up(self, m, valid, written, scan, replacement):
        """Whether a way may match at all is settled in the cycle in which its memory is read."""
        usable = Signal(self._ways)
        hidden = Signal(self._ways)
        changing = (Mux(self.set_index == self.filled_set, written, 0)
                    | Mux(self.set_index == scan.compared_set, scan.clearing, 0))
        m.d.sync += [
            usable.eq(self._valid_in(valid, self.set_index) & ~changing),
            replacement.used_set.eq(self.set_index),
        ]
        if self._key_decides:
            m.d.comb += hidden.eq((scan.hiding & self._covers(scan.invalidation, self.wanted)).replicate(self._ways))
        for way, tag in enumerate(self.tags):
            if not self._key_decides:
                m.d.comb += hidden[way].eq(scan.hiding & self._covers(scan.invalidation, tag))
            m.d.comb += self.matched[way].eq(usable[way] & self._same_key(tag, self.wanted) & ~hidden[way])
        m.d.comb += replacement.used.eq(Mux(self.looked_up, self.matched, 0))

    def _scan(self, m, scan, tags, last_tag, valid, written):
        """Every set is read in one cycle and compared in the next.

        What came in the cycle of `begin` is written while the first set is read, which then does not show it: it is
        compared by the register that it was written from.
        """
        beginning, continuing, comparing = Signal(), Signal(), Signal()
        following_set = Signal.like(scan.read_set)
        first_compared = Signal()
        newer = Signal(self._ways)       # than what was read
        one_set, differing = self._sets_of(scan.invalidation)
        differing = Value.cast(differing)[:len(scan.read_set)]
        reading = beginning | continuing
        last = (scan.read_set | ~differing).all()
        m.d.comb += [
            scan.read_set.eq(Mux(beginning, one_set & ~differing, following_set)),
            scan.hiding.eq(reading | comparing),
            self.busy.eq(reading & ~last),
        ]
        m.d.sync += [
            scan.invalidation.eq(self.invalidation.payload),
            beginning.eq(self.invalidation.begin & (self.invalidation.payload.kind == self._kind)),
            continuing.eq(reading & ~last),
            following_set.eq(scan.read_set + 1),
            comparing.eq(reading),
            first_compared.eq(beginning),
            scan.compared_set.eq(scan.read_set),
            newer.eq(Mux(scan.read_set == self.filled_set, written, 0)),
        ]
        last_covered = first_compared & self._covers(scan.invalidation, last_tag)
        for way, tag in enumerate(tags):
            covered = Mux(newer[way], last_covered, self._covers(scan.invalidation, tag))
            m.d.comb += scan.clearing[way].eq(comparing & covered)
            with m.If(scan.clearing[way]):
                m.d.sync += valid[way].bit_select(scan.compared_set, 1).eq(0)

    def _fill(self, m, tags, last_tag, valid, written, replacement):
        """The line written in the cycle before is compared too: its way was read before that."""
        same = Signal(self._ways)
        last_written = Signal(self._ways)    # in the cycle before, in the set that was read then
        set_index = self.set_of(self.fill.payload.tag)
        m.d.sync += [
            self.filled.eq(self.fill.valid),
            self.filled_tag.eq(self.fill.payload.tag),
            self.filled_content.eq(self.fill.payload.content),
            self.filled_set.eq(set_index),
            last_written.eq(Mux(set_index == self.filled_set, written, 0)),
        ]
        in_set = self._valid_in(valid, self.filled_set)
        same_as_last = self._same_key(last_tag, self.filled_tag)
        m.d.comb += [
            replacement.filled.eq(self.filled),
            replacement.filled_set.eq(self.filled_set),
            replacement.same.eq(same),
            replacement.empty.eq(~in_set),
            written.eq(Mux(self.filled, replacement.chosen, 0)),
        ]
        for way, tag in enumerate(tags):
            m.d.comb += same[way].eq(
                Mux(last_written[way], same_as_last, in_set[way] & self._same_key(tag, self.filled_tag)))
            with m.If(replacement.chosen[way]):
                m.d.comb += self.filled_way.eq(way)
            with m.If(written[way]):
                m.d.sync += valid[way].bit_select(self.filled_set, 1).eq(1)
