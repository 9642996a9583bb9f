"""What the caches of translations may hold, as their fills say: the IOTLB, and the paging-structure caches. Ours."""
from collections.abc import Iterator
from typing import NamedTuple

from hw.spec.tables import PageSize
from sim.model.caches import Completed

__all__ = ["Line", "LineReplica", "StructureEntry", "StructureReplica"]


class Line(NamedTuple):
    """One entry of a line of the IOTLB, as its fill said."""

    cycle: int             # of the fill
    domain_id: int
    iova_page: int         # of the base
    page_size: PageSize
    page: int              # HPA page number of the base
    readable: bool
    writable: bool
    table_pointer: int


class LineReplica:
    """What the IOTLB may hold: a fill replaces what stood in its place, an invalidation removes.

    A place holds the entries of one line, all of which are filled in one cycle.
    """

    def __init__(self) -> None:
        self._lines: dict[tuple[PageSize, int, int], list[Line]] = {}

    def fill(self, set_index: int, way: int, line: Line) -> None:
        """One entry of a line is written."""
        place = line.page_size, set_index, way
        standing = self._lines.get(place)
        if standing and standing[0].cycle == line.cycle:
            standing.append(line)
        else:
            self._lines[place] = [line]

    def remove(self, completed: Completed) -> Iterator[Line]:
        """Drop what a completed invalidation removed; yields the covered entries that survive it.

        What stood there in the cycle of its beginning is removed; a covered entry that was filled later survives, and
        must be one that the invalidation permits. Of a line of which one entry is covered the others may stay.
        """
        for place, lines in list(self._lines.items()):
            covered = [line for line in lines if completed.invalidation.covers_translation(
                line.domain_id, line.iova_page, line.page_size.value)]
            if covered and covered[0].cycle > completed.begin:
                yield from covered
            elif len(covered) == len(lines):
                del self._lines[place]
            elif covered:
                self._lines[place] = [line for line in lines if line not in covered]

    def __len__(self) -> int:
        return sum(len(lines) for lines in self._lines.values())


class StructureEntry(NamedTuple):
    """One entry of a paging-structure cache, as its fill said."""

    cycle: int             # of the fill
    domain_id: int
    iova_page: int         # the first that it covers
    level: int             # of the table that the entry stands in, 2 to 5
    table: int             # page number of the table that it names
    readable: bool         # ANDed over its level and those above
    writable: bool
    table_pointer: int     # of the walk


class StructureReplica:
    """The entries that were filled under an invalidation, while it was not complete.

    What was filled before needs no second look: the invalidation removes it. Where a line stands is not told; one that is
    replaced counts as standing, unless it is replaced by one of the same key.
    """

    def __init__(self) -> None:
        self._entries: dict[tuple[int, int, int], StructureEntry] = {}   # domain ID, level, page

    def fill(self, entry: StructureEntry) -> None:
        """An entry is written."""
        self._entries[entry.domain_id, entry.level, entry.iova_page] = entry

    def remove(self, completed: Completed) -> Iterator[StructureEntry]:
        """The covered entries that were filled after a completed invalidation began: it must permit them."""
        for entry in self._entries.values():
            if entry.cycle > completed.begin and completed.invalidation.covers_structure(
                    entry.domain_id, entry.iova_page, entry.level):
                yield entry

    def settle(self) -> None:
        """Nothing that has begun is left to complete."""
        self._entries.clear()
