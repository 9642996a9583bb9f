"""What a translation *says*, whatever its page sizes: sorted runs of (iova, size, hpa, permission)."""
from collections.abc import Iterable, Sequence
from enum import IntFlag
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from sw.errors import BadRange

__all__ = ["Addresses", "Interval", "Permission", "coalesce", "coalesce_arrays", "relocated"]

Addresses = NDArray[np.uint64]


class Permission(IntFlag):
    """What a device may do to a page, ANDed over the levels of its walk."""

    NONE = 0
    READ = 1
    WRITE = 2
    READ_WRITE = 3

    def __str__(self) -> str:
        return ("R" if self & Permission.READ else "-") + ("W" if self & Permission.WRITE else "-")


class Interval(NamedTuple):
    """IOVAs [iova, iova + size) translate to [hpa, hpa + size)."""

    iova: int
    size: int
    hpa: int
    permission: Permission

    @property
    def end(self) -> int:
        """First IOVA after it."""
        return self.iova + self.size

    def __str__(self) -> str:
        return f"{self.iova:#x}+{self.size:#x} -> {self.hpa:#x} {self.permission}"


def coalesce(intervals: Iterable[Interval]) -> list[Interval]:
    """The same translation in as few intervals as possible, sorted: equal results mean equal translations.

    Raises
    ------
    BadRange
        If two intervals overlap: then they are not one translation.
    """
    result: list[Interval] = []
    for interval in sorted(intervals):
        last = result[-1] if result else None
        if last is not None and interval.iova < last.end:
            raise BadRange("iova", interval.iova, f"overlaps the interval {last}")
        if (last is not None and last.end == interval.iova and last.hpa + last.size == interval.hpa
                and last.permission == interval.permission):
            result[-1] = last._replace(size=last.size + interval.size)
        else:
            result.append(interval)
    return result


def coalesce_arrays(iova: Addresses, size: Addresses, hpa: Addresses, permission: Addresses) -> list[Interval]:
    """`coalesce` for a hundred thousand leaves at once; they are leaves of one table, so they cannot overlap."""
    if not len(iova):
        return []
    order = np.argsort(iova)
    iova, size, hpa, permission = iova[order], size[order], hpa[order], permission[order]
    follows = ((iova[1:] == iova[:-1] + size[:-1]) & (hpa[1:] == hpa[:-1] + size[:-1])
               & (permission[1:] == permission[:-1]))
    starts = np.flatnonzero(np.concatenate(([True], ~follows)))
    sizes = np.add.reduceat(size, starts)
    columns = (iova[starts].tolist(), sizes.tolist(), hpa[starts].tolist(), permission[starts].tolist())
    return [Interval(*row[:3], Permission(row[3])) for row in zip(*columns, strict=True)]


def relocated(intervals: Sequence[Interval], offset: int) -> list[Interval]:
    """The same IOVAs and permissions at addresses that are `offset` bytes further up."""
    return coalesce(interval._replace(hpa=interval.hpa + offset) for interval in intervals)
