# amaranth: UnusedElaboratable=no
"""Flat ports are named and directed as AXI has them, and take only their own channel."""
import pytest
from amaranth import *
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out
from amaranth.sim import Simulator

from hw.axi.axi_unit import AxiUnit
from hw.axi.bus import FlatBus, axi4_channels, response_layout
from hw.spec.axi import DmaUser

CHANNELS = axi4_channels(data_bits=64, id_bits=2, user=DmaUser)


class Crossed(wiring.Component):
    """The response channel as flat ports, from a stream."""

    def __init__(self, layout):
        self._bus = FlatBus("s", CHANNELS, manager=False)
        super().__init__({**self._bus.members, "port": In(stream.Signature(layout))})

    def elaborate(self, platform):
        m = Module()
        self._bus.connect(m, self, "b", self.port)
        return m


def test_a_subordinate_receives_addresses_and_a_manager_sends_them():
    ports = FlatBus("s", CHANNELS, manager=False).members
    assert (ports["s_awvalid"], ports["s_awready"], ports["s_awaddr"]) == (In(1), Out(1), In(64))
    assert (ports["s_bvalid"], ports["s_bready"], ports["s_bresp"]) == (Out(1), In(1), Out(2))
    ports = FlatBus("m", CHANNELS, manager=True).members
    assert (ports["m_wvalid"], ports["m_wready"], ports["m_wstrb"]) == (Out(1), In(1), Out(8))
    assert (ports["m_rvalid"], ports["m_rready"], ports["m_rlast"]) == (In(1), Out(1), In(1))


def test_every_signal_of_a_channel_reaches_its_port():
    dut = Crossed(response_layout(id_bits=2))

    async def bench(ctx):
        ctx.set(dut.port.payload, dict(id=3, resp=2))
        ctx.set(dut.port.valid, 1)
        ctx.set(dut.s_bready, 1)
        await ctx.delay(1e-9)
        assert (ctx.get(dut.s_bid), ctx.get(dut.s_bresp), ctx.get(dut.s_bvalid), ctx.get(dut.port.ready)) == (3, 2, 1, 1)
    simulator = Simulator(dut)   # without a clock: there is nothing but wires
    simulator.add_testbench(bench)
    simulator.run()


def test_a_stream_of_another_layout_is_refused():
    layout = data.StructLayout({"resp": 2, "id": 2})
    with pytest.raises(TypeError, match=r"s_b is .*id.*, not .*resp"):
        Crossed(layout).elaborate(None)


def test_the_wrapped_unit_has_the_ports_that_its_page_names():
    ports = AxiUnit(data_bits=256, id_bits=6).signature.members
    widths = {name: ports[name].shape for name in (
        "s_dma_awaddr", "s_dma_awid", "s_dma_wdata", "s_dma_aruser", "m_dma_rdata", "m_dma_awuser", "m_table_arid",
        "m_table_rdata", "s_reg_awaddr", "s_reg_wdata")}
    assert widths == {
        "s_dma_awaddr": 64, "s_dma_awid": 6, "s_dma_wdata": 256, "s_dma_aruser": 37, "m_dma_rdata": 256, "m_dma_awuser": 17,
        "m_table_arid": 11, "m_table_rdata": 128, "s_reg_awaddr": 20, "s_reg_wdata": 64}
    assert "m_table_aruser" not in ports


def test_impossible_sizes_are_refused():
    with pytest.raises(ValueError, match="slots must be between 2 and 512, not 1"):
        AxiUnit(slots=1)
