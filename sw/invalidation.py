"""Invalidations through the registers CCMD, IVA and IOTLB: issue one, wait for its end, check what was done.

Every IOTLB invalidation drains (DR and DW): when it has ended, no memory access made with what it removed is under way.

Source: VT-d 4.1, 6.5.1 and 11.4.
"""
from hw.spec.invalidation import Granularity
from hw.spec.tables import PAGE_BITS, PAGE_BYTES
from sw.errors import BadRange, InvalidationRefused
from sw.registers import TIMEOUT_CYCLES, RegisterFile, RegisterValue

__all__ = ["RegisterInvalidation"]


class RegisterInvalidation:
    """One invalidation at a time, each finished before the call returns.

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
        """Every cached context. Returns the granularity performed, here and below."""
        return await self._context(Granularity.GLOBAL)

    async def context_domain(self, domain_id: int) -> Granularity:
        """The contexts cached under this domain ID."""
        return await self._context(Granularity.DOMAIN_SELECTIVE, DID=domain_id)

    async def context_device(self, source_id: int, domain_id: int, *, function_mask: int = 0) -> Granularity:
        """One device's context, by the domain ID that *was cached*: naming another leaves the entry (VT-d 6.5.1.1)."""
        return await self._context(Granularity.SELECTIVE, DID=domain_id, SID=source_id, FM=function_mask)

    async def iotlb_global(self) -> Granularity:
        """Every cached translation."""
        return await self._iotlb(Granularity.GLOBAL)

    async def iotlb_domain(self, domain_id: int) -> Granularity:
        """Every translation cached under this domain ID."""
        return await self._iotlb(Granularity.DOMAIN_SELECTIVE, DID=domain_id)

    async def iotlb_pages(self, domain_id: int, iova: int, size: int, *, only_leaves: bool) -> Granularity:
        """The translations of a range, by one aligned power of two of pages; the whole domain if CAP.MAMV is too small.

        `only_leaves` is the invalidation hint: no table was unlinked, upper levels may stay cached.
        """
        if iova % PAGE_BYTES or size <= 0 or size % PAGE_BYTES:
            raise BadRange("iova", iova, f"and size {size:#x} must be multiples of {PAGE_BYTES:#x}")
        first, last = iova >> PAGE_BITS, (iova + size - 1) >> PAGE_BITS
        address_mask = (first ^ last).bit_length()
        if not self._registers.cap["PSI"] or address_mask > self._registers.cap["MAMV"]:
            return await self.iotlb_domain(domain_id)
        page = first >> address_mask << address_mask
        await self._registers.write("IVA", AM=address_mask, IH=int(only_leaves), ADDR=page)
        return await self._iotlb(Granularity.SELECTIVE, DID=domain_id)

    async def _context(self, requested: Granularity, **fields: int) -> Granularity:
        await self._registers.write("CCMD", ICC=1, CIRG=requested.value, **fields)
        ended = await self._registers.wait("CCMD", lambda seen: not seen["ICC"], "ICC=0", cycles=self._timeout_cycles)
        return _performed(ended, "CAIG", requested)

    async def _iotlb(self, requested: Granularity, **fields: int) -> Granularity:
        await self._registers.write("IOTLB", IVT=1, IIRG=requested.value, DR=1, DW=1, **fields)
        ended = await self._registers.wait("IOTLB", lambda seen: not seen["IVT"], "IVT=0", cycles=self._timeout_cycles)
        return _performed(ended, "IAIG", requested)


def _performed(register: RegisterValue, field: str, requested: Granularity) -> Granularity:
    """What the unit says it did: good if it is as coarse as requested, or coarser (a smaller number)."""
    performed = Granularity(register[field])
    if not Granularity.GLOBAL.value <= performed.value <= requested.value:
        raise InvalidationRefused(register.row.name, requested.name, f"{field} = {performed.name}")
    return performed
