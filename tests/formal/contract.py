"""The rule of a stream, written once, for the side that gives and for the side that takes. Ours.

    the solver gives, the block takes    assume_stream     it obeys, or the check would be of nonsense
    the block gives, anything takes      assert_stream     it must obey
"""
from amaranth import *
from amaranth.hdl import Assert, Assume, Cover
from amaranth.lib import wiring
from amaranth.lib.wiring import In

__all__ = ["StreamContract", "assert_stream", "assume_stream"]


class StreamContract(wiring.Component):
    """An offer stands, unchanged, until it is taken.

    Parameters
    ----------
    payload_bits : int
        Width of the payload.
    rule : Assert or Assume
        Whether the giver is a block under test, or the solver.

    Members
    -------
    payload, valid, ready
        The stream, watched.
    """

    def __init__(self, payload_bits, *, rule):
        if rule not in (Assert, Assume):
            raise ValueError(f"rule must be Assert or Assume, not {rule!r}")
        self._rule = rule
        super().__init__({"payload": In(payload_bits), "valid": In(1), "ready": In(1)})

    def elaborate(self, platform):
        m = Module()
        waiting = Signal()
        payload_before = Signal.like(self.payload)
        m.d.sync += [waiting.eq(self.valid & ~self.ready), payload_before.eq(self.payload)]
        with m.If(waiting):
            m.d.comb += self._rule(self.valid)
            m.d.comb += self._rule(self.payload == payload_before)
        m.d.comb += Cover(waiting & self.valid & self.ready)
        return m


def assume_stream(m, name, port):
    """Assume that the stream at `port`, which the solver drives, obeys its contract."""
    _watch(m, name, port, Assume)


def assert_stream(m, name, port):
    """Assert that the stream at `port`, which the block drives, obeys its contract; a refutation shows `name`."""
    _watch(m, name, port, Assert)


def _watch(m, name, port, rule):
    payload = Value.cast(port.payload)
    m.submodules[name] = contract = StreamContract(len(payload), rule=rule)
    m.d.comb += [contract.payload.eq(payload), contract.valid.eq(port.valid), contract.ready.eq(port.ready)]
