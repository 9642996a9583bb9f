"""Which table stands behind which domain ID: what the experiment declares, and what context entries then say. Ours.

::

    experiment --declare--> Association (tag, translations or table) <--bind-- ContextWatch <-- stores

A declaration by translations does not know where its table stands. The first context entry of that tag names one; it is
bound if it gives exactly the declared translations and belongs to no other tag. A torn entry (new table under the old
tag, or the reverse) therefore binds nothing, even where both tables say the same.
"""
from collections.abc import Iterator
from dataclasses import dataclass

from hw.spec.tables import ENTRY_BYTES, PAGE_BITS, PAGE_BYTES, top_level
from sim.model.entries import ContextView, Limits, check_context, check_root, context_table
from sim.model.history import VersionedMemory
from sim.model.translations import Translations, translations_of

__all__ = ["Association", "Associations", "ContextWatch"]


@dataclass(slots=True)
class Association:
    """One declaration: from `since` on, lines of this tag may come from this table."""

    domain_id: int
    since: int
    translations: Translations | None = None   # what the experiment says; None: whatever the table says
    table_pointer: int | None = None           # page number; None: not bound yet
    until: int | None = None                   # cycle in which it was forbidden
    verified: bool = False                     # the table was seen to say so, when a context entry first named it

    def overlaps(self, since: int, until: int) -> bool:
        """True if it stood at some instant of the window."""
        return self.since <= until and (self.until is None or self.until >= since)


class Associations:
    """All declarations, and the number of levels of each table that a context entry has named."""

    def __init__(self) -> None:
        self._by_domain: dict[int, list[Association]] = {}
        self.levels: dict[int, int] = {}

    def declare(self, association: Association) -> None:
        """One more table for a tag."""
        self._by_domain.setdefault(association.domain_id, []).append(association)

    def forbid(self, cycle: int, domain_id: int, *, keep_newest: bool = False) -> None:
        """From now on nothing may enter a cache under this tag, or nothing but from its newest declaration."""
        standing = [each for each in self._by_domain.get(domain_id, []) if each.until is None]
        for each in standing[:-1] if keep_newest else standing:
            each.until = cycle

    def standing(self, domain_id: int, since: int, until: int) -> list[Association]:
        """The declarations of a tag that stood at some instant of the window, oldest first."""
        return [each for each in self._by_domain.get(domain_id, []) if each.overlaps(since, until)]

    def newest(self, domain_id: int) -> Association | None:
        """The last declaration of a tag."""
        declared = self._by_domain.get(domain_id)
        return declared[-1] if declared else None

    def bind(self, cycle: int, context: ContextView, memory: VersionedMemory, limit: Limits) -> str | None:
        """A context entry names a table under a tag: None if that is as declared, or what is wrong."""
        pointer, domain_id = context.table_pointer, context.domain_id
        self.levels[pointer] = top_level(context.address_width)
        standing = self.standing(domain_id, cycle, cycle)
        named = [each for each in standing if each.table_pointer == pointer]
        if not standing or any(each.verified or each.translations is None for each in named):
            return None   # an undeclared tag is judged when something is cached under it
        for other in self._by_domain.values():
            for each in other:
                if each.table_pointer == pointer and each.domain_id != domain_id and each.until is None:
                    return f"it is the table of domain {each.domain_id:#x}"
        candidates = named or [each for each in standing if each.table_pointer is None]
        if not candidates:
            return "every declaration of that domain has another table"
        actual = translations_of(memory.read, limit, pointer, self.levels[pointer])
        for each in candidates:
            if each.translations == actual:
                each.table_pointer, each.verified = pointer, True
                return None
        return f"it gives {actual!r}, declared are {candidates[-1].translations!r}"


class ContextWatch:
    """Finds the context entries that are in force, as stores change them."""

    def __init__(self, memory: VersionedMemory, limit: Limits) -> None:
        self._memory = memory
        self._limit = limit
        self._root: int | None = None
        self._buses: dict[int, int] = {}   # page of a context table: its bus

    def root_changed(self, root_table: int) -> Iterator[tuple[int, ContextView]]:
        """A root table was latched: (source ID, context) of every legal entry."""
        self._root = root_table
        self._buses.clear()
        for bus in range(PAGE_BYTES // ENTRY_BYTES):
            place = (root_table << PAGE_BITS) + bus * ENTRY_BYTES
            root = int.from_bytes(self._memory.read(place, ENTRY_BYTES), "little")
            if not check_root(self._limit, root):
                self._buses[context_table(root)] = bus
        for page in self._buses:
            yield from self._entries(page << PAGE_BITS, PAGE_BYTES)

    def stored(self, hpa: int, length: int) -> Iterator[tuple[int, ContextView]]:
        """Bytes were stored: the legal entries among them."""
        if self._root is None:
            return
        first, last = hpa >> PAGE_BITS, hpa + length - 1 >> PAGE_BITS
        if first <= self._root <= last:
            yield from self.root_changed(self._root)
            return
        for page in [page for page in self._buses if first <= page <= last]:
            start = max(hpa & -ENTRY_BYTES, page << PAGE_BITS)
            end = min(hpa + length, page + 1 << PAGE_BITS)
            yield from self._entries(start, end - start)

    def _entries(self, hpa: int, length: int) -> Iterator[tuple[int, ContextView]]:
        bus = self._buses[hpa >> PAGE_BITS]
        for place in range(hpa, hpa + length, ENTRY_BYTES):
            entry = int.from_bytes(self._memory.read(place, ENTRY_BYTES), "little")
            if entry and not check_context(self._limit, entry):
                yield bus << 8 | place % PAGE_BYTES // ENTRY_BYTES, ContextView.of(entry)
