"""`make bench`: how fast the unit is, beside what cannot be beaten and what must be reached. docs/benchmarks.md.

Leaves build/bench/report.json and the plots. Ends with status 1 if a target is not met or a case could not be measured.
"""
import time
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from sim.measure.case import Case
from sim.measure.plots import draw
from sim.measure.result import Result, missed, write_report
from sim.measure.table import tables_of
from sim.measure.verdicts import results_of
from sim.runner import BUILD, BuildFailed, simulator_version
from sim.stories.bench_campaign import Campaign
from sim.stories.bench_plan import BENCHES, Mode, plan

__all__ = ["main"]


def main(
    quick: Annotated[bool, typer.Option("--quick", help="The first figures, in a minute once the simulator is built.")] = False,
    full: Annotated[bool, typer.Option("--full", help="Every setting: an hour or so.")] = False,
    bench: Annotated[list[str] | None, typer.Option(help=f"Only these: {', '.join(BENCHES)}.")] = None,
    latency: Annotated[list[int] | None, typer.Option(help="Of the memory, in cycles.")] = None,
    slots: Annotated[list[int] | None, typer.Option(help="Walk slots.")] = None,
    word_bits: Annotated[list[int] | None, typer.Option(help="Of a memory word: 128, 512.")] = None,
    seed: Annotated[list[int] | None, typer.Option(help="Of the random patterns.")] = None,
    slowed: Annotated[bool, typer.Option("--slowed", help="The control: no answer from the IOTLB for the first device.")] = False,
    fresh: Annotated[bool, typer.Option("--fresh", help="Measure again what was measured before.")] = False,
    folder: Annotated[Path, typer.Option(help="Where the report, the plots and what was observed go.")] = BUILD / "bench",
) -> None:
    """Measure, compare, draw."""
    console = Console(width=150, highlight=False)
    try:
        cases = plan(Mode.QUICK if quick else Mode.FULL if full else Mode.DEFAULT, benches=bench or (), latencies=latency or (),
                     slots=slots or (), word_bits=word_bits or (), seeds=seed or (1,), slowed=slowed)
        for case in cases:
            assert case.config
    except ValueError as error:
        console.print(str(error), style="red", markup=False, soft_wrap=True)
        raise typer.Exit(2) from None
    started = time.monotonic()
    try:
        campaign = _measured(console, cases, folder, fresh=fresh)
    except BuildFailed as error:
        console.print(f"{error}", style="red", markup=False, soft_wrap=True)
        raise typer.Exit(1) from None
    results = [result for case in cases if case in campaign.observed for result in results_of(case, campaign.observed[case])]
    write_report(folder / "report.json", results)
    for table in tables_of(results):
        console.print(table)
    plots = draw(results, campaign.observed, folder)
    console.print(f"{simulator_version()}; {len(cases)} cases in {time.monotonic() - started:.0f} s", markup=False)
    console.print(f"in {folder}: report.json, {', '.join(path.name for path in plots)}", markup=False, soft_wrap=True)
    _judge(console, results, campaign)


def _measured(console: Console, cases: list[Case], folder: Path, *, fresh: bool) -> Campaign:
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=console) as progress:
        task = progress.add_task("measuring (a simulator takes two minutes to build)", total=len(cases))
        campaign = Campaign(folder, say=lambda text: progress.console.print(text, markup=False, soft_wrap=True),
                            done=lambda case: progress.advance(task), fresh=fresh)
        campaign.measure(cases)
    return campaign


def _judge(console: Console, results: list[Result], campaign: Campaign) -> None:
    """Say what is not as it must be, and end with it."""
    for case, error in campaign.errors.items():
        console.print(f"not measured: {case.label}: {error}", style="red", markup=False, soft_wrap=True)
    short = missed(results)
    for result in short:
        console.print(f"missed: {f'{result.name} {result.variant}'.strip()} at L = {result.latency}, {result.word_bits} bits, "
                      f"{result.slots} slots: {result.value:.4g}, target {result.target:.4g} {result.unit}\n    {result.command}",
                      style="red", markup=False, soft_wrap=True)
    if short or campaign.errors or not results:
        raise typer.Exit(1)
    console.print(f"every target is met: {sum(result.target is not None for result in results)} of them")


if __name__ == "__main__":
    typer.run(main)
