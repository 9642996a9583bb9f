# amaranth: UnusedElaboratable=no
"""Second-stage walks that succeed, one and many. Expected results are worked by hand from VT-d 4.1, 3.7 and 9.8."""

from itertools import pairwise

import pytest

from hw.spec.codec import decode
from hw.spec.dma import Access
from hw.spec.events import EventKind, WalkDetail, WalkStart
from hw.spec.faults import FaultReason
from hw.spec.tables import PageSize
from tests.hw.iommu.bench import receive, send, wait
from tests.hw.iommu.memory_mock import MemoryMock
from tests.hw.iommu.walk_bench import (
    IOVA,
    READ_WRITE,
    WalkBench,
    filled,
    many_walks,
    map_many,
    map_path,
    path,
    walk_request,
)


@pytest.mark.parametrize("word_bits", [128, 512])
@pytest.mark.parametrize("top_level", [3, 4, 5])
def test_a_walk_reads_one_entry_per_level_and_ends_at_the_page(top_level, word_bits):
    bench = WalkBench(word_bits=word_bits)
    iova = IOVA & ((1 << 9 * top_level + 12) - 1)
    addresses = map_path(bench.memory, path(top_level), iova=iova)
    answer = bench.walk(walk_request(iova=iova, address_width=top_level - 2))
    assert [read.hpa for read in bench.reads.payloads] == addresses
    assert answer.fault_reason == FaultReason.NONE
    assert answer.page_size == PageSize.SIZE_4K
    assert answer.page == 0x1001
    assert answer.hit == 0


def test_addresses_of_a_four_level_walk_are_those_worked_by_hand():
    bench = WalkBench()
    map_path(bench.memory, path(4))
    bench.walk(walk_request())
    assert [read.hpa for read in bench.reads.payloads] == [
        0x0077_7000 + 8 * 0x0EC,
        0x0400_1000 + 8 * 0x150,
        0x0300_1000 + 8 * 0x190,
        0x0200_1000 + 8 * 0x110,
    ]


@pytest.mark.parametrize("position", range(8))
@pytest.mark.parametrize("word_bits", [128, 512])
def test_the_entry_is_found_at_every_position_of_the_memory_word(word_bits, position):
    bench = WalkBench(word_bits=word_bits)
    for neighbour in range(8):
        iova = neighbour << 12
        map_path(bench.memory, path(3, address=0x5000 + neighbour), iova=iova)
    assert bench.walk(walk_request(iova=position << 12, address_width=1)).page == 0x5000 + position


@pytest.mark.parametrize(
    ("leaf_level", "size", "page"), [(2, PageSize.SIZE_2M, 0x12_3400), (3, PageSize.SIZE_1G, 0x48_0000)]
)
def test_a_superpage_ends_the_walk_early(leaf_level, size, page):
    bench = WalkBench()
    map_path(bench.memory, path(4, leaf_level, address=page))
    answer = bench.walk(walk_request())
    assert answer.fault_reason == FaultReason.NONE
    assert (answer.page_size, answer.page) == (size, page)
    assert len(bench.reads) == 5 - leaf_level
    assert bench.fills.payloads[0].page_size == size
    assert filled(bench.fills.payloads[0])[1] == [(0, page, 1, 1)]


@pytest.mark.parametrize(
    "field",
    ["executable", "_ignored_6_3", "page_size", "accessed", "dirty", "_ignored_10", "_ignored_61_52", "_ignored_63"],
)
def test_ignored_fields_of_a_leaf_change_nothing(field):
    bench = WalkBench()
    map_path(bench.memory, path(4, **{field: 1}))
    assert bench.walk(walk_request()).fault_reason == FaultReason.NONE


def test_the_fill_carries_key_and_page():
    bench = WalkBench()
    map_path(bench.memory, path(4))
    bench.walk(walk_request(domain_id=0x1234))
    (fill,) = bench.fills.payloads
    assert (fill.domain_id, fill.page_size, fill.table_pointer) == (0x1234, PageSize.SIZE_4K, 0x777)
    assert filled(fill) == (IOVA >> 12 & ~1, [(0, 0x1001, 1, 1)])


@pytest.mark.parametrize("level", [4, 3, 2, 1])
@pytest.mark.parametrize(
    ("field", "access", "permissions"), [("readable", Access.READ, (1, 0)), ("writable", Access.WRITE, (0, 1))]
)
def test_the_fill_carries_the_permissions_that_all_levels_give(level, field, access, permissions):
    bench = WalkBench()
    map_path(bench.memory, [(each, {field: 1} if each == level else READ_WRITE) for each in (4, 3, 2, 1)])
    bench.walk(walk_request(access=access))
    (fill,) = bench.fills.payloads
    assert filled(fill)[1] == [(0, 0x1001, *permissions)]


def test_the_answer_carries_the_request_and_its_context():
    bench = WalkBench()
    map_path(bench.memory, path(4))
    wanted = walk_request(tag=77, domain_id=9, fault_processing_disable=1)
    answer = bench.walk(wanted, port=1)
    assert answer.transaction.as_bits() == wanted.transaction.as_bits()
    assert answer.context.as_bits() == wanted.context.as_bits()


# --- many at once


@pytest.mark.parametrize("slots", [1, 3, 16])
def test_walks_in_any_order_give_every_request_its_own_answer(slots):
    memory = MemoryMock(latency=(1, 30), reorder=True, ready_percent=60, seed=slots)
    bench = WalkBench(memory=memory, slots=slots)
    map_many(memory, 40)

    async def giver(ctx):
        for each in many_walks(40):
            await send(ctx, bench.dut.requests[0], each)

    async def taker(ctx):
        for _ in range(40):
            await receive(ctx, bench.dut.answers)
            await wait(ctx, 2)

    bench.run(giver, taker, cycles=8000)
    answered = {answer.transaction.request.tag: answer.page for answer in bench.answers.payloads}
    assert answered == {tag: 0x9000 + tag for tag in range(40)}
    assert len(bench.answers) == 40
    assert sorted((fill.domain_id, filled(fill)[1]) for fill in bench.fills.payloads) == [
        (tag, [(0, 0x9000 + tag, 1, 1)]) for tag in range(40)
    ]


def test_as_many_walks_are_in_flight_as_there_are_slots():
    bench = WalkBench(memory=MemoryMock(latency=(100, 100)), slots=4)
    map_many(bench.memory, 6)

    async def giver(ctx):
        for each in many_walks(6):
            await send(ctx, bench.dut.requests[0], each)

    async def taker(ctx):
        for _ in range(6):
            await receive(ctx, bench.dut.answers)

    bench.run(giver, taker)
    assert max(bench.begins.cycles[:4]) < 10
    assert bench.begins.cycles[4] > bench.ends.cycles[0]


def test_a_slot_is_held_until_its_answer_has_left_it():
    bench = WalkBench(slots=2)
    map_many(bench.memory, 4)

    async def giver(ctx):
        for each in many_walks(4):
            await send(ctx, bench.dut.requests[0], each)

    async def taker(ctx):
        await wait(ctx, 100)
        for _ in range(4):
            await receive(ctx, bench.dut.answers)

    bench.run(giver, taker)
    assert bench.ends.cycles[0] < 50    # one answer is on offer: its slot is free
    assert bench.begins.cycles[2] < 50
    assert bench.ends.cycles[1] >= 100
    assert bench.begins.cycles[3] >= 100


def test_one_reply_a_cycle_is_processed_and_the_next_read_follows_in_the_next_cycle():
    bench = WalkBench(slots=16)
    map_many(bench.memory, 16)

    async def giver(ctx):
        for each in many_walks(16):
            await send(ctx, bench.dut.requests[0], each)

    async def taker(ctx):
        for _ in range(16):
            await receive(ctx, bench.dut.answers)

    bench.run(giver, taker)
    single = [cycle for cycle, read in zip(bench.reads.cycles, bench.reads.payloads, strict=True) if read.tag == 0]
    assert [cycle - single[0] for cycle in single[:4]] == [0, 2, 4, 6]  # memory itself takes one cycle
    assert bench.reads.cycles[-1] - bench.reads.cycles[0] < 16 * 4 + 8


def test_both_sources_of_requests_are_served_in_turn():
    bench = WalkBench(slots=2)
    map_path(bench.memory, path(4))

    def giver(port):
        async def give(ctx):
            for count in range(10):
                await send(ctx, bench.dut.requests[port], walk_request(tag=100 * port + count))

        return give

    async def taker(ctx):
        for _ in range(20):
            await receive(ctx, bench.dut.answers)

    bench.run(giver(0), giver(1), taker)
    tags = [event.tag for event in bench.begins.payloads]
    assert sorted(tags) == [*range(10), *range(100, 110)]
    for earlier, later in pairwise(tags):
        assert (earlier < 100) != (later < 100)


# --- events


def test_events_tell_where_a_walk_began_and_how_it_ended():
    bench = WalkBench()
    map_path(bench.memory, path(4, 2, address=0x12_3400))
    bench.walk(walk_request(tag=33, domain_id=7))
    for event, kind in ((bench.begins.payloads[0], EventKind.WALK), (bench.ends.payloads[0], EventKind.WALK_RESULT)):
        assert event.kind == kind
        assert (event.source_id, event.domain_id, event.tag) == (0x0310, 7, 33)
        assert (event.iova, event.hpa) == (IOVA, 0x777 << 12)
    detail = decode(WalkDetail, bench.ends.payloads[0].detail)
    assert (detail.fault_reason, detail.page_size, detail.page) == (FaultReason.NONE, PageSize.SIZE_2M, 0x12_3400)
    assert detail.marked == 0
    assert bench.ends.cycles == bench.fills.cycles
    assert decode(WalkStart, bench.begins.payloads[0].detail).joined == 0
