# amaranth: UnusedElaboratable=no
"""An event control by itself, cycle by cycle."""
import pytest

from hw.iommu.event_control import EventControl
from hw.spec.events import MessageKind
from tests.hw.iommu.bench import run


def run_control(testbench, *, kind=MessageKind.FAULT_EVENT):
    """Run a testbench against an event control."""
    dut = EventControl(kind=kind)

    async def bench(ctx):
        await testbench(ctx, dut)
    run(dut, bench)


async def raise_event(ctx, dut, *, masked=0):
    """An event whose cause is set with it: in the cycle after the raise."""
    ctx.set(dut.masked, masked)
    ctx.set(dut.raised, 1)
    await ctx.tick()
    ctx.set(dut.raised, 0)
    ctx.set(dut.cause, 1)


@pytest.mark.parametrize("kind", [MessageKind.FAULT_EVENT, MessageKind.INVALIDATION_EVENT])
def test_an_event_is_pending_for_one_cycle_and_then_a_message(kind):
    async def testbench(ctx, dut):
        ctx.set(dut.address, 0x1_2345_6780)
        ctx.set(dut.data, 0xAB)
        await raise_event(ctx, dut)
        assert (ctx.get(dut.pending), ctx.get(dut.messages.valid)) == (1, 0)
        await ctx.tick()
        assert (ctx.get(dut.pending), ctx.get(dut.messages.valid)) == (0, 1)
        message = ctx.get(dut.messages.payload)
        assert (message.kind, message.address, message.data) == (kind, 0x1_2345_6780, 0xAB)
        ctx.set(dut.messages.ready, 1)
        await ctx.tick()
        assert ctx.get(dut.messages.valid) == 0
        for _ in range(5):
            await ctx.tick()
            assert (ctx.get(dut.pending), ctx.get(dut.messages.valid)) == (0, 0)
    run_control(testbench, kind=kind)


def test_a_masked_event_waits_for_the_mask_and_takes_the_address_of_then():
    async def testbench(ctx, dut):
        ctx.set(dut.address, 0x1000)
        await raise_event(ctx, dut, masked=1)
        for _ in range(5):
            await ctx.tick()
            assert (ctx.get(dut.pending), ctx.get(dut.messages.valid)) == (1, 0)
        ctx.set(dut.address, 0x2000)
        ctx.set(dut.masked, 0)
        await ctx.tick()
        assert (ctx.get(dut.pending), ctx.get(dut.messages.valid)) == (0, 1)
        assert ctx.get(dut.messages.payload.address) == 0x2000
    run_control(testbench)


def test_an_event_without_a_cause_is_forgotten_but_its_message_is_not():
    async def testbench(ctx, dut):
        await raise_event(ctx, dut, masked=1)
        ctx.set(dut.cause, 0)
        await ctx.tick()
        ctx.set(dut.masked, 0)
        for _ in range(3):
            await ctx.tick()
            assert (ctx.get(dut.pending), ctx.get(dut.messages.valid)) == (0, 0)
        await raise_event(ctx, dut)
        await ctx.tick()
        ctx.set(dut.cause, 0)
        for _ in range(3):
            await ctx.tick()
            assert ctx.get(dut.messages.valid) == 1
    run_control(testbench)


def test_an_event_that_loses_its_cause_in_the_cycle_of_the_unmasking_is_not_sent():
    async def testbench(ctx, dut):
        await raise_event(ctx, dut, masked=1)
        await ctx.tick()
        ctx.set(dut.cause, 0)
        ctx.set(dut.masked, 0)
        await ctx.tick()
        assert (ctx.get(dut.pending), ctx.get(dut.messages.valid)) == (0, 0)
    run_control(testbench)


def test_an_event_behind_a_message_that_waits_is_pending_until_it_has_been_taken():
    async def testbench(ctx, dut):
        ctx.set(dut.data, 1)
        await raise_event(ctx, dut)
        await ctx.tick()
        ctx.set(dut.data, 2)
        await raise_event(ctx, dut)
        for _ in range(4):
            await ctx.tick()
            assert (ctx.get(dut.pending), ctx.get(dut.messages.payload.data)) == (1, 1)
        ctx.set(dut.messages.ready, 1)
        await ctx.tick()
        await ctx.tick()
        assert (ctx.get(dut.messages.valid), ctx.get(dut.messages.payload.data)) == (1, 2)
    run_control(testbench)


def test_an_event_in_the_cycle_in_which_the_one_before_is_sent_is_sent_too():
    async def testbench(ctx, dut):
        ctx.set(dut.messages.ready, 1)
        await raise_event(ctx, dut)
        await raise_event(ctx, dut)
        sent = 0
        for _ in range(8):
            sent += ctx.get(dut.messages.valid)
            await ctx.tick()
        assert sent == 2
    run_control(testbench)
