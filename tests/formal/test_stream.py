# amaranth: UnusedElaboratable=no
"""The queue between two blocks keeps the stream's rule and loses nothing, whatever its neighbours do."""
import pytest
from amaranth import *
from amaranth.hdl import Assert, Assume
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

from hw.lib.stream import Queue, connect_stream
from tests.formal.contract import assert_stream, assume_stream
from tests.formal.harness import Refuted, Undecided

DEPTH = 10
PAYLOAD_BITS = 4


class QueueSpec(wiring.Component):
    """`block` is the queue under test, between a writer that keeps the rule and any reader."""

    written: In(stream.Signature(PAYLOAD_BITS))
    read: Out(stream.Signature(PAYLOAD_BITS))
    follow: In(1)

    def __init__(self, block):
        self._block = block
        super().__init__()

    def elaborate(self, platform):
        m = Module()
        m.submodules.block = block = self._block
        connect_stream(m, src=self.written, dst=block.i)
        connect_stream(m, src=block.o, dst=self.read)
        assume_stream(m, "written_contract", self.written)
        assert_stream(m, "read_contract", self.read)

        entered = self.written.valid & self.written.ready
        left = self.read.valid & self.read.ready
        inside = Signal(4)
        m.d.sync += inside.eq(inside + entered - left)
        m.d.comb += Assert(block.level == inside)

        # Follow one payload, whichever the solver picks: it leaves when all that entered before it have left.
        following = Signal()
        ahead = Signal.like(inside)
        payload = Signal(PAYLOAD_BITS)
        with m.If(following & left):
            m.d.sync += ahead.eq(ahead - 1)
            with m.If(ahead == 0):
                m.d.comb += Assert(self.read.payload == payload)
                m.d.sync += following.eq(0)
        with m.Elif(~following & entered & self.follow):
            m.d.sync += [following.eq(1), ahead.eq(inside - left), payload.eq(self.written.payload)]
        return m


class BrokenQueue(wiring.Component):
    """A queue with a fault: withdraws an offer, replaces it, loses what comes when it is full, or reverses its bits."""

    def __init__(self, fault):
        self._fault = fault
        super().__init__(Queue(PAYLOAD_BITS, depth=2).signature)

    def elaborate(self, platform):
        m = Module()
        m.submodules.queue = queue = Queue(PAYLOAD_BITS, depth=2)
        connect_stream(m, src=self.i, dst=queue.i)
        connect_stream(m, src=queue.o, dst=self.o)
        m.d.comb += self.level.eq(queue.level)
        second = Signal()
        m.d.sync += second.eq(~second)
        match self._fault:
            case "withdraws":
                m.d.comb += [self.o.valid.eq(queue.o.valid & second), queue.o.ready.eq(self.o.ready & second)]
            case "replaces":
                m.d.comb += self.o.payload.eq(queue.o.payload ^ ~self.o.ready)
            case "loses":
                m.d.comb += self.i.ready.eq(1)
            case "reverses":
                m.d.comb += self.o.payload.eq(queue.o.payload[::-1])
        return m


@pytest.mark.parametrize("depth", [1, 2, 3])
def test_queue_keeps_the_stream_rule_and_loses_nothing(formal, depth):
    formal.holds(QueueSpec(Queue(PAYLOAD_BITS, depth=depth)), depth=DEPTH)


def test_offers_that_wait_do_occur(formal):
    formal.reaches(QueueSpec(Queue(PAYLOAD_BITS, depth=2)), depth=DEPTH)


def test_what_cannot_have_happened_yet_is_not_reached(formal):
    with pytest.raises(Refuted, match=r"Unreached cover statement at .*contract\.py:\d+: .*Cover\(waiting"):
        formal.reaches(QueueSpec(Queue(PAYLOAD_BITS, depth=2)), depth=2)


@pytest.mark.parametrize(("fault", "assertion"), [
    ("withdraws", r"read_contract: .*contract\.py:\d+: .*_rule\(self\.valid\)"),
    ("replaces", r"read_contract: .*contract\.py:\d+: .*_rule\(self\.payload == payload_before\)"),
    ("loses", r"spec: .*test_stream\.py:\d+: .*Assert\(block\.level == inside\)"),
    ("reverses", r"spec: .*test_stream\.py:\d+: .*Assert\(self\.read\.payload == payload\)"),
], ids=["withdraws", "replaces", "loses", "reverses"])
def test_broken_queue_is_refuted_at_the_rule_that_it_breaks(formal, fault, assertion):
    with pytest.raises(Refuted, match=assertion):
        formal.holds(QueueSpec(BrokenQueue(fault)), depth=DEPTH)


class SilentSpec(QueueSpec):
    """Contradicts itself: nothing is ever written, and yet the queue holds something."""

    def elaborate(self, platform):
        m = super().elaborate(platform)
        m.d.comb += [Assume(~self.written.valid), Assume(self.read.valid)]
        return m


def test_assumptions_that_exclude_everything_prove_nothing(formal):
    with pytest.raises(Undecided):
        formal.holds(SilentSpec(Queue(PAYLOAD_BITS, depth=2)), depth=DEPTH)
