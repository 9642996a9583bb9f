# amaranth: UnusedElaboratable=no
"""What a walk need not read, because paging-structure caches know it; walks ahead of requests. Counted in reads."""

import pytest

from hw.spec.codec import decode, encode
from hw.spec.dma import Access
from hw.spec.events import EventKind, PrefetchCause, StructureDetail, WalkStart
from hw.spec.faults import FaultReason
from hw.spec.tables import SecondStageEntry
from tests.hw.iommu.bench import begin, receive, send, wait
from tests.hw.iommu.memory_mock import MemoryMock
from tests.hw.iommu.request_path import invalidation
from tests.hw.iommu.walk_bench import IOVA, READ_WRITE, WalkBench, filled, map_path, path, walk_request

GLOBAL, DOMAIN, SELECTIVE = 1, 2, 3
PAGE = IOVA >> 12


def reads_after(bench, second, *steps, first=None):
    """Walk, take steps, walk again: what the second walk read, as levels counted from its leaf, and its answer."""

    async def testbench(ctx):
        await send(ctx, bench.dut.requests[0], walk_request(tag=1) if first is None else first)
        await receive(ctx, bench.dut.answers)
        await wait(ctx, 4)              # its fills are written
        for step in steps:
            await step(ctx)
            await wait(ctx, 8)          # a scan is over
        bench.before = len(bench.reads)
        await send(ctx, bench.dut.requests[0], second)
        await receive(ctx, bench.dut.answers)
        await wait(ctx, 2)

    bench.run(testbench)
    return len(bench.reads) - bench.before, bench.answers.payloads[-1]


def invalidate(bench, *what, **more):
    """A step: an invalidation begins."""
    return lambda ctx: begin(ctx, bench.dut.invalidation, invalidation(*what, **more))


def distant(bit):
    """An IOVA that differs from IOVA's in one bit, with all its tables mapped as IOVA's are."""
    return IOVA ^ 1 << bit


@pytest.mark.parametrize(("bit", "reads"), [(13, 1), (22, 2), (31, 3), (40, 4)])
@pytest.mark.parametrize("top_level", [4, 5])
def test_a_walk_reads_only_what_lies_below_the_deepest_table_that_it_shares(top_level, bit, reads):
    """One above the bits of a line's neighbour: 128-bit words bring two entries of each level."""
    bench = WalkBench()
    for iova in (IOVA, distant(bit)):
        map_path(bench.memory, path(top_level), iova=iova)
    count, answer = reads_after(bench, walk_request(iova=distant(bit), tag=2, address_width=top_level - 2),
                                first=walk_request(tag=1, address_width=top_level - 2))
    assert (count, answer.fault_reason) == (reads, FaultReason.NONE)


@pytest.mark.parametrize(("bit", "reads"), [(21, 1), (30, 2), (39, 3)])
def test_the_neighbouring_entry_of_each_word_is_known_too(bit, reads):
    bench = WalkBench()
    for iova in (IOVA, distant(bit)):
        map_path(bench.memory, path(4), iova=iova)
    count, answer = reads_after(bench, walk_request(iova=distant(bit), tag=2))
    assert (count, answer.fault_reason) == (reads, FaultReason.NONE)


def test_a_wide_word_brings_eight_tables():
    bench = WalkBench(word_bits=512)
    iovas = [IOVA & ~(7 << 21) | table << 21 for table in range(8)]
    for iova in iovas:
        map_path(bench.memory, path(4), iova=iova)

    async def testbench(ctx):
        for tag, iova in enumerate(iovas):
            await send(ctx, bench.dut.requests[0], walk_request(iova=iova, tag=tag))
            await receive(ctx, bench.dut.answers)
            await wait(ctx, 4)

    bench.run(testbench)
    assert len(bench.reads) == 4 + 7


def test_the_answer_is_that_of_a_whole_walk_permissions_of_the_upper_levels_included():
    bench = WalkBench()
    entries = [(4, READ_WRITE), (3, {"readable": 1}), (2, READ_WRITE), (1, READ_WRITE)]
    map_path(bench.memory, entries)
    map_path(bench.memory, entries, iova=distant(13))
    count, answer = reads_after(bench, walk_request(iova=distant(13), tag=2))
    assert (count, answer.page) == (1, 0x1001)
    assert filled(bench.fills.payloads[-1])[1] == [(0, 0x1001, 1, 0)]


def test_an_entry_that_does_not_permit_the_access_is_read_again():
    """The level-2 entry was read-only when it was cached; it permits writing now, and nothing was invalidated."""
    bench = WalkBench()
    entries = [(4, READ_WRITE), (3, READ_WRITE), (2, {"readable": 1}), (1, READ_WRITE)]
    addresses = map_path(bench.memory, entries)

    async def repair(ctx):
        bench.memory.store(addresses[2], encode(SecondStageEntry, address=0x2001, **READ_WRITE), 8)

    count, answer = reads_after(bench, walk_request(tag=2, access=Access.WRITE), repair)
    assert (count, answer.fault_reason) == (2, FaultReason.NONE)


@pytest.mark.parametrize(("fields", "why"), [
    ({}, "not present"), (READ_WRITE | {"snoop": 1}, "reserved bits"), (READ_WRITE | {"page_size": 1, "address": 0x200}, "a leaf")])
def test_a_neighbour_that_is_no_table_is_not_kept(fields, why):
    bench = WalkBench()
    map_path(bench.memory, path(4))
    addresses = map_path(bench.memory, [(4, READ_WRITE), (3, READ_WRITE), (2, fields or {"address": 0})], iova=distant(21))
    bench.walk(walk_request())
    fills = [decode(StructureDetail, event.detail).level for port in bench.structures for event in port.payloads]
    assert fills.count(2) == 1, why
    assert addresses


def test_fills_name_what_they_cover_and_where_they_lead():
    bench = WalkBench()
    map_path(bench.memory, [(4, READ_WRITE), (3, {"readable": 1}), (2, READ_WRITE), (1, READ_WRITE)])
    bench.walk(walk_request(domain_id=6))
    told = {}
    for event in (event for port in bench.structures for event in port.payloads):
        assert (event.kind, event.domain_id) == (EventKind.STRUCTURE_FILL, 6)
        detail = decode(StructureDetail, event.detail)
        assert detail.table_pointer == 0x777
        told[detail.level] = (event.iova, event.hpa, detail.readable, detail.writable)
    assert told == {
        4: (IOVA >> 39 << 39, 0x4001 << 12, 1, 1),
        3: (IOVA >> 30 << 30, 0x3001 << 12, 1, 0),
        2: (IOVA >> 21 << 21, 0x2001 << 12, 1, 0),
    }


STEPS = {  # an invalidation between two walks of domain 5, and how many of the four levels the second one reads
    "global": (("IOTLB", GLOBAL), {}, 4),
    "the domain": (("IOTLB", DOMAIN), {"domain_id": 5}, 4),
    "another domain": (("IOTLB", DOMAIN), {"domain_id": 6}, 1),
    "the page": (("IOTLB", SELECTIVE), {"domain_id": 5, "page": PAGE}, 4),
    "the page, leaves only": (("IOTLB", SELECTIVE), {"domain_id": 5, "page": PAGE, "hint": 1}, 1),
    "the domain, with a hint that means nothing there": (("IOTLB", DOMAIN), {"domain_id": 5, "hint": 1}, 4),
    "the page in another domain": (("IOTLB", SELECTIVE), {"domain_id": 6, "page": PAGE}, 1),
    "a page four tables on": (("IOTLB", SELECTIVE), {"domain_id": 5, "page": PAGE ^ 0x800}, 1),
    "a page 4 GiB on": (("IOTLB", SELECTIVE), {"domain_id": 5, "page": PAGE ^ 0x10_0000}, 1),
    "2 MiB around it": (("IOTLB", SELECTIVE), {"domain_id": 5, "page": PAGE & ~0x1FF, "address_mask": 9}, 4),
    "a context": (("CONTEXT_CACHE", SELECTIVE), {"domain_id": 5, "source_id": 0x0310}, 1),
}


@pytest.mark.parametrize("case", STEPS)
def test_an_invalidation_removes_what_it_covers_from_every_level(case):
    what, more, reads = STEPS[case]
    bench = WalkBench()
    map_path(bench.memory, path(4))
    count, _ = reads_after(bench, walk_request(tag=2, domain_id=5), invalidate(bench, *what, **more),
                           first=walk_request(tag=1, domain_id=5))
    assert count == reads


def test_a_walk_that_is_marked_puts_nothing_in_the_structure_caches():
    bench = WalkBench()
    map_path(bench.memory, path(4))
    count, _ = reads_after(bench, walk_request(tag=2), first=walk_request(tag=1, marked=1))
    assert count == 4


def test_a_walk_hidden_from_what_an_invalidation_has_not_yet_reached_reads_all():
    bench = WalkBench(sizes={"structure_sets": 16, "upper_structure_sets": 16})
    map_path(bench.memory, path(4))

    async def testbench(ctx):
        await send(ctx, bench.dut.requests[0], walk_request(tag=1))
        await receive(ctx, bench.dut.answers)
        await wait(ctx, 4)
        await begin(ctx, bench.dut.invalidation, invalidation("IOTLB", GLOBAL))
        assert ctx.get(bench.dut.busy)
        await send(ctx, bench.dut.requests[0], walk_request(tag=2))
        await receive(ctx, bench.dut.answers)

    bench.run(testbench)
    assert len(bench.reads) == 8


# --- walks that nobody waits for


def test_a_prefetch_fills_the_caches_and_answers_nobody():
    bench = WalkBench(slots=4)
    map_path(bench.memory, path(4))

    async def testbench(ctx):
        await send(ctx, bench.dut.prefetches, walk_request())
        await wait(ctx, 20)

    bench.run(testbench)
    assert len(bench.answers) == len(bench.begins) == len(bench.ends) == 0
    assert filled(bench.fills.payloads[0])[1] == [(0, 0x1001, 1, 1)]
    (event,) = bench.prefetches.payloads
    assert (event.kind, event.tag, event.iova) == (EventKind.PREFETCH, PrefetchCause.STREAM, IOVA)


@pytest.mark.parametrize("entries", [path(4, readable=0, writable=0), path(4, snoop=1)])
def test_a_prefetch_of_what_would_fault_leaves_no_trace(entries):
    bench = WalkBench(slots=4)
    map_path(bench.memory, entries)

    async def testbench(ctx):
        await send(ctx, bench.dut.prefetches, walk_request())
        await wait(ctx, 20)

    bench.run(testbench)
    assert len(bench.answers) == len(bench.fills) == 0


def test_a_request_joins_a_prefetch_that_is_under_way_and_is_answered():
    bench = WalkBench(slots=4, memory=MemoryMock(latency=(30, 30)))
    map_path(bench.memory, path(4))

    async def testbench(ctx):
        await send(ctx, bench.dut.prefetches, walk_request())
        await wait(ctx, 10)
        await send(ctx, bench.dut.requests[0], walk_request(tag=4))
        await receive(ctx, bench.dut.answers)

    bench.run(testbench)
    assert decode(WalkStart, bench.begins.payloads[0].detail).joined == 1
    assert bench.answers.payloads[0].page == 0x1001
    assert len(bench.reads) == 4


def test_a_prefetch_of_a_line_that_is_being_walked_is_forgotten_and_a_pre_walk_ends():
    bench = WalkBench(slots=4, memory=MemoryMock(latency=(30, 30)))
    map_path(bench.memory, path(4))
    ended = []

    async def testbench(ctx):
        await send(ctx, bench.dut.requests[0], walk_request(tag=4))
        await send(ctx, bench.dut.prefetches, walk_request())
        await send(ctx, bench.dut.prewalks, walk_request())
        await receive(ctx, bench.dut.answers)
        await wait(ctx, 40)

    async def listener(ctx):
        async for _, _, strobe in ctx.tick().sample(bench.dut.prewalk_ended):
            ended.append(strobe)
            if len(ended) > 60:
                break

    bench.run(testbench, listener)
    assert len(bench.reads) == 4
    assert sum(ended) == 1
    assert len(bench.prefetches) == 0


def test_a_prefetch_waits_until_two_slots_are_free_and_a_pre_walk_does_not():
    bench = WalkBench(slots=1)
    map_path(bench.memory, path(4))

    async def testbench(ctx):
        ctx.set(bench.dut.prefetches.payload, walk_request())
        ctx.set(bench.dut.prefetches.valid, 1)
        await wait(ctx, 10)
        assert not ctx.get(bench.dut.prefetches.ready)
        ctx.set(bench.dut.prefetches.valid, 0)
        await send(ctx, bench.dut.prewalks, walk_request())
        await wait(ctx, 20)

    bench.run(testbench)
    assert [event.tag for event in bench.prefetches.payloads] == [PrefetchCause.HOST]
    assert len(bench.fills) == 1


def test_an_invalidation_makes_a_prefetch_that_waits_forgotten_but_not_a_pre_walk():
    bench = WalkBench(slots=2, memory=MemoryMock(latency=(30, 30)))
    map_path(bench.memory, path(4))
    map_path(bench.memory, path(4), iova=distant(30))

    async def testbench(ctx):
        await send(ctx, bench.dut.prefetches, walk_request())
        await begin(ctx, bench.dut.invalidation, invalidation("IOTLB", GLOBAL))
        await wait(ctx, 2)
        await send(ctx, bench.dut.prewalks, walk_request(iova=distant(30)))
        await wait(ctx, 150)

    bench.run(testbench)
    assert [event.tag for event in bench.prefetches.payloads] == [PrefetchCause.HOST]
    assert len(bench.fills) == 1


# --- latency


@pytest.mark.parametrize("latency", [1, 7, 20])
@pytest.mark.parametrize("top_level", [3, 4, 5])
def test_a_walk_of_n_reads_takes_n_times_the_latency_and_one_and_three(top_level, latency):
    bench = WalkBench(memory=MemoryMock(latency=(latency, latency)))
    iova = IOVA & ((1 << 9 * top_level + 12) - 1)
    map_path(bench.memory, path(top_level), iova=iova)
    bench.walk(walk_request(iova=iova, address_width=top_level - 2))
    accepted = bench.begins.cycles[0] - 1
    assert bench.answers.cycles[0] - accepted == top_level * (latency + 1) + 3
