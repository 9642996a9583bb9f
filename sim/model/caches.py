"""What an invalidation covers, and when it was complete.

Source: VT-d 4.1, 6.5.1 and 6.5.2 (coverage); the rest is ours.
"""
from collections import deque
from collections.abc import Callable
from typing import NamedTuple

from hw.spec.invalidation import (
    FUNCTION_MASKS,
    ContextCacheDescriptor,
    DescriptorHeader,
    DescriptorType,
    Granularity,
    Invalidation,
    InvalidationKind,
    IotlbDescriptor,
)
from hw.spec.tables import LEVEL_BITS
from sim.model.fields import field

__all__ = ["Completed", "InvalidationHistory", "InvalidationView"]

_FIELDS = tuple(field(Invalidation, name) for name in (
    "kind", "granularity", "domain_id", "source_id", "function_mask", "page", "address_mask", "drain", "hint"))
_DESCRIPTOR_TYPE = field(DescriptorHeader, "type")
_OF_CONTEXT_CACHE = tuple(field(ContextCacheDescriptor, name) for name in (
    "granularity", "domain_id", "source_id", "function_mask"))
_OF_IOTLB = tuple(field(IotlbDescriptor, name) for name in (
    "granularity", "domain_id", "page", "address_mask", "drain_reads", "drain_writes", "hint"))
_CONTEXT_CACHE = InvalidationKind.CONTEXT_CACHE.value
_IOTLB = InvalidationKind.IOTLB.value
_GLOBAL = Granularity.GLOBAL.value
_SELECTIVE = Granularity.SELECTIVE.value


class InvalidationView(NamedTuple):
    """An `Invalidation` as integers."""

    kind: int
    granularity: int
    domain_id: int = 0
    source_id: int = 0
    function_mask: int = 0
    page: int = 0
    address_mask: int = 0
    drain: int = 0
    hint: int = 0        # IH: only leaves have changed

    @classmethod
    def of(cls, encoded: int) -> "InvalidationView":
        """The fields of an encoded one."""
        return cls(*(each.get(encoded) for each in _FIELDS))

    @classmethod
    def of_descriptor(cls, low: int) -> "InvalidationView | None":
        """What a legal descriptor, by its first 16 bytes, invalidates; None if it is not for our caches."""
        kind = _DESCRIPTOR_TYPE.get(low)
        if kind == DescriptorType.CONTEXT_CACHE.value:
            granularity, domain_id, source_id, function_mask = (each.get(low) for each in _OF_CONTEXT_CACHE)
            return cls(_CONTEXT_CACHE, granularity, domain_id, source_id, function_mask).canonical()
        if kind == DescriptorType.IOTLB.value:
            granularity, domain_id, page, order, reads, writes, hint = (each.get(low) for each in _OF_IOTLB)
            return cls(_IOTLB, granularity, domain_id, page=page, address_mask=order, drain=reads | writes,
                       hint=hint).canonical()
        return None

    def canonical(self) -> "InvalidationView":
        """The same, with zero in every field that its granularity makes meaningless, and its page aligned."""
        selective = self.granularity == _SELECTIVE
        if self.granularity == _GLOBAL:
            return InvalidationView(self.kind, _GLOBAL, drain=self.drain)
        if not selective:
            return InvalidationView(self.kind, self.granularity, self.domain_id, drain=self.drain)
        if self.kind == _CONTEXT_CACHE:
            return self._replace(page=0, address_mask=0, hint=0)
        return self._replace(source_id=0, function_mask=0, page=self.page >> self.address_mask << self.address_mask)

    @property
    def drains(self) -> bool:
        """True if it waits for the memory accesses made with what it removes."""
        return bool(self.drain)

    def covers_context(self, source_id: int, domain_id: int) -> bool:
        """True if it removes this device's context from the context cache, where it is cached under `domain_id`.

        One that names the wrong domain ID leaves the entry.
        """
        if self.kind != _CONTEXT_CACHE:
            return False
        if self.granularity == _GLOBAL:
            return True
        ignored = FUNCTION_MASKS[self.function_mask]
        same_source = self.granularity != _SELECTIVE or source_id | ignored == self.source_id | ignored
        return same_source and domain_id == self.domain_id

    def covers_translation(self, domain_id: int, iova_page: int, page_size: int) -> bool:
        """True if it removes from the IOTLB the line of this size (PageSize value) around this 4 KiB page."""
        if self.kind != _IOTLB:
            return False
        if self.granularity == _GLOBAL:
            return True
        if domain_id != self.domain_id:
            return False
        if self.granularity != _SELECTIVE:
            return True
        first, last = _span(self.page, self.address_mask)
        line_first, line_last = _span(iova_page, LEVEL_BITS * page_size)
        return line_first <= last and first <= line_last

    @property
    def leaves_only(self) -> bool:
        """True if it is page-selective and hints so: paging-structure caches may keep everything."""
        return self.granularity == _SELECTIVE and bool(self.hint)

    def covers_path(self, domain_id: int, iova_page: int, page_size: int) -> bool:
        """True if after it no translation of this size (PageSize value) around this page stems from upper levels read before.

        It removes both: the line, and what paging-structure caches hold of the way to it.
        """
        return not self.leaves_only and self.covers_translation(domain_id, iova_page, page_size)

    def covers_structure(self, domain_id: int, iova_page: int, level: int) -> bool:
        """True if it removes from the paging-structure caches the entry of this level on the way to this 4 KiB page."""
        return self.covers_path(domain_id, iova_page, level - 1)   # it reaches as far as a page of that many levels


def _span(page: int, log2_pages: int) -> tuple[int, int]:
    """First and last page of the aligned block of 2**log2_pages pages around `page`."""
    first = page >> log2_pages << log2_pages
    return first, first + (1 << log2_pages) - 1


class Completed(NamedTuple):
    """One invalidation that has run its course."""

    begin: int
    end: int
    invalidation: InvalidationView


class InvalidationHistory:
    """The invalidations that were completed, newest last.

    Parameters
    ----------
    depth : int
        How many are remembered. What covered something and was forgotten is taken as never given: the judge then
        permits more, and never accuses wrongly.
    """

    def __init__(self, *, depth: int = 4096) -> None:
        self._completed: deque[Completed] = deque(maxlen=depth)
        self._begun: list[tuple[int, InvalidationView]] = []
        self.last_end = -1

    def begin(self, cycle: int, invalidation: InvalidationView) -> None:
        """It starts to hide what it removes."""
        self._begun.append((cycle, invalidation))

    def end(self, cycle: int) -> list[Completed]:
        """Everything that has begun is complete; those, oldest first."""
        completed = [Completed(begin, cycle, each) for begin, each in self._begun]
        self._begun.clear()
        self._completed += completed
        self.last_end = cycle
        return completed

    def context_since(self, source_id: int, domain_id: int, accepted: int) -> int | None:
        """Begin of the last invalidation of this context that had completed before cycle `accepted`."""
        return self._since(accepted, lambda each: each.covers_context(source_id, domain_id))

    def translation_since(self, domain_id: int, iova_page: int, page_size: int, accepted: int) -> int | None:
        """Begin of the last invalidation of this translation that had completed before cycle `accepted`."""
        return self._since(accepted, lambda each: each.covers_translation(domain_id, iova_page, page_size))

    def path_since(self, domain_id: int, iova_page: int, page_size: int, accepted: int) -> int | None:
        """The same of the levels above this translation: one that hints that only leaves have changed leaves them."""
        return self._since(accepted, lambda each: each.covers_path(domain_id, iova_page, page_size))

    def structure_since(self, domain_id: int, iova_page: int, level: int, accepted: int) -> int | None:
        """The same of the entry of this level on the way to this page, in a paging-structure cache."""
        return self._since(accepted, lambda each: each.covers_structure(domain_id, iova_page, level))

    def _since(self, accepted: int, covers: Callable[[InvalidationView], bool]) -> int | None:
        return next((each.begin for each in reversed(self._completed) if each.end < accepted and covers(each.invalidation)), None)
