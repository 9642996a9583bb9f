"""Checks of a request that read no table: those made before its context is known, and those made once it is.

Each function takes the module for its statements, and returns a signal.
"""
from amaranth import *
from amaranth.lib import data

from hw.lib.match import beyond
from hw.spec.dma import INTERRUPT_WINDOW_PAGES, Access, RequestKind
from hw.spec.faults import FaultReason
from hw.spec.tables import MAX_LEVEL, PAGE_BITS, TranslationType, address_bits

__all__ = ["Settled", "in_interrupt_window", "request_fault", "settled_without_context"]

_INTERRUPT_BYTES = 4  # an interrupt request is a write of one DWORD


class Settled(data.Struct):
    """What can be said about a request before its context is looked up."""

    settled: 1                 # the rest decides it; otherwise the tables do, and the rest is zero
    interrupt: 1               # passed on as an interrupt
    fault_reason: FaultReason  # NONE and no interrupt: translation is off, output = input


def in_interrupt_window(page):
    """True if a page number, of an IOVA or an HPA, lies in the interrupt window (VT-d 3.14)."""
    first, last = INTERRUPT_WINDOW_PAGES
    return (page >= first) & (page <= last)


def settled_without_context(m, *, request, control, straps):
    """Decide what needs no table, in this order:

    1. Translation is off: the request passes as it is; ADDRESS_BEYOND_WIDTH if it does not fit the host address width,
       rather than wrapping around (ours).
    2. It carries a PASID, and legacy mode is all there is: PASID_IN_LEGACY_MODE, whatever else is wrong (VT-d 7.2).
    3. The root table was latched in another mode than legacy: ROOT_POINTER_INVALID (ours: VT-d has 11 abort DMA without
       a word, and 01 is scalable mode, which is not here).
    4. It meets the interrupt window (VT-d 3.14): an untranslated DWORD write is an interrupt; everything else is
       blocked with ADDRESS_BEYOND_WIDTH (the code is ours). The context is not looked up, so that its
       fault_processing_disable hides nothing here.
    """
    result = Signal(Settled)
    interrupt = ((request.kind == RequestKind.UNTRANSLATED) & (request.access == Access.WRITE)
                 & (request.length_bytes == _INTERRUPT_BYTES))
    with m.If(~control.translation_enabled):
        m.d.comb += result.settled.eq(1)
        with m.If(beyond(request.iova, straps.host_address_width)):
            m.d.comb += result.fault_reason.eq(FaultReason.ADDRESS_BEYOND_WIDTH)
    with m.Elif(request.pasid_present):
        m.d.comb += [result.settled.eq(1), result.fault_reason.eq(FaultReason.PASID_IN_LEGACY_MODE)]
    with m.Elif(control.translation_table_mode != 0):
        m.d.comb += [result.settled.eq(1), result.fault_reason.eq(FaultReason.ROOT_POINTER_INVALID)]
    with m.Elif(in_interrupt_window(request.iova[PAGE_BITS:])):
        m.d.comb += [result.settled.eq(1), result.interrupt.eq(interrupt)]
        with m.If(~interrupt):
            m.d.comb += result.fault_reason.eq(FaultReason.ADDRESS_BEYOND_WIDTH)
    return result


def request_fault(m, *, request, context, straps):
    """Fault reason of a request whose context is known and legal, before its page walk; NONE if it may go on.

    Only a context with a device-TLB serves anything but untranslated requests: pass-through does not either.
    REQUEST_TYPE_BLOCKED comes before ADDRESS_BEYOND_WIDTH. The width is the smaller of MGAW + 1 and what AW covers;
    under pass-through it is the host address width (the code is ours, the specification names none).

    Source: VT-d 4.1, 9.3 (TT), 3.6 and 3.9 (widths), 7.2 (reasons).
    """
    fault = Signal(FaultReason, name="request_fault")
    too_wide = Signal(name="too_wide")
    blocked_type = Signal(name="blocked_type")
    with m.If(context.translation_type == TranslationType.PASS_THROUGH):
        m.d.comb += too_wide.eq(beyond(request.iova, straps.host_address_width))
    with m.Else():
        beyond_context = Signal(name="beyond_context")
        with m.Switch(context.address_width):
            for address_width in range(1, MAX_LEVEL - 1):
                with m.Case(address_width):
                    m.d.comb += beyond_context.eq(request.iova[address_bits(address_width):].any())
        m.d.comb += too_wide.eq(beyond_context | beyond(request.iova, straps.mgaw + 1))
    m.d.comb += blocked_type.eq((request.kind != RequestKind.UNTRANSLATED)
                                & (context.translation_type != TranslationType.MULTI_LEVEL_DEVICE_TLB))
    with m.If(blocked_type):
        m.d.comb += fault.eq(FaultReason.REQUEST_TYPE_BLOCKED)
    with m.Elif(too_wide):
        m.d.comb += fault.eq(FaultReason.ADDRESS_BEYOND_WIDTH)
    return fault
