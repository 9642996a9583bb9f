# amaranth: UnusedElaboratable=no
"""Reads return in order for each ID, from where the unit said, or as errors of the right length."""
import random

import pytest

from hw.axi.read_path import ReadPath
from hw.axi.request_former import Direction
from hw.spec.axi import AxiBurst, AxiResponse
from hw.spec.dma import Access
from tests.hw.axi.bench import ID_BITS, burst_of, drain, feed, watched
from tests.hw.axi.machine import BLOCKED_BIT, ReadMemory, TranslatingUnit, beat_addresses, translated
from tests.hw.iommu.bench import run, wait

ALL_ONES = (1 << 128) - 1
PAGE = 4096


def expected(burst):
    """(data, resp, last) of each beat."""
    where = beat_addresses(burst["addr"], burst["beats"], burst.get("size", 4), burst.get("burst", AxiBurst.INCR))
    return [(ALL_ONES, AxiResponse.SLVERR, last) if address & BLOCKED_BIT else (translated(address), AxiResponse.OKAY, last)
            for address, last in zip(where, [*[0] * (len(where) - 1), 1], strict=True)]


class Play:
    """What became of these bursts."""

    def __init__(self, *bursts, slots=8, latency=(3, 3), memory_latency=(2, 2), percent=100, seed=0, before=None, cycles=40_000):
        self.dut = ReadPath(data_bits=128, id_bits=ID_BITS, slots=slots)
        self.unit = TranslatingUnit(self.dut, latency=latency, ready_percent=percent, seed=seed)
        self.memory = ReadMemory(self.dut, latency=memory_latency, percent=percent, seed=seed + 1)
        self.beats, self.arrivals, self.cycles = [], [], {}
        wanted = sum(burst["beats"] for burst in bursts)

        async def finish(ctx):
            if before is not None:
                await before(ctx, self)
            while len(self.beats) < wanted:
                await ctx.tick()
            await wait(ctx, 20)   # for what should not come

        async def arrivals(ctx):
            cycle = 0
            names = ("reply", "memory_bursts", "memory_data", "data")
            valids = [getattr(self.dut, name).valid for name in names]
            async for _, _, *happened, taken in ctx.tick().sample(*valids, self.dut.data.ready):
                cycle += 1
                for name, valid in zip(names, happened, strict=True):
                    if valid:
                        self.cycles.setdefault(name, cycle)   # of the first
                if happened[-1] and taken:
                    self.arrivals.append(cycle)
        run(self.dut, feed(self.dut.bursts, [burst_of(**burst) for burst in bursts], percent=percent, seed=seed), finish,
            background=[*self.unit.process(), *self.memory.process(), arrivals,
                        drain(self.dut.data, self.beats, percent=percent, seed=seed + 2),
                        watched(self.dut.data, "R"), watched(self.dut.memory_bursts, "AR"), watched(self.dut.requests, "request")],
            cycles=cycles)

    def of_id(self, id):
        """The beats with this ID, in their order."""
        return [(beat.data, beat.resp, beat.last) for beat in self.beats if beat.id == id]


def read(addr, *, beats=1, id=0, **fields):
    return dict(addr=addr, beats=beats, id=id, **fields)


def test_a_read_comes_from_where_the_unit_says():
    play = Play(read(0x4568, beats=3, id=5))
    assert play.of_id(5) == expected(read(0x4568, beats=3))
    assert play.unit.owed == [0, 0]


def test_a_request_says_who_wants_to_read_what():
    play = Play(read(0x4560, beats=2, id=5, prot=0b101, source_id=0xABCD, pasid=0x12345), read(0x8000, prot=0b010))
    request, plain = play.unit.requests
    assert (request.source_id, request.pasid_present, request.pasid, request.privileged, request.execute) == (
        0xABCD, 1, 0x12345, 1, 1)
    assert (request.access, request.iova, request.length_bytes) == (Access.READ, 0x4560, 32)
    assert (plain.pasid_present, plain.privileged, plain.execute) == (0, 0, 0)
    assert [play.unit.direction_of(index) for index in range(2)] == [Direction.READ.value] * 2


def test_what_goes_to_memory_is_the_burst_as_it_came_but_for_its_place():
    play = Play(read(0x4568, beats=4, id=9, size=3, lock=1, prot=0b011, burst=AxiBurst.WRAP, source_id=0xABCD))
    burst, = play.memory.bursts
    assert (burst.id, burst.addr, burst.len, burst.size, burst.burst, burst.lock, burst.prot) == (
        9, translated(0x4568), 3, 3, AxiBurst.WRAP, 1, 0b011)
    assert (burst.user.source_id, burst.user.interrupt) == (0xABCD, 0)


def test_a_blocked_read_is_answered_with_as_many_errors_as_beats_and_memory_does_not_see_it():
    play = Play(read(BLOCKED_BIT | 0x5000, beats=7, id=2))
    assert play.of_id(2) == expected(read(BLOCKED_BIT | 0x5000, beats=7))
    assert play.memory.bursts == []
    assert play.unit.owed == [0, 0]


def test_a_read_that_breaks_a_rule_is_answered_with_errors_and_the_unit_does_not_see_it():
    play = Play(read(0x5000, beats=3, id=2, burst=AxiBurst.WRAP), read(0x6000, id=2))
    assert play.of_id(2) == [*[(ALL_ONES, AxiResponse.SLVERR, last) for last in (0, 0, 1)], *expected(read(0x6000))]
    assert [request.iova for request in play.unit.requests] == [0x6000]


def test_a_burst_across_pages_is_one_burst_for_the_requester_whatever_its_pages_are():
    blocked_end = read(BLOCKED_BIT - 32, beats=4, id=3)
    blocked_start = read(2 * BLOCKED_BIT - 32, beats=4, id=3)
    play = Play(read(0x4FE8, beats=5, id=3), blocked_end, blocked_start)
    assert play.of_id(3) == expected(read(0x4FE8, beats=5)) + expected(blocked_end) + expected(blocked_start)
    assert [(burst.addr, burst.len) for burst in play.memory.bursts] == [
        (translated(0x4FE8), 1), (translated(0x5000), 2), (translated(BLOCKED_BIT - 32), 1), (translated(2 * BLOCKED_BIT), 1)]


def test_one_id_waits_for_its_own_and_another_overtakes():
    """The unit keeps the first read; what has another ID passes it, what has the same ID does not."""
    async def hold(ctx, play):
        play.unit.free = False
        await wait(ctx, 30)
        play.unit.free = True

    play = Play(read(0x4000, id=1), read(0x5000, id=1), read(0x6000, id=2), latency=(3, 20), seed=3, before=hold)
    assert play.of_id(1) == expected(read(0x4000)) + expected(read(0x5000))
    assert play.of_id(2) == expected(read(0x6000))


@pytest.mark.parametrize("seed", range(3))
def test_random_reads_keep_their_order_and_come_from_the_right_place(seed):
    generator = random.Random(seed)
    bursts = []
    for _ in range(80):
        kind = generator.choice((AxiBurst.INCR,) * 5 + (AxiBurst.WRAP, AxiBurst.FIXED))
        size = generator.choice((4, 4, 2, 0))
        beats = generator.choice((1, 2, 4, 8, 16)) if kind is AxiBurst.INCR else generator.choice((2, 4, 8))
        address = PAGE * generator.randrange(1, 32) + generator.choice((-1, 1)) * generator.randrange(120)
        if kind is AxiBurst.WRAP:
            address = address >> size << size
        if generator.randrange(4) == 0:
            address |= BLOCKED_BIT
        bursts.append(read(address, beats=beats, id=generator.choice((0, 1, 1, 7, 15)), size=size, burst=kind))
    percent = (100, 80, 60)[seed]
    play = Play(*bursts, slots=(8, 4, 2)[seed], latency=(3, 30), memory_latency=(1, 40), percent=percent, seed=seed)
    for id in range(1 << ID_BITS):
        assert play.of_id(id) == [beat for burst in bursts if burst["id"] == id for beat in expected(burst)]
    assert play.unit.owed == [0, 0]
    assert not any(burst.addr & BLOCKED_BIT for burst in play.memory.bursts)


@pytest.mark.parametrize("ids", [(0,), tuple(range(16))])
def test_reads_of_one_beat_pass_one_per_cycle_of_one_id_or_of_many(ids):
    count = 100
    play = Play(*(read(0x4000 + 16 * number, id=ids[number % len(ids)]) for number in range(count)), slots=32)
    assert play.unit.cycles[-1] - play.unit.cycles[0] == count - 1
    assert play.arrivals[-1] - play.arrivals[0] == count - 1


def test_a_read_costs_two_cycles_after_its_translation_and_one_on_its_way_back():
    cycles = Play(read(0x4000)).cycles
    assert cycles["memory_bursts"] - cycles["reply"] == 2
    assert cycles["data"] - cycles["memory_data"] == 1


def test_long_reads_leave_no_cycle_between_beats():
    play = Play(*(read(PAGE * (4 + number), beats=16, id=number % 4) for number in range(12)))
    assert play.arrivals[-1] - play.arrivals[0] == 12 * 16 - 1


def test_errors_of_one_id_do_not_hold_up_another_ids_bursts():
    """While memory takes its time with ID 1, which a blocked read must wait for, ID 2 goes out at full rate."""
    others = [read(0x9000 + 16 * number, id=2) for number in range(20)]
    play = Play(read(0x4000, id=1), read(BLOCKED_BIT, beats=2, id=1), *others, slots=32, memory_latency=(60, 60))
    assert play.unit.cycles[-1] - play.unit.cycles[0] == 21
    assert [burst.id for burst in play.memory.bursts] == [1, *[2] * 20]
    assert play.of_id(1) == expected(read(0x4000)) + expected(read(BLOCKED_BIT, beats=2))


def test_a_beat_that_nobody_waits_for_is_dropped():
    async def stray(ctx, play):
        await wait(ctx, 2)
        play.memory._owe(6, [dict(id=6, data=1, resp=0, last=1)])
        await wait(ctx, 20)
    play = Play(read(0x4000, id=1), before=stray)
    assert [beat.id for beat in play.beats] == [1]


@pytest.mark.parametrize(("sizes", "sentence"), [
    (dict(slots=513), "slots must be between 2 and 512, not 513"), (dict(slots=1), "slots must be between 2 and 512, not 1"),
    (dict(data_bits=48), r"data_bits must be one of .*, not 48"), (dict(id_bits=0), "id_bits must be between 1 and 32, not 0"),
])
def test_impossible_sizes_are_refused(sizes, sentence):
    with pytest.raises(ValueError, match=sentence):
        ReadPath(**{"data_bits": 128, "id_bits": ID_BITS, "slots": 8, **sizes})
