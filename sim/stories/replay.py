# amaranth: UnusedElaboratable=no
"""`make replay TABLES=<folder or file.npz>`: everything recorded of a capture, or of a vector file, put to the gateware.

Of a capture these are its probes and its live translations. Its tables are loaded where they stood, the unit is strapped as
the captured machine's was, and each expectation is one DMA request. Address, page size, permission and fault reason must
agree with what the independent implementation answered, and with the golden model. Of a capture with several snapshots, each
is loaded in turn over the one before, everything is invalidated, and its own translations are played. Vector files are in
sim/stories/vectors.py.
"""
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Any

import cocotb
import typer
from rich.console import Console

from hw.iommu.config import IommuConfig
from hw.spec.capabilities import straps_from_capabilities
from hw.spec.dma import Access, Status
from hw.spec.tables import PageSize
from sim.bench import Bench, give_result, run_config
from sim.model.memory import Memory
from sim.model.scoreboard import Reply, Scoreboard
from sim.model.translate import Request, Result
from sim.player import PLAYER, DmaPlayer, PlayedReply, PlayedRequest, PlayerTop
from sim.runner import BUILD, SimulationFailed, build, run
from sim.stories.vectors import replay_vectors
from sim.transport import CosimTransport
from sw.capture import Capture
from sw.errors import DriverError
from sw.invalidation import RegisterInvalidation
from sw.old_kernel import load_tables
from sw.registers import RegisterFile

__all__ = ["Expectation", "expectations", "main", "replay_capture"]

_SIZES = {1 << 12: PageSize.SIZE_4K, 1 << 21: PageSize.SIZE_2M, 1 << 30: PageSize.SIZE_1G}
_SHOWN = 20   # differences printed


@dataclass(frozen=True)
class Expectation:
    """One request and its recorded answer. `origin` is probe or live."""

    origin: str
    source_id: int
    iova: int
    write: bool
    result: str                # ok, pass or fault
    hpa: int | None
    page_bytes: int | None
    fault_reason: int | None   # None with fault: blocked without a record

    @property
    def access(self) -> Access:
        """As a request says it."""
        return Access.WRITE if self.write else Access.READ

    def agrees(self, reply: PlayedReply) -> bool:
        """Is this the recorded answer?"""
        if self.result == "fault":
            return reply.status is Status.BLOCKED and self.fault_reason in (None, reply.fault_reason)
        if reply.status is not Status.OK or reply.hpa != self.hpa:
            return False
        size = PageSize.UNTRANSLATED if self.result == "pass" else _SIZES[self.page_bytes or 0]
        return reply.page_size is size


def expectations(capture: Capture) -> list[Expectation]:
    """A snapshot's probes (the first has them all) and its live translations."""
    found = [Expectation("probe", probe.source_id, probe.iova, probe.write, probe.result, probe.hpa, probe.page_bytes,
                         probe.fault_reason) for probe in capture.probes]
    found += [Expectation("live", row.source_id, row.iova, False, "ok", row.hpa, row.page_bytes, None)
              for row in capture.live if not row.in_flight]
    return found


@cocotb.test()
async def replay(dut: Any) -> None:
    """In the simulator: load, enable, play, compare."""
    config = run_config()
    folder = Path(config["tables"])
    snapshots = [Capture.load(folder)]
    snapshots += [Capture.load(folder, epoch=epoch) for epoch in range(1, snapshots[0].epoch_count)]
    first = snapshots[0]
    bench = Bench(dut, keep_events=False,
                  deadline_cycles=20_000 + 400 * sum(len(expectations(snapshot)) for snapshot in snapshots))
    straps = straps_from_capabilities(first.cap.value, first.ecap.value)
    await bench.reset(straps=straps, chunk_delay=0, caches_off=0, queue_knobs=0)
    transport, player = CosimTransport(bench), DmaPlayer(bench)
    await load_tables(transport, first)
    registers = await RegisterFile.open(transport)  # no driver: it would refuse tables that the unit must bear
    await registers.write("RTADDR", RTA=first.rtaddr["RTA"])
    await registers.command(command="SRTP", status="RTPS")
    await registers.command(command="TE", status="TES")
    bench.memory.set_latency(config["latency"])
    invalidation = RegisterInvalidation(registers)
    differences: list[dict[str, Any]] = []
    replies: list[PlayedReply] = []
    model_differs = 0
    for snapshot in snapshots:
        if snapshot is not first:
            await load_tables(transport, snapshot)
            await invalidation.context_global()
            await invalidation.iotlb_global()
        expected = expectations(snapshot)
        played = await player.play([PlayedRequest(each.source_id, each.iova, each.access) for each in expected])
        board = Scoreboard(_memory(snapshot), snapshot.rtaddr["RTA"], straps)
        for each, reply in zip(expected, played, strict=True):
            request = Request(each.source_id, each.iova, each.access)
            model_differs += board.compare(request, Reply(reply.status, reply.hpa, reply.page_size,
                                                          reply.fault_reason)) is not None
            if not each.agrees(reply):
                differences.append({"snapshot": snapshot.epoch, "expected": asdict(each), "got": _readable(reply),
                                    "walk": _walk_as_read(board.expect(request))})
        replies += played
    give_result({"requests": len(replies), "agree": len(replies) - len(differences), "differ": len(differences),
                 "model_differs": model_differs, "snapshots": len(snapshots),
                 "hits": sum(reply.hit for reply in replies), "cycles": bench.cycle, "differences": differences,
                 "outcomes": _count([reply.fault_reason.name if reply.status is Status.BLOCKED
                                     else reply.page_size.name for reply in replies])})


def _count(words: Sequence[str]) -> dict[str, int]:
    return {word: words.count(word) for word in sorted(set(words))}


def _readable(reply: PlayedReply) -> dict[str, Any]:
    return {"status": reply.status.name, "hpa": hex(reply.hpa), "page_size": reply.page_size.name,
            "fault_reason": reply.fault_reason.name, "hit": reply.hit}


def _memory(capture: Capture) -> Memory:
    memory = Memory()
    for hpa, page in capture.table_pages().items():
        memory.write(hpa, page)
    return memory


def _walk_as_read(result: Result) -> list[str]:
    """The entries that the golden model read for a request, and its answer, one line each."""
    lines = [f"{step.structure} entry at {step.hpa:#x}: {'refused' if step.value is None else f'{step.value:#x}'}"
             for step in result.steps]
    return [*lines, f"the golden model says {result.status.name} {result.fault_reason.name} hpa {result.hpa:#x}"]


def replay_capture(folder: Path, *, latency: int = 20) -> dict[str, Any]:
    """Replay one capture; returns the report's contents.

    Raises
    ------
    CaptureMalformed, CaptureUnsupported
        Before anything is built.
    SimulationFailed
        If the unit owed a reply at the deadline.
    """
    capture = Capture.load(folder)
    built = build(PlayerTop(IommuConfig()), "player_top", attachments=[PLAYER])
    done = run(built, "sim.stories.replay", config={"tables": str(folder.resolve()), "latency": latency})
    return {"capture": capture.name, **done.value, "seconds": done.seconds}


def main(tables: Annotated[Path, typer.Argument(
             help="A capture folder, e.g. tests/data/real-tables/legacy48, or a vector file.")],
         latency: Annotated[int, typer.Option(min=1, help="Memory latency in cycles.")] = 20) -> None:
    """Replay a capture of real tables, or a vector file, through the gateware."""
    console = Console(width=120, highlight=False)
    try:
        with console.status(f"replaying {tables} (the first build takes a minute or two)"):
            play = replay_vectors if tables.suffix == ".npz" else replay_capture
            report = play(tables, latency=latency)
    except (DriverError, SimulationFailed) as error:
        console.print(f"{type(error).__name__}: {error}", style="red", markup=False, soft_wrap=True)
        raise typer.Exit(1) from None
    for difference in report["differences"][:_SHOWN]:
        console.print(f"differs: {difference['expected']}\n    got {difference['got']}", markup=False, soft_wrap=True)
        for line in difference["walk"]:
            console.print(f"    {line}", markup=False, soft_wrap=True)
    folder = BUILD / "replay"
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "report.json").write_text(json.dumps(report, indent=2))
    outcomes = ", ".join(f"{name} {number}" for name, number in report["outcomes"].items())
    what = f"{report['capture']}, {report['snapshots']} snapshots" if "capture" in report else \
        f"{report['vectors']}, {report['images']} images"
    console.print(f"{report['agree']} of {report['requests']} agree ({what}, {report['cycles']} cycles, "
                  f"{report['seconds']:.1f} s): {outcomes}", markup=False, soft_wrap=True)
    for kind, number in report.get("deviations", {}).items():
        console.print(f"{number} deviate as the recording implementation is known to: {kind}", markup=False, soft_wrap=True)
    if report["model_differs"]:
        console.print(f"the golden model answers {report['model_differs']} of them otherwise", style="red", markup=False)
    if report["differ"] or report["model_differs"] or not report["requests"]:
        raise typer.Exit(1)


if __name__ == "__main__":
    typer.run(main)
