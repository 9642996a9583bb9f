"""A list of DMA requests, played into the unit at full speed: the bench of table replay and of single-request tests.

::

    host --decoder--+-> unit.registers
                    +-> update_window --> unit.update port
                    +-> unit.monitor
    dma_player (sim/dma_player.sv) == requests, replies, retires ==> unit --> table memory
"""
import ctypes
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from amaranth.hdl import Module
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out, flipped

from hw.iommu.config import IommuConfig
from hw.iommu.messages import CachesOff, EventPort
from hw.iommu.unit import IommuUnit, unit_events
from hw.lib.stream import connect_stream
from hw.spec.bench import MONITOR_BASE, PREWALK_BASE, UNIT_BASE, UPDATE_BASE, HostReply, HostRequest
from hw.spec.capabilities import Straps
from hw.spec.codec import encode
from hw.spec.dma import Access, DmaReply, DmaRequest, DmaRetire, RequestKind, Status
from hw.spec.faults import FaultReason
from hw.spec.memory import MemoryRequest, memory_reply_layout
from hw.spec.monitor import QueueKnobs
from hw.spec.prefetch import PrefetchKnobs
from hw.spec.tables import PageSize
from hw.top.host_decoder import HostDecoder
from hw.top.update_window import UpdateWindow
from sim.bench import Bench
from sim.wrapper import Attachment

__all__ = ["PLAYER", "CycledReply", "DmaPlayer", "PlayedReply", "PlayedRequest", "PlayerTop"]

_HERE = Path(__file__).resolve().parent
_WORDS = 5  # 32-bit words of a request and of a reply in dma_player.cpp


class PlayerTop(wiring.Component):
    """The unit and the update window, with the unit's DMA streams on the outside.

    Parameters
    ----------
    config : IommuConfig
        Sizes of the unit.
    chunk_bits : int
        Indivisible unit of a context fetch.
    """

    def __init__(self, config: IommuConfig | None = None, *, chunk_bits: int = 128) -> None:
        self._config = config or IommuConfig()
        self._chunk_bits = chunk_bits
        super().__init__({
            "host_requests": In(stream.Signature(HostRequest)),
            "host_replies": Out(stream.Signature(HostReply)),
            "table_requests": Out(stream.Signature(MemoryRequest)),
            "table_replies": In(stream.Signature(memory_reply_layout(self._config.memory_word_bits))),
            "dma_requests": In(stream.Signature(DmaRequest)),
            "dma_replies": Out(stream.Signature(DmaReply)),
            "dma_retires": In(stream.Signature(DmaRetire)),
            "reply_colour": Out(1),
            "straps": In(Straps),
            "chunk_delay": In(16),
            "caches_off": In(CachesOff),
            "queue_knobs": In(QueueKnobs),
            "prefetch_knobs": In(PrefetchKnobs),
            "events": Out(EventPort()).array(len(unit_events(self._config))),
        })

    def elaborate(self, platform: Any) -> Module:
        """Instances and connections."""
        m = Module()
        m.submodules.unit = unit = IommuUnit(self._config, chunk_bits=self._chunk_bits)
        m.submodules.update_window = window = UpdateWindow()
        m.submodules.decoder = decoder = HostDecoder(bases=(UNIT_BASE, UPDATE_BASE, MONITOR_BASE, PREWALK_BASE))
        connect_stream(m, src=flipped(self).host_requests, dst=decoder.accesses)
        connect_stream(m, src=decoder.replies, dst=flipped(self).host_replies)
        for index, (accesses, replies) in enumerate((
            (unit.register_accesses, unit.register_replies), (window.accesses, window.replies),
            (unit.monitor_accesses, unit.monitor_replies),
            (unit.prewalk_accesses, unit.prewalk_replies),
        )):
            connect_stream(m, src=decoder.targets[index], dst=accesses)
            connect_stream(m, src=replies, dst=decoder.target_replies[index])
        connect_stream(m, src=flipped(self).dma_requests, dst=unit.dma_requests)
        connect_stream(m, src=unit.dma_replies, dst=flipped(self).dma_replies)
        connect_stream(m, src=flipped(self).dma_retires, dst=unit.dma_retires)
        connect_stream(m, src=unit.table_requests, dst=flipped(self).table_requests)
        connect_stream(m, src=flipped(self).table_replies, dst=unit.table_replies)
        connect_stream(m, src=window.update_requests, dst=unit.update_requests)
        connect_stream(m, src=unit.update_replies, dst=window.update_replies)
        m.d.comb += [
            self.reply_colour.eq(unit.dma_replies.payload.colour),
            unit.straps.eq(self.straps), unit.chunk_delay.eq(self.chunk_delay),
            unit.caches_off.eq(self.caches_off), unit.queue_knobs.eq(self.queue_knobs),
            unit.prefetch_knobs.eq(self.prefetch_knobs),
        ]
        for port, source in zip(self.events, unit.events, strict=True):
            m.d.comb += [port.valid.eq(source.valid), port.payload.eq(source.payload)]
        return m


PLAYER = Attachment(
    claims=("dma_requests", "dma_replies", "dma_retires", "reply_colour"),
    body=f"""
    logic dma_player_idle /*verilator public_flat_rd*/;
    dma_player #(.REQUEST_BITS({data.Layout.cast(DmaRequest).size}), .REPLY_BITS({data.Layout.cast(DmaReply).size}))
        player (.clk, .rst, .idle(dma_player_idle),
        .request_valid(dma_requests__valid), .request_payload(dma_requests__payload), .request_ready(dma_requests__ready),
        .reply_valid(dma_replies__valid), .reply_payload(dma_replies__payload), .reply_colour(reply_colour),
        .reply_ready(dma_replies__ready), .retire_valid(dma_retires__valid), .retire_payload(dma_retires__payload),
        .retire_ready(dma_retires__ready));""",
    sources=(_HERE / "dma_player.sv", _HERE / "dma_player.cpp"))
"""What `sim.runner.build` puts beside a PlayerTop."""


@dataclass(frozen=True)
class PlayedRequest:
    """One DMA request; everything else of it is plain."""

    source_id: int
    iova: int
    access: Access = Access.READ
    kind: RequestKind = RequestKind.UNTRANSLATED
    length_bytes: int = 4
    pasid_present: bool = False


@dataclass(frozen=True)
class PlayedReply:
    """What the unit said to it."""

    status: Status
    hpa: int
    page_size: PageSize
    fault_reason: FaultReason
    hit: bool
    domain_id: int
    table_pointer: int


@dataclass(frozen=True)
class CycledReply:
    """One of the different replies that a cycled request got, and how often; its `hit` means nothing."""

    index: int
    count: int
    reply: PlayedReply


class DmaPlayer:
    """The player in the simulator process.

    Parameters
    ----------
    bench : Bench
        Of a PlayerTop built with `PLAYER`.
    """

    def __init__(self, bench: Bench) -> None:
        self._bench = bench
        library = ctypes.CDLL(None)
        self._call = {}
        for name, (result, arguments) in _FUNCTIONS.items():
            function = getattr(library, f"dma_player_{name}")
            function.restype, function.argtypes = result, arguments
            self._call[name] = function
        self._played = 0

    async def play(self, requests: Sequence[PlayedRequest], *, outstanding: int = 1024,
                   poll_cycles: int = 500) -> list[PlayedReply]:
        """Send them in order, as fast as they are taken, and return the replies in the same order.

        A unit that owes a reply is not waited for beyond the bench's deadline. What was posted or cycled before is forgotten.

        Raises
        ------
        AssertionError
            If a reply came that nobody waited for.
        """
        self.start(outstanding=outstanding)
        self.post(requests)
        while self._answered() < len(requests):
            await self._bench.pause(min(poll_cycles, 4 * len(requests) + 20))
        return self.replies(0, len(requests))

    def start(self, *, outstanding: int = 1024, retire_delay: int = 0, seed: int = 1) -> None:
        """Forget everything; nothing may be in flight. From now on requests can be posted and cycled.

        A reply is retired in the cycle after it came, or up to `retire_delay` cycles later, at random from the seed.
        """
        self._call["load"](None, 0, outstanding)
        self._call["retire_late"](retire_delay, seed)
        self._played = 0

    def post(self, requests: Sequence[PlayedRequest]) -> int:
        """Have these sent after what was posted before, and go on. Returns the number of the first."""
        words = _words(requests)
        first = int(self._call["append"](words.ctypes.data, len(requests)))
        self._played = first + len(requests)
        return first

    async def ask(self, requests: Sequence[PlayedRequest], *, poll_cycles: int = 50) -> list[PlayedReply]:
        """Post these and wait for their replies, whatever else is under way."""
        first = self.post(requests)
        for number in range(first, self._played):
            while not self._call["done"](number):
                await self._bench.pause(poll_cycles)
        return self.replies(first, len(requests))

    def replies(self, first: int, count: int) -> list[PlayedReply]:
        """The replies to posted requests, which must have come."""
        self._answered()
        words = np.zeros((count, _WORDS), dtype="<u4")
        self._call["read"](words.ctypes.data, first, count)
        return [_reply(int.from_bytes(row.tobytes(), "little")) for row in words]

    def cycle(self, requests: Sequence[PlayedRequest], *, gap_cycles: int) -> None:
        """Send these again and again when nothing is posted, one in so many cycles at most; `settle` before others."""
        words, mask = _words(requests), np.frombuffer(_WHAT_COUNTS.to_bytes(4 * _WORDS, "little"), dtype="<u4")
        self._call["cycle"](words.ctypes.data, len(requests), mask.ctypes.data, gap_cycles)

    async def settle(self, *, poll_cycles: int = 50) -> None:
        """Stop cycling, and wait until every reply has come."""
        self.cycle((), gap_cycles=1)
        while self._answered() < self._played or self._call["in_flight"]():
            await self._bench.pause(poll_cycles)

    def take_cycled(self) -> list[CycledReply]:
        """The different replies to cycled requests since the last time."""
        count = int(self._call["seen"]())
        index, times = (np.zeros(count, dtype="<u8") for _ in range(2))
        words = np.zeros((count, _WORDS), dtype="<u4")
        self._call["take_seen"](index.ctypes.data, times.ctypes.data, words.ctypes.data)
        return [CycledReply(int(place), int(often), _reply(int.from_bytes(row.tobytes(), "little")))
                for place, often, row in zip(index, times, words, strict=True)]

    def _answered(self) -> int:
        answered = int(self._call["answered"]())
        if answered > self._played:
            raise AssertionError("a reply came that no request waited for")
        return answered


_POINTER, _U64, _FLAG = ctypes.c_void_p, ctypes.c_uint64, ctypes.c_uint8
_FUNCTIONS: dict[str, tuple[type | None, tuple[type, ...]]] = {
    "load": (None, (_POINTER, _U64, _U64)),
    "retire_late": (None, (_U64, _U64)),
    "append": (_U64, (_POINTER, _U64)),
    "cycle": (None, (_POINTER, _U64, _POINTER, _U64)),
    "answered": (_U64, ()),
    "in_flight": (_U64, ()),
    "done": (_FLAG, (_U64,)),
    "read": (None, (_POINTER, _U64, _U64)),
    "seen": (_U64, ()),
    "take_seen": (None, (_POINTER, _POINTER, _POINTER)),
}
_FIELDS = {name: (part.offset, (1 << part.width) - 1) for name, part in data.Layout.cast(DmaReply)}
_WHAT_COUNTS = sum(_FIELDS[name][1] << _FIELDS[name][0] for name in (
    "status", "hpa", "page_size", "fault_reason", "domain_id", "table_pointer"))


def _words(requests: Sequence[PlayedRequest]) -> np.ndarray[Any, np.dtype[np.uint32]]:
    """Requests as dma_player.cpp takes them."""
    words = np.zeros((len(requests), _WORDS), dtype="<u4")
    for row, request in enumerate(requests):
        number = encode(DmaRequest, source_id=request.source_id, iova=request.iova, access=request.access,
                        kind=request.kind, length_bytes=request.length_bytes, pasid_present=request.pasid_present)
        words[row] = np.frombuffer(number.to_bytes(4 * _WORDS, "little"), dtype="<u4")
    return words


def _reply(number: int) -> PlayedReply:
    def field(name: str) -> int:
        offset, mask = _FIELDS[name]
        return int(number >> offset & mask)

    return PlayedReply(Status(field("status")), field("hpa"), PageSize(field("page_size")),
                       FaultReason(field("fault_reason")), bool(field("hit")), field("domain_id"),
                       field("table_pointer"))
