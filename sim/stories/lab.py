"""A machine with traffic and a judge in one simulator process: what every experiment stands on.

::

    driver --> WatchedTransport --> CosimTransport --> Bench (gateware, memory)
                     |                                     |
                     +-- declares, before each store,      +-- events --> Judge, Swaps
                         what counts as right from then on

The lab watches the driver's way to the machine. It permits the new tag of a device just before a store into its context
entry can take place, and withdraws the old one as soon as the invalidation that ends a replacement has completed.
"""
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hw.iommu.messages import CachesOff
from hw.spec.bench import (
    DEVICE_BASE,
    DEVICE_STRIDE,
    TRAFFIC_BASE,
    Counter,
    DeviceConfig,
    DeviceField,
    Pattern,
    Phase,
    TrafficControl,
    TrafficRegister,
)
from hw.spec.codec import decode, encode
from hw.spec.events import EventKind
from hw.spec.tables import ENTRY_BYTES, PAGE_BITS
from sim.bench import Bench
from sim.events import Events, of_kind
from sim.model.judge import Judge
from sim.stories.departures import Departures
from sim.stories.experiment import DevicePlan, Experiment, data_page
from sim.stories.watched_transport import WatchedTransport
from sim.transport import CosimTransport
from sw.capture import Capture
from sw.domain import Domain
from sw.driver import Iommu
from sw.memory import PageAllocator
from sw.new_kernel import ARENA_BASE, ARENA_BYTES
from sw.old_kernel import load_tables
from sw.traffic import TrafficEngine
from sw.transport import Transport

__all__ = ["Lab", "Outcome"]


class Lab:
    """One experiment on one machine.

    Parameters
    ----------
    bench : Bench
        The machine, not yet reset.
    experiment : Experiment
        What is declared.
    cold : bool
        The context cache is off for a device while its entry is broken. Under continuous traffic a context that was merely
        invalidated is cached again at once, and the break would be met as late as with a warm one.

    Members
    -------
    transport
        For the driver under test.
    judge
        Sees every event and every store.
    """

    def __init__(self, bench: Bench, experiment: Experiment, *, cold: bool = False) -> None:
        self.bench = bench
        self.experiment = experiment
        self._cold = cold
        self._break_begins = False           # a cold break has been announced; whose is seen at its store
        self.judge = Judge(experiment.straps)
        self._cosim = CosimTransport(bench)
        self._engine = TrafficEngine(self._cosim)
        self._by_entry = {device.entry_hpa: device for device in experiment.devices}
        self._touched: set[int] = set()      # source IDs whose entry a driver has begun to change
        self._left: set[int] = set()         # ... and whose entry was stored to
        self._done: set[int] = set()         # ... and whose old tag was invalidated since
        self._ended: list[DevicePlan] = []   # ... of which the traffic engine does not know yet
        self._departures = Departures(experiment.preserved)
        self.transport: Transport = WatchedTransport(self._cosim, self)
        bench.listeners.append(self.judge.consume_rows)
        bench.listeners.append(self._watch)
        self._cosim.on_memory_write.append(lambda hpa, data: self.judge.memory_written(bench.cycle, hpa, data))

    async def start(self, *, latency: int = 20, outstanding_limit: int = 64, gap_cycles: int = 1, seed: int = 1,
                    burst_log2: int = 2, pattern: Pattern = Pattern.RANDOM) -> None:
        """Reset the machine, fill the data pages, declare, and prepare the traffic; it does not run yet."""
        experiment = self.experiment
        await self.bench.reset(straps=experiment.straps, chunk_delay=0, caches_off=0, queue_knobs=0)
        self.bench.memory.set_latency(latency)
        overlap = {page << PAGE_BITS for page in experiment.data_pages()} & experiment.capture.pages.keys()
        if overlap:
            raise ValueError(f"the page {min(overlap):#x} is a table and is visited by DMA")
        for page in experiment.data_pages():
            self.bench.memory.write(page << PAGE_BITS, data_page(page))
        for domain in experiment.domains:
            self.judge.declare(domain.old_domain_id, domain.old, table_pointer=domain.table_pointer)
            self.judge.declare(domain.new_domain_id, domain.new)
        self.judge.live(device.source_id for device in experiment.preserved)
        self.judge.preserve(device.source_id for device in experiment.preserved)
        await self._engine.set_seed(seed)
        for device in experiment.devices:
            await self._engine.write_pages(device.first_page, device.pages)
            await self._configure(device, pattern=pattern, burst_log2=burst_log2, bus_master=True)
            await self._expect(device, old=True, new=False)
            await self._engine.clear_counters(device.index)
        await self._cosim.write_register(TRAFFIC_BASE + TrafficRegister.CONTROL, 8, encode(
            TrafficControl, run=0, outstanding_limit=outstanding_limit, gap_cycles=gap_cycles))
        self._pattern, self._burst_log2 = pattern, burst_log2

    def on_operation(self, hook: Callable[[str], None]) -> None:
        """Call `hook` with a description before each operation of a driver, when the machine stands still."""
        self._cosim.on_operation.append(hook)

    async def bus_master(self, device: DevicePlan, *, enabled: bool) -> None:
        """Let a device do DMA, or stop it, as its driver would."""
        self._tell_bus_mastering(device, enabled=enabled)
        await self._configure(device, pattern=self._pattern, burst_log2=self._burst_log2, bus_master=enabled)

    async def quiesce(self) -> None:
        """Stop all traffic and wait until every DMA has ended. Raises RegisterTimeout if one never does."""
        await self._engine.stop()
        await self._engine.wait_idle(cycles=100_000)
        self.bench.drain()

    async def counters(self, device: DevicePlan) -> dict[str, int]:
        """The engine's hardware counters of a device, by name in lower case."""
        return {Counter(counter).name.lower(): value
                for counter, value in (await self._engine.counters(device.index)).items()}

    async def start_traffic(self) -> None:
        """Set the run bit."""
        await self._engine.start()

    async def total(self) -> int:
        """DMAs done."""
        return await self._engine.total()

    # --- experiments in a few lines ---

    @classmethod
    async def open(cls, dut: Any, capture: Path, *, deadline_cycles: int = 500_000) -> "Lab":
        """A lab whose machine holds a capture's tables and devices, not yet enabled; traffic is ready but stands."""
        lab = cls(Bench(dut, deadline_cycles=deadline_cycles), Experiment.of(Capture.load(capture)))
        await lab.start()
        return lab

    async def boot(self) -> Iommu:
        """Load the tables, turn translation on, let the devices loose; the driver that did it."""
        await load_tables(self.transport, self.experiment.capture)
        allocator = PageAllocator(self.transport, base=ARENA_BASE, size=ARENA_BYTES)
        iommu = await Iommu.open(self.transport, allocator, ruler=TrafficEngine(self.transport))
        await iommu.enable(root_table=self.experiment.capture.rtaddr["RTA"] << PAGE_BITS)
        await self.start_traffic()
        return iommu

    async def run(self, cycles: int) -> None:
        """Let the machine run."""
        await self.transport.pause(cycles)

    async def rebuild(self, iommu: Iommu, device: DevicePlan) -> Domain:
        """A new domain with the new tag of a device and fresh tables for the same translations as its present ones."""
        old = iommu.domain_of(device.source_id)
        new = await iommu.new_domain(old.address_width, domain_id=device.new_domain_id)
        if old.table is None or new.table is None:
            raise ValueError(f"device {device.source_id:#06x} has no tables to rebuild")
        await new.table.map_all(old.table.intervals())
        return new

    async def finish(self) -> "Outcome":
        """Stop the traffic, wait for what is in flight, count and judge."""
        await self.quiesce()
        devices = {device.source_id: await self.counters(device) for device in self.experiment.devices}
        return Outcome(devices, self.judge.verdict(), self.bench.cycle, self._touched - self._done)

    # --- what WatchedTransport calls ---

    async def store_is_due(self, hpa: int) -> None:
        """The driver has named the address of its next store."""
        device = self._by_entry.get(hpa - hpa % ENTRY_BYTES)
        if device is not None and self._break_begins:
            self._break_begins = False
            self.bench.set_port("caches_off", encode(CachesOff, context_cache=1, source_id=device.source_id))
        if device is not None and device.preserved and device.source_id not in self._touched:
            if not self._touched:
                self.judge.handover_ends(cycle=self.bench.cycle)
            self._touched.add(device.source_id)
            await self._expect(device, old=True, new=True)

    async def write_is_due(self, offset: int, value: int) -> None:
        """The driver announces a phase, or meddles with the traffic."""
        row, within = divmod(offset - TRAFFIC_BASE - DEVICE_BASE, DEVICE_STRIDE)
        if offset == TRAFFIC_BASE + TrafficRegister.PHASE:
            await self._phase_is_due(Phase(value))
        elif offset == TRAFFIC_BASE + TrafficRegister.CONTROL:
            for device in self.experiment.preserved:
                self._tell_bus_mastering(device, enabled=bool(decode(TrafficControl, value).run))
        elif within == DeviceField.CONFIG and 0 <= row < len(self.experiment.devices):
            config = decode(DeviceConfig, value)
            self._tell_bus_mastering(self.experiment.devices[row], enabled=bool(config.bus_master & config.enabled))

    def _tell_bus_mastering(self, device: DevicePlan, *, enabled: bool) -> None:
        self.judge.bus_mastering(device.source_id, enabled, cycle=self.bench.cycle)

    async def _phase_is_due(self, phase: Phase) -> None:
        if phase is Phase.FREEZE:
            for device in self.experiment.devices:
                if not device.preserved:  # its driver has stopped it, as drivers do when their device is not kept
                    await self.bus_master(device, enabled=False)
        elif phase in (Phase.BREAK, Phase.MAKE) and self._cold:
            self._break_begins = phase is Phase.BREAK
            self.bench.set_port("caches_off", 0)
        elif phase is Phase.KEXEC:
            self.judge.handover_begins(cycle=self.bench.cycle)

    async def settle(self) -> None:
        """Pass on what has ended since the last operation."""
        self.bench.drain()
        while self._ended:
            device = self._ended.pop()
            self.judge.only_new([device.source_id], device.new_domain_id, cycle=self.bench.cycle)
            siblings = {each.source_id for each in self.experiment.devices if each.old_domain_id == device.old_domain_id
                        and each.preserved}
            if siblings <= self._done:
                self.judge.forbid(device.old_domain_id, cycle=self.bench.cycle)
            await self._expect(device, old=False, new=True)

    def _watch(self, events: Events) -> None:
        """Follow stores and invalidations."""
        for event in of_kind(events, EventKind.UPDATE, EventKind.INVALIDATION_BEGIN, EventKind.INVALIDATION_END):
            if event["kind"] == EventKind.UPDATE:
                hpa = int(event["hpa"])
                device = self._by_entry.get(hpa - hpa % ENTRY_BYTES)
                if device is not None and int(event["tag"]) & 1 and device.source_id in self._touched:
                    self._left.add(device.source_id)
            elif event["kind"] == EventKind.INVALIDATION_BEGIN:
                self._departures.begin(event, self._left)
            else:
                for device in self._departures.end():
                    if device.source_id not in self._done:
                        self._done.add(device.source_id)
                        self._ended.append(device)

    async def _configure(self, device: DevicePlan, *, pattern: Pattern, burst_log2: int, bus_master: bool) -> None:
        await self._engine.configure_device(
            device.index, source_id=device.source_id, first_page=device.first_page, page_count=len(device.pages),
            pattern=pattern, stride=1, writes=device.writes, burst_log2=burst_log2, bus_master=bus_master)

    async def _expect(self, device: DevicePlan, *, old: bool, new: bool) -> None:
        await self._engine.expect(device.index, old_domain_id=device.old_domain_id, new_domain_id=device.new_domain_id,
                                  old_permitted=old, new_permitted=new)


@dataclass(frozen=True)
class Outcome:
    """What came of an experiment.

    Parameters
    ----------
    devices : dict
        The engine's counters of each device, by source ID.
    laws : dict
        The judge's verdict, by law.
    cycles : int
        How long it took.
    unfinished : set
        Source IDs whose context entry was changed and whose old domain has not been invalidated since: law L2 could not
        ask for the new tables only.
    """

    devices: dict[int, dict[str, int]]
    laws: dict[str, dict[str, Any]]
    cycles: int
    unfinished: set[int]

    def total(self, counter: str) -> int:
        """One counter, over all devices."""
        return sum(counts[counter] for counts in self.devices.values())

    @property
    def broken_laws(self) -> set[str]:
        """Names of the laws that did not hold."""
        return {law for law, row in self.laws.items() if row["status"] == "fail"}
