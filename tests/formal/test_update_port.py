# amaranth: UnusedElaboratable=no
"""The update port's exchange is indivisible: a reader of the word sees all of it or nothing of it."""
import pytest
from amaranth import *
from amaranth.hdl import Assert, Assume, Cover
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

from hw.iommu.memory_arbiter import MemoryArbiter
from hw.iommu.update_port import UpdatePort
from hw.lib.stream import connect_stream
from hw.spec.bench import UpdateOperation, UpdateReply, UpdateRequest
from hw.spec.memory import QUANTUM_BITS, MemoryOperation, MemoryRequest, memory_reply_layout
from hw.top.table_memory import TableMemory
from tests.formal.contract import assert_stream, assume_stream
from tests.formal.harness import Refuted, hold

WORDS = 2
DEPTH = 8
_HPA_BITS = 7                  # of an address that are free
_FREE_BITS = int.from_bytes(bytes([1]) * (QUANTUM_BITS // 8), "little")
LONGEST_ANSWER_CYCLES = 5      # from acceptance to the offer of the reply, while the reader takes its replies


class UpdateSpec(wiring.Component):
    """`block` stores through the update port what the solver likes, while a reader reads what it likes.

    The specification is one word, whichever the solver picks: it changes in the cycle in which a request is accepted.
    """

    requests: In(stream.Signature(UpdateRequest))
    replies: Out(stream.Signature(UpdateReply))
    read_requests: In(stream.Signature(MemoryRequest))
    read_replies: Out(stream.Signature(memory_reply_layout(QUANTUM_BITS)))
    word_number: In(range(WORDS))

    def __init__(self, block):
        self._block = block
        super().__init__()

    def elaborate(self, platform):
        m = Module()
        m.submodules.port = port = self._block
        m.submodules.arbiter = arbiter = MemoryArbiter(clients=2)
        m.submodules.memory = memory = TableMemory(depth_words=WORDS)
        connect_stream(m, src=self.requests, dst=port.requests)
        connect_stream(m, src=port.replies, dst=self.replies)
        connect_stream(m, src=self.read_requests, dst=arbiter.requests[0])
        connect_stream(m, src=arbiter.replies[0], dst=self.read_replies)
        connect_stream(m, src=port.memory_requests, dst=arbiter.requests[1])
        connect_stream(m, src=arbiter.replies[1], dst=port.memory_replies)
        connect_stream(m, src=arbiter.memory_request, dst=memory.requests)
        connect_stream(m, src=memory.replies, dst=arbiter.memory_reply)
        assume_stream(m, "request_contract", self.requests)
        assume_stream(m, "read_request_contract", self.read_requests)
        assert_stream(m, "reply_contract", self.replies)
        assert_stream(m, "read_reply_contract", self.read_replies)

        # One free bit in each byte stands for the byte, and addresses are short: the solver is then many times faster.
        for request in (self.requests.payload, self.read_requests.payload):
            m.d.comb += Assume(request.hpa[_HPA_BITS:] == 0)
        for value in (self.requests.payload.expected, self.requests.payload.desired):
            m.d.comb += Assume((value & ~Const(_FREE_BITS, QUANTUM_BITS)) == 0)

        hold(m, self.word_number)
        word = Signal(QUANTUM_BITS)
        self._check_updates(m, word)
        self._check_reads(m, word)
        return m

    def _check_updates(self, m, word):
        """Change the word as the request says, and check the one reply."""
        request = self.requests.payload
        accepted = self.requests.valid & self.requests.ready
        answered = self.replies.valid & self.replies.ready
        low, high = word[:64], word[64:]
        swapped, misaligned = Signal(), Signal()
        followed = request.hpa[4:] == self.word_number
        with m.Switch(request.operation):
            with m.Case(UpdateOperation.COMPARE_EXCHANGE_128):
                m.d.comb += [misaligned.eq(request.hpa[:4] != 0), swapped.eq(~misaligned & (word == request.expected))]
                with m.If(accepted & followed & swapped):
                    m.d.sync += word.eq(request.desired)
            with m.Case(UpdateOperation.STORE_64):
                m.d.comb += [misaligned.eq(request.hpa[:3] != 0), swapped.eq(~misaligned)]
                with m.If(accepted & followed & swapped):
                    m.d.sync += word.eq(Mux(request.hpa[3], Cat(low, request.desired[:64]), Cat(request.desired[:64], high)))

        outstanding, known, expected_error = Signal(), Signal(), Signal()
        expected_swapped, expected_observed = Signal(), Signal(QUANTUM_BITS)
        age = Signal(4)
        m.d.sync += outstanding.eq(accepted | outstanding & ~answered)
        with m.If(accepted):
            m.d.comb += Assert(~outstanding)
            m.d.sync += [
                known.eq(followed & ~misaligned),
                expected_error.eq(misaligned | (request.hpa[4:] >= WORDS)),
                expected_swapped.eq(swapped),
                expected_observed.eq(word),
                age.eq(0),
            ]
        with m.If(outstanding):
            stalled = self.read_replies.valid & ~self.read_replies.ready
            m.d.sync += age.eq(age + (~self.replies.valid & ~stalled))
            m.d.comb += Assert(age < LONGEST_ANSWER_CYCLES)
        with m.If(self.replies.valid):
            reply = self.replies.payload
            m.d.comb += [Assert(outstanding), Assert(reply.error == expected_error), Assert(~(reply.error & reply.swapped))]
            with m.If(known):
                m.d.comb += [Assert(reply.swapped == expected_swapped), Assert(reply.observed == expected_observed)]
                m.d.comb += Cover(reply.swapped & (reply.observed[64:] == 1))

    def _check_reads(self, m, word):
        """A read of the word gives it as it stood when the read was accepted, whole."""
        request = self.read_requests.payload
        accepted = self.read_requests.valid & self.read_requests.ready
        reading, followed = Signal(), Signal()
        expected_data = Signal(QUANTUM_BITS)
        m.d.comb += Assume(request.operation == MemoryOperation.READ)
        m.d.comb += Assume(~(self.read_requests.valid & reading))  # one read at a time is enough to see every state
        with m.If(accepted):
            m.d.sync += [reading.eq(1), followed.eq(request.hpa[4:] == self.word_number), expected_data.eq(word)]
        with m.If(self.read_replies.valid):
            m.d.comb += Assert(reading)
            with m.If(followed):
                m.d.comb += Assert(~self.read_replies.payload.error)
                m.d.comb += Assert(self.read_replies.payload.data == expected_data)
            with m.If(self.read_replies.ready):
                m.d.sync += reading.eq(0)


class BrokenUpdatePort(wiring.Component):
    """An update port with a fault between itself and memory, or before itself.

    always    stores whether or not the word is the expected one
    tears     exchanges one half after the other
    spills    a 64-bit store writes one byte too many
    skews     a misaligned exchange is rounded down instead of refused
    doubles   replies twice
    """

    def __init__(self, fault):
        self._fault = fault
        super().__init__(UpdatePort().signature)

    def elaborate(self, platform):
        m = Module()
        m.submodules.port = port = UpdatePort()
        connect_stream(m, src=self.requests, dst=port.requests)
        connect_stream(m, src=port.replies, dst=self.replies)
        connect_stream(m, src=port.memory_requests, dst=self.memory_requests)
        connect_stream(m, src=self.memory_replies, dst=port.memory_replies)
        operation = self.memory_requests.payload
        match self._fault:
            case "always":
                m.d.comb += [operation.operation.eq(MemoryOperation.WRITE), operation.write_mask.eq(0xFFFF)]
            case "tears":
                self._tear(m, port)
            case "spills":
                m.d.comb += operation.write_mask.eq(port.memory_requests.payload.write_mask | 0x0100)
            case "skews":
                m.d.comb += port.requests.payload.hpa.eq(self.requests.payload.hpa & ~0xF)
            case "doubles":
                again = Signal()
                with m.If(self.replies.valid & self.replies.ready):
                    m.d.sync += again.eq(~again)
                m.d.comb += port.replies.ready.eq(self.replies.ready & again)
        return m

    def _tear(self, m, port):
        """Exchange the low half, then the high half; the reply tells of the first, so that only a reader can notice."""
        second, second_reply = Signal(), Signal()
        request, offer, answer = port.memory_requests.payload, self.memory_requests, self.memory_replies
        halfway = Cat(request.data[:64], request.expected[64:])
        observed = Signal(QUANTUM_BITS)
        with m.If(second):
            m.d.comb += offer.payload.expected.eq(halfway)
        with m.Elif(request.operation == MemoryOperation.COMPARE_EXCHANGE):
            m.d.comb += offer.payload.data.eq(halfway)
        with m.If(offer.valid & offer.ready):
            m.d.sync += second.eq(~second)
        with m.If(answer.valid & answer.ready):
            m.d.sync += second_reply.eq(~second_reply)
        with m.If(~second_reply):
            m.d.comb += [port.memory_replies.valid.eq(0), answer.ready.eq(1)]
            m.d.sync += observed.eq(answer.payload.data)
        m.d.comb += [port.memory_requests.ready.eq(offer.ready & second), port.memory_replies.payload.data.eq(observed)]


def test_a_reader_sees_the_old_word_or_the_new_and_every_request_has_one_true_reply(formal):
    formal.holds(UpdateSpec(UpdatePort()), depth=DEPTH)


def test_an_exchange_can_succeed_on_top_of_another(formal):
    formal.reaches(UpdateSpec(UpdatePort()), depth=DEPTH)


@pytest.mark.parametrize(("fault", "assertion"), [
    ("always", r"Assert\(self\.read_replies\.payload\.data == expected_data\)|Assert\(reply\.observed == "),
    ("tears", r"Assert\(self\.read_replies\.payload\.data == expected_data\)"),
    ("spills", r"Assert\(self\.read_replies\.payload\.data == expected_data\)|Assert\(reply\.observed == "),
    ("skews", r"Assert\(self\.read_replies\.payload\.data == expected_data\)|Assert\(reply\.error == expected_error\)"),
    ("doubles", r"Assert\(outstanding\)"),
], ids=["always", "tears", "spills", "skews", "doubles"])
def test_broken_update_port_is_refuted_at_the_rule_that_it_breaks(formal, fault, assertion):
    with pytest.raises(Refuted, match=assertion):
        formal.holds(UpdateSpec(BrokenUpdatePort(fault)), depth=DEPTH)
