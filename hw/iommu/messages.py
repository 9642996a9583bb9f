"""Payloads of the streams between blocks, in the order in which a request meets them.

    DmaRequest -> [lookup] -> Answer ------------------------------------------> [reply_former] -> DmaReply
                     |   \\--> WalkRequest ----> [page_walker] ----> Answer ------^     |
                     \\------> Transaction --> [context_walker] --> Answer -------^     \\--> FaultReport -> [fault_recorder]
                                                     \\----------> WalkRequest -> [page_walker]

Source: ours.
"""
from amaranth.lib import data
from amaranth.lib.wiring import In, Out, Signature

from hw.spec.dma import DmaRequest
from hw.spec.events import Event, MessageKind
from hw.spec.faults import FaultReason
from hw.spec.invalidation import Invalidation, QueueError, TranslationTableMode
from hw.spec.tables import PageSize, TranslationType

__all__ = ["Context", "Transaction", "WalkRequest", "Answer", "ContextFill", "CachedEntry", "FaultReport",
           "Touch", "iotlb_fill_layout", "structure_fill_layout",
           "UnitControl", "InvalidationStep", "Message", "CachesOff", "EventPort", "FillPort", "InvalidationPort",
           "QueuePort"]


class Context(data.Struct):
    """What a context entry says about a device, as cached."""
    translation_type: TranslationType
    address_width: 3             # AW, legal by now
    domain_id: 16
    table_pointer: 40            # page number of the top table
    fault_processing_disable: 1
    fault_reason: FaultReason    # NONE: a legal entry; otherwise domain ID and pointer are zero


class Transaction(data.Struct):
    """An accepted request on its way through the unit.

    `marked` is level state: wherever a transaction waits between its cache lookup and a slot of a walker, an
    invalidation that begins sets it. What a marked transaction leads to is never put in a cache.
    """
    request: DmaRequest
    colour: 1                    # taken at the cache lookup, given back by the retire
    marked: 1


class WalkRequest(data.Struct):
    """Translate this transaction's IOVA through `context`'s tables. The request has passed `checks.request_fault`."""
    transaction: Transaction
    context: Context


class Answer(data.Struct):
    """How a transaction ends: either a fault reason, or a translation."""
    transaction: Transaction
    context: Context             # of the translation; undefined parts are zero where a fault came before
    fault_reason: FaultReason    # NONE: translated
    interrupt: 1                 # a 4-byte write to the interrupt window: passed on as an interrupt
    page_size: PageSize
    page: 40                     # HPA page number of the *base* of the page (superpages: low bits zero)
    hit: 1                       # came from the IOTLB


class ContextFill(data.Struct):
    """A context entry to be cached; one that is not legal only in caching mode."""
    source_id: 16
    pasid_present: 1
    pasid: 20
    context: Context


class CachedEntry(data.Struct):
    """One paging entry as a cache keeps it: a translation, or a step of a walk."""
    valid: 1                     # may be used; a walk decides otherwise
    readable: 1                  # ANDed over its level and those above
    writable: 1
    page: 40                     # HPA page number: base of the page, or the table of the level below


def iotlb_fill_layout(entries):
    """A line for the IOTLB: the translations in one memory word, of `entries` neighbouring pages of one size.

    In caching mode an entry may also say that its page is not present: valid, neither readable nor writable, of 4 KiB.
    """
    return data.StructLayout({
        "domain_id": 16,
        "iova_page": 45,         # IOVA[56:12] of any page of the line; the bits below the line are ignored
        "page_size": PageSize,   # never UNTRANSLATED
        "table_pointer": 40,     # of the walk
        "entries": data.ArrayLayout(CachedEntry, entries),
    })


def structure_fill_layout(entries):
    """A line for a paging-structure cache: the entries in one memory word of a table of `level`; leaves are not valid."""
    return data.StructLayout({
        "domain_id": 16,
        "iova_page": 45,         # IOVA[56:12] of anything that the line covers
        "level": 3,              # 2 to 5
        "table_pointer": 40,     # of the walk
        "entries": data.ArrayLayout(CachedEntry, entries),
    })


class Touch(data.Struct):
    """A lookup whose context was cached and translates: what the prefetcher learns from."""
    walk: WalkRequest            # the request, and how it would be walked
    hit: 1                       # the IOTLB had it


class FaultReport(data.Struct):
    """One blocked request, for the fault recorder."""
    request: DmaRequest
    fault_reason: FaultReason
    fault_processing_disable: 1


class UnitControl(data.Struct):
    """State of the register block that the path of a request obeys."""
    translation_enabled: 1       # GSTS.TES
    translation_table_mode: TranslationTableMode  # as latched by SRTP: anything but LEGACY blocks every DMA
    root_table: 40               # page number, as latched by SRTP; while `root_invalid` the last one that could be
    root_invalid: 1              # SRTP found RTADDR beyond the host address width: it blocks every DMA, and is not read


class InvalidationStep(data.Struct):
    """What the invalidator is asked for: to begin an invalidation, or to tell when everything that has begun is complete."""
    fence: 1
    invalidation: Invalidation   # unless `fence`


class Message(data.Struct):
    """A store of 4 bytes by the unit itself: status data of a wait, or an event message (VT-d 6.5.2.8, 11.4.11)."""
    kind: MessageKind
    address: 64                  # byte address, a multiple of 4
    data: 32


class CachesOff(data.Struct):
    """Knob: a cache that is off for one device answers none of its lookups. It goes on being filled and invalidated. Ours."""
    context_cache: 1
    iotlb: 1
    source_id: 16                # the device


class EventPort(Signature):
    """Something happened in this cycle. Sampled, never waited for."""

    def __init__(self):
        super().__init__({"valid": Out(1), "payload": Out(Event)})


class FillPort(Signature):
    """A cache fill. Taken in the cycle in which `valid` is high, always: a fill never waits and is never lost."""

    def __init__(self, payload):
        super().__init__({"valid": Out(1), "payload": Out(payload)})


class InvalidationPort(Signature):
    """From the invalidator to everything that holds translations.

    `begin` is high for one cycle, with the payload; the payload then holds until the next `begin`, which comes two cycles
    later at the earliest. In the cycle of `begin` nothing is hidden yet; from the next cycle on the removed entries answer
    no lookup, and what was in flight is marked. Each listener answers with its own `busy`, from the cycle after `begin` on:
    nothing may begin in the cycle after one in which it is high. It may fall up to two cycles before the scan has ended: a
    listener keeps what it needs of the payload, and goes on hiding, until then. What begins in spite of `busy` is undefined.
    `colour` is the colour that lookups take in this cycle; it changes only after a fence, and never before the cycle after
    the last `begin` ahead of it.
    """

    def __init__(self):
        super().__init__({
            "begin": Out(1),
            "payload": Out(Invalidation),
            "colour": Out(1),
        })


class QueuePort(Signature):
    """Between the register block (which drives the Out members) and the invalidation queue.

    enabled
        Descriptors may be fetched. When it falls, what has been fetched is still executed; then the head returns to 0.
    tail, base, size_log2, wide
        IQT.QT, IQA.IQA, IQA.QS and IQA.DW. All but `tail` stand still while `enabled` or not `drained`.
    table_mode
        As latched by SRTP.
    held
        FSTS.IQE or ITE is set: nothing is fetched.
    head
        IQH.QH: 16-byte units, fetched but perhaps not executed.
    drained
        Nothing that was fetched, or is being fetched, is left to be executed.
    queue_error, queue_error_cause
        One cycle: set FSTS.IQE. The head stands still.
    timed_out, timed_out_source; completion_error, completion_error_source
        One cycle: set FSTS.ITE; FSTS.ICE. With the source ID of the device that did not answer; that answered so.
    wait_completed
        One cycle: a wait with IF has completed, its status data, if any, is in memory.
    """

    def __init__(self):
        super().__init__({
            "enabled": Out(1), "tail": Out(15), "base": Out(40), "size_log2": Out(3), "wide": Out(1),
            "table_mode": Out(TranslationTableMode), "held": Out(1),
            "head": In(15), "drained": In(1),
            "queue_error": In(1), "queue_error_cause": In(QueueError),
            "timed_out": In(1), "timed_out_source": In(16),
            "completion_error": In(1), "completion_error_source": In(16),
            "wait_completed": In(1),
        })
