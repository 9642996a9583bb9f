# amaranth: UnusedElaboratable=no
"""`make replay TABLES=<file.npz>`: every request of a vector file, put to the gateware.

Each image is played in a fresh memory: RTADDR is latched, everything is invalidated, and the image's requests run at full
speed. What was blocked is played once more, with room for each fault record, for a fault that must leave none is told from one
that found no room only then. Replies and records must be the golden model's, and the recorded ones, save where
the recording implementation is known to do otherwise (sim/stories/deviations.py).
"""
from collections import Counter
from pathlib import Path
from typing import Any

import cocotb

from hw.iommu.config import IommuConfig
from hw.spec.capabilities import Straps, describe_straps, straps_from_capabilities
from hw.spec.codec import encode
from hw.spec.dma import Status
from hw.spec.events import EventKind, FaultDisposition
from sim.bench import Bench, give_result, run_config
from sim.events import Events, detail_of, of_kind
from sim.model.memory import Memory
from sim.model.translate import Result
from sim.player import PLAYER, DmaPlayer, PlayedReply, PlayedRequest, PlayerTop
from sim.runner import build, run
from sim.stories.deviations import Situation, deviation, is_recorded_answer, rounds
from sim.stories.vector_file import Image, VectorFile
from sim.transport import CosimTransport
from sw.invalidation import RegisterInvalidation
from sw.registers import RegisterFile

__all__ = ["replay_vectors"]

_RECORDS = 8           # fault records, whatever the recorded machine had: they are no part of an answer
_SETTLE_CYCLES = 100   # from the last reply to its fault event


class _Machine:
    """The unit, and what its fault events said of the image that is being played."""

    def __init__(self, bench: Bench) -> None:
        self._bench = bench
        self._recorded: set[tuple[int, int, int]] = set()
        bench.listeners.append(self._see)

    def _see(self, events: Events) -> None:
        for event in of_kind(events, EventKind.FAULT):
            if int(event["tag"]) != FaultDisposition.SUPPRESSED:
                self._recorded.add((int(event["source_id"]), int(event["iova"]), int(detail_of(event))))

    async def start(self, straps: int) -> None:
        self._bench.memory.reset()
        await self._bench.reset(straps=straps, chunk_delay=0, caches_off=0, queue_knobs=0)
        self._registers = await RegisterFile.open(CosimTransport(self._bench))
        self._invalidation = RegisterInvalidation(self._registers)
        self._player = DmaPlayer(self._bench)
        await self._registers.command(command="TE", status="TES")

    async def load(self, image: Image, ram_bytes: int, latency: int) -> None:
        memory = self._bench.memory
        memory.reset()
        for hpa, page in image.pages.items():
            memory.write(hpa, page)
        memory.set_limit(ram_bytes)
        memory.set_latency(latency)
        await self._registers.write("RTADDR", RTA=image.root_table, TTM=image.table_mode)
        await self._registers.command(command="SRTP", status="RTPS")

    async def play(self, group: list[Situation]) -> list[tuple[PlayedReply, bool]]:
        """Every reply, and whether a record was made of it."""
        await self._invalidation.context_global()
        await self._invalidation.iotlb_global()
        requests = [PlayedRequest(it.vector.source_id, it.vector.iova, it.vector.request.access) for it in group]
        replies = await self._player.play(requests)
        recorded = [False] * len(group)
        blocked = [place for place, reply in enumerate(replies) if reply.status is Status.BLOCKED]
        for first in range(0, len(blocked), _RECORDS):
            places = blocked[first:first + _RECORDS]
            await self._make_room()
            await self._player.play([requests[place] for place in places])
            await self._bench.pause(_SETTLE_CYCLES)
            self._bench.drain()
            for place in places:
                request, reason = requests[place], int(replies[place].fault_reason)
                recorded[place] = (request.source_id, request.iova, reason) in self._recorded
        return list(zip(replies, recorded, strict=True))

    async def _make_room(self) -> None:
        for index in range(_RECORDS):
            await self._registers.clear_fault_record(index)
        await self._registers.write("FSTS", PFO=1)
        self._bench.drain()
        self._recorded.clear()


class _Tally:
    """What became of the vectors, in all and image by image."""

    def __init__(self) -> None:
        self._counts = Counter(dict.fromkeys(("requests", "agree", "deviate", "differ", "model_differs", "hits"), 0))
        self._outcomes: Counter[str] = Counter()
        self._deviations: Counter[str] = Counter()
        self._cases: dict[str, dict[str, Any]] = {}
        self._differences: list[dict[str, Any]] = []

    def add(self, it: Situation, reply: PlayedReply, recorded: bool) -> None:
        """Judge one reply."""
        model = it.answer()
        as_model = _same(model, reply, recorded)
        kind = deviation(it)
        verdict = "agree" if as_model and is_recorded_answer(it.vector, model) else "deviate" if as_model and kind else "differ"
        case = self._cases.setdefault(it.image.name, {"requests": 0, "agree": 0, "deviate": 0, "differ": 0, "kinds": []})
        for count in ("requests", verdict):
            self._counts[count] += 1
            case[count] += 1
        self._counts.update(hits=int(reply.hit), model_differs=int(not as_model))
        self._outcomes[reply.fault_reason.name if reply.status is Status.BLOCKED else
                       reply.status.name if reply.status is Status.INTERRUPT else reply.page_size.name] += 1
        if verdict == "deviate" and kind:
            self._deviations[kind] += 1
            case["kinds"] = sorted({*case["kinds"], kind})
        if verdict == "differ":
            self._differences.append(_explain(it, reply, recorded, model))

    @property
    def report(self) -> dict[str, Any]:
        """All of it, for JSON."""
        return {**self._counts, "deviations": dict(sorted(self._deviations.items())),
                "outcomes": dict(sorted(self._outcomes.items())), "differences": self._differences, "cases": self._cases}


def _same(model: Result, reply: PlayedReply, recorded: bool) -> bool:
    """Did the unit answer as the model does?"""
    if reply.status is not model.status:
        return False
    if model.status is Status.BLOCKED:
        return reply.fault_reason is model.fault_reason and recorded is model.recorded
    return model.status is Status.INTERRUPT or (reply.hpa, reply.page_size) == (model.hpa, model.page_size)


def _explain(it: Situation, reply: PlayedReply, recorded: bool, model: Result) -> dict[str, Any]:
    vector = it.vector
    walk = [f"{step.structure} entry at {step.hpa:#x}: {'refused' if step.value is None else f'{step.value:#x}'}"
            for step in model.steps]
    said = f"{model.status.name} {model.fault_reason.name} hpa {model.hpa:#x} recorded {model.recorded}"
    return {"image": it.image.name,
            "expected": {"source_id": vector.source_id, "iova": vector.iova, "write": vector.write,
                         "answer": vector.answer.name, "hpa": vector.hpa, "page_bytes": vector.page_bytes,
                         "fault_reason": vector.fault_reason},
            "got": {"status": reply.status.name, "hpa": hex(reply.hpa), "page_size": reply.page_size.name,
                    "fault_reason": reply.fault_reason.name, "hit": reply.hit, "recorded": recorded},
            "walk": [*walk, f"the golden model says {said}"]}


@cocotb.test()
async def replay(dut: Any) -> None:
    """In the simulator: image after image."""
    config = run_config()
    file = VectorFile.load(Path(config["file"]))
    as_recorded = describe_straps(straps_from_capabilities(file.cap, file.ecap))
    straps = encode(Straps, **as_recorded | {"fault_records": _RECORDS - 1})
    bench = Bench(dut, keep_events=False,
                  deadline_cycles=20_000 + sum(10_000 + 400 * len(image.vectors) for image in file.images))
    machine, tally = _Machine(bench), _Tally()
    await machine.start(straps)
    for image in file.images:
        memory = Memory(limit=file.ram_bytes)
        for hpa, page in image.pages.items():
            memory.write(hpa, page)
        await machine.load(image, file.ram_bytes, config["latency"])
        for group in rounds([Situation(straps, memory, image, vector) for vector in image.vectors]):
            for it, (reply, recorded) in zip(group, await machine.play(group), strict=True):
                tally.add(it, reply, recorded)
    give_result({**tally.report, "images": len(file.images), "cycles": bench.cycle})


def replay_vectors(path: Path, *, latency: int = 20) -> dict[str, Any]:
    """Replay one vector file; returns the report's contents.

    Raises
    ------
    CaptureMalformed, CaptureUnsupported
        Before anything is built.
    SimulationFailed
        If the unit owed a reply at the deadline.
    """
    file = VectorFile.load(path)
    built = build(PlayerTop(IommuConfig()), "player_top", attachments=[PLAYER])
    done = run(built, "sim.stories.vectors", config={"file": str(path.resolve()), "latency": latency})
    return {"vectors": file.name, **done.value, "seconds": done.seconds}
