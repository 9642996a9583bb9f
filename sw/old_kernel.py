"""The kernel that goes: it runs a machine on captured tables, and leaves behind what the next one needs.

    1 load    the captured tables into memory
    2 enable  the invalidation queue, in memory of its own; RTADDR, SRTP, TE
    3 run     the traffic engine, for as long as asked
    4 persist the unit, the domains and devices that are preserved; sealed

Then it ends, and the DMA goes on.
"""
from collections.abc import Callable, Collection
from typing import Any

from hw.spec.bench import Phase
from hw.spec.tables import PAGE_BITS, PAGE_BYTES
from sw.capture import Capture
from sw.driver import Iommu
from sw.errors import NotAttached
from sw.memory import PageAllocator
from sw.persist.records import DeviceRecord, DomainRecord, Handover, UnitRecord
from sw.persist.store import MemoryStore, page_ranges
from sw.traffic import TrafficEngine
from sw.transport import Transport

__all__ = ["ARENA_BASE", "ARENA_BYTES", "handover_of", "load_tables", "run_old_kernel"]

ARENA_BASE = 0x4F_0000_0000  # 316 GiB: above the memory of the machines we know, below the next kernel's memory
ARENA_BYTES = 1 << 20


async def load_tables(transport: Transport, capture: Capture) -> int:
    """Put a capture's table pages where they were. Returns how many."""
    pages = capture.table_pages()
    for first, count in page_ranges(pages):
        whole = b"".join(pages[number << PAGE_BITS] for number in range(first, first + count))
        await transport.write_memory(first << PAGE_BITS, whole)
    return len(pages)


def handover_of(iommu: Iommu, preserved: Collection[int]) -> Handover:
    """What must survive so that these devices go on doing DMA.

    Raises
    ------
    NotAttached
        If one of them has no domain.
    """
    devices = {source_id: DeviceRecord(source_id, domain.domain_id, source_id in preserved)
               for domain in iommu.domains.values() for source_id in sorted(domain.devices)}
    for source_id in preserved:
        if source_id not in devices:
            raise NotAttached(source_id)
    kept = {iommu.domain_of(source_id).domain_id: iommu.domain_of(source_id) for source_id in sorted(preserved)}
    records = {domain_id: DomainRecord(domain_id, domain.top,
                                       domain.table.format.levels if domain.table else 0, domain.address_width,
                                       domain.table is None)
               for domain_id, domain in kept.items()}
    pages = {domain_id: tuple(domain.table_pages) for domain_id, domain in kept.items()}
    unit = UnitRecord(iommu.contexts.root_table, iommu.registers.cap.value, iommu.registers.ecap.value)
    return Handover(unit, tuple(iommu.contexts.pages), records, pages, devices)


async def run_old_kernel(transport: Transport, capture: Capture, *, key: bytes, cycles: int,
                         preserved: Collection[int] | None, say: Callable[[str], None]) -> dict[str, Any]:
    """The life of the old kernel. `preserved`: source IDs, None for every device. Returns its report."""
    engine = TrafficEngine(transport)
    await engine.set_phase(Phase.STEADY)
    table_pages = await load_tables(transport, capture)
    say(f"loaded {table_pages} table pages of {capture.name}")
    # All tables are the capture's: of this kernel's own memory is the unit's queue, and nothing else.
    allocator = PageAllocator(transport, base=ARENA_BASE, size=ARENA_BYTES)
    iommu = await Iommu.open(transport, allocator, ruler=engine)
    await iommu.enable(root_table=capture.rtaddr["RTA"] << PAGE_BITS)
    device_count = sum(len(domain.devices) for domain in iommu.domains.values())
    say(f"translation is on: {device_count} devices in {len(iommu.domains)} domains")
    await engine.start()
    await transport.pause(cycles)
    say(f"ran for {cycles} cycles: {await engine.total()} DMAs done")
    await engine.set_phase(Phase.FREEZE)
    attached = {source_id for domain in iommu.domains.values() for source_id in domain.devices}
    handover = handover_of(iommu, attached if preserved is None else preserved)
    await handover.save(MemoryStore(transport, key))
    page_count = len(handover.unit_pages) + sum(len(pages) for pages in handover.domain_pages.values())
    say(f"preserved {len(handover.preserved)} devices, {len(handover.domains)} domains, {page_count} table pages")
    await engine.set_phase(Phase.KEXEC)
    return {"kernel": "old", "capture": capture.name, "cycle": await engine.cycle(),
            "devices": device_count, "domains": len(iommu.domains),
            "preserved_devices": sorted(handover.preserved), "preserved_domains": sorted(handover.domains),
            "preserved_pages": page_count, "preserved_bytes": page_count * PAGE_BYTES}
