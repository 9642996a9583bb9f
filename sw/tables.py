r"""Build, edit and walk second-stage tables: one loop over levels, for 3, 4 and 5 of them.

    top page (level AW + 2) --index--> ... --> level 2 --index--> level 1 --index--> 4 KiB page
                                                  \--> 2 MiB page (a leaf); 1 GiB at level 3

Every change is checked first, then made in a picture of the tables, then shown to memory (`TableImage`): what is
refused leaves memory as it was.

Source: VT-d 4.1, 3.7 and 9.8.
"""
from collections.abc import Iterable
from typing import NamedTuple

import numpy as np

from hw.spec.tables import PAGE_BYTES, TABLE_ENTRIES, table_index
from sw.errors import AlreadyMapped, BadRange, NotMapped
from sw.intervals import Addresses, Interval, Permission, coalesce_arrays
from sw.memory import PageAllocator
from sw.table_format import TableFormat, field_mask, field_values
from sw.table_image import TableImage
from sw.transport import Transport

__all__ = ["Position", "SecondStageTable"]


class Position(NamedTuple):
    """Where the walk of an IOVA ends: a leaf, or an empty entry."""

    page: int
    entry_index: int
    level: int
    entry: int
    permission: Permission  # ANDed over the tables above, not yet with the entry


class SecondStageTable:
    """One domain's tables. Make one with `create` or `load`.

    Parameters
    ----------
    table_format : TableFormat
        What entries may look like.
    top : int
        HPA of the top table.
    """

    def __init__(self, table_format: TableFormat, top: int, image: TableImage) -> None:
        self.format = table_format
        self.top = top
        self._image = image

    @classmethod
    async def create(cls, transport: Transport, allocator: PageAllocator,
                     table_format: TableFormat) -> "SecondStageTable":
        """Tables that map nothing."""
        image = TableImage(transport, allocator)
        top = image.add_page(table_format.levels)
        await image.commit()
        return cls(table_format, top, image)

    @classmethod
    async def load(cls, transport: Transport, allocator: PageAllocator, table_format: TableFormat,
                   top: int) -> "SecondStageTable":
        """Tables that stand in memory already. Raises TableMalformed if the unit would not accept them."""
        image = TableImage(transport, allocator)
        await image.load(table_format, top)
        return cls(table_format, top, image)

    @property
    def pages(self) -> list[int]:
        """HPA of every table page, sorted."""
        return sorted(self._image.words)

    def lookup(self, iova: int) -> Position:
        """Walk one IOVA to the leaf that maps it, or to the empty entry where it ends."""
        if not 0 <= iova < self.format.iova_end:
            raise BadRange("iova", iova, f"these tables reach up to {self.format.iova_end:#x}")
        page, permission = self.top, Permission.READ_WRITE
        for level in range(self.format.levels, 0, -1):
            index = int(table_index(iova, level))
            entry = int(self._image.words[page][index])
            if not self.format.is_present(entry) or self.format.is_leaf(entry, level):
                break
            permission &= self.format.permission(entry)
            page = self.format.target(entry)
        return Position(page, index, level, entry, permission)

    def iova_to_hpa(self, iova: int) -> int | None:
        """Where an IOVA goes, or None if it is not mapped."""
        found = self.lookup(iova)
        if not self.format.is_present(found.entry):
            return None
        return self.format.target(found.entry) + iova % self.format.page_bytes(found.level)

    def intervals(self) -> list[Interval]:
        """What the tables say, in as few intervals as possible."""
        leaves: list[tuple[Addresses, Addresses, Addresses, Addresses]] = []
        pending = [(self.top, self.format.levels, 0, int(Permission.READ_WRITE))]
        while pending:
            page, level, base, above = pending.pop()
            words = self._image.words[page]
            permission = field_values(words, "readable") | (field_values(words, "writable") << np.uint64(1))
            present = np.flatnonzero(permission)
            words, permission = words[present], permission[present] & np.uint64(above)
            iova = np.uint64(base) + present.astype(np.uint64) * np.uint64(self.format.page_bytes(level))
            target = words & np.uint64(field_mask("address"))
            is_leaf = (field_values(words, "page_size") == 1) | (level == 1)
            usable = is_leaf & (permission != 0)
            size = np.full(int(usable.sum()), self.format.page_bytes(level), dtype=np.uint64)
            leaves.append((iova[usable], size, target[usable], permission[usable]))
            pending.extend((int(target[n]), level - 1, int(iova[n]), int(permission[n]))
                           for n in np.flatnonzero(~is_leaf).tolist())
        return coalesce_arrays(*(np.concatenate(column) for column in zip(*leaves, strict=True)))

    async def map(self, iova: int, hpa: int, size: int, permission: Permission = Permission.READ_WRITE) -> None:
        """Map a range with the largest pages that fit. Raises BadRange, AlreadyMapped or OutOfPages."""
        await self.map_all([Interval(iova, size, hpa, permission)])

    async def map_all(self, intervals: Iterable[Interval]) -> None:
        """Map many ranges; all of them or, if one is refused, none."""
        try:
            for interval in intervals:
                self._check(interval)
                self._place(interval)
        except BaseException:
            self._image.roll_back()
            raise
        await self._image.commit()

    async def unmap(self, iova: int, size: int) -> list[int]:
        """Unmap a range that is wholly mapped, splitting a larger page exactly where it must be.

        Returns
        -------
        list of int
            Table pages that nothing links any more. The unit may still read them: free them after the invalidation.

        Raises
        ------
        NotMapped
            If a part of the range is not mapped; nothing is changed.
        """
        self._check_range(iova, size)
        cursor = iova
        while cursor < iova + size:
            found = self.lookup(cursor)
            if not self.format.is_present(found.entry):
                raise NotMapped(cursor)
            cursor += self._rest_of_entry(cursor, found.level)
        unlinked: list[int] = []
        try:
            self._clear(self.top, self.format.levels, 0, iova, iova + size, unlinked)
        except BaseException:
            self._image.roll_back()
            raise
        await self._image.commit()
        return unlinked

    def _check_range(self, iova: int, size: int) -> None:
        if iova % PAGE_BYTES:
            raise BadRange("iova", iova, f"must be a multiple of {PAGE_BYTES:#x}")
        if size <= 0 or size % PAGE_BYTES:
            raise BadRange("size", size, f"must be a positive multiple of {PAGE_BYTES:#x}")
        if not 0 <= iova <= self.format.iova_end - size:
            raise BadRange("iova", iova + size - 1, f"these tables reach up to {self.format.iova_end:#x}")

    def _check(self, interval: Interval) -> None:
        self._check_range(interval.iova, interval.size)
        if interval.hpa % PAGE_BYTES or interval.hpa + interval.size > 1 << self.format.host_address_bits:
            raise BadRange("hpa", interval.hpa, f"must be a multiple of {PAGE_BYTES:#x} and fit in "
                                                f"{self.format.host_address_bits} bits with its size")
        if interval.permission == Permission.NONE:
            raise BadRange("permission", int(interval.permission), "must allow reading or writing")
        cursor = interval.iova
        while cursor < interval.end:
            found = self.lookup(cursor)
            if self.format.is_present(found.entry):
                raise AlreadyMapped(cursor)
            if interval.permission & ~found.permission:
                raise BadRange("permission", int(interval.permission), f"a table above {cursor:#x} permits only "
                                                                       f"{found.permission}")
            cursor += self._rest_of_entry(cursor, found.level)

    def _rest_of_entry(self, iova: int, level: int) -> int:
        return self.format.page_bytes(level) - iova % self.format.page_bytes(level)

    def _place(self, interval: Interval) -> None:
        """Put leaves, as many at a time as fit in one table page."""
        iova, size, hpa, permission = interval
        while size:
            found = self.lookup(iova)
            level = min(found.level, self.format.best_level(iova, hpa, size))
            page, index = found.page, found.entry_index
            for below in range(found.level - 1, level - 1, -1):
                child = self._image.add_page(below)
                self._image.store(page, index, [self.format.table(child)])
                page, index = child, int(table_index(iova, below))
            step = self.format.page_bytes(level)
            if level == 1:
                count = min(size // step, TABLE_ENTRIES - index)
            else:
                count = 1  # the neighbouring entry may hold a table
            first = self.format.leaf(hpa, level, permission)
            self._image.store(page, index, range(first, first + count * step, step))
            iova, size, hpa = iova + count * step, size - count * step, hpa + count * step

    def _clear(self, page: int, level: int, base: int, start: int, end: int, unlinked: list[int]) -> None:
        """Remove [start, end) below one table page, which begins at IOVA `base`."""
        step = self.format.page_bytes(level)
        for index in range(max(0, (start - base) // step), min(TABLE_ENTRIES, -(-(end - base) // step))):
            entry = int(self._image.words[page][index])
            at = base + index * step
            if self.format.is_leaf(entry, level):
                if start <= at and at + step <= end:
                    self._image.store(page, index, [0])
                    continue
                entry = self._split(page, index, level)
            child = self.format.target(entry)
            self._clear(child, level - 1, at, start, end, unlinked)
            if not self._image.words[child].any():
                self._image.store(page, index, [0])
                self._image.drop_page(child)
                unlinked.append(child)

    def _split(self, page: int, index: int, level: int) -> int:
        """Replace a superpage by a table that says the same, with one store. Returns the entry that names it."""
        below = level - 1
        if below > 1 and below not in self.format.superpage_levels:
            raise BadRange("level", below, "has no pages on this unit, so a page above it cannot be split")
        first = int(self._image.words[page][index])
        if below == 1:
            first &= ~field_mask("page_size")
        child = self._image.add_page(below)
        step = self.format.page_bytes(below)
        self._image.store(child, 0, range(first, first + TABLE_ENTRIES * step, step))
        entry = self.format.table(child)
        self._image.store(page, index, [entry])
        return entry
