"""One measured figure beside its bound and its target, and the report of all of them. Ours.

build/bench/report.json is a list of objects, one for each Result, with the keys of `Result.as_row`.
"""
import json
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import Any

from sim.measure.peers import PeerFigure, peer_figures

__all__ = ["REQUIRED", "Better", "Result", "missed", "read_report", "write_report"]

REQUIRED = ("name", "latency", "word_bits", "value", "bound", "ratio", "unit", "target", "met")
"""Keys that every row has; the others say how the figure came about."""

_DIGITS = 9


class Better(Enum):
    """Which way is better."""

    LOWER = "lower"
    HIGHER = "higher"


@dataclass(frozen=True, kw_only=True)
class Result:
    """A figure.

    Parameters
    ----------
    name : str
        Workload and figure: "W1 hit_throughput".
    variant : str
        What else tells it from its namesakes: "4 levels".
    latency, word_bits, slots, levels, seed : int
        Under what it was measured: the memory's latency, the width of its words, walk slots, levels of the tables.
    value : float
        As measured.
    unit : str
        Of value, bound and target.
    better : Better
        Which way.
    bound : float or None
        What cannot be beaten (sim.measure.bounds); None if nothing is known to bound it.
    target : float or None
        What must be reached; None: it is only reported.
    command : str
        Measures it again.
    """

    name: str
    variant: str = ""
    latency: int
    word_bits: int
    slots: int
    levels: int
    seed: int
    value: float
    unit: str
    better: Better
    bound: float | None
    target: float | None
    command: str

    def __post_init__(self) -> None:
        for name in ("value", "bound", "target"):
            number = getattr(self, name)
            if number is not None and not math.isfinite(number):
                raise ValueError(f"{self.name}: `{name}` must be a finite number, not {number}")

    @property
    def workload(self) -> str:
        """The first word of the name: "W1"."""
        return self.name.split()[0]

    @property
    def ratio(self) -> float | None:
        """Of value and bound, 1 at the bound and below 1 short of it, whichever way is better. None without a bound."""
        if not self.bound:
            return None
        return self.value / self.bound if self.better is Better.HIGHER else self.bound / self.value if self.value else None

    @property
    def met(self) -> bool:
        """The target is reached, or there is none."""
        if self.target is None:
            return True
        return self.value >= self.target if self.better is Better.HIGHER else self.value <= self.target

    @property
    def peers(self) -> tuple[PeerFigure, ...]:
        """What others reach under the same contract."""
        return peer_figures(self.name, self.latency, self.variant)

    def as_row(self) -> dict[str, Any]:
        """For the report."""
        return {
            "name": self.name, "variant": self.variant, "workload": self.workload, "latency": self.latency,
            "word_bits": self.word_bits, "value": _rounded(self.value), "bound": _rounded(self.bound),
            "ratio": _rounded(self.ratio), "unit": self.unit, "target": _rounded(self.target), "met": self.met,
            "better": self.better.value, "seed": self.seed, "slots": self.slots, "levels": self.levels,
            "command": self.command, "peers": [peer.as_row() for peer in self.peers],
        }


def write_report(path: Path, results: Sequence[Result]) -> None:
    """Write the list. It stands there whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    new = path.with_suffix(".new")
    new.write_text("[\n" + ",\n".join(json.dumps(result.as_row()) for result in results) + "\n]\n")
    new.replace(path)


def read_report(path: Path) -> list[dict[str, Any]]:
    """Read a report, and check it.

    Raises
    ------
    ValueError
        If a row lacks a key, or contradicts itself.
    """
    rows: list[dict[str, Any]] = json.loads(path.read_text())
    for row in rows:
        if lacking := [key for key in REQUIRED if key not in row]:
            raise ValueError(f"{path.name}: {row.get('name', 'a row')} has no {', '.join(lacking)}")
        if row["target"] is not None:
            reached = (row["value"] >= row["target"] if row["better"] == Better.HIGHER.value else
                       row["value"] <= row["target"])
            if reached != row["met"]:
                raise ValueError(f"{path.name}: {row['name']} says met={row['met']}, but {row['value']} is held against "
                                 f"{row['target']}")
    return rows


def missed(results: Iterable[Result]) -> list[Result]:
    """Those that do not reach their target."""
    return [result for result in results if not result.met]


def _rounded(number: float | None) -> float | None:
    return None if number is None else float(f"{number:.{_DIGITS}g}")
