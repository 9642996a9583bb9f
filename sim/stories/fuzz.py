"""`make fuzz N=<images> SEED=<s>`: random machines, tables and programs; the gateware against the golden model. Ours.

::

    two processes, each:   hypothesis --Case--> simulator --event log--> follower --findings--> shrink, report
                                          `make fuzz CASE=<file>` plays one case again

What differs is made small by hypothesis, printed, and kept as build/fuzz/case-*.json. build/fuzz/report.json says what was
played and what was seen. With 200 images or more everything that there is must have been seen.
"""
import json
import multiprocessing
import time
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any

import typer
from hypothesis import HealthCheck, Phase, Verbosity, given, settings
from hypothesis import seed as seeded
from hypothesis.errors import Flaky
from rich.console import Console

from hw.iommu.config import IommuConfig
from hw.spec.faults import FaultReason
from hw.spec.invalidation import ABORT_MODE_DESCRIPTORS, QueueError
from hw.spec.tables import PageSize
from sim.player import PLAYER, PlayerTop
from sim.runner import BUILD, BuildResult, build
from sim.stories.fuzz_case import Case
from sim.stories.fuzz_check import Coverage, Simulation, check
from sim.stories.fuzz_draw import cases
from sim.stories.fuzz_trim import kind_of, trim

__all__ = ["EVERYTHING", "Findings", "fuzz", "main", "missing", "play_case", "search"]

_PROCESSES = 2
_ROUND = 16                # images between two new seeds
_SHRINK_SECONDS = 90.0
_MOST_MISMATCHES = 5       # of one process, which then stops
_ALL_FROM = 200            # images from which on everything must have been seen
_SHOWN = 6

EVERYTHING: dict[str, frozenset[str]] = {
    "fault_reasons": frozenset(reason.name for reason in FaultReason if reason is not FaultReason.NONE),
    "page_sizes": frozenset(size.name for size in PageSize),
    "top_levels": frozenset("345"),
    "descriptors": frozenset(kind.name for kind in ABORT_MODE_DESCRIPTORS),
    "queue_errors": frozenset(cause.name for cause in QueueError if cause is not QueueError.NONE),
    "granularities": frozenset(f"{kind} {granularity}" for kind in ("CONTEXT_CACHE", "IOTLB") for granularity in (1, 2, 3)),
    "walks": frozenset({"JOINED", "LEVEL_2", "LEVEL_3", "LEVEL_4", "LEVEL_5"}),
}
"""What there is to be seen, by the names of Coverage."""


class _Differs(AssertionError):
    """A case with findings."""


@dataclass
class Findings:
    """What one process has to say.

    Members
    -------
    images, requests : int
        That were played, not counting what was played to make a case small.
    coverage : Coverage
    hangs : int
        Of them, that the watchdog gave up, or whose simulator ended.
    longest_wait : float
        The share of its deadline that the longest wait of the watchdog took.
    mismatches : list of (case as JSON, findings)
        Made small.
    """

    images: int = 0
    requests: int = 0
    hangs: int = 0
    coverage: Coverage = field(default_factory=Coverage)
    longest_wait: float = 0.0
    mismatches: list[tuple[str, list[str]]] = field(default_factory=list)


class _Round:
    """Some images from one seed; ends with the first that differs, made small."""

    def __init__(self, simulation: Any, findings: Findings, shrink_seconds: float) -> None:
        self._simulation = simulation
        self._findings = findings
        self._shrink_seconds = shrink_seconds
        self._kind: str | None = None
        self._failed: dict[str, list[str]] = {}
        self._until = 0.0
        self.smallest: tuple[str, list[str]] | None = None

    def play(self, case: Case) -> None:
        """One image. Raises _Differs if it differs as the first one did."""
        text = case.to_json()
        if self._kind is not None and time.monotonic() > self._until:
            found = self._failed.get(text, [])     # no time left to look for a smaller one
        else:
            played = self._simulation.play(case)
            found, coverage = check(case, played)
            if self._kind is None:
                self._findings.images += 1
                self._findings.requests += len(case.requests)
                self._findings.hangs += bool(played.hang)
                self._findings.coverage.add(coverage)
                self._findings.longest_wait = max(self._findings.longest_wait, played.longest_wait)
        if not found or self._kind not in {None, kind_of(found[0])}:
            return
        if self._kind is None:
            self._kind, self._until = kind_of(found[0]), time.monotonic() + self._shrink_seconds
        self._failed[text] = found
        if self.smallest is None or len(text) <= len(self.smallest[0]):
            self.smallest = text, found
        raise _Differs(found[0])


def search(simulation: Any, *, images: int, seed: int, most_mismatches: int = _MOST_MISMATCHES,
           shrink_seconds: float = _SHRINK_SECONDS) -> Findings:
    """Play so many images, or until so many differ. The same seed, the same images.

    `simulation` has a method `play` like that of Simulation. What differs is made smaller for so long, and then trimmed.
    """
    findings = Findings()
    number = 0
    while findings.images < images and len(findings.mismatches) < most_mismatches:
        number += 1
        this = _Round(simulation, findings, shrink_seconds)
        quiet = settings(max_examples=min(_ROUND, images - findings.images), database=None, deadline=None,
                         derandomize=False, phases=[Phase.generate, Phase.shrink], verbosity=Verbosity.quiet,
                         report_multiple_bugs=False, suppress_health_check=list(HealthCheck), print_blob=False)
        try:
            seeded(seed << 20 | number)(quiet(given(cases())(this.play)))()
        except (_Differs, Flaky):
            pass   # this.smallest has it; flaky is what differs once and not again, which is a finding too
        if this.smallest is not None:
            text, found = this.smallest
            best, found = trim(simulation, Case.from_json(text), found)
            findings.mismatches.append((best.to_json(), found))
    return findings


def _search(built: BuildResult, images: int, seed: int) -> Findings:
    with Simulation(built) as simulation:
        return search(simulation, images=images, seed=seed)


def missing(coverage: Coverage) -> dict[str, list[str]]:
    """What there is and was not seen."""
    unseen = {name: sorted(everything - set(getattr(coverage, name))) for name, everything in EVERYTHING.items()}
    return {name: names for name, names in unseen.items() if names}


def built_player() -> BuildResult:
    """The simulator that table replay uses, too."""
    return build(PlayerTop(IommuConfig()), "player_top", attachments=[PLAYER])


def play_case(case: Case, built: BuildResult | None = None) -> list[str]:
    """The findings of one case."""
    with Simulation(built or built_player()) as simulation:
        return check(case, simulation.play(case))[0]


def fuzz(images: int, seed: int, *, processes: int = _PROCESSES) -> dict[str, Any]:
    """Play so many images in so many processes; returns the report's contents."""
    built = built_player()
    started = time.monotonic()
    shares = [images // processes + (number < images % processes) for number in range(processes)]
    with ProcessPoolExecutor(processes, mp_context=multiprocessing.get_context("spawn")) as pool:
        parts = list(pool.map(_search, [built] * processes, shares, [seed * processes + number for number in range(processes)]))
    coverage = Coverage()
    for part in parts:
        coverage.add(part.coverage)
    seen = {name: dict(sorted(counter.items())) for name, counter in vars(coverage).items()}
    return {
        "images": sum(part.images for part in parts), "requests": sum(part.requests for part in parts), "seed": seed,
        "seconds": round(time.monotonic() - started, 1),
        "faults_by_reason": seen.pop("fault_reasons"),
        "mismatches": sum(len(part.mismatches) for part in parts), "hangs": sum(part.hangs for part in parts),
        "coverage": seen, "not_seen": missing(coverage),
        "longest_wait_of_its_deadline": round(max(part.longest_wait for part in parts), 4),
        "cases": [{"findings": found, "case": json.loads(text)} for part in parts for text, found in part.mismatches],
    }


def main(images: Annotated[int, typer.Option("--images", "-n", min=1, help="How many images.")] = 2000,
         seed: Annotated[int, typer.Option(min=0, help="The same seed, the same images.")] = 1,
         case: Annotated[Path | None, typer.Option(help="Play this one again.", exists=True)] = None) -> None:
    """Random images, requests and programs through the gateware, compared with the golden model."""
    console = Console(width=120, highlight=False)

    def say(text: str, style: str | None = None) -> None:
        console.print(text, style=style, markup=False, soft_wrap=True)

    if case is not None:
        again = Case.from_json(case.read_text())
        found = play_case(again)
        say(again.explain())
        say("\n".join(found) or "nothing differs", "red" if found else None)
        raise typer.Exit(1 if found else 0)
    folder = BUILD / "fuzz"
    folder.mkdir(parents=True, exist_ok=True)
    for old in folder.glob("case-*.json"):
        old.unlink()
    with console.status(f"{images} images (the first build takes a few minutes)"):
        report = fuzz(images, seed)
    for number, each in enumerate(report.pop("cases")):
        place = folder / f"case-{number}.json"
        place.write_text(json.dumps(each["case"]))
        say(f"\n{place.name}:\n" + "\n".join(each["findings"][:_SHOWN]), "red")
        say(Case(**each["case"]).explain())
    (folder / "report.json").write_text(json.dumps(report, indent=2))
    say(f"{report['images']} images, {report['requests']} requests, {report['mismatches']} mismatches, {report['hangs']} hangs in "
        f"{report['seconds']} s (seed {seed}); the longest wait took {report['longest_wait_of_its_deadline']:.1%} of its deadline")
    unseen = report["not_seen"] if report["images"] >= _ALL_FROM else {}
    if unseen:
        say(f"never seen: {unseen}", "red")
    if report["mismatches"] or unseen:
        raise typer.Exit(1)


if __name__ == "__main__":
    typer.run(main)
