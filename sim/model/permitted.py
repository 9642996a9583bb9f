"""The answers that a request may get: a set, since caches may hold what memory no longer says. Ours.

::

    invalidation begins   it completes    accepted          replied
          |------------------|--------------|-----------------|
          |<------ what may come from a cache: from here to here -->|
                                            |<-- a fault ----->|

What may be cached (legal contexts, translations, entries that name the table of the level below) may have been read at any
instant since the last invalidation that covers it, and had completed before the request was accepted, began. For the levels
above the leaf that is the last one without the hint that only leaves have changed. What is never cached (an entry that blocks,
unless the machine has caching mode) was read while the request was under way, whoever else walks there; the levels above it
may be cached ones. Every entry was read at an instant of its own. When nothing was stored in its window a request has exactly
one permitted answer, that of `translate`.

Source: VT-d 4.1, 6.2 (what may be cached), 6.2.2 (caching mode), 6.5 (what an invalidation guarantees), 6.5.1.2 (the hint).
"""
from collections.abc import Iterator
from typing import NamedTuple

from hw.spec.capabilities import describe_straps
from hw.spec.dma import Access, Status
from hw.spec.faults import FaultReason
from hw.spec.tables import ENTRY_BYTES, MAX_LEVEL, PAGE_BITS, PageSize, level_shift, top_level
from sim.model.entries import (
    ContextView,
    check_context,
    check_root,
    context_table,
    hides_faults,
    limits,
)
from sim.model.invalidated import EVER, Invalidated
from sim.model.permitted_walks import PermittedWalks, Table, Windows
from sim.model.quanta import FOREVER, Quanta, Version
from sim.model.translate import (
    PAGE_SIZES,
    Request,
    Result,
    check_early,
    check_request,
    in_interrupt_window,
    is_beyond,
    translate,
)

__all__ = ["Answer", "Control", "Permitted"]

_CACHED_FAULTS = frozenset({FaultReason.CONTEXT_NOT_PRESENT, FaultReason.CONTEXT_INVALID, FaultReason.CONTEXT_RESERVED})
_NO_DOMAIN = 0            # under which caching mode keeps a context that faults
_CONTEXT_ENTRIES = 256


class Answer(NamedTuple):
    """One permitted answer. Blocked: the reason, and whether its record is suppressed; else: where it lands."""

    status: Status
    hpa: int = 0
    page_size: PageSize = PageSize.UNTRANSLATED
    fault_reason: FaultReason = FaultReason.NONE
    hidden: bool = False
    domain_id: int = 0

    @classmethod
    def of(cls, result: Result) -> "Answer":
        """What `translate` found, as an answer."""
        if result.status is Status.BLOCKED:
            return cls(result.status, fault_reason=result.fault_reason, hidden=not result.recorded)
        return cls(result.status, result.hpa, result.page_size,
                   domain_id=0 if result.page_size is PageSize.UNTRANSLATED else result.domain_id)


class Control(NamedTuple):
    """What the path of a request obeys, from a cycle on: the root table and mode as latched."""

    cycle: int
    enabled: bool = False
    root_table: int = 0
    mode: int = 0


class _Place(NamedTuple):
    """A context entry that a device could have had, or why it had none; in which windows its parts stood."""

    parts: tuple[Version, ...]
    reason: FaultReason
    hidden: bool
    context: ContextView | None

    def meets(self, since: int, until: int) -> bool:
        """True if each part could be read in the window."""
        return all(part.meets(since, until) for part in self.parts)


class Permitted:
    """Which answers are permitted, as controls, stores and invalidations go by.

    Parameters
    ----------
    straps : int
        An encoded `Straps`.
    memory : Quanta
        Where the tables are; `stored` must be told of every store.

    Members
    -------
    invalidated : Invalidated
        To be told of invalidations.
    controls : list of Control
        Oldest first.
    depths : set of int
        Top levels of the tables that were walked.
    """

    def __init__(self, straps: int, memory: Quanta) -> None:
        self._straps = straps
        self._limits = limits(straps)
        self._caching_mode = bool(describe_straps(straps)["caching_mode"])
        self.memory = memory
        self.controls = [Control(EVER)]
        self.invalidated = Invalidated()
        self._walks = PermittedWalks(self._limits, memory)
        self._memo: dict[tuple[object, ...], Result] = {}
        self.depths: set[int] = set()
        self._touched: set[int] = set()                                 # pages that the memo depends on

    # --- what happens ---

    def stored(self, hpa: int) -> None:
        """Something was stored at `hpa`."""
        if hpa >> PAGE_BITS in self._touched:
            self._forget()

    def control(self, cycle: int, *, enabled: bool, root_table: int, mode: int) -> None:
        """Translation enable, root table and mode, from the next cycle on."""
        self.controls.append(Control(cycle, enabled, root_table, mode))
        self._forget()

    def modes(self, since: int, until: int) -> set[int]:
        """The table modes in force at some instant of the window."""
        return {control.mode for control in self._in_force(since, until)}

    def _forget(self) -> None:
        self._memo.clear()
        self._touched.clear()

    # --- the answer if everything is read now ---

    def now(self, request: Request) -> Answer:
        """The answer of memory and registers as they stand: always one of the permitted ones."""
        offset = request.iova & (1 << PAGE_BITS) - 1
        key = (request.source_id, request.iova >> PAGE_BITS, request.access, request.kind, request.pasid_present,
               request.length_bytes == 4)
        result = self._memo.get(key)
        if result is None:
            control = self.controls[-1]
            result = translate(self.memory, root_table=control.root_table, straps=self._straps, request=request,
                               translation_enabled=control.enabled, translation_table_mode=control.mode)
            self._touched.update(step.hpa >> PAGE_BITS for step in result.steps)
            self._memo[key] = result
            levels = [step.structure for step in result.steps[2:3]]
            self.depths.update(int(level.split()[1]) for level in levels)
        answer = Answer.of(result)
        return answer._replace(hpa=answer.hpa >> PAGE_BITS << PAGE_BITS | offset) if answer.hpa else answer

    # --- every answer ---

    def answers(self, request: Request, accepted: int, replied: int) -> set[Answer]:
        """Every permitted answer of a request that was accepted and is answered in these cycles."""
        found: set[Answer] = set()
        by_tables = False
        for control in self._in_force(accepted, replied):
            if control.enabled:
                early = check_early(self._limits, request, control.root_table, control.mode)
                if early is None:
                    by_tables = True
                else:
                    found.add(Answer.of(early))
            elif request.iova >= self._limits.hpa_limit:
                found.add(Answer(Status.BLOCKED, fault_reason=FaultReason.ADDRESS_BEYOND_WIDTH))
            else:
                found.add(Answer(Status.OK, request.iova))
        if by_tables:
            self._add_by_tables(found, request, accepted, replied)
        return found

    def _in_force(self, since: int, until: int) -> Iterator[Control]:
        for index, control in enumerate(self.controls):
            last = index + 1 == len(self.controls)
            if control.cycle <= until and (last or self.controls[index + 1].cycle >= since):
                yield control

    def _add_by_tables(self, found: set[Answer], request: Request, accepted: int, replied: int) -> None:
        for place in self._places(request.source_id):
            if place.context is None:
                cached = self._caching_mode and place.reason in _CACHED_FAULTS
                since = self.invalidated.context_since(request.source_id, _NO_DOMAIN, accepted) if cached else accepted
                if place.meets(since, replied):
                    found.add(Answer(Status.BLOCKED, fault_reason=place.reason, hidden=place.hidden))
                continue
            context = place.context
            if not place.meets(self.invalidated.context_since(request.source_id, context.domain_id, accepted), replied):
                continue
            reason = check_request(self._limits, context, request)
            if reason:
                found.add(self._blocked(reason, context))
            elif context.pass_through:
                found.add(Answer(Status.OK, request.iova))
            else:
                self._add_walks(found, context, request, accepted, replied)

    def _add_walks(self, found: set[Answer], context: ContextView, request: Request, accepted: int,
                   replied: int) -> None:
        """What walks of this context's table may find, and what lines with its tag may say."""
        when = self._windows(context.domain_id, request.iova >> PAGE_BITS, accepted, replied)
        own = Table(context.table_pointer, top_level(context.address_width))
        for each in {own, *self._tables_of(context.domain_id, when.earliest, replied)}:
            for reason in self._walks.faults(each, request, when):
                found.add(self._blocked(reason, context))
            for leaf, size in self._walks.translations(each, request, when):
                hpa = leaf | request.iova & (1 << level_shift(size.value + 1)) - 1
                if in_interrupt_window(hpa):
                    found.add(self._blocked(FaultReason.OUTPUT_IN_INTERRUPT_WINDOW, context))
                else:
                    found.add(Answer(Status.OK, hpa, size, domain_id=context.domain_id))
            if self._caching_mode and self._walks.may_be_absent(each, request, when):
                reading = request.access is Access.READ
                found.add(self._blocked(
                    FaultReason.READ_PERMISSION if reading else FaultReason.WRITE_PERMISSION, context))

    def _windows(self, domain_id: int, page: int, accepted: int, replied: int) -> Windows:
        since = self.invalidated
        sizes, levels = PAGE_SIZES.values(), range(2, MAX_LEVEL + 1)
        return Windows(
            accepted, replied,
            lines={size: since.lines_since(domain_id, page, size.value, accepted) for size in sizes},
            paths={size: since.paths_since(domain_id, page, size.value, accepted) for size in sizes},
            structures={level: since.structures_since(domain_id, page, level, accepted) for level in levels})

    @staticmethod
    def _blocked(reason: FaultReason, context: ContextView) -> Answer:
        return Answer(Status.BLOCKED, fault_reason=reason, hidden=context.fault_processing_disable)

    # --- contexts ---

    def _places(self, source_id: int) -> Iterator[_Place]:
        """Every context that this device ever had, or why it had none, whatever root table was in force."""
        for index, control in enumerate(self.controls):
            if is_beyond(self._limits, control.root_table):
                continue   # it is never read
            last = index + 1 == len(self.controls)
            rooted = Version(control.cycle, FOREVER if last else self.controls[index + 1].cycle, 0)
            entry = (control.root_table << PAGE_BITS) + (source_id >> 8) * ENTRY_BYTES
            for root in self.memory.versions128(entry):
                reason = check_root(self._limits, root.value)
                if root.value is None or reason:
                    yield _Place((rooted, root), reason, False, None)
                    continue
                entry = (context_table(root.value) << PAGE_BITS) + (source_id & 0xFF) * ENTRY_BYTES
                for each in self.memory.versions128(entry):
                    reason = check_context(self._limits, each.value)
                    if each.value is None:
                        yield _Place((rooted, root, each), reason, False, None)
                    elif reason:
                        yield _Place((rooted, root, each), reason, hides_faults(each.value), None)
                    else:
                        yield _Place((rooted, root, each), reason, False, ContextView.of(each.value))

    def _tables_of(self, domain_id: int, since: int, until: int) -> Iterator[Table]:
        """Tables that some device's context may have named under this domain ID in the window."""
        for bus, roots in enumerate(self._roots()):
            for root in roots:
                for place in list(self.memory.written_in(context_table(root))):
                    source_id = bus << 8 | place // ENTRY_BYTES % _CONTEXT_ENTRIES
                    for entry in self.memory.versions128(place):
                        if entry.value is None or check_context(self._limits, entry.value) or entry.begin > until:
                            continue
                        context = ContextView.of(entry.value)
                        last = self.invalidated.context_removed(source_id, domain_id, entry.end)
                        if context.domain_id == domain_id and not context.pass_through and last >= since:
                            yield Table(context.table_pointer, top_level(context.address_width), last, cached=True)

    def _roots(self) -> list[set[int]]:
        """By bus: every legal root entry that there ever was."""
        found: list[set[int]] = [set() for _ in range(_CONTEXT_ENTRIES)]
        for root_table in {control.root_table for control in self.controls}:
            for place in list(self.memory.written_in(root_table)):
                found[place // ENTRY_BYTES % _CONTEXT_ENTRIES].update(
                    root.value for root in self.memory.versions128(place)
                    if root.value is not None and not check_root(self._limits, root.value))
        return found
