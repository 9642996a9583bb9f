"""The workloads of docs/benchmarks.md that the host has a part in: W6, W7, replacements over time, and the simulator's speed.

As in bench_workloads: a coroutine each, from a Bench and a Case to what was observed.
"""
import time
from dataclasses import replace
from typing import Any

import cocotb
from cocotb.triggers import Timer

from hw.spec.invalidation import Granularity
from hw.spec.tables import PAGE_BITS, PAGE_BYTES
from sim.bench import Bench
from sim.measure.bounds import INVALIDATIONS
from sim.measure.case import Case
from sim.measure.page_tables import Region
from sim.measure.recorded_bench import RecordedBench
from sim.stories.bench_machine import DATA_BASE, BenchDevice, BenchDomain, BenchMachine, Span
from sim.stories.bench_prewalk import prewalk_swap
from sim.stories.bench_workloads import (
    BASE,
    FIRST_SOURCE_ID,
    GIB,
    WORKLOADS,
    Observed,
    Workload,
    hitting,
    settle,
    started,
)
from sim.stories.doorbell import Doorbell
from sim.stories.race_sweep import race_context, race_iotlb
from sim.stories.swap_sweep import swap_hitting, swap_thrashing
from sim.wrapper import CLOCK_PERIOD_STEPS
from sw import descriptors as make
from sw.armed_update import ArmedUpdate
from sw.faults import FaultLog
from sw.intervals import Permission

__all__ = ["ALL_WORKLOADS", "SAMPLE_CYCLES"]

SAMPLE_CYCLES = 50                # of the throughput across a replacement
FAULTS = 500                      # of W7

_DATA_PORT = 1                    # BenchTop's second memory port
_REPEATS = 5                      # of a measurement that takes one batch
_LONGEST_BATCH = 100_000
_PERIOD = 100                     # cycles between two invalidations under DMA
_BEFORE, _AFTER = 10, 24         # samples around a replacement


# --- W6 ---

async def _doorbell(machine: BenchMachine) -> Doorbell:
    """The driver's queue, taken over while it is empty."""
    return await Doorbell.take_over(machine.bench, machine.registers, status_hpa=await machine.allocator.allocate())


async def _batch(bench: Bench, doorbell: Doorbell, *descriptors: int) -> int:
    """Cycles from the host's access to the doorbell to the status of a wait behind the descriptors, in memory."""
    doorbell.prepare(*descriptors)
    begin = bench.cycle
    await doorbell.ring()
    if not await doorbell.answer(limit_cycles=_LONGEST_BATCH, poll_cycles=1):
        raise AssertionError(f"a batch of {len(descriptors)} descriptors has not ended within {_LONGEST_BATCH} cycles")
    return bench.cycle - begin


def _page(iova: int) -> int:
    return make.iotlb(Granularity.SELECTIVE, domain_id=1, page=iova >> PAGE_BITS)


async def queue_batches(bench: Bench, case: Case) -> Observed:
    """64 invalidations that drain, and a wait: of cached pages, then of domains; beside DMA at full rate, and alone."""
    domain, devices = hitting(5)
    many = BASE + GIB
    domain = BenchDomain(1, (*domain.regions, Region(many, DATA_BASE + GIB, INVALIDATIONS * PAGE_BYTES)))
    cacher = BenchDevice(devices[4].source_id, 1, (Span(many, DATA_BASE + GIB, (INVALIDATIONS - 1).bit_length()),))
    machine = await started(bench, case, [domain], [*devices[:4], cacher])
    doorbell = await _doorbell(machine)
    pages = [_page(many + number * PAGE_BYTES) for number in range(INVALIDATIONS)]
    domains = [make.iotlb(Granularity.DOMAIN_SELECTIVE, domain_id=100 + number) for number in range(INVALIDATIONS)]
    observed: Observed = {name: [] for name in ("page_busy", "page_idle", "domain_busy")}
    for _ in range(_REPEATS):
        await machine.configure(4, enabled=True)
        await settle(machine)
        await machine.configure(4, enabled=False)
        await bench.pause(4 * case.latency)
        observed["page_busy"].append(await _batch(bench, doorbell, *pages))
        observed["domain_busy"].append(await _batch(bench, doorbell, *domains))
        await machine.stop()
        observed["page_idle"].append(await _batch(bench, doorbell, *pages))
    await machine.check_all_good()
    return observed


async def queue_under_dma(bench: Bench, case: Case) -> Observed:
    """DMA at full rate on 64 pages; then one of them is invalidated every 100 cycles."""
    domain, devices = hitting(8)
    machine = await started(bench, case, [domain], devices)
    doorbell = await _doorbell(machine)
    await settle(machine)
    calm = await machine.window(case.requests)
    begin, total = bench.cycle, await machine.engine.total()
    for number in range(case.requests // _PERIOD):
        doorbell.put(_page(BASE + number % 64 * PAGE_BYTES))
        due = begin + (number + 1) * _PERIOD
        await doorbell.ring()
        await bench.pause(max(1, due - bench.cycle))
    done, end = await machine.engine.total(), bench.cycle
    await machine.check_all_good()
    return {"calm": calm.as_observed(), "cycles": end - begin, "requests": done - total}


# --- W7 ---

async def fault_storm(bench: Bench, case: Case) -> Observed:
    """A device writes to a cached page that it may only read: alone, and beside seven that hit."""
    domain, hitters = hitting(7, first=1)
    page = Region(BASE, DATA_BASE, PAGE_BYTES * 8, writable=False)
    others = Region(BASE + page.size, DATA_BASE + page.size, domain.regions[0].size - page.size)
    spans = tuple(Span(BASE, DATA_BASE, 0, permission) for permission in (Permission.READ, Permission.WRITE))
    faulty = BenchDevice(FIRST_SOURCE_ID, 2, spans)
    machine = await started(bench, case, [BenchDomain(1, (others,)), BenchDomain(2, (page,))], [faulty, *hitters])
    log = FaultLog(machine.transport, machine.registers)
    rows = range(1, len(machine.devices))

    async def storm() -> tuple[int, int]:
        """The faulty device writes from now on; DMAs of the others in how many cycles."""
        before = [(await machine.verdicts(index))["old"] for index in rows]
        begin = bench.cycle
        await bench.pause(case.requests)
        after = [(await machine.verdicts(index))["old"] for index in rows]
        return bench.cycle - begin, sum(after) - sum(before)

    await machine.configure(0, first_span=0, span_count=1)
    await settle(machine)
    calm = await storm()
    await machine.configure(0, first_span=1, span_count=1)
    beside = await storm()
    await machine.stop()
    await log.take()
    for index in rows:
        await machine.configure(index, enabled=False)
    blocked = (await machine.verdicts(0))["blocked"]
    begin = bench.cycle
    await machine.run(1)
    recorded, overflowed = 0, False
    while (done := (await machine.verdicts(0))["blocked"] - blocked) < FAULTS:
        await bench.pause(16)
    cycles = bench.cycle - begin
    await machine.stop()
    lost_flagged = False
    while True:
        faults, overflowed = await log.take()
        recorded, lost_flagged = recorded + len(faults), lost_flagged or overflowed
        if not faults:
            break
    counts = [await machine.verdicts(index) for index in rows]
    return {"calm": calm, "beside": beside, "cycles": cycles, "done": done,
            "blocked": (await machine.verdicts(0))["blocked"] - blocked, "recorded": recorded, "overflowed": lost_flagged,
            "bad": sum(count["issued"] - count["old"] for count in counts)}


# --- replacements over time ---

async def replacement(bench: Bench, case: Case) -> Observed:
    """Eight devices hit at full rate; the first one's domain is replaced, by a swap (option 0) or by a break (option 1)."""
    old, (device,) = hitting(1)
    others, devices = hitting(7, first=1)
    others = BenchDomain(3, others.regions)
    machine = await started(bench, case, [old, BenchDomain(2, old.regions), others],
                            [device, *(replace(each, domain_id=3) for each in devices)])
    swapped = machine.devices[0].source_id
    place, before, after = machine.entry_hpa(swapped), machine.context_entry(1), machine.context_entry(2)
    await machine.engine.expect(0, old_domain_id=1, new_domain_id=2, new_permitted=True)
    await settle(machine)
    samples: list[tuple[int, int]] = []

    async def sample() -> None:
        while True:
            samples.append((bench.cycle, bench.memory.accepted(_DATA_PORT)))
            await Timer(SAMPLE_CYCLES * CLOCK_PERIOD_STEPS, "step")

    sampler = cocotb.start_soon(sample())
    await bench.pause(_BEFORE * SAMPLE_CYCLES)
    if case.option:
        await machine.transport.store64(place, before % (1 << 64) & ~1)
    else:
        await machine.transport.compare_exchange128(place, before, after)
    commit = await ArmedUpdate(machine.transport).commit_cycle()
    await machine.queue.context_device(swapped, 1)
    await machine.queue.iotlb_domain(1)
    if case.option:
        await machine.transport.store64(place + 8, after >> 64)
        await machine.transport.store64(place, after % (1 << 64))
    end = bench.cycle
    await bench.pause(_AFTER * SAMPLE_CYCLES)
    sampler.cancel()
    await machine.stop()
    return {"samples": samples, "commit": commit, "end": end, "verdicts": await machine.verdicts(0)}


# --- speed ---

async def sim_speed(bench: Bench, case: Case) -> Observed:
    """Wall time of traffic at full rate, and the accesses that make the same traffic in another simulator."""
    assert isinstance(bench, RecordedBench)
    domain, devices = hitting(8)
    machine = await started(bench, case, [domain], devices)
    await settle(machine)
    total, script = await machine.engine.total(), list(bench.script)
    begin, started_at = bench.cycle, time.perf_counter()
    await bench.pause(50 * case.requests)
    seconds = time.perf_counter() - started_at
    cycles, requests = bench.cycle - begin, await machine.engine.total() - total
    return {"cycles": cycles, "requests": requests, "seconds": seconds, "script": script}


def _named(*functions: Any) -> dict[str, Workload]:
    return {function.__name__: function for function in functions}


ALL_WORKLOADS: dict[str, Workload] = WORKLOADS | _named(
    queue_batches, queue_under_dma, fault_storm, prewalk_swap, replacement, race_iotlb, race_context, swap_hitting,
    swap_thrashing, sim_speed)
"""Every workload by name."""
