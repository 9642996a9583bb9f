"""The scoreboard: follows an event log in order, and says whatever the specification does not permit in it. Ours.

::

    event log --+--> stores (update port, host, the unit's own) --> Quanta: memory with its past
                +--> CONTROL, INVALIDATION_* ---------------------> Permitted: sets of answers
                +--> REQUEST, REPLY, FAULT, RETIRE ---------------> FollowedDma: is the answer in its set?
                +--> REGISTER, MESSAGE ---------------------------> FollowedRegisters
                +--> DESCRIPTOR, QUEUE_ERROR, WAIT_ABANDONED -----> FollowedQueue

Within a cycle events are read in the order of the unit's ports. It is told what the log does not say: what each request asks
for beside its address, what the host stored past the update port, and how devices answer.
"""
from collections import Counter, deque
from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple

from hw.spec.capabilities import STRAPS_DEFAULT
from hw.spec.events import ControlDetail, EventKind, MessageKind
from hw.spec.memory import CLIENT_TAG_BITS, QUANTUM_BYTES, MemoryClient, MemoryOperation
from hw.spec.monitor import DeviceTlbAnswer
from hw.spec.tables import PAGE_BITS
from sim.model.caches import InvalidationView
from sim.model.entries import limits
from sim.model.fields import field
from sim.model.followed_dma import FollowedDma
from sim.model.followed_queue import FollowedQueue
from sim.model.followed_registers import FollowedRegisters
from sim.model.logged_event import LoggedEvent
from sim.model.permitted import Permitted
from sim.model.quanta import Quanta
from sim.model.translate import Request, is_beyond

__all__ = ["Follower", "Note", "Trouble"]

_ENABLED, _LATCHED, _MODE, _ROOT_INVALID = (field(ControlDetail, name) for name in (
    "translation_enabled", "latched", "translation_table_mode", "root_invalid"))
_SHOWN = 20


class Trouble(NamedTuple):
    """Something that may not be."""

    cycle: int
    sentence: str


class Note(NamedTuple):
    """What the log does not say: `what` is "stored" (hpa, bytes), "answer" (DeviceTlbAnswer) or "settled" (nothing)."""

    cycle: int
    what: str
    hpa: int = 0
    content: bytes = b""
    answer: int = 0


class Follower:
    """Follows one machine from its reset.

    Parameters
    ----------
    straps : int
        An encoded `Straps`.
    memory : Quanta
        As it stands at the reset.
    requests : sequence of Request
        The n-th REQUEST event is the n-th of them.

    Members
    -------
    troubles : list of Trouble
        What may not be, in order; the first is the cause as a rule.
    permitted, registers, queue, dma
        The parts.
    protocol_errors : int
        Writes that broke a rule, as the log says.
    granularities : Counter
        (kind, granularity) of invalidations.
    """

    def __init__(self, straps: int = STRAPS_DEFAULT, memory: Quanta | None = None, *,
                 requests: Sequence[Request] = ()) -> None:
        self.memory = memory or Quanta()
        self.permitted = Permitted(straps, self.memory)
        self.registers = FollowedRegisters(straps, complain=self._complain)
        self.queue = FollowedQueue(self.registers, self.permitted, complain=self._complain)
        self.registers.waits = self.queue
        self.dma = FollowedDma(self.registers, self.permitted, requests, complain=self._complain)
        self.troubles: list[Trouble] = []
        self.protocol_errors = 0
        self.granularities: Counter[tuple[int, int]] = Counter()
        self._now = 0
        self._limits = limits(straps)
        self._root = self._read_root = 0   # page numbers, as latched: the last one; the last one that is an address
        self._last_begun: tuple[int, InvalidationView] | None = None
        self._drain_begun: int | None = None   # the last one with a drain since the last END
        self._shared_begins: list[InvalidationView] = []   # queue and registers asked for the same: more must come
        self._shared_fences = 0      # a queue's wait and a register took one END for theirs: more must come
        self._notes: deque[Note] = deque()
        self._updates: deque[LoggedEvent] = deque()
        self._handlers: dict[int, Callable[[LoggedEvent], None]] = {
            EventKind.MEMORY: self._on_memory, EventKind.MESSAGE: self._on_message,
            EventKind.REGISTER: self._on_register, EventKind.CONTROL: self._on_control,
            EventKind.DESCRIPTOR: self._on_descriptor, EventKind.REQUEST: self.dma.request,
            EventKind.REPLY: self.dma.reply, EventKind.FAULT: self.dma.fault, EventKind.RETIRE: self.dma.retire,
            EventKind.INVALIDATION_BEGIN: self._on_begin, EventKind.INVALIDATION_END: self._on_end,
            EventKind.QUEUE_ERROR: self._on_queue_error, EventKind.WAIT_ABANDONED: self._on_abandoned,
        }

    def _complain(self, sentence: str) -> None:
        if len(self.troubles) < _SHOWN:
            self.troubles.append(Trouble(self._now, sentence))

    def follow(self, events: Iterable[LoggedEvent], notes: Iterable[Note] = ()) -> None:
        """The whole log, and the notes to it, both in order. A note of a cycle comes before that cycle's events."""
        events = list(events)
        self._notes.extend(notes)
        self._updates.extend(event for event in events if event.kind == EventKind.UPDATE)
        handlers = self._handlers
        for event in events:
            if event.cycle != self._now:
                self._advance(event.cycle)
            handler = handlers.get(event.kind)
            if handler is not None:
                handler(event)
        self._advance(self._now)
        while self._notes:
            self._apply(self._notes.popleft())
        self.dma.finish()

    def _advance(self, cycle: int) -> None:
        self.dma.end_of_cycle()
        if cycle < self._now:
            self._complain(f"an event of cycle {cycle} after one of cycle {self._now}")
        while self._notes and self._notes[0].cycle <= cycle:
            self._apply(self._notes.popleft())
        self._now = self.queue.now = cycle

    def _apply(self, note: Note) -> None:
        self._now = self.queue.now = max(self._now, note.cycle)
        if note.what == "stored":
            self._store(note.cycle, note.hpa, note.content)
        elif note.what == "answer":
            self.queue.answer(DeviceTlbAnswer(note.answer))
        else:
            self._settle()

    def _settle(self) -> None:
        """The unit has had time enough for everything that it was asked for."""
        for view in self._shared_begins:
            self._complain(f"{view} has begun once, and was asked for twice")
        self.queue.finish_all()
        self.registers.finish_all()
        for message in self.registers.messages.owed():
            self._complain(f"{message.kind.name} of {message.data:#x} to {message.address:#x} was never stored")

    # --- memory ---

    def _store(self, cycle: int, hpa: int, content: bytes) -> None:
        self.memory.write(cycle, hpa, content)
        self.permitted.stored(hpa)
        if (hpa + len(content) - 1) >> PAGE_BITS != hpa >> PAGE_BITS:
            self.permitted.stored(hpa + len(content) - 1)

    def _on_memory(self, event: LoggedEvent) -> None:
        client, operation = event.tag >> CLIENT_TAG_BITS, event.detail & 3
        if client == MemoryClient.INVALIDATION_QUEUE:
            self.queue.read(event.cycle, event.hpa)
        elif client == MemoryClient.UPDATE_PORT and self._updates:
            update = self._updates.popleft()
            size = QUANTUM_BYTES if operation == MemoryOperation.COMPARE_EXCHANGE.value else 8
            if operation == MemoryOperation.WRITE.value and bool(update.tag) == self.memory.refuses(update.hpa):
                self._complain(f"store to {update.hpa:#x} was {'' if update.tag else 'not '}carried out")
            if update.tag:
                content = update.detail & (1 << 8 * size) - 1
                self._store(event.cycle, update.hpa, content.to_bytes(size, "little"))

    def _on_message(self, event: LoggedEvent) -> None:
        kind, data = MessageKind(event.tag), event.detail & 0xFFFF_FFFF
        self._store(event.cycle, event.hpa, data.to_bytes(4, "little"))
        if kind is MessageKind.STATUS:
            found = self.queue.status(event.hpa, data)
        else:
            found = self.registers.message(kind, event.hpa, data)
        if not found:
            self._complain(f"{kind.name} of {data:#x} stored to {event.hpa:#x}: nothing asks for it now")

    # --- registers, queue, invalidations ---

    def _on_register(self, event: LoggedEvent) -> None:
        self.protocol_errors += event.tag >> 3 & 1
        self.registers.access(event.cycle, event.hpa, event.tag, event.detail & (1 << 64) - 1)
        self.queue.registers_accessed()

    def _on_control(self, event: LoggedEvent) -> None:
        enabled, mode = bool(_ENABLED.get(event.detail)), _MODE.get(event.detail)
        if enabled != bool(self.registers.file.commanded["TE"]):
            self._complain(f"translation {'on' if enabled else 'off'}, and nobody has asked for it")
        if _LATCHED.get(event.detail):
            self._root = self.registers.file.get("RTADDR", "RTA")
            if mode != self.registers.file.get("RTADDR", "TTM"):
                self._complain(f"table mode {mode} latched, which RTADDR does not say")
        invalid = is_beyond(self._limits, self._root)
        self._read_root = self._read_root if invalid else self._root
        if (bool(_ROOT_INVALID.get(event.detail)), event.hpa) != (invalid, self._read_root << PAGE_BITS):
            self._complain(f"root table {event.hpa:#x} in force, which RTADDR has not said")
        self.permitted.control(event.cycle, enabled=enabled, root_table=self._root, mode=mode)

    def _on_descriptor(self, event: LoggedEvent) -> None:
        self.queue.passed(event.cycle, event.hpa, bool(event.tag), event.detail)

    def _on_queue_error(self, event: LoggedEvent) -> None:
        self.queue.trouble(event.cycle, event.tag, event.source_id, event.detail & 0xF)

    def _on_abandoned(self, event: LoggedEvent) -> None:
        if not self.queue.abandoned(event.detail):
            self._complain(f"wait {event.detail:#x} was abandoned, and nothing has made it so")

    def _on_begin(self, event: LoggedEvent) -> None:
        view = InvalidationView.of(event.detail).canonical()
        self.granularities[view.kind, view.granularity] += 1
        by_queue, by_registers = self.queue.takes(view), self.registers.takes(view)
        if by_queue and by_registers:
            self._shared_begins.append(view)
        elif view in self._shared_begins and not (by_queue or by_registers):
            self._shared_begins.remove(view)
        elif not (by_queue or by_registers):
            self._complain(f"{view} has begun, and nothing asks for it now")
        self._last_begun = event.cycle, view
        if view.drains:
            self._drain_begun = event.cycle
        self.permitted.invalidated.begin(event.cycle, view)

    def _on_end(self, event: LoggedEvent) -> None:
        view = InvalidationView.of(event.detail).canonical()
        by_queue, by_registers = self.queue.completes(), self.registers.completes()
        if by_queue and by_registers:
            self._shared_fences += 1
        elif self._shared_fences and not (by_queue or by_registers):
            self._shared_fences -= 1
        elif not (by_queue or by_registers):
            self._complain("an invalidation is complete, and nothing waits for it")
        if self._last_begun is not None:
            begun, last = self._last_begun
            if last != view:
                self._complain(f"{view} is complete, but {last} had begun last")
            self.dma.completed(begun, view, drain_begun=self._drain_begun)
            self._drain_begun = None
        self.permitted.invalidated.end(event.cycle)
