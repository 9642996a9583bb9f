# amaranth: UnusedElaboratable=no
"""A wait says that it is complete only behind its fence, and the head passes nothing that is not legal."""

import pytest
from amaranth import *
from amaranth.hdl import Assert, Assume, Cover
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

from hw.iommu.config import IommuConfig
from hw.iommu.invalidation_queue import InvalidationQueue
from hw.iommu.messages import InvalidationStep, Message, QueuePort
from hw.lib.stream import connect_stream
from hw.spec.capabilities import Straps
from hw.spec.memory import MemoryRequest, memory_reply_layout
from hw.spec.monitor import QueueKnobs
from tests.formal.contract import assert_stream
from tests.formal.harness import Refuted, hold

FETCHED = 2  # descriptors between fetch and execution: as few as there can be two of
DEPTH = 14          # a wait up to its status, with a descriptor before it or one behind it
LONG_DEPTH = 19     # enough to reach each sequence that is worth reaching
COUNT_BITS = 5  # enough for what happens within the depth
CONTEXT_CACHE, IOTLB, DEVICE_TLB, INTERRUPT_ENTRY_CACHE, WAIT = range(1, 6)
LEGACY, ABORT = 0, 3
REPLY = memory_reply_layout(128)

RESERVED_BITS = {
    CONTEXT_CACHE: [*range(6, 9), *range(12, 16), *range(50, 128)],
    IOTLB: [8, *range(12, 16), *range(32, 64), *range(71, 76)],
    DEVICE_TLB: [*range(4, 9), *range(21, 32), *range(48, 52), *range(65, 76)],
    INTERRUPT_ENTRY_CACHE: [*range(5, 9), *range(12, 27), *range(48, 128)],
    WAIT: [7, 8, *range(12, 32), 64, 65],
}
"""By type, written out from VT-d 6.5.2."""


def is_legal(descriptor, second_half, *, wide, table_mode, max_address_mask):
    """VT-d 6.5.2 once more, bit by bit."""
    number = descriptor[:4]
    legal = descriptor[9:12] == 0
    for each, places in RESERVED_BITS.items():
        clear = ~Cat(descriptor[place] for place in places).any()
        if each in (CONTEXT_CACHE, IOTLB):
            clear &= descriptor[4:6] != 0
        if each == IOTLB:
            clear &= (descriptor[4:6] != 3) | (descriptor[64:70] <= max_address_mask)
        legal &= (number != each) | clear
    exists = (number >= 1) & (number <= Mux(table_mode == ABORT, 9, 5))
    legal &= (number == 9) | ~(wide & second_half.any())   # a page group response may carry data there
    return legal & exists & ((table_mode == LEGACY) | (table_mode == ABORT) & wide)


class QueueSpec(wiring.Component):
    """`block` is the queue, between registers, a memory, an invalidator and a message writer that keep their promises.

    One wait, of the solver's choice, is followed from the cycle in which the head passes it: its status data has a value
    that no other wait's has. So is the descriptor in one place of the queue, from its reads on.
    """

    registers: In(QueuePort())
    straps: In(Straps)
    knobs: In(QueueKnobs)
    memory_requests: Out(stream.Signature(MemoryRequest))
    memory_replies: In(stream.Signature(REPLY))
    invalidations: Out(stream.Signature(InvalidationStep))
    invalidation_done: In(1)
    status: Out(stream.Signature(Message))
    status_stored: In(1)
    place: In(8)     # of the descriptor that is followed, in units
    mark: In(32)     # status data of the wait that is followed
    follow: In(1)    # follow the one that the head passes in this cycle

    def __init__(self, block):
        self._block = block
        super().__init__()

    def elaborate(self, platform):
        m = Module()
        m.submodules.queue = queue = self._block
        connect_stream(m, src=queue.memory_requests, dst=self.memory_requests)
        connect_stream(m, src=self.memory_replies, dst=queue.memory_replies)
        connect_stream(m, src=queue.invalidations, dst=self.invalidations)
        connect_stream(m, src=queue.status, dst=self.status)
        wiring.connect(m, wiring.flipped(self.registers), queue.registers)
        m.d.comb += [
            queue.straps.eq(self.straps),
            queue.knobs.eq(self.knobs),
            queue.invalidation_done.eq(self.invalidation_done),
            queue.status_stored.eq(self.status_stored),
        ]
        assert_stream(m, "memory_request_contract", self.memory_requests)
        assert_stream(m, "invalidation_contract", self.invalidations)
        assert_stream(m, "status_contract", self.status)
        with m.If(self.memory_replies.valid):
            m.d.comb += Assert(self.memory_replies.ready)
        self._assume_surroundings(m)
        self._check_reads(m, queue)
        self._check_head(m, queue)
        self._check_waits(m, queue)
        return m

    def _assume_surroundings(self, m):
        """Answers come only when something was asked; the registers stand still and hold as QueuePort says."""
        hold(m, Cat(self.straps.max_address_mask, self.mark, self.place))
        read, reply = self.memory_requests, self.memory_replies
        reads_owed = Signal(FETCHED)   # by tag
        m.d.sync += reads_owed.eq(Mux(read.valid & read.ready, 1 << read.payload.tag[:1], 0)
                                  | reads_owed & ~Mux(reply.valid, 1 << reply.payload.tag[:1], 0))
        m.d.comb += Assume(~reply.valid | (reply.payload.tag < FETCHED) & reads_owed.bit_select(reply.payload.tag[:1], 1))
        with m.If(read.valid):
            m.d.comb += [Assert(read.payload.tag < FETCHED), Assert(~reads_owed.bit_select(read.payload.tag[:1], 1))]
        for taken, answer, name in (
            (self.invalidations.valid & self.invalidations.ready & self.invalidations.payload.fence,
             self.invalidation_done, "fence"),
            (self.status.valid & self.status.ready, self.status_stored, "store"),
        ):
            owed = Signal(name=f"{name}_owed")
            m.d.sync += owed.eq(taken | owed & ~answer)
            m.d.comb += Assume(owed | ~answer)

        port, steady = self.registers, Signal()
        geometry = Cat(port.base, port.size_log2, port.wide)
        before, must_hold, started = Signal.like(geometry), Signal(), Signal()
        m.d.sync += [
            started.eq(1),
            before.eq(geometry),
            steady.eq(port.enabled | ~port.drained),
            must_hold.eq(port.queue_error | port.timed_out),
        ]
        with m.If(steady):
            m.d.comb += Assume(geometry == before)
        with m.If(must_hold):
            m.d.comb += Assume(port.held)
        m.d.comb += Assume((self.knobs.fetch_delay == 0) & (self.knobs.execute_delay == 0))
        m.d.comb += Assume(port.size_log2 == 0)
        m.d.comb += Assume(port.base[7:] == 5)   # one place is as good as another
        m.d.comb += Assume(port.base[:7] == 0)
        with m.If(~started):
            m.d.comb += Assume(~port.enabled)

    def _check_reads(self, m, queue):
        """Reads are in the order of the queue, from the head on, and nothing that begins while held is read.

        Leaves behind which descriptor was asked for last, and whether it is still on its way to the head.
        """
        port, passed, read = self.registers, queue.events[0], self.memory_requests
        unit = Signal(8)
        asked, asked_before, thrown_away = Signal(8), Signal(8), Signal()
        self._reading, self._asked = Signal(), asked
        reading_before, held_before = Signal(), Signal()
        m.d.comb += [
            unit.eq(read.payload.hpa[4:]),
            asked.eq(Mux(read.valid, unit & ~port.wide, asked_before)),
            self._reading.eq(reading_before | read.valid & ~thrown_away),
        ]
        m.d.sync += [
            asked_before.eq(asked),
            reading_before.eq(self._reading & ~port.queue_error & ~(passed.valid & (port.head == asked))),
            thrown_away.eq(port.queue_error | thrown_away & read.valid),    # what was under way at an error
            held_before.eq(port.held | port.queue_error | port.timed_out | ~port.enabled),
        ]
        with m.If(read.valid):
            m.d.comb += [
                Assert(read.payload.hpa[12:] == (5 << 7)),
                Assert(((unit - port.head) & 0xFF) < 2 * FETCHED),
            ]
        with m.If(held_before & ~reading_before & ~thrown_away):
            m.d.comb += Assert(~read.valid)

    def _check_head(self, m, queue):
        """The head advances by one legal descriptor, or returns to 0 when nothing is left."""
        port, passed = self.registers, queue.events[0]
        head_before, passed_before, wide_before, at_rest = Signal(15), Signal(), Signal(), Signal()
        m.d.sync += [
            head_before.eq(port.head),
            passed_before.eq(passed.valid),
            wide_before.eq(port.wide),
            at_rest.eq(port.drained & ~port.enabled),
        ]
        advanced = (head_before + Mux(wide_before, 2, 1)) & 0xFF
        with m.If(passed_before):
            m.d.comb += Assert(port.head == advanced)
        with m.Elif(port.head != head_before):
            m.d.comb += [Assert(at_rest), Assert(port.head == 0)]

        # What memory answered when the followed descriptor was read last.
        halves = [Signal(128, name=f"half_{index}") for index in range(2)]
        got, refused = Signal(2), Signal(2)
        read, reply = self.memory_requests, self.memory_replies
        of_followed = (port.head == self.place) & ~(port.wide & self.place[0])
        for index in range(2):
            owed, tag = Signal(name=f"half_{index}_owed"), Signal(1, name=f"half_{index}_tag")
            with m.If(read.valid & read.ready & (read.payload.hpa[4:12] == (self.place | index)) & (index <= port.wide)):
                m.d.sync += [owed.eq(1), tag.eq(read.payload.tag), got[index].eq(0)]
            with m.Elif(reply.valid & owed & (reply.payload.tag == tag)):
                m.d.sync += [owed.eq(0), got[index].eq(1), halves[index].eq(reply.payload.data),
                             refused[index].eq(reply.payload.error)]
            with m.If(port.queue_error | passed.valid & of_followed):
                m.d.sync += [owed.eq(0), got[index].eq(0)]
        legal = is_legal(halves[0], Mux(port.wide, halves[1], 0), wide=port.wide, table_mode=port.table_mode.as_value(),
                         max_address_mask=self.straps.max_address_mask)
        refusal = refused[0] | port.wide & refused[1]
        whole = got[0] & (got[1] | ~port.wide)
        with m.If(passed.valid & of_followed):
            m.d.comb += [
                Assert(whole),
                Assert(legal),
                Assert(~refusal),
                Assert(passed.payload.detail == halves[0]),
            ]
        with m.If(port.queue_error & of_followed & got.any()):
            m.d.comb += [Assert(whole), Assert(~legal | refusal)]
        with m.If(passed.valid):
            m.d.comb += Assert(self._reading)
        m.d.comb += Assert(~port.queue_error | (port.queue_error_cause != 0))
        m.d.comb += Assert(port.queue_error + port.timed_out + port.completion_error <= 1)
        m.d.comb += Cover(passed.valid & port.wide)

    def _check_waits(self, m, queue):
        """The status of the followed wait comes behind a fence that is behind everything ahead of it; or never."""
        passed, port = queue.events[0], self.registers
        descriptor = passed.payload.detail
        followed = passed.valid & self.follow & (descriptor[:4] == WAIT) & descriptor[5]
        following, abandoned, covering, covered = Signal(), Signal(), Signal(), Signal()
        overtaken, last_overtaken = Signal(), Signal(8)     # by a time-out, what is being fetched
        passed_count, ended_count, ahead = (Signal(COUNT_BITS, name=name) for name in ("passed", "ended", "ahead"))
        begun_count, named_count = Signal(COUNT_BITS, name="begun"), Signal(COUNT_BITS, name="named")
        step = self.invalidations.valid & self.invalidations.ready
        fence = self.invalidations.payload.fence
        names_invalidation = (descriptor[:4] == CONTEXT_CACHE) | (descriptor[:4] == IOTLB)
        named_ahead = Signal(COUNT_BITS)
        m.d.sync += [
            passed_count.eq(passed_count + passed.valid),
            ended_count.eq(ended_count + (queue.executed | queue.wait_abandoned)),
            named_count.eq(named_count + (passed.valid & names_invalidation)),
            begun_count.eq(begun_count + (step & ~fence)),
        ]
        with m.If(passed.valid & (descriptor[:4] == WAIT)):
            m.d.comb += Assume((descriptor[32:64] == self.mark) == (followed & ~following))
        with m.If(followed & ~following):
            m.d.sync += [
                following.eq(1),
                ahead.eq(passed_count),
                named_ahead.eq(named_count),
                abandoned.eq(port.timed_out | overtaken),
            ]
        with m.If(following):
            with m.If(step & fence & (ended_count == ahead)):
                m.d.comb += Assert(begun_count == named_ahead)
                m.d.sync += covering.eq(1)
            with m.If(covering & self.invalidation_done):
                m.d.sync += covered.eq(1)
            with m.If(port.timed_out):
                m.d.sync += abandoned.eq(1)
        with m.If(port.timed_out):
            m.d.sync += [overtaken.eq(self._reading), last_overtaken.eq(self._asked)]
            with m.If(passed.valid & (port.head == self._asked)):
                m.d.sync += overtaken.eq(0)
        with m.Elif(port.queue_error | passed.valid & (port.head == last_overtaken)):
            m.d.sync += overtaken.eq(0)
        its_status = self.status.valid & (self.status.payload.data == self.mark)
        with m.If(self.status.valid):
            m.d.comb += Assert(following | ~its_status)
        with m.If(its_status):
            m.d.comb += [Assert(covered), Assert(~abandoned)]
        with m.If(queue.wait_abandoned & following & (ended_count == ahead)):
            m.d.comb += Assert(abandoned | port.timed_out)
        with m.If(port.drained):
            m.d.comb += Assert(ended_count == passed_count)
        m.d.comb += Cover(its_status & (named_ahead == 1))
        m.d.comb += Cover(following & abandoned & queue.wait_abandoned)


def a_queue():
    """The queue that is checked."""
    return InvalidationQueue(IommuConfig(), depth=FETCHED)


class BrokenQueue(wiring.Component):
    """A queue with a fault, by what it does between the block and the outside."""

    def __init__(self, fault):
        self._fault = fault
        super().__init__(a_queue().signature)

    def elaborate(self, platform):
        m = Module()
        m.submodules.queue = queue = a_queue()
        for name in ("memory_requests", "invalidations", "status"):
            connect_stream(m, src=getattr(queue, name), dst=getattr(self, name))
        connect_stream(m, src=self.memory_replies, dst=queue.memory_replies)
        wiring.connect(m, wiring.flipped(self.registers), queue.registers)
        for name in ("straps", "knobs", "invalidation_done", "status_stored"):
            m.d.comb += getattr(queue, name).eq(getattr(self, name))
        for name in ("executed", "executed_type", "wait_abandoned"):
            m.d.comb += getattr(self, name).eq(getattr(queue, name))
        for event, source in zip(self.events, queue.events, strict=True):
            wiring.connect(m, source, wiring.flipped(event))
        self._break(m, queue)
        return m

    def _break(self, m, queue):
        step = queue.invalidations
        match self._fault:
            case "hurries":      # takes the fence for done when it is taken
                taken = Signal()
                m.d.sync += taken.eq(step.valid & step.ready & step.payload.fence)
                m.d.comb += queue.invalidation_done.eq(taken)
            case "forgets":      # begins no invalidation of the IOTLB
                forgotten = step.valid & ~step.payload.fence & step.payload.invalidation.kind.as_value()[0]
                m.d.comb += [self.invalidations.valid.eq(step.valid & ~forgotten)]
                with m.If(forgotten):
                    m.d.comb += step.ready.eq(1)
            case "believes":     # overlooks that memory refused
                m.d.comb += queue.memory_replies.payload.error.eq(0)
            case "overlooks":    # does not see a reserved bit
                m.d.comb += queue.memory_replies.payload.data[12].eq(0)
            case "rushes":       # reads on though it is held
                m.d.comb += queue.registers.held.eq(0)
            case "withdraws":
                second = Signal()
                m.d.sync += second.eq(~second)
                m.d.comb += [
                    self.status.valid.eq(queue.status.valid & second),
                    queue.status.ready.eq(self.status.ready & second),
                ]
            case "confesses":    # says drained while a descriptor is executed
                m.d.comb += self.registers.drained.eq(1)


def test_no_status_before_its_fence_and_no_illegal_descriptor_is_passed(formal):
    formal.holds(QueueSpec(a_queue()), depth=DEPTH)


def test_statuses_behind_an_invalidation_and_abandoned_waits_do_occur(formal):
    formal.reaches(QueueSpec(a_queue()), depth=LONG_DEPTH)


@pytest.mark.parametrize(("fault", "assertion"), [
    ("hurries", r"Assert\(covered\)"),
    ("forgets", r"Assert\(begun_count == named_ahead\)"),
    ("believes", r"Assert\(~refusal\)"),
    ("overlooks", r"Assert\(legal\)|Assert\(passed\.payload\.detail == "),
    ("rushes", r"Assert\(~read\.valid\)"),
    ("withdraws", r"status_contract: .*_rule\(self\.valid\)"),
    ("confesses", r"Assert\(ended_count == passed_count\)"),
], ids=["hurries", "forgets", "believes", "overlooks", "rushes", "withdraws", "confesses"])
def test_a_broken_queue_is_refuted_at_the_rule_that_it_breaks(formal, fault, assertion):
    with pytest.raises(Refuted, match=assertion):
        formal.holds(QueueSpec(BrokenQueue(fault)), depth=DEPTH)
