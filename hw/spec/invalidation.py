"""What an invalidation names, and the descriptors of the invalidation queue. Source: VT-d 4.1, 6.5.

A descriptor is 16 bytes wide, or 32 if IQA.DW is set; the second half of a wide one is reserved in every type but
9. Its type stands in bits 3:0, and bits 11:9, which a later revision made part of it, must be zero.
"""
from amaranth.lib import data, enum

__all__ = ["InvalidationKind", "Granularity", "Invalidation", "FUNCTION_MASKS", "DescriptorType", "QueueError",
           "DESCRIPTOR_BYTES", "DescriptorHeader", "ContextCacheDescriptor", "IotlbDescriptor", "DeviceTlbDescriptor",
           "InterruptEntryCacheDescriptor", "WaitDescriptor", "DESCRIPTOR_LAYOUTS", "LEGACY_DESCRIPTORS",
           "ABORT_MODE_DESCRIPTORS", "TranslationTableMode"]


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


class TranslationTableMode(enum.Enum, shape=2):
    """RTADDR.TTM as latched by SRTP (VT-d 11.4.5)."""
    LEGACY = 0
    SCALABLE = 1     # not here yet: every request is blocked
    RESERVED_2 = 2
    ABORT_DMA = 3    # every DMA is blocked, without a record


# --- the queue ---------------------------------------------------------------------------------------------------------

DESCRIPTOR_BYTES = (16, 32)
"""By IQA.DW."""


class DescriptorType(enum.Enum, shape=4):
    """Bits 3:0 of a descriptor (VT-d 6.5.2)."""
    RESERVED_0 = 0
    CONTEXT_CACHE = 1
    IOTLB = 2
    DEVICE_TLB = 3
    INTERRUPT_ENTRY_CACHE = 4
    WAIT = 5
    PASID_IOTLB = 6
    PASID_CACHE = 7
    PASID_DEVICE_TLB = 8
    PAGE_GROUP_RESPONSE = 9
    RESERVED_10 = 10
    RESERVED_11 = 11
    RESERVED_12 = 12
    RESERVED_13 = 13
    RESERVED_14 = 14
    RESERVED_15 = 15


LEGACY_DESCRIPTORS = tuple(DescriptorType(number) for number in range(1, 6))
"""Types that are legal in legacy mode, in either width (VT-d 6.5.2.10)."""
ABORT_MODE_DESCRIPTORS = tuple(DescriptorType(number) for number in range(1, 10))
"""Types that are legal in abort-DMA mode, 32 bytes wide only. In any other mode no descriptor is legal."""


class QueueError(enum.IntEnum, shape=4):
    """IQERCD.IQEI: why the queue stands still (VT-d 11.4.9.9)."""
    NONE = 0
    BAD_TAIL = 1           # beyond the end of the queue
    FETCH = 2              # the memory refused the descriptor
    BAD_TYPE = 3           # no such type, or not in this table mode
    RESERVED_FIELD = 4     # a reserved bit is set, or a field has a value that is none
    BAD_WIDTH = 5          # the table mode has no descriptors of this width
    MISALIGNED_TAIL = 6    # IQT bit 4 with descriptors of 32 bytes


class DescriptorHeader(data.Struct):
    """What every descriptor begins with."""
    type: DescriptorType
    _other_8_4: 5
    type_high: 3             # must be zero


class ContextCacheDescriptor(data.Struct):
    """Type 1 (VT-d 6.5.2.1)."""
    type: DescriptorType
    granularity: Granularity
    _reserved_8_6: 3
    type_high: 3
    _reserved_15_12: 4
    domain_id: 16
    source_id: 16
    function_mask: 2
    _reserved_127_50: 78


class IotlbDescriptor(data.Struct):
    """Type 2 (VT-d 6.5.2.3)."""
    type: DescriptorType
    granularity: Granularity
    drain_writes: 1
    drain_reads: 1
    _reserved_8: 1
    type_high: 3
    _reserved_15_12: 4
    domain_id: 16
    _reserved_63_32: 32
    address_mask: 6          # at most CAP.MAMV if page-selective; ignored otherwise
    hint: 1                  # ignored unless page-selective
    _reserved_75_71: 5
    page: 52                 # IOVA page number; its low address_mask bits are ignored


class DeviceTlbDescriptor(data.Struct):
    """Type 3 (VT-d 6.5.2.5). Accepted and counted: no device has a TLB, unless a test answers for one."""
    type: DescriptorType
    _reserved_8_4: 5
    type_high: 3
    pfsid_low: 4
    max_invalidations_pending: 5
    _reserved_31_21: 11
    source_id: 16
    _reserved_51_48: 4
    pfsid_high: 12
    size: 1
    _reserved_75_65: 11
    page: 52


class InterruptEntryCacheDescriptor(data.Struct):
    """Type 4 (VT-d 6.5.2.7). Accepted and counted: there is no interrupt remapping."""
    type: DescriptorType
    granularity: 1
    _reserved_8_5: 4
    type_high: 3
    _reserved_26_12: 15
    index_mask: 5
    index: 16
    _reserved_127_48: 80


class WaitDescriptor(data.Struct):
    """Type 5 (VT-d 6.5.2.8). Neither SW nor IF is legal too: a fence and nothing else."""
    type: DescriptorType
    interrupt: 1             # IF: set ICS.IWC, and an invalidation event
    status_write: 1          # SW: store status_data at status_address
    fence: 1                 # FN: nothing behind it begins before it has completed. Here nothing ever does
    _reserved_8_7: 2         # bit 7, PD, drains page requests, of which there are none
    type_high: 3
    _reserved_31_12: 20
    status_data: 32
    _reserved_65_64: 2
    status_address: 62       # byte address / 4


DESCRIPTOR_LAYOUTS = {
    DescriptorType.CONTEXT_CACHE: ContextCacheDescriptor,
    DescriptorType.IOTLB: IotlbDescriptor,
    DescriptorType.DEVICE_TLB: DeviceTlbDescriptor,
    DescriptorType.INTERRUPT_ENTRY_CACHE: InterruptEntryCacheDescriptor,
    DescriptorType.WAIT: WaitDescriptor,
}
"""Layout of the first 16 bytes, by type. The types beyond have no effect here, and their fields are not looked at."""
