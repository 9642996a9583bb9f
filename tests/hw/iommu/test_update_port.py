# amaranth: UnusedElaboratable=no
"""A CPU's stores into table memory: one indivisible operation each, and nothing else."""

import pytest
from amaranth import Module
from amaranth.lib import wiring
from hypothesis import given, settings
from hypothesis import strategies as st

from hw.iommu.memory_arbiter import MemoryArbiter
from hw.iommu.update_port import UpdatePort
from hw.lib.stream import connect_stream
from hw.spec.bench import UpdateOperation, UpdateRequest
from hw.spec.codec import decode, encode
from hw.spec.events import EventKind
from hw.spec.memory import MemoryOperation
from hw.top.table_memory import TableMemory
from tests.hw.iommu.bench import Listener, receive, run, send, wait
from tests.hw.iommu.memory_mock import MemoryMock

ONES = (1 << 128) - 1
OLD, NEW = 0x1111_2222_3333_4444_5555_6666_7777_8888, 0x9999_AAAA_BBBB_CCCC_DDDD_EEEE_FFFF_0000
EXCHANGE, STORE = UpdateOperation.COMPARE_EXCHANGE_128, UpdateOperation.STORE_64


def update(operation, hpa, *, desired, expected=0):
    """An update request, as a constant."""
    fields = dict(operation=operation, hpa=hpa, desired=desired, expected=expected)
    return decode(UpdateRequest, encode(UpdateRequest, **fields))


class Bench:
    """An update port with a memory."""

    def __init__(self, *, word_bits=128, **memory):
        self.dut = UpdatePort(word_bits=word_bits)
        self.memory = MemoryMock(word_bits=word_bits, **memory)
        self.replies = Listener(self.dut.replies)
        self.events = Listener(self.dut.events[0])
        self.accepted = Listener(self.dut.requests)

    def run(self, *requests):
        """Send them one after the other; the replies."""

        async def testbench(ctx):
            for request in requests:
                await send(ctx, self.dut.requests, request)
                await receive(ctx, self.dut.replies)

        run(
            self.dut,
            testbench,
            background=(
                self.memory.process(self.dut.memory_requests, self.dut.memory_replies),
                self.replies.process,
                self.events.process,
                self.accepted.process,
            ),
        )
        return self.replies.payloads


@pytest.mark.parametrize("hpa", [0x4000, 0x4010, 0x4030])
@pytest.mark.parametrize("word_bits", [128, 512])
def test_an_exchange_takes_place_only_if_the_quantum_is_as_expected(word_bits, hpa):
    bench = Bench(word_bits=word_bits)
    bench.memory.store(hpa, OLD, 16)
    refused, done = bench.run(
        update(EXCHANGE, hpa, expected=OLD ^ 1, desired=ONES), update(EXCHANGE, hpa, expected=OLD, desired=NEW)
    )
    assert (refused.swapped, refused.error, refused.observed) == (0, 0, OLD)
    assert (done.swapped, done.error, done.observed) == (1, 0, OLD)
    assert bench.memory.load(hpa, 16) == NEW


@pytest.mark.parametrize("difference", [1, 1 << 63, 1 << 64, 1 << 127])
def test_every_bit_of_the_quantum_is_compared(difference):
    bench = Bench()
    bench.memory.store(0x4000, OLD, 16)
    (reply,) = bench.run(update(EXCHANGE, 0x4000, expected=OLD ^ difference, desired=NEW))
    assert reply.swapped == 0
    assert bench.memory.load(0x4000, 16) == OLD


@pytest.mark.parametrize(
    ("hpa", "after"), [(0x4000, OLD >> 64 << 64 | 0xABCD), (0x4008, OLD & (1 << 64) - 1 | 0xABCD << 64)]
)
def test_a_store_changes_its_eight_bytes_only(hpa, after):
    bench = Bench()
    bench.memory.store(0x4000, OLD, 16)
    bench.memory.store(0x4010, ONES, 16)
    (reply,) = bench.run(update(STORE, hpa, desired=0xABCD))
    assert (reply.swapped, reply.error, reply.observed) == (1, 0, OLD)
    assert bench.memory.load(0x4000, 16) == after
    assert bench.memory.load(0x4010, 16) == ONES


def test_the_upper_half_of_desired_is_ignored_by_a_store():
    bench = Bench()
    bench.run(update(STORE, 0x4000, desired=NEW))
    assert bench.memory.load(0x4000, 16) == NEW & (1 << 64) - 1


@pytest.mark.parametrize(
    ("operation", "hpa"), [(EXCHANGE, 0x4001), (EXCHANGE, 0x4008), (STORE, 0x4004), (STORE, 0x400F)]
)
def test_a_misaligned_request_is_an_error_and_sends_nothing(operation, hpa):
    bench = Bench()
    reply, after = bench.run(update(operation, hpa, desired=NEW), update(EXCHANGE, 0x5000, desired=NEW))
    assert (reply.swapped, reply.error, reply.observed) == (0, 1, 0)
    assert (after.swapped, after.error) == (1, 0)
    assert len(bench.memory.accesses) == 1
    assert len(bench.events) == 1


@pytest.mark.parametrize("operation", [EXCHANGE, STORE])
def test_a_refusal_of_memory_is_an_error(operation):
    bench = Bench()
    bench.memory.refuse(0x4000)
    (reply,) = bench.run(update(operation, 0x4000, desired=NEW, expected=0))
    assert (reply.swapped, reply.error) == (0, 1)
    assert bench.events.payloads[0].tag == 0


def test_a_request_is_accepted_in_the_cycle_of_its_commit():
    bench = Bench(ready_percent=20, latency=(1, 9), seed=4)
    bench.run(*(update(EXCHANGE, 0x4000, expected=value, desired=value + 1) for value in range(10)))
    assert [cycle for cycle, *_ in bench.memory.accesses] == bench.accepted.cycles
    assert bench.memory.load(0x4000, 16) == 10


def test_events_tell_the_outcome():
    bench = Bench()
    bench.run(
        update(EXCHANGE, 0x4000, expected=1, desired=NEW),
        update(EXCHANGE, 0x4000, desired=NEW),
        update(STORE, 0x4008, desired=5),
    )
    assert [(event.kind, event.hpa, event.tag, event.detail) for event in bench.events.payloads] == [
        (EventKind.UPDATE, 0x4000, 0, NEW),
        (EventKind.UPDATE, 0x4000, 1, NEW),
        (EventKind.UPDATE, 0x4008, 1, 5),
    ]


QUANTA = st.sampled_from([0, 1, 1 << 64, OLD, NEW])
UPDATES = st.one_of(
    st.builds(
        lambda hpa, expected, desired: (EXCHANGE, hpa, expected, desired),
        st.sampled_from([0x4000, 0x4010]),
        QUANTA,
        QUANTA,
    ),
    st.builds(lambda hpa, desired: (STORE, hpa, 0, desired), st.sampled_from([0x4000, 0x4008, 0x4010, 0x4018]), QUANTA),
)


@settings(max_examples=20, deadline=None)
@given(updates=st.lists(UPDATES, min_size=1, max_size=12))
def test_any_sequence_of_stores_does_what_it_does_to_a_dictionary(updates):
    bench = Bench(latency=(1, 5), ready_percent=70)
    words = {0x4000: 0, 0x4010: 0}
    expected = []
    for operation, hpa, compare, desired in updates:
        base, shift = hpa & ~15, 64 * (hpa >> 3 & 1)
        before = words[base]
        if operation == EXCHANGE:
            expected.append((int(before == compare), before))
            words[base] = desired if before == compare else before
        else:
            expected.append((1, before))
            half = (1 << 64) - 1
            words[base] = before & ~(half << shift) | (desired & half) << shift
    replies = bench.run(
        *(update(operation, hpa, expected=compare, desired=desired) for operation, hpa, compare, desired in updates)
    )
    assert [(reply.swapped, reply.observed) for reply in replies] == expected
    assert {hpa: bench.memory.load(hpa, 16) for hpa in words} == words


class SharedMemory(wiring.Component):
    """An update port and a reader at one block-RAM memory."""

    def __init__(self):
        self.port = UpdatePort()
        self.arbiter = MemoryArbiter(clients=2)
        super().__init__({})

    def elaborate(self, platform):
        m = Module()
        m.submodules.port, m.submodules.arbiter = self.port, self.arbiter
        m.submodules.memory = memory = TableMemory(depth_words=8, latency=3)
        connect_stream(m, src=self.port.memory_requests, dst=self.arbiter.requests[0])
        connect_stream(m, src=self.arbiter.replies[0], dst=self.port.memory_replies)
        connect_stream(m, src=self.arbiter.memory_request, dst=memory.requests)
        connect_stream(m, src=memory.replies, dst=self.arbiter.memory_reply)
        return m


def values_seen(*updates):
    """What a reader who reads all the time sees of a quantum, while these updates are carried out."""
    shared = SharedMemory()
    seen = Listener(shared.arbiter.replies[1])
    finished = []

    async def writer(ctx):
        for request in updates:
            await send(ctx, shared.port.requests, request)
            await receive(ctx, shared.port.replies)
            await wait(ctx, 5)
        finished.append(True)

    async def reader(ctx):
        ctx.set(shared.arbiter.replies[1].ready, 1)
        while not finished:
            await send(
                ctx,
                shared.arbiter.requests[1],
                {"operation": MemoryOperation.READ, "hpa": 0x10, "data": 0, "expected": 0, "write_mask": 0, "tag": 0},
            )
        await wait(ctx, 5)

    run(shared, writer, reader, background=(seen.process,))
    return {reply.data for reply in seen.payloads}


def test_no_reader_sees_half_of_an_exchange():
    exchanges = [
        update(EXCHANGE, 0x10, expected=0 if value % 2 else ONES, desired=ONES if value % 2 else 0)
        for value in range(1, 9)
    ]
    assert values_seen(*exchanges) == {0, ONES}


def test_a_reader_does_see_half_of_two_stores():
    assert values_seen(update(STORE, 0x10, desired=ONES), update(STORE, 0x18, desired=ONES)) == {0, (1 << 64) - 1, ONES}
