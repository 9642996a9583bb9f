"""Runs every case of fault_cases and fault_pairs, random tables and three stories in one simulator; see test_faults.py.

What comes out of a request: the reply (None: there was none), the reads that it cost, FSTS afterwards, the fault record
that FSTS points to, and what the driver read while it cleared the records.
"""
import cocotb
from cocotb.triggers import SimTimeoutError, Timer, with_timeout

from hw.spec.capabilities import STRAPS_DEFAULT
from hw.spec.events import EventKind
from hw.spec.tables import PAGE_BYTES
from sim.bench import Bench, give_result
from sim.events import of_kind
from sim.player import DmaPlayer, PlayedRequest
from sim.transport import CosimTransport
from sim.wrapper import CLOCK_PERIOD_STEPS
from sw.faults import FaultLog
from sw.registers import RegisterFile
from tests.cosim.fault_cases import CASES, KEPT, REPAIRS
from tests.cosim.fault_pairs import ALONE, PAIRS
from tests.cosim.random_tables import RandomTables
from tests.cosim.tables import IOVA, ROOT_PAGE, SOURCE_ID, Tables, straps, unmapped

RANDOM_SEEDS = range(40)
MAPPED = PlayedRequest(SOURCE_ID, IOVA[4])

_PATIENCE_CYCLES = 5_000   # a request that has no reply by then will have none
_POLL_CYCLES = 10
_DEADLINE_CYCLES = 100_000
_ORDERLY = dict(latency=3)
_DISORDERLY = dict(latency=2, jitter=30, reorder=True)


class Machine:
    """The unit, from reset, with tables in memory and the driver's way to its registers. Made by `start`."""

    def __init__(self, bench, registers, transport):
        self._bench = bench
        self._player = DmaPlayer(bench)
        self._faults = FaultLog(transport, registers)
        self.registers = registers

    @classmethod
    async def start(cls, bench, tables, *, straps=STRAPS_DEFAULT, enabled=True, mode=0, timing=_ORDERLY):
        """Reset the unit, put the tables into memory and turn translation on."""
        bench.memory.reset()
        bench.memory.set_timing(**timing)
        bench.memory.set_limit(tables.memory_end)
        put(bench, tables)
        for page in tables.unreadable_pages:
            bench.memory.mark_error(page * PAGE_BYTES)
        await bench.reset(straps=straps, chunk_delay=0, caches_off=0, queue_knobs=0)
        transport = CosimTransport(bench)
        registers = await RegisterFile.open(transport)
        await registers.write("RTADDR", RTA=ROOT_PAGE, TTM=mode)
        await registers.command(command="SRTP", status="RTPS")
        if enabled:
            await registers.command(command="TE", status="TES")
        return cls(bench, registers, transport)

    async def play(self, requests, *, outstanding=1024):
        """The replies as dictionaries; all of them None if one was missing."""
        try:
            replies = await with_timeout(
                self._player.play(requests, outstanding=outstanding, poll_cycles=_POLL_CYCLES),
                _PATIENCE_CYCLES * CLOCK_PERIOD_STEPS, "step")
        except SimTimeoutError:
            await Timer(2 * _POLL_CYCLES * CLOCK_PERIOD_STEPS, "step")  # until the pause that was given up has ended
            return [None] * len(requests)
        return [{name: getattr(value, "value", value) for name, value in vars(reply).items()} for reply in replies]

    async def ask(self, request):
        """One request, and everything that it leaves behind."""
        before = len(self._bench.log)
        reply, = await self.play([request])
        reads = of_kind(self._bench.log[before:], EventKind.MEMORY)["hpa"].tolist()
        return {"reply": reply, "reads": reads, **await self.recorded()}

    async def recorded(self):
        """The fault registers as they stand, then as the driver reads them; all are clear afterwards."""
        status = await self.registers.read("FSTS")
        record = (await self.registers.read("FRCD", status["FRI"])).value if status["PPF"] else None
        faults, overflowed = await self._faults.take()
        taken = [[fault.source_id, fault.iova, fault.reason.value, fault.kind.value] for fault in faults]
        return {"status": status.value, "record": record, "taken": taken, "overflowed": overflowed}


def put(bench, tables):
    """Tables into memory."""
    for hpa, content in tables.words.items():
        bench.memory.write(hpa, content)


async def play_case(bench, case):
    """Each request of a case, after the reply to the one before."""
    machine = await Machine.start(bench, case.tables, straps=case.straps, enabled=case.enabled, mode=case.mode)
    return [await machine.ask(request) for request in case.requests]


async def play_pair(bench, case):
    """The requests of a case one after the other, then FSTS, the pending records and all that was read."""
    machine = await Machine.start(bench, case.tables, straps=case.straps, enabled=case.enabled, mode=case.mode)
    before = len(bench.log)
    replies = await machine.play(case.requests, outstanding=1)
    reads = of_kind(bench.log[before:], EventKind.MEMORY)["hpa"].tolist()
    status = (await machine.registers.read("FSTS")).value
    records = [await machine.registers.read("FRCD", index) for index in range(len(case.requests))]
    return {"replies": replies, "reads": reads, "status": status, "records": [one.value for one in records if one["F"]]}


async def play_random(bench, seed):
    """All requests of random tables at once, over a memory that answers in any order."""
    tables = RandomTables.of_seed(seed)
    machine = await Machine.start(bench, tables, straps=tables.straps, timing=_DISORDERLY | dict(seed=seed + 1))
    return await machine.play(tables.requests)


async def repair(bench, case):
    """A request that faults; then its tables become good ones, without an invalidation; then the request again."""
    machine = await Machine.start(bench, case.tables, straps=case.straps)
    request = case.requests[0]
    before = await machine.ask(request)
    put(bench, case.tables.repaired)
    for page in case.tables.unreadable_pages:
        bench.memory.mark_error(page * PAGE_BYTES, bad=False)
    return [before, await machine.ask(request)]


async def overflow(bench):
    """Nine faults in a row; then the driver clears everything; then one more fault."""
    machine = await Machine.start(bench, Tables())
    replies = await machine.play([unmapped(number) for number in range(9)], outstanding=1)
    records = [(await machine.registers.read("FRCD", index)).value for index in range(8)]
    good, = await machine.play([MAPPED])
    return {"replies": replies, "records": records, "good": good, "full": await machine.recorded(),
            "after": await machine.ask(unmapped(9))}


async def overflow_stands(bench):
    """Nine faults; every record is cleared, FSTS.PFO is not; one fault more; then PFO is cleared, and another fault."""
    machine = await Machine.start(bench, Tables())
    await machine.play([unmapped(number) for number in range(9)], outstanding=1)
    for index in range(8):
        await machine.registers.clear_fault_record(index)
    return {"lost": await machine.ask(unmapped(9)), "after": await machine.ask(unmapped(10))}


async def few_records(bench):
    """Five faults of a unit that shows four records."""
    machine = await Machine.start(bench, Tables(), straps=straps(fault_records=3))
    await machine.play([unmapped(number) for number in range(5)], outstanding=1)
    return await machine.recorded()


@cocotb.test()
async def everything(dut):
    """All of it; every case begins with a reset, and has a deadline of its own."""
    bench = Bench(dut, deadline_cycles=_DEADLINE_CYCLES)
    give_result({
        "cases": {name: await play_case(bench, case) for name, case in CASES.items()},
        "pairs": {name: await play_pair(bench, case) for name, case in (ALONE | PAIRS).items()},
        "repairs": {name: await repair(bench, CASES[name]) for name in [*REPAIRS, *KEPT]},
        "random": {seed: await play_random(bench, seed) for seed in RANDOM_SEEDS},
        "overflow": await overflow(bench),
        "overflow stands": await overflow_stands(bench),
        "few records": await few_records(bench),
    })
