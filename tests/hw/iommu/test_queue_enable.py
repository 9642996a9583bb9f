# amaranth: UnusedElaboratable=no
"""GCMD.QIE and GSTS.QIES: what the queue needs to be switched on, how it goes off, and what stands still meanwhile."""
import pytest

from hw.spec.invalidation import InvalidationKind, QueueError
from tests.hw.iommu.register_bench import (
    CCMD,
    GCMD,
    GSTS,
    IOTLB,
    IQA,
    IQT,
    IVA,
    QIE,
    RTADDR,
    SRTP,
    START,
    TE,
    run_registers,
)


def test_the_queue_is_switched_by_level_and_reads_off_only_when_it_has_been_drained():
    async def testbench(bench):
        queue = bench.dut.queue
        await bench.write(IQA, 0x0012_3456_7000 | 1 << 11, 8)
        await bench.write(GCMD, QIE)
        assert await bench.read(GSTS) == QIE
        assert [bench.ctx.get(part) for part in (queue.enabled, queue.base, queue.size_log2, queue.wide)] == [
            1, 0x12_3456_7, 0, 1]
        await bench.write(GCMD, QIE)                     # no change
        bench.ctx.set(queue.drained, 0)
        await bench.write(GCMD, 0)
        assert bench.ctx.get(queue.enabled) == 0
        assert await bench.read(GSTS) == QIE
        assert bench.errors() == 0
        await bench.write(GCMD, QIE)                     # a change while the one before is under way
        await bench.write(GCMD, TE)
        await bench.write(GCMD, SRTP)
        assert bench.errors() == 3
        assert await bench.read(GSTS) == QIE
        bench.ctx.set(queue.drained, 1)
        await bench.ctx.tick()
        assert await bench.read(GSTS) == 0
        await bench.write(GCMD, QIE)
        assert await bench.read(GSTS) == QIE
    run_registers(testbench)


@pytest.mark.parametrize(("register", "value"), [
    (IQT, 0x10),                                         # the tail must be 0
    (IQA, 1 << 52), (IQA, 1 << 63),                      # it begins beyond 52 bits
    (IQA, 0xF_FFFF_FFFF_F000 | 1), (IQA, 0xF_FFFF_FFF8_1000 | 7), (IQA, 0xFFFF_FFFF_FFFF_F000 | 7),   # it ends there
])
def test_a_queue_that_cannot_be_is_not_switched_on(register, value):
    async def testbench(bench):
        await bench.write(register, value, 8)
        await bench.write(GCMD, QIE)
        assert (bench.errors(), await bench.read(GSTS)) == (1, 0)
        assert bench.ctx.get(bench.dut.queue.enabled) == 0
        await bench.write(register, 0, 8)
        await bench.write(GCMD, QIE)
        assert (bench.errors(), await bench.read(GSTS)) == (1, QIE)
    run_registers(testbench)


@pytest.mark.parametrize("size_log2", range(8))
@pytest.mark.parametrize("at", [0, 0x1000, 0x4000_3000, "the end of 52 bits"])
def test_a_queue_of_any_size_is_switched_on_at_any_page_if_it_ends_within_52_bits(at, size_log2):
    async def testbench(bench):
        queue = bench.dut.queue
        base = (1 << 52) - (4096 << size_log2) if isinstance(at, str) else at
        await bench.write(IQA, base | size_log2, 8)
        await bench.write(GCMD, QIE)
        assert (bench.errors(), await bench.read(GSTS)) == (0, QIE)
        assert (bench.ctx.get(queue.base), bench.ctx.get(queue.size_log2)) == (base >> 12, size_log2)
    run_registers(testbench)


def test_the_queue_is_not_switched_on_while_an_invalidation_by_registers_is_pending():
    async def testbench(bench):
        for register, command in ((CCMD, START | 1 << 61), (IOTLB, START | 1 << 60)):
            await bench.write(register, command, 8)
            before = bench.errors()
            await bench.write(GCMD, QIE)
            assert (bench.errors(), await bench.read(GSTS)) == (before + 1, 0)
            await bench.take()
            await bench.complete()
        await bench.write(GCMD, QIE)
        assert (bench.errors(), await bench.read(GSTS)) == (2, QIE)
    run_registers(testbench)


@pytest.mark.parametrize(("head", "error", "violations"), [(2, None, 0), (1, None, 1), (1, "IQE", 0), (1, "ITE", 0), (1, "ICE", 1)])
def test_a_queue_with_descriptors_that_could_be_fetched_is_switched_off_but_that_is_an_error(head, error, violations):
    async def testbench(bench):
        await bench.write(GCMD, QIE)
        await bench.write(IQT, 0x20)
        bench.ctx.set(bench.dut.queue.head, head)
        if error == "IQE":
            await bench.queue_error(QueueError.BAD_TYPE)
        if error == "ITE":
            await bench.time_out(1)
        if error == "ICE":
            await bench.completion_error(1)
        await bench.write(GCMD, 0)
        assert (bench.errors(), await bench.read(GSTS)) == (violations, 0)
        assert bench.ctx.get(bench.dut.queue.enabled) == 0
    run_registers(testbench)


def test_while_the_queue_is_on_the_registers_that_invalidate_and_its_address_stand_still():
    async def testbench(bench):
        await bench.write(IQA, 0x5000, 8)
        await bench.write(CCMD, 0x11, 8)
        await bench.write(GCMD, QIE)
        for expected, (register, value) in enumerate((
                (CCMD, START | 1 << 61), (IOTLB, START | 1 << 60), (IVA, 0x1000), (IQA, 0x6000)), 1):
            await bench.write(register, value, 8)
            assert bench.errors() == expected
        await bench.write(IQA + 4, 1)
        assert bench.errors() == 5
        assert [await bench.read(register, 8) for register in (CCMD, IOTLB, IQA)] == [0x11, 0, 0x5000]
        await bench.nothing_offered()
        bench.ctx.set(bench.dut.queue.drained, 0)
        await bench.write(GCMD, 0)
        await bench.write(IQA, 0x6000, 8)                # QIES has not fallen yet
        assert (bench.errors(), await bench.read(IQA, 8)) == (6, 0x5000)
        bench.ctx.set(bench.dut.queue.drained, 1)
        await bench.ctx.tick()
        await bench.write(IQA, 0x6000, 8)
        await bench.write(IOTLB, START | 1 << 60, 8)
        await bench.take()
        assert (bench.errors(), await bench.read(IQA, 8)) == (6, 0x6000)
    run_registers(testbench)


def test_the_root_is_switched_while_the_queue_is_on():
    async def testbench(bench):
        await bench.write(GCMD, QIE)
        await bench.write(RTADDR, 0x3000, 8)
        await bench.write(GCMD, QIE | SRTP)
        for kind in (InvalidationKind.CONTEXT_CACHE, InvalidationKind.IOTLB):
            assert await bench.read(GSTS) == QIE
            assert (await bench.take()).kind == kind
            await bench.complete()
        assert await bench.read(GSTS) == QIE | SRTP
        assert bench.errors() == 0
    run_registers(testbench, esrtps=1)


@pytest.mark.parametrize("changes", [TE | QIE, SRTP | QIE, TE | SRTP | QIE])
def test_the_queue_together_with_another_change_is_an_error(changes):
    async def testbench(bench):
        await bench.write(GCMD, changes)
        assert (bench.errors(), await bench.read(GSTS)) == (1, 0)
        assert bench.ctx.get(bench.dut.control.translation_enabled) == 0
        assert bench.ctx.get(bench.dut.queue.enabled) == 0
    run_registers(testbench)
