"""Reads of walks under way: a reply is checked as it arrives, and either leads to the next read or ends its walk.

::

    start --> walks, positions (a row for each slot) --> check <-- memory_replies
      |                                                  |   |
      +--> starts --+--> memory_requests                 |   +--> words --> results, for those who wait
                    |                                    |
         steps -----+ <---------- next table ------------+--> structure_fill
"""
from amaranth import *
from amaranth.lib import data, memory, stream, wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import ceil_log2

from hw.iommu.messages import FillPort, structure_fill_layout
from hw.iommu.walk_step import (
    Permissions,
    permissions_after,
    second_stage_entries,
    second_stage_entry_address,
    second_stage_step,
    select_second_stage_entry,
)
from hw.lib.stream import Queue
from hw.spec.capabilities import Straps
from hw.spec.memory import MemoryOperation, MemoryRequest, memory_reply_layout
from hw.spec.tables import MAX_LEVEL, PAGE_BITS

__all__ = ["Position", "Walk", "WalkSteps", "result_layout"]

_HPA_BITS = data.Layout.cast(MemoryRequest)["hpa"].width


class Walk(data.Struct):
    """What a walk is of. It does not change while it is under way."""

    domain_id: 16
    iova_page: 45                # IOVA[56:12] of the first who asked
    address_width: 3             # AW of its context
    table_pointer: 40            # page number of its top table


class Position(data.Struct):
    """How far a walk has got."""

    level: range(MAX_LEVEL + 1)  # of the table that is being read, or was read last
    permissions: Permissions     # of the levels above it


def result_layout(word_bits):
    """How a walk ended: with this word of the table of `position.level`, from which everyone takes his own entry."""
    return data.StructLayout({
        "walk": Walk,
        "position": Position,
        "error": 1,              # memory refused the read
        "word": word_bits,
    })


class WalkSteps(wiring.Component):
    """The steps of up to `walk_slots` walks.

    Parameters
    ----------
    config : IommuConfig
        `walk_slots`, `memory_word_bits`.

    Members
    -------
    start, start_slot, start_walk, start_position, start_table
        A walk begins in a slot by reading the table that stands in page `start_table`.
    memory_requests, memory_replies
        Table memory; the tag is the slot. Replies are always taken, one a cycle.
    finished, finished_slot
        In this cycle a walk's last word arrives.
    select, result
        In the cycle after that in which a slot is selected: how its walk ended. It holds until the next is selected; one
        may be selected in the cycle in which it is finished.
    structure_fill
        The word of a step that led on, for the paging-structure caches: the cycle after it arrived, unless `marked`.
    filling_slot, filling_level, marked
        Of which walk and level `structure_fill` is, and whether it may not be cached.
    straps
        See Straps.

    Timing
    ------
    A read is offered in the cycle after `start`, or after the reply to the one before it: L + 1 cycles for each level.
    Reads that lead on go before those that begin.

    Source: VT-d 4.1, 3.7 (second stage); ours (organisation).
    """

    def __init__(self, config):
        self._slots = config.walk_slots
        slot = range(self._slots)
        reply = memory_reply_layout(config.memory_word_bits)
        self._result = result_layout(config.memory_word_bits)
        super().__init__({
            "start": In(1),
            "start_slot": In(slot),
            "start_walk": In(Walk),
            "start_position": In(Position),
            "start_table": In(40),
            "memory_requests": Out(stream.Signature(MemoryRequest)),
            "memory_replies": In(stream.Signature(reply)),
            "finished": Out(1),
            "finished_slot": Out(slot),
            "select": In(1),
            "select_slot": In(slot),
            "result": Out(self._result),
            "structure_fill": Out(FillPort(structure_fill_layout(config.entries_per_word))),
            "filling_slot": Out(slot),
            "filling_level": Out(range(MAX_LEVEL + 1)),
            "marked": In(1),
            "straps": In(Straps),
        })

    def elaborate(self, platform):
        m = Module()
        reading = data.StructLayout({"slot": ceil_log2(self._slots), "hpa": _HPA_BITS})
        m.submodules.walks = walks = memory.Memory(shape=Walk, depth=self._slots, init=[])
        m.submodules.starts = starts = Queue(reading, depth=self._slots)
        m.submodules.steps = steps = Queue(reading, depth=self._slots)
        walk_write = walks.write_port()
        replied_walk, selected_walk = (walks.read_port(domain="comb") for _ in range(2))
        positions = Signal(data.ArrayLayout(Position, self._slots))

        # The step: whose it is, what its entry says, whether it leads on.
        self.check = check = Signal(data.StructLayout({"descends": 1, "finishes": 1}))
        reply = self.memory_replies.payload
        slot = reply.tag[:ceil_log2(self._slots)]
        position, walk = positions[slot], replied_walk.data
        iova = Cat(Const(0, PAGE_BITS), walk.iova_page)
        entry = select_second_stage_entry(reply.data, iova=iova, level=position.level)
        leaf, reserved = second_stage_step(m, entry=entry, level=position.level, straps=self.straps)
        below = Signal(Permissions)
        m.d.comb += [
            self.memory_replies.ready.eq(1),
            replied_walk.addr.eq(slot),
            *(below[name].eq(value) for name, value in permissions_after(position.permissions, entry).items()),
            check.descends.eq(self.memory_replies.valid & ~reply.error & ~leaf & ~reserved
                              & (below.readable | below.writable)),
            check.finishes.eq(self.memory_replies.valid & ~check.descends),
            self.finished.eq(check.finishes),
            self.finished_slot.eq(slot),
        ]
        with m.If(check.descends):
            m.d.sync += [positions[slot].level.eq(position.level - 1), positions[slot].permissions.eq(below)]

        # Reads: the next table's, or that with which a walk begins.
        m.d.comb += [
            steps.i.valid.eq(check.descends),   # one place for each slot: always ready
            steps.i.payload.slot.eq(slot),
            steps.i.payload.hpa.eq(second_stage_entry_address(
                iova=iova, level=position.level - 1, table=entry.address)),
            starts.i.valid.eq(self.start),
            starts.i.payload.slot.eq(self.start_slot),
            starts.i.payload.hpa.eq(second_stage_entry_address(
                iova=Cat(Const(0, PAGE_BITS), self.start_walk.iova_page), level=self.start_position.level,
                table=self.start_table)),
            walk_write.addr.eq(self.start_slot),
            walk_write.data.eq(self.start_walk),
            walk_write.en.eq(self.start),
        ]
        with m.If(self.start):
            m.d.sync += positions[self.start_slot].eq(self.start_position)
        request = self.memory_requests
        chosen = Signal(reading)
        stalled = Signal()       # what was offered stays
        starting = Signal()
        m.d.sync += stalled.eq(request.valid & ~request.ready)
        held = Signal()
        m.d.sync += held.eq(starting)
        m.d.comb += [
            starting.eq(Mux(stalled, held, ~steps.o.valid)),
            chosen.eq(Mux(starting, starts.o.payload, steps.o.payload)),
            request.valid.eq(Mux(starting, starts.o.valid, steps.o.valid)),
            starts.o.ready.eq(starting & request.ready),
            steps.o.ready.eq(~starting & request.ready),
            request.payload.operation.eq(MemoryOperation.READ),
            request.payload.hpa.eq(chosen.hpa),
            request.payload.tag.eq(chosen.slot),
        ]

        self._keep_result(m, walks=selected_walk, positions=positions)
        self._fill(m, walk=walk, position=position)
        return m

    def _keep_result(self, m, *, walks, positions):
        """Words of finished walks, until everyone has had his answer; the selected one behind registers."""
        reply = self.memory_replies.payload
        ended = data.StructLayout({"error": 1, "word": len(reply.data)})
        m.submodules.words = words = memory.Memory(shape=ended, depth=self._slots, init=[])
        write, read = words.write_port(), words.read_port(domain="comb")
        arrives = self.finished & (self.finished_slot == self.select_slot)
        m.d.comb += [
            write.addr.eq(self.finished_slot),
            write.data.error.eq(reply.error),
            write.data.word.eq(reply.data),
            write.en.eq(self.finished),
            read.addr.eq(self.select_slot),
            walks.addr.eq(self.select_slot),
        ]
        with m.If(self.select):
            m.d.sync += [
                self.result.walk.eq(walks.data),
                self.result.position.eq(positions[self.select_slot]),
                self.result.error.eq(Mux(arrives, reply.error, read.data.error)),
                self.result.word.eq(Mux(arrives, reply.data, read.data.word)),
            ]

    def _fill(self, m, *, walk, position):
        """A step that led on, a cycle later: all entries of its word that name a table."""
        word = Signal.like(self.memory_replies.payload.data)
        from_walk, from_position = Signal(Walk), Signal(Position)
        stepped = Signal()
        m.d.sync += [
            stepped.eq(self.check.descends),
            word.eq(self.memory_replies.payload.data),
            from_walk.eq(walk),
            from_position.eq(position),
            self.filling_slot.eq(self.finished_slot),
        ]
        fill = self.structure_fill.payload
        m.d.comb += [
            self.filling_level.eq(from_position.level),
            self.structure_fill.valid.eq(stepped & ~self.marked),
            fill.domain_id.eq(from_walk.domain_id),
            fill.iova_page.eq(from_walk.iova_page),
            fill.level.eq(from_position.level),
            fill.table_pointer.eq(from_walk.table_pointer),
        ]
        for cached, entry in zip(fill.entries, second_stage_entries(word), strict=True):
            leaf, reserved = second_stage_step(m, entry=entry, level=from_position.level, straps=self.straps)
            below = permissions_after(from_position.permissions, entry)
            m.d.comb += [
                cached.valid.eq((below["readable"] | below["writable"]) & ~leaf & ~reserved),
                cached.readable.eq(below["readable"]),
                cached.writable.eq(below["writable"]),
                cached.page.eq(entry.address),
            ]
