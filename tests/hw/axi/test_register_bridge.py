# amaranth: UnusedElaboratable=no
"""Register accesses by AXI4-Lite: of 4 and 8 bytes, one at a time."""
import pytest
from amaranth import *
from amaranth.lib import wiring

from hw.axi.register_bridge import RegisterBridge
from hw.iommu.register_file import RegisterFile
from hw.lib.stream import connect_stream
from hw.spec.axi import AxiResponse
from hw.spec.capabilities import STRAPS_DEFAULT, Straps
from hw.spec.codec import decode
from tests.hw.axi.bench import watched
from tests.hw.iommu.bench import Listener, receive, run, send, wait

OKAY, SLVERR = AxiResponse.OKAY, AxiResponse.SLVERR
RTADDR, FEADDR, BEYOND = 0x020, 0x040, 0x1_0000
PAIR = 0xFFFF_FFF0_1234_5670   # a value of RTADDR that it keeps but for bits 9:0


class Registers(wiring.Component):
    """The bridge, and the registers behind it."""

    def __init__(self):
        self.bridge, self.file = RegisterBridge(), RegisterFile()
        super().__init__({})

    def elaborate(self, platform):
        m = Module()
        m.submodules.bridge, m.submodules.file = self.bridge, self.file
        connect_stream(m, src=self.bridge.accesses, dst=self.file.accesses)
        connect_stream(m, src=self.file.replies, dst=self.bridge.replies)
        m.d.comb += self.file.straps.eq(decode(Straps, STRAPS_DEFAULT))
        return m


class Host:
    """Its end of the bus."""

    def __init__(self, ctx, bridge):
        self._ctx, self._bridge = ctx, bridge

    async def write(self, addr, data, strb=0xFF):
        self._ctx.set(self._bridge.w.payload, dict(data=data, strb=strb))
        self._ctx.set(self._bridge.w.valid, 1)
        await send(self._ctx, self._bridge.aw, dict(addr=addr, prot=0))
        self._ctx.set(self._bridge.w.valid, 0)
        return (await receive(self._ctx, self._bridge.b)).resp

    async def read(self, addr):
        await send(self._ctx, self._bridge.ar, dict(addr=addr, prot=0))
        reply = await receive(self._ctx, self._bridge.r)
        return reply.resp, reply.data


def run_host(testbench):
    """Run it; the accesses that the registers saw, as (write, wide, address)."""
    dut = Registers()
    seen = Listener(dut.bridge.accesses)

    async def bench(ctx):
        await testbench(Host(ctx, dut.bridge))
    run(dut, bench, background=[seen.process, watched(dut.bridge.r, "R"), watched(dut.bridge.b, "B")])
    return [(access.write, access.wide, access.address) for access in seen.payloads]


def test_a_write_of_eight_bytes_is_one_access_and_so_is_a_read_of_a_wide_register():
    async def bench(host):
        assert await host.write(RTADDR, PAIR) == OKAY
        assert await host.read(RTADDR) == (OKAY, PAIR & ~0x3FF)
    assert run_host(bench) == [(1, 1, RTADDR), (0, 1, RTADDR)]


def test_a_write_of_one_half_is_an_access_of_four_bytes():
    async def bench(host):
        assert await host.write(RTADDR, PAIR, strb=0x0F) == OKAY
        assert await host.write(RTADDR, PAIR, strb=0xF0) == OKAY
        assert await host.read(RTADDR) == (OKAY, PAIR & ~0x3FF)
    assert run_host(bench) == [(1, 0, RTADDR), (1, 0, RTADDR + 4), (0, 1, RTADDR)]


def test_two_narrow_registers_are_read_one_after_the_other():
    async def bench(host):
        assert await host.write(FEADDR, 0x2222_2224_1111_1114, strb=0x0F) == OKAY
        assert await host.write(FEADDR, 0x2222_2224_1111_1114, strb=0xF0) == OKAY
        assert await host.read(FEADDR) == (OKAY, 0x2222_2224_1111_1114)
    assert run_host(bench)[2:] == [(0, 1, FEADDR), (0, 0, FEADDR), (0, 0, FEADDR + 4)]


def test_a_write_of_eight_bytes_to_two_narrow_registers_is_refused():
    async def bench(host):
        assert await host.write(FEADDR, 0x2222_2224_1111_1114) == SLVERR
        assert await host.read(FEADDR) == (OKAY, 0)
    run_host(bench)


def test_what_lies_beyond_the_registers_is_refused_and_reads_zero():
    async def bench(host):
        assert await host.write(BEYOND, 1) == SLVERR
        assert await host.read(BEYOND) == (SLVERR, 0)
        assert (await host.read(RTADDR))[0] == OKAY
    run_host(bench)


@pytest.mark.parametrize(("strb", "resp"), [(0x00, OKAY), (0x01, SLVERR), (0x3C, SLVERR), (0xFE, SLVERR)])
def test_other_strobes_reach_no_register(strb, resp):
    async def bench(host):
        assert await host.write(RTADDR, PAIR, strb=strb) == resp
    assert run_host(bench) == []


def test_address_and_data_of_a_write_may_come_in_any_order():
    async def bench(host):
        ctx, bridge = host._ctx, host._bridge
        for first, second in ((bridge.aw, bridge.w), (bridge.w, bridge.aw)):
            ctx.set(bridge.aw.payload, dict(addr=RTADDR, prot=0))
            ctx.set(bridge.w.payload, dict(data=PAIR, strb=0xFF))
            ctx.set(first.valid, 1)
            await wait(ctx, 5)
            assert ctx.get(first.ready) == 0
            ctx.set(second.valid, 1)
            await ctx.tick()
            ctx.set(first.valid, 0)
            ctx.set(second.valid, 0)
            assert (await receive(ctx, bridge.b)).resp == OKAY
    assert run_host(bench) == [(1, 1, RTADDR)] * 2


@pytest.mark.parametrize("first", [0, 1])
def test_reads_and_writes_take_turns(first):
    async def bench(host):
        ctx, bridge = host._ctx, host._bridge
        if first:
            await host.read(RTADDR)
        ctx.set(bridge.w.payload, dict(data=PAIR, strb=0xFF))
        for port in (bridge.aw, bridge.w, bridge.ar):
            ctx.set(port.valid, 1)
        ctx.set(bridge.aw.payload, dict(addr=RTADDR, prot=0))
        ctx.set(bridge.ar.payload, dict(addr=RTADDR, prot=0))
        for port in (bridge.b, bridge.r):
            ctx.set(port.ready, 1)
        await wait(ctx, 60)
    writes = [write for write, _, _ in run_host(bench)][first:]
    assert len(writes) >= 8
    assert writes == [(first + number) % 2 for number in range(len(writes))]
