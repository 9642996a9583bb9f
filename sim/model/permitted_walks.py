"""The second-stage walks that could have been: each entry read at an instant of its own. Ours.

A walk is a choice of one version of each entry on its way. Source: VT-d 4.1, 3.7 (second stage), 6.2.2 (caching mode).
"""
from collections.abc import Iterator, Mapping

from hw.spec.dma import Access
from hw.spec.faults import FaultReason
from hw.spec.tables import PAGE_BITS, PageSize, table_index
from sim.model.entries import READABLE, WRITABLE, Limits, examine_entry, next_page
from sim.model.quanta import FOREVER, Quanta, Version
from sim.model.translate import PAGE_SIZES, Request

__all__ = ["PermittedWalks"]

_NEEDS = {Access.READ: READABLE, Access.WRITE: WRITABLE, Access.ATOMIC: READABLE | WRITABLE}


class PermittedWalks:
    """Walks of tables in a memory. A table is its page number and its level.

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

    def faults(self, table: tuple[int, int], request: Request, since: int, until: int) -> set[FaultReason]:
        """How a walk may fail that reads each entry in the window."""
        found: set[FaultReason] = set()
        need = _NEEDS[request.access]
        pending = [table]
        while pending:
            page, level = pending.pop()
            for entry in self._entries(page, level, request.iova):
                if not entry.meets(since, until):
                    continue
                if entry.value is None:
                    found.add(FaultReason.CONTEXT_INVALID if level == table[1] else FaultReason.SECOND_STAGE_ACCESS)
                    continue
                reason, leaf = examine_entry(self._limits, level, entry.value, need)
                if reason:
                    found.add(reason)
                elif not leaf:
                    pending.append((next_page(entry.value), level - 1))
        return found

    def translations(self, table: tuple[int, int], request: Request, since: Mapping[PageSize, int],
                     until: int) -> Iterator[tuple[int, PageSize]]:
        """Base address and size of every page that a walk may have found in the window, which begins by its size."""
        need = _NEEDS[request.access]
        earliest = min(since.values())
        pending: list[tuple[int, int, int]] = [(*table, FOREVER)]   # the earliest end of the entries above
        while pending:
            page, level, above = pending.pop()
            for entry in self._entries(page, level, request.iova):
                if entry.value is None or not entry.meets(earliest, until):
                    continue
                reason, leaf = examine_entry(self._limits, level, entry.value, need)
                end = min(above, entry.end)
                if reason:
                    continue
                if not leaf:
                    pending.append((next_page(entry.value), level - 1, end))
                elif end >= since[PAGE_SIZES[level]]:
                    yield next_page(entry.value) << PAGE_BITS, PAGE_SIZES[level]

    def may_be_absent(self, table: tuple[int, int], request: Request, since: int, until: int) -> bool:
        """Caching mode: may a walk have met an entry that is not there, whatever it wanted?"""
        pending = [(*table, READABLE | WRITABLE)]
        while pending:
            page, level, permissions = pending.pop()
            for entry in self._entries(page, level, request.iova):
                if entry.value is None or not entry.meets(since, until):
                    continue
                below = permissions & entry.value
                if not entry.value & (READABLE | WRITABLE):
                    return True
                reason, leaf = examine_entry(self._limits, level, entry.value, 0)
                if below and not reason and not leaf:
                    pending.append((next_page(entry.value), level - 1, below))
        return False
