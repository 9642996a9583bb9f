"""Does this invalidation cover this entry? One definition for walks in flight, and for any cache that wants it.

Expressions over hardware values. Source: VT-d 4.1, 6.5.1 (granularities), 6.2 (tags).
"""
from amaranth import *
from amaranth.utils import ceil_log2

from hw.lib.match import equal_except, low_mask
from hw.spec.invalidation import FUNCTION_MASKS, Granularity, InvalidationKind
from hw.spec.tables import LEVEL_BITS

__all__ = ["covers_context", "covers_region", "covers_source", "covers_structure", "covers_translation",
           "differing_set_bits", "leaves_only"]


def covers_source(invalidation, *, source_id):
    """A context-cache invalidation that may cover a device whose domain ID is not known yet."""
    ignored = Array(Const(mask, len(source_id)) for mask in FUNCTION_MASKS)[invalidation.function_mask]
    same_source = equal_except(invalidation.source_id, source_id, ignored)
    return (invalidation.kind == InvalidationKind.CONTEXT_CACHE) & (
        (invalidation.granularity != Granularity.SELECTIVE) | same_source)


def covers_context(invalidation, *, source_id, domain_id):
    """A context-cache invalidation that covers this context: one that names the wrong domain ID does not."""
    return covers_source(invalidation, source_id=source_id) & (
        (invalidation.granularity == Granularity.GLOBAL) | (invalidation.domain_id == domain_id))


def covers_region(invalidation, *, domain_id, iova_page, region_bits):
    """An IOTLB invalidation that covers anything of the 2**region_bits pages around the 4 KiB page `iova_page`.

    `region_bits` is a number, in Python: a range and a region that are both aligned powers of two overlap if their
    numbers agree above the larger one, so that a region costs one comparison of so many bits fewer.
    """
    in_range = low_mask(invalidation.address_mask, len(invalidation.page))
    overlapping = equal_except(invalidation.page[region_bits:], iova_page[region_bits:], in_range[region_bits:])
    return (invalidation.kind == InvalidationKind.IOTLB) & (
        (invalidation.granularity == Granularity.GLOBAL)
        | (invalidation.domain_id == domain_id)
        & ((invalidation.granularity == Granularity.DOMAIN_SELECTIVE) | overlapping))


def covers_translation(invalidation, *, domain_id, iova_page, page_size, entries=1):
    """An IOTLB invalidation that covers anything of a line of `entries` pages of `page_size` (a PageSize, in Python)."""
    return covers_region(invalidation, domain_id=domain_id, iova_page=iova_page,
                         region_bits=LEVEL_BITS * page_size.value + ceil_log2(entries))


def leaves_only(invalidation):
    """A page-selective IOTLB invalidation that hints that no entry above the leaves has changed (IH, VT-d 6.5.1.2)."""
    return (invalidation.granularity == Granularity.SELECTIVE) & invalidation.hint


def differing_set_bits(invalidation, *, region_bits, index_bits):
    """Bits in which the sets differ that can hold what an IOTLB invalidation covers: the lowest so many of `index_bits`.

    For a cache of regions of 2**region_bits pages (a number, in Python), whose set is `hw.lib.match.fold` of the number
    of the region. A range of 2**j regions, aligned, takes every value in the lowest j bits of that number and one value
    above them; where j is less than `index_bits`, so do their sets. The set of any one region of the range has the rest.
    """
    in_range = low_mask(invalidation.address_mask, region_bits + index_bits)[region_bits:]
    return in_range | (invalidation.granularity != Granularity.SELECTIVE).replicate(index_bits)


def covers_structure(invalidation, *, domain_id, iova_page, level, entries=1):
    """An IOTLB invalidation that covers anything of a line of `entries` paging entries of `level`, none of them a leaf.

    One that is page-selective and hints that leaves alone changed does not (IH, VT-d 6.5.1.2).
    """
    return ~leaves_only(invalidation) & covers_region(invalidation, domain_id=domain_id, iova_page=iova_page,
                                                     region_bits=LEVEL_BITS * (level - 1) + ceil_log2(entries))
