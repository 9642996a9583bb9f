"""The second-stage walks that could have been: each entry read at an instant of its own. Ours.

A walk is a choice of one version of each entry on its way. The entries above the last one may come from a paging-structure
cache, and be older than it. Source: VT-d 4.1, 3.7 (second stage), 6.2.2 (caching mode).
"""
from collections.abc import Iterator, Mapping
from typing import NamedTuple

from hw.spec.faults import FaultReason
from hw.spec.tables import PAGE_BITS, PageSize, table_index
from sim.model.entries import READABLE, WRITABLE, Limits, examine_entry, next_page
from sim.model.quanta import FOREVER, Quanta, Version
from sim.model.translate import NEEDS, PAGE_SIZES, Request

__all__ = ["PermittedWalks", "Table", "Windows"]


class Table(NamedTuple):
    """The top table of a walk."""

    page: int
    level: int
    last: int = FOREVER        # until when a walk may have begun at it: then its context was gone
    cached: bool = False       # another context of the same domain names it: paging-structure caches alone lead there


class Windows(NamedTuple):
    """When what led to an answer may have been read: from one of these cycles on, until the answer."""

    accepted: int                      # a fault: while the request was under way
    replied: int
    lines: Mapping[PageSize, int]      # a leaf, by the size of its page
    paths: Mapping[PageSize, int]      # the entries above that leaf
    structures: Mapping[int, int]      # the entries above any other, from the lowest of them up, by its level

    @property
    def earliest(self) -> int:
        """Nothing that was replaced before plays a part: what covers the smallest page covers whatever is on the way to it."""
        return self.paths[PageSize.SIZE_4K]


class PermittedWalks:
    """Walks of tables in a memory.

    Parameters
    ----------
    limit : Limits
        What the machine makes of entries.
    memory : Quanta
        Where the tables are.
    """

    def __init__(self, limit: Limits, memory: Quanta) -> None:
        self._limits = limit
        self._memory = memory

    def _entries(self, table: int, level: int, iova: int) -> list[Version]:
        return self._memory.versions64((table << PAGE_BITS) + 8 * table_index(iova, level))

    def faults(self, table: Table, request: Request, when: Windows) -> set[FaultReason]:
        """How a walk may fail at an entry that was read while the request was under way."""
        found: set[FaultReason] = set()
        need, earliest = NEEDS[request.access], when.earliest
        pending = [(table.page, table.level, table.last)]   # the earliest end of the entries above
        while pending:
            page, level, above = pending.pop()
            top = level == table.level
            reachable = not table.cached if top else above >= when.structures[level + 1]
            for entry in self._entries(page, level, request.iova):
                fresh = reachable and entry.meets(when.accepted, when.replied)
                if entry.value is None:
                    if fresh:
                        found.add(FaultReason.CONTEXT_INVALID if top else FaultReason.SECOND_STAGE_ACCESS)
                    continue
                reason, leaf = examine_entry(self._limits, level, entry.value, need)
                if reason and fresh:
                    found.add(reason)
                elif not (reason or leaf) and entry.meets(earliest, when.replied):
                    pending.append((next_page(entry.value), level - 1, min(above, entry.end)))
        return found

    def translations(self, table: Table, request: Request, when: Windows) -> Iterator[tuple[int, PageSize]]:
        """Base address and size of every page that a walk may have found, now or when a line was filled."""
        need, earliest = NEEDS[request.access], when.earliest
        pending = [(table.page, table.level, table.last)]
        while pending:
            page, level, above = pending.pop()
            for entry in self._entries(page, level, request.iova):
                if entry.value is None or not entry.meets(earliest, when.replied):
                    continue
                reason, leaf = examine_entry(self._limits, level, entry.value, need)
                if reason:
                    continue
                if not leaf:
                    pending.append((next_page(entry.value), level - 1, min(above, entry.end)))
                elif entry.end >= when.lines[PAGE_SIZES[level]] and above >= when.paths[PAGE_SIZES[level]]:
                    yield next_page(entry.value) << PAGE_BITS, PAGE_SIZES[level]

    def may_be_absent(self, table: Table, request: Request, when: Windows) -> bool:
        """Caching mode: may a walk have met an entry that is not there, whatever it wanted?"""
        since = when.lines[PageSize.SIZE_4K]
        pending = [(table.page, table.level, READABLE | WRITABLE)]
        while pending:
            page, level, permissions = pending.pop()
            for entry in self._entries(page, level, request.iova):
                if entry.value is None or not entry.meets(when.earliest, when.replied):
                    continue
                if not entry.value & (READABLE | WRITABLE):
                    if entry.end >= since:
                        return True
                    continue
                below = permissions & entry.value
                reason, leaf = examine_entry(self._limits, level, entry.value, 0)
                if below and not reason and not leaf:
                    pending.append((next_page(entry.value), level - 1, below))
        return False
