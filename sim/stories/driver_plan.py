"""What to play of a trace: its events as steps for a machine, and what must be seen at each.

    R              a read, compared under the masks of sim/stories/read_masks.py
    W              a write; of IQT with the descriptors that were executed for it put into the ring before
    I, S           a doorbell's descriptors, and the status words that their waits must store
    T              a DMA that is sent and not waited for, if the tables in memory translate it
    F, N, M        a DMA that must fault with that reason, the record and the message that it must leave
    E              of several snapshots: check the translations in use, play on until what was in flight is invalidated,
                   then put the tables of the next into memory

CPU stores are in no trace: until a snapshot the tables in memory are that snapshot's. What they cannot give is left out,
and counted by the reason.
"""
import itertools
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from hw.spec.dma import Access, Status
from hw.spec.faults import FaultReason
from hw.spec.invalidation import DESCRIPTOR_BYTES
from hw.spec.registers import register_offset
from hw.spec.tables import PAGE_BITS, PAGE_BYTES, PageSize
from sim.model.caches import InvalidationView
from sim.model.memory import Memory
from sim.model.translate import Request, Result, translate
from sw.capture import Capture, LiveTranslation
from sw.errors import CaptureMalformed
from sw.registers import RegisterValue
from sw.trace import (
    Descriptor,
    Fault,
    Message,
    RegisterRead,
    RegisterWrite,
    Snapshot,
    StatusWrite,
    TracedRecord,
    TraceEvent,
    Translation,
)

__all__ = ["Check", "Doorbell", "DriverPlan", "ExpectedFault", "Gone", "Load", "Step", "Tables", "Traffic", "plan"]

_SIZES = {1 << 12: PageSize.SIZE_4K, 1 << 21: PageSize.SIZE_2M, 1 << 30: PageSize.SIZE_1G}
_WIDTH = DESCRIPTOR_BYTES[0]   # every recorded driver of legacy mode uses narrow descriptors


class Doorbell(NamedTuple):
    """Put these at the tail, write IQT, and wait for the status words."""

    access: RegisterWrite
    entries: tuple[tuple[int, Descriptor], ...]   # by address
    statuses: tuple[StatusWrite, ...]


class Traffic(NamedTuple):
    """Send these, and go on. What they must be answered once they are."""

    requests: tuple[Request, ...]
    expected: tuple[Result, ...]


class ExpectedFault(NamedTuple):
    """Send this and see it fault."""

    request: Request
    fault_reason: FaultReason
    record: TracedRecord | None
    message: Message | None


class Check(NamedTuple):
    """A snapshot was taken here: its translations are in use."""

    epoch: int


class Gone(NamedTuple):
    """The invalidation of these has completed."""

    rows: tuple[LiveTranslation, ...]


class Load(NamedTuple):
    """Put the tables of this snapshot into memory."""

    epoch: int


Step = RegisterRead | RegisterWrite | Doorbell | Traffic | ExpectedFault | Check | Gone | Load


class Tables:
    """The tables of one snapshot, and the golden model's word on them."""

    def __init__(self, capture: Capture, straps: int) -> None:
        self.capture = capture
        self._straps = straps
        self._memory = Memory()
        for hpa, page in capture.table_pages().items():
            self._memory.write(hpa, page)

    def answer(self, request: Request) -> Result:
        """What the unit must say, with nothing cached."""
        return translate(self._memory, root_table=self.capture.rtaddr["RTA"], straps=self._straps, request=request)

    def is_as_recorded(self, row: LiveTranslation, *, status: Status, hpa: int, page_size: PageSize) -> bool:
        """Is this answer the translation that the machine held?"""
        return (status, hpa, page_size) == (Status.OK, row.hpa, _SIZES[row.page_bytes])


@dataclass
class DriverPlan:
    """A play.

    Members
    -------
    steps
        In order.
    primed : int or None
        Byte offset at which head and tail of the queue stand when the play begins; None: it begins with a unit after reset.
    left_out
        Events of the trace that are not played, by the reason.
    """

    steps: list[Step] = field(default_factory=list)
    primed: int | None = None
    left_out: Counter[str] = field(default_factory=Counter)


class _Ring:
    """Where the driver's queue is, and how far it was filled."""

    def __init__(self, iqa: RegisterValue, tail: int) -> None:
        self.place(iqa)
        self.tail = tail

    def place(self, iqa: RegisterValue) -> None:
        self._base, self._bytes = iqa["IQA"] << PAGE_BITS, PAGE_BYTES << iqa["QS"]

    def fill(self, tail: int, descriptors: Sequence[Descriptor]) -> tuple[tuple[int, Descriptor], ...]:
        """Addresses of the descriptors up to a new tail.

        Raises
        ------
        ValueError
            If there is room for more or fewer of them.
        """
        room = (tail - self.tail) % self._bytes // _WIDTH
        if room != len(descriptors):
            raise ValueError(f"IQT goes from {self.tail:#x} to {tail:#x}, over {room} descriptors, but {len(descriptors)} "
                             f"were executed")
        places = [self._base + (self.tail + _WIDTH * number) % self._bytes for number in range(room)]
        self.tail = tail
        return tuple(zip(places, descriptors, strict=True))


def plan(events: Sequence[TraceEvent], snapshots: Sequence[Tables], *, iqa: RegisterValue, iqt: int, file: str) -> DriverPlan:
    """Turn a trace into steps.

    Parameters
    ----------
    events
        The trace.
    snapshots
        Of the capture, in order.
    iqa, iqt
        As they stood at the first snapshot.
    file : str
        Name of the trace, for errors.

    Raises
    ------
    CaptureMalformed
        If a doorbell covers another number of descriptors than were executed for it.
    """
    first = snapshots[0].capture
    offsets = {name: register_offset(name, fro=first.cap["FRO"], iro=first.ecap["IRO"]) for name in ("IQA", "IQT")}
    result = DriverPlan()
    ring = _Ring(iqa, 0)
    if not any(isinstance(event, RegisterWrite) and event.offset == offsets["IQA"] for event in events):
        result.primed = ring.tail = _first_tail(events, offsets["IQT"], iqt, PAGE_BYTES << iqa["QS"])
    tables = snapshots[0]
    pending: tuple[LiveTranslation, ...] = ()
    place = 0
    while place < len(events):
        event, place = events[place], place + 1
        match event:
            case RegisterRead():
                result.steps.append(event)
            case RegisterWrite() if event.offset == offsets["IQT"]:
                followers = list(_up_to_next(events, place, offsets["IQT"]))
                descriptors = [each for each in followers if isinstance(each, Descriptor)]
                try:
                    entries = ring.fill(event.value, descriptors)
                except ValueError as error:
                    raise CaptureMalformed(file, f"event {place}: {error}") from error
                statuses = tuple(each for each in followers if isinstance(each, StatusWrite))
                result.steps.append(Doorbell(event, entries, statuses) if entries else event)
                pending = _settle(result, tables, pending, descriptors)
            case RegisterWrite():
                if event.offset == offsets["IQA"]:
                    ring.place(RegisterValue(iqa.row, event.value))
                result.steps.append(event)
            case Translation():
                _add_translation(result, tables, event)
            case Fault():
                _add_fault(result, tables, event, events[place:place + 2])
            case Snapshot(epoch):
                if tables.capture.epoch != epoch:
                    raise CaptureMalformed(file, f"event {place}: snapshot {epoch} comes before the invalidation of what was "
                                                 f"in flight at snapshot {tables.capture.epoch}")
                result.steps.append(Check(epoch))
                pending = tuple(row for row in tables.capture.live if row.in_flight)
        if result.steps and isinstance(result.steps[-1], Check | Gone) and not pending:
            following = tables.capture.epoch + 1
            if following < len(snapshots):
                tables = snapshots[following]
                result.steps.append(Load(following))
    if pending:
        result.left_out["in flight at the last snapshot: the trace ends before the invalidation"] = len(pending)
    return result


def _first_tail(events: Sequence[TraceEvent], offset: int, iqt: int, size: int) -> int:
    """Where the tail stood before the first doorbell."""
    for place, event in enumerate(events):
        if isinstance(event, RegisterWrite) and event.offset == offset:
            count = sum(isinstance(each, Descriptor) for each in _up_to_next(events, place + 1, offset))
            return int((event.value - _WIDTH * count) % size)
    return iqt


def _up_to_next(events: Sequence[TraceEvent], place: int, offset: int) -> Iterator[TraceEvent]:
    """The events from `place` on, up to the next doorbell."""
    for event in itertools.islice(events, place, None):
        if isinstance(event, RegisterWrite) and event.offset == offset:
            return
        yield event


def _settle(result: DriverPlan, tables: Tables, pending: tuple[LiveTranslation, ...],
            descriptors: Sequence[Descriptor]) -> tuple[LiveTranslation, ...]:
    """Say which of the translations in flight these descriptors take away; returns the others."""
    views = [InvalidationView.of_descriptor(each.high << 64 | each.low) for each in descriptors]

    def is_covered(row: LiveTranslation) -> bool:
        domain_id = tables.capture.devices[row.source_id].domain_id
        return any(view is not None and view.covers_translation(domain_id, row.iova >> PAGE_BITS,
                                                                _SIZES[row.page_bytes].value) for view in views)

    gone = tuple(row for row in pending if is_covered(row))
    if gone:
        result.steps.append(Gone(gone))
    return tuple(row for row in pending if row not in gone)


def _add_translation(result: DriverPlan, tables: Tables, event: Translation) -> None:
    requests = [Request(event.source_id, event.iova, access) for access in (Access.READ, Access.WRITE)]
    answers = [(request, tables.answer(request)) for request in requests]
    permitted = [each for each in answers if each[1].status is Status.OK]
    if not permitted:
        result.left_out[f"translation: the tables in memory give {answers[0][1].fault_reason.name}"] += 1
        return
    request, expected = permitted[0]
    if result.steps and isinstance(last := result.steps[-1], Traffic):
        result.steps[-1] = Traffic((*last.requests, request), (*last.expected, expected))
    else:
        result.steps.append(Traffic((request,), (expected,)))


def _add_fault(result: DriverPlan, tables: Tables, event: Fault, followers: Sequence[TraceEvent]) -> None:
    request = Request(event.source_id, event.iova, Access.WRITE if event.write else Access.READ)
    answer = tables.answer(request)
    if answer.status is not Status.BLOCKED or answer.fault_reason != event.fault_reason:
        said = answer.fault_reason.name if answer.status is Status.BLOCKED else "a translation"
        result.left_out[f"fault {event.fault_reason}: the tables in memory give {said}"] += 1
        return
    followers = list(itertools.takewhile(lambda each: isinstance(each, TracedRecord | Message), followers))
    record = next((each for each in followers if isinstance(each, TracedRecord)), None)
    message = next((each for each in followers if isinstance(each, Message)), None)
    result.steps.append(ExpectedFault(request, FaultReason(event.fault_reason), record, message))
