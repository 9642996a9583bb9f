"""Fault reasons and the fault record. Source: VT-d 4.1, 7.2 and 7.3 (reasons), 11.4.14 (FRCD)."""
from amaranth.lib import data, enum

__all__ = ["FaultReason", "FaultType", "FaultRecord", "UNQUALIFIED_FAULT_REASONS",
           "UNRECORDED_FAULT_REASONS", "is_qualified"]


class FaultReason(enum.IntEnum, shape=8):
    """Why a request is blocked, as recorded in FRCD.FR. 0 is ours: not blocked."""
    NONE = 0x00
    ROOT_NOT_PRESENT = 0x01
    CONTEXT_NOT_PRESENT = 0x02
    CONTEXT_INVALID = 0x03             # TT, AW, or a top table that cannot be read
    ADDRESS_BEYOND_WIDTH = 0x04        # beyond MGAW or AW
    WRITE_PERMISSION = 0x05
    READ_PERMISSION = 0x06
    SECOND_STAGE_ACCESS = 0x07         # a table below the top cannot be read
    ROOT_ACCESS = 0x08
    CONTEXT_ACCESS = 0x09
    ROOT_RESERVED = 0x0A
    CONTEXT_RESERVED = 0x0B
    SECOND_STAGE_RESERVED = 0x0C
    REQUEST_TYPE_BLOCKED = 0x0D        # translated or translation request with TT = 00
    OUTPUT_IN_INTERRUPT_WINDOW = 0x0E  # the translation lands in 0xFEEx_xxxx
    ROOT_POINTER_INVALID = 0x30
    PASID_IN_LEGACY_MODE = 0x31        # request with PASID while TTM = 00
    DMA_ABORTED = 0xFF                 # ours: RTADDR.TTM = 11. A reply's reason only; no record is ever made of it


UNQUALIFIED_FAULT_REASONS = frozenset({
    FaultReason.ROOT_NOT_PRESENT, FaultReason.ROOT_ACCESS, FaultReason.CONTEXT_ACCESS,
    FaultReason.ROOT_RESERVED, FaultReason.ROOT_POINTER_INVALID, FaultReason.PASID_IN_LEGACY_MODE,
})
"""Reasons that are recorded whatever fault_processing_disable says."""


UNRECORDED_FAULT_REASONS = frozenset({FaultReason.DMA_ABORTED})
"""Reasons of which no record is made."""


def is_qualified(reason):
    """True if fault_processing_disable suppresses the *record* of this reason (the request is blocked all the same)."""
    return FaultReason(reason) not in UNQUALIFIED_FAULT_REASONS


class FaultType(enum.Enum, shape=2):
    """{type_1, type_2} of a fault record as one number: type_2 is its bit 0."""
    WRITE = 0b00
    PAGE_REQUEST = 0b01
    READ = 0b10
    ATOMIC = 0b11


class FaultRecord(data.Struct):
    """FRCD[n] (VT-d 11.4.14). 128 bits."""
    _reserved_11_0: 12
    fault_info: 52        # page number of the faulting IOVA
    source_id: 16
    _reserved_91_80: 12
    type_2: 1             # low bit of FaultType
    privileged: 1
    execute: 1
    pasid_present: 1
    fault_reason: 8
    pasid: 20
    address_type: 2       # AT of the request: 0 untranslated
    type_1: 1             # high bit of FaultType
    fault: 1              # F, RW1C
