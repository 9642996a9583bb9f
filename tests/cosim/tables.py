"""One device's tables by hand, and cases made of them: requests one after the other, with what must come of each.

Written with hw.spec alone, so that neither the driver nor the golden model can lend its opinion of an entry.
"""
from collections.abc import Mapping
from dataclasses import dataclass, field

from hw.spec.capabilities import STRAPS_DEFAULT, Straps, describe_straps
from hw.spec.codec import encode
from hw.spec.dma import Access, Status
from hw.spec.tables import (
    ENTRY_BYTES,
    PAGE_BYTES,
    ContextEntry,
    PageSize,
    RootEntry,
    SecondStageEntry,
    table_index,
)
from sim.player import PlayedRequest

__all__ = ["ATOMIC", "EVERY_ACCESS", "HPA", "IOVA", "READ", "ROOT_PAGE", "SIZES", "SOURCE_ID", "UNMAPPED_PAGE", "WRITE", "Case",
           "Expected", "Tables", "at", "blocked", "case", "fault", "passed", "straps", "unmapped", "untranslated"]

SOURCE_ID = 0x03A5          # bus 3, device 0x14, function 5
DOMAIN_ID = 0xB5
ROOT_PAGE, CONTEXT_PAGE = 0x10, 0x11
TABLE_PAGES = {1: 0x21, 2: 0x22, 3: 0x23, 4: 0x24, 5: 0x25}
DATA_PAGES = {1: 0x98765, 2: 0x98600, 3: 0x80000}   # by the level of the leaf
IOVA = {
    3: 0x55_8681_2678,            # indices 0x156, 0x34, 0x12 at levels 3 to 1
    4: 0x5455_8681_2678,          # and 0xA8 at level 4
    5: 0x1BC_5455_8681_2678,      # and 0x1BC at level 5
}
HPA = {1: 0x9876_5678, 2: 0x9861_2678, 3: 0x8681_2678}   # where good tables send it, by the level of the leaf
UNMAPPED_PAGE = 0x5_4558_6813                               # the page after it
SIZES = {1: PageSize.SIZE_4K, 2: PageSize.SIZE_2M, 3: PageSize.SIZE_1G}

READ, WRITE, ATOMIC = Access.READ, Access.WRITE, Access.ATOMIC
EVERY_ACCESS = (READ, READ, WRITE, ATOMIC)

_SECOND_STAGE_BYTES = 8


def straps(**changes):
    """Encoded straps of a machine that has everything, with some changed."""
    return encode(Straps, **(describe_straps(STRAPS_DEFAULT) | changes))


def unmapped(number):
    """A read of a page that `Tables()` does not map, each number another; FI of its fault is UNMAPPED_PAGE + number."""
    return PlayedRequest(SOURCE_ID, (UNMAPPED_PAGE + number) * PAGE_BYTES)


@dataclass(frozen=True)
class Tables:
    """Tables that map one IOVA of one device, and how they differ from good ones.

    Parameters
    ----------
    levels, leaf : int
        Level of the top table; level of the leaf.
    iova : int
        What is mapped; by default the one of `IOVA`.
    root, context : mapping
        Fields of the two entries that are not as they should be.
    entries : mapping
        The same for second-stage entries, by level.
    unreadable : tuple
        Tables that the memory refuses: "root", "context", levels.
    memory_end : int
        Byte address at which the memory ends.
    """

    levels: int = 4
    leaf: int = 1
    iova: int | None = None
    root: Mapping = field(default_factory=dict)
    context: Mapping = field(default_factory=dict)
    entries: Mapping = field(default_factory=dict)
    unreadable: tuple = ()
    memory_end: int = 1 << 52

    @property
    def mapped_iova(self):
        """The IOVA that the tables map."""
        return IOVA[self.levels] if self.iova is None else self.iova

    @property
    def repaired(self):
        """Good tables for the same IOVA."""
        return Tables(self.levels, self.leaf, self.iova)

    @property
    def words(self):
        """Every entry: byte address to bytes."""
        bus, function = divmod(SOURCE_ID, 256)
        root = dict(present=1, context_table_pointer=CONTEXT_PAGE) | self.root
        context = dict(present=1, second_stage_pointer=TABLE_PAGES[self.levels], address_width=self.levels - 2,
                       domain_id=DOMAIN_ID) | self.context
        words = {
            ROOT_PAGE * PAGE_BYTES + bus * ENTRY_BYTES: encode(RootEntry, **root).to_bytes(ENTRY_BYTES, "little"),
            CONTEXT_PAGE * PAGE_BYTES + function * ENTRY_BYTES:
                encode(ContextEntry, **context).to_bytes(ENTRY_BYTES, "little"),
        }
        for level in range(self.levels, self.leaf - 1, -1):
            page = DATA_PAGES[level] if level == self.leaf else TABLE_PAGES[level - 1]
            good = dict(readable=1, writable=1, address=page, page_size=level == self.leaf and level > 1)
            place = TABLE_PAGES[level] * PAGE_BYTES + table_index(self.mapped_iova, level) * _SECOND_STAGE_BYTES
            entry = encode(SecondStageEntry, **(good | self.entries.get(level, {})))
            words[place] = entry.to_bytes(_SECOND_STAGE_BYTES, "little")
        return words

    @property
    def unreadable_pages(self):
        """Page numbers that the memory refuses."""
        pages = TABLE_PAGES | {"root": ROOT_PAGE, "context": CONTEXT_PAGE}
        return [pages[structure] for structure in self.unreadable]


@dataclass(frozen=True)
class Expected:
    """What must come of one request."""

    status: Status
    fault_reason: int = 0            # of a blocked one
    recorded: bool = False
    hpa: int = 0
    page_size: PageSize | None = None
    hit: bool | None = None          # None: either


@dataclass(frozen=True)
class Case:
    """One machine with one device, from reset: requests, each after the reply to the one before, and what must come of them."""

    tables: Tables
    requests: tuple[PlayedRequest, ...]
    expected: tuple[Expected, ...]
    strap_changes: Mapping = field(default_factory=dict)
    enabled: bool = True
    mode: int = 0   # TTM

    @property
    def straps(self):
        """Encoded."""
        return straps(**self.strap_changes)


def case(steps, *, tables, enabled=True, mode=0, **strap_changes):
    """A case of (fields of the request, what must come of it); the request is a read of what the tables map."""
    requests = tuple(PlayedRequest(**(dict(source_id=SOURCE_ID, iova=tables.mapped_iova) | fields)) for fields, _ in steps)
    return Case(tables, requests, tuple(expected for _, expected in steps), strap_changes, enabled, mode)


def blocked(reason, *, recorded=True):
    """What must come of a request that faults."""
    return Expected(Status.BLOCKED, reason, recorded)


def passed(leaf=1, *, hit, hpa=None):
    """What must come of a request that is translated through a page of the leaf's size."""
    return Expected(Status.OK, hpa=HPA[leaf] if hpa is None else hpa, page_size=SIZES[leaf], hit=hit)


def untranslated(hpa):
    """What must come of a request that goes through as it is."""
    return Expected(Status.OK, hpa=hpa, page_size=PageSize.UNTRANSLATED, hit=False)


def fault(reason, *, recorded=True, request=(), accesses=EVERY_ACCESS, straps=(), enabled=True, mode=0, **tables):
    """A case that is blocked for one reason, whoever asks."""
    steps = [(dict(access=access) | dict(request), blocked(reason, recorded=recorded)) for access in accesses]
    return case(steps, tables=Tables(**tables), enabled=enabled, mode=mode, **dict(straps))


def at(iova):
    """A request for an address of its own."""
    return dict(iova=iova)
