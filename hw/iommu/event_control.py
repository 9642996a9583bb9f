"""Tell software that something has happened, by one message: FECTL and IECTL. Source: VT-d 4.1, 7.4, 11.4.11 and 11.4.9.5."""
from amaranth import *
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

from hw.iommu.messages import Message

__all__ = ["EventControl"]


class EventControl(wiring.Component):
    """IP, and the message that an event becomes: `data` stored at `address`.

    An event that is masked, or that finds the message before it still waiting, is pending. It becomes a message as
    soon as it can, with address and data as they stand then, and is forgotten when no cause of it is left. A message
    that has been handed over is never taken back.

    Parameters
    ----------
    kind : MessageKind
        What the messages are called.

    Members
    -------
    raised
        One cycle: an event is due.
    cause
        A status bit that stands for the event is set.
    masked, address, data
        IM, {UADDR, ADDR} and DATA, as they stand.
    pending
        IP.
    messages
        The messages.

    Timing
    ------
    IP is set in the cycle after `raised`; unmasked, the message is offered in the cycle after that, and IP is clear
    again.

    Races
    -----
    An event that is raised in the cycle in which IP would be cleared sets it.

    Source
    ------
    VT-d 4.1, 7.4 (fault events), 6.5.2.8 (invalidation events), 11.4.11 (what IM and IP do).
    """

    def __init__(self, *, kind):
        self._kind = kind
        super().__init__({
            "raised": In(1),
            "cause": In(1),
            "masked": In(1),
            "address": In(64),
            "data": In(32),
            "pending": Out(1),
            "messages": Out(stream.Signature(Message)),
        })

    def elaborate(self, platform):
        m = Module()
        message = self.messages
        send = self.pending & self.cause & ~self.masked & ~message.valid
        m.d.comb += message.payload.kind.eq(self._kind)
        with m.If(self.raised):
            m.d.sync += self.pending.eq(1)
        with m.Elif(send | ~self.cause):
            m.d.sync += self.pending.eq(0)
        with m.If(send):
            m.d.sync += [
                message.valid.eq(1),
                message.payload.address.eq(self.address),
                message.payload.data.eq(self.data),
            ]
        with m.Elif(message.ready):
            m.d.sync += message.valid.eq(0)
        return m
