# amaranth: UnusedElaboratable=no
"""The monitor's counters as the host reads them."""
import pytest

from hw.iommu.monitor import Monitor
from hw.spec.invalidation import DescriptorType
from tests.hw.iommu.bench import receive, run, send
from tests.hw.iommu.register_bench import access_of

COUNTED = {0x00: "protocol_error", 0x08: "fault_message", 0x10: "invalidation_message", 0x20: "wait_abandoned",
           0x28: "refused_message"}
WAITS_COMPLETED = 0x18
TYPES = range(0x48, 0x90, 8)   # of types 1 to 9
OFFSETS = sorted([*COUNTED, WAITS_COMPLETED, *TYPES])


def run_monitor(testbench, **parameters):
    """Run a testbench with a function that accesses the monitor."""
    dut = Monitor(**parameters)

    async def bench(ctx):
        async def access(offset, *, width=8, write=None):
            await send(ctx, dut.accesses, access_of(offset, width=width, write=write))
            reply = await receive(ctx, dut.replies)
            return reply.data, reply.error
        await testbench(ctx, dut, access)
    run(dut, bench)


@pytest.mark.parametrize(("offset", "happening"), COUNTED.items())
def test_each_happening_is_counted_by_its_own_counter(offset, happening):
    async def testbench(ctx, dut, access):
        for cycles in (1, 3):
            ctx.set(getattr(dut, happening), 1)
            await ctx.tick().repeat(cycles)
            ctx.set(getattr(dut, happening), 0)
            await ctx.tick()
        assert {place: await access(place) for place in OFFSETS} == {
            place: (4 if place == offset else 0, 0) for place in OFFSETS}
    run_monitor(testbench)


def test_descriptors_are_counted_by_type_and_waits_as_completed_too():
    async def testbench(ctx, dut, access):
        for number in range(1, 10):
            ctx.set(dut.executed_type, DescriptorType(number))
            await ctx.tick().repeat(2)                       # a type alone counts nothing
            ctx.set(dut.executed, 1)
            await ctx.tick().repeat(number)
            ctx.set(dut.executed, 0)
        assert [await access(place) for place in TYPES] == [(number, 0) for number in range(1, 10)]
        assert await access(WAITS_COMPLETED) == (5, 0)
    run_monitor(testbench)


def test_a_counter_stands_still_at_its_largest_value():
    async def testbench(ctx, dut, access):
        ctx.set(dut.protocol_error, 1)
        await ctx.tick().repeat(10)
        ctx.set(dut.protocol_error, 0)
        assert await access(0x00) == (7, 0)
    run_monitor(testbench, counter_bits=3)


@pytest.mark.parametrize(("offset", "width", "write"), [
    (0x00, 4, None), (0x04, 4, None), (0x00, 8, 5), (0x00, 4, 5), (0x01, 8, None), (0x30, 8, None), (0x38, 8, None),
    (0x40, 8, None), (0x90, 8, None), (0x1_0000, 8, None)])
def test_anything_but_an_8_byte_read_of_a_counter_is_an_error(offset, width, write):
    async def testbench(ctx, dut, access):
        ctx.set(dut.protocol_error, 1)
        await ctx.tick()
        ctx.set(dut.protocol_error, 0)
        assert await access(offset, width=width, write=write) == (0, 1)
        assert await access(0x00) == (1, 0)
    run_monitor(testbench)


def test_a_reply_waits_until_it_is_taken_and_the_next_access_waits_for_it():
    async def testbench(ctx, dut, access):
        ctx.set(dut.accesses.payload, access_of(0x00, width=8))
        ctx.set(dut.accesses.valid, 1)
        await ctx.tick()
        ctx.set(dut.protocol_error, 1)
        for _ in range(4):
            assert (ctx.get(dut.replies.valid), ctx.get(dut.replies.payload.data), ctx.get(dut.accesses.ready)) == (1, 0, 0)
            await ctx.tick()
        ctx.set(dut.protocol_error, 0)
        ctx.set(dut.replies.ready, 1)
        await ctx.tick()
        await ctx.tick()
        assert (ctx.get(dut.replies.valid), ctx.get(dut.replies.payload.data)) == (1, 4)
        ctx.set(dut.accesses.valid, 0)
    run_monitor(testbench)
