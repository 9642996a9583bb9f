"""`make fpga-report`: what the unit costs on an ECP5, and how fast it is there. Ours.

For each configuration the unit alone, between registers: cells in all and by block; for those that are routed the
frequency of several seeds and the critical path. Beside it, what others reach. The figures are kept by what they were made from
(build/fpga-cache): a second call with the same design takes seconds.
"""
import json
import statistics
import sys
from pathlib import Path
from typing import Annotated

import typer
from amaranth.back import rtlil
from rich.console import Console
from rich.table import Table

from hw.fpga.figures import CELLS, cells_by_block, critical_path, frequency, total_cells
from hw.fpga.harness import UNCONNECTED, RegisteredPins
from hw.fpga.peers import PEERS
from hw.fpga.tools import ToolError, place_and_route, synthesise, tool_versions, without_outputs
from hw.iommu.config import CONFIGS
from hw.iommu.unit import IommuUnit

__all__ = ["Limits", "measure", "misses"]

_TOP = "top"
SPEED_GRADE = 6
DEVICE = "85k"


class Limits:
    """What the default configuration must keep."""

    LUT4 = 12_000
    MEGAHERTZ = 75.0
    GOAL_MEGAHERTZ = 100.0


def measure(config, *, seeds, cache, by_block=True, say=lambda _text: None):
    """The figures of one configuration, as a dict that can be written as JSON.

    Parameters
    ----------
    config : IommuConfig
        What is built.
    seeds : sequence of int
        One routing for each; none: synthesis only.
    cache : Path
        See `synthesise`.
    by_block : bool
        Synthesise once more with blocks kept apart.
    say : callable
        Told what is being done.

    Raises
    ------
    ToolError
        If a tool fails.
    """
    harness = RegisteredPins(IommuUnit(config))
    netlist = rtlil.convert(harness, name=_TOP, emit_src=False)
    say("synthesis")
    mapped = synthesise(netlist, top=_TOP, cache=cache)
    cells = total_cells(json.loads((mapped / "stat.json").read_text()))
    cells["LUT4"] -= harness.own_luts
    cells["FF"] -= harness.own_flip_flops
    figures = {"cells": cells, "synthesis_seconds": float((mapped / "seconds").read_text())}
    if by_block:
        say("synthesis, block by block")
        for name in UNCONNECTED:
            netlist = without_outputs(netlist, name)
        apart = synthesise(netlist, top=_TOP, cache=cache, flatten=False)
        figures["blocks"] = cells_by_block(json.loads((apart / "stat.json").read_text()), below=f"{_TOP}.component")
    routed = {}
    for seed in seeds:
        say(f"placement and routing, seed {seed}")
        folder = place_and_route(mapped, seed=seed, cache=cache, device=DEVICE, speed=SPEED_GRADE,
                                 megahertz=Limits.GOAL_MEGAHERTZ)
        timing = json.loads((folder / "timing.json").read_text())
        routed[seed] = {"megahertz": round(frequency(timing), 2), "critical_path": str(critical_path(timing)),
                        "seconds": float((folder / "seconds").read_text())}
    if routed:
        every = [figure["megahertz"] for figure in routed.values()]
        figures |= {"seeds": routed, "best_megahertz": max(every), "median_megahertz": statistics.median(every)}
    return figures


def misses(figures):
    """Sentences about what the default configuration does not keep; none if all is well."""
    found = []
    if (luts := figures["cells"]["LUT4"]) > Limits.LUT4:
        found.append(f"{luts:,} LUT4 are more than {Limits.LUT4:,}")
    if "best_megahertz" in figures and figures["best_megahertz"] < Limits.MEGAHERTZ:
        found.append(f"{figures['best_megahertz']} MHz are less than {Limits.MEGAHERTZ:.0f} MHz")
    return found


def _show(console, name, figures):
    table = Table("block", *CELLS, title=f"{name}: ECP5 {DEVICE}, speed grade {SPEED_GRADE}")
    for block, counts in figures.get("blocks", {}).items():
        table.add_row(block, *(f"{counts[cell]:,}" for cell in CELLS))
    table.add_row("all, optimised together", *(f"{figures['cells'][cell]:,}" for cell in CELLS), style="bold")
    console.print(table)
    if "seeds" not in figures:
        console.print(f"{name}: synthesis only")
        return
    console.print(f"{name}: routed, best {figures['best_megahertz']} MHz, median {figures['median_megahertz']} MHz of "
                  f"{len(figures['seeds'])} seeds")
    best = max(figures["seeds"].values(), key=lambda figure: figure["megahertz"])
    console.print(f"critical path of the best: {best['critical_path']}")


def _show_peers(console):
    table = Table("peer", "commit", "LUT4", "FF", "MHz", "mark", "remark", title="what others reach")
    for peer in PEERS:
        table.add_row(peer.name, peer.commit, f"{peer.lut4:,}", f"{peer.flip_flops:,}",
                      str(peer.megahertz or "-"), peer.mark, peer.remark)
    console.print(table)


def main(
    seeds: Annotated[int, typer.Option(min=0, help="routings of small and default; 0: synthesis only")] = 5,
    only: Annotated[list[str] | None, typer.Option(help="one of the configurations; may be given again")] = None,
    route_large: Annotated[bool, typer.Option(help="route the large configuration too")] = False,
    build: Annotated[Path, typer.Option(help="where to write")] = Path("build"),
) -> None:
    """Measure the unit on an ECP5."""
    console = Console(width=130)
    if unknown := set(only or ()) - set(CONFIGS):
        sys.exit(f"fpga-report: no configuration {', '.join(sorted(unknown))}; there are {', '.join(CONFIGS)}")
    report = {"tools": tool_versions(), "device": DEVICE, "speed_grade": SPEED_GRADE, "configs": {}}
    for name in only or CONFIGS:
        wanted = range(1, seeds + 1) if name != "large" or route_large else ()
        try:
            figures = measure(CONFIGS[name], seeds=wanted, cache=build / "fpga-cache",
                              say=lambda text, name=name: print(f"{name}: {text}", flush=True))
        except ToolError as error:
            sys.exit(f"fpga-report: {name}: {error}")
        report["configs"][name] = figures
        _show(console, name, figures)
    _show_peers(console)
    failures = misses(report["configs"]["default"]) if "default" in report["configs"] else []
    report |= {"peers": [peer._asdict() for peer in PEERS], "misses": failures}
    path = build / "fpga-report" / "report.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(report, indent=2))
    print(f"report: {path}")
    if failures:
        sys.exit("fpga-report: the default configuration: " + "; ".join(failures))


if __name__ == "__main__":
    typer.run(main)
