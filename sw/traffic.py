"""Typed access to the traffic engine: which devices do DMA on which pages, what became of it, and the phase ruler."""
import math
from collections.abc import Sequence
from itertools import accumulate
from typing import NamedTuple

from hw.spec.bench import (
    COUNTER_BASE,
    DEVICE_BASE,
    DEVICE_STRIDE,
    HISTOGRAM_BASE,
    HISTOGRAM_BINS,
    MAX_DEVICES,
    PAGE_ENTRY_BYTES,
    PAGE_LIST_BASE,
    SPAN_LOG2_MAX,
    TRAFFIC_BASE,
    Counter,
    DeviceConfig,
    DeviceDomains,
    DeviceField,
    LatencyWatch,
    PageEntry,
    Pattern,
    Phase,
    TrafficControl,
    TrafficRegister,
)
from hw.spec.codec import decode, encode, field_width
from hw.spec.dma import TAG_BITS
from hw.spec.tables import PAGE_BITS
from sw.errors import BadRange, RegisterTimeout
from sw.intervals import Permission
from sw.registers import POLL_CYCLES, TIMEOUT_CYCLES
from sw.transport import Transport

__all__ = ["TrafficEngine", "TrafficPage", "percentile"]

_WORD_BYTES = 8
_WORD_END = 1 << 64
_LIMITS = [1 << log2 for log2 in range(TAG_BITS + 1)]
_PAGES_END = 1 << field_width(DeviceConfig, "first_page")


class TrafficPage(NamedTuple):
    """One page that a device visits, or 2**span_log2 of them in a row, and where old and new tables lead."""

    iova: int
    old_hpa: int
    new_hpa: int
    permission: Permission
    span_log2: int = 0


def percentile(histogram: Sequence[int], percent: float) -> int:
    """The least latency that `percent` of the DMAs do not exceed; the last bin stands for anything from there on.

    Raises BadRange if the percentage is not above 0 and at most 100, or nothing was counted.
    """
    if not 0 < percent <= 100:
        raise BadRange("percent", math.floor(percent), "must be above 0 and at most 100")
    if not any(histogram):
        raise BadRange("histogram", 0, "must have counted something")
    wanted = math.ceil(sum(histogram) * percent / 100)
    return next(latency for latency, reached in enumerate(accumulate(histogram)) if reached >= wanted)


class TrafficEngine:
    """The traffic engine of the bench; a `Ruler` too.

    Parameters
    ----------
    transport : Transport
        The way to the machine.
    """

    def __init__(self, transport: Transport) -> None:
        self._transport = transport

    async def configure_device(self, index: int, *, source_id: int, first_page: int, page_count: int,
                               pattern: Pattern = Pattern.SEQUENTIAL, stride: int = 1, writes: int = 8,
                               burst_log2: int = 0, bus_master: bool = True, enabled: bool = True,
                               outstanding_limit: int | None = None) -> None:
        """Fill a row of the device table: its pages are `page_count` entries of the page list from `first_page` on.

        `outstanding_limit`, a power of two, is the device's own: it has no more DMAs in flight, as with the tags of a
        PCIe device. Change it only while it has none. One request per page is `burst_log2` = 0, SEQUENTIAL; 64-byte
        DMAs through every line of every page are `burst_log2` = 6, SEQUENTIAL.
        """
        if enabled and page_count < 1:
            raise BadRange("page_count", page_count, "must be at least 1 for a device that is enabled")
        if outstanding_limit is not None and outstanding_limit not in _LIMITS:
            raise BadRange("outstanding_limit", outstanding_limit, f"must be a power of two up to {_LIMITS[-1]}")
        await self._write(self._row(index) + DeviceField.CONFIG, encode(
            DeviceConfig, source_id=source_id, first_page=first_page, page_count=page_count, pattern=pattern,
            stride=stride, writes=writes, burst_log2=burst_log2, bus_master=int(bus_master), enabled=int(enabled),
            limit=0 if outstanding_limit is None else 1 + _LIMITS.index(outstanding_limit)))

    async def expect(self, index: int, *, old_domain_id: int, new_domain_id: int, old_permitted: bool = True,
                     new_permitted: bool = False) -> None:
        """Tell the checker what it may accept of a device. For the experiment; driver code has no say in it."""
        await self._write(self._row(index) + DeviceField.DOMAINS, encode(
            DeviceDomains, old_domain_id=old_domain_id, new_domain_id=new_domain_id,
            old_permitted=int(old_permitted), new_permitted=int(new_permitted)))

    async def write_pages(self, first: int, pages: Sequence[TrafficPage]) -> None:
        """Fill the page list from index `first` on. Addresses of a span are aligned to it."""
        if first + len(pages) > _PAGES_END:
            raise BadRange("first", first, f"with {len(pages)} pages goes beyond the list's {_PAGES_END} entries")
        for index, page in enumerate(pages, start=first):
            if not 0 <= page.span_log2 <= SPAN_LOG2_MAX:
                raise BadRange("span_log2", page.span_log2, f"must be between 0 and {SPAN_LOG2_MAX}")
            for name in ("iova", "old_hpa", "new_hpa"):
                if (address := getattr(page, name)) % (1 << PAGE_BITS + page.span_log2):
                    raise BadRange(name, address, f"must be aligned to its span of 2**{page.span_log2} pages")
            entry = encode(PageEntry, iova_page=page.iova >> PAGE_BITS,
                           readable=bool(page.permission & Permission.READ),
                           writable=bool(page.permission & Permission.WRITE), span_log2=page.span_log2,
                           old_page=page.old_hpa >> PAGE_BITS, new_page=page.new_hpa >> PAGE_BITS)
            for place in range(PAGE_LIST_BASE + PAGE_ENTRY_BYTES * index,
                               PAGE_LIST_BASE + PAGE_ENTRY_BYTES * index + 3 * _WORD_BYTES, _WORD_BYTES):
                await self._transport.write_register(place, _WORD_BYTES, entry % _WORD_END)
                entry //= _WORD_END

    async def counters(self, index: int) -> dict[Counter, int]:
        """What became of a device's DMAs."""
        base = COUNTER_BASE + DEVICE_STRIDE * self._checked(index)
        return {counter: await self._read(base + _WORD_BYTES * counter) for counter in Counter}

    async def clear_counters(self, index: int) -> None:
        """Set a device's counters to zero."""
        for counter in Counter:
            await self._write(COUNTER_BASE + DEVICE_STRIDE * self._checked(index) + _WORD_BYTES * counter, 0)

    async def watch_latency(self, device: int | None = None) -> None:
        """Empty the latency histogram, and count every DMA from now on, or those of one device.

        A latency is the number of cycles from the edge at which the unit accepts a request to the edge at which its
        reply is valid first. DMAs that are in flight now are not counted.
        """
        await self._write(TrafficRegister.LATENCY, encode(
            LatencyWatch, device=0 if device is None else self._checked(device), single=int(device is not None)))

    async def latency_histogram(self) -> list[int]:
        """How many DMAs had a latency of 0, 1, 2, ... cycles; ends with the longest latency that there was.

        The last of HISTOGRAM_BINS bins counts every longer latency too: see `latency_max`.
        """
        longest = await self.latency_max()
        bins = min(longest + 1, HISTOGRAM_BINS) if longest else 0
        return [await self._read(HISTOGRAM_BASE + _WORD_BYTES * index) for index in range(bins)]

    async def latency_max(self) -> int:
        """The longest latency that the histogram has counted, exact up to 65,535 cycles; 0 if nothing was counted."""
        return await self._read(TrafficRegister.LATENCY_MAX)

    async def run(self, *, outstanding_limit: int = 1 << TAG_BITS, gap_cycles: int = 0) -> None:
        """Let every enabled device issue DMA."""
        await self._write(TrafficRegister.CONTROL, encode(
            TrafficControl, run=1, outstanding_limit=outstanding_limit, gap_cycles=gap_cycles))

    async def start(self) -> None:
        """Set the run bit and leave limit and gap as the experiment set them."""
        await self._set_run(1)

    async def stop(self) -> None:
        """Issue nothing new; what is in flight goes on."""
        await self._set_run(0)

    async def wait_idle(self, *, cycles: int = TIMEOUT_CYCLES) -> None:
        """Wait until nothing is in flight. Raises RegisterTimeout."""
        waited = 0
        while in_flight := await self.in_flight():
            if waited >= cycles:
                raise RegisterTimeout("IN_FLIGHT", "0", str(in_flight), waited)
            await self._transport.pause(POLL_CYCLES)
            waited += POLL_CYCLES

    async def set_phase(self, phase: Phase) -> None:
        """Move the ruler."""
        await self._write(TrafficRegister.PHASE, phase.value)

    async def phase(self) -> Phase:
        """Where the ruler stands."""
        return Phase(await self._read(TrafficRegister.PHASE))

    async def set_seed(self, seed: int) -> None:
        """Seed of the random pattern; only while nothing runs."""
        await self._write(TrafficRegister.SEED, seed)

    async def in_flight(self) -> int:
        """DMAs issued and not yet done."""
        return await self._read(TrafficRegister.IN_FLIGHT)

    async def cycle(self) -> int:
        """Cycles since reset."""
        return await self._read(TrafficRegister.CYCLE)

    async def total(self) -> int:
        """DMAs done since reset."""
        return await self._read(TrafficRegister.TOTAL)

    async def _set_run(self, run: int) -> None:
        control = decode(TrafficControl, await self._read(TrafficRegister.CONTROL))
        await self._write(TrafficRegister.CONTROL, encode(
            TrafficControl, run=run, outstanding_limit=control.outstanding_limit, gap_cycles=control.gap_cycles))

    @staticmethod
    def _checked(index: int) -> int:
        if not 0 <= index < MAX_DEVICES:
            raise BadRange("device index", index, f"must be below {MAX_DEVICES}")
        return index

    def _row(self, index: int) -> int:
        return int(DEVICE_BASE + DEVICE_STRIDE * self._checked(index))

    async def _read(self, offset: int) -> int:
        return await self._transport.read_register(TRAFFIC_BASE + offset, _WORD_BYTES)

    async def _write(self, offset: int, value: int) -> None:
        await self._transport.write_register(TRAFFIC_BASE + offset, _WORD_BYTES, value)
