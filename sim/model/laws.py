"""Every law at once: what each event of the hardware means to each of them. Ours."""
from collections.abc import Callable
from typing import Any

from hw.spec.capabilities import describe_straps
from hw.spec.dma import Access, Status
from hw.spec.events import ControlDetail, DoneDetail, EventKind, FillDetail, ReplyDetail, StructureDetail, Verdict
from hw.spec.invalidation import TranslationTableMode
from hw.spec.memory import CLIENT_TAG_BITS, QUANTUM_BYTES, MemoryClient, MemoryOperation
from hw.spec.tables import PAGE_BITS, PageSize
from sim.model.caches import Completed, InvalidationView
from sim.model.fields import field
from sim.model.law_of_order import Order
from sim.model.law_of_tags import TagCoherence
from sim.model.laws_of_dma import Answers, Handover, Place
from sim.model.laws_of_tables import Entry, Freed
from sim.model.lines import Line, StructureEntry
from sim.model.logged_event import LoggedEvent
from sim.model.world import EVER, Dma, World

__all__ = ["Laws"]

_STATUS, _REPLY_SIZE, _REPLY_REASON, _HIT, _REPLY_TABLE = (field(ReplyDetail, name) for name in (
    "status", "page_size", "fault_reason", "hit", "table_pointer"))
_FILL_SIZE, _READABLE, _WRITABLE, _SET, _WAY, _FILL_TABLE = (field(FillDetail, name) for name in (
    "page_size", "readable", "writable", "set_index", "way", "table_pointer"))
_LEVEL, _PATH_READABLE, _PATH_WRITABLE, _STRUCTURE_TABLE = (field(StructureDetail, name) for name in (
    "level", "readable", "writable", "table_pointer"))
_VERDICT = field(DoneDetail, "verdict")
_STATUSES, _SIZES, _ACCESSES, _VERDICTS = tuple(Status), tuple(PageSize), tuple(Access), tuple(Verdict)
_ENABLED, _LATCHED, _TABLE_MODE, _ROOT_INVALID = (field(ControlDetail, name) for name in (
    "translation_enabled", "latched", "translation_table_mode", "root_invalid"))
_STORE64_BYTES = 8
_MESSAGE_BYTES = 4


class Laws:
    """The world, all laws over it, and who hears of what.

    Parameters
    ----------
    world : World
        What they share.
    root_table : int
        Page number of the root table, if translation is on before the first event.

    Members
    -------
    place, tags, freed, entry, answers, handover, order
        L1 and L2; L3; L4; L5 and L7; L6; L9; L8.
    handlers : dict
        By EventKind: what to call with each event.
    root_table : int
        As CONTROL said last.
    """

    def __init__(self, world: World, root_table: int | None) -> None:
        self.world = world
        self.place = Place(world)
        self.tags = TagCoherence(world)
        self.freed = Freed(world)
        self.entry = Entry(world)
        self.answers = Answers(world)
        self.handover = Handover(world)
        self.order = Order(world, esrtps=bool(describe_straps(world.straps)["esrtps"]))
        self.root_table = root_table
        self._enabled = root_table is not None
        self._completed: list[Completed] = []                # in this cycle
        self._exchanges: dict[int, tuple[int, int]] = {}     # hpa: cycle and operation of the port's last access
        self.handlers: dict[int, Callable[[Any], None]] = {
            EventKind.REQUEST: self._on_request, EventKind.REPLY: self._on_reply, EventKind.DONE: self._on_done,
            EventKind.IOTLB_FILL: self._on_fill, EventKind.STRUCTURE_FILL: self._on_structure_fill,
            EventKind.MEMORY: self._on_memory, EventKind.UPDATE: self._on_update,
            EventKind.INVALIDATION_BEGIN: self._on_begin, EventKind.INVALIDATION_END: self._on_end,
            EventKind.FAULT: self._on_fault, EventKind.CONTROL: self._on_control, EventKind.MESSAGE: self._on_message,
            EventKind.DESCRIPTOR: lambda event: self.order.descriptor(event.cycle, event.detail),
            EventKind.QUEUE_ERROR: lambda event: self.order.trouble(event.tag),
            EventKind.WAIT_ABANDONED: lambda event: self.order.abandoned(event.detail),
        }
        if root_table is not None:
            world.control(EVER, True, root_table)

    def store(self, cycle: int, hpa: int, content: bytes) -> None:
        """A CPU stored, or the host wrote."""
        self.world.store(cycle, hpa, content)
        self.freed.stored(cycle, hpa, content)

    def end_of_cycle(self) -> None:
        """No event of this cycle is left."""
        self.answers.end_of_cycle(self.world.now)
        self.order.end_of_cycle(self.world.now)
        for completed in self._completed:
            self.entry.invalidated(completed, list(self.answers.outstanding.values()))
        self._completed.clear()

    def finish(self) -> None:
        """The run is over."""
        self.world.settle(final=True)
        self.answers.finish()
        self.order.finish()

    def _on_request(self, event: LoggedEvent) -> None:
        self.answers.request(Dma(event.tag, event.source_id, event.iova, _ACCESSES[event.detail & 3], event.cycle))

    def _on_reply(self, event: LoggedEvent) -> None:
        detail = event.detail
        status = _STATUSES[_STATUS.get(detail)]
        reason = _REPLY_REASON.get(detail)
        dma = self.answers.reply(event.cycle, event.tag, event.source_id, event.iova, status, reason)
        if dma is None:
            return
        dma.replied, dma.status, dma.domain_id, dma.hpa = event.cycle, status, event.domain_id, event.hpa
        dma.table_pointer, dma.hit = _REPLY_TABLE.get(detail), bool(_HIT.get(detail))
        dma.page_size = _SIZES[_REPLY_SIZE.get(detail)]
        if status is Status.OK:
            self.entry.reply(dma, event.cycle)

    def _on_done(self, event: LoggedEvent) -> None:
        dma = self.answers.done(event.cycle, event.tag, event.source_id)
        if dma is None:
            return
        verdict = _VERDICTS[_VERDICT.get(event.detail)]
        self.place.done(event.cycle, dma, verdict, event.domain_id, event.hpa)
        self.handover.done(event.cycle, dma, verdict)
        if verdict is not Verdict.BLOCKED:
            self.freed.done(event.cycle, dma, event.hpa, after_free=verdict is Verdict.AFTER_FREE)

    def _on_fill(self, event: LoggedEvent) -> None:
        detail = event.detail
        self.tags.fill(_SET.get(detail), _WAY.get(detail), Line(
            cycle=event.cycle, domain_id=event.domain_id, iova_page=event.iova >> PAGE_BITS,
            page_size=_SIZES[_FILL_SIZE.get(detail)], page=event.hpa >> PAGE_BITS,
            readable=bool(_READABLE.get(detail)), writable=bool(_WRITABLE.get(detail)),
            table_pointer=_FILL_TABLE.get(detail)))

    def _on_structure_fill(self, event: LoggedEvent) -> None:
        detail = event.detail
        self.tags.fill_structure(StructureEntry(
            cycle=event.cycle, domain_id=event.domain_id, iova_page=event.iova >> PAGE_BITS, level=_LEVEL.get(detail),
            table=event.hpa >> PAGE_BITS, readable=bool(_PATH_READABLE.get(detail)),
            writable=bool(_PATH_WRITABLE.get(detail)), table_pointer=_STRUCTURE_TABLE.get(detail)))

    def _on_memory(self, event: LoggedEvent) -> None:
        operation = event.detail & 3
        if operation == MemoryOperation.READ.value:
            self.freed.read(event.cycle, event.hpa)
        elif event.tag >> CLIENT_TAG_BITS == MemoryClient.UPDATE_PORT:
            self._exchanges[event.hpa] = event.cycle, operation
        else:
            self.freed.written(event.cycle, event.hpa)

    def _on_message(self, event: LoggedEvent) -> None:
        data = event.detail & (1 << 8 * _MESSAGE_BYTES) - 1
        self.world.store(max(event.cycle, self.world.memory.last_store), event.hpa, data.to_bytes(_MESSAGE_BYTES, "little"))
        self.order.message(event.tag, event.hpa, data)

    def _on_update(self, event: LoggedEvent) -> None:
        cycle, operation = self._exchanges.pop(event.hpa, (event.cycle, MemoryOperation.COMPARE_EXCHANGE.value))
        if event.tag:
            size = QUANTUM_BYTES if operation == MemoryOperation.COMPARE_EXCHANGE.value else _STORE64_BYTES
            content = (event.detail & (1 << 8 * size) - 1).to_bytes(size, "little")
            self.store(max(cycle, self.world.memory.last_store), event.hpa, content)

    def _on_begin(self, event: LoggedEvent) -> None:
        invalidation = InvalidationView.of(event.detail)
        self.world.invalidations.begin(event.cycle, invalidation)
        self.order.begin(invalidation)

    def _on_end(self, event: LoggedEvent) -> None:
        self.order.end()
        for completed in self.world.invalidations.end(event.cycle):
            self.tags.invalidated(completed)
            self._completed.append(completed)
        self.tags.settle()

    def _on_fault(self, event: LoggedEvent) -> None:
        self.place.fault(event.cycle, event.source_id, event.iova, event.detail & 0xFF)

    def _on_control(self, event: LoggedEvent) -> None:
        enabled, mode = bool(_ENABLED.get(event.detail)), _TABLE_MODE.get(event.detail)
        self.root_table = event.hpa >> PAGE_BITS
        admits = mode == TranslationTableMode.LEGACY.value and not _ROOT_INVALID.get(event.detail)
        self.handover.control(event.cycle, enabled, self.root_table, admits=admits)
        self.order.control(latched=bool(_LATCHED.get(event.detail)), disabled=self._enabled and not enabled)
        self.entry.control()
        self.world.control(event.cycle, enabled, self.root_table, admits=admits)
        self._enabled = enabled
