"""The event log's vocabulary: what the hardware says happened, cycle by cycle. Ours.

Each source in the hardware has an event port: `valid` and an `Event`, sampled in every cycle in which valid is high;
nothing ever waits for it. The judge, the reports and the timeline picture read nothing else.
"""
from amaranth.lib import data, enum

__all__ = ["EventKind", "Event", "WalkDetail", "ReplyDetail", "FillDetail", "ContextDetail", "DoneDetail",
           "PrefetchCause", "StructureDetail", "WalkStart", "EVENT_DETAILS"]

from hw.spec.dma import Access, Status
from hw.spec.faults import FaultReason
from hw.spec.invalidation import Invalidation
from hw.spec.tables import PageSize, TranslationType


class EventKind(enum.IntEnum, shape=5):
    """What happened. In brackets: the Event fields that are meaningful beside `kind`."""
    NONE = 0
    REQUEST = 1              # accepted by the unit [source_id tag iova; detail: access in bits 1:0]
    REPLY = 2                # offered and taken [source_id domain_id tag hpa iova; detail: ReplyDetail]
    RETIRE = 3               # the requester handed a colour back [detail: colour in bit 0]
    CONTEXT_FETCH = 4        # a context fetch began [source_id tag]
    CONTEXT_RESULT = 5       # ... and ended [source_id tag domain_id hpa = table pointer; detail: ContextDetail]
    CONTEXT_FILL = 6         # put in the context cache [source_id domain_id hpa; detail: ContextDetail]
    # A request waits for a walk, its own or another's.
    WALK = 7                 # [source_id domain_id tag iova hpa = table pointer; detail: WalkStart]
    WALK_RESULT = 8          # ... and has its result [same, hpa = table pointer of the walk; detail: WalkDetail]
    # Put in the IOTLB, one event for each entry of the line; and in a paging-structure cache, likewise.
    IOTLB_FILL = 9           # [domain_id iova = page base, hpa = page base; detail: FillDetail]
    MEMORY = 10              # the unit accessed memory [hpa tag = MemoryClient, client's tag; detail: MemoryOperation in bits 1:0]
    UPDATE = 11              # a store was answered; it took place at its MEMORY event [hpa tag = 1 if swapped; detail: desired]
    INVALIDATION_BEGIN = 12  # from here on it hides what it removes [domain_id source_id; detail: Invalidation]
    INVALIDATION_END = 13    # every one that has begun is complete [same, of the one that began last]
    FAULT = 14               # a fault was raised [source_id iova; tag: FaultDisposition; detail: FaultReason in bits 7:0]
    PHASE = 15               # the phase register changed [detail: phase]
    DONE = 16                # the engine judged a DMA [source_id domain_id tag iova hpa; detail: DoneDetail]
    CONTROL = 17             # translation enable or root table changed [hpa = root table in force; detail: ControlDetail]
    DESCRIPTOR = 18          # fetched from the queue and found legal; the head passes it [hpa; tag: DW; detail: its first 16 bytes]
    MESSAGE = 19             # memory took a store of 4 bytes by the unit itself [hpa; tag: MessageKind; detail: data in bits 31:0]
    QUEUE_ERROR = 20         # FSTS.IQE, ITE or ICE was set [source_id of the device; tag: QueueTrouble; detail: QueueError]
    REGISTER = 21            # the host accessed the register window [hpa = offset; tag: RegisterAccess; detail: data in bits 63:0]
    WAIT_ABANDONED = 22      # a wait that had been fetched will never complete (ITE) [detail: its first 16 bytes]
    STRUCTURE_FILL = 23      # [domain_id iova = base of what it covers, hpa = table that it names; detail: StructureDetail]
    PREFETCH = 24            # a walk that no request waits for began [domain_id iova hpa = table pointer; tag: PrefetchCause]


class Event(data.Struct):
    """One event."""
    kind: EventKind
    source_id: 16
    domain_id: 16
    tag: 16
    iova: 64
    hpa: 64
    detail: 128


class ReplyDetail(data.Struct):
    """REPLY.detail."""
    status: Status
    page_size: PageSize
    fault_reason: FaultReason
    colour: 1
    hit: 1
    table_pointer: 40


class ContextDetail(data.Struct):
    """CONTEXT_RESULT.detail and CONTEXT_FILL.detail."""
    fault_reason: FaultReason
    translation_type: TranslationType
    address_width: 3
    marked: 1             # an invalidation covered the fetch: answers its request, fills nothing


class WalkStart(data.Struct):
    """WALK.detail."""
    joined: 1             # it waits for a walk that was under way


class PrefetchCause(enum.IntEnum, shape=1):
    """PREFETCH.tag."""
    STREAM = 0            # a device reads on
    HOST = 1              # the host asked for it (pre-walk)


class WalkDetail(data.Struct):
    """WALK_RESULT.detail."""
    fault_reason: FaultReason
    page_size: PageSize
    marked: 1
    page: 40              # HPA page number of the result


class FillDetail(data.Struct):
    """IOTLB_FILL.detail."""
    page_size: PageSize
    readable: 1
    writable: 1
    set_index: 16
    way: 8
    table_pointer: 40


class StructureDetail(data.Struct):
    """STRUCTURE_FILL.detail."""
    level: 3              # of the table that the entry stands in, 2 to 5
    readable: 1           # ANDed over the entry's level and those above
    writable: 1
    table_pointer: 40     # of the walk


class FaultDisposition(enum.IntEnum, shape=2):
    """FAULT.tag: what became of a fault."""
    RECORDED = 0
    OVERFLOWED = 1        # no free record: FSTS.PFO
    SUPPRESSED = 2        # fault_processing_disable, or a reason of which no record is made


class ControlDetail(data.Struct):
    """CONTROL.detail."""
    translation_enabled: 1
    latched: 1            # SRTP: hpa and the mode have just been latched
    translation_table_mode: 2
    root_invalid: 1       # RTADDR, as latched, is no address of the host; hpa is what was latched before it


class MessageKind(enum.IntEnum, shape=2):
    """MESSAGE.tag: what was stored."""
    STATUS = 0               # status data of a wait descriptor
    FAULT_EVENT = 1          # FEDATA at FEADDR
    INVALIDATION_EVENT = 2   # IEDATA at IEADDR
    RESERVED_3 = 3


class QueueTrouble(enum.IntEnum, shape=2):
    """QUEUE_ERROR.tag: which bit of FSTS was set."""
    QUEUE_ERROR = 0          # IQE
    TIME_OUT = 1             # ITE
    COMPLETION_ERROR = 2     # ICE


class RegisterAccess(data.Struct):
    """REGISTER.tag. The data are what was written, or what was read."""
    write: 1
    wide: 1                  # 8 bytes
    error: 1                 # refused: nothing happened
    violation: 1             # it broke a rule (a protocol error), and was ignored as far as the rule says


class Verdict(enum.IntEnum, shape=3):
    """What the traffic engine's checker says of one DMA."""
    OLD = 0               # the old tables' page, under the old domain ID
    NEW = 1               # the new tables' page, under the new domain ID
    BLOCKED = 2           # refused by the unit
    WRONG = 3             # neither: another page, another tag, or an old one after it was declared gone
    AFTER_FREE = 4        # the page is poisoned: it was freed
    ERROR = 5             # the memory refused the address


class DoneDetail(data.Struct):
    """DONE.detail."""
    verdict: Verdict
    access: Access
    device: 8
    signature: 64         # as read from memory


EVENT_DETAILS = {
    EventKind.REPLY: ReplyDetail,
    EventKind.WALK: WalkStart,
    EventKind.STRUCTURE_FILL: StructureDetail,
    EventKind.CONTEXT_RESULT: ContextDetail,
    EventKind.CONTEXT_FILL: ContextDetail,
    EventKind.WALK_RESULT: WalkDetail,
    EventKind.IOTLB_FILL: FillDetail,
    EventKind.INVALIDATION_BEGIN: Invalidation,
    EventKind.INVALIDATION_END: Invalidation,
    EventKind.DONE: DoneDetail,
    EventKind.CONTROL: ControlDetail,
}
"""Layout of `detail` by kind, where it is a Struct (it stands in the low bits)."""
__all__ += ["FaultDisposition", "Verdict", "ControlDetail", "MessageKind", "QueueTrouble", "RegisterAccess"]
