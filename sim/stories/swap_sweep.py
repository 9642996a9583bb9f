"""W9: the domain of a device is swapped under traffic that never stops, at random phases of it, there and back again.

::

    device 0:   domain 1 -> 2 -> 1 -> ...   by one 128-bit compare-exchange of its context entry; then the context and the
                                            domain that it has left are invalidated, and a wait is waited for
    device n:   domain n + 2, all the time

Both domains of device 0 map the same IOVAs, to different pages, so that every DMA tells by which tables it went. The traffic
engine judges each DMA; phases are judged by the event log (sim.measure.sweep_log).
"""
import random
from dataclasses import asdict
from typing import Any

from hw.spec.bench import UPDATE_BASE, UpdateCommand, UpdateOperation, UpdateRegister
from hw.spec.codec import encode
from hw.spec.events import Verdict
from hw.spec.invalidation import Granularity
from hw.spec.tables import PAGE_BYTES
from sim.bench import Bench
from sim.measure.bounds import cold_walk
from sim.measure.case import Case
from sim.measure.page_tables import Region
from sim.measure.sweep_log import SwapOutcome, swap_outcome
from sim.stories.bench_machine import DATA_BASE, BenchDevice, BenchDomain, BenchMachine, Span
from sim.stories.doorbell import Doorbell
from sw import descriptors as make
from sw.intervals import Permission
from sw.traffic import TrafficPage

__all__ = ["OUTSTANDING", "phases_of", "swap_hitting", "swap_thrashing"]

OUTSTANDING = 64                  # DMAs in flight of each device
PERCENT_PHASES = 3                # of the DMAs that a case is to count, at the latency of the contract: 300 for 10,000
CONTRACT_LATENCY = 20

_BASE, _FIRST_SOURCE_ID = 1 << 36, 0x10
_HITTING_LOG2, _THRASHING_LOG2 = 3, 11     # pages of a device; the second is four times what the IOTLB holds
_OLD_DOMAIN, _NEW_DOMAIN, _OTHER_DOMAINS = 1, 2, 3
_NEW_BASE = 2 * DATA_BASE
_LONGEST_PHASE = 400
_SETTLED_CYCLES = 2_000           # of a phase, beside the walks
_WALKS = 3                        # cold ones, that a phase is long
_HANG_CYCLES = 20_000


def phases_of(case: Case) -> int:
    """Swaps of a case. A phase is as many cycles longer as memory is slower: there are as many fewer."""
    return max(2, case.requests * PERCENT_PHASES * CONTRACT_LATENCY // (100 * max(case.latency, CONTRACT_LATENCY)))


class _Swapper:
    """Swaps the first device's domain back and forth."""

    def __init__(self, machine: BenchMachine, doorbell: Doorbell, span: Span) -> None:
        self._machine, self._doorbell, self._bench = machine, doorbell, machine.bench
        self._source_id = machine.devices[0].source_id
        self._domain_id = _OLD_DOMAIN
        self._pages = {_OLD_DOMAIN: (span.iova, span.hpa), _NEW_DOMAIN: (span.iova, span.hpa + _NEW_BASE - DATA_BASE)}
        self._window = _SETTLED_CYCLES + _WALKS * cold_walk(machine.latency, machine.domains[_OLD_DOMAIN].levels)

    async def swap(self, phase: int) -> SwapOutcome:
        """After so many cycles and as many as are needed to compare with, swap; watch as long again."""
        bench, old = self._bench, self._domain_id
        new = _NEW_DOMAIN if old == _OLD_DOMAIN else _OLD_DOMAIN
        await self._prepare(old, new)
        self._doorbell.prepare(make.context_cache(Granularity.SELECTIVE, domain_id=old, source_id=self._source_id),
                               make.iotlb(Granularity.DOMAIN_SELECTIVE, domain_id=old))
        bench.drain()
        await bench.pause(self._window + phase)
        begin = bench.cycle
        await self._write(UpdateRegister.COMMAND, encode(UpdateCommand, operation=UpdateOperation.COMPARE_EXCHANGE_128))
        await self._doorbell.ring()
        await self._doorbell.answer(limit_cycles=_HANG_CYCLES)
        await bench.pause(max(1, begin + self._window - bench.cycle))
        verdicts = (Verdict.OLD, Verdict.NEW) if old == _OLD_DOMAIN else (Verdict.NEW, Verdict.OLD)
        self._domain_id = new
        return swap_outcome(bench.drain(), source_id=self._source_id, old=verdicts[0], new=verdicts[1], old_domain_id=old,
                            pages=self._pages)

    async def _prepare(self, old: int, new: int) -> None:
        """Everything of the compare-exchange but the command."""
        before, after = (self._machine.context_entry(domain_id) for domain_id in (old, new))
        for register, value in ((UpdateRegister.ADDRESS, self._machine.entry_hpa(self._source_id)),
                                (UpdateRegister.EXPECTED_LOW, before % (1 << 64)), (UpdateRegister.EXPECTED_HIGH, before >> 64),
                                (UpdateRegister.DESIRED_LOW, after % (1 << 64)), (UpdateRegister.DESIRED_HIGH, after >> 64)):
            await self._write(register, value)

    async def _write(self, register: UpdateRegister, value: int) -> None:
        """Past the transport, which would take the events of what goes before."""
        await self._bench.access(write=True, wide=True, address=UPDATE_BASE + int(register), value=int(value))


async def _started(bench: Bench, case: Case, log2: int) -> tuple[BenchMachine, Span]:
    """The machine of a case, and what its first device visits. `option`: how many devices there are."""
    size = PAGE_BYTES << log2
    spans = [Span(_BASE + size * number, DATA_BASE + size * number, log2) for number in range(case.option)]
    first = spans[0]
    domains = [BenchDomain(_OLD_DOMAIN, (Region(first.iova, first.hpa, size),), case.levels),
               BenchDomain(_NEW_DOMAIN, (Region(first.iova, first.hpa + _NEW_BASE - DATA_BASE, size),), case.levels),
               *(BenchDomain(_OTHER_DOMAINS + number, (Region(span.iova, span.hpa, size),), case.levels)
                 for number, span in enumerate(spans[1:]))]
    devices = [BenchDevice(_FIRST_SOURCE_ID + number, _OLD_DOMAIN if number == 0 else _OTHER_DOMAINS + number - 1, (span,),
                           outstanding_limit=OUTSTANDING) for number, span in enumerate(spans)]
    machine = await BenchMachine.start(bench, domains, devices, latency=case.latency, seed=case.seed)
    await machine.engine.write_pages(0, [TrafficPage(first.iova, first.hpa, first.hpa + _NEW_BASE - DATA_BASE,
                                                     Permission.READ_WRITE, log2)])
    await machine.engine.expect(0, old_domain_id=_OLD_DOMAIN, new_domain_id=_NEW_DOMAIN, new_permitted=True)
    return machine, first


async def _swaps(bench: Bench, case: Case, log2: int) -> dict[str, Any]:
    """All phases, and what the traffic engine has counted at the end."""
    machine, span = await _started(bench, case, log2)
    doorbell = await Doorbell.take_over(bench, machine.registers, status_hpa=await machine.allocator.allocate())
    swapper, phases = _Swapper(machine, doorbell, span), random.Random(case.text)
    await machine.run(_LONGEST_PHASE + 20 * case.latency + 4 * (1 << log2))
    outcomes = []
    for _ in range(phases_of(case)):
        outcomes.append(await swapper.swap(phases.randrange(1, _LONGEST_PHASE)))
        if outcomes[-1].hang:
            return {"swaps": [asdict(outcome) for outcome in outcomes], "counted": []}
    await machine.stop()
    counted = [await machine.verdicts(index) for index in range(case.option)]
    return {"swaps": [asdict(outcome) for outcome in outcomes], "counted": counted}


async def swap_hitting(bench: Bench, case: Case) -> dict[str, Any]:
    """Each device on eight pages of its own, which the IOTLB holds."""
    return await _swaps(bench, case, _HITTING_LOG2)


async def swap_thrashing(bench: Bench, case: Case) -> dict[str, Any]:
    """Each device on 2,048 pages of its own, far more than the IOTLB holds."""
    return await _swaps(bench, case, _THRASHING_LOG2)
