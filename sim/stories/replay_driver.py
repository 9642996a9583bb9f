# amaranth: UnusedElaboratable=no
"""`make replay-driver TABLES=<capture folder>`: what a recorded Linux driver did, done again to the gateware.

Two plays, each from a reset: `init`, from the driver's first access on, and `run`, up to the snapshot, or through all of them as
one running machine. The captured tables are in memory, the unit is strapped as the captured machine's was, and DMA runs. At the
end no access has broken a rule, nothing has faulted that was not to, and every wait has completed. What is mapped, masked and
left out is in docs/replay-driver.md.
"""
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import cocotb
import typer
from rich.console import Console
from rich.table import Table

from hw.iommu.config import IommuConfig
from hw.spec.bench import MONITOR_BASE
from hw.spec.capabilities import straps_from_capabilities
from hw.spec.invalidation import DescriptorType
from hw.spec.monitor import MonitorRegister
from hw.spec.registers import register
from sim.bench import Bench, give_result, run_config
from sim.player import PLAYER, PlayerTop
from sim.runner import BUILD, SimulationFailed, build, run
from sim.stories.driver_plan import Tables, Traffic, plan
from sim.stories.driver_player import DriverPlayer
from sim.stories.play_account import PlayAccount
from sw.capture import Capture
from sw.capture_files import CaptureFiles, rules_of
from sw.errors import DriverError
from sw.registers import RegisterValue
from sw.trace import read_trace

__all__ = ["PLAYS", "main", "replay_driver"]

PLAYS = ("init", "run")
_KEPT = ("IQT", "IQA", "RTADDR", "FECTL", "FEDATA", "FEADDR", "FEUADDR")
_SHOWN = 20   # differences printed
_COUNTED = ("reads", "writes", "descriptors", "waits", "faults", "unexpected_faults", "messages", "records", "dma", "blocked",
            "untranslated", "live", "in_flight_old", "in_flight_blocked", "in_flight_gone", "pages_changed",
            "faults_between_snapshots", "primed_descriptors", "mismatches")
_TOTALS = ("register_accesses", "descriptors", "waits", "mismatches", "faults", "unexpected_faults", "protocol_errors",
           "messages", "dma", "faults_between_snapshots")


@dataclass(frozen=True)
class _Recording:
    """One trace of a capture, with everything that belongs to it."""

    snapshots: list[Tables]
    straps: int
    registers: dict[str, int]

    @classmethod
    def load(cls, folder: Path, play: str) -> "_Recording":
        first = Capture.load(folder)
        straps = straps_from_capabilities(first.cap.value, first.ecap.value)
        epochs = range(1, first.epoch_count if play == "run" else 1)
        snapshots = [Tables(capture, straps) for capture in (first, *(Capture.load(folder, epoch=n) for n in epochs))]
        with rules_of("capture.json"):
            words = CaptureFiles(folder).epochs()[0]["regs"]
            registers = {name: sum(int(words[f"0x{row.offset + byte:03x}"], 16) << 8 * byte
                                   for byte in range(0, row.width // 8, 4))
                         for name, row in ((name, register(name)) for name in _KEPT)}
        return cls(snapshots, straps, registers)


@cocotb.test()
async def replay(dut: Any) -> None:
    """In the simulator: one play."""
    config = run_config()
    folder, play = Path(config["tables"]), config["play"]
    recording = _Recording.load(folder, play)
    file = f"trace_{play}.txt.gz"
    made = plan(read_trace(folder / file), recording.snapshots, file=file, iqt=recording.registers["IQT"],
                iqa=RegisterValue(register("IQA"), recording.registers["IQA"]))
    traffic = sum(len(step.requests) for step in made.steps if isinstance(step, Traffic))
    bench = Bench(dut, keep_events=False, deadline_cycles=200_000 + 2_000 * len(made.steps) + 400 * traffic)
    bench.memory.reset()
    await bench.reset(straps=recording.straps, chunk_delay=0, caches_off=0, queue_knobs=0)
    bench.memory.set_latency(config["latency"])
    account = PlayAccount(lambda: bench.cycle)
    await DriverPlayer(bench, made, recording.snapshots, recording.registers, account).play()

    async def monitor(offset: int) -> int:
        return int((await bench.access(write=False, wide=True, address=MONITOR_BASE + offset)).data)

    protocol_errors = await monitor(MonitorRegister.PROTOCOL_ERRORS)
    if protocol_errors:
        account.differ(f"{protocol_errors} register accesses broke a rule of the programming interface")
    executed = sum([await monitor(MonitorRegister.DESCRIPTORS + 8 * kind.value)
                    for kind in DescriptorType if 1 <= kind.value <= 9])
    for what, found, expected in (
        ("waits were completed", await monitor(MonitorRegister.WAITS_COMPLETED), account.counts["waits"]),
        ("waits were abandoned", await monitor(MonitorRegister.WAITS_ABANDONED), 0),
        ("stores of the unit were refused", await monitor(MonitorRegister.REFUSED_MESSAGES), 0),
        ("descriptors were executed", executed, account.counts["descriptors"] + account.counts["primed_descriptors"]),
    ):
        if found != expected:
            account.differ(f"{found} {what}, not {expected}")
    give_result({**{name: account.counts[name] for name in _COUNTED}, "protocol_errors": protocol_errors,
                 "register_accesses": account.counts["reads"] + account.counts["writes"], "cycles": bench.cycle,
                 "left_out": dict(made.left_out), "differences": account.differences,
                 "masks": [entry._asdict() | {"times": times} for entry, times in account.masks.items()]})


def replay_driver(folder: Path, *, latency: int = 20) -> dict[str, Any]:
    """Do both plays of one capture; returns the report's contents.

    Raises
    ------
    CaptureMalformed, CaptureUnsupported
        Before anything is built.
    SimulationFailed
        If the unit owed a reply at the deadline.
    """
    capture = Capture.load(folder)
    for play in PLAYS:
        read_trace(folder / f"trace_{play}.txt.gz")
    built = build(PlayerTop(IommuConfig()), "player_top", attachments=[PLAYER])
    plays: dict[str, Any] = {}
    for play in PLAYS:
        done = run(built, "sim.stories.replay_driver",
                   config={"tables": str(folder.resolve()), "play": play, "latency": latency})
        plays[play] = done.value | {"seconds": done.seconds}
    totals = {name: sum(each[name] for each in plays.values()) for name in _TOTALS}
    left_out = sum(sum(each["left_out"].values()) for each in plays.values())
    return {"capture": capture.name, **totals, "left_out": left_out, "plays": plays}


def _table(report: dict[str, Any]) -> Table:
    table = Table(title=f"{report['capture']}: a recorded driver, played again")
    for column in ("", *PLAYS):
        table.add_column(column, justify="left" if not column else "right")
    for name in ("register_accesses", *_COUNTED[2:], "protocol_errors", "cycles"):
        table.add_row(name.replace("_", " "), *(f"{report['plays'][play][name]:,}" for play in PLAYS))
    return table


def main(tables: Annotated[Path, typer.Argument(help="A capture folder, e.g. tests/data/real-tables/legacy48.")],
         latency: Annotated[int, typer.Option(min=1, help="Memory latency in cycles.")] = 20) -> None:
    """Play what a recorded Linux driver did against the gateware."""
    console = Console(width=120, highlight=False)
    try:
        with console.status(f"replaying the driver of {tables} (the first build takes a minute or two)"):
            report = replay_driver(tables, latency=latency)
    except (DriverError, SimulationFailed) as error:
        console.print(f"{type(error).__name__}: {error}", style="red", markup=False, soft_wrap=True)
        raise typer.Exit(1) from None
    folder = BUILD / "replay-driver"
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "report.json").write_text(json.dumps(report, indent=2))
    console.print(_table(report))
    for play in PLAYS:
        for reason, number in report["plays"][play]["left_out"].items():
            console.print(f"{play}: {number} left out, {reason}", markup=False, soft_wrap=True)
        for mask in report["plays"][play]["masks"]:
            console.print(f"{play}: {mask['register']}.{', '.join(mask['fields'])} not compared {mask['times']} times: "
                          f"{mask['reason']}", markup=False, soft_wrap=True)
        for difference in report["plays"][play]["differences"][:_SHOWN]:
            console.print(f"{play}: {difference}", style="red", markup=False, soft_wrap=True)
    if any(report[name] for name in ("mismatches", "unexpected_faults", "protocol_errors")) or not report["waits"]:
        raise typer.Exit(1)


if __name__ == "__main__":
    typer.run(main)
