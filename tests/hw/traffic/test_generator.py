# amaranth: UnusedElaboratable=no
"""The generator alone: whose turn it is, when, where and how, and that an offer stays."""
from collections import Counter as Tally
from collections import deque
from itertools import islice, pairwise

import pytest
from amaranth import ResetInserter, Signal

from hw.spec.bench import DMA_BYTES, DeviceConfig, PageEntry, Pattern, TrafficControl
from hw.spec.codec import decode, encode
from hw.spec.dma import Access
from hw.traffic.generator import Generator
from hw.traffic.pattern import first_word, visits
from tests.hw.traffic.machine import RHYTHMS, always, offer, simulate, take

SEED = 5


class Surroundings:
    """Tables as a host writes them, tags 0, 1, 2, ... for ever, and a unit that only accepts."""

    def __init__(self, *, devices=4, pages=64, rhythm=always):
        self.dut = Generator(devices=devices, pages=pages)
        self.rhythm = rhythm
        self.requests, self.cycles, self.accepted = [], [], []
        self.done = deque()  # rows, one per cycle
        self.reset = Signal()

    async def page(self, ctx, index, **fields):
        port = self.dut.page_list
        entry = encode(PageEntry, **{"readable": 1, "writable": 1} | fields)
        ctx.set(port.row, index)
        ctx.set(port.write, 1)
        for word in range(3):
            ctx.set(port.word, word)
            ctx.set(port.write_data, entry >> 64 * word & (1 << 64) - 1)
            await ctx.tick()
        ctx.set(port.write, 0)

    async def device(self, ctx, row, **fields):
        port = self.dut.config
        fields = {"enabled": 1, "bus_master": 1, "page_count": 1, "source_id": 0x100 + row} | fields
        config = decode(DeviceConfig, encode(DeviceConfig, **fields))
        ctx.set(port.row, row)
        ctx.set(port.write_data, config)
        ctx.set(port.write, 1)
        await ctx.tick()
        ctx.set(port.write, 0)
        return config

    def control(self, ctx, *, run=1, limit=1024, gap=0):
        ctx.set(self.dut.control, decode(TrafficControl, encode(
            TrafficControl, run=run, outstanding_limit=limit, gap_cycles=gap)))

    def run(self, testbench):
        dut = self.dut
        tags = deque(tag % 1024 for tag in range(4000))

        async def main(ctx):
            ctx.set(dut.seed, SEED)
            await testbench(ctx)

        async def unit(ctx):
            await take(ctx, dut.dma_requests, self.requests.append, self.rhythm())

        async def pool(ctx):
            await offer(ctx, dut.tags, tags, always())

        async def watch(ctx):
            cycle = 0
            async for _, _, valid, accepted in ctx.tick().sample(dut.accepted.valid, dut.accepted.payload):
                cycle += 1
                if valid:
                    self.accepted.append(accepted)
                    self.cycles.append(cycle)

        async def finish(ctx):
            while True:
                ctx.set(dut.done.valid, bool(self.done))
                ctx.set(dut.done.payload, self.done.popleft() if self.done else 0)
                await ctx.tick()

        simulate(ResetInserter(self.reset)(dut), main, background=(unit, pool, watch, finish))


@pytest.mark.parametrize("rhythm", RHYTHMS.values(), ids=RHYTHMS)
@pytest.mark.parametrize("pattern", [Pattern.SEQUENTIAL, Pattern.RANDOM, Pattern.STRIDED])
def test_each_device_makes_the_visits_of_its_own_sequence(pattern, rhythm):
    around = Surroundings(rhythm=rhythm)

    async def testbench(ctx):
        for index in range(64):
            await around.page(ctx, index, iova_page=0xABCDE000 + index, old_page=1000 + index, new_page=2000 + index)
        configs = [await around.device(ctx, row, first_page=16 * row, page_count=9 + row, pattern=pattern,
                                       stride=2 + row, writes=5 * row, burst_log2=row) for row in range(3)]
        around.control(ctx)
        await ctx.tick().repeat(400)
        for row, config in enumerate(configs):
            made = [request for request in around.requests if request.source_id == 0x100 + row]
            assert len(made) >= 50
            for visit, request in zip(visits(config, first_word(SEED, row)), made, strict=False):
                assert request.iova == (0xABCDE000 + visit.page << 12) + DMA_BYTES * visit.line
                assert request.access == (Access.WRITE if visit.write else Access.READ)
                assert request.length_bytes == DMA_BYTES

    around.run(testbench)


def test_what_is_remembered_is_what_was_asked():
    around = Surroundings()

    async def testbench(ctx):
        for index in range(4):
            await around.page(ctx, index, iova_page=0x10 + index, old_page=0x20 + index, new_page=0x30 + index)
        await around.device(ctx, 2, page_count=4, writes=8)
        around.control(ctx)
        await ctx.tick().repeat(30)

    around.run(testbench)
    assert len(around.accepted) >= 20
    for index, (request, accepted) in enumerate(zip(around.requests, around.accepted, strict=True)):
        flight = accepted.flight
        assert (accepted.tag, flight.sequence, flight.device, flight.source_id) == (index, index + 1, 2, 0x102)
        assert (request.tag, flight.iova, flight.access) == (index, request.iova, request.access)
        page = (request.iova >> 12) - 0x10
        assert (flight.old_page, flight.new_page) == (0x20 + page, 0x30 + page)


@pytest.mark.parametrize(("pattern", "burst_log2", "expected"), [
    (Pattern.SEQUENTIAL, 0, [0, 1, 2, 3, 4, 5, 6, 7, 0, 1]), (Pattern.SEQUENTIAL, 1, [0, 0, 1, 1, 2, 2, 3, 3, 4, 4]),
    (Pattern.STRIDED, 0, [0, 1, 2, 3, 4, 5, 6, 7, 0, 1]),
])
def test_an_entry_stands_for_a_span_of_pages_old_and_new(pattern, burst_log2, expected):
    around = Surroundings()

    async def testbench(ctx):
        await around.page(ctx, 5, iova_page=0xABCDE008, old_page=0x20, new_page=0x30, span_log2=3)
        await around.device(ctx, 0, first_page=5, pattern=pattern, burst_log2=burst_log2, stride=1)
        around.control(ctx)
        await ctx.tick().repeat(30)

    around.run(testbench)
    assert [(request.iova >> 12) - 0xABCDE008 for request in around.requests[:10]] == expected
    flights = [accepted.flight for accepted in around.accepted[:10]]
    assert [(flight.old_page - 0x20, flight.new_page - 0x30) for flight in flights] == [(page, page) for page in expected]
    assert [flight.iova for flight in flights] == [request.iova for request in around.requests[:10]]


def test_spans_of_any_length_share_a_slice():
    around = Surroundings()
    lengths = {0x1000: 0, 0x2000: 1, 0x4000: 2}

    async def testbench(ctx):
        for index, (iova_page, span_log2) in enumerate(lengths.items()):
            await around.page(ctx, index, iova_page=iova_page, span_log2=span_log2)
        await around.device(ctx, 0, page_count=3)
        around.control(ctx)
        await ctx.tick().repeat(30)

    around.run(testbench)
    assert [request.iova >> 12 for request in around.requests[:15]] == [
        0x1000, 0x2000, 0x4000, 0x1000, 0x2001, 0x4001, 0x1000, 0x2000, 0x4002, 0x1000, 0x2001, 0x4003,
        0x1000, 0x2000, 0x4000]


def test_the_longest_span_is_16_gib():
    around = Surroundings()

    async def testbench(ctx):
        await around.page(ctx, 0, iova_page=5 << 22, old_page=6 << 22, new_page=7 << 22, span_log2=22)
        config = await around.device(ctx, 0, pattern=Pattern.RANDOM)
        around.control(ctx)
        await ctx.tick().repeat(200)
        for visit, accepted in zip(visits(config, first_word(SEED, 0)), around.accepted, strict=False):
            flight = accepted.flight
            assert flight.iova >> 12 == (5 << 22) + visit.number
            assert (flight.old_page, flight.new_page) == ((6 << 22) + visit.number, (7 << 22) + visit.number)
        assert len(around.accepted) > 150

    around.run(testbench)


def test_a_device_at_its_own_limit_is_passed_over_and_costs_the_others_nothing():
    around = Surroundings()

    async def testbench(ctx):
        await around.device(ctx, 1, limit=3)
        for row in (0, 2):
            await around.device(ctx, row)
        around.control(ctx)
        await ctx.tick().repeat(60)
        tally = Tally(request.source_id for request in around.requests)
        assert tally[0x101] == 4
        assert abs(tally[0x100] - tally[0x102]) <= 1
        assert {later - earlier for earlier, later in pairwise(around.cycles)} == {1}
        around.done.extend([0, 1, 1, 2])
        await ctx.tick().repeat(60)
        assert Tally(request.source_id for request in around.requests)[0x101] == 6
        assert {later - earlier for earlier, later in pairwise(around.cycles)} == {1}

    around.run(testbench)


def test_a_device_alone_issues_at_full_rate_up_to_its_own_limit_and_goes_on_when_some_are_done():
    around = Surroundings()

    async def testbench(ctx):
        await around.device(ctx, 3, limit=5)
        around.control(ctx)
        await ctx.tick().repeat(40)
        assert len(around.requests) == 16
        assert {later - earlier for earlier, later in pairwise(around.cycles)} == {1}
        around.done.extend([3, 3, 3])
        await ctx.tick().repeat(40)
        assert len(around.requests) == 19

    around.run(testbench)


def test_a_reset_forgets_what_counted_against_a_limit():
    around = Surroundings()

    async def testbench(ctx):
        await around.device(ctx, 1, limit=2)
        around.control(ctx)
        await ctx.tick().repeat(20)
        assert len(around.requests) == 2
        ctx.set(around.reset, 1)
        await ctx.tick()
        ctx.set(around.reset, 0)
        await around.device(ctx, 1, limit=2)
        await ctx.tick().repeat(20)
        assert len(around.requests) == 4

    around.run(testbench)


def test_active_devices_take_turns_and_a_stopped_one_stops_nobody_else():
    around = Surroundings()

    async def testbench(ctx):
        for row in (0, 1, 3):
            await around.device(ctx, row)
        await around.device(ctx, 2, enabled=0)
        around.control(ctx)
        await ctx.tick().repeat(40)
        assert Tally(request.source_id for request in around.requests[:30]) == {0x100: 10, 0x101: 10, 0x103: 10}
        await around.device(ctx, 1, bus_master=0)
        await ctx.tick().repeat(3)  # one DMA may have been on offer
        del around.requests[:]
        await ctx.tick().repeat(40)
        assert Tally(request.source_id for request in around.requests) == {0x100: 20, 0x103: 20}
        await around.device(ctx, 1)
        await ctx.tick().repeat(40)
        assert 0x101 in {request.source_id for request in around.requests}

    around.run(testbench)


def test_a_device_without_pages_issues_nothing():
    around = Surroundings()

    async def testbench(ctx):
        await around.device(ctx, 0, page_count=0)
        around.control(ctx)
        await ctx.tick().repeat(20)
        assert around.requests == []

    around.run(testbench)


def test_writing_a_row_starts_its_sequence_anew():
    around = Surroundings()

    async def testbench(ctx):
        for index in range(8):
            await around.page(ctx, index, iova_page=index)
        config = await around.device(ctx, 0, page_count=8)
        around.control(ctx)
        await ctx.tick().repeat(13)
        around.control(ctx, run=0)
        await ctx.tick().repeat(3)
        del around.requests[:]
        await around.device(ctx, 0, page_count=8)
        around.control(ctx)
        await ctx.tick().repeat(10)
        sequence = islice(visits(config, first_word(SEED, 0)), 5)
        expected = [visit.page << 12 | visit.line * DMA_BYTES for visit in sequence]
        assert [request.iova for request in around.requests[:5]] == expected

    around.run(testbench)


def test_writing_a_row_loses_no_step_of_another_device():
    around = Surroundings()

    async def testbench(ctx):
        for index in range(8):
            await around.page(ctx, index, iova_page=index)
        config = await around.device(ctx, 0, page_count=8)
        around.control(ctx)
        for _ in range(20):
            await ctx.tick().repeat(2)
            await around.device(ctx, 1, enabled=0)
        await ctx.tick().repeat(5)
        assert len(around.requests) > 40
        for visit, request in zip(visits(config, first_word(SEED, 0)), around.requests, strict=False):
            assert request.iova == visit.page << 12 | visit.line * DMA_BYTES

    around.run(testbench)


@pytest.mark.parametrize(("readable", "writable", "expected"), [
    (1, 0, {Access.READ}), (0, 1, {Access.WRITE}), (1, 1, {Access.READ, Access.WRITE}), (0, 0, {Access.READ}),
])
def test_a_page_gets_only_what_it_permits(readable, writable, expected):
    around = Surroundings()

    async def testbench(ctx):
        await around.page(ctx, 0, readable=readable, writable=writable)
        await around.device(ctx, 0, writes=8)
        around.control(ctx)
        await ctx.tick().repeat(60)
        assert {request.access for request in around.requests} == expected

    around.run(testbench)


def distances(*, gap, rhythm):
    """Cycles from one accepted request to the next."""
    around = Surroundings(rhythm=rhythm)

    async def testbench(ctx):
        await around.device(ctx, 0)
        around.control(ctx, gap=gap)
        await ctx.tick().repeat(200)

    around.run(testbench)
    assert len(around.cycles) > 10
    return [later - earlier for earlier, later in pairwise(around.cycles)]


@pytest.mark.parametrize("gap", [0, 1, 7])
def test_the_gap_is_the_distance_between_two_if_the_unit_is_ready(gap):
    assert set(distances(gap=gap, rhythm=always)) == {gap + 1}


@pytest.mark.parametrize("rhythm", [RHYTHMS["alternating"], RHYTHMS["random"]], ids=["alternating", "random"])
@pytest.mark.parametrize("gap", [1, 7])
def test_a_unit_that_is_not_ready_never_shortens_the_gap(gap, rhythm):
    assert min(distances(gap=gap, rhythm=rhythm)) >= gap + 1


def test_nothing_is_issued_while_stopped_held_or_at_the_limit():
    around = Surroundings()

    async def testbench(ctx):
        async def issued_in_20():
            await ctx.tick().repeat(3)
            before = len(around.requests)
            await ctx.tick().repeat(20)
            return len(around.requests) - before

        await around.device(ctx, 0)
        around.control(ctx, limit=8)
        assert await issued_in_20() == 20
        ctx.set(around.dut.in_flight, 7)
        assert await issued_in_20() == 20
        ctx.set(around.dut.in_flight, 8)
        assert await issued_in_20() == 0
        ctx.set(around.dut.in_flight, 0)
        ctx.set(around.dut.hold, 1)
        assert await issued_in_20() == 0
        ctx.set(around.dut.hold, 0)
        assert await issued_in_20() == 20
        around.control(ctx, run=0)
        assert await issued_in_20() == 0

    around.run(testbench)
