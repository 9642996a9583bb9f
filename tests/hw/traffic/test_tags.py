# amaranth: UnusedElaboratable=no
"""The tag pool: no tag twice, and it knows whose reply is due."""
from random import Random

from amaranth import ResetInserter, Signal

from hw.traffic.tags import TagPool
from tests.hw.traffic.machine import simulate


async def pop(ctx, dut):
    """Take a tag; None if there is none."""
    ctx.set(dut.tags.ready, 1)
    _, _, valid, tag = await ctx.tick().sample(dut.tags.valid, dut.tags.payload)
    ctx.set(dut.tags.ready, 0)
    return tag if valid else None


async def strobe(ctx, port, tag, *, sampled):
    ctx.set(port.payload, tag)
    ctx.set(port.valid, 1)
    _, _, value = await ctx.tick().sample(sampled)
    ctx.set(port.valid, 0)
    return value


def test_tags_run_out_and_come_back_in_the_order_of_release():
    dut = TagPool()

    async def testbench(ctx):
        assert [await pop(ctx, dut) for _ in range(1024)] == list(range(1024))
        assert await pop(ctx, dut) is None
        assert ctx.get(dut.in_flight) == 1024
        for tag in (700, 3, 41):
            await strobe(ctx, dut.release, tag, sampled=dut.in_flight)
        assert ctx.get(dut.in_flight) == 1021
        assert [await pop(ctx, dut) for _ in range(4)] == [700, 3, 41, None]

    simulate(dut, testbench)


def test_no_tag_is_given_out_twice():
    dut = TagPool()
    random = Random(3)

    async def testbench(ctx):
        taken = set()
        for _ in range(3000):
            ctx.set(dut.tags.ready, random.random() < 0.8)
            ctx.set(dut.release.valid, len(taken) > 900)
            tag_back = min(taken, key=lambda tag: tag * 0x9E37 % 1024, default=0)
            ctx.set(dut.release.payload, tag_back)
            _, _, valid, ready, tag, released = await ctx.tick().sample(
                dut.tags.valid, dut.tags.ready, dut.tags.payload, dut.release.valid)
            if released:
                taken.remove(tag_back)
            if valid and ready:
                assert tag not in taken
                taken.add(tag)
            assert ctx.get(dut.in_flight) == len(taken)

    simulate(dut, testbench)


def test_a_reply_is_awaited_once_for_each_time_the_tag_is_taken():
    dut = TagPool()

    async def testbench(ctx):
        async def answer(tag):
            return await strobe(ctx, dut.answer, tag, sampled=dut.awaited)

        assert await answer(1023) == 0  # nobody asked
        for tag in range(1024):
            assert await pop(ctx, dut) == tag
        for tag in (0, 5, 1023):
            assert await answer(tag) == 1
            await strobe(ctx, dut.release, tag, sampled=dut.awaited)
        assert await pop(ctx, dut) == 0  # again: its reply is due again, those of the others are not
        assert await answer(0) == 1

    simulate(dut, testbench)


def test_a_reset_forgets_what_was_asked_before_it():
    dut = TagPool()
    reset = Signal()

    async def testbench(ctx):
        async def answer(tag):
            return await strobe(ctx, dut.answer, tag, sampled=dut.awaited)

        assert [await pop(ctx, dut) for _ in range(4)] == [0, 1, 2, 3]
        assert await answer(1) == 1
        ctx.set(reset, 1)
        await ctx.tick()
        ctx.set(reset, 0)
        assert ctx.get(dut.in_flight) == 0
        assert await answer(2) == 0
        assert [await pop(ctx, dut) for _ in range(3)] == [0, 1, 2]
        for tag in range(3):
            assert await answer(tag) == 1
            assert await answer(tag) == 0

    simulate(ResetInserter(reset)(dut), testbench)
