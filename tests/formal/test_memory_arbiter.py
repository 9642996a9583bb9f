# amaranth: UnusedElaboratable=no
"""The memory arbiter neither withdraws nor changes what it offers to memory, and every reply finds its owner."""
import pytest
from amaranth import *
from amaranth.hdl import Assert, Assume
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

from hw.iommu.memory_arbiter import MemoryArbiter
from hw.lib.stream import connect_stream
from hw.spec.memory import CLIENT_TAG_BITS, MemoryRequest, memory_reply_layout
from tests.formal.contract import assert_stream, assume_stream
from tests.formal.harness import Refuted, hold

CLIENTS = 3
DEPTH = 8
_OPAQUE_BITS = 4      # of each payload field that are free
WORD = stream.Signature(memory_reply_layout(128))


class ArbiterSpec(wiring.Component):
    """`block` is the arbiter under test, between clients and a memory that keep the stream rule and are otherwise free."""

    requests: In(stream.Signature(MemoryRequest)).array(CLIENTS)
    replies: Out(WORD).array(CLIENTS)
    memory_request: Out(stream.Signature(MemoryRequest))
    memory_reply: In(WORD)
    client: In(range(CLIENTS))      # the client that is followed
    follow: In(1)                   # follow the request that it hands over in this cycle

    def __init__(self, block):
        self._block = block
        super().__init__()

    def elaborate(self, platform):
        m = Module()
        m.submodules.block = block = self._block
        for index in range(CLIENTS):
            connect_stream(m, src=self.requests[index], dst=block.requests[index])
            connect_stream(m, src=block.replies[index], dst=self.replies[index])
            assume_stream(m, f"request_{index}_contract", self.requests[index])
            assert_stream(m, f"reply_{index}_contract", self.replies[index])
        connect_stream(m, src=block.memory_request, dst=self.memory_request)
        connect_stream(m, src=self.memory_reply, dst=block.memory_reply)
        assert_stream(m, "memory_request_contract", self.memory_request)
        assume_stream(m, "memory_reply_contract", self.memory_reply)

        # What nobody looks into is narrowed to a few bits: the solver is then many times faster.
        for request in self.requests:
            for field in ("data", "expected", "write_mask", "hpa"):
                m.d.comb += Assume(request.payload[field][_OPAQUE_BITS:] == 0)
        m.d.comb += Assume(self.memory_reply.payload.data[_OPAQUE_BITS:] == 0)

        hold(m, self.client)
        m.d.comb += Assume(self.client < CLIENTS)
        accepted = Signal(CLIENTS)
        m.d.comb += accepted.eq(Cat(request.valid & request.ready for request in self.requests))
        self._check_requests(m, accepted)
        self._check_replies(m, accepted)
        self._check_turns(m, accepted)
        return m

    def _check_requests(self, m, accepted):
        """Memory is offered something whenever somebody waits, and takes it from exactly one client, whole."""
        at_memory = self.memory_request
        m.d.comb += Assert(at_memory.valid == Cat(request.valid for request in self.requests).any())
        m.d.comb += Assert(accepted.any() == (at_memory.valid & at_memory.ready))
        m.d.comb += Assert((accepted & (accepted - 1)) == 0)
        for index, request in enumerate(self.requests):
            with m.If(accepted[index]):
                for field in ("operation", "hpa", "data", "expected", "write_mask"):
                    m.d.comb += Assert(at_memory.payload[field] == request.payload[field])

    def _check_replies(self, m, accepted):
        """The followed request's reply goes to its client, under the client's tag, and to nobody else."""
        following = Signal()
        client_tag = Signal(CLIENT_TAG_BITS)
        memory_tag = Signal.like(self.memory_request.payload.tag)
        requests, replies = Array(self.requests), Array(self.replies)
        owner = replies[self.client]
        returned = following & self.memory_reply.valid & (self.memory_reply.payload.tag == memory_tag)
        with m.If(returned):
            m.d.comb += [
                Assert(Cat(reply.valid for reply in self.replies) == 1 << self.client),
                Assert(owner.payload.tag == client_tag),
                Assert(owner.payload.data == self.memory_reply.payload.data),
                Assert(owner.payload.error == self.memory_reply.payload.error),
                Assert(self.memory_reply.ready == owner.ready),
            ]
        with m.If(following & accepted.any()):
            with m.If(accepted.bit_select(self.client, 1)):
                m.d.comb += Assume(requests[self.client].payload.tag[:CLIENT_TAG_BITS] != client_tag)  # one at a time
            m.d.comb += Assert(self.memory_request.payload.tag != memory_tag)

        with m.If(returned & owner.ready):
            m.d.sync += following.eq(0)
        with m.Elif(~following & self.follow & accepted.bit_select(self.client, 1)):
            m.d.sync += [
                following.eq(1),
                client_tag.eq(requests[self.client].payload.tag),
                memory_tag.eq(self.memory_request.payload.tag),
            ]

    def _check_turns(self, m, accepted):
        """Nobody waits for more than one access of every other client."""
        waiting = Array(request.valid & ~request.ready for request in self.requests)[self.client]
        overtaken = Signal(CLIENTS)
        m.d.sync += overtaken.eq(Mux(waiting, overtaken | accepted, 0))
        with m.If(waiting):
            m.d.comb += Assert((overtaken & accepted) == 0)


class BrokenArbiter(wiring.Component):
    """An arbiter with a fault: withdraws an offer, switches to another, misdelivers a reply, or starves a client."""

    def __init__(self, fault):
        self._fault = fault
        super().__init__(MemoryArbiter(clients=CLIENTS).signature)

    def elaborate(self, platform):
        m = Module()
        m.submodules.arbiter = arbiter = MemoryArbiter(clients=CLIENTS)
        for index in range(CLIENTS):
            connect_stream(m, src=self.requests[index], dst=arbiter.requests[index])
            connect_stream(m, src=arbiter.replies[index], dst=self.replies[index])
        connect_stream(m, src=arbiter.memory_request, dst=self.memory_request)
        connect_stream(m, src=self.memory_reply, dst=arbiter.memory_reply)
        second = Signal()
        m.d.sync += second.eq(~second)
        match self._fault:
            case "withdraws":
                m.d.comb += [
                    self.memory_request.valid.eq(arbiter.memory_request.valid & second),
                    arbiter.memory_request.ready.eq(self.memory_request.ready & second),
                ]
            case "switches":
                m.d.comb += self.memory_request.payload.hpa.eq(arbiter.memory_request.payload.hpa ^ ~self.memory_request.ready)
            case "misdelivers":
                client_bit = self.memory_reply.payload.tag[CLIENT_TAG_BITS]
                m.d.comb += arbiter.memory_reply.payload.tag[CLIENT_TAG_BITS].eq(client_bit ^ second)
            case "starves":
                last, offered, shown = self.requests[-1], Signal(), Signal()
                m.d.comb += shown.eq(offered | ~Cat(request.valid for request in self.requests[:-1]).any())
                m.d.sync += offered.eq(last.valid & ~last.ready & shown)
                m.d.comb += [
                    arbiter.requests[-1].valid.eq(last.valid & shown),
                    last.ready.eq(arbiter.requests[-1].ready & shown),
                ]
        return m


def test_memory_arbiter_keeps_every_request_whole_and_returns_every_reply_to_its_owner(formal):
    formal.holds(ArbiterSpec(MemoryArbiter(clients=CLIENTS)), depth=DEPTH)


def test_stalls_at_either_side_of_the_memory_arbiter_do_occur(formal):
    formal.reaches(ArbiterSpec(MemoryArbiter(clients=CLIENTS)), depth=DEPTH)


@pytest.mark.parametrize(("fault", "assertion"), [
    ("withdraws", r"top\.spec: .*Assert\(at_memory\.valid == "),
    ("switches", r"memory_request_contract: .*self\.payload == payload_before"),
    ("misdelivers", r"reply_._contract: .*_rule\(self\.valid\)"),
    ("starves", r"top\.spec: .*Assert\(\(overtaken & accepted\) == 0\)"),
], ids=["withdraws", "switches", "misdelivers", "starves"])
def test_broken_memory_arbiter_is_refuted_at_the_rule_that_it_breaks(formal, fault, assertion):
    with pytest.raises(Refuted, match=assertion):
        formal.holds(ArbiterSpec(BrokenArbiter(fault)), depth=DEPTH)
