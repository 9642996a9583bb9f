# amaranth: UnusedElaboratable=no
"""Second-stage walks and invalidations that begin meanwhile: what is covered answers, and fills nothing."""

import pytest

from hw.spec.faults import FaultReason
from tests.hw.iommu.bench import begin, receive, send, wait
from tests.hw.iommu.memory_mock import MemoryMock
from tests.hw.iommu.request_path import invalidation
from tests.hw.iommu.walk_bench import IOVA, WalkBench, many_walks, map_many, map_path, path, walk_request

GLOBAL, DOMAIN, SELECTIVE = 1, 2, 3
PAGE = IOVA >> 12

COVERED = {  # of a walk of domain 5, source 0x0310, at IOVA: the invalidation, and whether it stops a fill of 4K, 2M, 1G
    "IOTLB global": (invalidation("IOTLB", GLOBAL), (1, 1, 1)),
    "IOTLB of the domain": (invalidation("IOTLB", DOMAIN, domain_id=5), (1, 1, 1)),
    "IOTLB of another domain": (invalidation("IOTLB", DOMAIN, domain_id=6), (0, 0, 0)),
    "the page": (invalidation("IOTLB", SELECTIVE, domain_id=5, page=PAGE), (1, 1, 1)),
    "the page in another domain": (invalidation("IOTLB", SELECTIVE, domain_id=6, page=PAGE), (0, 0, 0)),
    "the page, leaves only": (invalidation("IOTLB", SELECTIVE, domain_id=5, page=PAGE, hint=1), (1, 1, 1)),
    "the next page": (invalidation("IOTLB", SELECTIVE, domain_id=5, page=PAGE ^ 1), (1, 1, 1)),
    "16 pages around it": (invalidation("IOTLB", SELECTIVE, domain_id=5, page=PAGE & ~15, address_mask=4), (1, 1, 1)),
    "the 16 pages beside": (
        invalidation("IOTLB", SELECTIVE, domain_id=5, page=(PAGE ^ 16) & ~15, address_mask=4),
        (1, 1, 1),
    ),
    "a page of the next 2 MiB": (invalidation("IOTLB", SELECTIVE, domain_id=5, page=PAGE ^ 0x200), (0, 1, 1)),
    "a page of the next 1 GiB": (invalidation("IOTLB", SELECTIVE, domain_id=5, page=PAGE ^ 0x4_0000), (0, 0, 1)),
    "everything by mask": (invalidation("IOTLB", SELECTIVE, domain_id=5, page=0, address_mask=52), (1, 1, 1)),
    "context cache global": (invalidation("CONTEXT_CACHE", GLOBAL), (1, 1, 1)),
    "context cache of the domain": (invalidation("CONTEXT_CACHE", DOMAIN, domain_id=5), (1, 1, 1)),
    "context cache of another domain": (invalidation("CONTEXT_CACHE", DOMAIN, domain_id=6), (0, 0, 0)),
    "the device": (invalidation("CONTEXT_CACHE", SELECTIVE, domain_id=5, source_id=0x0310), (1, 1, 1)),
    "the device with the wrong domain": (
        invalidation("CONTEXT_CACHE", SELECTIVE, domain_id=6, source_id=0x0310),
        (0, 0, 0),
    ),
    "another device": (invalidation("CONTEXT_CACHE", SELECTIVE, domain_id=5, source_id=0x0311), (0, 0, 0)),
    "function mask 1": (
        invalidation("CONTEXT_CACHE", SELECTIVE, domain_id=5, source_id=0x0314, function_mask=1),
        (1, 1, 1),
    ),
    "function mask 1, bit 1 differs": (
        invalidation("CONTEXT_CACHE", SELECTIVE, domain_id=5, source_id=0x0312, function_mask=1),
        (0, 0, 0),
    ),
    "function mask 2": (
        invalidation("CONTEXT_CACHE", SELECTIVE, domain_id=5, source_id=0x0316, function_mask=2),
        (1, 1, 1),
    ),
    "function mask 3": (
        invalidation("CONTEXT_CACHE", SELECTIVE, domain_id=5, source_id=0x0317, function_mask=3),
        (1, 1, 1),
    ),
    "function mask 3, another device": (
        invalidation("CONTEXT_CACHE", SELECTIVE, domain_id=5, source_id=0x0308, function_mask=3),
        (0, 0, 0),
    ),
}


@pytest.mark.parametrize("leaf_level", [1, 2, 3])
@pytest.mark.parametrize("case", COVERED)
def test_a_walk_that_an_invalidation_covers_answers_but_fills_nothing(case, leaf_level):
    what, covered = COVERED[case]
    bench = WalkBench(memory=MemoryMock(latency=(20, 20)))
    map_path(bench.memory, path(4, leaf_level, address=0x8_0000))

    async def testbench(ctx):
        await send(ctx, bench.dut.requests[0], walk_request(domain_id=5))
        await wait(ctx, 30)
        await begin(ctx, bench.dut.invalidation, what)
        await receive(ctx, bench.dut.answers)

    bench.run(testbench)
    marked = covered[leaf_level - 1]  # a line of 2 MiB pages is stopped by anything within its 1 GiB, and so on
    assert bench.answers.payloads[0].fault_reason == FaultReason.NONE
    assert bench.answers.payloads[0].page == 0x8_0000
    assert len(bench.fills) == 1 - marked


@pytest.mark.parametrize("case", COVERED)
def test_the_lack_of_a_page_is_stopped_by_what_stops_a_4_kib_page(case):
    """The lack is found at the top, where nothing larger is known."""
    what, covered = COVERED[case]
    bench = WalkBench(memory=MemoryMock(latency=(20, 20)), caching_mode=1)
    map_path(bench.memory, [(4, {})])

    async def testbench(ctx):
        await send(ctx, bench.dut.requests[0], walk_request(domain_id=5))
        await wait(ctx, 10)
        await begin(ctx, bench.dut.invalidation, what)
        await receive(ctx, bench.dut.answers)

    bench.run(testbench)
    assert bench.answers.payloads[0].fault_reason == FaultReason.READ_PERMISSION
    assert len(bench.fills) == 1 - covered[0]


def test_a_marked_request_fills_nothing():
    bench = WalkBench()
    map_path(bench.memory, path(4))
    assert bench.walk(walk_request(marked=1)).fault_reason == FaultReason.NONE
    assert len(bench.fills) == 0


def test_a_mark_does_not_outlive_its_walk():
    bench = WalkBench(slots=1)
    map_path(bench.memory, path(4))

    async def testbench(ctx):
        await send(ctx, bench.dut.requests[0], walk_request(marked=1))
        await receive(ctx, bench.dut.answers)
        await send(ctx, bench.dut.requests[0], walk_request())
        await receive(ctx, bench.dut.answers)

    bench.run(testbench)
    assert bench.fills.cycles == bench.ends.cycles[1:]


@pytest.mark.parametrize("cycle", range(-2, 3))
def test_the_cycle_of_begin_decides_about_mark_and_fill(cycle):
    """`cycle` counts from the fill: an invalidation that begins in it is too late to stop it."""
    unmarked = WalkBench(slots=1)
    map_path(unmarked.memory, path(4))
    unmarked.walk(walk_request())
    bench = WalkBench(slots=1, memory=unmarked.memory)

    async def walker(ctx):
        await send(ctx, bench.dut.requests[0], walk_request())
        await receive(ctx, bench.dut.answers)

    async def invalidator(ctx):
        await wait(ctx, unmarked.fills.cycles[0] + cycle)
        await begin(ctx, bench.dut.invalidation, invalidation("IOTLB", GLOBAL))

    bench.run(walker, invalidator)
    assert bench.fills.cycles == [unmarked.fills.cycles[0]] * (cycle >= 0)
    assert len(bench.answers) == 1


def test_a_walk_accepted_while_an_invalidation_begins_is_marked():
    bench = WalkBench()
    map_path(bench.memory, path(4))

    async def walker(ctx):
        await wait(ctx, 3)
        await send(ctx, bench.dut.requests[0], walk_request())
        await receive(ctx, bench.dut.answers)

    async def invalidator(ctx):
        await wait(ctx, 3)
        await begin(ctx, bench.dut.invalidation, invalidation("IOTLB", DOMAIN, domain_id=6))

    bench.run(walker, invalidator)
    assert bench.begins.cycles == [4]
    assert len(bench.fills) == 0


def test_an_invalidation_marks_only_the_slots_it_covers():
    bench = WalkBench(memory=MemoryMock(latency=(20, 20)), slots=4)
    map_many(bench.memory, 4)

    async def testbench(ctx):
        for each in many_walks(4):
            await send(ctx, bench.dut.requests[0], each)
        await ctx.tick()  # the last one begins its walk
        await begin(ctx, bench.dut.invalidation, invalidation("IOTLB", DOMAIN, domain_id=2))
        for _ in range(4):
            await receive(ctx, bench.dut.answers)

    bench.run(testbench)
    assert [fill.domain_id for fill in bench.fills.payloads] == [0, 1, 3]
    assert len(bench.answers) == 4
