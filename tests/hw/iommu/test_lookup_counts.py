# amaranth: UnusedElaboratable=no
"""What the hit path tells of itself: to the prefetcher, and to the counters; and that fills and scans cost it no cycle."""

import itertools

import pytest

from hw.iommu.lookup import LookupCounts
from hw.iommu.request_intake import MAX_ACCESSES
from hw.spec.dma import Access, RequestKind
from hw.spec.invalidation import Granularity
from tests.hw.iommu.lookup_bench import (
    DEVICES,
    HIT,
    KNOWN,
    LATENCY,
    MISS,
    OTHER,
    OUTPUTS,
    PASSING,
    STRANGER,
    Bench,
    tagged,
)
from tests.hw.iommu.request_path import context_fill, entry, invalidation, iotlb_line, request, simulate

NAMES = list(LookupCounts.as_shape().members)


def run(bench, templates, cycles=None):
    """Play requests from a prepared bench; returns the cycle of the first, and the names of all counts, by cycle."""
    result = []

    async def play(ctx):
        await bench.prepare(ctx)
        start = bench.cycle
        bench.waiting = [tagged(template, tag % MAX_ACCESSES) for tag, template in enumerate(templates)]
        await bench.run(ctx, cycles or len(templates) + LATENCY)
        result.append((start, [{name for name in NAMES if counts[name]} for counts in bench.counts[start:]]))

    simulate(bench.dut, play)
    return result[0]


@pytest.mark.parametrize(
    ("asked", "hit"),
    [
        (HIT, 1),
        (MISS, 0),
        (request(source_id=OTHER, iova=0x12_000), 1),
        (request(source_id=KNOWN, iova=0x11_000, access=Access.WRITE), 0),  # its permission does not suffice
    ],
)
def test_a_request_that_translates_is_told_in_its_select_cycle_with_what_a_walk_of_it_needs(asked, hit):
    bench = Bench()
    start, _ = run(bench, [asked])
    ((cycle, touch),) = bench.touched
    assert cycle == start + LATENCY - 1
    assert touch.walk.transaction.request == tagged(asked, 0)
    assert touch.walk.context == {KNOWN: DEVICES[0], OTHER: DEVICES[1]}[asked.source_id].context
    assert touch.hit == hit


@pytest.mark.parametrize(
    "asked",
    [
        STRANGER,
        request(source_id=PASSING, iova=0x13_000),
        request(source_id=KNOWN, iova=0xFEE0_0000),
        request(source_id=KNOWN, iova=0x10_000 + (1 << 57)),
        request(source_id=KNOWN, iova=0x10_000, kind=RequestKind.TRANSLATED),
    ],
)
def test_a_request_that_would_not_be_walked_is_not_told(asked):
    bench = Bench()
    run(bench, [asked])
    assert bench.touched == []


def test_with_the_iotlb_off_for_its_device_what_it_holds_is_no_hit():
    bench = Bench()

    async def play(ctx):
        await bench.prepare(ctx)
        ctx.set(bench.dut.caches_off.iotlb, 1)
        ctx.set(bench.dut.caches_off.source_id, KNOWN)
        bench.waiting = [HIT]
        await bench.settle(ctx)
        assert [touch.hit for _, touch in bench.touched] == [0]
        assert sum(counts.hits for counts in bench.counts) == 0

    simulate(bench.dut, play)


def test_each_request_is_counted_when_it_is_accepted_and_when_its_way_is_chosen():
    """Accepted in one cycle, selected two cycles later."""
    _, counts = run(Bench(), [HIT, MISS, STRANGER, request(source_id=PASSING), HIT])
    assert counts == [
        {"requests"},
        {"requests"},
        {"requests", "hits"},
        {"requests", "walk_requests"},
        {"requests", "context_requests"},
        set(),
        {"hits"},
        set(),
    ]


@pytest.mark.parametrize(
    ("output", "template", "reason"),
    list(zip(OUTPUTS, (HIT, MISS, STRANGER), ("answers", "walks", "contexts"), strict=True)),
)
def test_a_request_that_waits_counts_each_cycle_with_the_reason(output, template, reason):
    bench = Bench()
    bench.ready[output] = itertools.repeat(False)
    _, counts = run(bench, [template] * 20, cycles=40)
    accepted = len(bench.accepted)
    assert 4 <= accepted < 20
    stalled = [{name for name in names if name.startswith("stalled")} for names in counts]
    assert stalled == [set()] * accepted + [{f"stalled_by_{reason}"}] * (40 - accepted)


def test_with_as_many_requests_inside_as_may_be_the_limit_is_the_reason():
    bench = Bench()
    _, counts = run(bench, [HIT] * (MAX_ACCESSES + 5), cycles=MAX_ACCESSES + 5)
    assert [names & {"stalled_by_limit", "requests"} for names in counts[-6:]] == [{"requests"}] + [{"stalled_by_limit"}] * 5


def test_without_a_request_nothing_stalls():
    bench = Bench()
    bench.ready["answers"] = itertools.repeat(False)
    _, counts = run(bench, [HIT] * 4, cycles=40)
    assert set().union(*counts) == {"requests", "hits"}


@pytest.mark.parametrize("cache", ["iotlb", "context"])
def test_what_requests_find_stays_in_its_cache_when_others_come(cache):
    """Two lines of one set of two ways; the first is asked for, and a third one comes."""
    bench = Bench()
    if cache == "iotlb":
        asked = [request(source_id=KNOWN, iova=page << 12) for page in (0x80, 0x100, 0x180)]
        comes = [iotlb_line([entry(), entry()], domain_id=5, iova_page=one.iova >> 12) for one in asked]
        filled = {"devices": DEVICES[:1], "lines": comes[:2]}
    else:
        asked = [request(source_id=source_id, iova=0x10_000) for source_id in (0x0000, 0x0003, 0x0005)]
        comes = [context_fill(source_id=one.source_id) for one in asked]
        filled = {"devices": comes[:2], "lines": [iotlb_line([entry(), entry()], iova_page=0x10)]}

    async def play(ctx):
        await bench.prepare(ctx, **filled)
        bench.waiting = [tagged(asked[0], 0)]
        await bench.settle(ctx)
        bench.fills[bench.cycle] = [(f"{cache}_fill", comes[2])]
        await bench.run(ctx, 3)
        bench.waiting = [tagged(one, tag) for tag, one in enumerate(asked, start=1)]
        await bench.settle(ctx)
        assert {answer.transaction.request.tag for _, answer in bench.left["answers"]} == {0, 1, 3}

    simulate(bench.dut, play)


def test_fills_scans_and_misses_in_every_cycle_cost_no_cycle():
    """Other lines and other domains than those asked for are filled and invalidated all the time."""
    bench = Bench()
    count = 60
    for cycle in range(10, 80):
        line = iotlb_line([entry(), entry()], domain_id=9, iova_page=2 * cycle)
        bench.fills[cycle] = [("iotlb_fill", line), ("context_fill", DEVICES[cycle % 3])]
        if cycle % 10 == 0:
            kind = ("IOTLB", "CONTEXT_CACHE")[cycle // 10 % 2]
            bench.begins[cycle] = invalidation(kind, Granularity.DOMAIN_SELECTIVE, domain_id=9)
    start, _ = run(bench, [HIT, MISS, STRANGER] * (count // 3))
    assert [cycle for cycle, _ in bench.accepted] == list(range(start, start + count))
    left = sorted(cycle for name in OUTPUTS for cycle, _ in bench.left[name])
    assert left == list(range(start + LATENCY, start + LATENCY + count))
