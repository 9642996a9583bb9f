"""Second-stage tables for measuring: whole regions at a time, laid out in one go, with pages of a size of our choice.

The driver's own tables (sw.tables) take the largest pages that fit and think about a running unit; these do neither.

Source: VT-d 4.1, 9.8.
"""
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from hw.spec.codec import encode
from hw.spec.tables import (
    PAGE_BYTES,
    TABLE_ENTRIES,
    PageSize,
    SecondStageEntry,
    level_shift,
    top_level,
)

__all__ = ["PageTables", "Region"]

Table = npt.NDArray[np.uint64]

_PERMITTED = int(encode(SecondStageEntry, readable=1, writable=1))


@dataclass(frozen=True)
class Region:
    """IOVAs in a row that are mapped to HPAs in a row, by pages of one size. Both begin at a multiple of that size."""

    iova: int
    hpa: int
    size: int
    page_size: PageSize = PageSize.SIZE_4K
    writable: bool = True

    def __post_init__(self) -> None:
        page_bytes = 1 << level_shift(self.level)
        for name in ("iova", "hpa", "size"):
            if (value := getattr(self, name)) % page_bytes:
                raise ValueError(f"`{name}` must be a multiple of {page_bytes:#x}, not {value:#x}")

    @property
    def level(self) -> int:
        """Of the table that holds the leaves."""
        return int(self.page_size.value) + 1


class PageTables:
    """The tables of one domain, in consecutive pages of memory.

    Parameters
    ----------
    address_width : int
        AW of the context entry: 1, 2, 3 for 3, 4, 5 levels.
    hpa : int
        Where the tables begin.
    """

    def __init__(self, address_width: int, hpa: int) -> None:
        self._top_level = int(top_level(address_width))
        self._hpa = hpa
        self._tables: dict[tuple[int, int], Table] = {}   # by level, and IOVA above what the table covers
        self._place: dict[tuple[int, int], int] = {}
        self.top = self._table(self._top_level, 0)[1]

    @property
    def end(self) -> int:
        """The first HPA behind them."""
        return self._hpa + PAGE_BYTES * len(self._tables)

    def map(self, region: Region) -> None:
        """Put a region in. Raises ValueError if something is mapped there already."""
        level = region.level
        first, count = region.iova >> level_shift(level), region.size >> level_shift(level)
        attributes = int(encode(SecondStageEntry, readable=1, writable=int(region.writable), page_size=int(level > 1)))
        step = 1 << level_shift(level)
        done = 0
        while done < count:
            prefix, index = divmod(first + done, TABLE_ENTRIES)
            table, _ = self._table(level, prefix)
            number = min(count - done, TABLE_ENTRIES - index)
            if table[index:index + number].any():
                raise ValueError(f"something is mapped at {(first + done) << level_shift(level):#x} already")
            start = (region.hpa + done * step) | attributes
            table[index:index + number] = np.arange(number, dtype=np.uint64) * np.uint64(step) + np.uint64(start)
            done += number

    def pages(self) -> Iterator[tuple[int, bytes]]:
        """HPA and contents of every table."""
        for key, table in self._tables.items():
            yield self._place[key], table.astype("<u8").tobytes()

    def _table(self, level: int, prefix: int) -> tuple[Table, int]:
        """A table and its HPA, made and linked if it is not there yet."""
        key = level, prefix
        if key not in self._tables:
            self._place[key] = self._hpa + PAGE_BYTES * len(self._tables)
            self._tables[key] = np.zeros(TABLE_ENTRIES, dtype=np.uint64)
            if level < self._top_level:
                above, index = divmod(prefix, TABLE_ENTRIES)
                parent, _ = self._table(level + 1, above)
                if parent[index]:
                    raise ValueError(f"a larger page covers {prefix << level_shift(level + 1):#x} already")
                parent[index] = self._place[key] | _PERMITTED
            elif prefix:
                raise ValueError(f"{prefix << level_shift(level + 1):#x} is beyond what {level} levels reach")
        return self._tables[key], self._place[key]

