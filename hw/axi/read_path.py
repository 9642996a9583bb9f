"""Reads by DMA: translated in any order, returned in order for each ID.

::

    bursts --> BurstSplitter --> AccessStore --+--> Picker --> memory_ar
                                   |    ^      |
                            requests    reply  OrderTable (per ID)
                                               |
    data <-- merge <--+-- memory_r ------------+
                      +-- ErrorReader <-- what is blocked
"""
from amaranth import *
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out, flipped

from hw.axi.access_store import AccessStore
from hw.axi.burst_splitter import BurstSplitter
from hw.axi.bus import address_layout, check_sizes, read_layout
from hw.axi.error_reader import ErrorReader
from hw.axi.order_table import OrderTable
from hw.axi.picker import Picker
from hw.axi.request_former import Direction
from hw.lib.merge import Merge
from hw.lib.stream import Queue, connect_stream
from hw.spec.axi import DmaUser, MemoryUser
from hw.spec.dma import DmaReply, DmaRequest, DmaRetire

__all__ = ["ReadPath"]

_BUFFER = 2   # beats and retires: enough for one in each cycle


class ReadPath(wiring.Component):
    """From the requester's AR to memory's, and from memory's R to the requester's.

    A burst goes to memory as soon as it is translated and everything older with its ID has gone; IDs overtake each other.
    A blocked one is answered here: SLVERR in every beat, data all ones. What came later with its ID waits for that, what
    has another ID does not.

    Parameters
    ----------
    data_bits, id_bits, slots : int
        Width of data and IDs; pieces under way at most.

    Members
    -------
    bursts, data
        The requester's AR and R.
    requests, reply, retires
        The unit's side. A retire is given when the last beat has been taken over from memory.
    memory_bursts, memory_data
        Memory's AR and R. A beat whose ID nobody waits for is taken and dropped.

    Timing
    ------
    One burst per page and cycle, one beat per cycle. From the unit's reply to memory's AR: two cycles. One cycle from
    memory's R to the requester's. An error costs its beats and one cycle on R, and one cycle on memory's AR.
    """

    def __init__(self, *, data_bits, id_bits, slots):
        check_sizes(data_bits=data_bits, id_bits=id_bits, slots=slots)
        self._data_bits, self._id_bits, self._slots = data_bits, id_bits, slots
        self._beat = read_layout(data_bits=data_bits, id_bits=id_bits)
        super().__init__({
            "bursts": In(stream.Signature(address_layout(id_bits=id_bits, user=DmaUser))),
            "data": Out(stream.Signature(self._beat)),
            "requests": Out(stream.Signature(DmaRequest)),
            "reply": In(wiring.Signature({"valid": Out(1), "payload": Out(DmaReply)})),
            "retires": Out(stream.Signature(DmaRetire)),
            "memory_bursts": Out(stream.Signature(address_layout(id_bits=id_bits, user=MemoryUser))),
            "memory_data": In(stream.Signature(self._beat)),
        })

    def elaborate(self, platform):
        m = Module()
        sizes = {"slots": self._slots, "id_bits": self._id_bits}
        m.submodules.splitter = splitter = BurstSplitter(data_bits=self._data_bits, id_bits=self._id_bits)
        m.submodules.store = store = AccessStore(direction=Direction.READ, **sizes)
        m.submodules.order = order = OrderTable(**sizes)
        m.submodules.picker = picker = Picker(count=self._slots)
        m.submodules.errors = errors = ErrorReader(data_bits=self._data_bits, **sizes)

        connect_stream(m, src=flipped(self).bursts, dst=splitter.bursts)
        connect_stream(m, src=splitter.pieces, dst=store.pieces)
        connect_stream(m, src=order.free, dst=store.free)
        connect_stream(m, src=store.requests, dst=flipped(self).requests)
        m.d.comb += [
            order.free_id.eq(splitter.pieces.payload.burst.id),
            store.reply.valid.eq(self.reply.valid), store.reply.payload.eq(self.reply.payload),
        ]
        self._issue(m, store, order, picker, errors)
        self._finish(m, store, order, errors)
        return m

    def _issue(self, m, store, order, picker, errors):
        """What may go, goes: to memory, or to be answered with an error."""
        going, goes_out, moving = Signal(), Signal(), Signal()
        m.d.comb += [
            moving.eq(~self.memory_bursts.valid | self.memory_bursts.ready),
            picker.candidates.eq(store.answered & order.may_issue),
            going.eq(picker.any & moving),
            picker.taken.eq(going),
            goes_out.eq(going & ~store.blocked.bit_select(picker.chosen, 1)),
            order.issued.valid.eq(going), order.issued.slot.eq(picker.chosen),
            store.forget.valid.eq(going), store.forget.slot.eq(picker.chosen),
            store.address_slot.eq(picker.chosen), store.address_enable.eq(moving),
            self.memory_bursts.payload.eq(store.address),
            errors.blocked.valid.eq(going & ~goes_out), errors.blocked.slot.eq(picker.chosen),
            errors.oldest.eq(order.oldest), errors.ids.eq(order.ids),
            errors.piece.valid.eq(store.pieces.valid & store.pieces.ready), errors.piece.slot.eq(store.free.payload),
            errors.piece_len.eq(store.pieces.payload.burst.len),
        ]
        with m.If(moving):
            m.d.sync += self.memory_bursts.valid.eq(goes_out)

    def _finish(self, m, store, order, errors):
        """Beats from memory and of errors, in turn, to the requester; the end of each piece."""
        finishing = data.StructLayout({"beat": self._beat, "slot": range(self._slots)})
        m.submodules.merge = merge = Merge(finishing, ports=2)
        m.submodules.beats = beats = Queue(self._beat, depth=_BUFFER)
        m.submodules.retired = retired = Queue(DmaRetire, depth=_BUFFER)

        from_memory, from_errors = merge.i
        in_turn = Signal()   # what is oldest with this ID has gone to memory
        m.d.comb += [
            order.asked_id.eq(self.memory_data.payload.id),
            in_turn.eq(order.owned & ~store.blocked.bit_select(order.owner, 1)),
            from_memory.valid.eq(self.memory_data.valid & in_turn),
            from_memory.payload.beat.eq(self.memory_data.payload),
            from_memory.payload.slot.eq(order.owner),
            self.memory_data.ready.eq(Mux(order.owned, from_memory.ready & in_turn, 1)),
            from_errors.valid.eq(errors.data.valid),
            from_errors.payload.beat.eq(errors.data.payload),
            from_errors.payload.slot.eq(errors.slot),
            errors.data.ready.eq(from_errors.ready),
        ]

        beat, slot = merge.o.payload.beat, merge.o.payload.slot
        passes, ends = Signal(), Signal()
        m.d.comb += [
            merge.o.ready.eq(beats.i.ready & retired.i.ready),
            passes.eq(merge.o.valid & merge.o.ready),
            ends.eq(passes & beat.last),
            beats.i.valid.eq(passes),
            beats.i.payload.eq(beat),
            beats.i.payload.last.eq(beat.last & store.last.bit_select(slot, 1)),
            retired.i.valid.eq(ends & store.asked.bit_select(slot, 1)),
            retired.i.payload.colour.eq(store.colour.bit_select(slot, 1)),
            order.done.valid.eq(ends), order.done.slot.eq(slot),
        ]
        connect_stream(m, src=beats.o, dst=flipped(self).data)
        connect_stream(m, src=retired.o, dst=flipped(self).retires)
