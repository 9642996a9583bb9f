"""Does this invalidation cover this entry? One definition for walks in flight, and for any cache that wants it.

Expressions over hardware values. Source: VT-d 4.1, 6.5.1 (granularities), 6.2 (tags).
"""
from amaranth import *

from hw.lib.match import equal_except, low_mask
from hw.spec.invalidation import FUNCTION_MASKS, Granularity, InvalidationKind
from hw.spec.tables import LEVEL_BITS

__all__ = ["covers_source", "covers_context", "covers_translation"]


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


def covers_translation(invalidation, *, domain_id, iova_page, page_size):
    """An IOTLB invalidation that covers the page of `page_size` around the 4 KiB page `iova_page`.

    `page_size` is a PageSize, in Python: a range and a page that are both powers of two overlap if their numbers agree
    above the larger one, so that each size costs one comparison of fewer bits.
    """
    below_page = LEVEL_BITS * page_size.value
    in_range = low_mask(invalidation.address_mask, len(invalidation.page))
    overlapping = equal_except(invalidation.page[below_page:], iova_page[below_page:], in_range[below_page:])
    return (invalidation.kind == InvalidationKind.IOTLB) & (
        (invalidation.granularity == Granularity.GLOBAL)
        | (invalidation.domain_id == domain_id)
        & ((invalidation.granularity == Granularity.DOMAIN_SELECTIVE) | overlapping))
