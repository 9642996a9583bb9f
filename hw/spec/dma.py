"""A DMA request and its reply: the unit's two outward streams, and the retire that ends each request's life."""
from amaranth.lib import data, enum

from hw.spec.faults import FaultReason
from hw.spec.tables import PageSize

__all__ = ["TAG_BITS", "Access", "RequestKind", "Status", "DmaRequest", "DmaReply", "DmaRetire",
           "INTERRUPT_WINDOW_PAGES"]

TAG_BITS = 10  # requests outstanding per requester: at most 1,024

INTERRUPT_WINDOW_PAGES = (0xFEE00, 0xFEEFF)  # first and last page of 0xFEE0_0000..0xFEEF_FFFF (VT-d 3.14)


class Access(enum.Enum, shape=2):
    """What the device wants to do."""
    READ = 0
    WRITE = 1
    ATOMIC = 2       # needs read and write permission
    RESERVED_3 = 3


class RequestKind(enum.Enum, shape=2):
    """PCIe AT field (VT-d 4.2)."""
    UNTRANSLATED = 0
    TRANSLATION_REQUEST = 1
    TRANSLATED = 2
    RESERVED_3 = 3


class Status(enum.Enum, shape=2):
    """How a request was answered."""
    OK = 0
    BLOCKED = 1      # Unsupported Request: reads return all ones, writes are dropped; fault_reason says why
    INTERRUPT = 2    # a 4-byte write to the interrupt window: not memory, goes out untranslated
    RESERVED_3 = 3


class DmaRequest(data.Struct):
    """One request for translation. The requester may not cross a 4 KiB boundary with it."""
    source_id: 16        # requester: bus 15:8, device 7:3, function 2:0
    pasid_present: 1     # a DMA that carries one is blocked (reason 31) until scalable mode
    pasid: 20            # meaningful if pasid_present
    privileged: 1
    execute: 1
    kind: RequestKind
    access: Access
    iova: 64             # byte address
    length_bytes: 13     # 1..4096
    tag: TAG_BITS        # chosen by the requester, unique among its outstanding requests


class DmaReply(data.Struct):
    """The one answer to a request. Replies leave in any order."""
    tag: TAG_BITS
    status: Status
    hpa: 52              # byte address; meaningful if OK
    page_size: PageSize
    fault_reason: FaultReason
    colour: 1            # to be handed back by the retire
    hit: 1               # judge's sideband: answered from the IOTLB, without a walk
    source_id: 16        # judge's sideband
    domain_id: 16        # judge's sideband: under which the request was translated
    table_pointer: 40    # judge's sideband: page number of the top table of the walk that produced the translation


class DmaRetire(data.Struct):
    """The memory access made with a reply is globally done (or, for a blocked request, there is none).

    Every reply is retired exactly once. A drain waits for it (VT-d 6.5.3, DR and DW; the colour is ours).
    """
    colour: 1
