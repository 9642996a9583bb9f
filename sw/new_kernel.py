"""The kernel that comes: it has memory, registers and the seal key, and nothing else.

    1 verify   the store; adopt the tables that the unit is using; refuse before anything is touched
    2 charge   the unit uses this kernel's invalidation queue from here on, and no memory of the old kernel but tables
    3 zap      the devices that were not preserved
    4 build    fresh tables for the same translations, or for copies of a domain's pages; compare them with the old ones
    5 replace  the domain of each preserved device, domain by domain
    6 free     a domain's old tables, poisoned, when its last device has left

What each step refuses leaves the machine as the step before left it; up to 1 nothing is written at all.
"""
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from hw.spec.bench import Phase
from hw.spec.tables import PAGE_BYTES
from sw.domain import Domain
from sw.driver import Iommu
from sw.errors import AdoptionRefused, BadRange
from sw.faults import FaultLog
from sw.intervals import Interval, relocated
from sw.memory import PageAllocator
from sw.page_copy import copy_pages, pages_of
from sw.persist.records import Handover
from sw.persist.store import MemoryStore
from sw.replacement import Replacement
from sw.strategies import AtomicSwap, BreakBeforeMake, Strategy
from sw.tables import SecondStageTable
from sw.traffic import TrafficEngine
from sw.transport import Transport
from sw.verify import require_equal

__all__ = ["NewKernelPlan", "adopt", "run_new_kernel"]

ARENA_BASE = 0x50_0000_0000  # 320 GiB: above the memory of the machines we know, below 39 bits
ARENA_BYTES = 64 << 20


@dataclass(frozen=True)
class NewKernelPlan:
    """What the experiment asks of the new kernel.

    Parameters
    ----------
    key : bytes
        The seal key.
    strategy : str
        `atomic_swap` or `break_before_make`.
    cold : bool
        break_before_make: invalidate before the break too.
    pause_cycles : int
        break_before_make: between the break and the invalidation after it.
    armed : frozenset of int
        atomic_swap: devices whose store waits, in hardware, for a walk and a hit in flight.
    assign : mapping
        New domain ID by old one; others get the next free one.
    relocate : mapping
        By source ID: the new tables of its domain map copies of the pages, this many bytes further up.
    pages_copied : bool
        The experiment has made those copies.
    """

    key: bytes
    strategy: str = "atomic_swap"
    cold: bool = False
    armed: frozenset[int] = frozenset()
    assign: Mapping[int, int] = field(default_factory=dict)
    relocate: Mapping[int, int] = field(default_factory=dict)
    pages_copied: bool = False
    pause_cycles: int = 0
    arena_base: int = ARENA_BASE
    arena_bytes: int = ARENA_BYTES

    def __post_init__(self) -> None:
        if self.strategy not in ("atomic_swap", "break_before_make"):
            raise ValueError(f"strategy must be atomic_swap or break_before_make, not {self.strategy!r}")
        if self.armed and self.strategy != "atomic_swap":
            raise ValueError("only the store of atomic_swap can be armed")

    def strategy_for(self, source_id: int) -> Strategy:
        """How this device is replaced."""
        if self.strategy == "break_before_make":
            return BreakBeforeMake(cold=self.cold, pause_cycles=self.pause_cycles)
        return AtomicSwap(armed=source_id in self.armed)


async def adopt(iommu: Iommu, handover: Handover) -> None:
    """Take over what the unit is using, if it is what was handed over; nothing is written.

    Raises
    ------
    AdoptionRefused, TableMalformed
        If it is not.
    """
    registers = iommu.registers
    if (registers.cap.value, registers.ecap.value) != (handover.unit.cap, handover.unit.ecap):
        raise AdoptionRefused(f"the records are of a unit with CAP {handover.unit.cap:#x}, ECAP "
                              f"{handover.unit.ecap:#x}; here {registers.cap} {registers.ecap}")
    await iommu.adopt(handover.preserved)
    contexts = iommu.contexts
    if contexts.root_table != handover.unit.root_table:
        raise AdoptionRefused(f"the unit's root table is at {contexts.root_table:#x}, recorded was "
                              f"{handover.unit.root_table:#x}")
    _require_preserved("unit", contexts.pages, handover.unit_pages)
    for source_id in sorted(handover.preserved):
        record = handover.domains[handover.devices[source_id].domain_id]
        domain = iommu.domain_of(source_id)
        found = (domain.domain_id, domain.top, domain.address_width, domain.table is None)
        if found != (record.domain_id, record.top_table, record.address_width, record.pass_through):
            raise AdoptionRefused(f"device {source_id:#06x} uses domain {domain.domain_id} with tables at "
                                  f"{domain.top:#x}; its record says {record}")
        _require_preserved(record.name, domain.table_pages, handover.domain_pages[record.domain_id])
    iommu.allocator.reserve(handover.unit_pages)
    for pages in handover.domain_pages.values():
        iommu.allocator.reserve(pages)


def _require_preserved(name: str, used: list[int], preserved: tuple[int, ...]) -> None:
    lost = sorted(set(used) - set(preserved))
    if lost:
        raise AdoptionRefused(f"{name}: the unit walks the page {lost[0]:#x}, which was not preserved")


@dataclass
class _Move:
    """One domain on its way to new tables."""

    old: Domain
    new: Domain
    offset: int
    expected: list[Interval]
    copied: list[int]  # pages that this kernel copies
    old_tables: list[int]

    def report(self) -> dict[str, Any]:
        """For the kernel's report."""
        return {"old_domain_id": self.old.domain_id, "new_domain_id": self.new.domain_id, "offset": self.offset,
                "old_tables": self.old_tables, "new_tables": self.new.table_pages,
                "intervals": len(self.expected), "bytes": sum(interval.size for interval in self.expected)}


def _offsets(handover: Handover, plan: NewKernelPlan) -> dict[int, int]:
    """By domain ID, how far its pages move. Raises BadRange if the plan contradicts itself or the records."""
    for domain_id in plan.assign:
        if domain_id not in handover.domains:
            raise BadRange("assigned domain ID", domain_id, f"is not preserved; these are: {sorted(handover.domains)}")
    for source_id in plan.armed:
        if source_id not in handover.preserved:
            raise BadRange("armed device", source_id, "is not preserved")
    offsets: dict[int, int] = {}
    for source_id, offset in plan.relocate.items():
        if source_id not in handover.preserved:
            raise BadRange("relocated device", source_id, "is not preserved")
        if offset % PAGE_BYTES:
            raise BadRange("relocate offset", offset, f"must be a multiple of {PAGE_BYTES:#x}")
        domain_id = handover.devices[source_id].domain_id
        if offsets.setdefault(domain_id, offset) != offset:
            raise BadRange("relocate offset", offset, f"domain {domain_id} moves by {offsets[domain_id]:#x} already")
    return offsets


def _require_free(iommu: Iommu, places: list[Interval]) -> None:
    """The place of a copy must be neither in the arena, nor a table, nor a page that a device reaches."""
    allocator = iommu.allocator
    claims = [(allocator.base, allocator.size, "this kernel's own memory")]
    claims += [(page, PAGE_BYTES, "a table") for page in allocator.in_use]
    claims += [(mapped.hpa, mapped.size, f"a page of domain {domain.domain_id}") for domain in iommu.domains.values()
               if domain.table is not None for mapped in domain.table.intervals()]
    for place in places:
        for base, size, owner in claims:
            if base < place.hpa + place.size and place.hpa < base + size:
                raise BadRange("relocated page", max(base, place.hpa), f"falls on {owner}")


async def _build(transport: Transport, iommu: Iommu, old: Domain, plan: NewKernelPlan, offset: int) -> _Move:
    """The new domain for an old one: the same translations, or those of copies; read back and compared."""
    new = await iommu.new_domain(old.address_width, domain_id=plan.assign.get(old.domain_id),
                                 pass_through=old.table is None)
    if old.table is None or new.table is None:
        if offset:
            raise BadRange("relocate offset", offset, f"domain {old.domain_id} is pass-through: it has no tables")
        return _Move(old, new, offset, [], [], [])
    was = old.table.intervals()
    expected = relocated(was, offset)
    copied = []
    if offset:
        _require_free(iommu, expected)
        copied = [] if plan.pages_copied else pages_of(was)
    await new.table.map_all(expected)
    reread = await SecondStageTable.load(transport, iommu.allocator, new.table.format, new.table.top)
    require_equal(was, relocated(reread.intervals(), -offset))
    return _Move(old, new, offset, expected, copied, old.table.pages)


async def run_new_kernel(transport: Transport, plan: NewKernelPlan, *, say: Callable[[str], None]) -> dict[str, Any]:
    """The life of the new kernel. Returns its report."""
    engine = TrafficEngine(transport)
    store = MemoryStore(transport, plan.key)
    handover = await Handover.load(store)
    say(f"verified {len(await store.names())} records: {len(handover.preserved)} devices are preserved")
    offsets = _offsets(handover, plan)
    allocator = PageAllocator(transport, base=plan.arena_base, size=plan.arena_bytes)
    iommu = await Iommu.open(transport, allocator, ruler=engine)
    await adopt(iommu, handover)
    await engine.set_phase(Phase.ADOPT)
    let_go = await iommu.take_charge()
    zapped = await iommu.zap()
    say(f"adopted {len(handover.domains)} domains in place; zapped {len(zapped)} devices")
    moves = [await _build(transport, iommu, iommu.domains[domain_id], plan, offsets.get(domain_id, 0))
             for domain_id in sorted(handover.domains)]
    say(f"built new tables for {len(moves)} domains; all {sum(len(move.expected) for move in moves)} intervals agree")
    await store.erase()  # from the first replacement on the records are no longer true
    replacements: list[Replacement] = []
    for move in moves:
        await copy_pages(transport, move.copied, move.offset)
        for source_id in sorted(move.old.devices):
            replacements.append(await iommu.replace(source_id, move.new, plan.strategy_for(source_id)))
            say(f"device {source_id:#06x}: domain {move.old.domain_id} -> {move.new.domain_id} by {plan.strategy}, "
                f"{replacements[-1].swap_cycles} cycles")
        await engine.set_phase(Phase.FREE)
        await iommu.release(move.old)
        await engine.set_phase(Phase.STEADY)
    faults, overflowed = await FaultLog(transport, iommu.registers).take()
    say(f"replaced {len(replacements)} devices; freed {sum(len(move.old_tables) for move in moves)} table pages")
    return {"kernel": "new", "strategy": plan.strategy, "cold": plan.cold, "zapped_devices": zapped,
            "queue_pages_let_go": list(let_go),
            "replaced_devices": [{**asdict(done), "swap_cycles": done.swap_cycles} for done in replacements],
            "domains": [move.report() for move in moves], "faults": [str(fault) for fault in faults],
            "fault_overflow": overflowed}
