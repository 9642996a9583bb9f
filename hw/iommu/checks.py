"""Checks of a request that read no table: those made before its context is known, and those made once it is.

Each function takes the module for its statements, and returns a signal.
"""
from amaranth import *
from amaranth.lib import data

from hw.lib.match import beyond
from hw.spec.dma import INTERRUPT_WINDOW_PAGES, Access, RequestKind
from hw.spec.faults import FaultReason
from hw.spec.invalidation import TranslationTableMode
from hw.spec.tables import MAX_LEVEL, PAGE_BITS, TranslationType, address_bits

__all__ = ["Settled", "in_interrupt_window", "not_present_fault", "request_fault", "settled_without_context"]

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


def not_present_fault(request):
    """Fault reason of a request that meets a second-stage entry which is neither readable nor writable (VT-d 7.2)."""
    return Mux(request.access == Access.READ, FaultReason.READ_PERMISSION, FaultReason.WRITE_PERMISSION)


def settled_without_context(m, *, request, control, straps):
    """Decide what needs no table, in this order:

    1. Translation is off: the request passes as it is; ADDRESS_BEYOND_WIDTH if it does not fit the host address width,
       rather than wrapping around (ours).
    2. An untranslated DWORD write without PASID to the interrupt window is an interrupt, whatever the table mode: it is
       no DMA (VT-d 3.14).
    3. The root table was latched in the mode that aborts DMA: DMA_ABORTED, of which no record is made (VT-d 11.4.5).
    4. It was latched in another mode than legacy (scalable mode is not here, 10 is reserved), or from an address that
       the host does not have: ROOT_POINTER_INVALID (VT-d 7.2, 11.4.5).
    5. It carries a PASID, and legacy mode is all there is: PASID_IN_LEGACY_MODE (VT-d 7.2).
    6. Whatever else meets the interrupt window is blocked with ADDRESS_BEYOND_WIDTH (the code is ours).

    The context is not looked up, so that its fault_processing_disable hides nothing here.
    """
    result = Signal(Settled)
    in_window = in_interrupt_window(request.iova[PAGE_BITS:])
    interrupt = (in_window & (request.kind == RequestKind.UNTRANSLATED) & (request.access == Access.WRITE)
                 & (request.length_bytes == _INTERRUPT_BYTES) & ~request.pasid_present)
    mode = control.translation_table_mode
    m.d.comb += result.settled.eq(1)
    with m.If(~control.translation_enabled):
        with m.If(beyond(request.iova, straps.host_address_width)):
            m.d.comb += result.fault_reason.eq(FaultReason.ADDRESS_BEYOND_WIDTH)
    with m.Elif(interrupt):
        m.d.comb += result.interrupt.eq(1)
    with m.Elif(mode == TranslationTableMode.ABORT_DMA):
        m.d.comb += result.fault_reason.eq(FaultReason.DMA_ABORTED)
    with m.Elif((mode != TranslationTableMode.LEGACY) | control.root_invalid):
        m.d.comb += result.fault_reason.eq(FaultReason.ROOT_POINTER_INVALID)
    with m.Elif(request.pasid_present):
        m.d.comb += result.fault_reason.eq(FaultReason.PASID_IN_LEGACY_MODE)
    with m.Elif(in_window):
        m.d.comb += result.fault_reason.eq(FaultReason.ADDRESS_BEYOND_WIDTH)
    with m.Else():
        m.d.comb += result.settled.eq(0)
    return result


def request_fault(m, *, request, context, straps):
    """Fault reason of a request whose context is known, before its page walk; NONE if it may go on.

    A context that is not legal, as caching mode keeps it, comes first with what is wrong with it. Only a context with a
    device-TLB serves anything but untranslated requests: pass-through does not either. REQUEST_TYPE_BLOCKED comes
    before ADDRESS_BEYOND_WIDTH. The width is the smaller of MGAW + 1 and what AW covers; under pass-through it is the
    host address width (the code is ours, the specification names none).

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
    with m.If(context.fault_reason != FaultReason.NONE):
        m.d.comb += fault.eq(context.fault_reason)
    with m.Elif(blocked_type):
        m.d.comb += fault.eq(FaultReason.REQUEST_TYPE_BLOCKED)
    with m.Elif(too_wide):
        m.d.comb += fault.eq(FaultReason.ADDRESS_BEYOND_WIDTH)
    return fault
