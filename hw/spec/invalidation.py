"""What an invalidation names, whether it came from CCMD, IOTLB_REG or (later) the queue. Source: VT-d 4.1, 6.5."""
from amaranth.lib import data, enum

__all__ = ["InvalidationKind", "Granularity", "Invalidation", "FUNCTION_MASKS"]


class InvalidationKind(enum.Enum, shape=2):
    """Which cache an invalidation is for."""
    CONTEXT_CACHE = 0
    IOTLB = 1
    RESERVED_2 = 2   # PASID cache, later
    RESERVED_3 = 3


class Granularity(enum.Enum, shape=2):
    """Encodings shared by CIRG, CAIG, IIRG, IAIG and the descriptors' G fields."""
    RESERVED_0 = 0
    GLOBAL = 1
    DOMAIN_SELECTIVE = 2
    SELECTIVE = 3    # device-selective (context cache) or page-selective in a domain (IOTLB)


class Invalidation(data.Struct):
    """One invalidation on its way to every cache and every walk in flight."""
    kind: InvalidationKind
    granularity: Granularity
    domain_id: 16
    source_id: 16       # device-selective only
    function_mask: 2    # FM: 0 exact, 1 ignores source_id bit 2, 2 bits 2:1, 3 bits 2:0
    page: 52            # page-selective: IOVA page number, aligned to 2**address_mask
    address_mask: 6     # AM: covers 2**AM pages
    hint: 1             # IH: only leaves changed
    drain: 1            # DR or DW: wait for the memory accesses made with old translations


FUNCTION_MASKS = (0b000, 0b100, 0b110, 0b111)
"""Source ID bits that a device-selective invalidation ignores, by its function_mask."""
