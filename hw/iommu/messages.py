"""Payloads of the streams between blocks, in the order in which a request meets them.

    DmaRequest -> [lookup] -> Answer ------------------------------------------> [reply_former] -> DmaReply
                     |   \\--> WalkRequest ----> [page_walker] ----> Answer ------^     |
                     \\------> Transaction --> [context_walker] --> Answer -------^     \\--> FaultReport -> [fault_recorder]
                                                     \\----------> WalkRequest -> [page_walker]

Source: ours.
"""
from amaranth.lib import data
from amaranth.lib.wiring import Out, Signature

from hw.spec.dma import DmaRequest
from hw.spec.events import Event
from hw.spec.faults import FaultReason
from hw.spec.tables import PageSize, TranslationType

__all__ = ["Context", "Transaction", "WalkRequest", "Answer", "ContextFill", "IotlbFill", "FaultReport",
           "UnitControl", "CachesOff", "EventPort", "FillPort", "InvalidationPort"]


class Context(data.Struct):
    """What a context entry says about a device, as cached."""
    translation_type: TranslationType
    address_width: 3             # AW, legal by now
    domain_id: 16
    table_pointer: 40            # page number of the top table
    fault_processing_disable: 1


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
    """A context entry to be cached."""
    source_id: 16
    pasid_present: 1
    pasid: 20
    context: Context


class IotlbFill(data.Struct):
    """A translation to be cached."""
    domain_id: 16
    iova_page: 45                # IOVA[56:12]; low bits are ignored in superpages
    page_size: PageSize          # never UNTRANSLATED
    page: 40                     # HPA page number of the base
    readable: 1                  # ANDed over all levels
    writable: 1
    table_pointer: 40


class FaultReport(data.Struct):
    """One blocked request, for the fault recorder."""
    request: DmaRequest
    fault_reason: FaultReason
    fault_processing_disable: 1


class UnitControl(data.Struct):
    """State of the register block that the path of a request obeys."""
    translation_enabled: 1       # GSTS.TES
    translation_table_mode: 2    # TTM as latched by SRTP: 00 legacy; anything else blocks every request
    root_table: 40               # page number, as latched by SRTP


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

    `begin` is high for one cycle, with the payload; the payload then holds until the next `begin`.
    In the cycle of `begin` nothing is hidden yet; from the next cycle on the removed entries answer no lookup, and what
    was in flight is marked. Each listener answers with its own `busy`, high from the cycle after `begin` until its
    scan has ended. `colour` is the colour that lookups take in this cycle; it changes in the cycle after a `begin`.
    """

    def __init__(self):
        from hw.spec.invalidation import Invalidation
        super().__init__({
            "begin": Out(1),
            "payload": Out(Invalidation),
            "colour": Out(1),
        })
