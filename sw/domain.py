"""Domain: an address space that devices may be attached to, and the domain IDs that tag it in the unit's caches."""
from collections.abc import Iterable
from dataclasses import dataclass, field

from hw.spec.codec import encode
from hw.spec.tables import PAGE_BITS, ContextEntry, TranslationType
from sw.errors import BadRange, DomainIdUnavailable
from sw.intervals import Permission
from sw.tables import SecondStageTable

__all__ = ["Domain", "DomainIds", "Stale"]


@dataclass(frozen=True)
class Stale:
    """What caches may hold of a change until they are invalidated, and what must not be freed before."""

    domain_id: int
    iova: int
    size: int
    unlinked: tuple[int, ...] = ()  # table pages

    @property
    def only_leaves(self) -> bool:
        """Whether upper-level caches may be kept: the invalidation hint."""
        return not self.unlinked


@dataclass(eq=False)
class Domain:
    """One address space.

    Parameters
    ----------
    domain_id : int
        Its tag in the unit's caches, unique among the domains of the unit.
    table : SecondStageTable or None
        Its tables; None: pass-through, output = input.
    address_width : int
        AW of its context entries.
    """

    domain_id: int
    table: SecondStageTable | None
    address_width: int
    devices: set[int] = field(default_factory=set)  # source IDs whose requests may carry the tag

    @property
    def top(self) -> int:
        """HPA of the top table; 0 if pass-through."""
        return 0 if self.table is None else self.table.top

    @property
    def table_pages(self) -> list[int]:
        """HPA of every table page; none if pass-through."""
        return [] if self.table is None else self.table.pages

    def context_entry(self) -> int:
        """The present context entry of a device of this domain."""
        if self.table is None:
            return int(encode(ContextEntry, present=1, translation_type=TranslationType.PASS_THROUGH,
                              address_width=self.address_width, domain_id=self.domain_id))
        return int(encode(ContextEntry, present=1, translation_type=TranslationType.MULTI_LEVEL,
                          second_stage_pointer=self.table.top >> PAGE_BITS, address_width=self.address_width,
                          domain_id=self.domain_id))

    def _tables(self) -> SecondStageTable:
        if self.table is None:
            raise BadRange("domain", self.domain_id, "is pass-through and has no tables to change")
        return self.table

    async def map(self, iova: int, hpa: int, size: int, permission: Permission = Permission.READ_WRITE) -> Stale:
        """Map a range. What is returned needs an invalidation only in caching mode (VT-d 4.1, 6.1)."""
        await self._tables().map(iova, hpa, size, permission)
        return Stale(self.domain_id, iova, size)

    async def unmap(self, iova: int, size: int) -> Stale:
        """Unmap a range. What is returned must be invalidated, and only then its pages freed."""
        unlinked = await self._tables().unmap(iova, size)
        return Stale(self.domain_id, iova, size, tuple(unlinked))

    def iova_to_hpa(self, iova: int) -> int | None:
        """Where an IOVA goes, or None."""
        return iova if self.table is None else self.table.iova_to_hpa(iova)


class DomainIds:
    """Which domain IDs are taken, and which the caches may still know from a former use.

    ID 0 is never given out: in caching mode it tags what is not present.

    Parameters
    ----------
    width : int
        CAP.ND as a number of bits.
    """

    def __init__(self, width: int) -> None:
        self.end = 1 << width
        self._taken: set[int] = {0}
        self._clean: set[int] = set()

    @classmethod
    def of_code(cls, nd: int) -> "DomainIds":
        """From the field CAP.ND."""
        return cls(4 + 2 * nd)

    def reserve(self, domain_ids: Iterable[int]) -> None:
        """Take these IDs. Raises DomainIdUnavailable if one is taken or too wide; then none is."""
        wanted = list(domain_ids)
        for domain_id in wanted:
            if not 0 < domain_id < self.end:
                raise DomainIdUnavailable(domain_id, f"must be between 1 and {self.end - 1}")
            if domain_id in self._taken:
                raise DomainIdUnavailable(domain_id, "is taken")
        self._taken.update(wanted)

    def allocate(self) -> int:
        """The lowest free ID, taken. Raises DomainIdUnavailable if there is none."""
        for domain_id in range(1, self.end):
            if domain_id not in self._taken:
                self._taken.add(domain_id)
                return domain_id
        raise DomainIdUnavailable(self.end, f"all IDs from 1 to {self.end - 1} are taken")

    def release(self, domain_id: int) -> None:
        """Give an ID back; its caches must have been invalidated. Raises DomainIdUnavailable if it is not taken."""
        if domain_id not in self._taken or not domain_id:
            raise DomainIdUnavailable(domain_id, "is not taken, so it cannot be released")
        self._taken.remove(domain_id)
        self._clean.discard(domain_id)

    def may_be_stale(self, domain_id: int) -> bool:
        """Whether caches may hold lines of this tag that nobody of ours made."""
        return domain_id not in self._clean

    def cleaned(self, domain_id: int) -> None:
        """The IOTLB was invalidated for this ID."""
        self._clean.add(domain_id)
