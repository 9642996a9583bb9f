"""Faults from every source at the same time, run in the simulator by test_storm.py: a crowd of requests, each blocked for
another reason, while a device answers the queue with an error and the queue meets a descriptor that is none.

A storm is three crowds on one machine. What stopped the queue is mended after each, as a driver does: a wait takes the
place of the bad descriptor. Storms differ by the cycle in which the queue's errors come: ahead of the faults, among them,
or after them.
"""
from dataclasses import dataclass, replace

import cocotb

from hw.spec.codec import encode
from hw.spec.dma import RequestKind
from hw.spec.events import EventKind, FaultDisposition, MessageKind
from hw.spec.monitor import DeviceTlbAnswer, QueueKnobs
from sim.bench import Bench, give_result
from sim.events import of_kind
from sim.player import DmaPlayer, PlayedRequest
from sw import descriptors as make
from sw.fault_events import send_fault_events
from sw.faults import QueueFailure
from tests.cosim.faults_bench import Machine
from tests.cosim.tables import ATOMIC, IOVA, SOURCE_ID, WRITE, Tables, unmapped

STORMS = range(32)
EVENT_HPA, EVENT_DATA = 0x3000, 0xFA17
FAILING_DEVICE = 0x0711
MAPPED = PlayedRequest(SOURCE_ID, IOVA[4])
CROWD = (
    (replace(MAPPED, source_id=SOURCE_ID + 0x100), 0x01),
    (replace(MAPPED, source_id=SOURCE_ID + 1, access=WRITE), 0x02),
    (replace(MAPPED, iova=1 << 48 | IOVA[4], access=ATOMIC), 0x04),
    (replace(unmapped(0), access=WRITE), 0x05),
    (unmapped(1), 0x06),
    (MAPPED, 0x0C),
    (replace(MAPPED, kind=RequestKind.TRANSLATED), 0x0D),
    (replace(MAPPED, pasid_present=True), 0x31),
)
"""Requests, and the reason for which each is blocked."""
ONE_MORE = ((unmapped(2), 0x06),)

_TABLES = Tables(entries={1: dict(transient_mapping=1)})
_QUEUE_PAGE, _STATUS_HPA = 0x40, 0x3010
_BAD = 0xF
_LONG_ENOUGH_CYCLES = 300


@dataclass
class Storm:
    """A machine whose fault events and queue are on. Made by `start`.

    Members
    -------
    lead
        Cycles by which the queue's errors are asked for ahead of the requests; 0 for the other way round.
    tail
        How many descriptors have been put into the queue.
    """

    bench: Bench
    machine: Machine
    player: DmaPlayer
    lead: int
    tail: int = 0

    @classmethod
    async def start(cls, bench, number):
        """The number says when the queue's errors come."""
        timing = dict(latency=2, jitter=10, reorder=True, seed=number + 1)
        machine = await Machine.start(bench, _TABLES, timing=timing)
        lead = 2 * number if number % 2 else 0
        bench.set_port("queue_knobs", encode(
            QueueKnobs, fetch_delay=number if lead else 2 * number,
            device_tlb_delay=1 + 7 * number % len(STORMS), device_tlb_answer=DeviceTlbAnswer.ERROR))
        await machine.registers.write("IQA", IQA=_QUEUE_PAGE)
        await machine.registers.command(command="QIE", status="QIES")
        await send_fault_events(machine.registers, hpa=EVENT_HPA, data=EVENT_DATA)
        return cls(bench, machine, DmaPlayer(bench), lead)

    async def crowd(self, requests, *, errors=True):
        """All of these at once, and with them the queue's errors; then what is found when all is quiet."""
        registers, before = self.machine.registers, len(self.bench.log)
        self.player.start()
        if errors and self.lead:
            await self._queue(make.device_tlb(FAILING_DEVICE), _BAD)
            await self.bench.pause(self.lead)
        first = self.player.post([request for request, _ in requests])
        if errors and not self.lead:
            await self._queue(make.device_tlb(FAILING_DEVICE), _BAD)
        await self.player.settle()
        await self.bench.pause(_LONG_ENOUGH_CYCLES)
        status = await registers.read("FSTS")
        records = [await registers.read("FRCD", (status["FRI"] + step) % 8) for step in range(8)]
        log = self.bench.log[before:]
        faults, troubles, messages = (of_kind(log, kind) for kind in (
            EventKind.FAULT, EventKind.QUEUE_ERROR, EventKind.MESSAGE))
        return {
            "replies": [(reply.status.value, reply.fault_reason.value)
                        for reply in self.player.replies(first, len(requests))],
            "records": [record.value for record in records if record["F"]],
            "recorded": [[int(each["source_id"]), int(each["iova"]), int(each["detail_lo"])] for each in faults
                         if each["tag"] == FaultDisposition.RECORDED],
            "status": status.value, "errors": (await registers.read("IQERCD")).value,
            "head": (await registers.read("IQH"))["QH"], "bad": self.tail - 1,
            "messages": [[int(each["hpa"]), int(each["detail_lo"])] for each in messages
                         if each["tag"] == MessageKind.FAULT_EVENT],
            "fault cycles": faults["cycle"].tolist(),
            "trouble cycles": {int(each["tag"]): int(each["cycle"]) for each in troubles},
        }

    async def mend(self):
        """What the driver finds of the queue; then a wait where it stands, its errors cleared, and what came of that."""
        registers = self.machine.registers
        failure = await QueueFailure.read(registers)
        self._put(self.tail - 1, make.wait(_STATUS_HPA, self.tail))
        await failure.clear(registers)
        await self.bench.pause(_LONG_ENOUGH_CYCLES)
        stored = int.from_bytes(self.bench.memory.read(_STATUS_HPA, 4), "little")
        return {"failure": str(failure), "done": stored == self.tail, "status": (await registers.read("FSTS")).value}

    async def _queue(self, *descriptors):
        for descriptor in descriptors:
            self._put(self.tail, descriptor)
            self.tail += 1
        await self.machine.registers.write("IQT", QT=self.tail)

    def _put(self, slot, descriptor):
        self.bench.memory.write((_QUEUE_PAGE << 12) + 16 * slot, descriptor.to_bytes(16, "little"))


async def play_storm(bench, number):
    """A crowd; its records are read, and one more fault comes before the queue is mended; a second crowd; and one too many."""
    storm = await Storm.start(bench, number)
    return {
        "first": await storm.crowd(CROWD), "first taken": await storm.machine.recorded(),
        "one more": await storm.crowd(ONE_MORE, errors=False), "one more taken": await storm.machine.recorded(),
        "first mended": await storm.mend(),
        "second": await storm.crowd(CROWD), "second taken": await storm.machine.recorded(),
        "second mended": await storm.mend(),
        "nine": await storm.crowd(CROWD + ONE_MORE), "nine taken": await storm.machine.recorded(),
        "nine mended": await storm.mend(),
    }


@cocotb.test()
async def everything(dut):
    """All of them; each begins with a reset."""
    bench = Bench(dut, deadline_cycles=100_000)
    give_result([await play_storm(bench, number) for number in STORMS])
