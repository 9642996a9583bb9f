"""Hardware bugs and bad drivers on a whole machine, run in the simulator by test_laws.py: who breaks which laws.

One device of a real machine that nobody preserves does DMA, so that it may be blocked; what is unmapped is one of its pages.
"""
from pathlib import Path

import cocotb

from hw.iommu.messages import CachesOff
from hw.spec.bench import POISON_BYTE
from hw.spec.codec import encode
from hw.spec.events import EventKind
from hw.spec.monitor import QueueKnobs
from hw.spec.tables import PAGE_BYTES
from sim.bench import Bench, give_result
from sim.events import of_kind
from sim.stories.demo import DEMO_CONFIG
from sim.stories.experiment import Experiment
from sim.stories.lab import Lab
from sw.capture import Capture
from sw.errors import RegisterTimeout
from sw.invalidation_queue import QueuedInvalidation
from tests.cosim.leaves import leaf_place
from tests.cosim.sabotage import Sabotage

_CAPTURE = Path(__file__).parents[1] / "data" / "real-tables" / "hwpt48"
_SOURCE_ID = 0x38
_SETTLED = 2000
_WORD_BYTES = DEMO_CONFIG.memory_word_bits // 8
_SLOW = 300         # cycles of memory latency
_LATE = 2000        # cycles until a descriptor that has been fetched is executed


async def _running(dut, bug, *, latency=20, burst_log2=2):
    bench = Bench(dut, deadline_cycles=400_000)
    bench.set_port("sabotage", Sabotage.NONE)
    lab = Lab(bench, Experiment.of(Capture.load(_CAPTURE), dropped=[_SOURCE_ID]))
    await lab.start(latency=latency, burst_log2=burst_log2)
    iommu = await lab.boot()
    await lab.run(_SETTLED)
    bench.set_port("sabotage", bug)
    return lab, iommu


async def _judged(lab):
    await lab.run(_SETTLED)
    try:
        laws = (await lab.finish()).laws
    except RegisterTimeout:   # a DMA never ends: the judge is asked all the same
        lab.bench.drain()
        laws = lab.judge.verdict()
    give_result({"broken": sorted(law for law, row in laws.items() if row["status"] == "fail"),
                 "checked": sorted(law for law, row in laws.items() if row["status"] != "not_checked"),
                 "violations": {law: row["violations"] for law, row in laws.items() if row["violations"]}})


def _unmapped(device):
    """The pages that are taken away: the first few by IOVA."""
    return sorted({page.iova for page in device.pages})[:4]


async def _unmap_pages(lab, iommu):
    """Take pages of the device away, one by one, as a driver does: clear, invalidate, wait. No table is freed."""
    domain = iommu.domain_of(_SOURCE_ID)
    device, = lab.experiment.devices
    for page in _unmapped(device):
        await domain.unmap(page, PAGE_BYTES)
        await iommu.invalidation.iotlb_pages(domain.domain_id, page, PAGE_BYTES, only_leaves=False)


async def _free_pages(lab):
    """Give back the pages that `_unmap_pages` has taken away."""
    device, = lab.experiment.devices
    for page in device.pages:
        if page.iova in _unmapped(device):
            await lab.transport.write_memory(page.old_hpa, bytes([POISON_BYTE]) * PAGE_BYTES)


@cocotb.test()
async def honest_unmap(dut):
    """The driver and the hardware as they are: pages are unmapped, and freed when the invalidations have completed."""
    lab, iommu = await _running(dut, Sabotage.NONE)
    await _unmap_pages(lab, iommu)
    await _free_pages(lab)
    await _judged(lab)


@cocotb.test()
async def drain_ignored(dut):
    """An invalidation that completes while memory accesses made with what it removed are under way.

    The device stays on a page for long. When it has just got one, memory becomes slow; when as many DMAs are in flight as may
    be, all of them hits, the invalidation begins. No walk is under way then, that would be waited for.
    """
    lab, iommu = await _running(dut, Sabotage.DRAIN_IGNORED, burst_log2=7)
    lab.bench.set_port("queue_knobs", encode(QueueKnobs, execute_delay=_LATE))
    fetched, filled, slow_since = [], [], []

    def notice(events):
        fetched.extend(of_kind(events, EventKind.DESCRIPTOR))
        filled[:] = of_kind(events, EventKind.IOTLB_FILL)

    def slow_down(_):
        if len(fetched) == 2 and filled and not slow_since:
            slow_since.append(lab.bench.cycle)
            lab.bench.memory.set_latency(_LATE)
        if slow_since and lab.bench.cycle > slow_since[0] + _SLOW:
            lab.bench.set_port("queue_knobs", 0)

    lab.bench.drain()
    lab.bench.listeners.append(notice)
    lab.on_operation(slow_down)
    await iommu.invalidation.iotlb_domain(iommu.domain_of(_SOURCE_ID).domain_id)
    await _judged(lab)


@cocotb.test()
async def status_before_effect(dut):
    """Waits that do not wait. What they stand for is done all the same, and nobody relies on it."""
    lab, iommu = await _running(dut, Sabotage.STATUS_BEFORE_EFFECT)
    for _ in range(4):
        await iommu.invalidation.iotlb_global()
        await lab.run(500)
    await _judged(lab)


@cocotb.test()
async def scan_clears_nothing(dut):
    """Lines that survive their invalidation."""
    lab, iommu = await _running(dut, Sabotage.SCAN_CLEARS_NOTHING)
    await _unmap_pages(lab, iommu)
    await _judged(lab)


async def _marked_walks_have_filled(dut):
    """Walks that read the old tables, and fill after an invalidation began.

    The IOTLB answers no lookup meanwhile, so that walks are always in flight. The invalidation is in the queue already
    when all pages are taken away, and begins so soon afterwards that walks which found a page are still on their way.
    """
    lab, iommu = await _running(dut, Sabotage.MARKED_WALK_FILLS, latency=_SLOW)
    device, = lab.experiment.devices
    lab.bench.set_port("caches_off", encode(CachesOff, iotlb=1, source_id=_SOURCE_ID))
    lab.bench.set_port("queue_knobs", encode(QueueKnobs, execute_delay=_LATE))
    lab.bench.memory.set_timing(latency=_SLOW, jitter=_SLOW)   # or the walks would go in step, all of them or none in time
    # with neighbours, or these would fill the lines again
    words = {leaf_place(lab, page.iova) & -_WORD_BYTES for page in device.pages}
    fetched, taken = [], []

    def notice(events):
        fetched.extend(int(event["cycle"]) for event in of_kind(events, EventKind.DESCRIPTOR))

    def take_away(_):
        cycle = lab.bench.cycle
        if fetched and cycle > fetched[0] + _LATE - _SLOW // 3 and not taken:
            taken.append(cycle)
            for word in words:
                lab.bench.memory.write(word, bytes(_WORD_BYTES))
                lab.judge.memory_written(cycle, word, bytes(_WORD_BYTES))

    lab.bench.drain()
    lab.bench.listeners.append(notice)
    lab.on_operation(take_away)
    await iommu.invalidation.iotlb_domain(iommu.domain_of(_SOURCE_ID).domain_id)
    begin, = of_kind(lab.bench.log, EventKind.INVALIDATION_BEGIN)["cycle"][-1:]
    assert 0 < begin - taken[0] < _SLOW // 2
    return lab


@cocotb.test()
async def marked_walk_fills(dut):
    """Nobody uses what was filled."""
    lab = await _marked_walks_have_filled(dut)
    await _judged(lab)


@cocotb.test()
async def marked_walk_fills_and_is_used(dut):
    """The IOTLB answers again."""
    lab = await _marked_walks_have_filled(dut)
    lab.bench.set_port("caches_off", 0)
    lab.bench.memory.set_latency(20)
    await lab.run(5 * _SETTLED)
    await _judged(lab)


@cocotb.test()
async def answer_lost(dut):
    """A walk for a write ends, and nobody is told."""
    lab, iommu = await _running(dut, Sabotage.NONE)
    await iommu.invalidation.iotlb_global()    # with nothing lost yet: it ends, and walks follow
    lab.bench.set_port("sabotage", Sabotage.ANSWER_LOST)
    await _judged(lab)


class _PollsTheHead(QueuedInvalidation):
    """A producer that takes fetched for done."""

    async def _status(self):
        fetched = (await self._registers.read("IQH"))["QH"] == self._queue.pointer_to(self._queue.tail)
        return self._number if fetched else 0


@cocotb.test()
async def queue_head_polled(dut):
    """A driver that unmaps pages, looks at IQH instead of waiting, and gives the pages back."""
    lab, iommu = await _running(dut, Sabotage.NONE)
    iommu.invalidation = _PollsTheHead(lab.transport, iommu.registers, iommu.allocator)
    await iommu.invalidation.start()
    lab.bench.set_port("queue_knobs", encode(QueueKnobs, execute_delay=_LATE))
    await _unmap_pages(lab, iommu)
    await _free_pages(lab)
    lab.bench.set_port("queue_knobs", 0)
    await lab.run(2 * _LATE)
    await _judged(lab)


@cocotb.test()
async def queue_freed_while_on(dut):
    """A driver that gives the queue's page back, and rings the doorbell once more."""
    lab, iommu = await _running(dut, Sabotage.NONE)
    queue = (await iommu.registers.read("IQA"))["IQA"] * PAGE_BYTES
    tail = (await iommu.registers.read("IQT"))["QT"]
    await lab.transport.write_memory(queue, bytes([POISON_BYTE]) * PAGE_BYTES)
    await iommu.registers.write("IQT", QT=tail + 1)
    await _judged(lab)
