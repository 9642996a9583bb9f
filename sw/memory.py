"""Page allocator over the transport: what a kernel's page allocator is to its IOMMU driver.

    take / allocate -> in use -> give_back (hardware never saw it) -> free
                              -> free      (poisoned)              -> free

A page that was freed is handed out again as late as possible, so that its poison stands as long as possible.
"""
from collections import deque
from collections.abc import Iterable

from hw.spec.bench import POISON_BYTE
from hw.spec.tables import PAGE_BYTES
from sw.errors import BadRange, DoubleFree, OutOfPages, PageInUse
from sw.transport import Transport

__all__ = ["PageAllocator"]

_ZEROES = bytes(PAGE_BYTES)
_POISON = bytes([POISON_BYTE]) * PAGE_BYTES


class PageAllocator:
    """Pages of one arena, and pages elsewhere that were reserved because something uses them.

    Parameters
    ----------
    transport : Transport
        The way to memory.
    base, size : int
        The arena in bytes, both multiples of 4 KiB.
    """

    def __init__(self, transport: Transport, *, base: int, size: int) -> None:
        for what, value in (("arena base", base), ("arena size", size)):
            if value % PAGE_BYTES:
                raise BadRange(what, value, f"must be a multiple of {PAGE_BYTES:#x}")
        self._transport = transport
        self.base = base
        self.size = size
        self._fresh = base                 # from here on the arena was never handed out
        self._freed: deque[int] = deque()  # pages of the arena that came back, oldest first
        self._in_use: set[int] = set()
        self._leaving: set[int] = set()    # being poisoned: still in use, but not to be freed again

    @property
    def in_use(self) -> frozenset[int]:
        """Every page that is allocated or reserved."""
        return frozenset(self._in_use)

    def holds(self, page: int) -> bool:
        """Whether the page belongs to the arena."""
        return self.base <= page < self.base + self.size

    def take(self) -> int:
        """A page whose contents are unknown, for somebody who writes all of it before hardware may see it.

        Raises
        ------
        OutOfPages
            If the arena is exhausted.
        """
        while self._fresh < self.base + self.size:
            page = self._fresh
            self._fresh += PAGE_BYTES
            if page not in self._in_use:
                self._in_use.add(page)
                return page
        if not self._freed:
            raise OutOfPages(self.base, self.size, len(self._in_use))
        page = self._freed.popleft()
        self._in_use.add(page)
        return page

    async def allocate(self) -> int:
        """A page of zeroes. Raises OutOfPages if the arena is exhausted."""
        page = self.take()
        await self._transport.write_memory(page, _ZEROES)
        return page

    async def allocate_block(self, order: int) -> list[int]:
        """2**order pages of zeroes in a row, the first a multiple of their number: none of them was handed out before.

        Raises
        ------
        OutOfPages
            If there is no such place; nothing is allocated then.
        """
        size = PAGE_BYTES << order
        first = -(-self._fresh // size) * size
        while first + size <= self.base + self.size:
            pages = list(range(first, first + size, PAGE_BYTES))
            if self._in_use.isdisjoint(pages):
                self._freed.extend(page for page in range(self._fresh, first, PAGE_BYTES) if page not in self._in_use)
                self._fresh = first + size
                self._in_use.update(pages)
                await self._transport.write_memory(first, bytes(size))
                return pages
            first += size
        raise OutOfPages(self.base, self.size, len(self._in_use))

    def reserve(self, pages: Iterable[int]) -> None:
        """Mark pages as in use, in the arena or elsewhere: they are never handed out, and may be freed.

        Raises
        ------
        PageInUse
            If one of them is in use already; nothing is reserved then.
        """
        wanted = list(pages)
        for page in wanted:
            if page % PAGE_BYTES:
                raise BadRange("page", page, f"must be a multiple of {PAGE_BYTES:#x}")
            if page in self._in_use:
                raise PageInUse(page)
        self._in_use.update(wanted)
        self._freed = deque(page for page in self._freed if page not in self._in_use)

    def give_back(self, page: int) -> None:
        """Return a page that hardware never saw. Raises DoubleFree if it is not in use."""
        if page not in self._in_use or page in self._leaving:
            raise DoubleFree(page)
        self._in_use.remove(page)
        if self.holds(page) and page < self._fresh:
            self._freed.append(page)

    async def free(self, page: int) -> None:
        """Return a page; poisoning it is the last thing that happens before it may be handed out again.

        Raises
        ------
        DoubleFree
            If it is not in use.
        """
        if page not in self._in_use or page in self._leaving:
            raise DoubleFree(page)
        self._leaving.add(page)
        await self._transport.write_memory(page, _POISON)
        self._leaving.remove(page)
        self.give_back(page)
