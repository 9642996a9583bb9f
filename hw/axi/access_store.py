"""What is kept of each access between its acceptance and its way out, and what the unit said to it. Ours."""
from amaranth import *
from amaranth.lib import data, stream, wiring
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out

from hw.axi.burst_splitter import piece_layout
from hw.axi.bus import address_layout
from hw.axi.order_table import SlotStrobe
from hw.axi.request_former import form_request
from hw.spec.axi import MemoryUser
from hw.spec.codec import field_width
from hw.spec.dma import DmaReply, DmaRequest, Status
from hw.spec.tables import PAGE_BITS

__all__ = ["AccessStore"]

_PAGE_NUMBER_BITS = field_width(DmaReply, "hpa") - PAGE_BITS


class _Translation(data.Struct):
    """What a reply says of where to go."""

    page: _PAGE_NUMBER_BITS
    interrupt: 1


class AccessStore(wiring.Component):
    """Takes pieces into slots, asks the unit, and gives each back with its translated address.

    Parameters
    ----------
    direction : Direction
        Of all of them.
    slots, id_bits : int

    Members
    -------
    pieces
        In. Taken when there is a free slot, and the unit takes the request.
    free
        The next free slot.
    requests
        One request per piece, but for one that is refused: that is answered without the unit.
    reply
        The unit's reply to the slot `reply_slot`, in this cycle.
    answered[slot], blocked[slot]
        It is known what becomes of the piece; it never reaches memory. `answered` falls with `forget`.
    last[slot], asked[slot], colour[slot]
        It is the end of a burst; the unit was asked, and wants the colour back.
    forget
        The piece is on its way out: `answered` falls.
    address_slot, address_enable, address
        The burst as it goes out, one cycle after its slot was named with `address_enable`.

    Timing
    ------
    One piece in, one reply, and one address out per cycle. A piece is answered in the cycle after its reply; a refused one
    in the cycle after its acceptance.
    """

    def __init__(self, *, direction, slots, id_bits):
        self._direction, self._slots = direction, slots
        self._kept = address_layout(id_bits=id_bits, user=MemoryUser)
        super().__init__({
            "pieces": In(stream.Signature(piece_layout(id_bits=id_bits))),
            "free": In(stream.Signature(range(slots))),
            "requests": Out(stream.Signature(DmaRequest)),
            "reply": In(wiring.Signature({"valid": Out(1), "payload": Out(DmaReply)})),
            "answered": Out(slots), "blocked": Out(slots), "last": Out(slots), "asked": Out(slots), "colour": Out(slots),
            "forget": In(SlotStrobe(slots)),
            "address_slot": In(range(slots)), "address_enable": In(1), "address": Out(self._kept),
        })

    def elaborate(self, platform):
        m = Module()
        m.submodules.kept = kept = Memory(shape=self._kept, depth=self._slots, init=[])
        m.submodules.translations = translations = Memory(shape=_Translation, depth=self._slots, init=[])
        piece, slot = self.pieces.payload, self.free.payload
        taken, passes = Signal(), Signal()

        # In: a slot, and a request.
        form_request(m, self.requests.payload, piece, direction=self._direction, slot=slot)
        m.d.comb += [
            passes.eq(self.requests.ready | piece.refused),
            self.requests.valid.eq(self.pieces.valid & self.free.valid & ~piece.refused),
            self.pieces.ready.eq(self.free.valid & passes),
            self.free.ready.eq(self.pieces.valid & passes),
            taken.eq(self.pieces.valid & self.pieces.ready),
        ]
        write = kept.write_port()
        m.d.comb += [write.addr.eq(slot), write.en.eq(taken), *(
            write.data[name].eq(piece.burst[name]) for name, _ in self._kept if name != "user")]
        m.d.comb += write.data.user.source_id.eq(piece.burst.user.source_id)

        # The unit's answer.
        reply = self.reply.payload
        reply_slot = reply.tag[:len(slot)]
        answer = translations.write_port()
        m.d.comb += [
            answer.addr.eq(reply_slot), answer.en.eq(self.reply.valid),
            answer.data.page.eq(reply.hpa[PAGE_BITS:]),
            answer.data.interrupt.eq(reply.status == Status.INTERRUPT),
        ]
        allowed = (reply.status == Status.OK) | (reply.status == Status.INTERRUPT)
        for number in range(self._slots):
            with m.If(self.forget.valid & (self.forget.slot == number)):
                m.d.sync += self.answered[number].eq(0)
            with m.If(self.reply.valid & (reply_slot == number)):
                m.d.sync += [self.answered[number].eq(1), self.blocked[number].eq(~allowed), self.colour[number].eq(reply.colour)]
            with m.If(taken & (slot == number)):
                m.d.sync += [
                    self.answered[number].eq(piece.refused), self.blocked[number].eq(piece.refused),
                    self.last[number].eq(piece.last), self.asked[number].eq(~piece.refused),
                ]

        # Out: everything as it came, at another place.
        ports = [memory.read_port() for memory in (kept, translations)]
        burst, translation = (port.data for port in ports)
        for port in ports:
            m.d.comb += [port.addr.eq(self.address_slot), port.en.eq(self.address_enable)]
        m.d.comb += [
            self.address.eq(burst),
            self.address.addr.eq(Cat(burst.addr[:PAGE_BITS], translation.page)),
            self.address.user.interrupt.eq(translation.interrupt),
        ]
        return m
