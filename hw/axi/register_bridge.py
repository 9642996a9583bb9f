"""AXI4-Lite to the unit's registers. Ours; the bus: Arm IHI 0022, issue H, B1."""
from amaranth import *
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

from hw.axi.bus import axi4_lite_channels, channel_streams
from hw.spec.axi import AxiResponse
from hw.spec.bench import HOST_ADDRESS_BITS, HostReply, HostRequest

__all__ = ["REGISTER_DATA_BITS", "RegisterBridge", "register_channels"]

REGISTER_DATA_BITS = 64
_HALF_BITS = REGISTER_DATA_BITS // 2
_LOW, _HIGH, _BOTH = 0x0F, 0xF0, 0xFF   # strobes that are an access


def register_channels():
    """The channels of the register port."""
    return axi4_lite_channels(data_bits=REGISTER_DATA_BITS, address_bits=HOST_ADDRESS_BITS)


class RegisterBridge(wiring.Component):
    """One access at a time.

    A write of all eight bytes is one access of 8 bytes, a write of one half one of 4 bytes. Without strobes it does nothing;
    with any other ones it is answered with SLVERR and does nothing.

    A read has no width in AXI4-Lite. It is one access of 8 bytes, at one instant; where that is refused, because 32-bit
    registers stand there, it is one of 4 bytes to each half, the low one first.

    The three lowest bits of an address are ignored. What the registers refuse is answered with SLVERR, and reads zero.

    Members
    -------
    aw, w, b, ar, r
        The channels, as streams.
    accesses, replies
        The registers' side.

    Timing
    ------
    A write is taken when its address and its data are there; reads and writes take turns. The next access is taken when
    the response of the one before it has been.
    """

    def __init__(self):
        super().__init__({
            **channel_streams(register_channels(), manager=False),
            "accesses": Out(stream.Signature(HostRequest)),
            "replies": In(stream.Signature(HostReply)),
        })

    def elaborate(self, platform):
        m = Module()
        access, reply = self.accesses.payload, self.replies.payload
        write_waits, write_next = Signal(), Signal()
        response = Signal(AxiResponse)
        refused = Mux(reply.error, AxiResponse.SLVERR, AxiResponse.OKAY)
        m.d.comb += [
            write_waits.eq(self.aw.valid & self.w.valid),
            self.b.payload.resp.eq(response), self.r.payload.resp.eq(response),
        ]
        row = slice(3, None)
        strobes = self.w.payload.strb

        with m.FSM(name="bridge"):
            with m.State("IDLE"):
                with m.If(write_waits & (write_next | ~self.ar.valid)):
                    m.d.comb += [self.aw.ready.eq(1), self.w.ready.eq(1)]
                    m.d.sync += [
                        access.write.eq(1), write_next.eq(0), access.wide.eq(strobes == _BOTH),
                        access.address.eq(Cat(Const(0, 2), strobes == _HIGH, self.aw.payload.addr[row])),
                        access.data.eq(Mux(strobes == _HIGH, self.w.payload.data[_HALF_BITS:], self.w.payload.data)),
                        response.eq(Mux(strobes == 0, AxiResponse.OKAY, AxiResponse.SLVERR)),
                    ]
                    m.next = "WRITTEN"
                    with m.If((strobes == _BOTH) | (strobes == _LOW) | (strobes == _HIGH)):
                        m.next = "WRITE"
                with m.Elif(self.ar.valid):
                    m.d.comb += self.ar.ready.eq(1)
                    m.d.sync += [
                        access.write.eq(0), write_next.eq(1), access.wide.eq(1),
                        access.address.eq(Cat(Const(0, 3), self.ar.payload.addr[row])),
                    ]
                    m.next = "READ"
            for state, wait in (("WRITE", "WRITE_REPLY"), ("READ", "READ_REPLY"), ("READ_LOW", "LOW_REPLY"),
                                ("READ_HIGH", "HIGH_REPLY")):
                with m.State(state):
                    m.d.comb += self.accesses.valid.eq(1)
                    with m.If(self.accesses.ready):
                        m.next = wait
            with m.State("WRITE_REPLY"):
                m.d.comb += self.replies.ready.eq(1)
                with m.If(self.replies.valid):
                    m.d.sync += response.eq(refused)
                    m.next = "WRITTEN"
            with m.State("READ_REPLY"):
                m.d.comb += self.replies.ready.eq(1)
                with m.If(self.replies.valid):
                    m.d.sync += [self.r.payload.data.eq(reply.data), response.eq(AxiResponse.OKAY), access.wide.eq(0)]
                    m.next = "DONE"
                    with m.If(reply.error):
                        m.next = "READ_LOW"
            with m.State("LOW_REPLY"):
                m.d.comb += self.replies.ready.eq(1)
                with m.If(self.replies.valid):
                    m.d.sync += [
                        self.r.payload.data.eq(reply.data[:_HALF_BITS]), response.eq(refused),
                        access.address[2].eq(1),
                    ]
                    m.next = "READ_HIGH"
            with m.State("HIGH_REPLY"):
                m.d.comb += self.replies.ready.eq(1)
                with m.If(self.replies.valid):
                    m.d.sync += self.r.payload.data[_HALF_BITS:].eq(reply.data[:_HALF_BITS])
                    with m.If(reply.error):
                        m.d.sync += response.eq(AxiResponse.SLVERR)
                    m.next = "DONE"
            with m.State("WRITTEN"):
                m.d.comb += self.b.valid.eq(1)
                with m.If(self.b.ready):
                    m.next = "IDLE"
            with m.State("DONE"):
                m.d.comb += self.r.valid.eq(1)
                with m.If(self.r.ready):
                    m.next = "IDLE"
        return m
