# amaranth: UnusedElaboratable=no
"""The queue in which requests wait: order, full rate, and marks that an invalidation leaves on everything inside."""

import itertools
import random

import pytest

from hw.iommu.messages import Transaction, WalkRequest
from hw.iommu.transaction_queue import TransactionQueue
from hw.spec.codec import decode, encode
from tests.hw.iommu.request_path import PAUSES, put, request, simulate


def transaction(tag, *, marked=0):
    return decode(Transaction, encode(Transaction, request=request(tag=tag).as_bits(), marked=marked))


async def offer(ctx, queue, tag, **fields):
    """Put one transaction in, in one cycle in which there must be room."""
    put(ctx, queue.i.payload, transaction(tag, **fields))
    ctx.set(queue.i.valid, 1)
    assert ctx.get(queue.i.ready) == 1
    await ctx.tick()
    ctx.set(queue.i.valid, 0)


async def begin_for_one_cycle(ctx, queue):
    ctx.set(queue.begin, 1)
    await ctx.tick()
    ctx.set(queue.begin, 0)


async def drain(ctx, queue):
    """Take out what is there: a list of (tag, marked)."""
    taken = []
    ctx.set(queue.o.ready, 1)
    while ctx.get(queue.o.valid):
        payload = ctx.get(queue.o.payload)
        taken.append((payload.request.tag, payload.marked))
        await ctx.tick()
    ctx.set(queue.o.ready, 0)
    return taken


@pytest.mark.parametrize("out_pauses", PAUSES)
@pytest.mark.parametrize("depth", [1, 3, 4])
def test_transactions_leave_in_order_and_unchanged_under_any_back_pressure(depth, out_pauses):
    dut = TransactionQueue(Transaction, depth=depth)
    generator = random.Random(depth)
    sent = [transaction(tag, marked=generator.getrandbits(1)) for tag in range(40)]

    async def bench(ctx):
        waiting, received = list(sent), []
        for ready in PAUSES[out_pauses]():
            ctx.set(dut.o.ready, ready)
            offered = bool(waiting) and generator.random() < 0.8
            ctx.set(dut.i.valid, offered)
            if offered:
                put(ctx, dut.i.payload, waiting[0])
            if ctx.get(dut.o.valid & dut.o.ready):
                received.append(ctx.get(dut.o.payload))
            if ctx.get(dut.i.valid & dut.i.ready):
                waiting.pop(0)
            await ctx.tick()
            if len(received) == len(sent):
                break
        assert received == sent

    simulate(dut, bench)


def test_it_holds_as_many_as_its_depth_and_no_more():
    dut = TransactionQueue(Transaction, depth=3)

    async def bench(ctx):
        for tag in range(3):
            assert ctx.get(dut.level) == tag
            await offer(ctx, dut, tag)
        assert ctx.get(dut.i.ready) == 0
        assert [tag for tag, _ in await drain(ctx, dut)] == [0, 1, 2]

    simulate(dut, bench)


def test_it_takes_and_gives_one_per_cycle():
    dut = TransactionQueue(Transaction, depth=2)

    async def bench(ctx):
        ctx.set(dut.i.valid, 1)
        ctx.set(dut.o.ready, 1)
        for tag in itertools.takewhile(lambda tag: tag < 20, itertools.count()):
            put(ctx, dut.i.payload, transaction(tag))
            assert ctx.get(dut.i.ready) == 1
            if tag:
                assert ctx.get(dut.o.payload.request.tag) == tag - 1
            await ctx.tick()

    simulate(dut, bench)


def test_without_an_invalidation_nothing_gets_a_mark():
    dut = TransactionQueue(Transaction, depth=4)

    async def bench(ctx):
        for tag in range(3):
            await offer(ctx, dut, tag)
        await ctx.tick().repeat(3)
        assert await drain(ctx, dut) == [(0, 0), (1, 0), (2, 0)]

    simulate(dut, bench)


def test_an_invalidation_marks_what_is_held_and_nothing_that_comes_later():
    dut = TransactionQueue(Transaction, depth=4)

    async def bench(ctx):
        await offer(ctx, dut, 0)
        await offer(ctx, dut, 1)
        await begin_for_one_cycle(ctx, dut)
        await offer(ctx, dut, 2)
        assert await drain(ctx, dut) == [(0, 1), (1, 1), (2, 0)]
        for tag in (3, 4, 5, 6):  # every place in the memory again
            await offer(ctx, dut, tag)
        assert await drain(ctx, dut) == [(3, 0), (4, 0), (5, 0), (6, 0)]

    simulate(dut, bench)


def test_what_is_put_in_while_an_invalidation_begins_is_marked():
    dut = TransactionQueue(Transaction, depth=4)

    async def bench(ctx):
        ctx.set(dut.begin, 1)
        await offer(ctx, dut, 0)
        ctx.set(dut.begin, 0)
        assert await drain(ctx, dut) == [(0, 1)]

    simulate(dut, bench)


def test_what_is_taken_out_while_an_invalidation_begins_is_marked():
    dut = TransactionQueue(Transaction, depth=4)

    async def bench(ctx):
        await offer(ctx, dut, 0)
        ctx.set(dut.begin, 1)
        ctx.set(dut.o.ready, 1)
        assert ctx.get(dut.o.payload.marked) == 1
        await ctx.tick()

    simulate(dut, bench)


def test_a_mark_that_comes_with_a_transaction_stays():
    dut = TransactionQueue(Transaction, depth=4)

    async def bench(ctx):
        await offer(ctx, dut, 0, marked=1)
        await offer(ctx, dut, 1)
        assert await drain(ctx, dut) == [(0, 1), (1, 0)]

    simulate(dut, bench)


def test_a_walk_request_is_marked_in_its_transaction():
    dut = TransactionQueue(WalkRequest, depth=2)

    async def bench(ctx):
        put(ctx, dut.i.payload.transaction, transaction(9))
        ctx.set(dut.i.valid, 1)
        await ctx.tick()
        ctx.set(dut.i.valid, 0)
        await begin_for_one_cycle(ctx, dut)
        taken = ctx.get(dut.o.payload.transaction)
        assert (taken.request.tag, taken.marked) == (9, 1)

    simulate(dut, bench)


def test_a_queue_without_entries_is_refused():
    with pytest.raises(ValueError, match="depth must be at least 1, not 0"):
        TransactionQueue(Transaction, depth=0)
