"""One response for each write burst, in the order of its ID, whatever its pieces have met. Ours."""
from amaranth import *
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out, flipped

from hw.axi.bus import response_layout
from hw.axi.order_table import SlotStrobe
from hw.axi.picker import Picker
from hw.lib.merge import Merge
from hw.lib.stream import Queue, connect_stream
from hw.spec.axi import AxiResponse
from hw.spec.dma import DmaRetire

__all__ = ["ResponseMerger"]

_BUFFER = 2   # responses and retires: enough for one in each cycle


class ResponseMerger(wiring.Component):
    """Takes memory's responses, makes those of blocked pieces, and joins the pieces of a burst.

    A burst's response is the worst of its pieces'. What the pieces before it have met travels from piece to piece; if the
    next piece has no slot yet, it waits in a register, which is enough because one burst at a time is being cut.

    Parameters
    ----------
    id_bits, slots : int

    Members
    -------
    taken
        A piece gets this slot.
    swallowed
        All data of the blocked piece in this slot has been swallowed.
    blocked[slot], last[slot], asked[slot], colour[slot]
        From the `AccessStore`.
    oldest[slot], ids[slot], followers[slot]; asked_id, owner, owned; done
        To and from the `OrderTable`.
    memory_responses
        Memory's B. One whose ID nobody waits for is taken and dropped. One that comes when the oldest piece of its ID is
        blocked waits for that: its data has been swallowed by then.
    responses, retires
        Out.

    Timing
    ------
    One piece per cycle from memory, one in two cycles that is blocked. One cycle from memory's response to the burst's.
    """

    def __init__(self, *, id_bits, slots):
        self._slots, self._id_bits = slots, id_bits
        response = stream.Signature(response_layout(id_bits=id_bits))
        super().__init__({
            "taken": In(SlotStrobe(slots)),
            "swallowed": In(SlotStrobe(slots)),
            "blocked": In(slots), "last": In(slots), "asked": In(slots), "colour": In(slots),
            "oldest": In(slots), "ids": In(data.ArrayLayout(id_bits, slots)), "followers": In(slots),
            "asked_id": Out(id_bits), "owner": In(range(slots)), "owned": In(1),
            "done": Out(SlotStrobe(slots)),
            "memory_responses": In(response),
            "responses": Out(response),
            "retires": Out(stream.Signature(DmaRetire)),
        })

    def elaborate(self, platform):
        m = Module()
        finishing = data.StructLayout({"slot": range(self._slots), "resp": AxiResponse})
        m.submodules.picker = picker = Picker(count=self._slots)
        m.submodules.merge = merge = Merge(finishing, ports=2)
        m.submodules.joined = joined = Queue(response_layout(id_bits=self._id_bits), depth=_BUFFER)
        m.submodules.retired = retired = Queue(DmaRetire, depth=_BUFFER)

        # From memory.
        from_memory, from_here = merge.i
        in_turn = Signal()   # what is oldest with this ID has gone to memory
        m.d.comb += [
            self.asked_id.eq(self.memory_responses.payload.id),
            in_turn.eq(self.owned & ~self.blocked.bit_select(self.owner, 1)),
            from_memory.valid.eq(self.memory_responses.valid & in_turn),
            from_memory.payload.slot.eq(self.owner),
            from_memory.payload.resp.eq(self.memory_responses.payload.resp),
            self.memory_responses.ready.eq(Mux(self.owned, from_memory.ready & in_turn, 1)),
        ]

        # Made here.
        waiting = Signal(self._slots)
        with m.If(self.swallowed.valid):
            m.d.sync += waiting.bit_select(self.swallowed.slot, 1).eq(1)
        m.d.comb += [
            picker.candidates.eq(waiting & self.oldest),
            picker.taken.eq(picker.any & ~from_here.valid),
            from_here.payload.resp.eq(AxiResponse.SLVERR),
        ]
        error_slot, error_valid = Signal.like(picker.chosen), Signal()
        m.d.comb += [from_here.payload.slot.eq(error_slot), from_here.valid.eq(error_valid)]
        with m.If(picker.taken):
            m.d.sync += [error_slot.eq(picker.chosen), error_valid.eq(1), waiting.bit_select(picker.chosen, 1).eq(0)]
        with m.Elif(from_here.ready):
            m.d.sync += error_valid.eq(0)

        # The end of a piece; of a burst, if it is its last.
        slot, met, last, passes = merge.o.payload.slot, Signal(AxiResponse), Signal(), Signal()
        carried = Signal(data.ArrayLayout(AxiResponse, self._slots))
        m.d.comb += [
            last.eq(self.last.bit_select(slot, 1)),
            met.eq(merge.o.payload.resp.as_value() | carried[slot].as_value()),
            merge.o.ready.eq(joined.i.ready & retired.i.ready),
            passes.eq(merge.o.valid & merge.o.ready),
            self.done.valid.eq(passes), self.done.slot.eq(slot),
            joined.i.valid.eq(passes & last), joined.i.payload.id.eq(self.ids[slot]), joined.i.payload.resp.eq(met),
            retired.i.valid.eq(passes & self.asked.bit_select(slot, 1)),
            retired.i.payload.colour.eq(self.colour.bit_select(slot, 1)),
        ]
        self._carry(m, carried=carried, met=met, unfinished=passes & ~last)
        connect_stream(m, src=joined.o, dst=flipped(self).responses)
        connect_stream(m, src=retired.o, dst=flipped(self).retires)
        return m

    def _carry(self, m, *, carried, met, unfinished):
        """Hand on what an unfinished burst has met: to its next piece, or to the register if that has no slot yet."""
        kept = Signal(AxiResponse)
        to_come = Signal()
        handed_on = Signal(AxiResponse)
        m.d.comb += [
            to_come.eq(unfinished & ~self.followers.any()),
            handed_on.eq(kept.as_value() | Mux(to_come, met.as_value(), 0)),
        ]
        m.d.sync += kept.eq(Mux(self.taken.valid, 0, handed_on.as_value()))
        for slot in range(self._slots):
            with m.If(self.taken.valid & (self.taken.slot == slot)):
                m.d.sync += carried[slot].eq(handed_on)
            with m.Elif(unfinished & self.followers[slot]):
                m.d.sync += carried[slot].eq(carried[slot].as_value() | met.as_value())
