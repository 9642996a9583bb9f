# amaranth: UnusedElaboratable=no
"""CCMD, IVA and IOTLB as software sees them, up to the invalidation that they ask for."""
import pytest

from hw.spec.invalidation import Granularity, InvalidationKind
from tests.hw.iommu.register_bench import CCMD, FRCD, IOTLB, IVA, START, run_registers


@pytest.mark.parametrize("granularity", [1, 2, 3])
def test_a_context_command_names_what_it_invalidates_and_clears_itself(granularity):
    command = granularity << 61 | 2 << 32 | 0x0308 << 16 | 0x0042

    async def testbench(bench):
        await bench.write(CCMD, START | command, 8)
        invalidation = await bench.take()
        assert (invalidation.kind, invalidation.granularity.value) == (InvalidationKind.CONTEXT_CACHE, granularity)
        assert (invalidation.domain_id, invalidation.source_id, invalidation.function_mask) == (0x42, 0x0308, 2)
        assert invalidation.drain == 0
        assert await bench.read(CCMD, 8) == START | command
        await bench.nothing_offered()
        assert await bench.read(CCMD, 8) == START | command
        await bench.complete()
        assert await bench.read(CCMD, 8) == command | granularity << 59
        assert bench.errors() == 0
    run_registers(testbench)


@pytest.mark.parametrize("drain", [0b00, 0b01, 0b10, 0b11])
@pytest.mark.parametrize("granularity", [1, 2])
def test_an_iotlb_command_drains_if_either_drain_bit_is_set(granularity, drain):
    command = granularity << 60 | drain << 48 | 0x0777 << 32

    async def testbench(bench):
        await bench.write(IOTLB, START | command, 8)
        invalidation = await bench.take()
        assert (invalidation.kind, invalidation.granularity.value) == (InvalidationKind.IOTLB, granularity)
        assert invalidation.domain_id == 0x777
        assert invalidation.drain == int(drain > 0)
        assert await bench.read(IOTLB, 8) == START | command
        await bench.complete()
        assert await bench.read(IOTLB, 8) == command | granularity << 57
    run_registers(testbench)


def test_a_page_selective_command_takes_its_pages_from_iva():
    async def testbench(bench):
        await bench.write(IVA, 0x0000_7F12_3456_7000 | 1 << 6 | 5, 8)
        assert await bench.read(IVA, 8) == 0
        await bench.write(IOTLB, START | 3 << 60 | 0x99 << 32, 8)
        invalidation = await bench.take()
        assert (invalidation.granularity, invalidation.domain_id) == (Granularity.SELECTIVE, 0x99)
        assert (invalidation.page, invalidation.address_mask) == (0x7_F123_4560, 5)   # 2**5 pages, aligned
        assert invalidation.hint == 1
        await bench.complete()
        assert await bench.read(IOTLB, 8) >> 57 == 0b0_011_0_11
    run_registers(testbench)


def test_a_page_selective_command_beyond_mamv_is_performed_on_the_domain_and_says_so():
    async def testbench(bench):
        for mask, performed in ((9, Granularity.SELECTIVE), (10, Granularity.DOMAIN_SELECTIVE)):
            await bench.write(IVA, 0x4000_0000 | 1 << 6 | mask, 8)
            await bench.write(IOTLB, START | 3 << 60 | 0x99 << 32, 8)
            invalidation = await bench.take()
            assert (invalidation.granularity, invalidation.domain_id) == (performed, 0x99)
            assert invalidation.hint == int(performed == Granularity.SELECTIVE)
            await bench.complete()
            assert await bench.read(IOTLB, 8) == 3 << 60 | performed.value << 57 | 0x99 << 32
        assert bench.errors() == 0
    run_registers(testbench, max_address_mask=9)


@pytest.mark.parametrize(("register", "granularity_low", "performed_low"), [(CCMD, 61, 59), (IOTLB, 60, 57)])
def test_a_command_without_granularity_is_refused_and_invalidates_nothing(register, granularity_low, performed_low):
    async def testbench(bench):
        await bench.write(register, START | 1 << granularity_low, 8)
        await bench.take()
        await bench.complete()
        assert await bench.read(register, 8) == 1 << granularity_low | 1 << performed_low
        await bench.write(register, START, 8)
        await bench.nothing_offered()
        assert await bench.read(register, 8) == 0
        await bench.write(register, START | 1 << granularity_low, 8)
        await bench.take()
    run_registers(testbench)


@pytest.mark.parametrize(("register", "low", "high", "domain_id"), [
    (CCMD, 0x0308_0042, 0xE000_0001, 0x0042), (IOTLB, 0xFFFF_FFFF, 0xA000_0777, 0x0777)])
def test_a_command_starts_with_the_write_of_its_high_half(register, low, high, domain_id):
    async def testbench(bench):
        await bench.write(register, low)
        await bench.write(register, 0xFFFF_FFFF)
        await bench.write(register, low)
        await bench.nothing_offered()
        await bench.write(register + 4, high)
        assert (await bench.take()).domain_id == domain_id
        assert await bench.read(register + 4) == high
        await bench.complete()
        assert await bench.read(register + 4) & 0x8000_0000 == 0
        await bench.write(register + 4, high & 0x7FFF_FFFF)     # no trigger: only stored
        await bench.nothing_offered()
    run_registers(testbench)


@pytest.mark.parametrize("pending", [CCMD, IOTLB])
def test_while_one_invalidation_is_pending_the_others_stand_still(pending):
    async def testbench(bench):
        await bench.write(IVA, 0x1000, 8)
        await bench.write(pending, START | 3 << 60 if pending == IOTLB else START | 3 << 61 | 0x10, 8)
        before = await bench.read(CCMD, 8), await bench.read(IOTLB, 8)
        for count, (register, value) in enumerate(
                ((CCMD, START | 1 << 61), (IOTLB, START | 1 << 60), (CCMD, 0xFFFF), (IVA, 0x2000)), 1):
            await bench.write(register, value, 8)
            assert bench.errors() == count
        assert (await bench.read(CCMD, 8), await bench.read(IOTLB, 8)) == before
        invalidation = await bench.take()
        assert invalidation.granularity == Granularity.SELECTIVE
        await bench.write(CCMD, START | 1 << 61, 8)
        assert bench.errors() == 5
        await bench.complete()
        await bench.nothing_offered()
        await bench.write(IOTLB, START | 3 << 60, 8)
        assert (await bench.take()).page == 1
        assert bench.errors() == 5
    run_registers(testbench)


def test_an_offered_invalidation_stands_until_it_is_taken():
    async def testbench(bench):
        ctx, port = bench.ctx, bench.dut.invalidations
        await bench.write(CCMD, START | 2 << 61 | 0x42, 8)
        await ctx.tick().until(port.valid)
        for _ in range(10):
            assert ctx.get(port.valid) == 1
            assert ctx.get(port.payload.invalidation.domain_id) == 0x42
            await ctx.tick()
    run_registers(testbench)


def test_the_straps_move_the_invalidation_registers_and_the_fault_records():
    async def testbench(bench):
        await bench.write(0x500, 0x9000, 8)
        await bench.write(IOTLB, START | 1 << 60, 8)             # nothing is there now
        await bench.nothing_offered()
        await bench.write(0x508, START | 3 << 60, 8)
        assert (await bench.take()).page == 9
        await bench.complete()
        assert await bench.read(0x508, 8) == 3 << 60 | 3 << 57
        for number in range(3):
            await bench.fault(source_id=number, iova=number << 12)
        assert await bench.read(FRCD, 8) == 0
        assert await bench.read(0x3FF0 + 0x10, 8) == 0x1000
        assert await bench.read(0x3FF0 + 0x28, 8) & 0xFFFF == 2
        assert await bench.read(0x3FF0 + 0x30, 8) == 0           # a third record, but only three are strapped
    run_registers(testbench, invalidation_offset=0x50, fault_record_offset=0x3FF, fault_records=2)


def test_the_fence_is_offered_when_the_invalidation_has_been_taken_and_stands_until_it_is_taken():
    async def testbench(bench):
        ctx, port = bench.ctx, bench.dut.invalidations
        await bench.write(CCMD, START | 2 << 61 | 0x42, 8)
        await ctx.tick().until(port.valid)
        assert ctx.get(port.payload.fence) == 0
        ctx.set(port.ready, 1)
        await ctx.tick()
        ctx.set(port.ready, 0)
        for _ in range(10):
            assert ctx.get(port.valid) == 1
            assert ctx.get(port.payload.fence) == 1
            await ctx.tick()
        ctx.set(port.ready, 1)
        await ctx.tick()
        assert ctx.get(port.valid) == 0
    run_registers(testbench)
