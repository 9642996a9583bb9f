"""The machine that is measured: tables, devices and traffic, and windows of time in which things are counted.

DMAs and their latencies are counted by the traffic engine, reads by the memory, both outside the unit; misses by the unit's
own counters. Python sleeps in between, so the machine runs as fast as the simulator can.
"""
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from hw.iommu.messages import CachesOff
from hw.spec.bench import Counter, Pattern
from hw.spec.capabilities import STRAPS_DEFAULT
from hw.spec.codec import encode
from hw.spec.monitor import MonitorRegister
from hw.spec.tables import (
    ENTRY_BYTES,
    PAGE_BITS,
    PAGE_BYTES,
    ContextEntry,
    RootEntry,
    TranslationType,
)
from sim.bench import Bench
from sim.measure.page_tables import PageTables, Region
from sim.transport import CosimTransport
from sw.intervals import Permission
from sw.invalidation_queue import QueuedInvalidation
from sw.memory import PageAllocator
from sw.performance import PerformanceCounters
from sw.registers import RegisterFile
from sw.traffic import TrafficEngine, TrafficPage

__all__ = ["ALL", "ARENA_BASE", "DATA_BASE", "BenchDevice", "BenchDomain", "BenchMachine", "Span", "Window", "iotlb_off"]

ROOT_TABLE = 0x10_0000
CONTEXT_TABLE = 0x10_1000         # of bus 0: every device is there
TABLES_BASE = 0x100_0000
ARENA_BASE, ARENA_BYTES = 0x20_0000, 0x10_0000   # the queue, and what a workload needs
DATA_BASE = 1 << 40               # pages that DMA lands in; nothing else is at and above it
DATA_END = 1 << 52
TABLE_PORT = 0                    # BenchTop's first memory port

ALL = -1                          # devices, to be watched
_ALL_TAGS = 1024


@dataclass(frozen=True)
class Span:
    """Pages in a row that a device visits: 2**log2 of 4 KiB, whatever the size of the pages that map them."""

    iova: int
    hpa: int
    log2: int = 0
    permission: Permission = Permission.READ_WRITE


@dataclass(frozen=True)
class BenchDomain:
    """A domain and what it maps."""

    domain_id: int
    regions: tuple[Region, ...]
    levels: int = 4


@dataclass(frozen=True)
class BenchDevice:
    """A device on bus 0, its domain, and what it does."""

    source_id: int
    domain_id: int
    spans: tuple[Span, ...]
    pattern: Pattern = Pattern.RANDOM
    writes: int = 8
    burst_log2: int = 0
    outstanding_limit: int | None = None
    enabled: bool = True


@dataclass
class Window:
    """What was counted in so many cycles.

    Members
    -------
    cycles, requests, reads
        Time, DMAs done, reads of table memory.
    histogram, misses
        DMAs by latency, and the share of requests that the IOTLB could not answer, if somebody was watched. The share is that
        of all devices.
    """

    cycles: int
    requests: int
    reads: int
    histogram: list[int] = field(default_factory=list)
    misses: float = 0.0

    def as_observed(self) -> dict[str, Any]:
        """For JSON."""
        return {"cycles": self.cycles, "requests": self.requests, "reads": self.reads, "histogram": self.histogram,
                "misses": self.misses}


class BenchMachine:
    """One machine with translation on, its traffic prepared and standing. Make it with `start`.

    Members
    -------
    bench, transport, engine, registers, queue, counters
        The simulated machine, and the driver's ways to its parts.
    allocator
        Of memory that no table uses.
    latency
        Of the memory.
    domains, devices
        As declared, with the place of each domain's top table in `tops`.
    """

    def __init__(self, bench: Bench, domains: Sequence[BenchDomain], devices: Sequence[BenchDevice],
                 latency: int) -> None:
        self.bench = bench
        self.latency = latency
        self.domains = {domain.domain_id: domain for domain in domains}
        self.devices = tuple(devices)
        self.tops: dict[int, int] = {}
        self.transport = CosimTransport(bench)
        self.engine = TrafficEngine(self.transport)
        self.counters = PerformanceCounters(self.transport)
        self.allocator = PageAllocator(self.transport, base=ARENA_BASE, size=ARENA_BYTES)
        self.registers: RegisterFile
        self.queue: QueuedInvalidation

    @classmethod
    async def start(cls, bench: Bench, domains: Sequence[BenchDomain], devices: Sequence[BenchDevice], *, latency: int,
                    seed: int = 1, caches_off: int = 0) -> "BenchMachine":
        """Reset, build the tables, turn translation on, prepare the traffic."""
        machine = cls(bench, domains, devices, latency)
        bench.memory.reset()
        bench.memory.set_latency(latency)
        bench.memory.set_signed_pages(range(DATA_BASE >> PAGE_BITS, DATA_END >> PAGE_BITS))
        await bench.reset(straps=STRAPS_DEFAULT, chunk_delay=0, queue_knobs=0, caches_off=caches_off)
        machine._write_tables()
        await machine._enable()
        await machine.engine.set_seed(seed)
        first = 0
        for index, device in enumerate(machine.devices):
            await machine.engine.write_pages(first, [
                TrafficPage(span.iova, span.hpa, span.hpa, span.permission, span.log2) for span in device.spans])
            await machine.configure(index)
            await machine.engine.expect(index, old_domain_id=device.domain_id, new_domain_id=device.domain_id)
            await machine.engine.clear_counters(index)
            first += len(device.spans)
        return machine

    async def configure(self, index: int, *, first_span: int = 0, span_count: int | None = None,
                        enabled: bool | None = None) -> None:
        """Write a device's row: it begins anew, on some of its spans. `enabled` in place of what was declared."""
        device = self.devices[index]
        own = sum(len(each.spans) for each in self.devices[:index])
        await self.engine.configure_device(
            index, source_id=device.source_id, first_page=own + first_span,
            page_count=len(device.spans) - first_span if span_count is None else span_count, pattern=device.pattern,
            writes=device.writes, burst_log2=device.burst_log2, outstanding_limit=device.outstanding_limit,
            enabled=device.enabled if enabled is None else enabled)

    def context_entry(self, domain_id: int) -> int:
        """The context entry of a device in that domain."""
        return int(encode(ContextEntry, present=1, translation_type=TranslationType.MULTI_LEVEL,
                          second_stage_pointer=self.tops[domain_id] >> PAGE_BITS,
                          address_width=self.domains[domain_id].levels - 2, domain_id=domain_id))

    @staticmethod
    def entry_hpa(source_id: int) -> int:
        """Where a device's context entry stands."""
        return CONTEXT_TABLE + ENTRY_BYTES * source_id

    @property
    def reads(self) -> int:
        """Reads of table memory since the reset, and the few writes there."""
        return self.bench.memory.accepted(TABLE_PORT)

    # --- time ---

    async def run(self, cycles: int, *, outstanding_limit: int = _ALL_TAGS, gap_cycles: int = 0) -> None:
        """Let the devices go, for so long; they go on."""
        await self.engine.run(outstanding_limit=outstanding_limit, gap_cycles=gap_cycles)
        await self.bench.pause(cycles)

    async def stop(self) -> None:
        """Stop the devices, and wait until nothing is in flight."""
        await self.engine.stop()
        await self.engine.wait_idle(cycles=1_000_000)

    async def window(self, cycles: int, *, watch: int | None = None) -> Window:
        """Count for about so many cycles; traffic is running, and goes on.

        `watch`: the latencies of the device in that row, or of ALL; None: of nobody.
        """
        if watch is not None:
            await self.engine.watch_latency(None if watch == ALL else watch)
            await self.counters.clear()
        total, reads, begin = await self.engine.total(), self.reads, self.bench.cycle
        await self.bench.pause(cycles)
        done, read, end = await self.engine.total(), self.reads, self.bench.cycle
        if watch is None:
            return Window(end - begin, done - total, read - reads)
        counts = await self.counters.read()
        misses = counts[MonitorRegister.WALK_REQUESTS] / max(counts[MonitorRegister.REQUESTS], 1)
        return Window(end - begin, done - total, read - reads, await self.engine.latency_histogram(), misses)

    async def one_dma(self, index: int = 0) -> Window:
        """Let one device make exactly one DMA, and wait for it; no other device is enabled."""
        await self.engine.watch_latency(index)
        issued = await self._issued(index)
        reads, begin = self.reads, self.bench.cycle
        await self.engine.run(outstanding_limit=1, gap_cycles=255)
        while await self._issued(index) == issued:   # looked at more often than it issues
            await self.bench.pause(1)
        await self.stop()
        requests = await self._issued(index) - issued
        if requests != 1:
            raise AssertionError(f"device {index} made {requests} DMAs, not one")
        return Window(self.bench.cycle - begin, requests, self.reads - reads, await self.engine.latency_histogram())

    async def _issued(self, index: int) -> int:
        """DMAs that the unit has accepted from a device."""
        return (await self.engine.counters(index))[Counter.ISSUED]

    async def verdicts(self, index: int) -> dict[str, int]:
        """What became of a device's DMAs, by the counters' names in small letters."""
        return {counter.name.lower(): value for counter, value in (await self.engine.counters(index)).items()}

    async def check_all_good(self) -> None:
        """Stop, and make sure that every DMA landed where the tables say. Raises AssertionError."""
        await self.stop()
        for index, device in enumerate(self.devices):
            counts = await self.verdicts(index)
            bad = {name: count for name, count in counts.items() if count and name not in ("old", "issued")}
            if bad or counts["old"] != counts["issued"]:
                raise AssertionError(f"device {device.source_id:#06x}: {counts}")

    # --- the beginning ---

    def _write_tables(self) -> None:
        """Root, context and second-stage tables, past every port."""
        memory, place = self.bench.memory, TABLES_BASE
        for domain in self.domains.values():
            tables = PageTables(domain.levels - 2, place)
            for region in domain.regions:
                tables.map(region)
            for hpa, page in tables.pages():
                memory.write(hpa, page)
            self.tops[domain.domain_id], place = tables.top, tables.end
        root = encode(RootEntry, present=1, context_table_pointer=CONTEXT_TABLE >> PAGE_BITS)
        memory.write(ROOT_TABLE, root.to_bytes(ENTRY_BYTES, "little"))
        memory.fill(CONTEXT_TABLE, PAGE_BYTES, 0)
        for device in self.devices:
            memory.write(self.entry_hpa(device.source_id),
                         self.context_entry(device.domain_id).to_bytes(ENTRY_BYTES, "little"))

    async def _enable(self) -> None:
        """Queue, root table, global invalidations, translation: a driver's order."""
        self.registers = await RegisterFile.open(self.transport)
        self.queue = QueuedInvalidation(self.transport, self.registers, self.allocator)
        await self.queue.start()
        await self.registers.write("RTADDR", RTA=ROOT_TABLE >> PAGE_BITS)
        await self.registers.command(command="SRTP", status="RTPS")
        await self.queue.context_global()
        await self.queue.iotlb_global()
        await self.registers.command(command="TE", status="TES")


def iotlb_off(source_id: int) -> int:
    """The knob that makes the IOTLB answer no lookup of a device: the control that a benchmark must not pass."""
    return int(encode(CachesOff, iotlb=1, source_id=source_id))

