# amaranth: UnusedElaboratable=no
"""FSTS, FECTL, FRCD and the fault event message as software sees them, with the fault recorder behind them."""
from hw.spec.dma import Access
from tests.hw.iommu.register_bench import FEADDR, FECTL, FEDATA, FEUADDR, FRCD, FSTS, run_registers


def test_a_fault_record_reads_in_halves_and_in_dwords():
    async def testbench(bench):
        await bench.fault(source_id=0x0100)
        await bench.fault(source_id=0xBEEF, iova=0x0123_4567_89AB_CDEF, access=Access.WRITE)
        assert await bench.read(FRCD + 0x10, 8) == 0x0123_4567_89AB_C000
        assert await bench.read(FRCD + 0x18, 8) == 0x8000_0006_0000_BEEF
        assert [await bench.read(FRCD + 0x10 + 4 * dword) for dword in range(4)] == [
            0x89AB_C000, 0x0123_4567, 0x0000_BEEF, 0x8000_0006]
        assert await bench.read(FSTS) == 0b10       # PPF, FRI 0
    run_registers(testbench)


def test_there_is_no_record_256_rows_behind_the_first_nor_right_before_it():
    async def testbench(bench):
        await bench.fault(source_id=0xBEEF)
        assert await bench.read(FRCD + 8) == 0xBEEF
        assert await bench.read(FRCD + 16 * 256 + 8) == 0
        assert await bench.read(FRCD - 16 + 8) == 0
        await bench.write(FRCD + 16 * 256 + 12, 0x8000_0000)
        assert await bench.read(FRCD + 12) >> 31 == 1
    run_registers(testbench)


def test_f_is_cleared_by_a_one_in_the_highest_dword_of_its_own_record():
    async def testbench(bench):
        for source_id in range(4):
            await bench.fault(source_id=source_id)
        ones = 0xFFFF_FFFF
        for offset in (0x00, 0x04, 0x08):
            await bench.write(FRCD + 0x10 + offset, ones)
        await bench.write(FRCD + 0x10, ones << 32 | ones, 8)
        await bench.write(FRCD + 0x1C, ones >> 1)

        async def valid():
            return [await bench.read(FRCD + 16 * index + 12) >> 31 for index in range(4)]
        assert await valid() == [1, 1, 1, 1]
        await bench.write(FRCD + 0x1C, 0x8000_0000)
        assert await valid() == [1, 0, 1, 1]
        await bench.write(FRCD + 0x28, 0x8000_0000_0000_0000, 8)
        assert await valid() == [1, 0, 0, 1]
        assert await bench.read(FSTS) == 0b10
        for index in (0, 3):
            await bench.write(FRCD + 16 * index + 12, 0x8000_0000)
        assert await bench.read(FSTS) == 0
    run_registers(testbench)


def test_overflow_reads_in_fsts_until_a_one_is_written():
    async def testbench(bench):
        for source_id in range(9):
            await bench.fault(source_id=source_id)
        assert await bench.read(FSTS) == 0b11
        await bench.write(FSTS, 0xFFFF_FFFE)
        assert await bench.read(FSTS) == 0b11
        await bench.write(FRCD + 12, 0x8000_0000)
        await bench.write(FSTS, 0b1)
        assert await bench.read(FSTS) == 0b10
        for index in range(1, 8):
            await bench.write(FRCD + 16 * index + 12, 0x8000_0000)
        await bench.write(FSTS, 0b1)
        await bench.fault()
        await bench.fault()
        assert await bench.read(FSTS) == 0b10
        assert await bench.read(FRCD + 0x1C) >> 31 == 1
        await bench.write(FRCD + 0x0C, 0x8000_0000)
        await bench.write(FRCD + 0x1C, 0x8000_0000)
        for _ in range(2):
            await bench.fault()
        assert await bench.read(FSTS) == 0x202
    run_registers(testbench)


async def unmask(bench):
    """Fault events go to 0xFEE0_1004 with data 0x31, unmasked."""
    await bench.write(FEDATA, 0x31)
    await bench.write(FEADDR, 0xFEE0_1004)
    await bench.write(FEUADDR, 0x2)
    await bench.write(FECTL, 0)


def test_a_masked_event_is_pending_and_is_sent_when_the_mask_is_lifted():
    async def testbench(bench):
        await bench.fault()
        assert await bench.read(FECTL) == 0xC000_0000
        await bench.no_message()
        await unmask(bench)
        assert await bench.message() == (0x2_FEE0_1004, 0x31)
        assert await bench.read(FECTL) == 0
        await bench.no_message()
    run_registers(testbench)


def test_an_unmasked_event_is_sent_once_until_every_cause_is_cleared():
    async def testbench(bench):
        await unmask(bench)
        await bench.fault()
        assert await bench.message() == (0x2_FEE0_1004, 0x31)
        assert await bench.read(FECTL) == 0
        await bench.fault()
        await bench.no_message()
        for index in range(2):
            await bench.write(FRCD + 16 * index + 12, 0x8000_0000)
        await bench.no_message()
        await bench.fault()
        assert await bench.message() == (0x2_FEE0_1004, 0x31)
    run_registers(testbench)


def test_a_pending_event_is_withdrawn_when_every_cause_has_been_cleared():
    async def testbench(bench):
        for source_id in range(9):
            await bench.fault(source_id=source_id)
        for index in range(8):
            await bench.write(FRCD + 16 * index + 12, 0x8000_0000)
            assert await bench.read(FECTL) == 0xC000_0000   # in the end PFO is the only cause left
        await bench.write(FSTS, 1)
        assert await bench.read(FECTL) == 0x8000_0000
        await unmask(bench)
        await bench.no_message()
    run_registers(testbench)


def test_a_message_that_waits_does_not_change_and_the_next_event_waits_behind_it():
    async def testbench(bench):
        ctx, port = bench.ctx, bench.dut.fault_messages
        await unmask(bench)
        await bench.fault()
        await ctx.tick().until(port.valid)
        await bench.write(FEDATA, 0x99)
        assert ctx.get(port.payload.data) == 0x31
        await bench.write(FRCD + 12, 0x8000_0000)
        await bench.fault()
        assert await bench.read(FECTL) == 0x4000_0000
        assert await bench.message() == (0x2_FEE0_1004, 0x31)
        assert await bench.message() == (0x2_FEE0_1004, 0x99)
        await bench.no_message()
    run_registers(testbench)


def test_a_fault_in_the_cycle_in_which_software_clears_the_last_cause_is_told():
    async def testbench(bench):
        await unmask(bench)
        await bench.fault(source_id=1)
        await bench.message()
        await bench.during_write(FRCD + 12, 0x8000_0000, lambda: bench.fault(source_id=2))
        await bench.message()
        assert await bench.read(FSTS) == 0x102
        assert await bench.read(FRCD + 0x18, 8) & 0xFFFF == 2
    run_registers(testbench)
