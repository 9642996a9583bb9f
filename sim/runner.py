"""Build a simulator of a component, once per content, and run cocotb tests in it.

::

    component --Amaranth--> RTLIL --+   (not for a recipe that was seen before: sim/recipe.py)
    sim_top (sim/wrapper.py) -------+-- hash --> build/sim/<name>-<hash>/ : Verilog, C++, the simulator
    .sv, .cpp, flags, versions -----+

A build is found again only if everything that goes into it is the same, so an edit is never tested as its old self.
Builders of the same thing wait for each other; runs have a folder each.
"""
import hashlib
import inspect
import json
import re
import shutil
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import hw.build
from hw.build import rtlil_to_verilog
from sim.recipe import locked, rtlil_of
from sim.runtime_library import RuntimeLibrary
from sim.simulator import MAKE_VARIABLES, ROOT, VERILATOR_FLAGS, Simulator, simulator_version
from sim.wrapper import Attachment, generate_top, generate_types, memory_ports

__all__ = ["BUILD", "ROOT", "BuildFailed", "BuildResult", "RunResult", "SimulationFailed", "build", "fingerprint",
           "run", "simulator_version"]

BUILD = ROOT / "build"

_TOP = "sim_top"
_TYPES = "bench_types.sv"
_SOURCES = ("sparse_memory.sv", "sparse_memory.cpp", "event_recorder.sv", "event_recorder.cpp", "host_port.sv")
_LOG_TAIL_LINES = 40


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
    values : dict
        What the tests gave to `sim.bench.give_result`, by name.
    tests : int
        How many passed.
    seconds : float
        Wall time.
    """

    folder: Path
    values: dict[str, Any]
    tests: int
    seconds: float

    @property
    def value(self) -> Any:
        """What was given without a name, or None."""
        return self.values.get("result")


def fingerprint(component: Any, name: str, *, design: str | None = None, attachments: Sequence[Attachment] = (),
                waves: bool = False) -> str:
    """The hash of everything that goes into a simulator: design (its RTLIL, if at hand), wrapper, sources, flags and tools."""
    if design is None:
        design = rtlil_of(component, name, folder=BUILD / "sim" / "recipes")
    sources = [source.name + source.read_text() for source in _sources(attachments)]
    parts = [design, inspect.getsource(hw.build), *_generate(component, name, attachments).values(), *sources,
             repr((VERILATOR_FLAGS, MAKE_VARIABLES, waves)), simulator_version()]
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()[:16]


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
    design = rtlil_of(component, name, folder=BUILD / "sim" / "recipes")
    key = fingerprint(component, name, design=design, attachments=attachments, waves=waves)
    place = folder / f"{name}-{key}"
    result = BuildResult(folder=place, name=name, key=key, waves=waves, memory_ports=memory_ports(component),
                         seconds=0.0, cached=True)
    with locked(folder / f"{name}-{key}.lock"):
        stamp = place / "build.json"
        if stamp.exists():
            return replace(result, seconds=json.loads(stamp.read_text())["seconds"])
        started = time.monotonic()
        shutil.rmtree(place, ignore_errors=True)
        place.mkdir(parents=True)
        generated = _generate(component, name, attachments)
        generated[f"{name}.v"] = rtlil_to_verilog(design)
        for file, text in generated.items():
            (place / file).write_text(text)
        in_order = [place / _TYPES, place / f"{name}.v", *_sources(attachments), place / f"{_TOP}.sv"]
        _compile(place, in_order, waves)
        built = replace(result, cached=False, seconds=round(time.monotonic() - started, 1))
        stamp.write_text(json.dumps(asdict(built) | {"simulator": simulator_version()}, default=str, indent=2))
        return built


def run(built: BuildResult, test_module: str, *, testcase: str | Sequence[str] | None = None,
        config: Mapping[str, Any] | None = None, waves: bool = False, folder: Path | None = None, seed: int = 1,
        seconds: float = 600, log: Callable[[str], None] | None = None) -> RunResult:
    """Run the cocotb tests of a module in a simulator process of its own.

    Parameters
    ----------
    built : BuildResult
        The simulator.
    test_module : str
        Dotted name of the module.
    testcase : str or sequence of str
        These tests of it only.
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
    wanted = [testcase] if isinstance(testcase, str) else list(testcase or ())
    only = rf"\.({'|'.join(map(re.escape, wanted))})$" if wanted else None
    started = time.monotonic()
    simulator = Simulator(seconds=seconds, line=log)
    try:
        simulator.test(test_module=test_module, hdl_toplevel=_TOP, hdl_toplevel_lang="verilog", test_filter=only,
                       seed=seed, build_dir=built.folder, test_dir=folder, results_xml=str(results), waves=waves,
                       log_file=folder / "run.log")
    except SystemExit:
        pass  # its reason is in the results, or they are missing
    except RuntimeError as error:
        if not results.exists():
            raise SimulationFailed(f"{error}\n{_tail(folder / 'run.log')}") from error
    count = _check_results(results, folder / "run.log", wanted)
    values = {file.name.removesuffix(".value.json"): json.loads(file.read_text())
              for file in sorted(folder.glob("*.value.json"))}
    return RunResult(folder=folder, tests=count, seconds=round(time.monotonic() - started, 3), values=values)


def _generate(component: Any, name: str, attachments: Sequence[Attachment]) -> dict[str, str]:
    """The SystemVerilog around the component, by file name."""
    return {_TYPES: generate_types(), f"{_TOP}.sv": generate_top(component, name=name, attachments=attachments)}


def _sources(attachments: Sequence[Attachment]) -> list[Path]:
    return [*(ROOT / "sim" / source for source in _SOURCES),
            *(source for attachment in attachments for source in attachment.sources)]


def _compile(place: Path, sources: list[Path], waves: bool) -> None:
    cpp = [str(source) for source in sources if source.suffix == ".cpp"]
    log = place / "build.log"
    library = RuntimeLibrary(place.parent, simulator_version(), repr((VERILATOR_FLAGS, MAKE_VARIABLES, waves)))
    try:
        Simulator(seconds=1200, before_make=partial(library.lend, place)).build(
            sources=[source for source in sources if source.suffix != ".cpp"], hdl_toplevel=_TOP, build_dir=place,
            build_args=[*VERILATOR_FLAGS, *cpp], waves=waves, log_file=log, always=True)
    except (RuntimeError, SystemExit) as error:
        raise BuildFailed(f"{error}\n{_tail(log)}") from error
    library.keep(place)


def _check_results(results: Path, log: Path, wanted: Sequence[str]) -> int:
    """Number of tests that ran and passed; all that were wanted, and at least one."""
    if not results.exists():
        raise SimulationFailed(f"the simulator ended without a result\n{_tail(log)}")
    cases = list(ElementTree.parse(results).getroot().iter("testcase"))
    failures = [f"{case.get('classname')}.{case.get('name')}: {failure.get('error_type') or failure.get('type')}: "
                f"{failure.get('error_msg') or failure.get('message')}\n{failure.text or ''}".rstrip()
                for case in cases for failure in case if failure.tag in {"failure", "error"}]
    if failures:
        hardware = [line for line in log.read_text(errors="replace").splitlines() if "%Fatal" in line or "%Error" in line]
        raise SimulationFailed("\n".join([*hardware, *failures, f"log: {log}"]))
    passed = [case for case in cases if case.find("skipped") is None]
    missing = set(wanted) - {case.get("name") for case in passed}
    if missing or not passed:
        raise SimulationFailed(f"no such test ran: {', '.join(sorted(missing)) or 'any'}\n{_tail(log)}")
    return len(passed)


def _tail(log: Path) -> str:
    lines = log.read_text(errors="replace").splitlines() if log.exists() else ["(no log)"]
    return "\n".join([*lines[-_LOG_TAIL_LINES:], f"log: {log}"])
