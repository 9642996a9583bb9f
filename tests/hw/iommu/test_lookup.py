# amaranth: UnusedElaboratable=no
"""The hit path: where each request goes and with which answer, at which rate, and what is counted and told about it.

Expected answers are worked by hand from the tables DEVICES and LINES of the bench.
"""

import itertools
import random

import pytest

from hw.spec.dma import Access, RequestKind
from hw.spec.events import EventKind
from hw.spec.faults import FaultReason
from hw.spec.tables import PageSize
from tests.hw.iommu.lookup_bench import (
    DEVICES,
    HIT,
    KNOWN,
    LATENCY,
    LINES,
    MISS,
    OTHER,
    OUTPUTS,
    PASSING,
    STRANGER,
    UNKNOWN,
    Bench,
    tagged,
)
from tests.hw.iommu.request_path import (
    PAUSES,
    STRAPS_DEFAULT,
    context_fill,
    iotlb_fill,
    put,
    request,
    simulate,
    straps,
)

HIDING, WRONG = 0x0501, 0x0600  # devices of caching mode
CACHING_MODE = {
    "devices": [
        context_fill(source_id=HIDING, domain_id=8, fault_processing_disable=1),
        context_fill(
            source_id=WRONG,
            domain_id=0,
            table_pointer=0,
            address_width=0,
            fault_reason=FaultReason.CONTEXT_INVALID,
            fault_processing_disable=1,
        ),
    ],
    "lines": [iotlb_fill(domain_id=8, iova_page=0x15, page=0, readable=0, writable=0)],
}
"""What the caches hold in caching mode alone."""


def where(asked, *, enabled=1, machine=STRAPS_DEFAULT, devices=DEVICES, lines=LINES):
    """Name of the output that one request leaves by, and what leaves."""
    bench = Bench()
    found = []

    async def run(ctx):
        await bench.prepare(ctx, devices=devices, lines=lines)
        put(ctx, bench.dut.straps, machine)
        ctx.set(bench.dut.control.translation_enabled, enabled)
        bench.waiting = [asked]
        await bench.settle(ctx)
        await bench.run(ctx, 5)
        found.extend((name, payload) for name in OUTPUTS for _, payload in bench.left[name])

    simulate(bench.dut, run)
    assert len(found) == 1
    return found[0]


def test_a_hit_is_answered_from_the_line():
    name, answer = where(request(source_id=KNOWN, iova=0x10_ABC, tag=99))
    assert name == "answers"
    assert answer.transaction.request == request(source_id=KNOWN, iova=0x10_ABC, tag=99)
    assert (answer.fault_reason, answer.interrupt, answer.hit) == (FaultReason.NONE, 0, 1)
    assert (answer.page, answer.page_size) == (0x1_0000, PageSize.SIZE_4K)
    assert answer.context.domain_id == 5
    assert answer.context.table_pointer == 0x444  # of the walk that produced it
    assert answer.transaction.marked == 0


def test_a_hit_in_a_superpage_gives_its_base():
    name, answer = where(request(source_id=KNOWN, iova=0x7FF_008, access=Access.ATOMIC))
    assert name == "answers"
    assert (answer.page, answer.page_size, answer.hit) == (0x8_0200, PageSize.SIZE_2M, 1)


@pytest.mark.parametrize(
    ("source_id", "iova", "access"),
    [
        (KNOWN, 0x12_000, Access.READ),  # the line of another domain
        (OTHER, 0x10_000, Access.READ),
        (KNOWN, 0x11_000, Access.WRITE),  # permission does not suffice
        (KNOWN, 0x11_000, Access.ATOMIC),
        (KNOWN, 0x10_000 + (1 << 40), Access.READ),  # same set, another page
    ],
)
def test_without_a_sufficient_line_the_request_goes_to_the_page_walker(source_id, iova, access):
    name, walk = where(request(source_id=source_id, iova=iova, access=access))
    assert name == "walk_requests"
    assert walk.transaction.request == request(source_id=source_id, iova=iova, access=access)
    assert walk.context == {KNOWN: DEVICES[0], OTHER: DEVICES[1]}[source_id].context
    assert walk.transaction.marked == 0


def test_without_a_context_the_request_goes_to_the_context_walker():
    name, transaction = where(request(source_id=UNKNOWN, iova=0x10_000))
    assert name == "context_requests"
    assert transaction.request == request(source_id=UNKNOWN, iova=0x10_000)
    assert transaction.marked == 0


def test_pass_through_ignores_the_iotlb_and_keeps_the_address():
    name, answer = where(request(source_id=PASSING, iova=0x13_456))
    assert name == "answers"
    assert (answer.fault_reason, answer.hit) == (FaultReason.NONE, 0)
    assert (answer.page, answer.page_size) == (0x13, PageSize.UNTRANSLATED)
    assert answer.context.domain_id == 7


@pytest.mark.parametrize(
    ("access", "reason"),
    [
        (Access.READ, FaultReason.READ_PERMISSION),
        (Access.WRITE, FaultReason.WRITE_PERMISSION),
        (Access.ATOMIC, FaultReason.WRITE_PERMISSION),
    ],
)
def test_a_page_that_is_cached_as_not_present_is_answered_with_the_fault_of_its_walk(access, reason):
    name, answer = where(request(source_id=HIDING, iova=0x15_000, access=access), **CACHING_MODE)
    assert (name, answer.fault_reason, answer.hit) == ("answers", reason, 1)
    assert (answer.page, answer.page_size) == (0, PageSize.SIZE_4K)
    assert (answer.context.domain_id, answer.context.fault_processing_disable) == (8, 1)


def test_a_context_that_is_cached_as_not_legal_is_answered_with_its_reason_and_its_hiding():
    name, answer = where(request(source_id=WRONG, iova=1 << 60, kind=RequestKind.TRANSLATED), **CACHING_MODE)
    assert (name, answer.fault_reason, answer.hit) == ("answers", FaultReason.CONTEXT_INVALID, 0)
    assert answer.page_size == PageSize.UNTRANSLATED
    assert (answer.context.domain_id, answer.context.fault_processing_disable) == (0, 1)


@pytest.mark.parametrize("source_id", [KNOWN, UNKNOWN])
def test_with_translation_off_the_address_is_kept_and_there_is_no_domain(source_id):
    name, answer = where(request(source_id=source_id, iova=0x10_123), enabled=0)
    assert name == "answers"
    assert (answer.fault_reason, answer.interrupt, answer.hit) == (FaultReason.NONE, 0, 0)
    assert (answer.page, answer.page_size) == (0x10, PageSize.UNTRANSLATED)
    assert answer.context.as_bits() == 0


@pytest.mark.parametrize("source_id", [KNOWN, UNKNOWN])
def test_an_interrupt_is_answered_before_the_context_is_looked_up(source_id):
    asked = request(source_id=source_id, iova=0xFEE0_1004, access=Access.WRITE, length_bytes=4)
    name, answer = where(asked)
    assert (name, answer.interrupt, answer.fault_reason) == ("answers", 1, FaultReason.NONE)
    assert (answer.page, answer.page_size) == (0xFEE01, PageSize.UNTRANSLATED)


@pytest.mark.parametrize(
    ("asked", "reason"),
    [
        (request(source_id=UNKNOWN, pasid_present=1), FaultReason.PASID_IN_LEGACY_MODE),
        (request(source_id=UNKNOWN, iova=0xFEE0_0000), FaultReason.ADDRESS_BEYOND_WIDTH),
        (request(source_id=OTHER, iova=1 << 48), FaultReason.ADDRESS_BEYOND_WIDTH),
        (request(source_id=KNOWN, iova=0x10_000 + (1 << 57)), FaultReason.ADDRESS_BEYOND_WIDTH),
        (request(source_id=PASSING, iova=1 << 52), FaultReason.ADDRESS_BEYOND_WIDTH),
        (request(source_id=KNOWN, iova=0x10_000, kind=RequestKind.TRANSLATED), FaultReason.REQUEST_TYPE_BLOCKED),
    ],
)
def test_what_a_check_refuses_is_answered_with_its_reason(asked, reason):
    name, answer = where(asked)
    assert (name, answer.fault_reason, answer.hit) == ("answers", reason, 0)
    assert answer.context.fault_processing_disable == (asked.source_id == OTHER)


def test_the_straps_of_the_machine_are_obeyed():
    name, answer = where(request(source_id=KNOWN, iova=1 << 39), machine=straps(mgaw=38))
    assert (name, answer.fault_reason) == ("answers", FaultReason.ADDRESS_BEYOND_WIDTH)


def test_hits_go_through_one_per_cycle_in_three_cycles():
    bench = Bench()

    async def run(ctx):
        await bench.prepare(ctx)
        first = bench.cycle
        bench.waiting = [tagged(HIT, tag) for tag in range(50)]
        await bench.settle(ctx)
        assert [cycle for cycle, _ in bench.accepted] == list(range(first, first + 50))
        assert [cycle for cycle, _ in bench.left["answers"]] == list(range(first + LATENCY, first + LATENCY + 50))

    simulate(bench.dut, run)


def test_a_mixture_of_hits_and_misses_goes_through_one_per_cycle():
    bench = Bench()
    mixture = [
        tagged(template, tag) for tag, template in enumerate([HIT, MISS, STRANGER, HIT, HIT, STRANGER, MISS] * 5)
    ]

    async def run(ctx):
        await bench.prepare(ctx)
        bench.waiting = list(mixture)
        await bench.run(ctx, len(mixture) + LATENCY)
        assert bench.waiting == []
        assert [answer.transaction.request.tag for _, answer in bench.left["answers"]] == [
            asked.tag for asked in mixture if asked.source_id == KNOWN and asked.iova == HIT.iova
        ]
        assert sum(map(len, bench.left.values())) == len(mixture)

    simulate(bench.dut, run)


@pytest.mark.parametrize("output", OUTPUTS)
@pytest.mark.parametrize("pauses", PAUSES)
def test_under_back_pressure_every_request_leaves_exactly_once_and_in_order(output, pauses):
    bench = Bench()
    generator = random.Random(11)
    sent = [tagged(generator.choice([HIT, MISS, STRANGER]), tag) for tag in range(60)]

    async def run(ctx):
        await bench.prepare(ctx)
        bench.ready[output] = PAUSES[pauses]()
        bench.offers = PAUSES["random"]()
        bench.waiting = list(sent)
        await bench.settle(ctx)
        await bench.run(ctx, 6)
        left = {
            "answers": [answer.transaction.request for _, answer in bench.left["answers"]],
            "walk_requests": [walk.transaction.request for _, walk in bench.left["walk_requests"]],
            "context_requests": [transaction.request for _, transaction in bench.left["context_requests"]],
        }
        for name, template in zip(OUTPUTS, (HIT, MISS, STRANGER), strict=True):
            expected = [one for one in sent if (one.source_id, one.iova) == (template.source_id, template.iova)]
            assert left[name] == expected

    simulate(bench.dut, run)


@pytest.mark.parametrize(("output", "template"), [("walk_requests", MISS), ("context_requests", STRANGER)])
def test_a_few_misses_that_nobody_takes_do_not_stop_hits(output, template):
    bench = Bench()
    misses = 5

    async def run(ctx):
        await bench.prepare(ctx)
        bench.ready[output] = itertools.repeat(False)
        bench.waiting = [tagged(template, tag) for tag in range(misses)]
        bench.waiting += [tagged(HIT, 100 + tag) for tag in range(20)]
        await bench.run(ctx, misses + 20 + LATENCY)
        assert len(bench.left["answers"]) == 20

    simulate(bench.dut, run)


@pytest.mark.parametrize(("output", "template"), list(zip(OUTPUTS, (HIT, MISS, STRANGER), strict=True)))
def test_a_full_queue_stops_requests_and_loses_none(output, template):
    bench = Bench()

    async def run(ctx):
        await bench.prepare(ctx)
        bench.ready[output] = itertools.repeat(False)
        bench.waiting = [tagged(template, tag) for tag in range(30)]
        await bench.run(ctx, 60)
        assert 4 <= len(bench.accepted) < 30
        assert bench.left[output] == []
        bench.ready[output] = itertools.repeat(True)
        await bench.settle(ctx)
        assert len(bench.left[output]) == 30

    simulate(bench.dut, run)


def test_the_counts_are_those_of_looked_up_requests():
    bench = Bench()
    dut = bench.dut

    def counts(ctx):
        return [ctx.get(count) for count in (*dut.translating, *dut.accessing)]

    async def run(ctx):
        await bench.prepare(ctx)
        bench.waiting = [tagged(HIT, 1), tagged(MISS, 2), tagged(STRANGER, 3)]
        await bench.run(ctx, 1)  # the first is accepted
        assert counts(ctx) == [0, 0, 0, 0]
        await bench.run(ctx, 1)  # ... and compared
        assert counts(ctx) == [1, 0, 1, 0]
        await bench.run(ctx, 4)
        assert counts(ctx) == [3, 0, 3, 0]
        ctx.set(dut.answered, 1)
        await bench.run(ctx, 2)
        ctx.set(dut.answered, 0)
        assert counts(ctx) == [1, 0, 3, 0]
        ctx.set(dut.retires.valid, 1)
        await bench.run(ctx, 1)
        ctx.set(dut.retires.valid, 0)
        assert counts(ctx) == [1, 0, 2, 0]
        bench.flips.add(bench.cycle + 2)  # the first is compared in the cycle before, the second in this one
        bench.waiting = [tagged(HIT, 4), tagged(HIT, 5)]
        await bench.run(ctx, 4)
        assert counts(ctx) == [2, 1, 3, 1]

    simulate(bench.dut, run)


def test_events_tell_of_requests_retires_and_fills():
    bench = Bench()
    seen = []

    async def run(ctx):
        for cycle in range(12):
            ctx.set(bench.dut.control.translation_enabled, 1)
            put(ctx, bench.dut.straps, STRAPS_DEFAULT)
            bench.fills = {2: [("context_fill", DEVICES[0])], 4: [("iotlb_fill", LINES[0])]}
            if cycle == 6:
                bench.waiting = [HIT]
            ctx.set(bench.dut.retires.valid, cycle == 9)
            await bench.step(ctx)
            for port in bench.dut.events:
                if ctx.get(port.valid):
                    seen.append((cycle, ctx.get(port.payload.kind)))

    simulate(bench.dut, run)
    assert {kind for _, kind in seen} == {
        EventKind.CONTEXT_FILL,
        EventKind.IOTLB_FILL,
        EventKind.REQUEST,
        EventKind.RETIRE,
    }
