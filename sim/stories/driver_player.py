"""Plays the steps of a `DriverPlan` on a machine, with DMA running all the time.

The driver's side is as recorded: register accesses one after the other, descriptors in the ring before the doorbell, waits
waited for. The devices' side is in sim/stories/driver_dma.py.
"""
from collections.abc import Mapping, Sequence

from hw.spec.bench import UNIT_BASE
from hw.spec.codec import encode
from hw.spec.dma import Status
from hw.spec.invalidation import DescriptorType, InterruptEntryCacheDescriptor
from hw.spec.registers import register, register_offset
from hw.spec.tables import PAGE_BITS, PAGE_BYTES, SecondStageEntry
from sim.bench import Bench
from sim.stories.driver_dma import DriverDma, agrees, in_words, read_of
from sim.stories.driver_plan import Check, Doorbell, DriverPlan, ExpectedFault, Gone, Load, Step, Tables, Traffic
from sim.stories.play_account import PlayAccount
from sim.stories.read_masks import POLLED, RegisterMap
from sim.transport import CosimTransport
from sw.capture import LiveTranslation
from sw.old_kernel import load_tables
from sw.registers import RegisterFile
from sw.trace import RegisterRead, RegisterWrite, StatusWrite, TracedRecord

__all__ = ["DriverPlayer"]

_POLL_CYCLES = 20
_BOUND_CYCLES = 20_000  # within which everything awaited must come
_SETTLE_CYCLES = 500   # in which a DMA that was under way is answered
_DESCRIPTOR_BYTES = 16


class DriverPlayer:
    """One play.

    Parameters
    ----------
    bench : Bench
        After the reset, memory empty.
    plan : DriverPlan
        The steps.
    snapshots
        The capture's, in order.
    registers
        Contents of the captured register window at the first snapshot, by name: a play that begins in the middle needs them.
    account : PlayAccount
        What was done and seen goes there.
    """

    def __init__(self, bench: Bench, plan: DriverPlan, snapshots: Sequence[Tables], registers: Mapping[str, int],
                 account: PlayAccount) -> None:
        self._bench = bench
        self._plan = plan
        self._snapshots = snapshots
        self._registers = registers
        self._transport = CosimTransport(bench)
        first = snapshots[0].capture
        self._map = RegisterMap(first.cap, first.ecap)
        self._account = account
        self._dma = DriverDma(bench, snapshots[0], account)

    async def play(self) -> None:
        """All of it."""
        await load_tables(self._transport, self._dma.tables.capture)
        self._dma.start()
        if self._plan.primed is not None:
            await self._prime(self._plan.primed)
        self._dma.cycle()
        for step in self._plan.steps:
            await self._take(step)
        await self._dma.settle()

    async def _take(self, step: Step) -> None:
        match step:
            case RegisterRead():
                await self._read(step)
            case RegisterWrite():
                await self._write(step)
            case Doorbell():
                await self._ring(step)
            case Traffic():
                self._dma.post(step)
            case ExpectedFault():
                await self._fault(step)
            case Check():
                await self._check(step.epoch)
            case Gone():
                await self._gone(step.rows)
            case Load():
                await self._load(step.epoch)

    # --- the driver's side ---

    async def _prime(self, tail: int) -> None:
        """Bring a fresh unit to where the trace begins: tables, queue and events set, the queue's head and tail at `tail`."""
        registers = await RegisterFile.open(self._transport)
        for name in ("IQA", "RTADDR", "FEDATA", "FEADDR", "FEUADDR", "FECTL"):
            row = register(name)
            await self._transport.write_register(UNIT_BASE + row.offset, row.width // 8, self._registers[name])
        await registers.command(command="QIE", status="QIES")
        await registers.command(command="SRTP", status="RTPS")
        entry = encode(InterruptEntryCacheDescriptor, type=DescriptorType.INTERRUPT_ENTRY_CACHE)
        queue = self._registers["IQA"] >> PAGE_BITS << PAGE_BITS
        for place in range(0, tail, _DESCRIPTOR_BYTES):
            self._bench.memory.write(queue + place, entry.to_bytes(_DESCRIPTOR_BYTES, "little"))
        await registers.write("IQT", QT=tail // _DESCRIPTOR_BYTES)
        await registers.wait("IQH", lambda seen: seen.value == tail, f"IQH={tail:#x}")
        await registers.command(command="TE", status="TES")
        self._account.counts["primed_descriptors"] = tail // _DESCRIPTOR_BYTES
        self._dma.may_pass = False

    async def _read(self, step: RegisterRead) -> None:
        self._account.counts["reads"] += 1
        name = self._map.name(step.offset)
        masks = self._map.ignored(step.offset, step.width)
        ignored = sum(masks.values())
        waited = 0
        while True:
            reply = await self._bench.access(write=False, wide=step.width == 8, address=UNIT_BASE + step.offset)
            same = not reply.error and not (int(reply.data) ^ step.value) & ~ignored
            if same or name not in POLLED or waited >= _BOUND_CYCLES:
                break
            await self._bench.pause(_POLL_CYCLES)
            waited += _POLL_CYCLES
        if not same:
            self._account.differ(f"{name} at {step.offset:#x} reads {int(reply.data):#x}, the driver read {step.value:#x}, "
                         f"and bits {ignored:#x} are not compared")
        self._account.masks.update(entry for entry, bits in masks.items() if (int(reply.data) ^ step.value) & bits)
        if name == "GSTS" and step.value & register("GSTS").field("TES").mask and self._dma.may_pass:
            await self._bench.pause(_SETTLE_CYCLES)
            self._dma.judge_cycled()
            self._dma.may_pass = False

    async def _write(self, step: RegisterWrite) -> None:
        self._account.counts["writes"] += 1
        reply = await self._bench.access(write=True, wide=step.width == 8, address=UNIT_BASE + step.offset, value=step.value)
        if reply.error:
            self._account.differ(f"the write of {step.value:#x} to {self._map.name(step.offset)} is refused")

    async def _ring(self, step: Doorbell) -> None:
        for place, descriptor in step.entries:
            self._bench.memory.write(place, (descriptor.high << 64 | descriptor.low).to_bytes(_DESCRIPTOR_BYTES, "little"))
        for status in step.statuses:
            self._bench.memory.write(status.hpa, (status.data ^ 0xFFFF_FFFF).to_bytes(4, "little"))
        await self._write(step.access)
        self._account.counts["descriptors"] += len(step.entries)
        for status in step.statuses:
            if await self._comes(status):
                self._account.counts["waits"] += 1
            else:
                self._account.differ(f"the wait whose status is {status.data:#x} at {status.hpa:#x} does not complete")

    async def _comes(self, stored: StatusWrite) -> bool:
        """Wait until these four bytes are in memory."""
        for _ in range(_BOUND_CYCLES // _POLL_CYCLES):
            if int.from_bytes(self._bench.memory.read(stored.hpa, 4), "little") == stored.data:
                return True
            await self._bench.pause(_POLL_CYCLES)
        return False

    # --- the devices' side ---

    async def _fault(self, step: ExpectedFault) -> None:
        if step.message is not None:
            self._bench.memory.write(step.message.hpa, bytes(4))
        reply, = await self._dma.ask([step.request])
        if reply.status is not Status.BLOCKED or reply.fault_reason is not step.fault_reason:
            self._account.differ(f"a DMA that must fault with {step.fault_reason.name}: {in_words(step.request, reply)}")
        else:
            self._account.counts["faults"] += 1
        if step.message is not None:
            if await self._comes(StatusWrite(*step.message)):
                self._account.counts["messages"] += 1
            else:
                self._account.differ(f"no message {step.message.data:#x} at {step.message.hpa:#x} comes of "
                                     f"{in_words(step.request, reply)}")
        if step.record is not None:
            await self._compare_record(step.record)

    async def _compare_record(self, recorded: TracedRecord) -> None:
        """FRCD 0 and what the recorded unit wrote, with F set: a field that has no meaning there is not compared."""
        row = register("FRCD")
        capture = self._dma.tables.capture
        place = register_offset("FRCD", fro=capture.cap["FRO"], iro=capture.ecap["IRO"])
        low, high = [int((await self._bench.access(write=False, wide=True, address=UNIT_BASE + place + part)).data)
                     for part in (0, 8)]
        expected = (recorded.high << 64 | recorded.low | row.field("F").mask) & ~row.field("PV").mask
        found = (high << 64 | low) & ~row.field("PV").mask
        self._account.counts["records"] += found == expected
        if found != expected:
            self._account.differ(f"the fault record is {found:#x}, the recorded one {expected:#x}")

    async def _check(self, epoch: int) -> None:
        """A snapshot: what the machine held is in use. What it had just taken away is as it was, or blocked."""
        await self._dma.settle()
        live = [row for row in self._dma.tables.capture.live if not row.in_flight]
        for row, reply in zip(live, await self._dma.ask([read_of(row) for row in live]), strict=True):
            self._account.counts["live"] += 1
            answer = self._dma.tables.answer(read_of(row))
            as_recorded = self._dma.tables.is_as_recorded(row, status=reply.status, hpa=reply.hpa, page_size=reply.page_size)
            if not as_recorded or not agrees(reply, answer):
                self._account.differ(f"snapshot {epoch}, in use: {in_words(read_of(row), reply)}")
        leaving = [row for row in self._dma.tables.capture.live if row.in_flight]
        for row in leaving:
            await self._warm(row)
        for row, reply in zip(leaving, await self._dma.ask([read_of(row) for row in leaving]), strict=True):
            is_old = self._dma.tables.is_as_recorded(row, status=reply.status, hpa=reply.hpa, page_size=reply.page_size)
            self._account.counts["in_flight_old" if is_old else "in_flight_blocked"] += 1
            if not is_old and reply.status is not Status.BLOCKED:
                self._account.differ(f"snapshot {epoch}, in flight: {in_words(read_of(row), reply)}")
        self._dma.may_be_stale = False   # every change before this snapshot has been invalidated: answers are exact again
        self._dma.cycle()

    async def _warm(self, row: LiveTranslation) -> None:
        """Have the unit hold a translation in flight, as the machine did: its leaf stands in memory for one more DMA."""
        leaf = self._dma.tables.answer(read_of(row)).steps[-1]
        entry = encode(SecondStageEntry, readable=1, writable=1, address=row.hpa >> PAGE_BITS)
        self._bench.memory.write(leaf.hpa, entry.to_bytes(8, "little"))
        await self._dma.ask([read_of(row)])
        self._bench.memory.write(leaf.hpa, (leaf.value or 0).to_bytes(8, "little"))

    async def _gone(self, rows: Sequence[LiveTranslation]) -> None:
        for row, reply in zip(rows, await self._dma.ask([read_of(row) for row in rows]), strict=True):
            self._account.counts["in_flight_gone"] += 1
            if reply.status is not Status.BLOCKED:
                self._account.differ(f"after its invalidation: {in_words(read_of(row), reply)}")

    async def _load(self, epoch: int) -> None:
        """The next snapshot's tables, over those of the one before. What is a table no more reads as zero."""
        await self._dma.settle()
        before, self._dma.tables = self._dma.tables, self._snapshots[epoch]
        self._dma.may_be_stale = True
        old, new = before.capture.table_pages(), self._dma.tables.capture.table_pages()
        for hpa in old.keys() - new.keys():
            self._bench.memory.write(hpa, bytes(PAGE_BYTES))
        for hpa, page in new.items():
            if old.get(hpa) != page:
                self._bench.memory.write(hpa, page)
                self._account.counts["pages_changed"] += 1
        self._dma.cycle()
