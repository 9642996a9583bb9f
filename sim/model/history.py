"""Memory that remembers: what a walk could have read, if it read each entry at an instant of its own. Ours.

Versions are made by stores: each store changes its bytes at one cycle, whole. A 128-bit exchange makes one version of a
context entry, two 64-bit stores make two.

::

    cycle        10            20             30
    entry   A ----|------ B ----|------ C ------->       window [12, 20]: B, and C from the store at 20

A window includes both its ends: of a store in a cycle, what stood before and what came after both count.
"""
from collections.abc import Iterable
from typing import NamedTuple

from hw.spec.faults import FaultReason
from hw.spec.memory import QUANTUM_BYTES
from hw.spec.tables import ENTRY_BYTES, PAGE_BITS, PAGE_BYTES, PageSize, level_shift, table_index
from sim.model.entries import (
    READABLE,
    WRITABLE,
    ContextView,
    Limits,
    check_context,
    check_root,
    context_table,
    examine_entry,
    next_page,
)
from sim.model.translate import PAGE_SIZES

__all__ = ["Outcome", "Path", "VersionedMemory", "in_words", "permission"]

_ALL_BYTES = PAGE_BYTES - 1


class Outcome(NamedTuple):
    """How one walk may end. `page` is the 4 KiB page that the IOVA reaches; meaningful if there is no fault."""

    page: int
    page_size: PageSize
    readable: bool          # ANDed over all levels
    writable: bool
    fault_reason: FaultReason = FaultReason.NONE

    @property
    def base(self) -> int:
        """First page of the (super)page."""
        bits: int = level_shift(self.page_size.value + 1) - PAGE_BITS
        return self.page >> bits << bits


class Path(NamedTuple):
    """What a walk has found when an entry names the table of the level below."""

    table: int              # page number
    readable: bool          # ANDed over all levels so far
    writable: bool


class VersionedMemory:
    """Table memory with its past.

    Parameters
    ----------
    limits : Limits
        What the machine makes of entries.
    limit : int
        Byte address from which on memory answers with an error.
    slack_cycles : int
        How much earlier than its cycle a store may have taken place. The update port reports a store when memory has
        answered; a walk may have read it a little before.
    """

    def __init__(self, *, limits: Limits, limit: int = 1 << 52, slack_cycles: int = 0) -> None:
        self._limits = limits
        self._limit = limit
        self._slack = slack_cycles
        self._pages: dict[int, bytearray] = {}
        # By page: (cycle, offset, what stood there before), oldest first.
        self._undo: dict[int, list[tuple[int, int, bytes]]] = {}
        self.undo_count = 0
        self.last_store = -1

    def write(self, cycle: int, hpa: int, content: bytes, *, remember: bool = True) -> None:
        """One store, taking place whole in `cycle`. Without `remember` it counts as having stood there for ever.

        Raises
        ------
        ValueError
            If it is older than the last one.
        """
        if cycle < self.last_store:
            raise ValueError(f"store of cycle {cycle} after one of cycle {self.last_store}")
        self.last_store = cycle
        done = 0
        while done < len(content):
            page, offset = hpa + done >> PAGE_BITS, hpa + done & _ALL_BYTES
            part = content[done:done + PAGE_BYTES - offset]
            stored = self._pages.setdefault(page, bytearray(PAGE_BYTES))
            before = bytes(stored[offset:offset + len(part)])
            if remember and before != part:
                self._undo.setdefault(page, []).append((cycle, offset, before))
                self.undo_count += 1
            stored[offset:offset + len(part)] = part
            done += len(part)

    def read(self, hpa: int, length: int) -> bytes:
        """What stands there now, within one page."""
        page = self._pages.get(hpa >> PAGE_BITS)
        offset = hpa & _ALL_BYTES
        return bytes(length) if page is None else bytes(page[offset:offset + length])

    def forget_before(self, cycle: int) -> None:
        """Drop versions that were replaced before `cycle`: windows may not begin earlier from now on."""
        for page, log in list(self._undo.items()):
            kept = [record for record in log if record[0] >= cycle]
            self.undo_count -= len(log) - len(kept)
            if kept:
                self._undo[page] = kept
            else:
                del self._undo[page]

    def values(self, hpa: int, size: int, since: int, until: int) -> list[int | None]:
        """Every value that an aligned word of `size` bytes had at some instant of the window; None: memory error."""
        if hpa >= self._limit:
            return [None]
        current = bytearray(self.read(hpa, size))
        log = self._undo.get(hpa >> PAGE_BITS)
        if log is None:
            return [int.from_bytes(current, "little")]
        until += self._slack
        start = hpa & _ALL_BYTES
        found: list[int | None] = []
        for cycle, offset, before in reversed(log):
            first, last = max(start, offset), min(start + size, offset + len(before))
            if first >= last:
                continue
            value = int.from_bytes(current, "little")
            if cycle <= until and value not in found:
                found.append(value)
            if cycle < since:
                return found
            current[first - start:last - start] = before[first - offset:last - offset]
        value = int.from_bytes(current, "little")
        return found if value in found else [*found, value]

    def walks(self, table_pointer: int, levels: int, iova: int, since: int, until: int, *,
              path_since: int | None = None) -> frozenset[Outcome]:
        """How a walk may end that read each entry at some instant of the window.

        An entry that names the table of the level below may have been read as early as `path_since`, and have stood in a
        paging-structure cache since. The access is not looked at: what is not readable and not writable is a READ_PERMISSION
        fault, and the rest has its permissions. The interrupt window is not looked at either.
        """
        found: set[Outcome] = set()
        pending = [(table_pointer, levels, READABLE | WRITABLE)]
        while pending:
            table, level, permissions = pending.pop()
            place = (table << PAGE_BITS) + 8 * table_index(iova, level)
            recent = self.values(place, 8, since, until)
            for entry in recent if path_since is None else self.values(place, 8, min(since, path_since), until):
                reason, leaf = self._examine(entry, level, levels)
                below = permissions & (entry or 0)
                page = next_page(entry or 0)
                if not (reason or leaf):
                    pending.append((page, level - 1, below))
                elif entry not in recent:
                    continue   # no cache of upper levels keeps it
                elif reason:
                    found.add(Outcome(0, PageSize.SIZE_4K, False, False, reason))
                else:
                    page |= (iova & (1 << level_shift(level)) - 1) >> PAGE_BITS
                    found.add(Outcome(page, PAGE_SIZES[level], bool(below & READABLE), bool(below & WRITABLE)))
        return frozenset(found)

    def paths(self, table_pointer: int, levels: int, iova: int, level: int, since: int, until: int) -> frozenset[Path]:
        """Where the entry of `level` may lead that a walk met, which read each entry at some instant of the window."""
        pending = [(table_pointer, READABLE | WRITABLE)] if level <= levels else []
        for above in range(levels, level - 1, -1):
            met = [(entry, permissions) for table, permissions in pending
                   for entry in self.values((table << PAGE_BITS) + 8 * table_index(iova, above), 8, since, until)]
            pending = [(next_page(entry), permissions & entry) for entry, permissions in met
                       if entry is not None and self._examine(entry, above, levels) == (FaultReason.NONE, False)]
        return frozenset(Path(table, bool(permissions & READABLE), bool(permissions & WRITABLE))
                         for table, permissions in pending)

    def _examine(self, entry: int | None, level: int, top: int) -> tuple[FaultReason, bool]:
        if entry is None:
            return (FaultReason.CONTEXT_INVALID if level == top else FaultReason.SECOND_STAGE_ACCESS), False
        return examine_entry(self._limits, level, entry, 0)

    def context_entries(self, root_tables: Iterable[int], source_id: int, since: int, until: int) -> set[ContextView]:
        """The legal, present contexts that this device could have been given in the window, from any of these roots."""
        found: set[ContextView] = set()
        for root_table in root_tables:
            place = (root_table << PAGE_BITS) + (source_id >> 8) * ENTRY_BYTES
            for root in self.values(place, QUANTUM_BYTES, since, until):
                if root is None or check_root(self._limits, root):
                    continue
                place = (context_table(root) << PAGE_BITS) + (source_id & 0xFF) * ENTRY_BYTES
                for entry in self.values(place, QUANTUM_BYTES, since, until):
                    if entry is not None and not check_context(self._limits, entry):
                        found.add(ContextView.of(entry))
        return found


def permission(readable: bool, writable: bool) -> str:
    """As it is printed: RW, R-, -W or --."""
    return f"{'R' if readable else '-'}{'W' if writable else '-'}"


def in_words(outcomes: frozenset[Outcome]) -> str:
    """How a walk may have ended, for people."""
    if not outcomes:
        return "nothing, for no context entry has named it"
    return " or ".join(sorted(
        FaultReason(each.fault_reason).name if each.fault_reason else
        f"{each.page << PAGE_BITS:#x} {permission(each.readable, each.writable)} {each.page_size.name}"
        for each in outcomes))
