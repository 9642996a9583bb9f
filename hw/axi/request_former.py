"""From a piece of a burst to the unit's DMA request. Ours."""
from amaranth.lib import enum

from hw.spec.dma import TAG_BITS, Access, RequestKind

__all__ = ["Direction", "form_request"]


class Direction(enum.Enum, shape=1):
    """Top bit of the tag of a wrapper's request; the slot stands below it."""
    READ = 0
    WRITE = 1


_PRIVILEGED, _INSTRUCTION = 0, 2   # bits of AxPROT (A4.7)


def form_request(m, request, piece, *, direction, slot):
    """Drive a DmaRequest from a piece (`piece_layout`) that has been given a slot."""
    burst = piece.burst
    access = Access.READ if direction is Direction.READ else Access.WRITE
    m.d.comb += [
        request.source_id.eq(burst.user.source_id),
        request.pasid_present.eq(burst.user.pasid_present),
        request.pasid.eq(burst.user.pasid),
        request.privileged.eq(burst.prot[_PRIVILEGED]),
        request.execute.eq(burst.prot[_INSTRUCTION] if direction is Direction.READ else 0),
        request.kind.eq(RequestKind.UNTRANSLATED),
        request.access.eq(access),
        request.iova.eq(piece.iova),
        request.length_bytes.eq(piece.length_bytes),
        request.tag.eq(slot | direction.value << (TAG_BITS - 1)),
    ]
