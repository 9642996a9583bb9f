# amaranth: UnusedElaboratable=no
"""What an invalidation changes for lookups at full rate: from which cycle on, and for which requests.

A request is compared in the cycle after its acceptance; what holds is a matter of that cycle and the cycle of `begin`. The
colour is a matter of that cycle alone.
"""

import itertools
from dataclasses import replace

import pytest

from hw.spec.faults import FaultReason
from hw.spec.invalidation import Granularity
from tests.hw.iommu.lookup_bench import (
    DEVICES,
    FILL_CYCLES,
    HIT,
    KNOWN,
    LINES,
    MISS,
    OTHER,
    STRANGER,
    Bench,
    tagged,
)
from tests.hw.iommu.request_path import (
    SMALL,
    context_fill,
    entry,
    invalidation,
    iotlb_fill,
    iotlb_line,
    request,
    simulate,
)

READ_ONLY = request(source_id=KNOWN, iova=0x11_000)
IN_2M = request(source_id=KNOWN, iova=0x6AA_000)
OF_OTHER = request(source_id=OTHER, iova=0x12_000)
PREPARED = len(LINES) + FILL_CYCLES  # cycles until the caches are filled
SETTLE = 12  # cycles before `begin`; the pipeline is full by then


def compared(bench):
    """The cycle in which each request was compared, by tag: that after its acceptance."""
    return {asked.tag: cycle + 1 for cycle, asked in bench.accepted}


async def invalidate_under_load(ctx, bench, value, templates, **cached):
    """Look `templates` up in turn, one per cycle, while one invalidation is carried out; returns the cycle of begin."""
    await bench.prepare(ctx, **cached)
    begun = bench.cycle + SETTLE
    bench.begins[begun] = value
    bench.waiting = [
        tagged(template, tag) for tag, template in enumerate(itertools.islice(itertools.cycle(templates), 50))
    ]
    await bench.settle(ctx)
    assert len({cycle for cycle, _ in bench.accepted}) == 50
    assert bench.accepted[-1][0] - bench.accepted[0][0] == 49  # at full rate throughout
    return begun


@pytest.mark.parametrize(
    ("value", "removed"),
    [
        (invalidation("IOTLB"), [HIT, READ_ONLY, IN_2M, OF_OTHER]),
        (invalidation("IOTLB", Granularity.DOMAIN_SELECTIVE, domain_id=5), [HIT, READ_ONLY, IN_2M]),
        (invalidation("IOTLB", Granularity.DOMAIN_SELECTIVE, domain_id=6), [OF_OTHER]),
        (invalidation("IOTLB", Granularity.SELECTIVE, domain_id=5, page=0x11), [HIT, READ_ONLY]),
        (invalidation("IOTLB", Granularity.SELECTIVE, domain_id=5, page=0x10, address_mask=1), [HIT, READ_ONLY]),
        (invalidation("IOTLB", Granularity.SELECTIVE, domain_id=5, page=0x12), []),
        (invalidation("IOTLB", Granularity.SELECTIVE, domain_id=5, page=0x7FF), [IN_2M]),
        (invalidation("CONTEXT_CACHE"), [HIT, READ_ONLY, IN_2M, OF_OTHER]),
        (invalidation("CONTEXT_CACHE", Granularity.DOMAIN_SELECTIVE, domain_id=6), [OF_OTHER]),
        (
            invalidation("CONTEXT_CACHE", Granularity.SELECTIVE, domain_id=6, source_id=0x0200, function_mask=2),
            [],
        ),
        (
            invalidation("CONTEXT_CACHE", Granularity.SELECTIVE, domain_id=6, source_id=0x0200, function_mask=3),
            [OF_OTHER],
        ),
        (invalidation("CONTEXT_CACHE", Granularity.SELECTIVE, domain_id=5, source_id=OTHER), []),
    ],
)
def test_from_the_cycle_after_begin_nothing_covered_is_used_and_the_rest_still_hits(value, removed):
    bench = Bench()
    templates = [HIT, READ_ONLY, IN_2M, OF_OTHER]

    async def run(ctx):
        begun = await invalidate_under_load(ctx, bench, value, templates)
        hits = {answer.transaction.request.tag for _, answer in bench.left["answers"] if answer.hit}
        for tag, cycle in compared(bench).items():
            is_removed = any(tagged(template, tag) == tagged(templates[tag % 4], tag) for template in removed)
            assert (tag in hits) == (cycle <= begun or not is_removed)

    simulate(bench.dut, run)


@pytest.mark.parametrize("hint", [0, 1])
def test_a_range_that_reaches_several_sets_is_gone_at_once_and_its_neighbours_still_hit(hint):
    bench = Bench()
    pages = range(8, 16)  # a line of two in each of four sets
    value = invalidation("IOTLB", Granularity.SELECTIVE, domain_id=5, page=12, address_mask=2, hint=hint)
    templates = [request(source_id=KNOWN, iova=page << 12) for page in pages]

    async def run(ctx):
        lines = [iotlb_line([entry(), entry()], domain_id=5, iova_page=page) for page in pages[::2]]
        begun = await invalidate_under_load(ctx, bench, value, templates, lines=lines)
        hits = {answer.transaction.request.tag for _, answer in bench.left["answers"] if answer.hit}
        assert hits == {tag for tag, cycle in compared(bench).items() if cycle <= begun or tag % 8 < 4}

    simulate(bench.dut, run)


@pytest.mark.parametrize("function_mask", range(4))
def test_a_function_mask_names_the_functions_that_lose_their_context_at_once(function_mask):
    """Mask 1 ignores bit 2 of the source ID, 2 bits 2:1, 3 bits 2:0 (VT-d 4.1, 6.5.2.1)."""
    named = {0: {5}, 1: {1, 5}, 2: {1, 3, 5, 7}, 3: set(range(8))}[function_mask]
    bench = Bench(replace(SMALL, context_sets=2, context_ways=4))
    devices = [context_fill(source_id=0x0700 + function, domain_id=5) for function in range(8)]
    value = invalidation(
        "CONTEXT_CACHE", Granularity.SELECTIVE, domain_id=5, source_id=0x0705, function_mask=function_mask
    )
    templates = [request(source_id=0x0700 + function, iova=0x10_000) for function in range(8)]

    async def run(ctx):
        begun = await invalidate_under_load(ctx, bench, value, templates, devices=devices)
        hits = {answer.transaction.request.tag for _, answer in bench.left["answers"] if answer.hit}
        assert hits == {tag for tag, cycle in compared(bench).items() if cycle <= begun or tag % 8 not in named}

    simulate(bench.dut, run)


def test_what_caching_mode_cached_is_gone_at_once_by_the_ordinary_invalidations():
    wrong = context_fill(source_id=OTHER, domain_id=0, fault_reason=FaultReason.CONTEXT_NOT_PRESENT)
    missing = iotlb_fill(domain_id=5, iova_page=0x10, readable=0, writable=0)
    cases = (
        (invalidation("CONTEXT_CACHE", Granularity.DOMAIN_SELECTIVE, domain_id=0), OF_OTHER, "context_requests"),
        (invalidation("IOTLB", Granularity.SELECTIVE, domain_id=5, page=0x10), HIT, "walk_requests"),
    )
    for value, template, output in cases:
        bench = Bench()

        async def run(ctx, bench=bench, value=value, template=template, output=output):
            bench.begins[SETTLE + 3] = value
            await bench.prepare(ctx, devices=[DEVICES[0], wrong], lines=[missing])
            bench.waiting = [tagged(template, tag) for tag in range(30)]
            await bench.settle(ctx)
            answered = {answer.transaction.request.tag for _, answer in bench.left["answers"]}
            assert answered == {tag for tag, cycle in compared(bench).items() if cycle <= SETTLE + 3}
            assert len(bench.left[output]) == 30 - len(answered)

        simulate(bench.dut, run)


@pytest.mark.parametrize("flips", [(), (-4,), (0,), (1,), (9,), (-4, 2, 3, 9)])
def test_a_request_carries_the_colour_that_stood_in_its_compare_cycle_wherever_an_invalidation_begins(flips):
    """`flips` are counted from the cycle of begin."""
    bench = Bench()

    async def run(ctx):
        bench.flips = {PREPARED + SETTLE + flip for flip in flips}
        begun = await invalidate_under_load(ctx, bench, invalidation("IOTLB"), [HIT, STRANGER])
        assert begun == PREPARED + SETTLE
        left = [each.transaction for name in ("answers", "walk_requests") for _, each in bench.left[name]]
        left += [transaction for _, transaction in bench.left["context_requests"]]
        colours = {transaction.request.tag: transaction.colour for transaction in left}
        assert colours == {
            tag: sum(flip <= cycle for flip in bench.flips) % 2 for tag, cycle in compared(bench).items()
        }

    simulate(bench.dut, run)


@pytest.mark.parametrize("kind", ["IOTLB", "CONTEXT_CACHE"])
@pytest.mark.parametrize(("output", "template"), [("walk_requests", MISS), ("context_requests", STRANGER)])
@pytest.mark.parametrize("held_until", [0, SETTLE - 1, SETTLE, SETTLE + 1, SETTLE + 3])
def test_what_was_compared_up_to_begin_leaves_marked_and_what_comes_later_does_not(kind, output, template, held_until):
    """In the queue or anywhere in the pipeline; `held_until` is when the queue begins to empty."""
    bench = Bench()
    value = invalidation(
        kind, Granularity.DOMAIN_SELECTIVE, domain_id=0x999
    )  # marks are conservative: it covers nothing

    async def run(ctx):
        await bench.prepare(ctx)
        start = bench.cycle
        begun = start + SETTLE
        bench.begins[begun] = value
        bench.ready[output] = itertools.chain(itertools.repeat(False, held_until), itertools.repeat(True))
        bench.waiting = [tagged(template, tag) for tag in range(30)]
        await bench.settle(ctx)
        cycles = compared(bench)
        for left, payload in bench.left[output]:
            transaction = payload.transaction if output == "walk_requests" else payload
            expected = cycles[transaction.request.tag] <= begun <= left
            assert transaction.marked == expected
        assert any(
            cycle <= begun <= left
            for cycle, left in zip(cycles.values(), (left for left, _ in bench.left[output]), strict=True)
        )

    simulate(bench.dut, run)


@pytest.mark.parametrize("kind", ["iotlb", "context"])
@pytest.mark.parametrize("offset", range(-3, 3))
def test_a_fill_up_to_begin_is_removed_and_a_later_one_is_not_lost_for_good(kind, offset):
    """The fill comes `offset` cycles after begin; lookups of it run at full rate all the time."""
    bench = Bench()
    name = f"{kind}_fill"
    line = iotlb_fill(domain_id=5, iova_page=0x10, page=0xE) if kind == "iotlb" else DEVICES[0]
    value = invalidation("IOTLB" if kind == "iotlb" else "CONTEXT_CACHE")

    async def run(ctx):
        await bench.prepare(ctx, devices=DEVICES if kind == "iotlb" else [], lines=LINES if kind == "context" else [])
        begun = bench.cycle + SETTLE
        bench.begins[begun] = value
        bench.fills[begun + offset] = [(name, line)]
        bench.fills[begun + 30] = [(name, line)]
        bench.waiting = [tagged(HIT, tag) for tag in range(50)]
        await bench.settle(ctx)
        hits = {answer.transaction.request.tag for _, answer in bench.left["answers"] if answer.hit}
        for tag, cycle in compared(bench).items():
            seen_before = begun + offset + 3 <= cycle <= begun
            never = cycle < begun + offset + 3 or (offset <= 0 and begun < cycle < begun + 33)
            always = seen_before or cycle >= begun + 33
            assert tag in hits or not always
            assert tag not in hits or not never

    simulate(bench.dut, run)


def test_busy_covers_the_scan_of_either_cache():
    bench = Bench()

    async def run(ctx):
        await bench.prepare(ctx)
        for kind, cycles in (("IOTLB", SMALL.iotlb_sets - 1), ("CONTEXT_CACHE", SMALL.context_sets - 1)):
            bench.begins[bench.cycle] = invalidation(kind)
            seen = []
            for _ in range(12):
                seen.append(ctx.get(bench.dut.busy))
                await bench.step(ctx)
            assert seen == [0] + [1] * cycles + [0] * (11 - cycles)

    simulate(bench.dut, run)
