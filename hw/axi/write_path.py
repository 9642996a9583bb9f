"""Writes by DMA: translated ahead, written in the order in which they came.

::

    bursts --> BurstSplitter --> AccessStore --> in_order --> stage --> memory_bursts
                                   |    ^                        |
                            requests    reply                    v
    data ------------------------------------------------> DataRouter --> memory_data
                                                                 | what is blocked has been swallowed
    responses <--------- ResponseMerger <------------------------+
                               ^--------- memory_responses

AXI4 gives write data no ID (A5.4): data goes out in the order of the addresses, and comes in so. So a write waits for the
translation of every write before it. Translations are asked for ahead, up to the number of slots, so misses overlap.
"""
from amaranth import *
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out, flipped

from hw.axi.access_store import AccessStore
from hw.axi.burst_splitter import BurstSplitter
from hw.axi.bus import address_layout, check_sizes, response_layout, write_layout
from hw.axi.data_router import DataRouter
from hw.axi.order_table import OrderTable
from hw.axi.request_former import Direction
from hw.axi.response_merger import ResponseMerger
from hw.lib.stream import Queue, connect_stream
from hw.spec.axi import DmaUser, MemoryUser
from hw.spec.dma import DmaReply, DmaRequest, DmaRetire

__all__ = ["WritePath"]


class WritePath(wiring.Component):
    """From the requester's AW and W to memory's, and from memory's B to the requester's.

    A blocked piece of a burst never reaches memory: its data is swallowed, and the burst is answered with SLVERR. The
    burst's other pieces are written. Responses keep the order of their ID; IDs overtake each other.

    Parameters
    ----------
    data_bits, id_bits, slots : int
        Width of data and IDs; pieces under way at most.

    Members
    -------
    bursts, data, responses
        The requester's AW, W and B. WLAST is not looked at: the address says how many beats there are.
    requests, reply, retires
        The unit's side. A retire is given when memory's response has been taken over.
    memory_bursts, memory_data, memory_responses
        Memory's AW, W and B. Data does not wait for its address to be accepted. A response whose ID nobody waits for is
        taken and dropped.

    Timing
    ------
    One burst per page and cycle, one beat per cycle. From the unit's reply to memory's AW: two cycles. A combinational
    path from `data` to `memory_data`, and back for `ready`. One cycle from memory's B to the requester's.
    """

    def __init__(self, *, data_bits, id_bits, slots):
        check_sizes(data_bits=data_bits, id_bits=id_bits, slots=slots)
        self._data_bits, self._id_bits, self._slots = data_bits, id_bits, slots
        beats, response = (stream.Signature(layout) for layout in (
            write_layout(data_bits=data_bits), response_layout(id_bits=id_bits)))
        super().__init__({
            "bursts": In(stream.Signature(address_layout(id_bits=id_bits, user=DmaUser))),
            "data": In(beats),
            "responses": Out(response),
            "requests": Out(stream.Signature(DmaRequest)),
            "reply": In(wiring.Signature({"valid": Out(1), "payload": Out(DmaReply)})),
            "retires": Out(stream.Signature(DmaRetire)),
            "memory_bursts": Out(stream.Signature(address_layout(id_bits=id_bits, user=MemoryUser))),
            "memory_data": Out(beats),
            "memory_responses": In(response),
        })

    def elaborate(self, platform):
        m = Module()
        sizes = {"slots": self._slots, "id_bits": self._id_bits}
        m.submodules.splitter = splitter = BurstSplitter(data_bits=self._data_bits, id_bits=self._id_bits)
        m.submodules.store = store = AccessStore(direction=Direction.WRITE, **sizes)
        m.submodules.order = order = OrderTable(**sizes)
        m.submodules.in_order = in_order = Queue(range(self._slots), depth=self._slots)
        m.submodules.router = router = DataRouter(data_bits=self._data_bits, slots=self._slots)
        m.submodules.responder = responder = ResponseMerger(**sizes)

        # In.
        connect_stream(m, src=flipped(self).bursts, dst=splitter.bursts)
        connect_stream(m, src=splitter.pieces, dst=store.pieces)
        connect_stream(m, src=order.free, dst=store.free)
        connect_stream(m, src=store.requests, dst=flipped(self).requests)
        connect_stream(m, src=flipped(self).data, dst=router.data)
        taken = store.pieces.valid & store.pieces.ready
        m.d.comb += [
            order.free_id.eq(splitter.pieces.payload.burst.id),
            store.reply.valid.eq(self.reply.valid), store.reply.payload.eq(self.reply.payload),
            in_order.i.payload.eq(order.free.payload), in_order.i.valid.eq(taken),  # as deep as there are slots
            responder.taken.valid.eq(taken), responder.taken.slot.eq(order.free.payload),
        ]

        # The oldest, when it is known what becomes of it: its address to memory, its data to where the router says.
        head = in_order.o.payload
        going, staged, moving = Signal(), Signal(), Signal()
        slot, blocked = Signal.like(head), Signal()
        addressed, routed = Signal(), Signal()   # what of the stage is over
        address_over, route_over = Signal(), Signal()
        m.d.comb += [
            address_over.eq(addressed | blocked | self.memory_bursts.ready),
            route_over.eq(routed | router.route.ready),
            moving.eq(~staged | (address_over & route_over)),
            going.eq(in_order.o.valid & store.answered.bit_select(head, 1) & moving),
            in_order.o.ready.eq(going),
            store.forget.valid.eq(going), store.forget.slot.eq(head),
            store.address_slot.eq(head), store.address_enable.eq(moving),
            self.memory_bursts.payload.eq(store.address),
            self.memory_bursts.valid.eq(staged & ~blocked & ~addressed),
            router.route.payload.slot.eq(slot),
            router.route.payload.len.eq(store.address.len),
            router.route.payload.swallow.eq(blocked),
            router.route.valid.eq(staged & ~routed),
        ]
        with m.If(moving):
            m.d.sync += [
                staged.eq(going), slot.eq(head), blocked.eq(store.blocked.bit_select(head, 1)),
                addressed.eq(0), routed.eq(0),
            ]
        with m.Else():
            m.d.sync += [addressed.eq(address_over), routed.eq(route_over)]
        connect_stream(m, src=router.memory_data, dst=flipped(self).memory_data)

        # Out.
        connect_stream(m, src=flipped(self).memory_responses, dst=responder.memory_responses)
        connect_stream(m, src=responder.responses, dst=flipped(self).responses)
        connect_stream(m, src=responder.retires, dst=flipped(self).retires)
        m.d.comb += [
            responder.swallowed.valid.eq(router.swallowed.valid), responder.swallowed.slot.eq(router.swallowed.slot),
            responder.oldest.eq(order.oldest), responder.ids.eq(order.ids),
            order.asked_id.eq(responder.asked_id), responder.owner.eq(order.owner), responder.owned.eq(order.owned),
            responder.followers.eq(order.followers),
            order.done.valid.eq(responder.done.valid), order.done.slot.eq(responder.done.slot),
        ]
        for name in ("blocked", "last", "asked", "colour"):
            m.d.comb += getattr(responder, name).eq(getattr(store, name))
        return m
