"""A swap whose pages were walked beforehand: the last row of docs/benchmarks.md that the host has a part in."""
from dataclasses import replace

from hw.spec.monitor import MonitorRegister
from hw.spec.tables import PAGE_BYTES
from sim.bench import Bench
from sim.measure.case import Case
from sim.stories.bench_machine import BenchDomain
from sim.stories.bench_workloads import BASE, Observed, hitting, settle, started
from sw.prewalk import prewalk

__all__ = ["prewalk_swap"]

PAGES = 64                        # of the device that is swapped


async def prewalk_swap(bench: Bench, case: Case) -> Observed:
    """A device on 64 pages is swapped beside seven that hit; its pages are walked before, unless `option` is 0."""
    old, (device,) = hitting(1, pages=PAGES)
    others, devices = hitting(7, first=PAGES // 8)
    machine = await started(bench, case, [old, BenchDomain(2, old.regions), BenchDomain(3, others.regions)],
                            [device, *(replace(each, domain_id=3) for each in devices)])
    source_id, before, after = device.source_id, machine.context_entry(1), machine.context_entry(2)
    await machine.engine.expect(0, old_domain_id=1, new_domain_id=2, new_permitted=True)
    await settle(machine)
    disturbed = False
    if case.option:
        pages = [BASE + number * PAGE_BYTES for number in range(PAGES)]
        disturbed = (await prewalk(machine.transport, after, pages, source_id=source_id)).disturbed
    await machine.counters.clear()
    observed = await machine.transport.compare_exchange128(machine.entry_hpa(source_id), before, after)
    if observed != before:
        raise AssertionError(f"the entry was {observed:#034x}, not {before:#034x}")
    await machine.queue.context_device(source_id, 1)
    await machine.queue.iotlb_domain(1)
    await bench.pause(max(case.requests, 20 * case.latency))
    counts = await machine.counters.read()
    await machine.stop()
    verdicts = await machine.verdicts(0)
    if bad := {name: count for name, count in verdicts.items() if count and name not in ("old", "new", "issued")}:
        raise AssertionError(f"the swapped device: {bad}")
    return {"misses": counts[MonitorRegister.WALK_REQUESTS], "requests": counts[MonitorRegister.REQUESTS],
            "new": verdicts["new"], "disturbed": disturbed}
