"""What a second-stage table says, as intervals: IOVA to HPA with permission. Ours.

Two tables are equal to a device if their `Translations` are, whatever their page sizes and wherever they stand.
"""
from bisect import bisect_right
from collections.abc import Callable, Iterable
from typing import NamedTuple

from hw.spec.tables import PAGE_BITS, PAGE_BYTES, TABLE_ENTRIES, level_shift
from sim.model.entries import READABLE, WRITABLE, Limits, examine_entry, next_page

__all__ = ["Interval", "Translations", "translations_of"]


class Interval(NamedTuple):
    """So many bytes from `iova` on stand, in order, from `hpa` on."""

    iova: int
    hpa: int
    length: int
    readable: bool = True
    writable: bool = True


class Translations:
    """A mapping made of intervals, kept in its shortest form. Intervals that overlap are refused.

    Raises
    ------
    ValueError
        If two intervals overlap, or one is empty.
    """

    def __init__(self, intervals: Iterable[Interval]) -> None:
        self.intervals: list[Interval] = []
        for each in sorted(intervals):
            if each.length <= 0:
                raise ValueError(f"interval at {each.iova:#x} has length {each.length}")
            last = self.intervals[-1] if self.intervals else None
            if last is not None and each.iova < last.iova + last.length:
                raise ValueError(f"intervals overlap at {each.iova:#x}")
            if last is not None and each == last._replace(
                    iova=last.iova + last.length, hpa=last.hpa + last.length, length=each.length):
                self.intervals[-1] = last._replace(length=last.length + each.length)
            else:
                self.intervals.append(each)
        self._starts = [each.iova for each in self.intervals]

    def lookup(self, iova: int) -> tuple[int, bool, bool] | None:
        """HPA, readable, writable; None where nothing is mapped."""
        index = bisect_right(self._starts, iova) - 1
        if index < 0:
            return None
        each = self.intervals[index]
        offset = iova - each.iova
        return (each.hpa + offset, each.readable, each.writable) if offset < each.length else None

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Translations) and self.intervals == other.intervals

    def __hash__(self) -> int:
        return hash(tuple(self.intervals))

    def __repr__(self) -> str:
        length = sum(each.length for each in self.intervals)
        return f"Translations of {len(self.intervals)} intervals, {length:#x} bytes"


def translations_of(read: Callable[[int, int], bytes], limit: Limits, table_pointer: int, levels: int) -> Translations:
    """Everything that the table at page `table_pointer` translates; `read(hpa, length)` gives its bytes."""
    found: list[Interval] = []

    def visit(table: int, level: int, iova: int, permissions: int) -> None:
        content = read(table << PAGE_BITS, PAGE_BYTES)
        for index in range(TABLE_ENTRIES):
            entry = int.from_bytes(content[8 * index:8 * index + 8], "little")
            if not entry:
                continue
            reason, leaf = examine_entry(limit, level, entry, 0)
            below = permissions & entry
            if reason or not below:
                continue
            page, start = next_page(entry), iova | index << level_shift(level)
            if leaf:
                found.append(Interval(start, page << PAGE_BITS, 1 << level_shift(level),
                                      bool(below & READABLE), bool(below & WRITABLE)))
            else:
                visit(page, level - 1, start, below)

    visit(table_pointer, levels, 0, READABLE | WRITABLE)
    return Translations(found)
