# amaranth: UnusedElaboratable=no
"""What each kind of register field does, on a register made up for the purpose."""
import pytest
from amaranth.sim import Simulator

from hw.lib.csr import Csr
from hw.spec.registers import Access, Field, Register

ROW = Register("SAMPLE", 0, 64, (
    Field("VERSION", 0, 4, Access.RO, 5),
    Field("PLAIN", 8, 8, Access.RW, 0xA5),
    Field("STICKY", 16, 2, Access.RW1C),
    Field("WIDE", 24, 16, Access.RW),          # straddles the two halves
    Field("SECRET", 48, 4, Access.WO),
    Field("ONCE", 56, 1, Access.ONE_SHOT),
    Field("GO", 63, 1, Access.TRIGGER),
))
LOW, HIGH, BOTH = 0b01, 0b10, 0b11
ONES = (1 << 64) - 1


@pytest.fixture
def run():
    def run(testbench):
        dut = Csr(ROW)
        sim = Simulator(dut)
        sim.add_clock(1e-6)

        async def bench(ctx):
            await testbench(ctx, dut)
        sim.add_testbench(bench)
        sim.run()
    return run


async def write(ctx, dut, value, strobes=BOTH):
    """Write; returns what the register commands in that cycle."""
    ctx.set(dut.data.as_value(), value)
    ctx.set(dut.strobes, strobes)
    commands = ctx.get(dut.commands.as_value())
    await ctx.tick()
    ctx.set(dut.strobes, 0)
    return commands


def test_after_reset_stored_and_undriven_fields_show_their_reset_values(run):
    async def testbench(ctx, dut):
        assert ctx.get(dut.read) == 0xA505
        assert ctx.get(dut.value.PLAIN) == 0xA5
    run(testbench)


def test_a_stored_field_changes_only_in_the_halves_that_are_written(run):
    async def testbench(ctx, dut):
        await write(ctx, dut, 0x0000_00CD_EF00_3C00, LOW)
        assert ctx.get(dut.value.WIDE) == 0x00EF
        assert ctx.get(dut.value.PLAIN) == 0x3C
        await write(ctx, dut, 0x0000_00CD_1100_FF00, HIGH)
        assert ctx.get(dut.value.WIDE) == 0xCDEF
        assert ctx.get(dut.value.PLAIN) == 0x3C
        assert ctx.get(dut.read) == 0x0000_00CD_EF00_3C05
    run(testbench)


def test_a_write_only_field_is_stored_and_reads_zero(run):
    async def testbench(ctx, dut):
        await write(ctx, dut, 0x000B_0000_0000_0000)
        assert ctx.get(dut.value.SECRET) == 0xB
        assert ctx.get(dut.read) == 0x5
    run(testbench)


def test_fields_that_hardware_owns_show_its_state_and_ignore_writes(run):
    async def testbench(ctx, dut):
        ctx.set(dut.state.VERSION, 9)
        ctx.set(dut.state.STICKY, 0b10)
        ctx.set(dut.state.GO, 1)
        await write(ctx, dut, 0)
        assert ctx.get(dut.read) == 0x8000_0000_0002_0009
        await write(ctx, dut, ONES)
        assert ctx.get(dut.read) == 0x8000_00FF_FF02_FF09
    run(testbench)


def test_only_ones_command_and_only_in_the_half_that_is_written(run):
    async def testbench(ctx, dut):
        assert await write(ctx, dut, ONES, BOTH) == 0x8100_0000_0003_0000
        assert await write(ctx, dut, ONES, LOW) == 0x0003_0000
        assert await write(ctx, dut, ONES, HIGH) == 0x8100_0000_0000_0000
        assert await write(ctx, dut, 0x0001_0000, BOTH) == 0x0001_0000
        assert await write(ctx, dut, ONES, 0) == 0
        assert await write(ctx, dut, 0, BOTH) == 0
    run(testbench)


def test_a_one_shot_reads_zero_and_bits_without_a_field_store_nothing(run):
    async def testbench(ctx, dut):
        await write(ctx, dut, ONES)
        assert ctx.get(dut.read) == 0x0000_00FF_FF00_FF05
        assert ctx.get(dut.value.as_value()) == 0x000F_00FF_FF00_FF00
    run(testbench)
