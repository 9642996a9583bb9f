# amaranth: UnusedElaboratable=no
"""Plays random cases, one after the other, in one simulator process. Its parent sends cases and takes event logs. Ours.

::

    fuzz (parent) --case, JSON--> [ reset, memory, program, settle, final reads ] --Played--> parent

While the worker waits for a case the simulator waits with it: no cycle passes. Every wait has a deadline; a machine that
misses one is given up, and the worker with it, for nothing can be said of what it would do next.
"""
from collections.abc import Awaitable
from dataclasses import dataclass, field
from multiprocessing.connection import Client
from typing import Any, TypeVar

import cocotb
from cocotb.triggers import SimTimeoutError, with_timeout

from hw.iommu.messages import CachesOff
from hw.spec.bench import MONITOR_BASE, UNIT_BASE, UPDATE_BASE, UpdateCommand, UpdateOperation, UpdateRegister
from hw.spec.codec import encode
from hw.spec.invalidation import ABORT_MODE_DESCRIPTORS
from hw.spec.monitor import DeviceTlbAnswer, MonitorRegister, QueueKnobs
from hw.spec.tables import PAGE_BITS
from sim.bench import Bench, run_config
from sim.events import Events
from sim.model.follower import Note
from sim.player import DmaPlayer, PlayedRequest
from sim.stories.fuzz_case import Case
from sim.wrapper import CLOCK_PERIOD_STEPS

__all__ = ["ACCESS_CYCLES", "WAIT_CYCLES", "Played"]

ACCESS_CYCLES = 2_000     # a register access is answered by then
WAIT_CYCLES = 60_000      # so is every request; and the unit is quiet by then
_POLLS = 30
_POLL_CYCLES = 40
_QUIET_CYCLES = 60        # and as many as the knobs delay things
_UNSEEN = 9               # descriptors that may be executed one after the other without an event
_FINAL = ("FSTS", "GSTS", "IQH", "IQERCD", "ICS", "FECTL", "IECTL", "CCMD", "IOTLB")
_STORE = int(encode(UpdateCommand, operation=UpdateOperation.STORE_64))
_COMMON_MONITORS = tuple(each for each in MonitorRegister if each is not MonitorRegister.DESCRIPTORS)
T = TypeVar("T")


@dataclass
class Played:
    """What became of a case.

    Members
    -------
    events : Events
        The whole log.
    notes : list of Note
        What the log does not say.
    reads : list of int
        What the host was answered, in the order of its accesses to the register window.
    monitor : dict
        Counters at the end, by name and, for descriptors, by type.
    cycles : int
        That it took.
    longest_wait : float
        The share of its deadline that the longest wait took; 1 if it was missed.
    hang : str
        What the machine was busy with when a deadline had passed.
    """

    events: Events | None = None
    notes: list[Note] = field(default_factory=list)
    reads: list[int] = field(default_factory=list)
    monitor: dict[str, int] = field(default_factory=dict)
    cycles: int = 0
    longest_wait: float = 0.0
    hang: str = ""


class _Machine:
    """Plays one case."""

    def __init__(self, bench: Bench, case: Case) -> None:
        self._bench = bench
        self._case = case
        self._player = DmaPlayer(bench)
        self._posted = 0
        self._requests = [PlayedRequest(each.source_id, each.iova, each.access, each.kind, each.length_bytes,
                                        each.pasid_present)
                          for each in (case.request(number) for number in range(len(case.requests)))]
        self._answer, self._delay, self._longest_delay = DeviceTlbAnswer.DONE, 0, 0
        self.played = Played()

    async def run(self) -> None:
        """From the reset to the last read."""
        await self._reset()
        for name, *arguments in self._case.program:
            await getattr(self, f"_{name}")(*arguments)
        await self._barrier()
        await self._settle()
        for name in _FINAL:
            offset = self._case.offset(name)
            await self._read(offset, 8 if name in {"IQH", "IQERCD", "CCMD", "IOTLB"} else 4)
        for index in range(self._case.straps["fault_records"] + 1):
            for part in (0, 8):
                await self._read(self._case.offset("FRCD", index) + part, 8)
        for row in _COMMON_MONITORS:
            self.played.monitor[row.name] = await self._host(MONITOR_BASE + row.value)
        for kind in ABORT_MODE_DESCRIPTORS:
            place = MONITOR_BASE + MonitorRegister.DESCRIPTORS + 8 * kind.value
            self.played.monitor[kind.name] = await self._host(place)
        self.played.cycles = self._bench.cycle

    async def _reset(self) -> None:
        case, memory, knobs = self._case, self._bench.memory, self._case.knobs
        memory.reset()
        memory.set_timing(latency=knobs.get("latency", 1), jitter=knobs.get("jitter", 0),
                          interval=knobs.get("interval", 1), reorder=bool(knobs.get("reorder", 0)), seed=knobs.get("seed", 1))
        memory.set_limit(case.memory_limit)
        for hpa, word in case.image:
            memory.write(hpa, word.to_bytes(8, "little"))
        for page in case.unreadable:
            memory.mark_error(page << PAGE_BITS)
        caches_off = int(encode(CachesOff, context_cache=knobs.get("context_cache_off", 0),
                                iotlb=knobs.get("iotlb_off", 0), source_id=knobs.get("caches_off_source_id", 0)))
        await self._bench.reset(straps=case.encoded_straps, chunk_delay=0, caches_off=caches_off,
                                queue_knobs=self._queue_knobs())
        self._player.start(outstanding=knobs.get("outstanding", 1024), retire_delay=knobs.get("retire_delay", 0),
                           seed=knobs.get("seed", 1))

    def _queue_knobs(self) -> int:
        knobs = self._case.knobs
        return int(encode(QueueKnobs, fetch_delay=knobs.get("fetch_delay", 0), execute_delay=knobs.get("execute_delay", 0),
                          device_tlb_delay=self._delay, device_tlb_answer=self._answer))

    # --- operations ---

    async def _write(self, offset: int, size: int, value: int) -> None:
        await self._access(write=True, wide=size == 8, address=UNIT_BASE + offset, value=value)

    async def _read(self, offset: int, size: int) -> int:
        value = await self._access(write=False, wide=size == 8, address=UNIT_BASE + offset)
        self.played.reads.append(value)
        return value

    async def _poll(self, offset: int, size: int, mask: int, value: int) -> None:
        for _ in range(_POLLS):
            if await self._read(offset, size) & mask == value:
                return
            await self._bench.pause(_POLL_CYCLES)

    async def _store(self, hpa: int, value: int) -> None:
        await self._host(UPDATE_BASE + UpdateRegister.ADDRESS, hpa)
        await self._host(UPDATE_BASE + UpdateRegister.DESIRED_LOW, value)
        await self._host(UPDATE_BASE + UpdateRegister.COMMAND, _STORE)
        await self._within(WAIT_CYCLES, self._update_done())

    async def _update_done(self) -> None:
        while await self._host(UPDATE_BASE + UpdateRegister.STATUS) & 1:
            pass

    async def _poke(self, hpa: int, content: str) -> None:
        content_bytes = bytes.fromhex(content)
        self.played.notes.append(Note(self._bench.cycle, "stored", hpa, content_bytes))
        self._bench.memory.write(hpa, content_bytes)

    async def _dma(self, count: int) -> None:
        following = self._requests[self._posted:self._posted + count]
        self._posted += len(following)
        self._player.post(following)
        await self._bench.pause(1)

    async def _barrier(self) -> None:
        await self._within(WAIT_CYCLES, self._player.settle(poll_cycles=20))

    async def _pause(self, cycles: int) -> None:
        await self._bench.pause(cycles)

    async def _device(self, answer: int, delay: int) -> None:
        self._answer, self._delay = DeviceTlbAnswer(answer), delay
        self._longest_delay = max(self._longest_delay, delay)
        self.played.notes.append(Note(self._bench.cycle, "answer", answer=answer))
        self._bench.set_port("queue_knobs", self._queue_knobs())

    async def _settle(self) -> None:
        """Wait until nothing has happened for as long as anything may be delayed."""
        knobs = self._case.knobs
        unseen = self._longest_delay + knobs.get("execute_delay", 0)
        quiet = _QUIET_CYCLES + _UNSEEN * unseen + sum(knobs.get(name, 0) for name in (
            "latency", "latency", "jitter", "fetch_delay", "retire_delay"))

        async def quietness() -> None:
            while True:
                self._bench.drain()
                await self._bench.pause(quiet)
                if not len(self._bench.drain()):
                    return
        await self._within(WAIT_CYCLES, quietness())
        self.played.notes.append(Note(self._bench.cycle, "settled"))

    # --- waits ---

    async def _host(self, address: int, value: int | None = None) -> int:
        return await self._access(write=value is not None, wide=True, address=address, value=value or 0)

    async def _access(self, **access: Any) -> int:
        reply = await self._within(ACCESS_CYCLES, self._bench.access(**access))
        return int(reply.data)

    async def _within(self, cycles: int, waiting: Awaitable[T]) -> T:
        begin = self._bench.cycle
        try:
            result: T = await with_timeout(waiting, cycles * CLOCK_PERIOD_STEPS, "step")
        except SimTimeoutError:
            self.played.longest_wait = 1.0
            raise
        self.played.longest_wait = max(self.played.longest_wait, (self._bench.cycle - begin) / cycles)
        return result


@cocotb.test()
async def play_cases(dut: Any) -> None:
    """Until the parent sends nothing more."""
    bench = Bench(dut, deadline_cycles=1 << 40)
    with Client(run_config()["address"]) as parent:
        while (text := parent.recv()) is not None:
            machine = _Machine(bench, Case.from_json(text))
            try:
                await machine.run()
            except SimTimeoutError:
                machine.played.hang = bench.in_flight()
            machine.played.events = bench.log
            parent.send(machine.played)
            if machine.played.hang:
                break
