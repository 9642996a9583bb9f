"""What the unit has counted of its own work, as the driver reads it: counts, differences, and the figures that follow."""
from collections.abc import Mapping
from dataclasses import dataclass

from hw.spec.bench import MONITOR_BASE
from hw.spec.codec import decode, encode
from hw.spec.monitor import MONITOR_COUNTERS, MonitorControl, MonitorRegister
from sw.transport import Transport

__all__ = ["Counts", "PerformanceCounters"]

_WORD_BYTES = 8
_STALLS = (MonitorRegister.STALLS_BY_WALKS, MonitorRegister.STALLS_BY_CONTEXTS, MonitorRegister.STALLS_BY_ANSWERS,
           MonitorRegister.STALLS_BY_LIMIT)


def _ratio(part: int, whole: int) -> float | None:
    return part / whole if whole else None


@dataclass(frozen=True)
class Counts:
    """Every counter at one instant, or what was counted between two. Figures are None where nothing was counted.

    Parameters
    ----------
    by_offset : mapping
        Values by the counter's offset in the monitor window.
    """

    by_offset: Mapping[int, int]

    def __getitem__(self, counter: int) -> int:
        """The value of a counter: a MonitorRegister, or what `descriptor_counter` gives."""
        return self.by_offset[int(counter)]

    def __sub__(self, earlier: "Counts") -> "Counts":
        """What was counted since `earlier`."""
        return Counts({offset: value - earlier[offset] for offset, value in self.by_offset.items()})

    def by_name(self) -> dict[str, int]:
        """Values by the counter's name."""
        return {MONITOR_COUNTERS[offset]: value for offset, value in self.by_offset.items()}

    @property
    def hit_ratio(self) -> float | None:
        """Requests answered from the IOTLB, of all."""
        return _ratio(self[MonitorRegister.HITS], self[MonitorRegister.REQUESTS])

    @property
    def requests_per_cycle(self) -> float | None:
        """Requests accepted, for each cycle."""
        return _ratio(self[MonitorRegister.REQUESTS], self[MonitorRegister.CYCLES])

    @property
    def walks(self) -> int:
        """Walks begun, for whomever."""
        return (self[MonitorRegister.WALKS] + self[MonitorRegister.WALKS_AGAIN] + self[MonitorRegister.PREFETCHES]
                + self[MonitorRegister.PREWALKS])

    @property
    def reads_per_walk(self) -> float | None:
        """Reads of second-stage tables, for each walk."""
        return _ratio(self[MonitorRegister.WALK_READS], self.walks)

    @property
    def joined_ratio(self) -> float | None:
        """Requests that waited for a walk under way, of those that waited for a walk."""
        joined = self[MonitorRegister.WALKS_JOINED]
        return _ratio(joined, self[MonitorRegister.WALKS] + joined)

    @property
    def context_miss_ratio(self) -> float | None:
        """Requests whose context was not cached, of all."""
        return _ratio(self[MonitorRegister.CONTEXT_MISSES], self[MonitorRegister.REQUESTS])

    @property
    def prefetches_wasted(self) -> int:
        """Walks made ahead that no device came to, or came to before they were over."""
        return max(0, self[MonitorRegister.PREFETCHES] - self[MonitorRegister.PREFETCHES_USED])

    def stalled(self) -> dict[MonitorRegister, float | None]:
        """Share of all cycles in which a request waited to be accepted, by cause."""
        return {cause: _ratio(self[cause], self[MonitorRegister.CYCLES]) for cause in _STALLS}


class PerformanceCounters:
    """The counters of the monitor window.

    Parameters
    ----------
    transport : Transport
        The way to the machine.
    """

    def __init__(self, transport: Transport) -> None:
        self._transport = transport

    async def read(self) -> Counts:
        """Every counter, all at one instant: counting stops while they are read."""
        before = decode(MonitorControl, await self._read(MonitorRegister.CONTROL))
        await self._control(clear=0, stop=1)
        counts = Counts({offset: await self._read(offset) for offset in MONITOR_COUNTERS})
        await self._control(clear=0, stop=before.stop)
        return counts

    async def clear(self) -> None:
        """Begin at zero, and count."""
        await self._control(clear=1, stop=0)

    async def stop(self) -> None:
        """Count nothing more, until `clear` or `go_on`."""
        await self._control(clear=0, stop=1)

    async def go_on(self) -> None:
        """Count again."""
        await self._control(clear=0, stop=0)

    async def _control(self, *, clear: int, stop: int) -> None:
        await self._transport.write_register(MONITOR_BASE + MonitorRegister.CONTROL, _WORD_BYTES,
                                             encode(MonitorControl, clear=clear, stop=stop))

    async def _read(self, offset: int) -> int:
        return await self._transport.read_register(MONITOR_BASE + offset, _WORD_BYTES)
