# amaranth: UnusedElaboratable=no
"""The engine's registers, as the host sees them."""
import pytest

from hw.spec.bench import (
    COUNTER_BASE,
    DEVICE_BASE,
    DEVICE_STRIDE,
    HISTOGRAM_BASE,
    HISTOGRAM_BINS,
    PAGE_ENTRY_BYTES,
    PAGE_LIST_BASE,
    TRAFFIC_BASE,
    DeviceConfig,
    DeviceField,
    Phase,
    TrafficRegister,
)
from hw.spec.codec import encode
from hw.spec.events import Verdict
from hw.traffic.engine import TrafficEngine
from tests.hw.traffic.machine import Machine


def machine_of():
    return Machine(TrafficEngine(devices=8, pages=32))


def test_the_phase_register_shows_and_tells():
    machine = machine_of()

    async def testbench(ctx):
        for phase in (Phase.SWAP, Phase.FREE, Phase.FREE, Phase.STEADY):
            await machine.write(ctx, TrafficRegister.PHASE, phase.value)
            assert ctx.get(machine.dut.phase) == phase
            assert await machine.read(ctx, TrafficRegister.PHASE) == phase.value
        assert machine.phases == [Phase.SWAP.value, Phase.FREE.value, Phase.FREE.value, Phase.STEADY.value]
        assert (await machine.host(ctx, TrafficRegister.PHASE, 9))[1] == 1
        assert ctx.get(machine.dut.phase) == Phase.STEADY

    machine.run(testbench)


def test_tables_and_control_read_back_and_the_cycle_counts():
    machine = machine_of()

    async def testbench(ctx):
        config = encode(DeviceConfig, source_id=0xBEEF, first_page=3, page_count=1, stride=7, writes=2, enabled=1)
        address = DEVICE_BASE + 5 * DEVICE_STRIDE
        await machine.write(ctx, address + DeviceField.CONFIG, config)
        await machine.declare(ctx, 5, old=6, new=7, old_permitted=1, new_permitted=1)
        assert await machine.read(ctx, address + DeviceField.CONFIG) == config
        assert await machine.read(ctx, address + DeviceField.DOMAINS) == 6 | 7 << 16 | 3 << 32
        assert await machine.read(ctx, address + DEVICE_STRIDE + DeviceField.CONFIG) == 0
        await machine.control(ctx, run=0, limit=33, gap=2)
        assert await machine.read(ctx, TrafficRegister.CONTROL) == 33 << 1 | 2 << 12
        assert await machine.read(ctx, TrafficRegister.SEED) == 1
        await machine.write(ctx, TrafficRegister.SEED, 1234)
        assert await machine.read(ctx, TrafficRegister.SEED) == 1234
        earlier, at = await machine.read(ctx, TrafficRegister.CYCLE), ctx.get(machine.dut.cycle)
        await ctx.tick().repeat(100)
        later, at_later = await machine.read(ctx, TrafficRegister.CYCLE), ctx.get(machine.dut.cycle)
        assert later - earlier == at_later - at
        assert at_later - at > 100

    machine.run(testbench)


def test_the_latency_histogram_is_watched_shown_and_cleared():
    machine = machine_of()
    machine.translate = lambda request: {"hpa": request.iova, "domain_id": 1}

    async def testbench(ctx):
        async def histogram():
            longest = await machine.read(ctx, TrafficRegister.LATENCY_MAX)
            return [await machine.read(ctx, HISTOGRAM_BASE + 8 * latency) for latency in range(longest + 2)]

        async def traffic():
            await machine.control(ctx, run=1, limit=1)
            await ctx.tick().repeat(40)
            await machine.stop(ctx)

        for row in (0, 6):
            await machine.device(ctx, row)
        await traffic()
        counts = await histogram()
        assert sum(counts) == len(machine.requests) > 6
        assert counts[-2] > 0
        assert counts[-1] == 0
        await machine.write(ctx, TrafficRegister.LATENCY, 6 | 1 << 5)
        assert await machine.read(ctx, TrafficRegister.LATENCY) == 6 | 1 << 5
        assert await machine.read(ctx, TrafficRegister.LATENCY_MAX) == 0
        assert await machine.read(ctx, HISTOGRAM_BASE + 8 * counts.index(max(counts))) == 0
        del machine.requests[:]
        await traffic()
        assert sum(await histogram()) == sum(request.source_id == 0x106 for request in machine.requests) > 3
        assert await machine.read(ctx, HISTOGRAM_BASE + 8 * (HISTOGRAM_BINS - 1)) == 0

    machine.run(testbench)


PAGES_AT = PAGE_LIST_BASE - TRAFFIC_BASE


@pytest.mark.parametrize(("address", "value", "wide"), [
    (0x048, None, 1), (0x048, 0, 1), (0xFF8, None, 1),           # no such register
    (TrafficRegister.CYCLE, 0, 1), (TrafficRegister.IN_FLIGHT, 0, 1), (TrafficRegister.TOTAL, 0, 1),
    (TrafficRegister.STRAY, 0, 1), (TrafficRegister.LATENCY_MAX, 0, 1), (HISTOGRAM_BASE, 0, 1),  # read only
    (TrafficRegister.CONTROL, 1, 0), (0x004, 1, 1),              # narrow, unaligned
    (DEVICE_BASE + 0x10, 1, 1), (DEVICE_BASE + 8 * DEVICE_STRIDE, 1, 1),
    (COUNTER_BASE + 8 * 7, None, 1), (COUNTER_BASE + 8 * DEVICE_STRIDE, None, 1),
    (HISTOGRAM_BASE - 8, None, 1), (HISTOGRAM_BASE + 8 * HISTOGRAM_BINS, None, 1),
    (HISTOGRAM_BASE, None, 0), (TrafficRegister.LATENCY, 0, 0),
    (PAGES_AT, None, 1), (PAGES_AT + 24, 1, 1), (PAGES_AT + 32 * PAGE_ENTRY_BYTES, 1, 1),
    (PAGES_AT - 8, 1, 1),
])
def test_an_access_that_makes_no_sense_is_an_error_and_changes_nothing(address, value, wide):
    machine = machine_of()

    async def testbench(ctx):
        assert (await machine.host(ctx, address, value, wide=wide))[1] == 1
        assert await machine.read(ctx, TrafficRegister.CONTROL) == 0
        assert await machine.read(ctx, DEVICE_BASE) == 0
        assert await machine.read(ctx, COUNTER_BASE) == 0

    machine.run(testbench, cycles=100)


@pytest.mark.parametrize("sizes", [{"devices": 0}, {"devices": 33}, {"pages": 0}, {"pages": 8193}, {"seed": -1}])
def test_impossible_sizes_are_refused(sizes):
    with pytest.raises(ValueError, match="must"):
        TrafficEngine(**sizes)


def test_the_last_device_and_the_last_page_work():
    machine = Machine(TrafficEngine(devices=32, pages=64))
    machine.translate = lambda request: {"hpa": request.iova, "domain_id": 0xFFFF}
    page = (1 << 40) - 1

    async def testbench(ctx):
        await machine.page(ctx, 63, iova_page=page, old_page=page, new_page=page)
        await machine.declare(ctx, 31, old=0xFFFF)
        await machine.device(ctx, 31, first_page=63, page_count=1, source_id=0xFFFF)
        await machine.control(ctx, run=1)
        await ctx.tick().repeat(30)
        await machine.stop(ctx)
        counters = await machine.counters(ctx, 31)
        assert counters == {Verdict.OLD: len(machine.requests), "issued": len(machine.requests)}
        assert len(machine.requests) > 20

    machine.run(testbench)
