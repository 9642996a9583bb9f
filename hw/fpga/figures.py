"""Figures out of what the tools write: cells, by block and in all; frequency; the critical path in words. Ours."""
import re
from typing import NamedTuple

__all__ = ["CELLS", "Path", "cells_by_block", "critical_path", "frequency", "total_cells", "utilization"]

CELLS = {"LUT4": "LUT4", "FF": "TRELLIS_FF", "DP16KD": "DP16KD", "DPR16X4": "TRELLIS_DPR16X4", "CCU2C": "CCU2C"}
"""What is counted, by the name that it is shown under. A DPR16X4 takes the place of 4 LUTs, and of 2 more for its write port; a
CCU2C of 2."""

_LOGIC = "logic"


class Path(NamedTuple):
    """The longest path between two flip-flops, or memories."""

    begins: str
    ends: str
    levels: int          # logic cells in between
    logic_ns: float
    wires_ns: float

    def __str__(self):
        return (f"from {self.begins} to {self.ends}: {self.levels} levels, {self.logic_ns:.1f} ns in cells and "
                f"{self.wires_ns:.1f} ns in wires")


def _counts(by_type):
    return {name: by_type.get(cell, 0) for name, cell in CELLS.items()}


def total_cells(stat):
    """Cells of a flattened design, from Yosys's `stat -json`."""
    return _counts(stat["design"]["num_cells_by_type"])


def cells_by_block(stat, *, below):
    """Cells of each block right below module `below`, all that is in it included, largest first.

    Names of modules are paths, as Amaranth makes them.
    """
    blocks = {}
    for module, figures in stat["modules"].items():
        path = module.removeprefix("\\")
        if path == below or path.startswith(below + "."):
            block = path.removeprefix(below).strip(".").split(".")[0] or "(connections)"
            counts = blocks.setdefault(block, dict.fromkeys(CELLS, 0))
            for name, count in _counts(figures["num_cells_by_type"]).items():
                counts[name] += count
    return dict(sorted(blocks.items(), key=lambda item: (-item[1]["LUT4"], item[0])))


def frequency(timing):
    """MHz that the slowest clock of nextpnr's report reaches."""
    return min(clock["achieved"] for clock in timing["fmax"].values())


def utilization(timing):
    """What is used of the device, from nextpnr's report."""
    return {name: count for name, count in timing["utilization"].items() if count["used"]}


def critical_path(timing):
    """The path that limits the slowest clock; None if there is no path from flip-flop to flip-flop."""
    slowest = min(timing["fmax"], key=lambda clock: timing["fmax"][clock]["achieved"])
    within = [each["path"] for each in timing["critical_paths"]
              if each["from"] == each["to"] and each["from"].endswith(slowest)]
    if not within:
        return None
    path = within[0]
    steps = [step for step in path if step["type"] == _LOGIC]
    delay = {kind: sum(step["delay"] for step in path if (step["type"] == "routing") == kind) for kind in (False, True)}
    return Path(begins=_name(path[0]["from"]["cell"]), ends=_name(path[-1]["to"]["cell"]), levels=len(steps),
                logic_ns=delay[False], wires_ns=delay[True])


def _name(cell):
    """The register behind a cell's name, without what the mapper has put behind it."""
    return re.sub(r"(_(TRELLIS_FF|DI|LUT4|Q|Z|D|[ABCDM]|\d+))+$|\$.*$", "", cell).removeprefix("component.") or cell
