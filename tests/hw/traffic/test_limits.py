# amaranth: UnusedElaboratable=no
"""Each device's own limit: it is full exactly when it has as many DMAs in flight as it may have."""
from random import Random

import pytest
from amaranth import ResetInserter, Signal

from hw.traffic.limits import DeviceLimits
from tests.hw.traffic.machine import simulate


async def step(ctx, dut, *, begins=None, done=None, written=None, limit=0):
    """One cycle; arguments are rows."""
    ctx.set(dut.begins, begins is not None)
    ctx.set(dut.written, written is not None)
    ctx.set(dut.row, next((row for row in (begins, written) if row is not None), 0))
    ctx.set(dut.limit, limit)
    ctx.set(dut.done, done is not None)
    ctx.set(dut.done_row, done or 0)
    await ctx.tick()
    for strobe in (dut.begins, dut.written, dut.done):
        ctx.set(strobe, 0)
    return ctx.get(dut.full)


@pytest.mark.parametrize(("field", "limit"), [(1, 1), (2, 2), (7, 64), (11, 1024)])
def test_a_device_is_full_at_its_limit_and_not_one_earlier(field, limit):
    dut = DeviceLimits(devices=3)

    async def testbench(ctx):
        for _ in range(limit - 1):
            assert await step(ctx, dut, begins=1, limit=field) == 0
        assert await step(ctx, dut, begins=1, limit=field) == 0b010
        assert await step(ctx, dut) == 0b010
        assert await step(ctx, dut, done=1) == 0
        assert await step(ctx, dut, begins=1, limit=field) == 0b010

    simulate(dut, testbench)


def test_a_device_without_a_limit_is_never_full():
    dut = DeviceLimits(devices=2)

    async def testbench(ctx):
        for _ in range(1024):
            assert await step(ctx, dut, begins=0, limit=0) == 0

    simulate(dut, testbench)


def test_what_begins_and_what_is_done_may_meet_in_one_cycle():
    dut = DeviceLimits(devices=2)

    async def testbench(ctx):
        assert await step(ctx, dut, begins=0, limit=2) == 0
        assert await step(ctx, dut, begins=0, done=0, limit=2) == 0           # 1 in flight
        assert await step(ctx, dut, begins=0, limit=2) == 0b01                # 2
        assert await step(ctx, dut, begins=1, done=0, limit=1) == 0b10        # 1 and 1
        assert await step(ctx, dut, begins=0, done=1, limit=2) == 0b01        # 2 and 0

    simulate(dut, testbench)


def test_full_is_what_the_numbers_say_for_any_traffic():
    dut = DeviceLimits(devices=4)
    random = Random(5)
    fields = [1, 2, 4, 0]
    most = [1, 2, 8, 2000]

    async def testbench(ctx):
        flying, full = [0] * 4, 0
        for _ in range(2000):
            begins = random.choice([*(row for row in range(4) if not full >> row & 1), None])
            done = random.choice([*(row for row in range(4) if flying[row]), None, None])
            full = await step(ctx, dut, begins=begins, done=done, limit=0 if begins is None else fields[begins])
            for row, change in ((begins, 1), (done, -1)):
                if row is not None:
                    flying[row] += change
            assert full == sum((flying[row] >= most[row]) << row for row in range(4))

    simulate(dut, testbench)


def test_writing_a_row_forgets_nothing_that_is_in_flight():
    dut = DeviceLimits(devices=2)

    async def testbench(ctx):
        await step(ctx, dut, written=1)
        await step(ctx, dut, begins=1, limit=3)
        await step(ctx, dut, begins=1, limit=3)
        await step(ctx, dut, written=1)
        assert await step(ctx, dut, begins=1, limit=3) == 0
        assert await step(ctx, dut, begins=1, limit=3) == 0b10

    simulate(dut, testbench)


def test_a_lower_limit_holds_when_enough_are_done():
    dut = DeviceLimits(devices=1)

    async def testbench(ctx):
        for _ in range(7):
            assert await step(ctx, dut, begins=0, limit=0) == 0
        for _ in range(3):
            assert await step(ctx, dut, begins=0, limit=2) == 1   # two may fly, more than two do
            assert await step(ctx, dut, done=0) == 0              # one may begin for one that is done
        for _ in range(6):
            await step(ctx, dut, done=0)
        assert await step(ctx, dut, begins=0, limit=2) == 1

    simulate(dut, testbench)


def test_after_a_reset_the_first_write_of_a_row_forgets_what_was_in_flight():
    dut = DeviceLimits(devices=2)
    reset = Signal()

    async def testbench(ctx):
        await step(ctx, dut, written=1)
        for _ in range(2):
            await step(ctx, dut, begins=1, limit=2)
        await step(ctx, dut, done=0)
        ctx.set(reset, 1)
        await step(ctx, dut)
        ctx.set(reset, 0)
        assert ctx.get(dut.full) == 0
        for row in range(2):
            await step(ctx, dut, written=row)
            assert await step(ctx, dut, begins=row, limit=2) & 1 << row == 0
            assert await step(ctx, dut, begins=row, limit=2) & 1 << row == 1 << row

    simulate(ResetInserter(reset)(dut), testbench)
