# amaranth: UnusedElaboratable=no
"""Measure many cases: build each unit once, run its cases in two processes, keep what was observed.

::

    cases --> by unit --> build --> halves --> simulator processes --> build/bench/cases/<hash>.json

An observation is found again only if the simulator, the case and the workloads are the same. So a campaign that was
interrupted goes on where it was, and an edit is never measured as its old self.
"""
import hashlib
import json
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from hw.iommu.config import IommuConfig
from hw.top.bench_top import BenchTop
from sim.measure.bare_loop import run_bare
from sim.measure.case import Case
from sim.measure.measure_top import MeasureTop
from sim.player import PLAYER, PlayerTop
from sim.runner import ROOT, BuildResult, SimulationFailed, build, run
from sim.stories.bench_plan import RACES, SWAPS
from sim.stories.bench_runner import DONE, value_name

__all__ = ["Campaign", "build_player", "build_traffic", "build_unit"]

_PROCESSES = 2
_ALONE = "sim_speed"             # measures wall time: nothing else may run
_SECONDS_PER_CASE = 600.0
_SOURCES = ("sim/stories/bench_machine.py", "sim/stories/bench_workloads.py", "sim/stories/bench_commands.py",
            "sim/stories/bench_prewalk.py", "sim/stories/race_machine.py", "sim/stories/race_sweep.py",
            "sim/stories/swap_sweep.py", "sim/stories/doorbell.py", "sim/measure/sweep_log.py",
            "sim/measure/page_tables.py", "sim/measure/bounds.py", "sim/measure/bare_loop.cpp", "sw/traffic.py")

Say = Callable[[str], None]
Builder = Callable[[IommuConfig], BuildResult]


def build_unit(config: IommuConfig) -> BuildResult:
    """The simulator of a unit of these sizes, as it is measured."""
    return build(MeasureTop(config), "measure_top")


def build_player(config: IommuConfig) -> BuildResult:
    """The simulator of a unit whose requests are placed to the cycle, as table replay has it."""
    return build(PlayerTop(config), "player_top", attachments=[PLAYER])


def build_traffic(config: IommuConfig) -> BuildResult:
    """The simulator of a unit beside traffic, with its event ports."""
    return build(BenchTop(config), "bench_top")


@dataclass
class Campaign:
    """Cases, and what was observed of them so far.

    Parameters
    ----------
    folder : Path
        Where observations and runs are kept.
    say : callable
        Is told what goes on, in a line.
    done : callable
        Is called for each case that has been observed, new or found.
    builder, player_builder, traffic_builder : callable
        Make the simulator of a unit: for W8, for W9, and, the first, for everything else.
    fresh : bool
        Look for nothing that was observed before.

    Members
    -------
    observed
        By case.
    errors
        By case: why it could not be observed.
    """

    folder: Path
    say: Say
    done: Callable[[Case], None]
    builder: Builder = field(default_factory=lambda: build_unit)
    player_builder: Builder = field(default_factory=lambda: build_player)
    traffic_builder: Builder = field(default_factory=lambda: build_traffic)
    fresh: bool = False
    observed: dict[Case, dict[str, Any]] = field(default_factory=dict)
    errors: dict[Case, str] = field(default_factory=dict)

    def measure(self, cases: Sequence[Case]) -> None:
        """Observe them all."""
        together = [case for case in cases if case.bench != _ALONE]
        units = {self._unit(case): None for case in cases}
        with ThreadPoolExecutor(_PROCESSES) as pool:
            built = dict(zip(units, pool.map(lambda unit: self._build(*unit), units), strict=True))
            parts = [part for unit, simulator in built.items()
                     for part in self._halves(simulator, [case for case in together if self._unit(case) == unit])]
            list(pool.map(lambda part: self._run(*part), parts))
        for unit, simulator in built.items():
            alone = [case for case in cases if case.bench == _ALONE and self._unit(case) == unit]
            for case in self._missing(simulator, alone):
                self._run(simulator, [case])

    def _unit(self, case: Case) -> tuple[Builder, IommuConfig]:
        """Who makes the simulator of a case, and of what unit."""
        builder = (self.player_builder if case.bench in RACES else
                   self.traffic_builder if case.bench in SWAPS else self.builder)
        return builder, case.config

    def _build(self, builder: Builder, config: IommuConfig) -> BuildResult:
        built = builder(config)
        if not built.cached:
            self.say(f"built {built.name} with {config.walk_slots} slots and {config.memory_word_bits} bits in "
                     f"{built.seconds:.0f} s")
        return built

    def _halves(self, built: BuildResult, cases: Sequence[Case]) -> list[tuple[BuildResult, list[Case]]]:
        """Runs of about the same length: neighbours in the list take about as long."""
        missing = self._missing(built, cases)
        return [(built, part) for start in range(_PROCESSES) if (part := missing[start::_PROCESSES])]

    def _missing(self, built: BuildResult, cases: Iterable[Case]) -> list[Case]:
        """The cases that were not observed before; the others are taken over."""
        missing = []
        for case in cases:
            kept = self._place(built, case)
            if kept.exists() and not self.fresh:
                self._take(built, case, json.loads(kept.read_text()))
            else:
                missing.append(case)
        return missing

    def _run(self, built: BuildResult, cases: Sequence[Case]) -> None:
        """One simulator process. What it has observed is kept although it may fail afterwards."""
        folder = self.folder / "runs" / self._place(built, cases[0]).stem

        def line(text: str) -> None:
            if text.startswith(DONE):
                number = int(text.removeprefix(DONE))
                result = json.loads((folder / f"{value_name(number)}.value.json").read_text())
                if cases[number].bench == _ALONE and "observed" in result:
                    self._run_bare(built, result["observed"], folder)
                self._take(built, cases[number], result)

        try:
            run(built, "sim.stories.bench_runner", config={"cases": [case.as_dict() for case in cases]}, folder=folder,
                seconds=_SECONDS_PER_CASE * len(cases), log=line)
        except SimulationFailed as error:
            for case in cases:
                if case not in self.observed:
                    self.errors.setdefault(case, str(error).splitlines()[0])

    def _run_bare(self, built: BuildResult, observed: dict[str, Any], folder: Path) -> None:
        """The same traffic in the same simulator without cocotb."""
        bare = run_bare(built, observed.pop("script"), observed["cycles"], folder / "bare")
        observed |= {"bare_cycles": observed["cycles"], "bare_seconds": bare.seconds, "bare_requests": bare.requests}

    def _take(self, built: BuildResult, case: Case, result: dict[str, Any]) -> None:
        if "error" in result:
            self.errors[case] = result["error"]
            self.say(f"{case.label}: {result['error']}")
        else:
            kept = self._place(built, case)
            kept.parent.mkdir(parents=True, exist_ok=True)
            kept.write_text(json.dumps(result))
            self.observed[case] = result["observed"]
        self.done(case)

    def _place(self, built: BuildResult, case: Case) -> Path:
        """Where an observation is kept: under a hash of all that it follows from."""
        sources = [(ROOT / source).read_text() for source in _SOURCES]
        digest = hashlib.sha256("\0".join([built.key, case.text, *sources]).encode()).hexdigest()[:16]
        return self.folder / "cases" / f"{case.bench}-{digest}.json"
