# amaranth: UnusedElaboratable=no
"""The traffic engine as a whole: spans of pages, and devices with limits of their own."""
from collections import Counter as Tally
from random import Random

import pytest

from hw.spec.bench import Pattern
from hw.spec.events import Verdict
from hw.traffic.engine import TrafficEngine
from tests.hw.traffic.machine import RHYTHMS, Machine, four_devices, own_domain


def machine_of(**options):
    return Machine(TrafficEngine(devices=8, pages=32), **options)


def test_each_page_of_a_span_is_judged_for_itself():
    machine = machine_of()

    def translate(request):
        page = request.iova >> 12
        moved = {0x4000: 0x8000, 0x4001: 0x9001, 0x4002: 0x8003, 0x4003: 0x8003}[page]  # old, new, wrong, old
        return {"hpa": moved << 12 | request.iova & 0xFFF, "domain_id": 1}

    machine.translate = translate

    async def testbench(ctx):
        await machine.page(ctx, 0, iova_page=0x4000, old_page=0x8000, new_page=0x9000, span_log2=2)
        await machine.declare(ctx, 0, old=1, new=1, old_permitted=1, new_permitted=1)
        await machine.device(ctx, 0, pattern=Pattern.RANDOM, writes=8)
        await machine.control(ctx, run=1)
        await ctx.tick().repeat(100)
        await machine.stop(ctx)
        visited = Tally(request.iova >> 12 for request in machine.requests)
        assert set(visited) == {0x4000, 0x4001, 0x4002, 0x4003}
        assert await machine.counters(ctx, 0) == {
            Verdict.OLD: visited[0x4000] + visited[0x4003], Verdict.NEW: visited[0x4001], Verdict.WRONG: visited[0x4002],
            "issued": len(machine.requests)}

    machine.run(testbench)


@pytest.mark.parametrize("rhythm", RHYTHMS.values(), ids=RHYTHMS)
def test_no_device_has_more_in_flight_than_its_own_limit(rhythm):
    machine = machine_of(rhythm=rhythm, shuffle=Random(8))
    machine.translate = lambda request: None  # kept waiting
    most = Tally()

    async def watch(ctx):
        flying = Tally()
        dut = machine.dut
        async for _, _, done, event, valid, ready, request in ctx.tick().sample(
                dut.events[0].valid, dut.events[0].payload.source_id,
                dut.dma_requests.valid, dut.dma_requests.ready, dut.dma_requests.payload.source_id):
            flying[request] += valid & ready
            most[request] = max(most[request], flying[request])
            flying[event] -= done

    async def testbench(ctx):
        await four_devices(machine, ctx, limit=0)
        for row, limit in enumerate((1, 2, 3)):  # 1, 2, 4
            await machine.device(ctx, row, first_page=4 * row, page_count=4, limit=limit)
        await machine.control(ctx, run=1)
        await ctx.tick().repeat(100)
        machine.translate = own_domain
        for request in list(machine.requests):
            machine.reply(request, **own_domain(request))
        await ctx.tick().repeat(500)
        await machine.stop(ctx)

    machine.watchers.append(watch)
    machine.run(testbench)
    assert [most[0x100 + row] for row in range(3)] == [1, 2, 4]
    assert most[0x103] > 4
