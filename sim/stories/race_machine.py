"""The machine of W8: a device begins to read a page, and so many cycles before or after that its page, or its whole domain,
is changed and invalidated.

::

    offset < 0:   change, doorbell ........ first request (and more, or none) .... probes
    offset > 0:   first request (and more, or none) ... change, doorbell ......... probes
                                                    status in memory: from here on only the new translation

A request that stays alone leaves what its walk has put into caches as it is; a stream of them would replace it.

A placement is judged by its events alone (sim.measure.sweep_log). Afterwards everything is invalidated, so that the next one finds
every cache empty, as after a reset: a placement can be played again alone.
"""
import functools
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Protocol

import cocotb
import numpy as np
from cocotb.triggers import SimTimeoutError, Timer, with_timeout

from hw.spec.capabilities import STRAPS_DEFAULT
from hw.spec.codec import encode
from hw.spec.invalidation import Granularity
from hw.spec.monitor import QueueKnobs
from hw.spec.tables import (
    ENTRY_BYTES,
    PAGE_BITS,
    PAGE_BYTES,
    ContextEntry,
    RootEntry,
    SecondStageEntry,
    TranslationType,
    table_index,
)
from sim.bench import Bench
from sim.events import Events, no_events
from sim.measure.page_tables import PageTables, Region
from sim.measure.sweep_log import RaceOutcome, doorbells, race_outcome
from sim.player import DmaPlayer, PlayedRequest
from sim.stories.doorbell import Doorbell
from sim.transport import CosimTransport
from sim.wrapper import CLOCK_PERIOD_STEPS
from sw import descriptors as make
from sw.invalidation_queue import QueuedInvalidation
from sw.memory import PageAllocator
from sw.registers import RegisterFile

__all__ = ["FAST_QUEUE", "GAP_CYCLES", "NEIGHBOUR", "PAGE", "PLAYS", "SOURCE_ID", "Device", "Play", "PlayedDevice", "RaceMachine"]

SOURCE_ID = 0x10
PAGE, NEIGHBOUR = 0x4020_0000, 0x4020_8000   # far enough apart not to share a line, in one table of leaves
GAP_CYCLES = 5                    # between two requests
FAST_QUEUE = -1                   # as a fetch delay: descriptors are read faster than tables

_ROOT, _CONTEXT, _TABLES, _ARENA, _ARENA_BYTES = 0x10_0000, 0x10_1000, 0x100_0000, 0x20_0000, 0x10_0000
_OLD, _NEW = (1, 1 << 40), (2, 1 << 41)     # domain ID, and where its pages are
_LEVELS = 3
_LEAF_BYTES = 8
_RING_CYCLES = 3                  # from the call of `Doorbell.ring` to the unit's register
_START_CYCLES = 2                 # from the device's start to its first request at the unit
_LEAD_CYCLES = 8
_PROBE_CYCLES = 2 * GAP_CYCLES + 2
_HANG_CYCLES = 4_000

_REQUEST = PlayedRequest(SOURCE_ID, PAGE)

Ring = Callable[[], Awaitable[None]]


@dataclass(frozen=True)
class Play:
    """How a placement is played: with the page's neighbour read before (warm) or nothing; with one request or a stream."""

    warm: bool
    lone: bool


PLAYS = (Play(warm=False, lone=False), Play(warm=False, lone=True), Play(warm=True, lone=True))


class Device(Protocol):
    """Reads PAGE when it has been started: once, or again and again."""

    async def warm(self) -> None:
        """Read NEIGHBOUR once, and wait until that is over."""

    async def place(self, offset: int, ring: Ring, *, lone: bool) -> None:
        """Start, and call `ring` so that the unit sees the doorbell so many cycles after the first request."""

    async def probe(self, *, lone: bool) -> None:
        """See to it that there is a request from now on."""

    async def stop(self) -> None:
        """Stop, and wait until nothing is in flight."""


class PlayedDevice:
    """A device in the request player: every offset can be placed."""

    def __init__(self, bench: Bench) -> None:
        self._bench = bench
        self._player = DmaPlayer(bench)
        self._player.start()

    async def warm(self) -> None:
        """As Device."""
        await self._player.ask([PlayedRequest(SOURCE_ID, NEIGHBOUR)], poll_cycles=8)

    async def place(self, offset: int, ring: Ring, *, lone: bool) -> None:
        """As Device. The start is a coroutine of its own, as the host may be waiting for the doorbell's answer."""
        lead = _LEAD_CYCLES + max(0, -offset)
        starter = cocotb.start_soon(self._start(lead, lone))
        await self._bench.pause(lead + offset + _START_CYCLES - _RING_CYCLES)
        await ring()
        await starter

    async def _start(self, cycles: int, lone: bool) -> None:
        await Timer(cycles * CLOCK_PERIOD_STEPS, "step")
        if lone:
            self._player.post([_REQUEST])
        else:
            self._player.cycle([_REQUEST], gap_cycles=GAP_CYCLES)

    async def probe(self, *, lone: bool) -> None:
        """As Device."""
        if lone:
            self._player.post([_REQUEST])
        else:
            await self._bench.pause(_PROBE_CYCLES)

    async def stop(self) -> None:
        """As Device."""
        await self._player.settle(poll_cycles=8)


@dataclass
class RaceMachine:
    """A machine on which placements are played. Make it with `start`.

    Parameters
    ----------
    bench : Bench
        Whose component has a unit with a host port and its event ports.
    latency, fetch_delay : int
        Of the memory; of the queue, which fetches so much later. FAST_QUEUE: what is read after the doorbell is there in
        the next cycle, and overtakes what was asked for before; or an invalidation could not begin while a read that
        saw the old entry is on its way.
    make_device : callable
        Makes the device after each reset.
    """

    bench: Bench
    latency: int
    fetch_delay: int
    make_device: Callable[[Bench], Device]
    device: Device = field(init=False)
    doorbell: Doorbell = field(init=False)
    tables: dict[int, PageTables] = field(init=False, default_factory=dict)

    @classmethod
    async def start(cls, bench: Bench, *, latency: int, fetch_delay: int = 0,
                    make_device: Callable[[Bench], Device] = PlayedDevice) -> "RaceMachine":
        """Reset, tables, translation on."""
        machine = cls(bench, latency, fetch_delay, make_device)
        await machine.restart()
        return machine

    async def restart(self) -> None:
        """Begin anew: the first time, and after a hang."""
        bench, memory = self.bench, self.bench.memory
        memory.reset()
        memory.set_latency(self.latency)
        delay = max(0, self.fetch_delay)
        await bench.reset(straps=STRAPS_DEFAULT, chunk_delay=0, caches_off=0, prefetch_knobs=0,
                          queue_knobs=int(encode(QueueKnobs, fetch_delay=delay)))
        place = _TABLES
        for domain_id, hpa in (_OLD, _NEW):
            self.tables[domain_id] = tables = PageTables(_LEVELS - 2, place)
            for page in (PAGE, NEIGHBOUR):
                tables.map(Region(page, hpa + page, PAGE_BYTES))
            place = tables.end
            for table, content in tables.pages():
                memory.write(table, content)
        root = encode(RootEntry, present=1, context_table_pointer=_CONTEXT >> PAGE_BITS)
        memory.write(_ROOT, root.to_bytes(ENTRY_BYTES, "little"))
        self._put_context(_OLD[0])
        transport = CosimTransport(bench)
        allocator = PageAllocator(transport, base=_ARENA, size=_ARENA_BYTES)
        registers = await RegisterFile.open(transport)
        queue = QueuedInvalidation(transport, registers, allocator)
        await queue.start()
        await registers.write("RTADDR", RTA=_ROOT >> PAGE_BITS)
        await registers.command(command="SRTP", status="RTPS")
        await queue.context_global()
        await queue.iotlb_global()
        await registers.command(command="TE", status="TES")
        self.doorbell = await Doorbell.take_over(bench, registers, status_hpa=await allocator.allocate())
        self.device = self.make_device(bench)

    async def page_changes(self, offset: int, play: Play) -> RaceOutcome:
        """The page's leaf changes; it is invalidated by itself."""
        def change() -> None:
            self._put_leaf(_NEW[1])

        batch = make.iotlb(Granularity.SELECTIVE, domain_id=_OLD[0], page=PAGE >> PAGE_BITS)
        return await self._play(offset, change, (batch,), (_OLD[0], _NEW[1]), play)

    async def context_changes(self, offset: int, play: Play) -> RaceOutcome:
        """The device's context entry changes, to another domain; it and the old domain are invalidated."""
        def change() -> None:
            self._put_context(_NEW[0])

        batch = (make.context_cache(Granularity.SELECTIVE, domain_id=_OLD[0], source_id=SOURCE_ID),
                 make.iotlb(Granularity.DOMAIN_SELECTIVE, domain_id=_OLD[0]))
        return await self._play(offset, change, batch, _NEW, play)

    async def _play(self, offset: int, change: Callable[[], None], batch: tuple[int, ...], new: tuple[int, int],
                    play: Play) -> RaceOutcome:
        """One placement, from a machine with nothing cached to the same."""
        bench, doorbell, changed = self.bench, self.doorbell, 0
        if play.warm:
            await self.device.warm()
        doorbell.prepare(*batch)
        bench.drain()
        batches: list[Events] = [no_events()]   # whoever drains them
        bench.listeners[:] = [batches.append]

        async def ring() -> None:
            nonlocal changed
            change()
            changed = bench.cycle
            if self.fetch_delay == FAST_QUEUE:
                bench.memory.set_timing(latency=1, reorder=True)
            await doorbell.ring()

        await self.device.place(offset, ring, lone=play.lone)
        alive = await doorbell.answer(limit_cycles=_HANG_CYCLES)
        if alive:
            await self.device.probe(lone=play.lone)
            alive = await _within(_HANG_CYCLES, self.device.stop())
        bench.memory.set_latency(self.latency)
        bench.drain()
        events = np.concatenate(batches)
        rung = int(doorbells(events, doorbell.place)[-1])
        outcome = race_outcome(events, iova=PAGE, old=(_OLD[0], _OLD[1] + PAGE), new=(new[0], new[1] + PAGE),
                               changed=changed, doorbell=rung)
        if outcome.hang or not alive or not await self._clean_up():
            await self.restart()
            return RaceOutcome(**vars(outcome) | {"hang": True})
        return outcome

    async def _clean_up(self) -> bool:
        """Put back what was changed, and let the unit forget everything."""
        self._put_context(_OLD[0])
        self._put_leaf(_OLD[1])
        self.doorbell.prepare(make.context_cache(Granularity.GLOBAL), make.iotlb(Granularity.GLOBAL))
        await self.doorbell.ring()
        return await self.doorbell.answer(limit_cycles=_HANG_CYCLES)

    def _put_context(self, domain_id: int) -> None:
        entry = encode(ContextEntry, present=1, translation_type=TranslationType.MULTI_LEVEL, domain_id=domain_id,
                       second_stage_pointer=self.tables[domain_id].top >> PAGE_BITS, address_width=_LEVELS - 2)
        self.bench.memory.write(_CONTEXT + ENTRY_BYTES * SOURCE_ID, entry.to_bytes(ENTRY_BYTES, "little"))

    def _put_leaf(self, base: int) -> None:
        """Let PAGE in the first domain lead to the page that is as far from `base` on."""
        place = self._leaf_table + _LEAF_BYTES * table_index(PAGE, 1)
        entry = encode(SecondStageEntry, readable=1, writable=1, address=base + PAGE >> PAGE_BITS)
        self.bench.memory.write(place, entry.to_bytes(_LEAF_BYTES, "little"))

    @functools.cached_property
    def _leaf_table(self) -> int:
        """Where the table of PAGE's leaf stands in the first domain: the one with two entries."""
        table, = (hpa for hpa, content in self.tables[_OLD[0]].pages() if sum(map(bool, memoryview(content).cast("Q"))) == 2)
        return table


async def _within(cycles: int, waiting: Awaitable[None]) -> bool:
    """Whether it ends within so many cycles."""
    try:
        await with_timeout(waiting, cycles * CLOCK_PERIOD_STEPS, "step")
    except SimTimeoutError:
        return False
    return True
