"""A host that is part of the design: it plays a fixed list of register accesses, then watches some registers for ever. Ours.

It stands where a board's link to a computer will stand; what a driver does with its wits, it does by rote.
"""
from typing import NamedTuple

from amaranth import *
from amaranth.lib import data, stream, wiring
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out

from hw.spec.bench import HOST_ADDRESS_BITS, HostReply, HostRequest

__all__ = ["BuiltInHost", "Step", "Watch"]


class Step(NamedTuple):
    """One access: a write, or a read that is repeated until all bits of `data` are set in its reply."""

    address: int
    data: int
    wide: bool = True
    write: bool = True


class Watch(NamedTuple):
    """A register that is read again and again: does it have a bit of `mask` set?"""

    address: int
    mask: int
    wide: bool = True


class _Row(data.Struct):
    """A step or a watch in the list."""

    write: 1
    wide: 1
    address: HOST_ADDRESS_BITS
    data: 64


class BuiltInHost(wiring.Component):
    """Plays steps, then watches.

    Parameters
    ----------
    steps : sequence of Step
        Played once after reset.
    watches : sequence of Watch
        Read in turn for ever after, at least one.

    Members
    -------
    requests, replies
        To the bench's host port.
    seen
        One bit per watch: what its last read said; zero before.
    refused
        A reply had its error bit set; stays.
    watching
        All steps are done.

    Timing
    ------
    Two cycles per access more than the port takes.

    Source: ours.
    """

    def __init__(self, *, steps, watches):
        if not watches:
            raise ValueError("watches must name at least one register, not none")
        rows = [*steps, *(Step(watch.address, watch.mask, watch.wide, write=False) for watch in watches)]
        self._steps = len(steps)
        self._rows = [dict(write=int(row.write), wide=int(row.wide), address=row.address, data=row.data) for row in rows]
        super().__init__({
            "requests": Out(stream.Signature(HostRequest)),
            "replies": In(stream.Signature(HostReply)),
            "seen": Out(len(watches)),
            "refused": Out(1),
            "watching": Out(1),
        })

    def elaborate(self, platform):
        m = Module()
        m.submodules.rows = rows = Memory(shape=_Row, depth=len(self._rows), init=self._rows)
        port = rows.read_port()
        number = Signal(range(len(self._rows) + 1))
        following = Signal.like(number)
        row, reply = port.data, self.replies.payload
        hits = Signal(64)
        m.d.comb += [
            port.addr.eq(number),
            self.watching.eq(number >= self._steps),
            self.requests.payload.write.eq(row.write),
            self.requests.payload.wide.eq(row.wide),
            self.requests.payload.address.eq(row.address),
            self.requests.payload.data.eq(row.data),
            hits.eq(reply.data & row.data),
            following.eq(Mux(number == len(self._rows) - 1, self._steps, number + 1)),
        ]
        with m.FSM(name="built_in_host"):
            with m.State("FETCH"):
                m.next = "ASK"
            with m.State("ASK"):
                m.d.comb += self.requests.valid.eq(1)
                with m.If(self.requests.ready):
                    m.next = "REPLY"
            with m.State("REPLY"):
                m.d.comb += self.replies.ready.eq(1)
                with m.If(self.replies.valid):
                    m.d.sync += self.refused.eq(self.refused | reply.error)
                    with m.If(self.watching | row.write | (hits == row.data)):
                        m.d.sync += number.eq(following)
                    for index in range(len(self.seen)):
                        with m.If(number == self._steps + index):
                            m.d.sync += self.seen[index].eq(hits.any())
                    m.next = "FETCH"
        return m
