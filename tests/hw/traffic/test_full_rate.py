# amaranth: UnusedElaboratable=no
"""The engine at full rate: a unit and a memory in hardware that answer everything, one a cycle, after a fixed time."""
import pytest
from amaranth import *
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out, connect, flipped

from hw.lib.stream import Queue
from hw.spec.bench import (
    HISTOGRAM_BASE,
    DataWord,
    HostReply,
    HostRequest,
    LatencyWatch,
    Pattern,
    TrafficRegister,
    page_signature,
)
from hw.spec.codec import encode
from hw.spec.dma import DmaReply
from hw.spec.events import Verdict
from hw.spec.memory import MemoryOperation, memory_reply_layout
from hw.traffic.engine import TrafficEngine
from tests.hw.traffic.machine import Machine, simulate

DEVICES = 16


class Loop(wiring.Component):
    """The engine between an identity-mapping unit (domain n + 1 for device n) and a memory of untouched pages.

    Requests of device 0 may take longer; their answers go first.
    Counts cycles with a DMA accepted, and with one done, of the cycles in which `counts` is high.
    """

    accesses: In(stream.Signature(HostRequest))
    replies: Out(stream.Signature(HostReply))
    counts: In(1)
    accepted: Out(32)
    done: Out(32)
    writes: Out(32)

    def __init__(self, *, latency, slow_latency=None):
        self._latency = latency
        self._slow_latency = slow_latency or latency
        super().__init__()

    def elaborate(self, platform):
        m = Module()
        m.submodules.engine = engine = TrafficEngine(devices=DEVICES, pages=64)
        m.submodules.answers = answers = Queue(DmaReply, depth=64)
        m.submodules.late_answers = late = Queue(DmaReply, depth=64)
        m.submodules.words = words = Queue(memory_reply_layout(128), depth=64)
        connect(m, flipped(self.accesses), engine.accesses)
        connect(m, flipped(self.replies), engine.replies)
        connect(m, words.o, engine.data_replies)

        def delayed(valid, payload, shape, cycles):
            for _ in range(cycles):
                next_valid, next_payload = Signal(), Signal(shape)
                m.d.sync += [next_valid.eq(valid), Value.cast(next_payload).eq(payload)]
                valid, payload = next_valid, next_payload
            return valid, Value.cast(payload)

        request = engine.dma_requests.payload
        reply = Signal(DmaReply)
        m.d.comb += [
            engine.dma_requests.ready.eq(1),
            reply.tag.eq(request.tag),
            reply.hpa.eq(request.iova),
            reply.domain_id.eq(request.source_id[:8] + 1),
        ]
        slow = request.source_id[:8] == 0
        fast_way = delayed(engine.dma_requests.valid & ~slow, reply, DmaReply, self._latency - 1)
        slow_way = delayed(engine.dma_requests.valid & slow, reply, DmaReply, self._slow_latency - 1)
        for queue, (valid, payload) in ((answers, fast_way), (late, slow_way)):
            m.d.comb += [queue.i.valid.eq(valid), Value.cast(queue.i.payload).eq(payload)]
        with m.If(late.o.valid):
            connect(m, late.o, engine.dma_replies)
        with m.Else():
            connect(m, answers.o, engine.dma_replies)

        access = engine.data_requests.payload
        word = data.View(DataWord, words.i.payload.data)
        m.d.comb += [
            engine.data_requests.ready.eq(1),
            words.i.payload.tag.eq(access.tag),
            word.signature.eq(page_signature(access.hpa[12:])),
            words.i.valid.eq(engine.data_requests.valid),
            engine.dma_retires.ready.eq(1),
        ]
        with m.If(self.counts):
            m.d.sync += [
                self.accepted.eq(self.accepted + engine.dma_requests.valid),
                self.done.eq(self.done + engine.events[0].valid),
                self.writes.eq(self.writes + (engine.data_requests.valid & (access.operation == MemoryOperation.WRITE))),
            ]
        return m


async def histogram(machine, ctx):
    """The bins that are not empty."""
    longest = await machine.read(ctx, TrafficRegister.LATENCY_MAX)
    values = [await machine.read(ctx, HISTOGRAM_BASE + 8 * latency) for latency in range(longest + 1)]
    return {latency: value for latency, value in enumerate(values) if value}


async def begin(machine, ctx, *, limits=(), **fields):
    """Device n has domain n + 1 and two spans of eight pages of its own."""
    for row in range(DEVICES):
        for index in (2 * row, 2 * row + 1):
            page = 0x1000 + 8 * index
            await machine.page(ctx, index, iova_page=page, old_page=page, new_page=0, span_log2=3)
        await machine.declare(ctx, row, old=row + 1)
        limit = limits[row] if row < len(limits) else 0
        await machine.device(ctx, row, first_page=2 * row, page_count=2, limit=limit, **fields)
    await machine.control(ctx, run=1, limit=1024)


@pytest.mark.parametrize(("pattern", "cycles"), [(Pattern.RANDOM, 10_000), (Pattern.SEQUENTIAL, 1_000)])
def test_sixteen_devices_issue_and_are_judged_once_in_every_cycle(pattern, cycles):
    dut = Loop(latency=1)
    machine = Machine(dut)

    async def testbench(ctx):
        await begin(machine, ctx, pattern=pattern, writes=8)
        await ctx.tick().repeat(40)
        ctx.set(dut.counts, 1)
        await ctx.tick().repeat(cycles)
        ctx.set(dut.counts, 0)
        assert ctx.get(dut.accepted) == cycles
        assert ctx.get(dut.done) == cycles
        assert 0.45 * cycles < ctx.get(dut.writes) < 0.55 * cycles
        await machine.stop(ctx)
        issued = set()
        for row in range(DEVICES):
            counters = await machine.counters(ctx, row)
            assert set(counters) == {Verdict.OLD, "issued"}
            assert counters[Verdict.OLD] == counters["issued"]
            issued.add(counters["issued"])
        assert max(issued) - min(issued) < 60  # those that began earlier were ahead by the time the last one began
        assert min(issued) >= cycles // DEVICES

    simulate(dut, testbench, cycles=20_000)


def test_at_full_rate_every_latency_is_counted_and_is_what_it_was():
    dut = Loop(latency=3)
    machine = Machine(dut)

    async def testbench(ctx):
        await begin(machine, ctx, pattern=Pattern.RANDOM)
        await ctx.tick().repeat(20)
        await machine.write(ctx, TrafficRegister.LATENCY, 0)
        before = await machine.read(ctx, TrafficRegister.TOTAL)
        await ctx.tick().repeat(300)
        await machine.stop(ctx)
        after = await machine.read(ctx, TrafficRegister.TOTAL)
        bins = await histogram(machine, ctx)
        assert set(bins) == {3}
        assert abs(after - before - bins[3]) < 20   # the two registers were not written and read in the same cycle

    simulate(dut, testbench, cycles=5_000)


def test_a_slow_device_is_watched_apart_and_its_own_limit_keeps_it_from_slowing_down_the_others():
    dut = Loop(latency=3, slow_latency=200)
    machine = Machine(dut)

    async def testbench(ctx):
        await begin(machine, ctx, limits=[4])    # at most 8 of its own
        await machine.control(ctx, run=1, limit=32)
        await machine.write(ctx, TrafficRegister.LATENCY, encode(LatencyWatch, device=5, single=1))
        ctx.set(dut.counts, 1)
        await ctx.tick().repeat(400)
        ctx.set(dut.counts, 0)
        assert ctx.get(dut.accepted) == 400
        fast = await histogram(machine, ctx)
        assert set(fast) <= set(range(3, 12))    # at most eight slow answers go first
        await machine.write(ctx, TrafficRegister.LATENCY, encode(LatencyWatch, device=0, single=1))
        await ctx.tick().repeat(450)
        await machine.stop(ctx)
        slow = await histogram(machine, ctx)
        assert min(slow) >= 200
        assert 16 <= sum(slow.values()) <= 24    # eight in each 200 cycles

    simulate(dut, testbench, cycles=8_000)
