"""Events of hw.spec.events as plain integers, from the rows of an event log. Ours."""
from collections.abc import Collection, Iterator
from typing import Any, NamedTuple

import numpy as np

__all__ = ["LoggedEvent", "from_rows"]

_COLUMNS = ("cycle", "kind", "source_id", "domain_id", "tag", "iova", "hpa", "detail_lo", "detail_hi")


class LoggedEvent(NamedTuple):
    """One event, and the cycle in which it happened."""

    cycle: int
    kind: int
    source_id: int = 0
    domain_id: int = 0
    tag: int = 0
    iova: int = 0
    hpa: int = 0
    detail: int = 0


def from_rows(rows: "np.ndarray[Any, np.dtype[np.void]]", kinds: Collection[int]) -> Iterator[LoggedEvent]:
    """The rows of these kinds, in order. `detail` of a row is two columns, detail_lo and detail_hi."""
    chosen = rows[np.isin(rows["kind"], list(kinds))]
    for *fields, low, high in zip(*(chosen[name].tolist() for name in _COLUMNS), strict=True):
        yield LoggedEvent._make((*fields, high << 64 | low))
