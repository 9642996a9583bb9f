"""What all caches have in common: a set-associative array to be searched, filled and scanned.

::

    index ---> [ tags ] [ contents ] ---> key compare, valid, not hidden ---> matched ---> used
    fill ----> [ tags ] ---> over the same line, in an empty way, or over one that is not in use
    scan ----> [ tags ] ---> clear what the invalidation covers, one set per cycle

The tags of a way are read in three places, its contents in one. No read port sees what is written in the same cycle:
the few cases in which that matters are told from the addresses (section Races of `TaggedCache`).
"""
from amaranth import *
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from hw.iommu.line_replacement import LineReplacement
from hw.iommu.messages import FillPort, InvalidationPort
from hw.iommu.valid_bits import ValidBits
from hw.lib.plain_memory import plain_memory

__all__ = ["TaggedCache"]


class TaggedCache(wiring.Component):
    """Set-associative array of lines. All of it is in memory; what has to be told apart in one cycle is in flip-flops.

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
        What begins while `busy` is high is undefined: one at a time.
    busy
        An invalidation of `kind` is being carried out.

    Timing
    ------
    One lookup per cycle, always, whatever else goes on. A fill is written in the cycle after it came: over the line
    with the same key, so that there are never two; else where LineReplacement says. `busy` is high from the cycle after
    `begin` for `sets` + 3 cycles, whatever else goes on. Power-up leaves it empty; after a reset it is `busy` for as
    long, takes no fill, and nothing matches.

    Races
    -----
    A lookup compared in the cycle of `begin` sees everything; from the next cycle on what the invalidation covers is
    hidden until the scan has cleared it. A fill up to and in the cycle of `begin` is written before the scan reads its
    set, so that the scan removes it if covered. A later fill is newer than the invalidation: a way written in the cycle
    in which the scan reads or clears it stays; where the scan comes by later and the line is covered, it is dropped.
    A way written in the cycle of a lookup's `set_index` matches nothing, whatever it held or will hold.

    Source: ours.
    """

    def __init__(self, tag, content, *, sets, ways, kind, set_of, same_key, covers, key_decides=True):
        self._tag = tag
        self._content = content
        self._sets = sets
        self._ways = ways
        self._kind = kind
        self.set_of = set_of
        self._same_key = same_key
        self._covers = covers
        self._key_decides = key_decides
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
        m.submodules.valid = valid = ValidBits(sets=self._sets, ways=self._ways)
        written = Signal(self._ways)            # ways of `filled_set` written in this cycle
        scan_set = Signal(range(self._sets))    # read in this cycle
        sweeping = Signal(reset_less=True)      # after a reset: no line counts until all sets have been cleared
        reads = (self.set_index, scan_set, self.set_of(self.fill.payload.tag))
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
        self._look_up(m, valid, written, sweeping, replacement)
        self._scan(m, scan_set, scanned_tags, valid, written, sweeping)
        self._fill(m, fill_tags, valid, written, sweeping, replacement)
        return m

    def _look_up(self, m, valid, written, sweeping, replacement):
        """Whether a way may match at all is settled in the cycle in which its memory is read."""
        usable = Signal(self._ways)
        hidden = Signal(self._ways)
        m.d.sync += [
            usable.eq(Mux(sweeping, 0, valid.valid[0] & ~Mux(self.set_index == self.filled_set, written, 0))),
            replacement.used_set.eq(self.set_index),
        ]
        m.d.comb += valid.read_set[0].eq(self.set_index)
        if self._key_decides:
            m.d.comb += hidden.eq((self.busy & self._covers(self.invalidation.payload, self.wanted)).replicate(self._ways))
        for way, tag in enumerate(self.tags):
            if not self._key_decides:
                m.d.comb += hidden[way].eq(self.busy & self._covers(self.invalidation.payload, tag))
            m.d.comb += self.matched[way].eq(usable[way] & self._same_key(tag, self.wanted) & ~hidden[way])
        m.d.comb += replacement.used.eq(Mux(self.looked_up, self.matched, 0))

    def _scan(self, m, scan_set, tags, valid, written, sweeping):
        """Every set is read in one cycle and compared in the next. `busy` outlasts the last clear by a cycle, in which
        a lookup is compared that was told before it that the line is valid.
        """
        compared_set = Signal.like(scan_set)
        beginning, reading, comparing, cleared = Signal(), Signal(), Signal(), Signal()
        newer = Signal(self._ways)
        m.d.comb += self.busy.eq(beginning | reading | comparing | cleared)
        m.d.sync += [
            beginning.eq(self.invalidation.begin & (self.invalidation.payload.kind == self._kind)),
            comparing.eq(reading),
            cleared.eq(comparing),
            compared_set.eq(scan_set),
            newer.eq(Mux(scan_set == self.filled_set, written, 0)),
        ]
        with m.If(beginning | (sweeping & ~reading & ~comparing)):
            m.d.sync += [reading.eq(1), scan_set.eq(0)]
        with m.Elif(reading):
            m.d.sync += [reading.eq(scan_set != self._sets - 1), scan_set.eq(scan_set + 1)]
        with m.If(ResetSignal(allow_reset_less=True)):
            m.d.sync += sweeping.eq(1)
        with m.Elif(comparing & (compared_set == self._sets - 1)):
            m.d.sync += sweeping.eq(0)
        m.d.comb += [
            valid.cleared_set.eq(compared_set),
            *(valid.cleared[way].eq(comparing & ~newer[way] & (sweeping | self._covers(self.invalidation.payload, tag)))
              for way, tag in enumerate(tags)),
        ]

    def _fill(self, m, tags, valid, written, sweeping, replacement):
        """The line written in the cycle before is compared too: its way was read before that."""
        same = Signal(self._ways)
        last_written = Signal(self._ways)    # in the cycle before, in the set that was read then
        last_tag = Signal.like(self.filled_tag)
        set_index = self.set_of(self.fill.payload.tag)
        m.d.sync += [
            self.filled.eq(self.fill.valid & ~sweeping),
            self.filled_tag.eq(self.fill.payload.tag),
            self.filled_content.eq(self.fill.payload.content),
            self.filled_set.eq(set_index),
            last_written.eq(Mux(set_index == self.filled_set, written, 0)),
            last_tag.eq(self.filled_tag),
        ]
        in_set = valid.valid[1]
        same_as_last = self._same_key(last_tag, self.filled_tag)
        m.d.comb += [
            replacement.filled.eq(self.filled),
            replacement.filled_set.eq(self.filled_set),
            replacement.same.eq(same),
            replacement.empty.eq(~in_set),
            written.eq(Mux(self.filled, replacement.chosen, 0)),
            valid.read_set[1].eq(self.filled_set),
            valid.filled_set.eq(self.filled_set),
            valid.filled.eq(written),
        ]
        for way, tag in enumerate(tags):
            m.d.comb += same[way].eq(
                Mux(last_written[way], same_as_last, in_set[way] & self._same_key(tag, self.filled_tag)))
            with m.If(replacement.chosen[way]):
                m.d.comb += self.filled_way.eq(way)
