"""A machine with traffic and a judge in one simulator process: what every experiment stands on.

::

    driver --> WatchedTransport --> CosimTransport --> Bench (gateware, memory)
                     |                                     |
                     +-- declares, before each store,      +-- events --> Judge, Swaps
                         what counts as right from then on

The lab watches the driver's way to the machine. It permits the new tag of a device just before a store into its context
entry can take place, and withdraws the old one as soon as the invalidation that ends a replacement has completed.
"""

from hw.spec.bench import (
    TRAFFIC_BASE,
    UPDATE_BASE,
    Counter,
    Pattern,
    Phase,
    TrafficControl,
    TrafficRegister,
    UpdateRegister,
)
from hw.spec.codec import encode
from hw.spec.events import EventKind
from hw.spec.invalidation import InvalidationKind
from hw.spec.tables import ENTRY_BYTES, PAGE_BITS
from sim.bench import Bench
from sim.events import Events, detail_of, of_kind
from sim.model.judge import Judge
from sim.stories.experiment import DevicePlan, Experiment, data_page
from sim.transport import CosimTransport
from sw.traffic import TrafficEngine
from sw.transport import Transport

__all__ = ["Lab", "WatchedTransport"]


class Lab:
    """One experiment on one machine.

    Parameters
    ----------
    bench : Bench
        The machine, not yet reset.
    experiment : Experiment
        What is declared.

    Members
    -------
    transport
        For the driver under test.
    judge
        Sees every event and every store.
    """

    def __init__(self, bench: Bench, experiment: Experiment) -> None:
        self.bench = bench
        self.experiment = experiment
        self.judge = Judge(experiment.straps)
        self._cosim = CosimTransport(bench)
        self._engine = TrafficEngine(self._cosim)
        self._by_entry = {device.entry_hpa: device for device in experiment.devices}
        self._touched: set[int] = set()      # source IDs whose entry a driver has begun to change
        self._left: set[int] = set()         # ... and whose entry was stored to
        self._done: set[int] = set()         # ... and whose old tag was invalidated since
        self._ended: list[DevicePlan] = []   # ... of which the traffic engine does not know yet
        self.transport: Transport = WatchedTransport(self._cosim, self)
        bench.listeners.append(self.judge.consume_rows)
        bench.listeners.append(self._watch)
        self._cosim.on_memory_write.append(lambda hpa, data: self.judge.memory_written(bench.cycle, hpa, data))

    async def start(self, *, latency: int = 20, outstanding_limit: int = 64, gap_cycles: int = 1, seed: int = 1,
                    burst_log2: int = 2, pattern: Pattern = Pattern.RANDOM) -> None:
        """Reset the machine, fill the data pages, declare, and prepare the traffic; it does not run yet."""
        experiment = self.experiment
        await self.bench.reset(straps=experiment.straps, chunk_delay=0)
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
        await self._cosim.write_register(TRAFFIC_BASE + TrafficRegister.CONTROL, 8, encode(
            TrafficControl, run=0, outstanding_limit=outstanding_limit, gap_cycles=gap_cycles))
        self._pattern, self._burst_log2 = pattern, burst_log2

    async def bus_master(self, device: DevicePlan, *, enabled: bool) -> None:
        """Let a device do DMA, or stop it, as its driver would."""
        self.judge.bus_mastering(device.source_id, enabled, cycle=self.bench.cycle)
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

    # --- what WatchedTransport calls ---

    async def store_is_due(self, hpa: int) -> None:
        """The driver has named the address of its next store."""
        device = self._by_entry.get(hpa - hpa % ENTRY_BYTES)
        if device is not None and device.preserved and device.source_id not in self._touched:
            if not self._touched:
                self.judge.handover_ends(cycle=self.bench.cycle)
            self._touched.add(device.source_id)
            await self._expect(device, old=True, new=True)

    async def phase_is_due(self, phase: Phase) -> None:
        """The driver announces what it is about to do."""
        if phase is Phase.FREEZE:
            for device in self.experiment.devices:
                if not device.preserved:  # its driver has stopped it, as drivers do when their device is not kept
                    await self.bus_master(device, enabled=False)
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
        for event in of_kind(events, EventKind.UPDATE, EventKind.INVALIDATION_END):
            if event["kind"] == EventKind.UPDATE:
                hpa = int(event["hpa"])
                device = self._by_entry.get(hpa - hpa % ENTRY_BYTES)
                if device is not None and int(event["tag"]) & 1 and device.source_id in self._touched:
                    self._left.add(device.source_id)
            elif detail_of(event).kind is InvalidationKind.IOTLB:
                for device in self.experiment.preserved:
                    if (device.old_domain_id == int(event["domain_id"]) and device.source_id in self._left
                            and device.source_id not in self._done):
                        self._done.add(device.source_id)
                        self._ended.append(device)

    async def _configure(self, device: DevicePlan, *, pattern: Pattern, burst_log2: int, bus_master: bool) -> None:
        await self._engine.configure_device(
            device.index, source_id=device.source_id, first_page=device.first_page, page_count=len(device.pages),
            pattern=pattern, stride=1, writes=device.writes, burst_log2=burst_log2, bus_master=bus_master)

    async def _expect(self, device: DevicePlan, *, old: bool, new: bool) -> None:
        await self._engine.expect(device.index, old_domain_id=device.old_domain_id, new_domain_id=device.new_domain_id,
                                  old_permitted=old, new_permitted=new)


class WatchedTransport:
    """The driver's transport, with the lab looking on: before a store is due, and after every operation."""

    def __init__(self, inner: CosimTransport, lab: Lab) -> None:
        self._inner = inner
        self._lab = lab

    async def read_register(self, offset: int, width: int) -> int:
        """As Transport."""
        value = await self._inner.read_register(offset, width)
        await self._lab.settle()
        return value

    async def write_register(self, offset: int, width: int, value: int) -> None:
        """As Transport."""
        if offset == UPDATE_BASE + UpdateRegister.ADDRESS:
            await self._lab.store_is_due(value)
        elif offset == TRAFFIC_BASE + TrafficRegister.PHASE:
            await self._lab.phase_is_due(Phase(value))
        await self._inner.write_register(offset, width, value)
        await self._lab.settle()

    async def store64(self, hpa: int, value: int) -> None:
        """As Transport."""
        await self._lab.store_is_due(hpa)
        await self._inner.store64(hpa, value)
        await self._lab.settle()

    async def compare_exchange128(self, hpa: int, expected: int, desired: int) -> int:
        """As Transport."""
        await self._lab.store_is_due(hpa)
        observed = await self._inner.compare_exchange128(hpa, expected, desired)
        await self._lab.settle()
        return observed

    async def read_memory(self, hpa: int, length: int) -> bytes:
        """As Transport."""
        return await self._inner.read_memory(hpa, length)

    async def write_memory(self, hpa: int, data: bytes) -> None:
        """As Transport."""
        await self._inner.write_memory(hpa, data)
        await self._lab.settle()

    async def pause(self, cycles: int) -> None:
        """As Transport."""
        await self._inner.pause(cycles)
        await self._lab.settle()


