"""What a driver may ask of an invalidation, and how a unit without a queue does it: CCMD, IVA and IOTLB.

Issue one, wait for its end, check what was done.

Every IOTLB invalidation drains (DR and DW): when it has ended, no memory access made with what it removed is under way.

Source: VT-d 4.1, 6.5.1 and 11.4.
"""
from typing import NamedTuple, Protocol

from hw.spec.invalidation import Granularity
from hw.spec.tables import PAGE_BITS, PAGE_BYTES
from sw.errors import BadRange, InvalidationRefused, QueueIsOn
from sw.registers import TIMEOUT_CYCLES, RegisterFile, RegisterValue

__all__ = ["Invalidations", "PageBlock", "RegisterInvalidation"]


class PageBlock(NamedTuple):
    """2**address_mask pages, aligned to their number."""

    page: int
    address_mask: int

    @classmethod
    def around(cls, iova: int, size: int) -> "PageBlock":
        """The smallest one around a range. Raises BadRange if that is not made of pages."""
        if iova % PAGE_BYTES or size <= 0 or size % PAGE_BYTES:
            raise BadRange("iova", iova, f"and size {size:#x} must be multiples of {PAGE_BYTES:#x}")
        first, last = iova >> PAGE_BITS, (iova + size - 1) >> PAGE_BITS
        address_mask = (first ^ last).bit_length()
        return cls(first >> address_mask << address_mask, address_mask)

    def fits(self, cap: RegisterValue) -> bool:
        """Whether the unit can invalidate it by itself."""
        return bool(cap["PSI"]) and self.address_mask <= cap["MAMV"]


class Invalidations(Protocol):
    """Each is finished before the call returns; the granularity performed is returned."""

    async def context_global(self) -> Granularity:
        """Every cached context."""

    async def context_domain(self, domain_id: int) -> Granularity:
        """The contexts cached under this domain ID."""

    async def context_device(self, source_id: int, domain_id: int, *, function_mask: int = 0) -> Granularity:
        """One device's context, by the domain ID that *was cached*: naming another leaves the entry (VT-d 6.5.1.1)."""

    async def iotlb_global(self) -> Granularity:
        """Every cached translation."""

    async def iotlb_domain(self, domain_id: int) -> Granularity:
        """Every translation cached under this domain ID."""

    async def iotlb_pages(self, domain_id: int, iova: int, size: int, *, only_leaves: bool) -> Granularity:
        """The translations of a range, by one aligned power of two of pages; the whole domain if CAP.MAMV is too small.

        `only_leaves` is the invalidation hint: no table was unlinked, upper levels may stay cached.
        """


class RegisterInvalidation:
    """Invalidations of a unit without a queue, or before it is on: one at a time.

    Parameters
    ----------
    registers : RegisterFile
        The unit.
    timeout_cycles : int
        After which an invalidation is taken to hang.
    """

    def __init__(self, registers: RegisterFile, *, timeout_cycles: int = TIMEOUT_CYCLES) -> None:
        self._registers = registers
        self._timeout_cycles = timeout_cycles

    async def context_global(self) -> Granularity:
        """As Invalidations."""
        return await self._context(Granularity.GLOBAL)

    async def context_domain(self, domain_id: int) -> Granularity:
        """As Invalidations."""
        return await self._context(Granularity.DOMAIN_SELECTIVE, DID=domain_id)

    async def context_device(self, source_id: int, domain_id: int, *, function_mask: int = 0) -> Granularity:
        """As Invalidations."""
        return await self._context(Granularity.SELECTIVE, DID=domain_id, SID=source_id, FM=function_mask)

    async def iotlb_global(self) -> Granularity:
        """As Invalidations."""
        return await self._iotlb(Granularity.GLOBAL)

    async def iotlb_domain(self, domain_id: int) -> Granularity:
        """As Invalidations."""
        return await self._iotlb(Granularity.DOMAIN_SELECTIVE, DID=domain_id)

    async def iotlb_pages(self, domain_id: int, iova: int, size: int, *, only_leaves: bool) -> Granularity:
        """As Invalidations."""
        block = PageBlock.around(iova, size)
        if not block.fits(self._registers.cap):
            return await self.iotlb_domain(domain_id)
        await self._require_no_queue("IVA")
        await self._registers.write("IVA", AM=block.address_mask, IH=int(only_leaves), ADDR=block.page)
        return await self._iotlb(Granularity.SELECTIVE, DID=domain_id)

    async def _context(self, requested: Granularity, **fields: int) -> Granularity:
        await self._require_no_queue("CCMD")
        await self._registers.write("CCMD", ICC=1, CIRG=requested.value, **fields)
        ended = await self._registers.wait("CCMD", lambda seen: not seen["ICC"], "ICC=0", cycles=self._timeout_cycles)
        return _performed(ended, "CAIG", requested)

    async def _iotlb(self, requested: Granularity, **fields: int) -> Granularity:
        await self._require_no_queue("IOTLB")
        await self._registers.write("IOTLB", IVT=1, IIRG=requested.value, DR=1, DW=1, **fields)
        ended = await self._registers.wait("IOTLB", lambda seen: not seen["IVT"], "IVT=0", cycles=self._timeout_cycles)
        return _performed(ended, "IAIG", requested)

    async def _require_no_queue(self, register: str) -> None:
        """Raise QueueIsOn if it is: the unit would ignore the write (VT-d 4.1, 6.5.1)."""
        if (await self._registers.read("GSTS"))["QIES"]:
            raise QueueIsOn(register)


def _performed(register: RegisterValue, field: str, requested: Granularity) -> Granularity:
    """What the unit says it did: good if it is as coarse as requested, or coarser (a smaller number)."""
    performed = Granularity(register[field])
    if not Granularity.GLOBAL.value <= performed.value <= requested.value:
        raise InvalidationRefused(register.row.name, requested.name, f"{field} = {performed.name}")
    return performed
