# amaranth: UnusedElaboratable=no
"""`make demo`: one handover between two kernels under DMA that never stops, told three times.

::

    simulator process (sim.stories.machine)      unix socket      kernel processes (sw.kernel), one after the other
       gateware, memory, traffic, judge  <--------------------->  old: runs on captured tables, persists, ends
                                                                  new: adopts, zaps, rebuilds, replaces, frees

    atomic_swap               one 128-bit compare-exchange per device: nothing may be blocked, faulted or misplaced
    break_before_make cold    the control: the device's context is not cached while its present bit is cleared
    break_before_make warm    the control: caches go on serving until they are invalidated
"""
import asyncio
import json
import secrets
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

from hw.iommu.config import IommuConfig
from hw.top.bench_top import BenchTop
from sim.runner import BUILD, ROOT, BuildResult, SimulationFailed, build, run, simulator_version
from sim.stories.experiment import Experiment
from sim.stories.story_report import Story, failures_of, summary_of
from sw.capture import Capture
from sw.errors import DriverError
from sw.transport import TransportError
from sw.transport.socket import SocketTransport

__all__ = ["DEMO_CONFIG", "StoryPlan", "main", "tell"]

DEMO_CAPTURE = ROOT / "tests" / "data" / "real-tables" / "legacy48"
DEMO_CONFIG = IommuConfig(iotlb_sets=16)
"""An IOTLB of 64 lines for some 260, so that hits and walks are in flight together all the time."""

DROPPED = (0x0300,)                       # a device that is not marked for preservation
RELOCATE = {0x0040: 0x40_0000_0000}       # this device's new tables map copies of its pages, 256 GiB further up
WAVE_SOURCE_ID = 0x0040
_POLL_SECONDS = 0.05
PAUSE_CYCLES = 500                        # from the break to its invalidation: long enough to tell cold from warm


@dataclass(frozen=True)
class StoryPlan:
    """One telling: its name, and what the new kernel is told."""

    name: str
    strategy: str
    cold: bool = False


PLANS = (
    StoryPlan("atomic_swap", "atomic_swap"),
    StoryPlan("break_before_make_cold", "break_before_make", cold=True),
    StoryPlan("break_before_make_warm", "break_before_make"),
)


class KernelFailed(Exception):
    """A kernel process ended with an error; what it said."""


def tell(built: BuildResult, plan: StoryPlan, *, capture: Path, folder: Path, say: Callable[[str], None],
         latency: int = 20, old_cycles: int = 4000, gap_cycles: int = 4000, seconds: float = 900) -> Story:
    """Run one story from beginning to end.

    Raises
    ------
    KernelFailed, SimulationFailed
        If a kernel refused to go on, or the machine did not come to its end.
    """
    experiment = Experiment.of(Capture.load(capture), dropped=DROPPED, relocate=RELOCATE)
    with tempfile.TemporaryDirectory(prefix="hitless-") as place, ThreadPoolExecutor(1) as pool:
        key_file = Path(place) / "seal-key"
        key_file.write_text(secrets.token_hex(32))
        address = f"unix:{place}/machine"
        machine = pool.submit(run, built, "sim.stories.machine", folder=folder / plan.name, seconds=seconds, config={
            "name": plan.name, "cold": plan.cold, "address": address, "capture": str(capture.resolve()), "dropped": list(DROPPED),
            "relocate": {str(source_id): offset for source_id, offset in RELOCATE.items()}, "latency": latency,
            "gap_cycles": gap_cycles, "deadline_cycles": 2_000_000, "wave_source_id": WAVE_SOURCE_ID})
        try:
            _wait_for(Path(place) / "machine", machine.done)
            old = _kernel(["old", "--transport", address, "--key-file", str(key_file), "--capture", str(capture),
                           "--cycles", str(old_cycles),
                           "--preserve", ",".join(hex(device.source_id) for device in experiment.preserved)], say)
            new = _kernel(["new", "--transport", address, "--key-file", str(key_file), *_new_kernel_options(plan, experiment)], say)
            _shut_down(address)
        except KernelFailed:
            _give_up(address)
            raise
        done = machine.result()
    return Story(plan.name, plan.strategy, old, new, done.value, done.folder)


def _new_kernel_options(plan: StoryPlan, experiment: Experiment) -> list[str]:
    preserved = experiment.preserved
    options = ["--strategy", plan.strategy,
               "--assign", ",".join(f"{device.old_domain_id}:{device.new_domain_id}" for device in preserved),
               "--relocate", ",".join(f"{source_id:#x}:{offset:#x}" for source_id, offset in experiment.relocate.items())]
    if plan.strategy == "atomic_swap":
        return [*options, "--armed", ",".join(hex(device.source_id) for device in preserved)]
    return [*options, "--cold" if plan.cold else "--warm", "--pause-cycles", str(PAUSE_CYCLES)]


def _kernel(arguments: list[str], say: Callable[[str], None]) -> dict[str, Any]:
    """Run one kernel process to its end. It inherits no environment; its report is what it prints."""
    said = []
    with tempfile.TemporaryFile("w+") as output, subprocess.Popen(
            [sys.executable, "-m", "sw.kernel", *arguments], cwd=ROOT, env={}, text=True, stdout=output,
            stderr=subprocess.PIPE) as process:
        assert process.stderr is not None
        for line in process.stderr:
            said.append(line)
            say(f"{arguments[0]} kernel: {line.rstrip()}")
        status = process.wait()
        output.seek(0)
        printed = output.read()
    if status:
        raise KernelFailed(f"the {arguments[0]} kernel ended with status {status}: {''.join(said[-5:])}")
    report: dict[str, Any] = json.loads(printed)
    return report


def _wait_for(path: Path, ended: Callable[[], bool]) -> None:
    """Until the machine listens, or has ended without."""
    while not path.exists() and not ended():
        time.sleep(_POLL_SECONDS)


def _give_up(address: str) -> None:
    """Let the machine end although the story did not."""
    try:
        _shut_down(address)
    except (OSError, TransportError):
        return


def _shut_down(address: str) -> None:
    with SocketTransport(address) as transport:
        asyncio.run(transport.shutdown())


def main(folder: Annotated[Path, typer.Option(help="Where report, waveforms and logs go.")] = BUILD / "demo") -> None:
    """Two kernels, one handover: by an atomic swap, and by break-before-make as the control."""
    console = Console(width=132, highlight=False)
    for stale in (*folder.glob("*.vcd"), *folder.glob("*.gtkw"), *folder.glob("report.json")):
        stale.unlink()
    try:
        with console.status("") as status:
            status.update("building the simulator (a minute or two, the first time)")
            built = build(BenchTop(DEMO_CONFIG), "bench_top")
            console.print(f"simulator: {'found' if built.cached else 'built'}, {simulator_version()}", markup=False)

            def progress(plan: StoryPlan) -> Story:
                def say(line: str) -> None:
                    console.print(f"[{plan.name}] {line}", markup=False)
                return tell(built, plan, capture=DEMO_CAPTURE, folder=folder, say=say)

            status.update("telling the stories")
            with ThreadPoolExecutor(2) as pool:
                stories = list(pool.map(progress, PLANS))
    except (DriverError, KernelFailed, SimulationFailed, ValueError) as error:
        console.print(f"{type(error).__name__}: {error}", style="red", markup=False, soft_wrap=True)
        raise typer.Exit(1) from None
    for story in stories:
        for file in story.waveforms():
            file.replace(folder / file.name)
    loaded = Capture.load(DEMO_CAPTURE)
    summaries = {story.name: summary_of(story) for story in stories}
    failures = {story.name: failures_of(story) for story in stories}
    report = {
        "capture": loaded.name, "devices": len(stories[0].devices), "source_ids": len(loaded.devices),
        "mappings": sum(row.interval.size // row.page_bytes for row in loaded.mappings),
        "simulator": simulator_version(), "atomic_swap": summaries["atomic_swap"],
        "break_before_make": {**summaries["break_before_make_cold"], "warm": summaries["break_before_make_warm"]},
        "failures": failures,
    }
    (folder / "report.json").write_text(json.dumps(report, indent=2))
    for story in stories:
        _show(console, story, summaries[story.name])
    _show_laws(console, stories)
    shown = folder.relative_to(ROOT) if folder.is_relative_to(ROOT) else folder
    console.print(f"in {shown}: report.json, {', '.join(file.name for file in sorted(folder.glob('*.vcd')))}",
                  markup=False)
    for name, sentences in failures.items():
        for sentence in sentences:
            console.print(f"{name}: {sentence}", style="red", markup=False)
    if any(failures.values()):
        raise typer.Exit(1)
    console.print("every promise held: the swap was hitless, and break-before-make was seen to block")


_COUNTS = ("old", "new", "blocked", "faulted", "wrong", "after_free")
_SWAP_COLUMNS = ("swap", "walks", "hits")
_BREAK_COLUMNS = ("blocked from..to", "window", "P=0", "inv.", "P=1")


def _show(console: Console, story: Story, summary: dict[str, Any]) -> None:
    """The table of one story."""
    hitless = story.strategy == "atomic_swap"
    table = Table(title=f"{story.name}: {summary['dma_total']} DMAs in {summary['cycles']} cycles, "
                        f"{summary['dma_while_no_kernel_ran']} of them while no kernel ran", title_justify="left")
    for heading in ("device", "domain", *_COUNTS, *(_SWAP_COLUMNS if hitless else _BREAK_COLUMNS)):
        table.add_column(heading.replace("_", " "), justify="right", no_wrap=True)
    for device in story.devices:
        cells = _swap_cells(story, device) if hitless else _break_cells(story, device)
        table.add_row(f"{'*' if device['copied'] else ''}{device['source_id']:#06x}",
                      f"{device['old_domain_id']} -> {device['new_domain_id']}" if device["preserved"] else "zapped",
                      *(str(device[name]) for name in _COUNTS), *cells)
    console.print(table)
    console.print("  * its new tables map copies of its pages at other addresses: the data itself shows the switch")
    for probe in story.value["dropped"]:
        console.print(f"  {probe['source_id']:#06x} was not preserved; let loose after the verdict, it made "
                      f"{probe['tried']} DMAs, of which {probe['blocked']} were blocked")
    if hitless:
        console.print("  swap: cycles from the exchange to the end of the invalidation; walks, hits: of this device, in\n"
                      "  flight when memory took the exchange")
    else:
        if story.name == "break_before_make_cold":
            console.print("  cold: the context cache is switched off for a device while its entry is broken (a knob of the unit)")
        console.print(f"  window: from the first blocked reply to the last, in cycles; {summary['blocked']} DMAs in all. P=0, "
                      f"inv., P=1: where the store that cleared\n  the present bit, the invalidation that forgets the cached "
                      f"context, and the store that set the bit again lie,\n  in cycles from the first read of the entry "
                      f"after it was broken")


def _swap_cells(story: Story, device: dict[str, Any]) -> list[str]:
    store = story.last_store(device["source_id"])
    if store is None:
        return ["-"] * len(_SWAP_COLUMNS)
    return [str(story.swap_cycles(device["source_id"])), str(store["walks_in_flight"]), str(store["hits_in_flight"])]


def _break_cells(story: Story, device: dict[str, Any]) -> list[str]:
    window = next((each for each in story.value["windows"] if each["source_id"] == device["source_id"]), None)
    if window is None:
        return ["-"] * len(_BREAK_COLUMNS)
    first, last = window["first_blocked"], window["last_blocked"]
    marks = (window[name] for name in ("break_cycle", "forgotten_cycle", "make_cycle"))
    return [f"{first}..{last}", str(window["blocked_window_cycles"]),
            *("-" if mark is None else f"{mark - window['first_read']:+}" for mark in marks)]


def _show_laws(console: Console, stories: list[Story]) -> None:
    """What the judge says, by law and story."""
    table = Table(title="the judge", title_justify="left")
    table.add_column("law")
    for story in stories:
        table.add_column(story.name)
    for law, first in stories[0].laws.items():
        cells = []
        for story in stories:
            row = story.laws[law]
            cells.append("not checked" if row["status"] == "not_checked" else
                         f"{row['status']}: {row['violation_count']} of {row['checks']}" if row["violation_count"] else
                         f"{row['status']}: {row['checks']} checks")
        table.add_row(f"{law} {first['title']}", *cells)
    console.print(table)


if __name__ == "__main__":
    typer.run(main)
