"""What the context cache and the IOTLB have in common: a set-associative array to be searched, filled and scanned.

::

    index ---> [ one memory per way ] ---> lines ---> key compare, valid, not hidden ---> matched
    fill ----> [   three readers,   ] ---> replace the same line, an empty way, or the next in turn
    scan ----> [     one writer     ] ---> clear what the invalidation covers, one set per cycle
"""
from amaranth import *
from amaranth.lib import data, memory, wiring
from amaranth.lib.wiring import In, Out

from hw.iommu.messages import FillPort, InvalidationPort
from hw.lib.match import first_one

__all__ = ["TaggedCache"]


class TaggedCache(wiring.Component):
    """Set-associative array of lines. Lines are in memory, valid bits in flip-flops.

    Parameters
    ----------
    line : type[data.Struct]
        One line, key and content.
    sets : int
        Power of two, at least 2.
    ways : int
        At least 1.
    kind : InvalidationKind
        Invalidations that concern it.
    set_of : callable(line) -> Value
        Set of a line's key.
    same_key : callable(line, line) -> Value
        True if the keys of two lines are equal.
    covers : callable(invalidation, line) -> Value
        True if an invalidation of `kind` removes a line.

    Members
    -------
    set_index
        Set to be looked up.
    wanted
        In the cycle after `set_index`: line whose key is looked for. Its content is ignored.
    lines, matched
        In the same cycle as `wanted`: lines of the set, and the way that matches and may be used, one at most.
    fill
        A line to be put in; any number in consecutive cycles.
    filled, filled_set, filled_way, filled_line
        A line is written in this cycle; lookups find it from the next one on.
    invalidation
        What begins while `busy` is high is undefined: one at a time.
    busy
        An invalidation of `kind` is being carried out.

    Timing
    ------
    One lookup per cycle, always, whatever else goes on. A fill is written in the cycle after it came: over the line
    with the same key, so that there are never two; else in an empty way; else round robin over the ways. `busy` is high
    from the cycle after `begin` for `sets` + 1 cycles, whatever else goes on.

    Races
    -----
    A lookup compared in the cycle of `begin` sees everything; from the next cycle on what the invalidation covers is
    hidden until the scan has cleared it. A fill up to and in the cycle of `begin` is written before the scan compares
    its set, so that the scan removes it if covered. A later fill is newer than the invalidation: where it takes the way
    that the scan clears in the same cycle, it stays; where the scan comes by later and the line is covered, it is
    dropped. A lookup compared in the cycle in which a fill is written sees the line that was there before.

    Source: ours.
    """

    def __init__(self, line, *, sets, ways, kind, set_of, same_key, covers):
        self._line = line
        self._sets = sets
        self._ways = ways
        self._kind = kind
        self.set_of = set_of
        self._same_key = same_key
        self._covers = covers
        super().__init__({
            "set_index": In(range(sets)),
            "wanted": In(line),
            "lines": Out(data.ArrayLayout(line, ways)),
            "matched": Out(ways),
            "fill": In(FillPort(line)),
            "filled": Out(1),
            "filled_set": Out(range(sets)),
            "filled_way": Out(range(ways)),
            "filled_line": Out(line),
            "invalidation": In(InvalidationPort()),
            "busy": Out(1),
        })

    def elaborate(self, platform):
        m = Module()
        lookup_reads, scan_reads, fill_reads, writes = [], [], [], []
        for way in range(self._ways):
            m.submodules[f"way_{way}"] = way_lines = memory.Memory(shape=self._line, depth=self._sets, init=[])
            write = way_lines.write_port()
            writes.append(write)
            for reads in (lookup_reads, scan_reads, fill_reads):
                reads.append(way_lines.read_port(transparent_for=(write,)))
        valid = [Signal(self._sets, name=f"valid_{way}") for way in range(self._ways)]

        def valid_in(set_index):
            return Cat(way_valid.bit_select(set_index, 1) for way_valid in valid)

        # Lookup.
        looked_up_set = Signal.like(self.set_index)
        looked_up_valid = Signal(self._ways)
        m.d.sync += looked_up_set.eq(self.set_index)
        m.d.comb += looked_up_valid.eq(valid_in(looked_up_set))
        for way, read in enumerate(lookup_reads):
            hidden = self.busy & self._covers(self.invalidation.payload, read.data)
            m.d.comb += [
                read.addr.eq(self.set_index),
                self.lines[way].eq(read.data),
                self.matched[way].eq(looked_up_valid[way] & self._same_key(read.data, self.wanted) & ~hidden),
            ]

        # Scan: `scan_set` is read while the set before it is compared.
        scan_set = Signal(range(self._sets))
        reading = Signal()
        comparing = Signal()
        compared_set = Signal.like(scan_set)
        m.d.comb += self.busy.eq(reading | comparing)
        m.d.sync += [comparing.eq(reading), compared_set.eq(scan_set)]
        with m.If(self.invalidation.begin & (self.invalidation.payload.kind == self._kind)):
            m.d.sync += [reading.eq(1), scan_set.eq(0)]
        with m.Elif(reading):
            m.d.sync += [reading.eq(scan_set != self._sets - 1), scan_set.eq(scan_set + 1)]
        for way, read in enumerate(scan_reads):
            m.d.comb += read.addr.eq(scan_set)
            with m.If(comparing & self._covers(self.invalidation.payload, read.data)):
                m.d.sync += valid[way].bit_select(compared_set, 1).eq(0)

        # Fill. Its valid bits are set after the scan's clears: the newer line stays.
        same = Signal(self._ways)
        empty = Signal(self._ways)
        chosen = Signal(self._ways)
        in_turn = Signal(self._ways, init=1)
        m.d.sync += [
            self.filled.eq(self.fill.valid),
            self.filled_line.eq(self.fill.payload),
            self.filled_set.eq(self.set_of(self.fill.payload)),
        ]
        m.d.comb += empty.eq(~valid_in(self.filled_set))
        with m.If(same.any()):
            m.d.comb += chosen.eq(same)
        with m.Elif(empty.any()):
            m.d.comb += chosen.eq(first_one(empty))
        with m.Else():
            m.d.comb += chosen.eq(in_turn)
            with m.If(self.filled):
                m.d.sync += in_turn.eq(in_turn.rotate_left(1))
        for way, (read, write) in enumerate(zip(fill_reads, writes, strict=True)):
            m.d.comb += [
                read.addr.eq(self.set_of(self.fill.payload)),
                same[way].eq(~empty[way] & self._same_key(read.data, self.filled_line)),
                write.addr.eq(self.filled_set),
                write.data.eq(self.filled_line),
                write.en.eq(self.filled & chosen[way]),
            ]
            with m.If(write.en):
                m.d.sync += valid[way].bit_select(self.filled_set, 1).eq(1)
            with m.If(chosen[way]):
                m.d.comb += self.filled_way.eq(way)
        return m
