"""What the judge knows when it judges: memory and its past, roots, tags, invalidations, and the time. Ours."""
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import NamedTuple, TypeVar

from hw.spec.capabilities import describe_straps
from hw.spec.dma import Access, Status
from hw.spec.tables import PAGE_BITS, PageSize
from sim.model.associations import Associations, ContextWatch
from sim.model.caches import InvalidationHistory
from sim.model.entries import ContextView, limits
from sim.model.history import Outcome, Path, VersionedMemory

__all__ = ["EVER", "LAWS", "Dma", "Finding", "Ledger", "World"]

LAWS = {
    "L1": "no fault",
    "L2": "old or new, then only new",
    "L3": "tag coherence",
    "L4": "no use after free",
    "L5": "invalidation means it",
    "L6": "one answer",
    "L7": "nobody gets in",
    "L8": "order",
    "L9": "handover",
}
T = TypeVar("T")
EVER = -1                 # begin of a window that reaches as far back as memory remembers
_SHOWN = 8                # violations quoted per law
_UNDO_LIMIT = 400_000     # stores remembered
_MEMO_LIMIT = 200_000


class Finding(NamedTuple):
    """A law broken, and how, in a sentence."""

    law: str
    sentence: str


class Ledger:
    """How often each law was checked, and how it was broken."""

    def __init__(self) -> None:
        self.checks = dict.fromkeys(LAWS, 0)
        self.violation_count = dict.fromkeys(LAWS, 0)
        self.violations: dict[str, list[str]] = {law: [] for law in LAWS}

    def violate(self, cycle: int, law: str, sentence: str) -> None:
        """Note a violation."""
        self.violation_count[law] += 1
        if len(self.violations[law]) < _SHOWN:
            self.violations[law].append(f"cycle {cycle}: {sentence}")


@dataclass(slots=True, eq=False)
class Dma:
    """One DMA, from REQUEST to DONE."""

    tag: int
    source_id: int
    iova: int
    access: Access
    accepted: int                 # cycle of REQUEST
    replied: int | None = None    # cycle of REPLY; what follows is its content
    status: Status = Status.OK
    domain_id: int = 0
    table_pointer: int = 0
    hpa: int = 0
    page_size: PageSize = PageSize.UNTRANSLATED
    hit: bool = False

    def __str__(self) -> str:
        return (f"{self.access.name} of {self.iova:#x} by {self.source_id:#06x} "
                f"(tag {self.tag}, accepted in cycle {self.accepted})")


@dataclass(eq=False)
class World:
    """Shared by all laws.

    Parameters
    ----------
    straps : int
        An encoded `Straps`.
    memory_limit : int
        Byte address from which on memory answers with an error.
    slack_cycles : int
        How much earlier than notified a store may have taken place.
    patience_cycles : int
        How long something doubtful is put aside before it is judged for good. What a store did is known from its UPDATE
        event, which comes when memory has answered; a walk that read the new value may be heard of before.
    """

    straps: int
    memory_limit: int = 1 << 52
    slack_cycles: int = 2
    patience_cycles: int = 4096
    now: int = EVER
    ledger: Ledger = field(default_factory=Ledger)
    associations: Associations = field(default_factory=Associations)
    invalidations: InvalidationHistory = field(default_factory=InvalidationHistory)

    def __post_init__(self) -> None:
        self.limits = limits(self.straps)
        self.caching_mode = bool(describe_straps(self.straps)["caching_mode"])
        self.memory = VersionedMemory(limits=self.limits, limit=self.memory_limit, slack_cycles=self.slack_cycles)
        self.contexts_in_force = ContextWatch(self.memory, self.limits)
        self.horizon = EVER                                  # windows that begin earlier cannot be judged any more
        self._roots: list[tuple[int, int]] = []              # cycle, page number
        self._enables: list[tuple[int, bool]] = []
        self._admits: list[tuple[int, bool]] = []           # the table mode is legacy, the root table an address
        self._doubts: deque[tuple[int, int, Callable[[], Finding | None]]] = deque()
        self._walks: dict[tuple[int, int, int, int], frozenset[Outcome]] = {}
        self._contexts: dict[tuple[int, int], set[ContextView]] = {}

    # --- what happens ---

    def store(self, cycle: int, hpa: int, content: bytes) -> None:
        """Bytes were stored; what is stored before the first event has stood there for ever."""
        self.memory.write(cycle, hpa, content, remember=self.now != EVER)
        self._forget_memo()
        self._bind(cycle, self.contexts_in_force.stored(hpa, len(content)))
        if self.memory.undo_count > _UNDO_LIMIT:
            self.horizon = (max(self.horizon, 0) + cycle) // 2
            self.memory.forget_before(self.horizon)

    def control(self, cycle: int, enabled: bool, root_table: int, *, admits: bool = True) -> None:
        """Translation enable, and the root table in force; whether its mode and address let any DMA through."""
        self._enables.append((cycle, enabled))
        self._admits.append((cycle, admits))
        if not self._roots or self._roots[-1][1] != root_table:
            self._roots.append((cycle, root_table))
            self._forget_memo()
            self._bind(cycle, self.contexts_in_force.root_changed(root_table))

    def rebind(self, cycle: int, domain_id: int) -> None:
        """A tag was declared: look again at the context entries in force that name it."""
        if self._roots:
            entries = self.contexts_in_force.root_changed(self._roots[-1][1])
            self._bind(cycle, (each for each in entries if each[1].domain_id == domain_id))

    def begin(self, cycle: int) -> None:
        """The first event has come: what was stored and declared up to now is looked at as a whole."""
        self.now = cycle
        if self._roots:
            self._bind(cycle, self.contexts_in_force.root_changed(self._roots[-1][1]))

    def _bind(self, cycle: int, entries: Iterator[tuple[int, ContextView]]) -> None:
        if self.now == EVER:
            return
        for source_id, context in entries:
            if context.pass_through:
                continue
            self.ledger.checks["L3"] += bool(self.associations.standing(context.domain_id, cycle, cycle))
            problem = self.associations.bind(cycle, context, self.memory, self.limits)
            if problem is not None:
                self.ledger.violate(cycle, "L3", f"the context entry of {source_id:#06x} names table "
                                    f"{context.table_pointer:#x} under domain {context.domain_id:#x}: {problem}")

    def _forget_memo(self) -> None:
        self._walks.clear()
        self._contexts.clear()

    # --- doubts ---

    def doubt(self, check: Callable[[], Finding | None]) -> None:
        """Judge this again when every store that was under way is known."""
        self._doubts.append((self.now + self.patience_cycles, self.now, check))

    def settle(self, *, final: bool = False) -> None:
        """Judge for good what was put aside long enough."""
        while self._doubts and (final or self._doubts[0][0] <= self.now):
            _, cycle, check = self._doubts.popleft()
            finding = check()
            if finding is not None:
                self.ledger.violate(cycle, *finding)

    # --- questions ---

    def was_off(self, since: int, until: int) -> bool:
        """True if translation was off at some instant of the window."""
        return False in _values_in(self._enables, since, until) or not self._enables or since < self._enables[0][0]

    def blocks_all(self, since: int, until: int) -> bool:
        """True if throughout the window the table mode or the root table was one that lets no request through."""
        admits = _values_in(self._admits, since, until)
        return bool(admits) and True not in admits

    def tables(self, domain_id: int, table_pointer: int, since: int, until: int) -> set[int]:
        """Where a walk of this table under this tag may have read: in others of the tag, if their upper levels are cached."""
        standing = self.associations.standing(domain_id, since, until)
        return {table_pointer, *(each.table_pointer for each in standing if each.table_pointer is not None)}

    def paths(self, table_pointer: int, iova: int, level: int, since: int, until: int) -> frozenset[Path]:
        """Where a walk of this table could have been led by the entry of `level`; nowhere if no context entry named it."""
        levels = self.associations.levels.get(table_pointer)
        return frozenset() if levels is None else self.memory.paths(table_pointer, levels, iova, level, since, until)

    def walks(self, table_pointer: int, iova: int, since: int, until: int, *, path_since: int) -> frozenset[Outcome]:
        """How a walk of this table could have ended; nothing for a table that no context entry named.

        `path_since` is the begin of the window in which the entries above the leaf were read.
        """
        levels = self.associations.levels.get(table_pointer)
        if levels is None:
            return frozenset()
        if until < self.memory.last_store:
            return self.memory.walks(table_pointer, levels, iova, since, until, path_since=path_since)
        key = table_pointer, iova >> PAGE_BITS, since, path_since
        found = self._walks.get(key)
        if found is None:
            if len(self._walks) > _MEMO_LIMIT:
                self._walks.clear()
            found = self._walks[key] = self.memory.walks(table_pointer, levels, iova, since, until, path_since=path_since)
        return found

    def contexts(self, source_id: int, since: int, until: int) -> set[ContextView]:
        """The contexts that this device could have had."""
        key = source_id, since
        if until >= self.memory.last_store and key in self._contexts:
            return self._contexts[key]
        found = self.memory.context_entries(_values_in(self._roots, since, until), source_id, since, until)
        if until >= self.memory.last_store:
            self._contexts[key] = found
        return found


def _values_in(changes: list[tuple[int, T]], since: int, until: int) -> list[T]:
    """The values that a thing had in the window, from its changes (cycle, value)."""
    return [value for index, (cycle, value) in enumerate(changes)
            if cycle <= until and (index + 1 == len(changes) or changes[index + 1][0] >= since)]
