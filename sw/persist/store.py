"""The store's interface, and the store in memory: records by name, and the pages that each of them preserves."""
import struct
import zlib
from collections.abc import Iterable
from itertools import pairwise
from typing import NamedTuple, Protocol

from hw.spec.tables import PAGE_BITS, PAGE_BYTES
from sw.errors import StoreRefused
from sw.persist.seal import SEAL_BYTES, is_sealed, seal
from sw.transport import Transport

__all__ = ["SLOT_BYTES", "STORE_BASE", "MemoryStore", "PageRange", "Store", "page_ranges"]

STORE_BASE = 0x40_0000_0000  # where every kernel looks for it: 256 GiB, above the memory of the machines we know
SLOT_BYTES = 256 << 10

_VERSION = 1
_COMMIT = struct.Struct("<HBBI")    # magic, version, slot, generation: 8 bytes, stored at one instant
_COMMIT_MAGIC = 0x4C48
_HEADER = struct.Struct("<4sHHIII")  # magic, version, record count, generation, body length, CRC-32 of these
_HEADER_MAGIC = b"HTLS"
_FRAME = struct.Struct("<HHII")     # name length, range count, data length, CRC-32 of all that follows
_RANGE = struct.Struct("<QI")       # first page number, pages
_HEADER_NAME = "header"
_SEAL_NAME = "seal"


class PageRange(NamedTuple):
    """Pages [first, first + page_count)."""

    first: int
    page_count: int

    @property
    def end(self) -> int:
        """The page number after it."""
        return self.first + self.page_count


class Store(Protocol):
    """Where a kernel leaves what the next one needs."""

    async def save(self, name: str, data: bytes, *, pages: Iterable[int] = ()) -> None:
        """Add a record, and the pages (HPA) that must survive with it."""

    async def seal(self) -> None:
        """Make what was saved count, at one instant."""

    async def verify(self) -> None:
        """Check all that counts. Raises StoreRefused, naming the record."""

    async def names(self) -> list[str]:
        """The names of the verified records, in the order in which they were saved."""

    async def load(self, name: str) -> bytes:
        """A verified record's data. Raises StoreRefused if there is none of that name."""

    async def pages(self, name: str) -> list[int]:
        """The pages (HPA) that a verified record preserves."""


class _Record(NamedTuple):
    ranges: tuple[PageRange, ...]
    data: bytes


def page_ranges(pages: Iterable[int]) -> tuple[PageRange, ...]:
    """Pages (HPA) as sorted ranges of page numbers."""
    ranges: list[PageRange] = []
    for number in sorted({page >> PAGE_BITS for page in pages}):
        if ranges and ranges[-1].end == number:
            ranges[-1] = PageRange(ranges[-1].first, ranges[-1].page_count + 1)
        else:
            ranges.append(PageRange(number, 1))
    return tuple(ranges)


class MemoryStore:
    """A store at a fixed place in physical memory.

    Parameters
    ----------
    transport : Transport
        The way to memory.
    key : bytes
        The seal key.
    base : int
        HPA of the header page.
    """

    def __init__(self, transport: Transport, key: bytes, *, base: int = STORE_BASE) -> None:
        self._transport = transport
        self._key = key
        self._base = base
        self._records: dict[str, _Record] = {}

    async def save(self, name: str, data: bytes, *, pages: Iterable[int] = ()) -> None:
        """Add a record; memory is untouched until `seal`. Raises StoreRefused for a second one or an overlap."""
        if name in self._records:
            raise StoreRefused(name, "is there already; a name is saved once")
        records = {**self._records, name: _Record(page_ranges(pages), bytes(data))}
        self._check_overlap(records)
        self._records = records

    async def seal(self) -> None:
        """Write the slot that does not count, then make it count with one store."""
        generation, slot = 1, 0
        current = await self._commit()
        if current is not None:
            generation, slot = current[0] % (1 << 32) + 1, 1 - current[1]
        body = _encode(self._records, generation % (1 << 32))
        whole = body + seal(self._key, body)
        if len(whole) > SLOT_BYTES:
            raise StoreRefused(_HEADER_NAME, f"{len(whole)} bytes of records do not fit in {SLOT_BYTES}")
        await self._transport.write_memory(self._slot(slot), whole)
        commit = _COMMIT.pack(_COMMIT_MAGIC, _VERSION, slot, generation % (1 << 32))
        await self._transport.store64(self._base, int.from_bytes(commit, "little"))

    async def verify(self) -> None:
        """Read and check the slot that counts: frames, checksums, seal, overlaps."""
        self._records = {}
        commit = await self._commit()
        if commit is None:
            raise StoreRefused(_HEADER_NAME, f"the commit record at {self._base:#x} names no store; was one sealed?")
        generation, slot = commit
        raw = await self._transport.read_memory(self._slot(slot), _HEADER.size)
        count, length = _check_header(raw, generation)
        whole = await self._transport.read_memory(self._slot(slot), length + SEAL_BYTES)
        body = whole[:length]
        records = _decode(body, count)
        if not is_sealed(self._key, body, whole[length:]):
            raise StoreRefused(_SEAL_NAME, "does not fit the records: they were changed, or sealed with another key")
        self._check_overlap(records)
        self._records = records

    async def names(self) -> list[str]:
        """As Store."""
        return list(self._records)

    async def load(self, name: str) -> bytes:
        """As Store."""
        return self._record(name).data

    async def pages(self, name: str) -> list[int]:
        """As Store."""
        return [number << PAGE_BITS for numbers in self._record(name).ranges
                for number in range(numbers.first, numbers.end)]

    async def erase(self) -> None:
        """Let no slot count, with one store: what was preserved is being given back."""
        await self._transport.store64(self._base, 0)
        self._records = {}

    def _record(self, name: str) -> _Record:
        if name not in self._records:
            raise StoreRefused(name, f"is not there; there are {', '.join(self._records) or 'none'}")
        return self._records[name]

    def _slot(self, slot: int) -> int:
        return int(self._base + PAGE_BYTES + slot * SLOT_BYTES)

    async def _commit(self) -> tuple[int, int] | None:
        """Generation and slot of what counts; None if nothing does."""
        raw = await self._transport.read_memory(self._base, _COMMIT.size)
        magic, version, slot, generation = _COMMIT.unpack(raw)
        if magic != _COMMIT_MAGIC or version != _VERSION or slot > 1:
            return None
        return generation, slot

    def _check_overlap(self, records: dict[str, _Record]) -> None:
        own = PageRange(self._base >> PAGE_BITS, (PAGE_BYTES + 2 * SLOT_BYTES) >> PAGE_BITS)
        claims = [(own, "the store itself")]
        claims += [(numbers, name) for name, record in records.items() for numbers in record.ranges]
        claims.sort()
        for (before, owner), (after, name) in pairwise(claims):
            if after.first < before.end:
                claimant, holder = (name, owner) if name in records else (owner, name)
                raise StoreRefused(claimant, f"page {after.first << PAGE_BITS:#x} belongs to {holder} too")


def _encode(records: dict[str, _Record], generation: int) -> bytes:
    frames = b""
    for name, record in records.items():
        title = name.encode()
        rest = title + b"".join(_RANGE.pack(*numbers) for numbers in record.ranges) + record.data
        frames += _FRAME.pack(len(title), len(record.ranges), len(record.data), zlib.crc32(rest)) + rest
    fields = (_HEADER_MAGIC, _VERSION, len(records), generation, _HEADER.size + len(frames))
    return _HEADER.pack(*fields, zlib.crc32(_HEADER.pack(*fields, 0))) + frames


def _check_header(raw: bytes, generation: int) -> tuple[int, int]:
    """Record count and body length."""
    magic, version, count, found, length, checksum = _HEADER.unpack(raw)
    if magic != _HEADER_MAGIC or checksum != zlib.crc32(_HEADER.pack(magic, version, count, found, length, 0)):
        raise StoreRefused(_HEADER_NAME, "its checksum does not fit")
    if version != _VERSION:
        raise StoreRefused(_HEADER_NAME, f"is of version {version}; this kernel reads version {_VERSION}")
    if found != generation:
        raise StoreRefused(_HEADER_NAME, f"is of generation {found}, the commit record is of {generation}")
    if not _HEADER.size <= length <= SLOT_BYTES - SEAL_BYTES:
        raise StoreRefused(_HEADER_NAME, f"a body of {length} bytes does not fit in a slot of {SLOT_BYTES}")
    return count, length


def _decode(body: bytes, count: int) -> dict[str, _Record]:
    records: dict[str, _Record] = {}
    place = _HEADER.size
    for number in range(count):
        label = f"number {number}"
        if place + _FRAME.size > len(body):
            raise StoreRefused(label, "is cut short")
        title_bytes, range_count, data_bytes, checksum = _FRAME.unpack_from(body, place)
        start = place + _FRAME.size
        place = start + title_bytes + range_count * _RANGE.size + data_bytes
        title = body[start:start + title_bytes].decode(errors="replace")
        label = f"number {number} ({title!r})"
        if place > len(body):
            raise StoreRefused(label, "is cut short")
        if zlib.crc32(body[start:place]) != checksum:
            raise StoreRefused(label, "its checksum does not fit")
        if title in records:
            raise StoreRefused(label, "is there twice")
        ranges = tuple(PageRange(*_RANGE.unpack_from(body, start + title_bytes + n * _RANGE.size))
                       for n in range(range_count))
        records[title] = _Record(ranges, body[place - data_bytes:place])
    if place != len(body):
        raise StoreRefused(_HEADER_NAME, f"{len(body) - place} bytes stand after the last record")
    return records
