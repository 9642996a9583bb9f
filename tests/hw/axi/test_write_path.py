# amaranth: UnusedElaboratable=no
"""Writes land where the unit said, in the order in which they came, or nowhere; each burst gets one response."""
import random

import pytest

from hw.axi.request_former import Direction
from hw.axi.write_path import WritePath
from hw.spec.axi import AxiBurst, AxiResponse
from hw.spec.dma import Access
from tests.hw.axi.bench import ID_BITS, burst_of, drain, feed, watched
from tests.hw.axi.machine import BLOCKED_BIT, ERROR_BIT, TranslatingUnit, WriteMemory, beat_addresses, translated
from tests.hw.iommu.bench import run, wait

PAGE = 4096
OKAY, SLVERR, DECERR = AxiResponse.OKAY, AxiResponse.SLVERR, AxiResponse.DECERR


def write(addr, *, beats=1, id=0, **fields):
    return dict(addr=addr, beats=beats, id=id, **fields)


def where(burst):
    return beat_addresses(burst["addr"], burst["beats"], burst.get("size", 4), burst.get("burst", AxiBurst.INCR))


def response(burst):
    """The worst of its pages'."""
    return max((SLVERR if address & BLOCKED_BIT else DECERR if address & ERROR_BIT else OKAY for address in where(burst)),
               key=lambda resp: resp.value)


class Play:
    """What became of these bursts; the data of beat n of them all is n, its strobes are n too."""

    def __init__(self, *bursts, slots=8, latency=(3, 3), memory_latency=(2, 2), percent=100, seed=0, before=None,
                 data_first=False, cycles=40_000):
        self.dut = dut = WritePath(data_bits=128, id_bits=ID_BITS, slots=slots)
        self.unit = TranslatingUnit(dut, latency=latency, ready_percent=percent, seed=seed)
        self.memory = WriteMemory(dut, latency=memory_latency, percent=percent, seed=seed + 1)
        self.responses, self.data_cycles, self.cycles = [], [], {}
        total = sum(burst["beats"] for burst in bursts)
        addresses = feed(dut.bursts, [burst_of(**burst) for burst in bursts], percent=percent, seed=seed)

        async def late_addresses(ctx):
            await wait(ctx, 20 if data_first else 0)
            await addresses(ctx)

        async def finish(ctx):
            if before is not None:
                await before(ctx, self)
            while len(self.responses) < len(bursts):
                await ctx.tick()
            await wait(ctx, 20)   # for what should not come

        async def data_cycles(ctx):
            cycle = 0
            names = ("reply", "memory_bursts", "memory_responses", "responses", "memory_data")
            valids = [getattr(dut, name).valid for name in names]
            async for _, _, *happened, taken in ctx.tick().sample(*valids, dut.memory_data.ready):
                cycle += 1
                for name, valid in zip(names, happened, strict=True):
                    if valid:
                        self.cycles.setdefault(name, cycle)   # of the first
                if happened[-1] and taken:
                    self.data_cycles.append(cycle)
        data = [dict(data=number, strb=number & 0xFFFF, last=0) for number in range(total)]
        run(dut, late_addresses, feed(dut.data, data, percent=percent, seed=seed + 3), finish,
            background=[*self.unit.process(), *self.memory.process(), data_cycles,
                        drain(dut.responses, self.responses, percent=percent, seed=seed + 2), watched(dut.responses, "B"),
                        watched(dut.memory_bursts, "AW"), watched(dut.memory_data, "W"), watched(dut.requests, "request")],
            cycles=cycles)

    def of_id(self, id):
        """The responses with this ID, in their order."""
        return [response.resp for response in self.responses if response.id == id]


def stored(*bursts):
    """What must be in memory, in its order."""
    beats = [address for burst in bursts for address in (where(burst) if not burst.get("refused") else [None] * burst["beats"])]
    return [(translated(address), number, number & 0xFFFF) for number, address in enumerate(beats)
            if address is not None and not address & BLOCKED_BIT]


def test_a_write_lands_where_the_unit_says():
    play = Play(write(0x4568, beats=3, id=5))
    assert play.memory.stored == stored(write(0x4568, beats=3))
    assert play.of_id(5) == [OKAY]
    assert play.unit.owed == [0, 0]


def test_a_request_says_who_wants_to_write_what():
    play = Play(write(0x4560, beats=2, prot=0b101, source_id=0xABCD, pasid=0x12345))
    request, = play.unit.requests
    assert (request.source_id, request.pasid_present, request.pasid, request.privileged, request.execute) == (
        0xABCD, 1, 0x12345, 1, 0)
    assert (request.access, request.iova, request.length_bytes) == (Access.WRITE, 0x4560, 32)
    assert play.unit.direction_of(0) == Direction.WRITE.value


def test_data_of_a_blocked_write_is_swallowed_and_what_follows_it_lands():
    bursts = write(BLOCKED_BIT | 0x5000, beats=7, id=2), write(0x6000, beats=2, id=2), write(0x7000, id=3)
    play = Play(*bursts)
    assert play.memory.stored == stored(*bursts)
    assert (play.of_id(2), play.of_id(3)) == ([SLVERR, OKAY], [OKAY])
    assert play.unit.owed == [0, 0]


def test_a_write_that_breaks_a_rule_is_answered_with_an_error_and_the_unit_does_not_see_it():
    bursts = write(0x5000, beats=3, id=2, burst=AxiBurst.WRAP, refused=True), write(0x6000, id=2)
    play = Play(*({key: value for key, value in burst.items() if key != "refused"} for burst in bursts))
    assert play.memory.stored == stored(*bursts)
    assert play.of_id(2) == [SLVERR, OKAY]
    assert [request.iova for request in play.unit.requests] == [0x6000]


@pytest.mark.parametrize("edge", [0x5000, BLOCKED_BIT, 2 * BLOCKED_BIT, ERROR_BIT, ERROR_BIT | BLOCKED_BIT])
@pytest.mark.parametrize("slots", [2, 8])
def test_a_burst_across_pages_gets_one_response_the_worst_of_its_pages(edge, slots):
    bursts = write(edge - 0x18, beats=5, id=3), write(0x8000, id=3)
    play = Play(*bursts, slots=slots)
    assert play.memory.stored == stored(*bursts)
    assert play.of_id(3) == [response(bursts[0]), OKAY]


def test_what_one_page_met_is_remembered_until_the_next_one_has_a_slot():
    """All slots are taken by another ID's writes, so the rest of the burst comes long after its start has been answered."""
    others = [write(0x9000 + 16 * number, id=4) for number in range(6)]
    bursts = *others[:1], write(BLOCKED_BIT - 16 + 0x1000, beats=2, id=3), *others[1:]
    blocked_start = write(2 * BLOCKED_BIT - 16, beats=2, id=3)
    play = Play(*bursts, blocked_start, write(0xA000, id=3), slots=2, memory_latency=(1, 30), seed=5)
    assert play.of_id(3) == [SLVERR, SLVERR, OKAY]
    assert play.of_id(4) == [OKAY] * 6


def test_data_that_comes_before_its_address_waits():
    bursts = write(0x4000, beats=4), write(0x5000, beats=4, id=1)
    play = Play(*bursts, data_first=True)
    assert play.memory.stored == stored(*bursts)


def test_data_does_not_wait_for_memory_to_take_its_address():
    """A memory may take an address only when it sees its data (A3.3)."""
    async def reluctant(ctx):
        async for _, _, valid in ctx.tick().sample(dut.memory_data.valid):
            ctx.set(dut.memory_bursts.ready, valid)

    async def until_data(ctx):
        async for _, _, valid, ready in ctx.tick().sample(dut.memory_bursts.valid, dut.memory_bursts.ready):
            if valid and ready:
                return
    dut = WritePath(data_bits=128, id_bits=ID_BITS, slots=4)
    unit = TranslatingUnit(dut)
    run(dut, feed(dut.bursts, [burst_of(addr=0x4000)]), until_data, background=[
        *unit.process(), reluctant, feed(dut.data, [dict(data=1, strb=1, last=1)])], cycles=200)


@pytest.mark.parametrize("seed", range(3))
def test_random_writes_land_in_order_and_responses_keep_the_order_of_their_id(seed):
    generator = random.Random(seed)
    bursts = []
    for _ in range(80):
        kind = generator.choice((AxiBurst.INCR,) * 5 + (AxiBurst.WRAP, AxiBurst.FIXED))
        size = generator.choice((4, 4, 2, 0))
        beats = generator.choice((1, 2, 4, 8, 16)) if kind is AxiBurst.INCR else generator.choice((2, 4, 8))
        address = PAGE * generator.randrange(1, 32) + generator.choice((-1, 1)) * generator.randrange(120)
        if kind is AxiBurst.WRAP:
            address = address >> size << size
        address |= generator.choice((0, 0, 0, BLOCKED_BIT, ERROR_BIT))
        bursts.append(write(address, beats=beats, id=generator.choice((0, 1, 1, 7, 15)), size=size, burst=kind))
    play = Play(*bursts, slots=(8, 4, 2)[seed], latency=(3, 20), memory_latency=(1, 40), percent=(100, 80, 60)[seed], seed=seed)
    assert play.memory.stored == stored(*bursts)
    for id in range(1 << ID_BITS):
        assert play.of_id(id) == [response(burst) for burst in bursts if burst["id"] == id]
    assert play.unit.owed == [0, 0]


@pytest.mark.parametrize("ids", [(0,), tuple(range(16))])
def test_writes_of_one_beat_pass_one_per_cycle_of_one_id_or_of_many(ids):
    count = 60
    play = Play(*(write(0x4000 + 16 * number, id=ids[number % len(ids)]) for number in range(count)), slots=32)
    assert play.unit.cycles[-1] - play.unit.cycles[0] == count - 1
    assert play.data_cycles[-1] - play.data_cycles[0] == count - 1


def test_a_write_costs_two_cycles_after_its_translation_and_one_on_its_way_back():
    cycles = Play(write(0x4000)).cycles
    assert cycles["memory_bursts"] - cycles["reply"] == 2
    assert cycles["responses"] - cycles["memory_responses"] == 1


def test_long_writes_leave_no_cycle_between_beats():
    play = Play(*(write(PAGE * (4 + number), beats=16, id=number % 4) for number in range(8)))
    assert play.data_cycles[-1] - play.data_cycles[0] == 8 * 16 - 1
