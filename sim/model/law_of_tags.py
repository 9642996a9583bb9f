"""L3 tag coherence: what a cache of translations or of paging structures holds under a tag, a table of that tag has said. Ours.

::

    an invalidation of a page          IH = 1        IH = 0                a walk
                                          |             |                    |
    its leaf may have been read           |             |<------------------>|      since the last of either kind
    the levels above it, likewise         |             |<------------------>|      since the last without the hint

Source: VT-d 4.1, 6.2 (tags), 6.5.1.2 (the hint).
"""
from collections.abc import Callable
from functools import partial

from hw.spec.faults import FaultReason
from hw.spec.tables import PAGE_BITS, PageSize
from sim.model.caches import Completed
from sim.model.history import Outcome, Path, in_words, permission
from sim.model.lines import Line, LineReplica, StructureEntry, StructureReplica
from sim.model.world import EVER, Finding, World

__all__ = ["TagCoherence"]


class TagCoherence:
    """L3: every line of the IOTLB and of the paging-structure caches equals a walk of a table then associated with its tag.

    A line of several entries is judged entry by entry: one that nobody has asked for must be as right as the others.

    A translation combines entries that were read at different instants: its leaf since the last completed invalidation that
    covers it, the levels above it since the last one of these that did not hint that only leaves had changed, for they may
    come from a paging-structure cache. An entry of a paging-structure cache, and every level above it, was read since the
    last completed invalidation without the hint that covers any page below that entry. In caching mode a line that permits
    nothing equals a walk that met an entry that permits nothing.

    A line is judged when it is filled, and again when an invalidation that covers it, and began before it was filled,
    completes: by the window since that one began.

    Paging-structure caches are tagged by domain ID alone: where several tables stand behind a tag, the upper levels of one may
    lead a walk of another. The walk's own table must stand behind the tag in any case.
    """

    def __init__(self, world: World) -> None:
        self._world = world
        self._lines = LineReplica()
        self._structures = StructureReplica()
        self.ambiguous = 0   # lines under a tag with several tables: right by one of them, which one cannot be told

    def fill(self, set_index: int, way: int, line: Line) -> None:
        """An entry of a line of the IOTLB is written."""
        self._lines.fill(set_index, way, line)
        since = self._world.invalidations.translation_since(
            line.domain_id, line.iova_page, line.page_size.value, line.cycle)
        self._judge_line(line, EVER if since is None else since, self._path_since(line), line.cycle)

    def fill_structure(self, entry: StructureEntry) -> None:
        """An entry of a paging-structure cache is written."""
        self._structures.fill(entry)
        since = self._world.invalidations.structure_since(entry.domain_id, entry.iova_page, entry.level, entry.cycle)
        self._judge_structure(entry, EVER if since is None else since, entry.cycle)

    def invalidated(self, completed: Completed) -> None:
        """An invalidation has completed."""
        for line in self._lines.remove(completed):
            path_since = self._path_since(line) if completed.invalidation.leaves_only else completed.begin
            self._judge_line(line, completed.begin, path_since, completed.end)
        for entry in self._structures.remove(completed):
            self._judge_structure(entry, completed.begin, completed.end)

    def settle(self) -> None:
        """Nothing that has begun is left to complete."""
        self._structures.settle()

    def _path_since(self, line: Line) -> int:
        since = self._world.invalidations.path_since(line.domain_id, line.iova_page, line.page_size.value, line.cycle)
        return EVER if since is None else since

    def _judge_line(self, line: Line, since: int, path_since: int, until: int) -> None:
        self._count(line.domain_id, since, until)
        self._judge(partial(self._line_finding, line, since, path_since, until))

    def _judge_structure(self, entry: StructureEntry, since: int, until: int) -> None:
        self._count(entry.domain_id, since, until)
        self._judge(partial(self._structure_finding, entry, since, until))

    def _count(self, domain_id: int, since: int, until: int) -> None:
        self._world.ledger.checks["L3"] += 1
        self.ambiguous += len(self._world.associations.standing(domain_id, since, until)) > 1

    def _judge(self, finding: Callable[[], Finding | None]) -> None:
        if finding() is not None:
            self._world.doubt(finding)

    def _stranger(self, what: str, domain_id: int, table_pointer: int, since: int, until: int) -> Finding | None:
        """The walk's table is none of its tag."""
        standing = self._world.associations.standing(domain_id, since, until)
        if any(each.table_pointer == table_pointer for each in standing):
            return None
        tables = ", ".join(f"{each.table_pointer:#x}" for each in standing if each.table_pointer is not None)
        return Finding("L3", f"{what} comes from table {table_pointer:#x}; those of its domain are: {tables or 'none'}")

    def _line_finding(self, line: Line, since: int, path_since: int, until: int) -> Finding | None:
        world = self._world
        stranger = self._stranger(_line(line), line.domain_id, line.table_pointer, since, until)
        if stranger is not None:
            return stranger
        outcomes = frozenset[Outcome]().union(*(
            world.walks(table, line.iova_page << PAGE_BITS, since, until, path_since=path_since)
            for table in world.tables(line.domain_id, line.table_pointer, path_since, until)))
        if min(since, path_since) < world.horizon or any(
                _gives(each, line, negative=world.caching_mode) for each in outcomes):
            return None
        return Finding("L3", f"{_line(line)} is no walk of table {line.table_pointer:#x} in cycles {since} to {until}, upper "
                             f"levels since cycle {path_since}, which gives {in_words(outcomes)}")

    def _structure_finding(self, entry: StructureEntry, since: int, until: int) -> Finding | None:
        world = self._world
        stranger = self._stranger(_entry(entry), entry.domain_id, entry.table_pointer, since, until)
        if stranger is not None:
            return stranger
        met = frozenset[Path]().union(*(
            world.paths(table, entry.iova_page << PAGE_BITS, entry.level, since, until)
            for table in world.tables(entry.domain_id, entry.table_pointer, since, until)))
        if since < world.horizon or Path(entry.table, entry.readable, entry.writable) in met:
            return None
        seen = ", ".join(sorted(f"{each.table:#x} {permission(each.readable, each.writable)}" for each in met))
        return Finding("L3", f"{_entry(entry)} is on no walk of table {entry.table_pointer:#x} in cycles {since} to {until}, "
                             f"which meets {seen or 'no table'} there")


def _gives(outcome: Outcome, line: Line, *, negative: bool) -> bool:
    """True if a walk that ended so fills this line; `negative`: one that met an entry without permission does, too."""
    if negative and not (line.readable or line.writable):
        return outcome.fault_reason is FaultReason.READ_PERMISSION and line.page_size is PageSize.SIZE_4K
    return not outcome.fault_reason and (outcome.base, outcome.page_size, outcome.readable, outcome.writable) == (
        line.page, line.page_size, line.readable, line.writable)


def _line(line: Line) -> str:
    return (f"line {line.iova_page << PAGE_BITS:#x} -> {line.page << PAGE_BITS:#x} "
            f"{permission(line.readable, line.writable)} {line.page_size.name} of domain {line.domain_id:#x}")


def _entry(entry: StructureEntry) -> str:
    return (f"level {entry.level} of {entry.iova_page << PAGE_BITS:#x}, table {entry.table:#x} "
            f"{permission(entry.readable, entry.writable)}, of domain {entry.domain_id:#x}")
