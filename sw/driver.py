"""Iommu: one translation unit, its context tables, the domains of its devices.

    enable, or adopt (translation is on already) and take_charge
        attach(source_id, domain)              a device that has no domain
        replace(source_id, domain, strategy)   a device that has one, while it does DMA
        unmap, invalidate                      change a domain that devices use
        detach(source_id)

Order of work in a replacement (VT-d 4.1, 6.5.3 and the experience of the drivers): the new tables are complete; the
caches hold nothing under the new domain ID; the device is recorded under *both* domains; the entry changes; the old
context, then the old domain's translations are invalidated; the device is recorded under the new domain alone. Only
then may anything of the old one be freed.
"""
from collections.abc import Collection

from hw.spec.bench import Phase
from hw.spec.codec import decode
from hw.spec.tables import PAGE_BITS, ContextEntry
from sw.armed_update import ArmedUpdate
from sw.contexts import ContextTables
from sw.domain import Domain, DomainIds, Stale
from sw.entry_update import plan
from sw.errors import AdoptionRefused, AlreadyAttached, BadRange, EntryChanged, NotAttached
from sw.fault_events import mask_events, send_fault_events
from sw.intervals import Permission
from sw.invalidation import Invalidations, RegisterInvalidation
from sw.invalidation_queue import QueuedInvalidation
from sw.memory import PageAllocator
from sw.registers import RegisterFile
from sw.replacement import Replacement
from sw.strategies import Ruler, Run, Silent, Strategy
from sw.survey import survey
from sw.table_format import TableFormat
from sw.tables import SecondStageTable
from sw.transport import Transport

__all__ = ["Iommu"]

_STORE_BITS = 64


class Iommu:
    """One unit. Make one with `Iommu.open`, then `enable` or `adopt`.

    Parameters
    ----------
    transport : Transport
        The way to the machine.
    registers : RegisterFile
        The unit's registers.
    allocator : PageAllocator
        Where tables are put.
    ruler : Ruler
        Who is told of phases.
    """

    def __init__(self, transport: Transport, registers: RegisterFile, allocator: PageAllocator,
                 ruler: Ruler) -> None:
        self._transport = transport
        self.registers = registers
        self.allocator = allocator
        self._ruler = ruler
        self._queue = QueuedInvalidation(transport, registers, allocator) if registers.ecap["QI"] else None
        self.invalidation: Invalidations = self._queue or RegisterInvalidation(registers)
        self.domain_ids = DomainIds.of_code(registers.cap["ND"])
        self.domains: dict[int, Domain] = {}
        self._contexts: ContextTables | None = None
        self._domain_of: dict[int, Domain] = {}
        self._strangers: set[int] = set()      # devices found at adoption that are not ours
        self._stranger_ids: set[int] = set()   # domain IDs that only they use

    @classmethod
    async def open(cls, transport: Transport, allocator: PageAllocator, *, ruler: Ruler | None = None) -> "Iommu":
        """Find the unit's registers; change nothing."""
        return cls(transport, await RegisterFile.open(transport), allocator, ruler or Silent())

    @property
    def contexts(self) -> ContextTables:
        """Root and context tables. Raises AdoptionRefused before `enable` or `adopt`."""
        if self._contexts is None:
            raise AdoptionRefused("the unit has no tables yet; enable it or adopt its tables first")
        return self._contexts

    def domain_of(self, source_id: int) -> Domain:
        """The domain of a device. Raises NotAttached."""
        if source_id not in self._domain_of:
            raise NotAttached(source_id)
        return self._domain_of[source_id]

    async def enable(self, *, root_table: int | None = None, fault_events: tuple[int, int] | None = None) -> None:
        """Latch a root table and turn translation on: an empty one of our own, or tables that stand in memory already.

        In a driver's order: queue, root table, global invalidations, fault events, translation.

        Parameters
        ----------
        root_table : int
            HPA of tables that stand in memory.
        fault_events : tuple of int
            HPA and data of the message that tells of a fault. None: no messages.

        Raises
        ------
        AdoptionRefused, TableMalformed
            If those tables are not ones that the unit accepts; then nothing was programmed.
        """
        if root_table is None:
            self._contexts = await ContextTables.create(self._transport, self.allocator)
        else:
            await self._take_over(root_table)
        await self.take_charge()
        await self.registers.write("RTADDR", RTA=self.contexts.root_table >> PAGE_BITS)
        await self.registers.command(command="SRTP", status="RTPS")
        if not self.registers.cap["ESRTPS"]:
            await self.invalidation.context_global()
            await self.invalidation.iotlb_global()
        if fault_events is not None:
            hpa, data = fault_events
            await send_fault_events(self.registers, hpa=hpa, data=data)
        await self.registers.command(command="TE", status="TES")

    async def take_charge(self) -> tuple[int, ...]:
        """Make the unit use no memory of a predecessor but tables: mask its events, put our own queue in place of its.

        Translation and DMA go on. `enable` does it; after `adopt` it is the first thing that changes the unit.

        Returns
        -------
        tuple of int
            HPA of the pages of the predecessor's queue: the unit has let go of them. None if there was no queue.
        """
        await mask_events(self.registers)
        if self._queue is None:
            return ()
        await self._queue.start()
        return self._queue.predecessor_pages

    async def adopt(self, preserved: Collection[int] | None = None) -> None:
        """Take over tables that the unit is using: nothing is written, neither to memory nor to a register.

        The unit's queue stays with whoever left it on until `take_charge`, or the first invalidation.

        Only the devices in `preserved` (None: all) are taken over; the others wait for `zap`, and their second-stage
        tables are not even read.

        Raises
        ------
        AdoptionRefused
            If translation is off, not in legacy mode, or two tables stand under one domain ID.
        TableMalformed
            If a table is not one that the unit accepts.
        """
        status = await self.registers.read("GSTS")
        if not status["TES"]:
            raise AdoptionRefused(f"translation is off ({status}); enable a unit that nobody left running")
        root = await self.registers.read("RTADDR")
        if root["TTM"]:
            raise AdoptionRefused(f"{root}: only legacy mode, TTM = 0, can be adopted")
        await self._take_over(root["RTA"] << PAGE_BITS, preserved)

    async def _take_over(self, root_table: int, preserved: Collection[int] | None = None) -> None:
        """Know the domains and devices of tables that stand in memory, and the domain IDs they use."""
        found = await survey(self._transport, self.allocator, self.registers, root_table, preserved)
        self.domain_ids.reserve(found.domains)
        self._stranger_ids = {domain_id for domain_id in (decode(ContextEntry, entry).domain_id
                                                          for entry in found.strangers.values())
                              if 0 < domain_id < self.domain_ids.end and domain_id not in found.domains}
        self.domain_ids.reserve(self._stranger_ids)
        self._contexts, self.domains, self._strangers = found.contexts, found.domains, set(found.strangers)
        self._domain_of = {source_id: domain for domain in found.domains.values() for source_id in domain.devices}

    async def new_domain(self, address_width: int, *, domain_id: int | None = None,
                         pass_through: bool = False) -> Domain:
        """An empty domain, or a pass-through one, under a domain ID of our choice or the next free one."""
        table_format = TableFormat.of_unit(self.registers, address_width)
        if pass_through and not self.registers.ecap["PT"]:
            raise BadRange("ECAP.PT", 0, "this unit has no pass-through")
        if domain_id is None:
            domain_id = self.domain_ids.allocate()
        else:
            self.domain_ids.reserve([domain_id])
        table = None if pass_through else await SecondStageTable.create(self._transport, self.allocator, table_format)
        domain = self.domains[domain_id] = Domain(domain_id, table, address_width)
        return domain

    async def attach(self, source_id: int, domain: Domain) -> None:
        """Give a device its first domain. Raises AlreadyAttached if it has one."""
        if source_id in self._domain_of:
            raise AlreadyAttached(source_id, self._domain_of[source_id].domain_id)
        await self.contexts.ensure_bus(source_id, self.allocator)
        await self._clean(domain)
        domain.devices.add(source_id)
        self._domain_of[source_id] = domain
        place = self.contexts.entry_hpa(source_id)
        old = await self.contexts.read(source_id)
        for write in plan(old, domain.context_entry(), quantum=_STORE_BITS).writes:
            await self._transport.store64(place + write.index * _STORE_BITS // 8, write.after)
        if self.registers.cap["CM"]:  # not-present entries are cached under domain ID 0
            await self.invalidation.context_device(source_id, 0)
            await self.invalidation.iotlb_domain(domain.domain_id)

    async def detach(self, source_id: int) -> None:
        """Take a device's domain away: from now on its DMA is blocked."""
        domain = self.domain_of(source_id)
        await self._clear_entry(source_id)
        domain.devices.discard(source_id)
        del self._domain_of[source_id]

    async def _clear_entry(self, source_id: int) -> None:
        """Make a present entry not present, invalidate by the domain ID that stood in it, then clear the rest."""
        place = self.contexts.entry_hpa(source_id)
        old = await self.contexts.read(source_id)
        clear, *rest = plan(old, 0, quantum=_STORE_BITS).writes
        await self._transport.store64(place + clear.index * _STORE_BITS // 8, clear.after)
        await self.invalidation.context_device(source_id, decode(ContextEntry, old).domain_id)
        await self.invalidation.iotlb_domain(decode(ContextEntry, old).domain_id)
        for write in rest:
            await self._transport.store64(place + write.index * _STORE_BITS // 8, write.after)

    async def replace(self, source_id: int, domain: Domain, strategy: Strategy) -> Replacement:
        """Move a device to another domain while it does DMA, in the order at the top of this file.

        Raises
        ------
        EntryChanged
            If its entry is not what it was when the plan was made; then the device is on its old domain. After any
            other error the device stays recorded under both domains: nobody knows which one it uses.
        """
        old_domain = self.domain_of(source_id)
        if domain is old_domain:
            raise AlreadyAttached(source_id, domain.domain_id)
        old = await self.contexts.read(source_id)
        steps = strategy.steps(source_id, old, domain.context_entry())
        await self._clean(domain)
        domain.devices.add(source_id)
        run = Run(self._transport, self.invalidation, ArmedUpdate(self._transport), self._ruler,
                  self.contexts.entry_hpa(source_id))
        try:
            for step in steps:
                await step.execute(run)
        except EntryChanged:
            domain.devices.discard(source_id)
            raise
        done_cycle = await self._ruler.cycle()
        await self._ruler.set_phase(Phase.STEADY)
        old_domain.devices.discard(source_id)
        self._domain_of[source_id] = domain
        return Replacement(source_id, old_domain.domain_id, domain.domain_id, strategy.name,
                           tuple(str(step) for step in steps), run.triggered, run.commit_cycle or 0, done_cycle)

    async def map(self, domain: Domain, iova: int, hpa: int, size: int,
                  permission: Permission = Permission.READ_WRITE) -> None:
        """Map a range in a domain; in caching mode invalidate, for the unit may have cached that it was not mapped."""
        stale = await domain.map(iova, hpa, size, permission)
        if self.registers.cap["CM"]:
            await self.invalidate(stale)

    async def unmap(self, domain: Domain, iova: int, size: int) -> None:
        """Unmap a range of a domain, invalidate, and only then free the tables that became empty."""
        await self.invalidate(await domain.unmap(iova, size))

    async def invalidate(self, stale: Stale) -> None:
        """Drop what caches hold of a change, then free the tables that it unlinked."""
        await self.invalidation.iotlb_pages(stale.domain_id, stale.iova, stale.size, only_leaves=stale.only_leaves)
        for page in stale.unlinked:
            await self.allocator.free(page)

    async def release(self, domain: Domain) -> None:
        """Free and poison the tables of a domain that no device has any more, and give its ID back."""
        if domain.devices:
            raise AlreadyAttached(min(domain.devices), domain.domain_id)
        await self.invalidation.iotlb_domain(domain.domain_id)
        for page in domain.table_pages:
            await self.allocator.free(page)
        del self.domains[domain.domain_id]
        self.domain_ids.release(domain.domain_id)

    async def zap(self) -> list[int]:
        """Clear the context entry of every device that `adopt` did not take over, and what caches hold of it.

        Returns
        -------
        list of int
            Their source IDs.
        """
        zapped = sorted(self._strangers)
        for source_id in zapped:
            await self._clear_entry(source_id)
            self._strangers.remove(source_id)
        for domain_id in self._stranger_ids:
            self.domain_ids.release(domain_id)
        self._stranger_ids.clear()
        return zapped

    async def _clean(self, domain: Domain) -> None:
        """Invalidate a domain ID that caches may know from a former use, once."""
        if self.domain_ids.may_be_stale(domain.domain_id):
            await self.invalidation.iotlb_domain(domain.domain_id)
            self.domain_ids.cleaned(domain.domain_id)
