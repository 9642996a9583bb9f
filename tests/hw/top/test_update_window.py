# amaranth: UnusedElaboratable=no
"""The host's registers for the update port, and the store that waits for a walk and a hit."""

import pytest

from hw.spec.bench import HostRequest, UpdateCommand, UpdateOperation, UpdateRegister, UpdateStatus
from hw.spec.codec import decode, encode
from hw.spec.events import Event, EventKind, ReplyDetail
from hw.top.store_trigger import HIT_AGE_CYCLES, WALK_AGE_CYCLES
from hw.top.update_window import UpdateWindow
from tests.hw.iommu.bench import Listener, receive, run, send, wait

DEVICE = 0x0310
WRITABLE = [
    UpdateRegister.ADDRESS,
    UpdateRegister.EXPECTED_LOW,
    UpdateRegister.EXPECTED_HIGH,
    UpdateRegister.DESIRED_LOW,
    UpdateRegister.DESIRED_HIGH,
]


def command(*, armed=0, source_id=DEVICE, offset_cycles=0, operation=UpdateOperation.COMPARE_EXCHANGE_128):
    """A COMMAND value."""
    return encode(UpdateCommand, operation=operation, armed=armed, source_id=source_id, offset_cycles=offset_cycles)


class Bench:
    """The window, a cycle counter, and an update port that answers after ten cycles."""

    def __init__(self, *, swapped=1, error=0, accept_after=0):
        self.dut = UpdateWindow()
        self.sent = Listener(self.dut.update_requests)
        self._reply = dict(swapped=swapped, error=error, observed=0xBBBB_0000_0000_0000_AAAA)
        self._accept_after = accept_after

    async def _update_port(self, ctx):
        while True:
            while not ctx.get(self.dut.update_requests.valid):
                await ctx.tick()
            await wait(ctx, self._accept_after)
            await receive(ctx, self.dut.update_requests)
            await wait(ctx, 10)
            await send(ctx, self.dut.update_replies, self._reply)

    async def _counter(self, ctx):
        cycle = 0
        async for _ in ctx.tick():
            cycle += 1
            ctx.set(self.dut.cycle, cycle)

    def run(self, testbench, *listeners):
        run(
            self.dut,
            testbench,
            background=(
                self._update_port,
                self._counter,
                self.sent.process,
                *(listener.process for listener in listeners),
            ),
        )

    async def access(self, ctx, *, write, address, data=0, wide=1):
        """One host access; (data, error)."""
        fields = dict(write=write, wide=wide, address=address, data=data)
        await send(ctx, self.dut.accesses, decode(HostRequest, encode(HostRequest, **fields)))
        reply = await receive(ctx, self.dut.replies)
        return reply.data, reply.error

    async def write(self, ctx, register, data):
        return (await self.access(ctx, write=1, address=register.value, data=data))[1]

    async def read(self, ctx, register):
        data, error = await self.access(ctx, write=0, address=register.value)
        assert error == 0
        return data

    async def status(self, ctx):
        return decode(UpdateStatus, await self.read(ctx, UpdateRegister.STATUS))

    async def done(self, ctx):
        """Poll until the store has ended; its status."""
        while (status := await self.status(ctx)).busy:
            pass
        return status

    async def event(self, ctx, port, kind, *, source_id=DEVICE, tag=0, hit=0):
        """One cycle with an event."""
        fields = dict(kind=kind, source_id=source_id, tag=tag, detail=encode(ReplyDetail, hit=hit))
        ctx.set(port.payload, decode(Event, encode(Event, **fields)))
        ctx.set(port.valid, 1)
        await ctx.tick()
        ctx.set(port.valid, 0)

    async def walk(self, ctx, **fields):
        await self.event(ctx, self.dut.walk_begins, EventKind.WALK, **fields)

    async def walk_end(self, ctx, **fields):
        await self.event(ctx, self.dut.walk_ends, EventKind.WALK_RESULT, **fields)

    async def reply(self, ctx, *, hit=1, **fields):
        await self.event(ctx, self.dut.replies_out, EventKind.REPLY, hit=hit, **fields)

    async def retire(self, ctx, **fields):
        await self.event(ctx, self.dut.retired, EventKind.DONE, **fields)


# --- registers ---------------------------------------------------------------------------------------------------------


def test_registers_read_back_what_was_written():
    bench = Bench()

    async def testbench(ctx):
        for register in WRITABLE:
            assert await bench.write(ctx, register, 0x0123_4567_89AB_0000 + register.value) == 0
        for register in WRITABLE:
            assert await bench.read(ctx, register) == 0x0123_4567_89AB_0000 + register.value

    bench.run(testbench)
    assert len(bench.sent) == 0


@pytest.mark.parametrize(
    "access",
    [
        dict(write=1, address=UpdateRegister.STATUS.value),
        dict(write=1, address=UpdateRegister.OBSERVED_LOW.value),
        dict(write=1, address=UpdateRegister.COMMIT_CYCLE.value),
        dict(write=0, address=0x50),
        dict(write=1, address=0x04),
        dict(write=0, address=0x1000),
        dict(write=0, address=0x00, wide=0),
        dict(write=1, address=0x28, wide=0, data=1),
    ],
)
def test_accesses_that_are_not_allowed_are_errors_and_do_nothing(access):
    bench = Bench()

    async def testbench(ctx):
        assert await bench.access(ctx, **access) == (0, 1)
        assert await bench.read(ctx, UpdateRegister.STATUS) == 0
        await wait(ctx, 20)

    bench.run(testbench)
    assert len(bench.sent) == 0


@pytest.mark.parametrize("operation", list(UpdateOperation))
def test_a_command_sends_what_the_registers_say(operation):
    bench = Bench()

    async def testbench(ctx):
        for register, value in zip(WRITABLE, (0x4010, 1, 2, 3, 4), strict=True):
            await bench.write(ctx, register, value)
        await bench.write(ctx, UpdateRegister.COMMAND, command(operation=operation))
        await bench.done(ctx)

    bench.run(testbench)
    (request,) = bench.sent.payloads
    assert request.operation == operation
    assert (request.hpa, request.expected, request.desired) == (0x4010, 2 << 64 | 1, 4 << 64 | 3)


@pytest.mark.parametrize(("swapped", "error"), [(1, 0), (0, 0), (0, 1)])
def test_status_and_observed_tell_the_outcome(swapped, error):
    bench = Bench(swapped=swapped, error=error, accept_after=30)

    async def testbench(ctx):
        await bench.write(ctx, UpdateRegister.COMMAND, command())
        assert (await bench.status(ctx)).busy == 1
        status = await bench.done(ctx)
        assert (status.swapped, status.error, status.triggered) == (swapped, error, 0)
        assert await bench.read(ctx, UpdateRegister.OBSERVED_LOW) == 0xAAAA
        assert await bench.read(ctx, UpdateRegister.OBSERVED_HIGH) == 0xBBBB
        assert await bench.read(ctx, UpdateRegister.COMMIT_CYCLE) == bench.sent.cycles[0]
        assert bench.sent.cycles[0] > 30

    bench.run(testbench)


def test_nothing_may_be_written_while_a_store_is_on_its_way():
    bench = Bench(accept_after=30)

    async def testbench(ctx):
        await bench.write(ctx, UpdateRegister.ADDRESS, 0x4000)
        await bench.write(ctx, UpdateRegister.COMMAND, command())
        assert await bench.write(ctx, UpdateRegister.ADDRESS, 0x5000) == 1
        assert await bench.write(ctx, UpdateRegister.COMMAND, command()) == 1
        await bench.done(ctx)
        assert await bench.read(ctx, UpdateRegister.ADDRESS) == 0x4000

    bench.run(testbench)
    assert [request.hpa for request in bench.sent.payloads] == [0x4000]


# --- the armed store ---------------------------------------------------------------------------------------------------


async def walk_then_hit(bench, ctx):
    """The condition: a walk, then a hit."""
    await bench.walk(ctx, tag=3)
    await bench.reply(ctx, tag=4)


def armed(story, *, expected, **of_command):
    """Arm, let the events of `story` happen, and see whether a store was sent."""
    bench = Bench()

    async def testbench(ctx):
        await bench.write(ctx, UpdateRegister.COMMAND, command(armed=1, **of_command))
        await story(bench, ctx)
        await wait(ctx, 60)
        status = await bench.status(ctx)
        assert (status.busy, status.triggered) == (1 - expected, expected)

    bench.run(testbench)
    assert len(bench.sent) == expected


def test_a_walk_and_a_hit_in_flight_trigger_the_store():
    armed(walk_then_hit, expected=1)


def test_a_hit_and_then_a_walk_do_too():
    async def story(bench, ctx):
        await bench.reply(ctx, tag=4)
        await bench.walk(ctx, tag=3)

    armed(story, expected=1)


@pytest.mark.parametrize(("first", "cycles", "expected"), [
    ("walk", WALK_AGE_CYCLES - 4, 1), ("walk", WALK_AGE_CYCLES + 4, 0), ("hit", HIT_AGE_CYCLES + 2, 0)])
def test_one_that_may_end_before_the_store_arrives_does_not_count(first, cycles, expected):
    async def story(bench, ctx):
        begin, follow = (bench.walk, bench.reply) if first == "walk" else (bench.reply, bench.walk)
        await begin(ctx, tag=3)
        await wait(ctx, cycles)
        await follow(ctx, tag=4)

    armed(story, expected=expected)


@pytest.mark.parametrize("missing", ["walk", "reply"])
def test_one_of_the_two_is_not_enough(missing):
    async def story(bench, ctx):
        await (bench.reply(ctx, tag=4) if missing == "walk" else bench.walk(ctx, tag=3))

    armed(story, expected=0)


@pytest.mark.parametrize("ended", ["walk", "hit"])
def test_one_that_has_ended_does_not_count(ended):
    async def story(bench, ctx):
        if ended == "walk":
            await bench.walk(ctx, tag=3)
            await bench.walk_end(ctx, tag=3)
            await bench.reply(ctx, tag=4)
        else:
            await bench.reply(ctx, tag=4)
            await bench.retire(ctx, tag=4)
            await bench.walk(ctx, tag=3)

    armed(story, expected=0)


def test_the_end_of_another_walk_or_hit_changes_nothing():
    async def story(bench, ctx):
        await bench.walk(ctx, tag=3)
        await bench.walk_end(ctx, tag=5)
        await bench.walk_end(ctx, tag=3, source_id=DEVICE + 1)
        await bench.reply(ctx, tag=4)

    armed(story, expected=1)


def test_a_reply_that_is_not_a_hit_does_not_count():
    async def story(bench, ctx):
        await bench.walk(ctx, tag=3)
        await bench.reply(ctx, tag=4, hit=0)

    armed(story, expected=0)


@pytest.mark.parametrize("foreign", ["walk", "hit"])
def test_other_devices_do_not_count(foreign):
    async def story(bench, ctx):
        await bench.walk(ctx, tag=3, source_id=DEVICE + (foreign == "walk"))
        await bench.reply(ctx, tag=4, source_id=DEVICE + (foreign == "hit"))

    armed(story, expected=0)


def test_what_began_before_arming_does_not_count():
    bench = Bench()

    async def testbench(ctx):
        await bench.write(ctx, UpdateRegister.COMMAND, command(armed=1))
        await bench.walk(ctx, tag=3)
        await bench.write(ctx, UpdateRegister.COMMAND, command(armed=1))
        await bench.reply(ctx, tag=4)
        await wait(ctx, 20)
        assert (await bench.status(ctx)).busy == 1

    bench.run(testbench)
    assert len(bench.sent) == 0


@pytest.mark.parametrize("offset", [0, 1, 2, 40])
def test_the_offset_is_exact(offset):
    bench = Bench()
    hits = Listener(bench.dut.replies_out)

    async def testbench(ctx):
        await bench.write(ctx, UpdateRegister.COMMAND, command(armed=1, offset_cycles=offset))
        await walk_then_hit(bench, ctx)
        assert (await bench.done(ctx)).triggered == 1

    bench.run(testbench, hits)
    assert bench.sent.cycles[0] - hits.cycles[0] == offset + 2


@pytest.mark.parametrize("moment", ["armed", "offset"])
def test_a_new_command_takes_the_place_of_one_that_has_not_been_sent(moment):
    bench = Bench()

    async def testbench(ctx):
        await bench.write(ctx, UpdateRegister.ADDRESS, 0x4000)
        await bench.write(ctx, UpdateRegister.COMMAND, command(armed=1, offset_cycles=30))
        if moment == "offset":
            await walk_then_hit(bench, ctx)
            await wait(ctx, 4)
            assert (await bench.status(ctx)).triggered == 1
        assert await bench.write(ctx, UpdateRegister.ADDRESS, 0x5000) == 0
        assert await bench.write(ctx, UpdateRegister.COMMAND, command()) == 0
        assert (await bench.done(ctx)).triggered == 0
        await wait(ctx, 60)

    bench.run(testbench)
    assert [request.hpa for request in bench.sent.payloads] == [0x5000]
