"""Route the host's accesses to the blocks behind its address map, and their replies back. Ours."""
from amaranth import *
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

from hw.spec.bench import HostReply, HostRequest

__all__ = ["HostDecoder"]


class HostDecoder(wiring.Component):
    """One access at a time, to the block with the highest base at or below the address.

    Parameters
    ----------
    bases : tuple of int
        Base address of each target, ascending, the first 0.

    Members
    -------
    accesses, replies
        The host's side.
    targets[n], target_replies[n]
        Each block's side; addresses are relative to its base.

    Timing
    ------
    The next access is taken when the reply of the one before has been handed over. No cycle is added.
    """

    def __init__(self, *, bases):
        if not bases or bases[0] != 0 or list(bases) != sorted(set(bases)):
            raise ValueError(f"bases must ascend from 0, not {bases!r}")
        self._bases = tuple(bases)
        super().__init__({
            "accesses": In(stream.Signature(HostRequest)),
            "replies": Out(stream.Signature(HostReply)),
            "targets": Out(stream.Signature(HostRequest)).array(len(bases)),
            "target_replies": In(stream.Signature(HostReply)).array(len(bases)),
        })

    def elaborate(self, platform):
        m = Module()
        selected = Signal(range(len(self._bases)))
        owner = Signal.like(selected)
        waiting = Signal()
        for index, base in enumerate(self._bases):
            with m.If(self.accesses.payload.address >= base):
                m.d.comb += selected.eq(index)

        with m.Switch(selected):
            for index, base in enumerate(self._bases):
                with m.Case(index):
                    target = self.targets[index]
                    m.d.comb += [
                        target.payload.eq(self.accesses.payload),
                        target.payload.address.eq(self.accesses.payload.address - base),
                        target.valid.eq(self.accesses.valid & ~waiting),
                        self.accesses.ready.eq(target.ready & ~waiting),
                    ]
        with m.Switch(owner):
            for index in range(len(self._bases)):
                with m.Case(index):
                    reply = self.target_replies[index]
                    m.d.comb += [
                        self.replies.payload.eq(reply.payload),
                        self.replies.valid.eq(reply.valid & waiting),
                        reply.ready.eq(self.replies.ready & waiting),
                    ]
        with m.If(self.accesses.valid & self.accesses.ready):
            m.d.sync += [owner.eq(selected), waiting.eq(1)]
        with m.Elif(self.replies.valid & self.replies.ready):
            m.d.sync += waiting.eq(0)
        return m
