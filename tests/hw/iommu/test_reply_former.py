# amaranth: UnusedElaboratable=no
"""The unit's exit: addresses worked by hand, fault or reply, who goes first, and nothing lost under back-pressure."""

import pytest

from hw.iommu.messages import Answer, Transaction
from hw.iommu.reply_former import ReplyFormer
from hw.spec.codec import decode, encode
from hw.spec.dma import Access, Status
from hw.spec.events import EventKind, ReplyDetail
from hw.spec.faults import FaultReason
from hw.spec.tables import PageSize
from tests.hw.iommu.request_path import PAUSES, context, put, request, simulate


def answer(
    *,
    colour=0,
    known=None,
    interrupt=0,
    fault_reason=FaultReason.NONE,
    page_size=PageSize.SIZE_4K,
    page=0,
    hit=0,
    **asked,
):
    """An answer to `request(**asked)`, as a constant."""
    transaction = encode(Transaction, request=request(**asked).as_bits(), colour=colour)
    known = context() if known is None else known
    fields = {"interrupt": interrupt, "fault_reason": fault_reason, "page_size": page_size, "page": page, "hit": hit}
    return decode(Answer, encode(Answer, transaction=transaction, context=known.as_bits(), **fields))


def reply_to(given):
    """Reply, fault report or None, and event, for one answer."""
    dut = ReplyFormer()
    seen = []

    async def bench(ctx):
        put(ctx, dut.answers[1].payload, given)
        ctx.set(dut.answers[1].valid, 1)
        ctx.set(dut.replies.ready, 1)
        assert ctx.get(dut.replies.valid) == 1
        report = ctx.get(dut.faults.payload) if ctx.get(dut.faults.valid) else None
        assert ctx.get(dut.events[0].valid) == 1
        seen.extend((ctx.get(dut.replies.payload), report, ctx.get(dut.events[0].payload)))
        await ctx.tick()

    simulate(dut, bench)
    return seen


@pytest.mark.parametrize(
    ("page_size", "page", "iova", "hpa"),
    [
        (PageSize.SIZE_4K, 0x12345, 0xABCDE_678, 0x12345_678),
        (PageSize.SIZE_2M, 0x1A200, 0xFFFF_FFFF, 0x1A3FF_FFF),
        (PageSize.SIZE_2M, 0x1A200, 0xFFE0_0004, 0x1A200_004),
        (PageSize.SIZE_1G, 0xFFC0000, 0x3FFF_FFFF, 0xFFF_FFFF_FFF),
        (PageSize.SIZE_4K, 0xFF_FFFF_FFFF, 0xFFF, 0xF_FFFF_FFFF_FFFF),
    ],
)
def test_the_offset_within_the_page_comes_from_the_iova(page_size, page, iova, hpa):
    reply, report, _ = reply_to(answer(page_size=page_size, page=page, iova=iova))
    assert reply.status == Status.OK
    assert reply.hpa == hpa
    assert reply.page_size == page_size
    assert report is None


def test_a_reply_carries_the_sideband_of_its_answer():
    known = context(domain_id=0xBEEF, table_pointer=0x12_3456_789A)
    reply, _, event = reply_to(
        answer(known=known, tag=0x3FF, source_id=0xFEDC, colour=1, hit=1, page=0x55, iova=0x1008)
    )
    assert (reply.tag, reply.source_id, reply.colour, reply.hit) == (0x3FF, 0xFEDC, 1, 1)
    assert (reply.domain_id, reply.table_pointer) == (0xBEEF, 0x12_3456_789A)
    detail = decode(ReplyDetail, event.detail)
    assert (event.kind, event.tag, event.source_id, event.domain_id) == (EventKind.REPLY, 0x3FF, 0xFEDC, 0xBEEF)
    assert (event.iova, event.hpa) == (0x1008, 0x55008)
    assert (detail.status, detail.page_size, detail.fault_reason) == (Status.OK, PageSize.SIZE_4K, FaultReason.NONE)
    assert (detail.colour, detail.hit, detail.table_pointer) == (1, 1, 0x12_3456_789A)


def test_an_interrupt_keeps_its_address_and_is_no_memory_access():
    given = answer(interrupt=1, page_size=PageSize.UNTRANSLATED, page=0xFEE01, iova=0xFEE0_1004, access=Access.WRITE)
    reply, report, _ = reply_to(given)
    assert (reply.status, reply.hpa) == (Status.INTERRUPT, 0xFEE0_1004)
    assert report is None


@pytest.mark.parametrize("suppressed", [0, 1])
def test_a_blocked_request_gets_a_reply_without_an_address_and_one_fault_report(suppressed):
    known = context(fault_processing_disable=suppressed)
    given = answer(known=known, fault_reason=FaultReason.READ_PERMISSION, page=0x99, iova=0x7123, tag=8)
    reply, report, _ = reply_to(given)
    assert (reply.status, reply.fault_reason) == (Status.BLOCKED, FaultReason.READ_PERMISSION)
    assert reply.hpa == 0
    assert report.fault_reason == FaultReason.READ_PERMISSION
    assert report.request == request(iova=0x7123, tag=8)
    assert report.fault_processing_disable == suppressed


@pytest.mark.parametrize(
    ("page_size", "page", "iova", "into_window"),
    [
        (PageSize.SIZE_4K, 0xFEDFF, 0, False),
        (PageSize.SIZE_4K, 0xFEE00, 0, True),
        (PageSize.SIZE_4K, 0xFEEFF, 0, True),
        (PageSize.SIZE_4K, 0xFEF00, 0, False),
        (PageSize.SIZE_4K, 0x1_FEE00, 0, False),
        (PageSize.SIZE_2M, 0xFEE00, 0x0F_F000, True),
        (PageSize.SIZE_2M, 0xFEE00, 0x10_0000, False),
        (PageSize.SIZE_1G, 0xC0000, 0x3EE0_0000, True),
        (PageSize.SIZE_1G, 0xC0000, 0x3EF0_0000, False),
        (PageSize.UNTRANSLATED, 0xFEE00, 0, False),
    ],
)
def test_a_translation_into_the_interrupt_window_is_blocked(page_size, page, iova, into_window):
    expected = FaultReason.OUTPUT_IN_INTERRUPT_WINDOW if into_window else FaultReason.NONE
    reply, report, _ = reply_to(answer(page_size=page_size, page=page, iova=iova))
    assert reply.fault_reason == expected
    assert reply.status == (Status.BLOCKED if into_window else Status.OK)
    assert (report is not None) == into_window


def test_an_earlier_fault_is_not_replaced_by_the_window():
    reply, _, _ = reply_to(answer(page=0xFEE00, fault_reason=FaultReason.WRITE_PERMISSION))
    assert reply.fault_reason == FaultReason.WRITE_PERMISSION


async def run_sources(ctx, dut, sources, readiness, *, offered=lambda port, cycle: True):
    """Feed three lists of answers; returns what left, as (cycle, tag), and the tags of fault reports."""
    sources = [list(source) for source in sources]
    left, faults, held = [], [], None
    for cycle, ready in enumerate(readiness):
        for port, (stream, source) in enumerate(zip(dut.answers, sources, strict=True)):
            valid = bool(source) and (ctx.get(stream.valid) == 1 or offered(port, cycle))
            ctx.set(stream.valid, valid)
            if valid:
                put(ctx, stream.payload, source[0])
        ctx.set(dut.replies.ready, ready)
        reply = ctx.get(dut.replies.payload) if ctx.get(dut.replies.valid) else None
        assert held is None or reply == held
        handed_over = reply is not None and bool(ready)
        held = None if handed_over else reply
        assert ctx.get(dut.answered) == handed_over
        assert ctx.get(dut.events[0].valid) == handed_over
        if handed_over:
            left.append((cycle, reply.tag))
            assert ctx.get(dut.answered_colour) == reply.colour
        if ctx.get(dut.faults.valid):
            assert handed_over
            assert reply.status == Status.BLOCKED
            faults.append(ctx.get(dut.faults.payload.request.tag))
        taken = [ctx.get(stream.valid & stream.ready) for stream in dut.answers]
        assert sum(taken) == handed_over
        await ctx.tick()
        for stream, source, gone in zip(dut.answers, sources, taken, strict=True):
            if gone:
                source.pop(0)
                ctx.set(stream.valid, 0)
        if not any(sources):
            return left, faults


@pytest.mark.parametrize("pauses", PAUSES)
def test_every_answer_leaves_once_and_an_offered_reply_does_not_change(pauses):
    dut = ReplyFormer()
    sources = [[answer(tag=100 * port + index, colour=index & 1) for index in range(15)] for port in range(3)]
    sources[2] = [answer(tag=200 + index, fault_reason=FaultReason.ROOT_NOT_PRESENT) for index in range(15)]

    async def bench(ctx):
        left, faults = await run_sources(
            ctx, dut, sources, PAUSES[pauses](), offered=lambda port, cycle: cycle % (port + 2) == 0
        )
        tags = [tag for _, tag in left]
        for port in range(3):
            assert [tag for tag in tags if tag // 100 == port] == [100 * port + index for index in range(15)]
        assert faults == [200 + index for index in range(15)]

    simulate(dut, bench)


def test_hits_alone_leave_one_per_cycle():
    dut = ReplyFormer()

    async def bench(ctx):
        left, _ = await run_sources(ctx, dut, [[answer(tag=tag) for tag in range(20)], [], []], PAUSES["none"]())
        assert left == [(tag, tag) for tag in range(20)]

    simulate(dut, bench)


def test_hits_go_first_and_nobody_starves():
    dut = ReplyFormer()
    sources = [[answer(tag=port)] * 24 for port in range(3)]

    async def bench(ctx):
        left, _ = await run_sources(ctx, dut, sources, PAUSES["none"]())
        assert [tag for _, tag in left][:8] == [0, 1, 0, 2, 0, 1, 0, 2]

    simulate(dut, bench)


def test_a_lone_walk_answer_delays_hits_by_one_cycle_only():
    dut = ReplyFormer()
    sources = [[answer(tag=index) for index in range(10)], [answer(tag=500)], []]

    async def bench(ctx):
        left, _ = await run_sources(
            ctx, dut, sources, PAUSES["none"](), offered=lambda port, cycle: port != 1 or cycle > 3
        )
        assert [tag for _, tag in left] == [0, 1, 2, 3, 4, 500, 5, 6, 7, 8, 9]

    simulate(dut, bench)
