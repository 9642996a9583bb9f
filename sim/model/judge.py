"""The judge: takes what the hardware says happened, and says which laws it broke. Ours.

::

    events of the hardware ---------+
    stores of the host -------------+--> Judge --> World (memory and its past, tags, invalidations)
    declarations of the experiment -+      |
                                           +--> Place (L1, L2), Answers (L6), Handover (L9)        --+--> verdict()
                                           +--> TagCoherence (L3), Freed (L4), Entry (L5, L7)      --+

What it is told
    Events in the order of cycles; within a cycle in the order of the hardware's ports. Stores and declarations carry a
    cycle (none: that of the last event) and may come any time before the events of that cycle. Declarations
    come from the experiment, never from driver code.

What it assumes
    * All events of a cycle happen together: a window includes both its ends, "after" means a later cycle. So the order
      of ports decides nothing, but that a reply comes before the DONE of the same cycle.
    * What is stored before the first event has always stood there.
    * An UPDATE takes place in the cycle of the MEMORY event of its exchange or write (without one, in its own cycle),
      and is reported later. What looks wrong is therefore put aside for `patience_cycles` before it counts.
    * A line of the IOTLB leaves when it is replaced, or when it is covered by an invalidation and was filled no later
      than the cycle in which that one began.
    * What the unit reads is a use of memory; its writes and exchanges are stores of the CPU behind the update port.

Source: ours; the laws are listed in `world.LAWS`, each explained in the class that enforces it.
"""
import heapq
import math
from collections.abc import Callable, Iterable
from itertools import count
from typing import Any

import numpy as np

from hw.spec.dma import Access, Status
from hw.spec.events import DoneDetail, EventKind, FillDetail, ReplyDetail, Verdict
from hw.spec.memory import QUANTUM_BYTES, MemoryOperation
from hw.spec.tables import PAGE_BITS, PageSize
from sim.model.associations import Association
from sim.model.caches import Completed, InvalidationView, Line
from sim.model.fields import field
from sim.model.laws_of_dma import Answers, Handover, Place
from sim.model.laws_of_tables import Entry, Freed, TagCoherence
from sim.model.logged_event import LoggedEvent, from_rows
from sim.model.translations import Translations
from sim.model.world import EVER, LAWS, Dma, World

__all__ = ["Judge"]

_STATUS, _REPLY_SIZE, _REPLY_REASON, _HIT, _REPLY_TABLE = (field(ReplyDetail, name) for name in (
    "status", "page_size", "fault_reason", "hit", "table_pointer"))
_FILL_SIZE, _READABLE, _WRITABLE, _SET, _WAY, _FILL_TABLE = (field(FillDetail, name) for name in (
    "page_size", "readable", "writable", "set_index", "way", "table_pointer"))
_VERDICT = field(DoneDetail, "verdict")
_STATUSES, _SIZES, _ACCESSES, _VERDICTS = tuple(Status), tuple(PageSize), tuple(Access), tuple(Verdict)
_ENABLED = 1          # bit 0 of a CONTROL's detail
_STORE64_BYTES = 8
_NOT_CHECKED = {"L8": "there is no invalidation queue yet"}


class Judge:
    """Enforces the laws on one run.

    Parameters
    ----------
    straps : int
        An encoded `Straps`.
    root_table : int
        Page number of the root table, if translation is on before the first event. Otherwise CONTROL events tell.
    memory_limit, slack_cycles, patience_cycles
        See World.
    """

    def __init__(self, straps: int, *, root_table: int | None = None, memory_limit: int = 1 << 52,
                 slack_cycles: int = 2, patience_cycles: int = 4096) -> None:
        self._world = World(straps, memory_limit, slack_cycles, patience_cycles)
        self._place = Place(self._world)
        self._tags = TagCoherence(self._world)
        self._freed = Freed(self._world)
        self._entry = Entry(self._world)
        self._answers = Answers(self._world)
        self._handover = Handover(self._world)
        self._root_table = root_table
        self._notes: list[tuple[int, int, Callable[[int], None]]] = []   # to be applied when their cycle has come
        self._note_numbers = count()
        self._completed: list[Completed] = []                # in this cycle
        self._exchanges: dict[int, tuple[int, int]] = {}     # hpa: cycle and operation of the port's last access
        self._handlers: dict[int, Callable[[Any], None]] = {
            EventKind.REQUEST: self._on_request, EventKind.REPLY: self._on_reply, EventKind.DONE: self._on_done,
            EventKind.IOTLB_FILL: self._on_fill, EventKind.MEMORY: self._on_memory, EventKind.UPDATE: self._on_update,
            EventKind.INVALIDATION_BEGIN: self._on_begin, EventKind.INVALIDATION_END: self._on_end,
            EventKind.FAULT: self._on_fault, EventKind.CONTROL: self._on_control,
        }
        if root_table is not None:
            self._world.control(EVER, True, root_table)

    # --- what the host did ---

    def memory_written(self, cycle: int | None, hpa: int, content: bytes) -> None:
        """The host wrote memory past the update port."""
        if content:
            self._note(cycle, lambda when: self._store(when, hpa, content))

    def bus_mastering(self, source_id: int, enabled: bool, *, cycle: int | None = None) -> None:
        """A device's bus-master enable was written."""
        self._note(cycle, lambda when: self._handover.bus_mastering(when, source_id, enabled))

    # --- what the experiment declares ---

    def declare(self, domain_id: int, translations: Translations | None = None, *, table_pointer: int | None = None,
                cycle: int | None = None) -> None:
        """A table may be cached under this tag from now on, beside those declared before.

        Either by what it says, wherever it stands, or by the page number of its top table, whatever it says, or both.
        """
        if translations is None and table_pointer is None:
            raise ValueError(f"domain {domain_id:#x}: declare translations, a table pointer or both")

        def apply(when: int) -> None:
            self._world.associations.declare(Association(domain_id, when, translations, table_pointer))
            self._world.rebind(when, domain_id)
        self._note(cycle, apply)

    def forbid(self, domain_id: int, *, keep_newest: bool = False, cycle: int | None = None) -> None:
        """No line may be filled under this tag any more; `keep_newest`: but from its newest declaration."""
        self._note(cycle, lambda when: self._world.associations.forbid(when, domain_id, keep_newest=keep_newest))

    def live(self, source_ids: Iterable[int], *, cycle: int | None = None) -> None:
        """L1: no DMA of these devices may be blocked from now on."""
        chosen = tuple(source_ids)
        self._note(cycle, lambda when: self._place.live(when, chosen))

    def only_new(self, source_ids: Iterable[int], domain_id: int, *, cycle: int | None = None) -> None:
        """L2: the last invalidation of a replacement has completed; from now on only this tag and its newest table."""
        chosen = tuple(source_ids)
        self._note(cycle, lambda when: self._place.only_new(when, chosen, domain_id))

    def preserve(self, source_ids: Iterable[int]) -> None:
        """L9: these devices survive the handover and must not notice it."""
        self._handover.preserve(source_ids)

    def handover_begins(self, *, cycle: int | None = None) -> None:
        """L9: the old kernel stops."""
        self._note(cycle, lambda when: self._handover.begins(when, self._root_table))

    def handover_ends(self, *, cycle: int | None = None) -> None:
        """L9: adopted; what was not preserved is shut out from now on."""
        self._note(cycle, self._handover.ends)

    def _note(self, cycle: int | None, apply: Callable[[int], None]) -> None:
        now = self._world.now
        if cycle is None or cycle <= now:
            apply(now if cycle is None else cycle)
        else:
            heapq.heappush(self._notes, (cycle, next(self._note_numbers), apply))

    # --- what the hardware says ---

    def consume(self, events: Iterable[LoggedEvent]) -> None:
        """The next events, in order."""
        world, handlers = self._world, self._handlers
        for event in events:
            if event.cycle != world.now:
                self._advance(event.cycle)
            handler = handlers.get(event.kind)
            if handler is not None:
                handler(event)

    def consume_rows(self, rows: "np.ndarray[Any, np.dtype[np.void]]") -> None:
        """The next events, as rows of an event log (see `from_rows`)."""
        self.consume(from_rows(rows, self._handlers.keys()))

    def _advance(self, cycle: int) -> None:
        """The cycle before is over; `cycle` begins."""
        world = self._world
        if cycle < world.now:
            raise ValueError(f"an event of cycle {cycle} after one of cycle {world.now}")
        self._end_cycle()
        self._apply_notes(cycle)
        if world.now == EVER:
            world.begin(cycle)
        world.now = cycle
        world.settle()

    def _apply_notes(self, until: float) -> None:
        while self._notes and self._notes[0][0] <= until:
            when, _, apply = heapq.heappop(self._notes)
            apply(when)

    def _end_cycle(self) -> None:
        self._answers.end_of_cycle(self._world.now)
        for completed in self._completed:
            self._entry.invalidated(completed, list(self._answers.outstanding.values()))
        self._completed.clear()

    def _on_request(self, event: LoggedEvent) -> None:
        self._answers.request(Dma(event.tag, event.source_id, event.iova, _ACCESSES[event.detail & 3], event.cycle))

    def _on_reply(self, event: LoggedEvent) -> None:
        detail = event.detail
        status = _STATUSES[_STATUS.get(detail)]
        reason = _REPLY_REASON.get(detail)
        dma = self._answers.reply(event.cycle, event.tag, event.source_id, event.iova, status, reason)
        if dma is None:
            return
        dma.replied, dma.status, dma.domain_id, dma.hpa = event.cycle, status, event.domain_id, event.hpa
        dma.table_pointer, dma.hit = _REPLY_TABLE.get(detail), bool(_HIT.get(detail))
        dma.page_size = _SIZES[_REPLY_SIZE.get(detail)]
        if status is Status.OK:
            self._entry.reply(dma, event.cycle)

    def _on_done(self, event: LoggedEvent) -> None:
        dma = self._answers.done(event.cycle, event.tag, event.source_id)
        if dma is None:
            return
        verdict = _VERDICTS[_VERDICT.get(event.detail)]
        self._place.done(event.cycle, dma, verdict, event.domain_id, event.hpa)
        self._handover.done(event.cycle, dma, verdict)
        if verdict is not Verdict.BLOCKED:
            self._freed.done(event.cycle, dma, event.hpa, after_free=verdict is Verdict.AFTER_FREE)

    def _on_fill(self, event: LoggedEvent) -> None:
        detail = event.detail
        self._tags.fill(_SET.get(detail), _WAY.get(detail), Line(
            cycle=event.cycle, domain_id=event.domain_id, iova_page=event.iova >> PAGE_BITS,
            page_size=_SIZES[_FILL_SIZE.get(detail)], page=event.hpa >> PAGE_BITS,
            readable=bool(_READABLE.get(detail)), writable=bool(_WRITABLE.get(detail)),
            table_pointer=_FILL_TABLE.get(detail)))

    def _on_memory(self, event: LoggedEvent) -> None:
        operation = event.detail & 3
        if operation == MemoryOperation.READ.value:
            self._freed.read(event.cycle, event.hpa)
        else:
            self._exchanges[event.hpa] = event.cycle, operation

    def _on_update(self, event: LoggedEvent) -> None:
        cycle, operation = self._exchanges.pop(event.hpa, (event.cycle, MemoryOperation.COMPARE_EXCHANGE.value))
        if event.tag:
            size = QUANTUM_BYTES if operation == MemoryOperation.COMPARE_EXCHANGE.value else _STORE64_BYTES
            content = (event.detail & (1 << 8 * size) - 1).to_bytes(size, "little")
            self._store(max(cycle, self._world.memory.last_store), event.hpa, content)

    def _on_begin(self, event: LoggedEvent) -> None:
        self._world.invalidations.begin(event.cycle, InvalidationView.of(event.detail))

    def _on_end(self, event: LoggedEvent) -> None:
        completed = self._world.invalidations.end(event.cycle, InvalidationView.of(event.detail))
        if completed is not None:
            self._tags.invalidated(completed)
            self._completed.append(completed)

    def _on_fault(self, event: LoggedEvent) -> None:
        self._place.fault(event.cycle, event.source_id, event.iova, event.detail & 0xFF)

    def _on_control(self, event: LoggedEvent) -> None:
        enabled, self._root_table = bool(event.detail & _ENABLED), event.hpa >> PAGE_BITS
        self._handover.control(event.cycle, enabled, self._root_table)
        self._world.control(event.cycle, enabled, self._root_table)

    def _store(self, cycle: int, hpa: int, content: bytes) -> None:
        self._world.store(cycle, hpa, content)
        self._freed.stored(cycle, hpa, content)

    @property
    def free_pages(self) -> set[int]:
        """Page numbers that are poisoned, and so free, now."""
        return self._freed.pages

    # --- the verdict ---

    def verdict(self, *, final: bool = True) -> dict[str, dict[str, Any]]:
        """By law: `title`, `status` (pass, fail, not_checked), `checks`, `violation_count`, `violations` (some).

        A law that had nothing to judge was not checked, and `note` says why; it has not passed. `final`: the run is
        over, so what is still doubtful is judged, and what is still under way will never end.
        """
        if final:
            self._end_cycle()
            self._apply_notes(math.inf)
            self._world.settle(final=True)
            self._answers.finish()
        ledger = self._world.ledger
        result: dict[str, dict[str, Any]] = {}
        for law, title in LAWS.items():
            checks, violations = ledger.checks[law], ledger.violation_count[law]
            status = "fail" if violations else "pass" if checks else "not_checked"
            result[law] = {"title": title, "status": status, "checks": checks, "violation_count": violations,
                           "violations": list(ledger.violations[law])}
            if status == "not_checked":
                result[law]["note"] = _NOT_CHECKED.get(law, "nothing happened that this law speaks of")
        result["L3"]["ambiguous"] = self._tags.ambiguous
        return result
