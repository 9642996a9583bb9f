# amaranth: UnusedElaboratable=no
"""The traffic engine as a whole, between a unit and a memory that do as they are told."""
from collections import Counter as Tally
from random import Random

import pytest

from hw.spec.bench import (
    COUNTER_BASE,
    DEVICE_STRIDE,
    POISON_BYTE,
    Counter,
    DataWord,
    TrafficRegister,
    WriteStamp,
    page_signature,
)
from hw.spec.codec import encode
from hw.spec.dma import Access, Status
from hw.spec.events import EventKind, Verdict
from hw.traffic.engine import TrafficEngine
from tests.hw.traffic.machine import RHYTHMS, Machine, four_devices, own_domain

OTHER_PAGE = 0x7777  # nobody's


def machine_of(**options):
    return Machine(TrafficEngine(devices=8, pages=32), **options)


async def counts(machine, ctx):
    """The counters of devices 0 to 3."""
    return [await machine.counters(ctx, row) for row in range(4)]


@pytest.mark.parametrize("rows", [1, 4])
def test_one_dma_per_cycle_when_nothing_is_in_the_way(rows):
    machine = machine_of()
    machine.translate = own_domain

    async def testbench(ctx):
        await four_devices(machine, ctx, writes=8)
        for row in range(rows, 4):
            await machine.device(ctx, row, bus_master=0)
        await machine.control(ctx, run=1)
        await ctx.tick().repeat(50)
        begun, done = len(machine.requests), len(machine.dones)
        await ctx.tick().repeat(400)
        assert len(machine.requests) - begun >= 0.98 * 400
        assert len(machine.dones) - done >= 0.98 * 400
        await machine.stop(ctx)
        for counters in (await counts(machine, ctx))[:rows]:
            assert set(counters) == {Verdict.OLD, "issued"}
            assert counters[Verdict.OLD] == counters["issued"]
        assert await machine.read(ctx, TrafficRegister.TOTAL) == len(machine.dones)

    machine.run(testbench)


@pytest.mark.parametrize("shuffle", [None, Random(4)], ids=["in order", "shuffled"])
@pytest.mark.parametrize("rhythm", RHYTHMS.values(), ids=RHYTHMS)
def test_every_dma_is_answered_for_under_any_back_pressure(rhythm, shuffle):
    machine = machine_of(rhythm=rhythm, shuffle=shuffle)

    def some_blocked(request):
        return machine.blocked(request) if request.tag % 3 == 0 else own_domain(request)

    machine.translate = some_blocked

    async def testbench(ctx):
        await four_devices(machine, ctx, writes=8)
        await machine.control(ctx, run=1, limit=20)
        await ctx.tick().repeat(600)
        await machine.stop(ctx)
        expected = [Tally() for _ in range(4)]
        for request in machine.requests:
            expected[request.source_id - 0x100]["issued"] += 1
            expected[request.source_id - 0x100][Verdict.BLOCKED if request.tag % 3 == 0 else Verdict.OLD] += 1
        assert await counts(machine, ctx) == expected

    machine.run(testbench)
    assert len(machine.requests) > 100
    assert len(machine.dones) == len(machine.requests)
    assert len(machine.accesses) == sum(request.tag % 3 != 0 for request in machine.requests)
    assert Tally(retire.colour for retire in machine.retires) == Tally(reply.colour for reply in machine.replied)


def test_each_verdict_is_counted_once_and_for_its_own_device():
    machine = machine_of()
    machine.refused = {0x4000 + index for index in range(4)}
    lies = {
        0x100: lambda request: {"hpa": OTHER_PAGE << 12 | request.iova & 0xFFF, "domain_id": 1},
        0x101: lambda request: {"hpa": request.iova, "domain_id": 1},
        0x102: machine.blocked,
        0x103: own_domain,
    }
    machine.translate = lambda request: lies[request.source_id](request)

    async def testbench(ctx):
        await four_devices(machine, ctx)
        await machine.control(ctx, run=1)
        await ctx.tick().repeat(100)
        await machine.stop(ctx)
        issued = Tally(request.source_id for request in machine.requests)
        assert await counts(machine, ctx) == [
            {Verdict.WRONG: issued[0x100], "issued": issued[0x100]},
            {Verdict.WRONG: issued[0x101], "issued": issued[0x101]},
            {Verdict.BLOCKED: issued[0x102], "issued": issued[0x102]},
            {Verdict.ERROR: issued[0x103], "issued": issued[0x103]},
        ]
        assert min(issued.values()) >= 20

    machine.run(testbench)


def test_a_freed_page_is_found_by_reads_and_by_writes():
    machine = machine_of()
    machine.translate = own_domain
    for index in range(4 * 256):
        machine.memory[(0x2000 << 8) + index] = int.from_bytes(bytes([POISON_BYTE]) * 16, "little")

    async def testbench(ctx):
        await four_devices(machine, ctx, writes=8)
        await machine.control(ctx, run=1)
        await ctx.tick().repeat(100)
        await machine.stop(ctx)
        verdicts = [set(counters) for counters in await counts(machine, ctx)]
        assert verdicts == [{Verdict.OLD, "issued"}, {Verdict.AFTER_FREE, "issued"}, *[{Verdict.OLD, "issued"}] * 2]

    machine.run(testbench)
    after_free = [detail.access for _, detail in machine.dones if detail.verdict == Verdict.AFTER_FREE]
    assert set(after_free) == {Access.READ, Access.WRITE}


def test_old_is_fine_for_what_began_before_it_was_declared_gone_and_for_nothing_later():
    machine = machine_of()
    early, late = [], []
    machine.translate = lambda request: None  # kept waiting

    async def testbench(ctx):
        await four_devices(machine, ctx)
        for row in range(1, 4):
            await machine.device(ctx, row, bus_master=0)
        await machine.declare(ctx, 0, old=1, new=9, old_permitted=1, new_permitted=1)
        await machine.control(ctx, run=1, limit=6)
        await ctx.tick().repeat(20)
        early.extend(machine.requests)
        await machine.declare(ctx, 0, old=1, new=9, old_permitted=0, new_permitted=1)
        await machine.control(ctx, run=1, limit=12)
        await ctx.tick().repeat(20)
        late.extend(machine.requests[6:])
        await machine.control(ctx, run=0)
        for index, request in enumerate(early + late):
            machine.reply(request, hpa=request.iova, domain_id=9 if index % 6 > 3 else 1)
        await machine.stop(ctx)
        assert await machine.counters(ctx, 0) == {Verdict.OLD: 4, Verdict.NEW: 4, Verdict.WRONG: 4, "issued": 12}

    machine.run(testbench)
    assert (len(early), len(late)) == (6, 6)
    wrong = {event.tag for event, detail in machine.dones if detail.verdict == Verdict.WRONG}
    assert wrong == {request.tag for request in late[:4]}


def test_a_lost_reply_stays_in_flight_for_ever():
    machine = machine_of()
    machine.translate = lambda request: None if request.tag == 17 else own_domain(request)

    async def testbench(ctx):
        await four_devices(machine, ctx)
        await machine.control(ctx, run=1)
        await ctx.tick().repeat(200)
        await machine.control(ctx, run=0)
        await ctx.tick().repeat(200)
        assert await machine.read(ctx, TrafficRegister.IN_FLIGHT) == 1
        issued = sum(counters["issued"] for counters in await counts(machine, ctx))
        assert await machine.read(ctx, TrafficRegister.TOTAL) == issued - 1

    machine.run(testbench)
    assert machine.flying == {17}


def test_a_reply_that_nobody_waits_for_is_counted_and_does_nothing():
    machine = machine_of()
    machine.translate = own_domain

    async def testbench(ctx):
        await four_devices(machine, ctx)
        await machine.control(ctx, run=1)
        await ctx.tick().repeat(30)
        await machine.stop(ctx)
        request = machine.requests[5]
        machine.reply(request, **own_domain(request))             # a second time
        machine.reply(request, tag=1023, **own_domain(request))   # never asked
        await ctx.tick().repeat(30)
        assert await machine.read(ctx, TrafficRegister.STRAY) == 2
        assert await machine.read(ctx, TrafficRegister.IN_FLIGHT) == 0
        assert await machine.read(ctx, TrafficRegister.TOTAL) == len(machine.requests)

    machine.run(testbench)
    assert len(machine.accesses) == len(machine.requests)
    assert len(machine.retires) == len(machine.requests)


@pytest.mark.parametrize("limit", [0, 1, 5])
def test_no_more_than_the_limit_are_in_flight(limit):
    machine = machine_of(shuffle=Random(2))
    machine.translate = own_domain

    async def testbench(ctx):
        await four_devices(machine, ctx)
        await machine.control(ctx, run=1, limit=limit)
        await ctx.tick().repeat(200)
        await machine.stop(ctx)

    machine.run(testbench)
    assert machine.most_flying == limit


def test_all_tags_can_be_in_flight_and_are_used_again():
    machine = machine_of()
    machine.translate = lambda request: None

    async def testbench(ctx):
        await four_devices(machine, ctx)
        await machine.control(ctx, run=1, limit=2047)
        await ctx.tick().repeat(1100)
        assert sorted(machine.flying) == list(range(1024))
        machine.translate = own_domain
        for request in machine.requests[::-1]:
            machine.reply(request, **own_domain(request))
        await ctx.tick().repeat(1100)
        await machine.stop(ctx)
        assert [set(counters) for counters in await counts(machine, ctx)] == [{Verdict.OLD, "issued"}] * 4

    machine.run(testbench)
    assert len(machine.requests) > 1500


def test_a_write_carries_the_stamp_and_leaves_the_signature():
    machine = machine_of()
    machine.translate = own_domain

    async def testbench(ctx):
        await four_devices(machine, ctx, writes=8)
        await machine.control(ctx, run=1)
        await ctx.tick().repeat(200)
        await machine.stop(ctx)

    machine.run(testbench)
    last_writer = {}  # by quantum: the sequence number and the request, counted by hand
    for sequence, request in enumerate(machine.requests, start=1):
        if request.access == Access.WRITE:
            last_writer[request.iova >> 4] = encode(
                WriteStamp, sequence=sequence, tag=request.tag, source_id=request.source_id)
    assert len(last_writer) > 30
    assert {index: encode(DataWord, stamp=stamp, signature=page_signature(index >> 8))
            for index, stamp in last_writer.items()} == machine.memory


def test_a_device_that_is_no_bus_master_stops_and_no_other():
    machine = machine_of()
    machine.translate = own_domain

    async def testbench(ctx):
        await four_devices(machine, ctx)
        await machine.control(ctx, run=1)
        await ctx.tick().repeat(40)
        await machine.device(ctx, 2, first_page=8, page_count=4, bus_master=0)
        await ctx.tick().repeat(10)
        del machine.requests[:]
        await ctx.tick().repeat(90)
        assert Tally(request.source_id for request in machine.requests) == {0x100: 30, 0x101: 30, 0x103: 30}

    machine.run(testbench)


def test_clearing_a_counter_at_full_rate_loses_no_other_and_counts_on():
    machine = machine_of()
    machine.translate = own_domain

    async def testbench(ctx):
        await four_devices(machine, ctx)
        await machine.control(ctx, run=1)
        await ctx.tick().repeat(100)
        for row in range(2):
            await machine.write(ctx, COUNTER_BASE + DEVICE_STRIDE * row + 8 * Counter.OLD, 0)
            await machine.write(ctx, COUNTER_BASE + DEVICE_STRIDE * row + 8 * Counter.ISSUED, 0)
        await ctx.tick().repeat(100)
        await machine.stop(ctx)
        issued = Tally(request.source_id for request in machine.requests)
        for row, counters in enumerate(await counts(machine, ctx)):
            whole = issued[0x100 + row]
            if row < 2:
                assert 20 <= counters["issued"] <= whole - 20
                assert 20 <= counters[Verdict.OLD] <= whole - 20
            else:
                assert counters == {Verdict.OLD: whole, "issued": whole}
            await machine.write(ctx, COUNTER_BASE + DEVICE_STRIDE * row + 8 * Counter.OLD, 0)
            assert set(await machine.counters(ctx, row)) == {"issued"}

    machine.run(testbench)


@pytest.mark.parametrize("counter", [Counter.OLD, Counter.ISSUED])
def test_clearing_a_counter_does_not_wait_for_a_backlog(counter):
    machine = machine_of()
    machine.translate = lambda request: None

    async def testbench(ctx):
        await four_devices(machine, ctx)
        await machine.control(ctx, run=1, limit=400)
        await ctx.tick().repeat(220)
        machine.translate = own_domain
        for request in list(machine.requests):
            machine.reply(request, **own_domain(request))  # some 220 verdicts, one per cycle
        await ctx.tick().repeat(20)
        done = len(machine.dones)
        earlier = ctx.get(machine.dut.cycle)
        await machine.write(ctx, COUNTER_BASE + 8 * counter, 0)
        assert ctx.get(machine.dut.cycle) - earlier < 10
        assert len(machine.dones) > done
        await machine.stop(ctx)

    machine.run(testbench)


def test_done_says_who_where_and_what_was_found():
    machine = machine_of()
    machine.translate = lambda request: (
        machine.blocked(request) | {"domain_id": 7, "hpa": 0xBAD000} if request.source_id == 0x101
        else {"hpa": request.iova + 0x5000_0000, "domain_id": 3})

    async def testbench(ctx):
        await four_devices(machine, ctx, writes=8)
        await machine.control(ctx, run=1)
        await ctx.tick().repeat(60)
        await machine.stop(ctx)

    machine.run(testbench)
    by_tag = {request.tag: request for request in machine.requests}
    assert len(by_tag) == len(machine.requests) == len(machine.dones)
    for event, detail in machine.dones:
        request = by_tag[event.tag]
        assert (event.kind, event.source_id, event.iova) == (EventKind.DONE, request.source_id, request.iova)
        assert (detail.device, detail.access) == (request.source_id - 0x100, request.access)
        if request.source_id == 0x101:
            assert (event.domain_id, event.hpa, detail.signature) == (7, 0, 0)
            assert detail.verdict == Verdict.BLOCKED
        else:
            hpa = request.iova + 0x5000_0000
            assert (event.domain_id, event.hpa, detail.signature) == (3, hpa, page_signature(hpa >> 12))
            assert detail.verdict == Verdict.WRONG


def test_an_interrupt_is_wrong_and_touches_no_memory():
    machine = machine_of()
    machine.translate = lambda request: {"status": Status.INTERRUPT, "hpa": request.iova, "domain_id": 1}

    async def testbench(ctx):
        await four_devices(machine, ctx)
        await machine.control(ctx, run=1)
        await ctx.tick().repeat(40)
        await machine.stop(ctx)
        assert [set(counters) for counters in await counts(machine, ctx)] == [{Verdict.WRONG, "issued"}] * 4

    machine.run(testbench)
    assert machine.accesses == []
