# amaranth: UnusedElaboratable=no
"""Whole entries from memory, in chunks. Expected bytes are the test's own; what a store between chunks does is worked by hand."""

import pytest

from hw.iommu.entry_fetcher import EntryFetcher
from tests.hw.iommu.bench import Listener, run, send, wait
from tests.hw.iommu.memory_mock import MemoryMock

SHAPES = [  # entry, chunk, word
    (128, 128, 128),
    (128, 64, 128),
    (128, 64, 512),
    (256, 128, 128),
    (256, 64, 128),
    (256, 256, 512),
    (512, 128, 128),
    (512, 64, 512),
    (512, 512, 512),
]


def entry_of(number, entry_bits):
    """An entry whose every byte differs from its neighbours and from other entries."""
    return int.from_bytes(bytes((number * 67 + 3 * byte + 1) & 0xFF for byte in range(entry_bits // 8)), "little")


class Bench:
    """A fetcher with a memory."""

    def __init__(self, *, memory=None, word_bits=128, **parameters):
        self.dut = EntryFetcher(word_bits=word_bits, **parameters)
        self.memory = memory or MemoryMock(word_bits=word_bits)
        self.reads = Listener(self.dut.memory_requests)
        self.entries = Listener(self.dut.entries)

    def run(self, *testbenches, cycles=5000):
        run(
            self.dut,
            *testbenches,
            cycles=cycles,
            background=(
                self.memory.process(self.dut.memory_requests, self.dut.memory_replies),
                self.reads.process,
                self.entries.process,
            ),
        )

    async def ended(self, ctx, count):
        """Wait until so many entries have come."""
        while len(self.entries) < count:
            await ctx.tick()

    def fetch(self, hpa, *, chunk_delay=0):
        async def testbench(ctx):
            ctx.set(self.dut.chunk_delay, chunk_delay)
            await send(ctx, self.dut.requests, {"hpa": hpa, "tag": 0})
            await self.ended(ctx, 1)

        self.run(testbench)
        return self.entries.payloads[0]


@pytest.mark.parametrize("order", ["ascending", "descending"])
@pytest.mark.parametrize(("entry_bits", "chunk_bits", "word_bits"), SHAPES)
def test_an_entry_arrives_whole_in_every_shape(entry_bits, chunk_bits, word_bits, order):
    bench = Bench(entry_bits=entry_bits, chunk_bits=chunk_bits, word_bits=word_bits, order=order)
    size = entry_bits // 8
    for number in range(4):
        bench.memory.store(0x4000 + number * size, entry_of(number, entry_bits), size)
    entry = bench.fetch(0x4000 + 3 * size)
    assert entry.error == 0
    assert entry.data == entry_of(3, entry_bits)
    offsets = range(0, size, chunk_bits // 8)
    expected = [0x4000 + 3 * size + offset for offset in (offsets if order == "ascending" else reversed(offsets))]
    assert [read.hpa for read in bench.reads.payloads] == expected


@pytest.mark.parametrize("delay", [0, 1, 37])
def test_the_delay_lies_between_a_chunk_and_the_next(delay):
    bench = Bench(entry_bits=512, chunk_bits=128)
    bench.fetch(0x4000, chunk_delay=delay)
    distances = {later - earlier for earlier, later in zip(bench.reads.cycles, bench.reads.cycles[1:], strict=False)}
    assert distances == {delay + 3}  # memory itself takes one cycle, and the fetcher two


def torn(chunk_bits, order):
    """Store ones all over an entry of zeros after its first read; the entry that is fetched."""
    bench = Bench(entry_bits=128, chunk_bits=chunk_bits, order=order)

    async def testbench(ctx):
        ctx.set(bench.dut.chunk_delay, 20)
        await send(ctx, bench.dut.requests, {"hpa": 0x4000, "tag": 0})
        await wait(ctx, 8)
        bench.memory.store(0x4000, (1 << 128) - 1, 16)
        await bench.ended(ctx, 1)

    bench.run(testbench)
    return bench.entries.payloads[0].data


def test_a_store_between_two_chunks_shows_in_the_second_one_only():
    high_half = (1 << 128) - (1 << 64)
    assert torn(64, "ascending") == high_half
    assert torn(64, "descending") == (1 << 64) - 1
    assert torn(128, "ascending") == 0


@pytest.mark.parametrize("refused", [0, 1, 3])
def test_a_refused_chunk_ends_the_fetch_with_an_error(refused):
    bench = Bench(entry_bits=512)
    bench.memory.refuse(0x4000 + 16 * refused)
    assert bench.fetch(0x4000).error == 1
    assert len(bench.reads) == refused + 1


def test_an_error_does_not_outlive_its_fetch():
    bench = Bench(slots=1)
    bench.memory.refuse(0x4000)
    bench.memory.store(0x5000, 7, 16)

    async def testbench(ctx):
        for hpa in (0x4000, 0x5000):
            await send(ctx, bench.dut.requests, {"hpa": hpa, "tag": 0})
        await bench.ended(ctx, 2)

    bench.run(testbench)
    assert [(entry.error, entry.data) for entry in bench.entries.payloads[1:]] == [(0, 7)]
    assert bench.entries.payloads[0].error == 1


@pytest.mark.parametrize("slots", [1, 3, 8])
def test_several_fetches_in_any_order_keep_their_tags(slots):
    memory = MemoryMock(latency=(1, 25), reorder=True, ready_percent=60, seed=slots)
    bench = Bench(memory=memory, entry_bits=256, chunk_bits=64, slots=slots)
    for number in range(40):
        memory.store(0x8000 + 32 * number, entry_of(number, 256), 32)

    async def testbench(ctx):
        for number in range(40):
            await send(ctx, bench.dut.requests, {"hpa": 0x8000 + 32 * number, "tag": number % slots})
        await bench.ended(ctx, 40)

    bench.run(testbench, cycles=20000)
    for tag in range(slots):
        expected = [entry_of(number, 256) for number in range(tag, 40, slots)]
        assert [entry.data for entry in bench.entries.payloads if entry.tag == tag] == expected


def test_fetches_overlap():
    bench = Bench(memory=MemoryMock(latency=(50, 50)), slots=4)

    async def testbench(ctx):
        for tag in range(4):
            await send(ctx, bench.dut.requests, {"hpa": 0x4000, "tag": tag})
        await bench.ended(ctx, 4)

    bench.run(testbench)
    assert bench.reads.cycles[3] < 10


@pytest.mark.parametrize("latency", [1, 2, 9])
def test_a_tag_may_be_used_again_in_the_cycle_of_its_entry_and_not_before(latency):
    """A chain of reads costs its memory latency and one cycle each."""
    bench = Bench(memory=MemoryMock(latency=(latency, latency)), slots=2)
    accepted = Listener(bench.dut.requests)

    async def testbench(ctx):
        for _ in range(3):
            await send(ctx, bench.dut.requests, {"hpa": 0x5000, "tag": 1})
        await bench.ended(ctx, 3)

    run(
        bench.dut,
        testbench,
        background=(
            bench.memory.process(bench.dut.memory_requests, bench.dut.memory_replies),
            bench.reads.process,
            bench.entries.process,
            accepted.process,
        ),
    )
    first = bench.reads.cycles[0]
    assert accepted.cycles[0] == first - 1
    assert accepted.cycles[1:] == bench.entries.cycles[:2]
    assert bench.reads.cycles == [first + (latency + 1) * number for number in range(3)]
    assert bench.entries.cycles == [cycle + latency for cycle in bench.reads.cycles]


def test_a_read_that_memory_does_not_take_is_offered_until_it_does():
    bench = Bench(slots=4)

    async def testbench(ctx):
        for tag in range(4):
            await send(ctx, bench.dut.requests, {"hpa": 0x4000 + 16 * tag, "tag": tag})
        await wait(ctx, 3)
        assert len(bench.reads) == 0
        assert ctx.get(bench.dut.memory_requests.payload.hpa) == 0x4000
        ctx.set(bench.dut.memory_requests.ready, 1)
        await wait(ctx, 6)
        assert [(read.hpa, read.tag) for read in bench.reads.payloads] == [(0x4000 + 16 * tag, tag) for tag in range(4)]

    run(bench.dut, testbench, background=(bench.reads.process,))


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        (dict(chunk_bits=32), "chunk_bits must be one of .* not 32"),
        (dict(entry_bits=256, chunk_bits=256, word_bits=128), "at most word_bits .128., not 256"),
        (dict(entry_bits=64), "entry_bits must be a multiple of chunk_bits .128., not 64"),
        (dict(slots=0), "slots must be between 1 and 256, not 0"),
        (dict(order="random"), "order must be one of .* not 'random'"),
    ],
)
def test_impossible_shapes_are_refused(parameters, message):
    with pytest.raises(ValueError, match=message):
        EntryFetcher(**parameters)
