"""The workloads of docs/benchmarks.md whose DMAs hit or walk: W1 to W5, 2 MiB pages and fairness.

Each is a coroutine that gets a Bench and a Case and returns what it observed, as JSON can hold it; sim.measure.verdicts
makes figures of that.
"""
from collections.abc import Callable, Coroutine
from dataclasses import replace
from typing import Any

from hw.spec.bench import Pattern
from hw.spec.tables import PAGE_BYTES, PageSize
from sim.bench import Bench
from sim.measure import bounds
from sim.measure.case import Case
from sim.measure.page_tables import Region
from sim.stories.bench_machine import (
    ALL,
    DATA_BASE,
    BenchDevice,
    BenchDomain,
    BenchMachine,
    Span,
    iotlb_off,
)
from sw.intervals import Permission

__all__ = ["WORKLOADS", "Observed", "Workload", "hitting", "settle", "started"]

Observed = dict[str, Any]
Workload = Callable[[Bench, Case], Coroutine[Any, Any, Observed]]

GIB, MIB = 1 << 30, 1 << 20
BASE = 1 << 36                   # IOVA of what is mapped by 4 KiB pages
FIRST_SOURCE_ID = 0x10
LEAST_WINDOW, MOST_WINDOW = 2_000, 600_000
WARM_LINES = 4                   # random misses before counting, in lines of the IOTLB

_SETTLE_CYCLES = 400
_SETTLE_TRIES = 500


async def started(bench: Bench, case: Case, domains: list[BenchDomain], devices: list[BenchDevice]) -> BenchMachine:
    """The machine of a case; slowed, its first device's IOTLB lookups are never answered."""
    return await BenchMachine.start(bench, domains, devices, latency=case.latency, seed=case.seed,
                                    caches_off=iotlb_off(devices[0].source_id) if case.slowed else 0)


async def settle(machine: BenchMachine) -> None:
    """Let the devices go, until a while has passed without a read of table memory, or it does not come to that."""
    await machine.run(_SETTLE_CYCLES)
    for _ in range(_SETTLE_TRIES):
        before = machine.reads
        await machine.bench.pause(max(_SETTLE_CYCLES, 2 * machine.latency))
        if machine.reads == before:
            return


def hitting(count: int, *, first: int = 0, pages: int = 8, limit: int | None = None) -> tuple[BenchDomain, list[BenchDevice]]:
    """So many devices in domain 1, each at random on a few pages of its own, which the IOTLB holds easily."""
    span = PAGE_BYTES * pages
    domain = BenchDomain(1, (Region(BASE, DATA_BASE, span * (first + count)),))
    devices = [BenchDevice(FIRST_SOURCE_ID + number, 1,
                           (Span(BASE + number * span, DATA_BASE + number * span, pages.bit_length() - 1),),
                           outstanding_limit=limit)
               for number in range(first, first + count)]
    return domain, devices


# --- W1 ---

async def hit_throughput(bench: Bench, case: Case) -> Observed:
    """16 devices in 8 domains, each on 16 pages of 4 KiB, one of 2 MiB and one of 1 GiB, reads and writes."""
    domains, devices = [], []
    for number in range(8):
        small, middle, large = (number * 16 * PAGE_BYTES, number * 2 * MIB, number * GIB)
        places = ((BASE + small, DATA_BASE + small, 16 * PAGE_BYTES, PageSize.SIZE_4K, 4),
                  (2 * BASE + middle, 2 * DATA_BASE + middle, 2 * MIB, PageSize.SIZE_2M, 9),
                  (3 * BASE + large, 3 * DATA_BASE + large, GIB, PageSize.SIZE_1G, 18))
        domains.append(BenchDomain(number + 1, tuple(Region(iova, hpa, size, page) for iova, hpa, size, page, _ in places)))
        spans = tuple(Span(iova, hpa, log2) for iova, hpa, _, _, log2 in places)
        devices += [BenchDevice(FIRST_SOURCE_ID + 2 * number + each, number + 1, spans) for each in range(2)]
    machine = await started(bench, case, domains, devices)
    await settle(machine)
    window = await machine.window(case.requests, watch=ALL)
    await machine.check_all_good()
    return window.as_observed()


async def hit_latency(bench: Bench, case: Case) -> Observed:
    """One device, one DMA at a time."""
    domain, devices = hitting(1)
    machine = await started(bench, case, [domain], devices)
    await settle(machine)
    await machine.stop()
    await machine.run(1, outstanding_limit=1)
    window = await machine.window(case.requests * (case.latency + 10), watch=ALL)
    await machine.check_all_good()
    return window.as_observed()


# --- W2 ---

async def walks(bench: Bench, case: Case) -> Observed:
    """One DMA with nothing cached; one whose upper levels are; one to a page in the line of the last one."""
    line = case.sizes.entries_per_word
    pages = (0, 4 * line, 4 * line + 1)
    domain = BenchDomain(1, (Region(0, DATA_BASE, 2 * MIB),), case.levels)
    spans = tuple(Span(page * PAGE_BYTES, DATA_BASE + page * PAGE_BYTES) for page in pages)
    machine = await started(bench, case, [domain], [BenchDevice(FIRST_SOURCE_ID, 1, spans)])
    observed = {}
    for index, name in enumerate(("cold", "warm", "neighbour")):
        await machine.configure(0, first_span=index, span_count=1)
        observed[name] = (await machine.one_dma()).as_observed()
    await machine.check_all_good()
    return observed


# --- W3, 2 MiB pages ---

def working_set_log2(case: Case) -> int:
    """Of W3, in 4 KiB pages: eight times what the IOTLB holds."""
    return (8 * case.sizes.reach_pages - 1).bit_length()


async def random_4k(bench: Bench, case: Case) -> Observed:
    """4 KiB pages at random, over eight times what the IOTLB holds."""
    return await _random(bench, case, log2=working_set_log2(case), page_size=PageSize.SIZE_4K)


async def random_1g(bench: Bench, case: Case) -> Observed:
    """4 KiB pages at random, over 1 GiB."""
    return await _random(bench, case, log2=18, page_size=PageSize.SIZE_4K)


async def random_2m(bench: Bench, case: Case) -> Observed:
    """2 MiB pages at random, over 16 GiB."""
    return await _random(bench, case, log2=22, page_size=PageSize.SIZE_2M)


async def _random(bench: Bench, case: Case, *, log2: int, page_size: PageSize) -> Observed:
    size = PAGE_BYTES << log2
    domain = BenchDomain(1, (Region(size, DATA_BASE, size, page_size),), case.levels)
    device = BenchDevice(FIRST_SOURCE_ID, 1, (Span(size, DATA_BASE, log2),))
    machine = await started(bench, case, [domain], [device])
    cycles = 1 / bounds.missing_rate(case.latency, case.slots, 1.0)
    await machine.run(round(cycles * WARM_LINES * case.sizes.reach_pages / case.sizes.entries_per_word))
    window = await machine.window(_window(case.requests * cycles), watch=ALL)
    await machine.check_all_good()
    return window.as_observed()


def _window(cycles: float) -> int:
    return round(min(max(cycles, LEAST_WINDOW), MOST_WINDOW))


# --- W4 ---

async def sequential_pages(bench: Bench, case: Case) -> Observed:
    """One DMA per page, page after page through 1 GiB."""
    return await _sequential(bench, case, burst_log2=0)


async def sequential_lines(bench: Bench, case: Case) -> Observed:
    """64-byte DMAs, line after line, page after page through 1 GiB."""
    return await _sequential(bench, case, burst_log2=6)


async def _sequential(bench: Bench, case: Case, *, burst_log2: int) -> Observed:
    domain = BenchDomain(1, (Region(GIB, DATA_BASE, GIB),), case.levels)
    device = BenchDevice(FIRST_SOURCE_ID, 1, (Span(GIB, DATA_BASE, 18),), Pattern.SEQUENTIAL, burst_log2=burst_log2)
    machine = await started(bench, case, [domain], [device])
    rate = bounds.sequential_rate(case.latency, case.slots, case.sizes.entries_per_word, 1 << burst_log2)
    await machine.run(_window(case.requests / rate / 4))
    window = await machine.window(_window(case.requests / rate), watch=ALL)
    await machine.check_all_good()
    return window.as_observed()


# --- W5 ---

async def victim(bench: Bench, case: Case) -> Observed:
    """Two devices in turn: the second always hits, and `option` percent of all requests are misses of the first."""
    choices, log2 = 50, 15
    domain, (_, second) = hitting(2)
    size = PAGE_BYTES << log2
    far = BenchDomain(2, (Region(GIB, DATA_BASE + GIB, size), Region(BASE, DATA_BASE + 2 * GIB, 8 * PAGE_BYTES)))
    near = [Span(BASE + page % 8 * PAGE_BYTES, DATA_BASE + 2 * GIB + page % 8 * PAGE_BYTES)
            for page in range(choices - case.option)]
    first = BenchDevice(FIRST_SOURCE_ID, 2, (*near, *[Span(GIB, DATA_BASE + GIB, log2)] * case.option))
    machine = await started(bench, case, [domain, far], [first, second])
    cycles = bounds.victim_cycles(case.latency, case.slots, case.option / 100)
    await machine.run(_window(case.requests * cycles))
    everybody = await machine.window(_window(case.requests * cycles), watch=ALL)
    victims = await machine.window(_window(case.requests * cycles), watch=1)
    await machine.check_all_good()
    return {"all": everybody.as_observed(), "victim": victims.as_observed()}


# --- fairness ---

async def fairness_access(bench: Bench, case: Case) -> Observed:
    """One device that only reads and one that only writes, both hitting."""
    domain, (reader, writer) = hitting(2)
    writer = replace(writer, spans=tuple(replace(span, permission=Permission.WRITE) for span in writer.spans))
    reader = replace(reader, writes=0)
    machine = await started(bench, case, [domain], [reader, writer])
    await settle(machine)
    return {"counts": await _shares(machine, case.requests)}


async def fairness_device(bench: Bench, case: Case) -> Observed:
    """Seven devices that hit, beside an eighth with `option` tags: first it hits too, then it always misses."""
    domain, devices = hitting(8)
    size = PAGE_BYTES << 15
    far = BenchDomain(2, (Region(GIB, DATA_BASE + GIB, size),))
    observed: Observed = {}
    thrasher = BenchDevice(devices[7].source_id, 2, (Span(GIB, DATA_BASE + GIB, 15),), outstanding_limit=case.option)
    for name, eighth in (("calm", devices[7]), ("thrashing", thrasher)):
        machine = await started(bench, case, [domain, far], [*devices[:7], eighth])
        if name == "calm":
            await settle(machine)
        else:
            await machine.run(20 * case.latency + LEAST_WINDOW)
        observed[name] = await _shares(machine, case.requests)
    return observed


async def _shares(machine: BenchMachine, cycles: int) -> list[float]:
    """DMAs a cycle of each device."""
    before = await _done(machine)
    await machine.bench.pause(cycles)
    after = await _done(machine)
    await machine.check_all_good()
    return [(done - was) / (end - begin) for (begin, was), (end, done) in zip(before, after, strict=True)]


async def _done(machine: BenchMachine) -> list[tuple[int, int]]:
    """When each device was looked at, and how many DMAs it had done."""
    return [(machine.bench.cycle, (await machine.verdicts(index))["old"]) for index in range(len(machine.devices))]


WORKLOADS: dict[str, Workload] = {
    function.__name__: function for function in (
        hit_throughput, hit_latency, walks, random_4k, random_1g, random_2m, sequential_pages, sequential_lines, victim,
        fairness_access, fairness_device)
}
"""By name. sim.stories.bench_commands has the others."""
