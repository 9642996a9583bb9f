# amaranth: UnusedElaboratable=no
"""The queue's registers as software sees them: IQH, IQT, IQA, ICS, IQERCD, the queue's bits of FSTS, and their events."""
import pytest

from hw.spec.invalidation import QueueError, TranslationTableMode
from tests.hw.iommu.register_bench import (
    CAP,
    FEADDR,
    FECTL,
    FEDATA,
    FRCD,
    FSTS,
    GCMD,
    ICS,
    IEADDR,
    IECTL,
    IEDATA,
    IEUADDR,
    IQA,
    IQERCD,
    IQH,
    IQT,
    QIE,
    RTADDR,
    SRTP,
    run_registers,
)

IQE, ICE, ITE = 1 << 4, 1 << 5, 1 << 6
PENDING, MASKED = 1 << 30, 1 << 31


def test_the_head_reads_as_the_queue_has_it_and_cannot_be_written():
    async def testbench(bench):
        bench.ctx.set(bench.dut.queue.head, 0x7FFF)
        assert await bench.read(IQH, 8) == 0x7FFF0
        bench.ctx.set(bench.dut.queue.head, 3)
        await bench.write(IQH, 0, 8)
        assert await bench.read(IQH) == 0x30
    run_registers(testbench)


@pytest.mark.parametrize("width", [4, 8])
def test_the_tail_rings_by_a_write_of_either_width(width):
    async def testbench(bench):
        await bench.write(GCMD, QIE)
        await bench.write(IQT, 0xFFF8_0045 if width == 4 else 0xFFFF_FFFF_FFF8_0045, width)
        assert bench.ctx.get(bench.dut.queue.tail) == 4
        assert await bench.read(IQT, 8) == 0x40
        await bench.write(IQT + 4, 0xFFFF_FFFF)           # nothing of the tail stands there
        assert bench.ctx.get(bench.dut.queue.tail) == 4
        await bench.write(IQT, 0x7_FFF0, width)
        assert bench.ctx.get(bench.dut.queue.tail) == 0x7FFF
        assert bench.errors() == 0
    run_registers(testbench)


def test_the_queue_is_told_where_it_stands_and_in_which_mode():
    async def testbench(bench):
        queue = bench.dut.queue
        await bench.write(IQA, 0x000F_EDCB_A980_0FFF, 8)  # DW, QS 7, and bits that are none
        assert await bench.read(IQA, 8) == 0x000F_EDCB_A980_0807
        assert [bench.ctx.get(part) for part in (queue.base, queue.size_log2, queue.wide)] == [0xFE_DCBA_9800, 7, 1]
        await bench.write(IQA + 4, 0)
        await bench.write(IQA, 0x3000)
        assert [bench.ctx.get(part) for part in (queue.base, queue.size_log2, queue.wide)] == [3, 0, 0]
        assert bench.ctx.get(queue.table_mode) == TranslationTableMode.LEGACY
        await bench.write(RTADDR, 0xC00, 8)
        assert bench.ctx.get(queue.table_mode) == TranslationTableMode.LEGACY
        await bench.write(GCMD, SRTP)
        assert bench.ctx.get(queue.table_mode) == TranslationTableMode.ABORT_DMA
    run_registers(testbench)


@pytest.mark.parametrize("cause", [cause for cause in QueueError if cause is not QueueError.NONE])
def test_a_queue_error_reads_with_its_cause_and_holds_the_queue_until_it_is_cleared(cause):
    async def testbench(bench):
        assert await bench.read(IQERCD, 8) == 0
        await bench.queue_error(cause)
        bench.ctx.set(bench.dut.queue.queue_error_cause, 0)
        assert bench.ctx.get(bench.dut.queue.held) == 1
        assert await bench.read(FSTS) == IQE
        assert await bench.read(IQERCD, 8) == cause.value
        await bench.write(FSTS, 0xFFFF_FFFF & ~IQE)
        assert await bench.read(FSTS) == IQE
        await bench.write(FSTS, IQE)
        assert bench.ctx.get(bench.dut.queue.held) == 0
        assert (await bench.read(FSTS), await bench.read(IQERCD, 8)) == (0, 0)
    run_registers(testbench)


def test_a_time_out_and_a_completion_error_read_with_their_sources_and_are_cleared_one_by_one():
    async def testbench(bench):
        await bench.completion_error(0xBEEF)
        assert (await bench.read(FSTS), await bench.read(IQERCD, 8)) == (ICE, 0xBEEF << 48)
        assert bench.ctx.get(bench.dut.queue.held) == 0       # it counts as done: nothing waits for software
        await bench.time_out(0x1234)
        assert bench.ctx.get(bench.dut.queue.held) == 1
        assert (await bench.read(FSTS), await bench.read(IQERCD, 8)) == (ICE | ITE, 0xBEEF << 48 | 0x1234 << 32)
        await bench.queue_error(QueueError.FETCH)
        assert await bench.read(FSTS) == ICE | ITE | IQE
        await bench.write(FSTS, ITE)
        assert bench.ctx.get(bench.dut.queue.held) == 1
        assert (await bench.read(FSTS), await bench.read(IQERCD, 8)) == (ICE | IQE, 0xBEEF << 48 | 2)
        await bench.write(FSTS, IQE | ICE)
        assert (await bench.read(FSTS), await bench.read(IQERCD, 8)) == (0, 0)
    run_registers(testbench)


def test_the_source_that_set_the_bit_stays_until_it_is_cleared():
    async def testbench(bench):
        await bench.completion_error(1)
        await bench.completion_error(2)
        assert await bench.read(IQERCD, 8) == 1 << 48
        await bench.write(FSTS, ICE)
        await bench.completion_error(3)
        assert await bench.read(IQERCD, 8) == 3 << 48
    run_registers(testbench)


@pytest.mark.parametrize(("bit", "happens", "record"), [
    (IQE, lambda bench, value: bench.queue_error(value), 0), (ITE, lambda bench, value: bench.time_out(value), 32),
    (ICE, lambda bench, value: bench.completion_error(value), 48)])
def test_what_happens_in_the_cycle_in_which_software_clears_its_bit_is_kept_and_told(bit, happens, record):
    async def testbench(bench):
        await bench.write(FECTL, 0)
        await happens(bench, 3)
        await bench.message()
        await bench.during_write(FSTS, bit, lambda: happens(bench, 5))
        await bench.message()
        assert (await bench.read(FSTS), await bench.read(IQERCD, 8)) == (bit, 5 << record)
        await bench.during_write(FSTS, (IQE | ICE | ITE) ^ bit, lambda: happens(bench, 6))
        await bench.no_message()
        assert await bench.read(IQERCD, 8) == 5 << record     # its own bit was not written: nothing new
    run_registers(testbench)


@pytest.mark.parametrize("first", ["fault", "queue error", "time out", "completion error"])
def test_a_fault_event_is_sent_only_by_the_first_cause_of_any_kind(first):
    async def testbench(bench):
        causes = {
            "fault": bench.fault, "queue error": lambda: bench.queue_error(QueueError.BAD_TYPE),
            "time out": lambda: bench.time_out(1), "completion error": lambda: bench.completion_error(1)}
        await bench.write(FEDATA, 0x77)
        await bench.write(FEADDR, 0x4440)
        await bench.write(FECTL, 0)
        await causes.pop(first)()
        assert await bench.message() == (0x4440, 0x77)
        for cause in causes.values():
            await cause()
        await bench.no_message()
        await bench.write(FSTS, IQE | ITE | ICE)              # the fault record is left
        await bench.completion_error(1)
        await bench.no_message()
        await bench.write(FRCD + 12, 1 << 31)                 # ICE is left
        await bench.fault()
        await bench.no_message()
        await bench.write(FSTS, ICE)
        await bench.write(FRCD + 0x1C, 1 << 31)               # nothing is
        await bench.completion_error(1)
        assert await bench.message() == (0x4440, 0x77)
    run_registers(testbench)


def test_two_causes_in_one_cycle_are_one_event():
    async def testbench(bench):
        await bench.write(FECTL, 0)
        bench.ctx.set(bench.dut.queue.timed_out, 1)
        await bench.queue_error(QueueError.FETCH)
        bench.ctx.set(bench.dut.queue.timed_out, 0)
        await bench.message()
        await bench.no_message()
        assert await bench.read(FSTS) == IQE | ITE
    run_registers(testbench)


def test_a_pending_fault_event_is_withdrawn_with_the_last_cause_whatever_it_is():
    async def testbench(bench):
        await bench.queue_error(QueueError.BAD_TAIL)
        await bench.completion_error(1)
        await bench.write(FSTS, IQE)
        assert await bench.read(FECTL) == PENDING | MASKED
        await bench.write(FSTS, ICE)
        assert await bench.read(FECTL) == MASKED
        await bench.write(FECTL, 0)
        await bench.no_message()
    run_registers(testbench)


def test_a_wait_that_has_completed_sets_iwc_and_sends_the_invalidation_event():
    async def testbench(bench):
        port = bench.dut.invalidation_messages
        await bench.write(IEDATA, 0x1234_5678)
        await bench.write(IEADDR, 0x8000)
        await bench.write(IEUADDR, 0x1)
        await bench.write(IECTL, 0)
        await bench.pulse(bench.dut.queue.wait_completed)
        assert await bench.message(port) == (0x1_0000_8000, 0x1234_5678)
        assert (await bench.read(ICS), await bench.read(IECTL)) == (1, 0)
        await bench.pulse(bench.dut.queue.wait_completed)     # IWC was set: nothing new
        await bench.no_message()
        await bench.write(ICS, 0xFFFF_FFFE)
        assert await bench.read(ICS) == 1
        await bench.write(ICS, 1)
        assert await bench.read(ICS) == 0
        await bench.pulse(bench.dut.queue.wait_completed)
        assert await bench.message(port) == (0x1_0000_8000, 0x1234_5678)
        assert (await bench.read(FSTS), await bench.read(FECTL)) == (0, MASKED)
    run_registers(testbench)


def test_a_wait_that_completes_in_the_cycle_in_which_software_clears_iwc_is_told():
    async def testbench(bench):
        await bench.write(IECTL, 0)
        await bench.pulse(bench.dut.queue.wait_completed)
        await bench.message(bench.dut.invalidation_messages)
        await bench.during_write(ICS, 1, lambda: bench.pulse(bench.dut.queue.wait_completed))
        await bench.message(bench.dut.invalidation_messages)
        assert await bench.read(ICS) == 1
    run_registers(testbench)


def test_a_masked_invalidation_event_is_pending_until_iwc_is_cleared():
    async def testbench(bench):
        await bench.pulse(bench.dut.queue.wait_completed)
        assert await bench.read(IECTL) == PENDING | MASKED
        assert await bench.read(FECTL) == MASKED
        await bench.write(ICS, 1)
        assert await bench.read(IECTL) == MASKED
        await bench.write(IECTL, 0)
        await bench.no_message()
    run_registers(testbench)


def test_caching_mode_shows_in_the_capabilities():
    async def testbench(bench):
        assert await bench.read(CAP, 8) >> 7 & 1 == 1
    run_registers(testbench, caching_mode=1)
