"""Laws that need the tables: L4 no use after free, L5 invalidation means it, L7 nobody gets in. L3 is law_of_tags."""
from functools import partial
from typing import NamedTuple

from hw.spec.bench import POISON_BYTE
from hw.spec.dma import Access, Status
from hw.spec.tables import PAGE_BITS, PAGE_BYTES, PageSize
from sim.model.caches import Completed
from sim.model.history import Outcome, in_words
from sim.model.translate import in_interrupt_window
from sim.model.world import EVER, Dma, Finding, World

__all__ = ["Entry", "Freed"]

_POISONED = bytes([POISON_BYTE]) * PAGE_BYTES


class Freed:
    """L4: a page filled with POISON_BYTE is free until it is rewritten, and nothing may use it.

    Uses are DMA, reads of the unit (walkers and queue) and stores that it makes itself (status data, event messages);
    those of the unit count from the cycle after the page was freed. What comes through the update port is a CPU's: it is
    a store, not a use, and it alone, or the host's, makes a page somebody's again.
    """

    def __init__(self, world: World) -> None:
        self._world = world
        self._since: dict[int, int] = {}

    def stored(self, cycle: int, hpa: int, content: bytes) -> None:
        """Bytes were stored, and are in memory by now."""
        for page in range(hpa >> PAGE_BITS, (hpa + len(content) - 1 >> PAGE_BITS) + 1):
            if content[0] == POISON_BYTE and self._world.memory.read(page << PAGE_BITS, PAGE_BYTES) == _POISONED:
                self._since.setdefault(page, cycle)
            else:
                self._since.pop(page, None)

    def read(self, cycle: int, hpa: int) -> None:
        """The unit read memory."""
        self._use(cycle, hpa, "the unit read")

    def written(self, cycle: int, hpa: int) -> None:
        """The unit wrote memory, of its own accord."""
        self._use(cycle, hpa, "the unit wrote")

    def done(self, cycle: int, dma: Dma, hpa: int, *, after_free: bool) -> None:
        """A DMA that was translated has reached memory."""
        self._use(cycle, hpa, f"{dma} went to")
        if after_free and hpa >> PAGE_BITS not in self._since:
            self._world.ledger.violate(cycle, "L4", f"{dma} found poison at {hpa:#x}")

    @property
    def pages(self) -> set[int]:
        """Page numbers that are free now."""
        return set(self._since)

    def _use(self, cycle: int, hpa: int, who: str) -> None:
        if not self._since:
            return  # nothing is free: there is nothing to check
        self._world.ledger.checks["L4"] += 1
        since = self._since.get(hpa >> PAGE_BITS, cycle)
        if since < cycle:
            self._world.ledger.violate(cycle, "L4", f"{who} {hpa:#x}, freed in cycle {since}")


class _Key(NamedTuple):
    """What the judgement of a reply depends on, between two completed invalidations."""

    source_id: int
    access: Access
    iova_page: int
    page: int
    domain_id: int
    table_pointer: int
    page_size: PageSize
    hit: bool


class _Windows(NamedTuple):
    """When what led to a reply can have been read at the earliest. None: no invalidation has covered it."""

    context: int | None
    leaf: int | None
    path: int | None      # the levels above the leaf


_EVER = _Windows(None, None, None)


class Entry:
    """L5 and L7: a reply is what the device's own context entry and table gave, at some instant of its window.

    The window of the context entry begins with the last invalidation of it that had completed before the request was
    accepted (at its BEGIN: what is stored before a driver asks for an invalidation must be seen after it), that of the
    leaf likewise; that of the levels above it with the last one that did not hint that only leaves had changed. All end
    with the reply. What fails there, but was right at an earlier instant, is a use of what was
    removed: L5. What was never right is L7. A reply from the IOTLB need not have the table of the context entry as it
    is now: its tag decides; its own table is L3's. Where several tables stand behind a tag, the upper levels may be any one's.

    L5, drain: when a draining invalidation completes, no DMA may be under way, answered or not, that was accepted before
    it began and is answered with something that it covers; nor a later one whose answer was wrong since it began.
    """

    def __init__(self, world: World) -> None:
        self._world = world
        self._approved: dict[_Key, bool] = {}   # whether an invalidation had covered it
        self._unanswered: dict[int, tuple[Dma, Completed]] = {}  # by id(Dma): when a drain completed

    def reply(self, dma: Dma, until: int) -> None:
        """A reply that lets the request through."""
        _, completed = self._unanswered.pop(id(dma), (dma, None))
        if completed is not None and self._undrained(completed, dma):
            self._world.ledger.violate(
                completed.end, "L5", f"an invalidation with drain, begun in cycle {completed.begin}, has completed, and "
                f"{dma} was answered only in cycle {dma.replied}")
        checks = self._world.ledger.checks
        key = _Key(dma.source_id, dma.access, dma.iova >> PAGE_BITS, dma.hpa >> PAGE_BITS, dma.domain_id,
                   dma.table_pointer, dma.page_size, dma.hit)
        recent = dma.accepted > self._world.invalidations.last_end
        covered = self._approved.get(key)
        if covered is None:
            since = self._windows(dma)
            covered = since.context is not None or since.leaf is not None
            if self._finding(dma, since, until) is not None:
                self._world.doubt(partial(self._finding, dma, since, until))
            elif recent and not self._world.was_off(dma.accepted, until):
                self._approved[key] = covered
        checks["L7"] += 1
        checks["L5"] += covered

    def control(self) -> None:
        """Translation enable, root table or table mode changed: what was right before need not be right again."""
        self._approved.clear()

    def invalidated(self, completed: Completed, outstanding: list[Dma]) -> None:
        """An invalidation has completed; `outstanding` is what was not done by the end of that cycle."""
        self._approved.clear()
        if not completed.invalidation.drains:
            return
        self._world.ledger.checks["L5"] += 1
        for dma in outstanding:
            if dma.replied is None and self._before(completed, dma):
                self._unanswered.setdefault(id(dma), (dma, completed))
            elif self._undrained(completed, dma):
                self._world.ledger.violate(
                    completed.end, "L5", f"an invalidation with drain, begun in cycle {completed.begin}, has completed, "
                    f"and {dma} under domain {dma.domain_id:#x}, answered in cycle {dma.replied}, is not done")

    def _before(self, completed: Completed, dma: Dma) -> bool:
        """It had been looked up when the invalidation began."""
        return dma.accepted < completed.begin - self._world.slack_cycles

    def _undrained(self, completed: Completed, dma: Dma) -> bool:
        if dma.replied is None or dma.status is not Status.OK or dma.page_size is PageSize.UNTRANSLATED:
            return False
        if not completed.invalidation.covers_translation(dma.domain_id, dma.iova >> PAGE_BITS, dma.page_size.value):
            return False
        if self._before(completed, dma):
            return True
        path_since = self._windows(dma).path if completed.invalidation.leaves_only else completed.begin
        return (self._problem(dma, _Windows(None, completed.begin, path_since), completed.end) is not None
                and self._problem(dma, _EVER, completed.end) is None)

    def _windows(self, dma: Dma) -> _Windows:
        invalidations = self._world.invalidations
        context_since = invalidations.context_since(dma.source_id, dma.domain_id, dma.accepted)
        if dma.page_size is PageSize.UNTRANSLATED:
            return _Windows(context_since, None, None)
        page = dma.domain_id, dma.iova >> PAGE_BITS, dma.page_size.value, dma.accepted
        return _Windows(context_since, invalidations.translation_since(*page), invalidations.path_since(*page))

    def _finding(self, dma: Dma, since: _Windows, until: int) -> Finding | None:
        world = self._world
        untranslated = dma.page_size is PageSize.UNTRANSLATED and dma.hpa == dma.iova
        if untranslated and world.was_off(dma.accepted, until):
            return None
        if world.blocks_all(dma.accepted, until):
            return Finding("L7", f"{dma} was let through to {dma.hpa:#x}, and the table mode blocks every request")
        problem = self._problem(dma, since, until)
        if problem is None or min(EVER if begin is None else begin for begin in since) < world.horizon:
            return None
        covered = since.context is not None or since.leaf is not None
        law = "L5" if covered and self._problem(dma, _EVER, until) is None else "L7"
        return Finding(law, f"{dma} was let through to {dma.hpa:#x} under domain {dma.domain_id:#x}: {problem}")

    def _problem(self, dma: Dma, since: _Windows, until: int) -> str | None:
        context_since, leaf_since, path_since = (EVER if begin is None else begin for begin in since)
        contexts = self._world.contexts(dma.source_id, context_since, until)
        own = [each for each in contexts if each.domain_id == dma.domain_id]
        if not own:
            domains = ", ".join(f"{each.domain_id:#x}" for each in contexts) or "none"
            return f"since cycle {context_since} the domains of its context entry were: {domains}"
        if dma.page_size is PageSize.UNTRANSLATED:
            passes = dma.hpa == dma.iova and any(each.pass_through for each in own)
            return None if passes else "its context entry translates"
        if not dma.hit and all(each.pass_through or each.table_pointer != dma.table_pointer for each in own):
            return f"since cycle {context_since} its context entry never named table {dma.table_pointer:#x}"
        if in_interrupt_window(dma.hpa):
            return "that is the interrupt window"
        tables = self._world.tables(dma.domain_id, dma.table_pointer, path_since, until)
        outcomes = frozenset[Outcome]().union(*(
            self._world.walks(table, dma.iova, leaf_since, until, path_since=path_since) for table in tables))
        for each in outcomes:
            permitted = (each.readable or dma.access is Access.WRITE) and (each.writable or dma.access is Access.READ)
            if not each.fault_reason and each.page == dma.hpa >> PAGE_BITS and permitted:
                return None
        return f"since cycle {leaf_since} table {dma.table_pointer:#x} gives {in_words(outcomes)}"
