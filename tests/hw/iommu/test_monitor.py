# amaranth: UnusedElaboratable=no
"""The monitor's counters as the host reads them."""
import random

import pytest

from hw.iommu.monitor import Monitor
from tests.hw.iommu.bench import receive, run, send, wait
from tests.hw.iommu.register_bench import access_of

COUNTED = {0x00: "protocol_errors", 0x08: "fault_messages", 0x10: "invalidation_messages", 0x20: "waits_abandoned",
           0x28: "refused_messages", 0x90: "requests", 0x98: "hits", 0xA0: "walk_requests", 0xA8: "walks", 0xB0: "walks_joined",
           0xB8: "walks_again", 0xC0: "walk_reads", 0xC8: "context_misses", 0xD0: "context_fetches", 0xD8: "context_reads",
           0xE0: "stalls_by_walks", 0xE8: "stalls_by_contexts", 0xF0: "stalls_by_answers", 0xF8: "stalls_by_limit",
           0x100: "prefetches", 0x108: "prefetches_used", 0x110: "prefetches_dropped", 0x118: "prewalks", 0x120: "drains",
           0x128: "blocked", 0x130: "fills", 0x138: "structure_fills"}
WAITS_COMPLETED, CYCLES, CONTROL, WAIT = 0x18, 0x30, 0x38, 5
CLEAR, STOP = 1, 2
TYPES = range(0x48, 0x90, 8)   # of types 1 to 9
OFFSETS = sorted([*COUNTED, WAITS_COMPLETED, *TYPES])
FIRST_ANSWER = 50              # cycles within which an access is answered


def run_monitor(testbench, **parameters):
    """Run a testbench with a function that accesses the monitor."""
    dut = Monitor(**parameters)

    async def bench(ctx):
        async def access(offset, *, width=8, write=None):
            await send(ctx, dut.accesses, access_of(offset, width=width, write=write))
            reply = await receive(ctx, dut.replies)
            return reply.data, reply.error
        await testbench(ctx, dut, access)
    run(dut, bench, cycles=20_000)


async def values(access, offsets=OFFSETS):
    """What the counters say, each read without an error; those that are not zero."""
    found = {}
    for offset in offsets:
        value, error = await access(offset)
        assert error == 0
        if value:
            found[offset] = value
    return found


async def happen(ctx, dut, name, cycles):
    """Let one thing happen in so many cycles."""
    ctx.set(dut.counted[name], 1)
    await ctx.tick().repeat(cycles)
    ctx.set(dut.counted[name], 0)


def test_each_happening_is_counted_by_its_own_counter():
    async def testbench(ctx, dut, access):
        expected = {}
        for cycles, (offset, name) in enumerate(COUNTED.items(), start=1):
            await happen(ctx, dut, name, cycles)
            expected[offset] = cycles
        assert await values(access) == expected
    run_monitor(testbench)


def test_descriptors_are_counted_by_type_and_waits_as_completed_too():
    async def testbench(ctx, dut, access):
        for number in range(16):
            ctx.set(dut.counted.descriptors, 1 << number)
            await wait(ctx, number)
        ctx.set(dut.counted.descriptors, 0)
        expected = {place: number for number, place in enumerate(TYPES, start=1)}
        assert await values(access) == expected | {WAITS_COMPLETED: WAIT}
    run_monitor(testbench)


def test_nothing_is_lost_while_everything_happens_in_every_cycle_and_the_host_reads():
    async def testbench(ctx, dut, access):
        ctx.set(dut.counted.as_value(), -1)
        await ctx.tick().repeat(300)
        early = await values(access)
        ctx.set(dut.counted.as_value(), 0)
        happened = await access(CYCLES)
        assert sorted(early) == OFFSETS
        assert all(300 <= value < happened[0] for value in early.values())
        late = await values(access)
        assert len(set(late.values())) == 1
        assert max(early.values()) < late[0x90] < happened[0]
    run_monitor(testbench)


def test_counters_of_random_happenings_are_exact_to_the_last():
    source = random.Random(4)

    async def testbench(ctx, dut, access):
        counts = dict.fromkeys(COUNTED.values(), 0)
        for _ in range(500):
            for name in counts:
                happened = source.getrandbits(1)
                counts[name] += happened
                ctx.set(dut.counted[name], happened)
            await ctx.tick()
        for name in counts:
            ctx.set(dut.counted[name], 0)
        assert await values(access) == {offset: counts[name] for offset, name in COUNTED.items()}
    run_monitor(testbench)


def test_a_read_holds_what_happened_in_the_cycle_before_its_access():
    async def testbench(ctx, dut, access):
        for delay in range(45):            # at every place of the turns
            await happen(ctx, dut, "requests", 1)
            assert await access(0x90) == (delay + 1, 0)
            await ctx.tick()
    run_monitor(testbench)


def test_a_counter_stands_still_at_its_largest_value():
    async def testbench(ctx, dut, access):
        await happen(ctx, dut, "protocol_errors", 10)
        assert await access(0x00) == (7, 0)
    run_monitor(testbench, counter_bits=3)


def test_clear_forgets_what_happened_up_to_it_and_nothing_later():
    async def testbench(ctx, dut, access):
        for _ in range(45):                # at every place of the turns
            ctx.set(dut.counted.hits, 1)
            await ctx.tick().repeat(60)
            ctx.set(dut.accesses.payload, access_of(CONTROL, width=8, write=CLEAR))
            ctx.set(dut.accesses.valid, 1)
            await ctx.tick()               # accepted in this cycle
            ctx.set(dut.accesses.valid, 0)
            ctx.set(dut.replies.ready, 1)
            await ctx.tick().repeat(3)
            ctx.set(dut.counted.hits, 0)
            assert await values(access, [0x98, 0x90]) == {0x98: 3}
    run_monitor(testbench)


def test_while_stopped_nothing_is_counted_not_even_cycles():
    async def testbench(ctx, dut, access):
        ctx.set(dut.counted.as_value(), -1)
        await ctx.tick().repeat(100)
        assert await access(CONTROL, write=STOP) == (0, 0)
        await ctx.tick().repeat(20)
        assert await access(CONTROL) == (STOP, 0)
        stopped = await values(access, [*OFFSETS, CYCLES])
        assert len(set(stopped.values())) == 1
        assert stopped == await values(access, [*OFFSETS, CYCLES])
        assert await access(CONTROL, write=0) == (0, 0)
        await ctx.tick().repeat(10)
        later, _ = await access(0x90)
        assert later >= stopped[0x90] + 10
    run_monitor(testbench)


def test_cleared_and_stopped_at_once_everything_stands_at_zero():
    async def testbench(ctx, dut, access):
        ctx.set(dut.counted.as_value(), -1)
        await ctx.tick().repeat(100)
        assert await access(CONTROL, write=CLEAR | STOP) == (0, 0)
        assert await values(access, [*OFFSETS, CYCLES]) == {}
        assert await access(CONTROL) == (STOP, 0)
    run_monitor(testbench)


def test_cycles_are_those_between_two_reads():
    async def testbench(ctx, dut, access):
        first, _ = await access(CYCLES)
        await ctx.tick().repeat(200)
        second, _ = await access(CYCLES)
        assert 200 <= second - first <= 200 + FIRST_ANSWER
    run_monitor(testbench)


@pytest.mark.parametrize(("offset", "width", "write"), [
    (0x00, 4, None), (0x04, 4, None), (0x00, 8, 5), (0x00, 4, 5), (0x01, 8, None), (0x30, 8, 0), (0x38, 4, None),
    (0x38, 4, 1), (0x3C, 8, None), (0x40, 8, None), (0x140, 8, None), (0x400, 8, None), (0x1_0000, 8, None), (0x1_0000, 8, 1)])
def test_anything_else_is_an_error_and_changes_nothing(offset, width, write):
    async def testbench(ctx, dut, access):
        await happen(ctx, dut, "protocol_errors", 1)
        assert await access(offset, width=width, write=write) == (0, 1)
        assert await access(0x00) == (1, 0)
        assert await access(CONTROL) == (0, 0)
    run_monitor(testbench)


def test_a_reply_waits_until_it_is_taken_and_the_next_access_waits_for_it():
    async def testbench(ctx, dut, access):
        ctx.set(dut.accesses.payload, access_of(0x00, width=8))
        ctx.set(dut.accesses.valid, 1)
        await ctx.tick()
        cycles = 0
        while not ctx.get(dut.replies.valid):
            assert ctx.get(dut.accesses.ready) == 0
            cycles += 1
            await ctx.tick()
        assert cycles < FIRST_ANSWER
        await happen(ctx, dut, "protocol_errors", 4)
        assert (ctx.get(dut.replies.valid), ctx.get(dut.replies.payload.data), ctx.get(dut.accesses.ready)) == (1, 0, 0)
        ctx.set(dut.replies.ready, 1)
        await ctx.tick()
        ctx.set(dut.replies.ready, 0)
        await ctx.tick()
        ctx.set(dut.accesses.valid, 0)
        assert (await receive(ctx, dut.replies)).data == 4
    run_monitor(testbench)
