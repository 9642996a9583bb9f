"""The unit's door: requests in, retires in, and how many are in between under each colour."""
from amaranth import *
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

from hw.iommu.messages import EventPort
from hw.spec.dma import TAG_BITS, DmaRequest, DmaRetire
from hw.spec.events import EventKind

__all__ = ["MAX_ACCESSES", "RequestIntake"]

MAX_ACCESSES = 1 << TAG_BITS  # requests accepted and not yet retired


class RequestIntake(wiring.Component):
    """Admits requests and keeps account of them, for the invalidations that wait for old translations to go out of use.

    Parameters
    ----------
    limit : int
        Requests between acceptance and retire, at most; more wait at the door.

    Members
    -------
    requests, accepted
        Requests from outside, and on their way to the lookup.
    retires
        Always taken.
    looked_up, colour
        An accepted request is compared in this cycle, and takes this colour.
    answered, answered_colour
        A reply of this colour is handed over in this cycle.
    translating[colour]
        Requests looked up and not yet answered.
    accessing[colour]
        Requests looked up and not yet retired.
    full
        As many requests are inside as may be.
    events
        REQUEST, when it is accepted; RETIRE.

    Timing
    ------
    No cycles added to a request. The counts change in the cycle after what they count: a lookup compared in the cycle
    in which an invalidation begins is counted in the next one, in which the invalidator may first look.

    Source: VT-d 4.1, 6.5.3 (drains); colours are ours.
    """

    def __init__(self, *, limit=MAX_ACCESSES):
        if limit < 1:
            raise ValueError(f"limit must be at least 1, not {limit!r}")
        self._limit = limit
        count = range(limit + 1)
        super().__init__({
            "requests": In(stream.Signature(DmaRequest)),
            "accepted": Out(stream.Signature(DmaRequest)),
            "retires": In(stream.Signature(DmaRetire)),
            "looked_up": In(1),
            "colour": In(1),
            "answered": In(1),
            "answered_colour": In(1),
            "translating": Out(count).array(2),
            "accessing": Out(count).array(2),
            "full": Out(1),
            "events": Out(EventPort()).array(2),
        })

    def elaborate(self, platform):
        m = Module()
        inside = Signal(range(self._limit + 1))
        accept = Signal()
        m.d.comb += [
            self.full.eq(inside == self._limit),
            self.accepted.payload.eq(self.requests.payload),
            self.accepted.valid.eq(self.requests.valid & ~self.full),
            self.requests.ready.eq(self.accepted.ready & ~self.full),
            self.retires.ready.eq(1),
            accept.eq(self.requests.valid & self.requests.ready),
        ]
        m.d.sync += inside.eq(inside + accept - self.retires.valid)

        for colour in range(2):
            enters = self.looked_up & (self.colour == colour)
            answered = self.answered & (self.answered_colour == colour)
            retired = self.retires.valid & (self.retires.payload.colour == colour)
            m.d.sync += [
                self.translating[colour].eq(self.translating[colour] + enters - answered),
                self.accessing[colour].eq(self.accessing[colour] + enters - retired),
            ]

        request, retire = self.events
        m.d.comb += [
            request.valid.eq(accept),
            request.payload.kind.eq(EventKind.REQUEST),
            request.payload.source_id.eq(self.requests.payload.source_id),
            request.payload.tag.eq(self.requests.payload.tag),
            request.payload.iova.eq(self.requests.payload.iova),
            request.payload.detail.eq(self.requests.payload.access.as_value()),
            retire.valid.eq(self.retires.valid),
            retire.payload.kind.eq(EventKind.RETIRE),
            retire.payload.detail.eq(self.retires.payload.colour),
        ]
        return m
