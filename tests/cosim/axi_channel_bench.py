"""Looks on while a channel is offered and nobody takes it."""
import cocotb
from cocotb.triggers import RisingEdge

from sim.axi import AXI_CLOCK
from sim.bench import run_config


@cocotb.test(timeout_time=1, timeout_unit="us")
async def nobody_takes_it(dut):
    """For long enough."""
    dut.rst.value = 1
    dut.fickle.value = run_config()
    for cycle in range(40):
        await RisingEdge(getattr(dut, AXI_CLOCK))
        dut.rst.value = cycle < 4
