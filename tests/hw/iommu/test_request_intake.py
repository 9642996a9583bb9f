# amaranth: UnusedElaboratable=no
"""The unit's door: what it lets in, and its account of what is inside, against an account kept in Python."""

import random

import pytest

from hw.iommu.request_intake import RequestIntake
from hw.spec.dma import Access
from hw.spec.events import EventKind
from tests.hw.iommu.request_path import put, request, simulate


def counts(ctx, dut):
    return [ctx.get(count) for count in (*dut.translating, *dut.accessing)]


def test_the_accounts_are_exact_whatever_happens_at_once():
    dut = RequestIntake()
    generator = random.Random(3)

    async def bench(ctx):
        translating, accessing = [0, 0], [0, 0]
        unretired = [0, 0]  # answered, so that the requester may retire them
        for _ in range(600):
            assert counts(ctx, dut) == [*translating, *accessing]
            enters, colour = generator.getrandbits(1), generator.getrandbits(1)
            answered_colour, retired_colour = generator.getrandbits(1), generator.getrandbits(1)
            answered = int(translating[answered_colour] > 0 and generator.random() < 0.6)
            retired = int(unretired[retired_colour] > 0 and generator.random() < 0.6)
            ctx.set(dut.requests.valid, enters)
            ctx.set(dut.accepted.ready, 1)
            ctx.set(dut.looked_up, enters)
            ctx.set(dut.colour, colour)
            ctx.set(dut.answered, answered)
            ctx.set(dut.answered_colour, answered_colour)
            ctx.set(dut.retires.valid, retired)
            ctx.set(dut.retires.payload.colour, retired_colour)
            assert ctx.get(dut.retires.ready) == 1
            translating[colour] += enters
            accessing[colour] += enters
            translating[answered_colour] -= answered
            unretired[answered_colour] += answered
            accessing[retired_colour] -= retired
            unretired[retired_colour] -= retired
            await ctx.tick()

    simulate(dut, bench)


def test_at_the_limit_requests_wait_until_one_is_retired():
    dut = RequestIntake(limit=3)

    async def bench(ctx):
        ctx.set(dut.requests.valid, 1)
        ctx.set(dut.accepted.ready, 1)
        for _ in range(3):
            assert ctx.get(dut.requests.ready) == 1
            await ctx.tick()
        for _ in range(5):
            assert ctx.get(dut.requests.ready) == 0
            assert ctx.get(dut.accepted.valid) == 0
            await ctx.tick()
        ctx.set(dut.retires.valid, 1)
        await ctx.tick()
        ctx.set(dut.retires.valid, 0)
        assert ctx.get(dut.requests.ready) == 1
        await ctx.tick()
        assert ctx.get(dut.requests.ready) == 0

    simulate(dut, bench)


def test_an_accepted_request_and_a_retire_are_events():
    dut = RequestIntake()

    async def bench(ctx):
        accepted, retired = dut.events
        put(ctx, dut.requests.payload, request(source_id=0x1234, tag=77, iova=0xABC000, access=Access.ATOMIC))
        ctx.set(dut.requests.valid, 1)
        assert ctx.get(accepted.valid) == 0  # offered, not accepted
        ctx.set(dut.accepted.ready, 1)
        assert ctx.get(accepted.valid) == 1
        event = ctx.get(accepted.payload)
        assert (event.kind, event.source_id, event.tag) == (EventKind.REQUEST, 0x1234, 77)
        assert (event.iova, event.detail) == (0xABC000, Access.ATOMIC.value)
        assert ctx.get(retired.valid) == 0
        ctx.set(dut.retires.valid, 1)
        ctx.set(dut.retires.payload.colour, 1)
        event = ctx.get(retired.payload)
        assert ctx.get(retired.valid) == 1
        assert (event.kind, event.detail) == (EventKind.RETIRE, 1)
        await ctx.tick()

    simulate(dut, bench)


def test_a_limit_of_nothing_is_refused():
    with pytest.raises(ValueError, match="limit must be at least 1, not 0"):
        RequestIntake(limit=0)
