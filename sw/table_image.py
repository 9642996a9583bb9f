"""The driver's picture of the table pages in memory, and the changes to it that memory has not seen yet.

The driver is the only writer of its tables, so it keeps what it read and wrote. Changes are made in the picture first,
where they can be undone; `commit` then shows them to memory in the order that is safe under a running unit: new pages
whole and from the bottom up, and only then the 64-bit stores that link them.
"""
from collections.abc import Callable, Iterable

import numpy as np

from hw.spec.tables import PAGE_BYTES, TABLE_ENTRIES
from sw.errors import TableMalformed
from sw.intervals import Addresses
from sw.memory import PageAllocator
from sw.table_format import ENTRY_BYTES, TableFormat, field_values
from sw.transport import Transport

__all__ = ["TableImage"]


class TableImage:
    """Second-stage table pages, as arrays of 512 entries.

    Parameters
    ----------
    transport : Transport
        The way to memory.
    allocator : PageAllocator
        Where new table pages come from.
    """

    def __init__(self, transport: Transport, allocator: PageAllocator) -> None:
        self._transport = transport
        self._allocator = allocator
        self.words: dict[int, Addresses] = {}
        self.level_of: dict[int, int] = {}
        self._new: set[int] = set()
        self._stores: list[tuple[int, int]] = []
        self._undo: list[Callable[[], None]] = []

    async def load(self, table_format: TableFormat, top: int) -> None:
        """Read every table page that hangs on `top`, page by page.

        Raises
        ------
        TableMalformed
            If an entry has reserved bits set, or a page is reached twice (as in a cycle).
        """
        pending = [(top, table_format.levels)]
        reached = {top}
        while pending:
            page, level = pending.pop()
            raw = await self._transport.read_memory(page, PAGE_BYTES)
            words = np.frombuffer(raw, dtype="<u8").copy()
            self.words[page] = words
            self.level_of[page] = level
            present = (field_values(words, "readable") | field_values(words, "writable")).astype(bool)
            leaf = present & ((field_values(words, "page_size") == 1) | (level == 1))
            for chosen, is_leaf in ((leaf, True), (present & ~leaf, False)):
                reserved = table_format.reserved_bits(level, leaf=is_leaf)
                bad = np.flatnonzero(chosen & ((words & np.uint64(reserved)) != 0))
                if len(bad):
                    index = int(bad[0])
                    raise TableMalformed(page + ENTRY_BYTES * index, int(words[index]),
                                         f"reserved bits {int(words[index]) & reserved:#x} of level {level} are set")
            for index in np.flatnonzero(present & ~leaf).tolist():
                entry = int(words[index])
                child = table_format.target(entry)
                if child in reached:
                    raise TableMalformed(page + ENTRY_BYTES * index, entry, "its table is reached a second time")
                reached.add(child)
                pending.append((child, level - 1))

    def add_page(self, level: int) -> int:
        """A new, empty table page. Raises OutOfPages if there is none."""
        page = self._allocator.take()
        self.words[page] = np.zeros(TABLE_ENTRIES, dtype=np.uint64)
        self.level_of[page] = level
        self._new.add(page)
        self._undo.append(lambda: self._withdraw(page))
        return page

    def drop_page(self, page: int) -> None:
        """Forget a page that nothing in the picture links any more."""
        words, level, new = self.words.pop(page), self.level_of.pop(page), page in self._new
        self._new.discard(page)

        def restore() -> None:
            self.words[page], self.level_of[page] = words, level
            if new:
                self._new.add(page)

        self._undo.append(restore)

    def store(self, page: int, index: int, entries: Iterable[int]) -> None:
        """Change consecutive entries of a page."""
        values = np.fromiter(entries, dtype=np.uint64)
        place = slice(index, index + len(values))
        words = self.words[page]
        if page not in self._new:
            before = words[place].copy()
            self._stores.extend((page, at) for at in range(index, index + len(values)))
            self._undo.append(lambda: words.__setitem__(place, before))
        words[place] = values

    def roll_back(self) -> None:
        """Undo everything since the last commit."""
        for undo in reversed(self._undo):
            undo()
        self._forget()

    async def commit(self) -> None:
        """Show the changes to memory."""
        for page in sorted(self._new, key=lambda page: (self.level_of[page], page)):
            await self._transport.write_memory(page, self.words[page].astype("<u8").tobytes())
        for page, index in self._stores:
            if page in self.words:
                await self._transport.store64(page + ENTRY_BYTES * index, int(self.words[page][index]))
        self._forget()

    def _withdraw(self, page: int) -> None:
        del self.words[page], self.level_of[page]
        self._new.discard(page)
        self._allocator.give_back(page)

    def _forget(self) -> None:
        self._new.clear()
        self._stores.clear()
        self._undo.clear()
