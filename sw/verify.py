"""Compare what two tables say, whatever their page sizes, and name the first IOVA at which they differ."""
from collections.abc import Iterable
from typing import NamedTuple

from sw.errors import IntervalsDiffer
from sw.intervals import Interval, Permission, coalesce

__all__ = ["UNMAPPED", "Difference", "first_difference", "require_equal"]

UNMAPPED = "nothing"


class Difference(NamedTuple):
    """The lowest IOVA that two translations treat differently."""

    iova: int
    was: str
    now: str


def _translation(intervals: list[Interval], iova: int) -> tuple[int, Permission] | None:
    for interval in intervals:
        if interval.iova <= iova < interval.end:
            return interval.hpa + iova - interval.iova, interval.permission
    return None


def _describe(translation: tuple[int, Permission] | None) -> str:
    if translation is None:
        return UNMAPPED
    hpa, permission = translation
    return f"{hpa:#x} {permission}"


def first_difference(was: Iterable[Interval], now: Iterable[Interval]) -> Difference | None:
    """The first difference, or None if both say the same.

    Both are brought to their shortest form; up to the first pair of intervals that differ they agree. Between two
    neighbouring edges of that pair nothing changes, so a difference begins at an edge.
    """
    old = coalesce(was)
    new = coalesce(now)
    common = 0
    while common < min(len(old), len(new)) and old[common] == new[common]:
        common += 1
    old_rest = old[common:common + 1]
    new_rest = new[common:common + 1]
    for iova in sorted({edge for interval in old_rest + new_rest for edge in (interval.iova, interval.end)}):
        # A neighbour may begin exactly where the other side's interval ends: look at two of each.
        before = _translation(old[common:common + 2], iova)
        after = _translation(new[common:common + 2], iova)
        if before != after:
            return Difference(iova, _describe(before), _describe(after))
    return None


def require_equal(was: Iterable[Interval], now: Iterable[Interval]) -> None:
    """Raise IntervalsDiffer, naming the first difference, unless both say the same."""
    difference = first_difference(was, now)
    if difference is not None:
        raise IntervalsDiffer(*difference)
