# amaranth: UnusedElaboratable=no
"""Stores by the unit itself: four bytes each, to the place that was named, and acknowledged to the one who asked."""

from itertools import pairwise

import pytest

from hw.iommu.message_writer import MessageWriter
from hw.iommu.messages import Message
from hw.spec.codec import decode, encode
from hw.spec.events import EventKind, MessageKind
from hw.spec.memory import MemoryOperation
from tests.hw.iommu.bench import Listener, run, send, wait
from tests.hw.iommu.memory_mock import MemoryMock

STATUS, FAULT_EVENT, INVALIDATION_EVENT = 0, 1, 2
BACKGROUND = 0xEEEE_EEEE_EEEE_EEEE_EEEE_EEEE_EEEE_EEEE


def message(address, data, kind=MessageKind.STATUS):
    """A message, as a constant."""
    return decode(Message, encode(Message, kind=kind, address=address, data=data))


class Bench:
    """A message writer with a memory; what each source was told, as (cycle, refused)."""

    def __init__(self, *, word_bits=128, **memory):
        self.dut = MessageWriter(word_bits=word_bits)
        self.memory = MemoryMock(word_bits=word_bits, **memory)
        self.events = Listener(self.dut.events[0])
        self.taken = [Listener(port) for port in self.dut.messages]
        self.stored = [[], [], []]

    async def _listen(self, ctx):
        cycle = 0
        async for _, _, refused, *stored in ctx.tick().sample(self.dut.refused, *self.dut.stored):
            assert sum(stored) <= 1
            assert refused <= sum(stored)
            for log, pulse in zip(self.stored, stored, strict=True):
                if pulse:
                    log.append((cycle, refused))
            cycle += 1

    def run(self, *sources):
        """Each source sends its messages, all at the same time."""
        dut = self.dut

        def sender(port, messages):
            async def testbench(ctx):
                for each in messages:
                    await send(ctx, port, each)
                await wait(ctx, 40)

            return testbench

        run(
            dut,
            *(sender(port, messages) for port, messages in zip(dut.messages, sources, strict=False)),
            background=(
                self.memory.process(dut.memory_requests, dut.memory_replies),
                self._listen,
                self.events.process,
                *(listener.process for listener in self.taken),
            ),
        )


@pytest.mark.parametrize("lane", range(4))
@pytest.mark.parametrize("word_bits", [128, 512])
def test_four_bytes_are_stored_and_no_others(word_bits, lane):
    bench = Bench(word_bits=word_bits)
    for quantum in (0x4000, 0x4010, 0x4020, 0x4030):
        bench.memory.store(quantum, BACKGROUND, 16)
    bench.run([message(0x4010 + 4 * lane, 0x1234_5678)])
    assert bench.memory.load(0x4010 + 4 * lane, 4) == 0x1234_5678
    kept = (1 << 128) - 1 ^ 0xFFFF_FFFF << 32 * lane
    assert bench.memory.load(0x4010, 16) & kept == BACKGROUND & kept
    for quantum in (0x4000, 0x4020, 0x4030):
        assert bench.memory.load(quantum, 16) == BACKGROUND
    assert [access[1] for access in bench.memory.accesses] == [MemoryOperation.WRITE]


@pytest.mark.parametrize("source", range(3))
def test_the_source_is_told_once_when_memory_has_answered(source):
    bench = Bench(latency=(5, 5))
    sources = [[], [], []]
    sources[source] = [message(0x1000, 7)]
    bench.run(*sources)
    (accepted, *_), *others = bench.memory.accesses
    assert not others
    assert bench.stored[source] == [(accepted + 5, 0)]
    assert sum(map(len, bench.stored)) == 1


def test_a_refused_store_is_acknowledged_and_said_to_be_refused():
    bench = Bench()
    bench.memory.refuse(0x1000)
    bench.run([message(0x1000, 7), message(0x2000, 8)])
    assert [refused for _, refused in bench.stored[STATUS]] == [1, 0]
    assert bench.memory.load(0x1000, 4) == 0
    assert bench.memory.load(0x2000, 4) == 8


@pytest.mark.parametrize("address", [1 << 52, 1 << 63, 0xFFFF_FFFF_FFFF_FFFC])
def test_an_address_that_no_memory_can_have_is_refused_without_an_access(address):
    bench = Bench()
    bench.run([message(address, 7), message(0x2000, 8)])
    assert [refused for _, refused in bench.stored[STATUS]] == [1, 0]
    assert [access[2] for access in bench.memory.accesses] == [0x2000]
    assert len(bench.events) == 1


def test_the_highest_address_that_memory_can_have_is_reached():
    bench = Bench()
    bench.run([message((1 << 52) - 4, 7)])
    assert bench.memory.load((1 << 52) - 4, 4) == 7


def test_the_event_comes_in_the_cycle_in_which_memory_accepts_the_store():
    bench = Bench(latency=(3, 3), ready_percent=20, seed=1)
    bench.run([], [message(0xFEE0_1004, 0xCAFE, MessageKind.FAULT_EVENT)])
    ((accepted, *_),) = bench.memory.accesses
    assert bench.events.cycles == [accepted]
    assert bench.taken[FAULT_EVENT].cycles == [accepted]
    (event,) = bench.events.payloads
    assert (event.kind, event.hpa, event.tag, event.detail) == (
        EventKind.MESSAGE,
        0xFEE0_1004,
        MessageKind.FAULT_EVENT,
        0xCAFE,
    )


@pytest.mark.parametrize("seed", range(4))
def test_every_message_of_every_source_is_stored_once_and_in_its_order(seed):
    bench = Bench(latency=(1, 6), ready_percent=60, seed=seed)
    sources = [[message(0x1000 * (source + 1) + 4 * n, n + 1) for n in range(8)] for source in range(3)]
    bench.run(*sources)
    written = [access[2] for access in bench.memory.accesses]
    for source in range(3):
        mine = [0x1000 * (source + 1) + 4 * n for n in range(8)]
        assert [hpa for hpa in written if hpa & 0xF000 == mine[0]] == mine
        assert [bench.memory.load(hpa, 4) for hpa in mine] == list(range(1, 9))
        assert [refused for _, refused in bench.stored[source]] == [0] * 8
    assert len(bench.events) == len(written) == 24
    first_of_each = {hpa & 0xF000 for hpa in written[:3]}
    assert first_of_each == {0x1000, 0x2000, 0x3000}


def test_only_one_store_is_outstanding():
    bench = Bench(latency=(9, 9))
    bench.run(*([message(0x1000 * (source + 1), 1)] for source in range(3)))
    cycles = [access[0] for access in bench.memory.accesses]
    assert [later - earlier for earlier, later in pairwise(cycles)] == [10, 10]
