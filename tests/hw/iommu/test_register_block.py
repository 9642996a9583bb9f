# amaranth: UnusedElaboratable=no
"""The register file as software sees it: accesses of every kind, capabilities, and what the event log says of them."""
import pytest

from hw.spec.events import EventKind
from hw.spec.invalidation import Granularity
from tests.hw.iommu.register_bench import (
    CAP,
    CCMD,
    ECAP,
    FEADDR,
    FECTL,
    FEDATA,
    FEUADDR,
    FRCD,
    FSTS,
    GCMD,
    GSTS,
    ICS,
    IEADDR,
    IECTL,
    IEDATA,
    IEUADDR,
    IOTLB,
    IQA,
    IQERCD,
    IQH,
    IQT,
    IVA,
    RTADDR,
    START,
    VER,
    access_of,
    run_registers,
)


def test_after_reset_translation_is_off_and_fault_events_are_masked():
    async def testbench(bench):
        expected = {VER: 0x50, GCMD: 0, GSTS: 0, FSTS: 0, FECTL: 0x8000_0000, FEDATA: 0, FEADDR: 0, FEUADDR: 0,
                    ICS: 0, IECTL: 0x8000_0000, IEDATA: 0, IEADDR: 0, IEUADDR: 0}
        for offset, value in expected.items():
            assert await bench.read(offset) == value
        for offset in (RTADDR, CCMD, 0x58, IQH, IQT, IQA, IQERCD, IVA, IOTLB, FRCD, FRCD + 8):
            assert await bench.read(offset, 8) == 0
        assert bench.ctx.get(bench.dut.control.as_value()) == 0
    run_registers(testbench)


def test_capabilities_follow_the_straps():
    async def default(bench):
        # ND 6, SAGAW 01110, MGAW 56, ZLR, FRO 0x22, SSLPS 11, PSI, NFR 7, MAMV 18, DWD, DRD
        assert await bench.read(CAP, 8) == 0x00D2_078C_2278_0E06
        assert await bench.read(CAP) == 0x2278_0E06
        assert await bench.read(CAP + 4) == 0x00D2_078C
        assert await bench.read(ECAP, 8) == 0x10_0000_0000_0F43    # C, QI, PT, IRO 0xF, ADMS

    async def other(bench):
        # ND 2, CM, SAGAW 00100, MGAW 47, FRO 0x40, SSLPS 01, PSI, NFR 0, MAMV 9, DWD, DRD, ESRTPS
        assert await bench.read(CAP, 8) == 0x80C9_0084_402F_0482
        assert await bench.read(ECAP, 8) == 0x10_0000_0000_5083   # C, QI, SC, IRO 0x50, ADMS
    run_registers(default)
    run_registers(
        other, domain_id_width_code=2, caching_mode=1, sagaw=0b00100, mgaw=47, zero_length_read=0, superpages=1,
        fault_record_offset=0x40, fault_records=0, max_address_mask=9, esrtps=1, pass_through=0, snoop_control=1,
        invalidation_offset=0x50)


def test_no_more_fault_records_are_shown_than_were_built():
    async def testbench(bench):
        assert await bench.read(CAP, 8) >> 40 & 0xFF == 7
    run_registers(testbench, fault_records=63)


def test_every_64_bit_register_can_be_written_and_read_in_halves():
    async def testbench(bench):
        await bench.write(RTADDR, 0x89AB_CFFF)
        assert await bench.read(RTADDR, 8) == 0x89AB_CC00
        await bench.write(RTADDR + 4, 0x0123_4567)
        assert await bench.read(RTADDR, 8) == 0x0123_4567_89AB_CC00
        assert await bench.read(RTADDR + 4) == 0x0123_4567
        assert await bench.read(RTADDR) == 0x89AB_CC00
    run_registers(testbench)


def test_registers_that_hardware_owns_ignore_writes():
    async def testbench(bench):
        for offset in (VER, CAP, CAP + 4, ECAP, ECAP + 4, GSTS, IQH, IQH + 4, IQERCD, IQERCD + 4, 0x58, 0x5C, FRCD, FRCD + 8):
            before = await bench.read(offset)
            await bench.write(offset, 0xFFFF_FFFF)
            assert await bench.read(offset) == before
        assert bench.errors() == 0
    run_registers(testbench)


def test_write_only_registers_read_zero_and_are_obeyed_all_the_same():
    async def testbench(bench):
        await bench.write(IVA, 0x1234_5043, 8)     # page 0x12345, IH, AM 3: eight pages from 0x12340 on
        assert await bench.read(IVA, 8) == 0
        await bench.write(IOTLB, START | 3 << 60 | 7 << 32, 8)
        asked = await bench.take()
        assert (asked.page, asked.address_mask, asked.hint, asked.domain_id) == (0x12340, 3, 1, 7)
    run_registers(testbench)


@pytest.mark.parametrize(("offset", "low", "high"), [
    (CCMD, 0x0001_0203, START >> 32 | 1 << 29), (IOTLB, 0, START >> 32 | 1 << 28 | 9)])
def test_a_command_belongs_to_the_write_that_carries_its_high_half(offset, low, high):
    async def testbench(bench):
        await bench.write(offset, 0xFFFF_FFFF)
        await bench.write(offset, low)
        await bench.nothing_offered()
        assert await bench.read(offset + 4) >> 31 == 0
        await bench.write(offset + 4, high)
        asked = await bench.take()
        assert asked.granularity == Granularity.GLOBAL
        assert await bench.read(offset + 4) >> 31 == 1       # until it has completed
        await bench.complete()
        assert await bench.read(offset + 4) >> 31 == 0
        assert bench.errors() == 0
    run_registers(testbench)


def test_the_movable_registers_stand_where_the_straps_say_and_nowhere_else():
    async def testbench(bench):
        await bench.fault(source_id=0x0123)
        assert await bench.read(0x408, 8) == 0xC000_0006_0000_0123
        assert await bench.read(FRCD + 8, 8) == 0
        await bench.write(IOTLB, START | 1 << 60, 8)         # where IRO used to be
        await bench.nothing_offered()
        await bench.write(0x508, START | 1 << 60, 8)
        await bench.take()
        await bench.write(0x40C, 1 << 31)
        assert await bench.read(FSTS) == 0
    run_registers(testbench, fault_record_offset=0x40, invalidation_offset=0x50)


def test_neighbouring_32_bit_registers_are_written_apart():
    async def testbench(bench):
        for offset, value in ((FEDATA, 0x1111_2222), (FEADDR, 0x3333_4447), (FEUADDR, 0x5555_6666), (FECTL, 0),
                              (IEDATA, 0x7777_8888), (IEADDR, 0x9999_AAAF), (IEUADDR, 0xBBBB_CCCC)):
            await bench.write(offset, value)
        expected = {FECTL: 0, FEDATA: 0x1111_2222, FEADDR: 0x3333_4444, FEUADDR: 0x5555_6666,
                    IECTL: 0x8000_0000, IEDATA: 0x7777_8888, IEADDR: 0x9999_AAAC, IEUADDR: 0xBBBB_CCCC}
        assert {offset: await bench.read(offset) for offset in expected} == expected
    run_registers(testbench)


def test_where_there_is_no_register_it_reads_zero_and_writes_vanish():
    async def testbench(bench):
        for offset, width in (
                (0x04, 4), (0x30, 4), (0x48, 8), (0x60, 8), (0x100, 8), (0x210, 8), (0x2A0, 8), (0x4FF8, 8)):
            await bench.write(offset, (1 << 8 * width) - 1, width)
            assert await bench.read(offset, width) == 0
        assert await bench.read(FECTL) == 0x8000_0000
        assert bench.errors() == 0
    run_registers(testbench)


@pytest.mark.parametrize(("offset", "width"), [
    (0x21, 4), (0x22, 4), (0x24, 8), (0x21, 8), (0x2C, 8),   # misaligned
    (0x5000, 4), (0x5000, 8), (0xF_FFF8, 8),                 # beyond the window
    (0x00, 8), (0x18, 8), (0x30, 8), (0x38, 8), (0x40, 8), (0x98, 8), (0xA8, 8),   # 8 bytes where a 32-bit register stands
])
def test_an_access_that_is_not_permitted_is_an_error_and_does_nothing(offset, width):
    async def testbench(bench):
        assert await bench.access(offset, width, write=(1 << 8 * width) - 1) == (0, 1)
        assert await bench.access(offset, width) == (0, 1)
        for register, value in ((RTADDR, 0), (RTADDR + 4, 0), (CCMD, 0), (CCMD + 4, 0), (GSTS, 0), (FECTL, 0x8000_0000),
                                (FEDATA, 0), (FEADDR, 0), (FEUADDR, 0)):
            assert await bench.read(register) == value
        await bench.nothing_offered()
    run_registers(testbench)


def test_a_reply_waits_until_it_is_taken_and_the_next_access_waits_for_it():
    async def testbench(bench):
        ctx, dut = bench.ctx, bench.dut
        await bench.write(FEDATA, 0x1234)
        ctx.set(dut.accesses.payload, access_of(FEDATA))
        ctx.set(dut.accesses.valid, 1)
        await ctx.tick()
        ctx.set(dut.accesses.payload, access_of(VER))
        for _ in range(5):
            assert ctx.get(dut.replies.valid) == 1
            assert ctx.get(dut.replies.payload.data) == 0x1234
            assert ctx.get(dut.accesses.ready) == 0
            await ctx.tick()
        ctx.set(dut.replies.ready, 1)
        data = []
        async for _, _, valid, payload in ctx.tick().sample(dut.replies.valid, dut.replies.payload):
            if valid:
                data.append(payload.data)
            if len(data) == 3:
                break
        assert data == [0x1234, 0x50, 0x50]
    run_registers(testbench)


def test_every_access_is_an_event_with_what_was_written_or_read():
    async def testbench(bench):
        await bench.write(RTADDR, 0x1_0000_2FFF, 8)
        await bench.write(RTADDR + 4, 0x3)
        await bench.read(RTADDR, 8)
        await bench.read(VER)
        await bench.access(0x21, 4)
        await bench.access(0x38, 8, write=0x55)
        await bench.write(GCMD, 1 << 25)                     # IRE: refused
        await bench.write(CCMD, START, 8)
        await bench.write(CCMD, 0x1234)                      # while that one is pending
        tags = {"write": 1, "wide": 2, "error": 4, "violation": 8}
        assert [(event.kind, event.hpa, event.tag, event.detail) for event in bench.accesses.payloads] == [
            (EventKind.REGISTER, offset, sum(tags[name] for name in tag.split()), data) for offset, tag, data in (
                (0x20, "write wide", 0x1_0000_2FFF), (0x24, "write", 0x3), (0x20, "wide", 0x3_0000_2C00), (0x00, "", 0x50),
                (0x21, "error", 0), (0x38, "write wide error", 0x55), (0x18, "write violation", 0x0200_0000),
                (0x28, "write wide", START), (0x28, "write violation", 0x1234))]
        assert bench.errors() == 2
    run_registers(testbench)


def test_an_access_is_an_event_in_the_cycle_in_which_it_is_accepted():
    async def testbench(bench):
        ctx, event = bench.ctx, bench.dut.events[1]
        ctx.set(bench.dut.accesses.payload, access_of(FEDATA, write=0xAB))
        assert ctx.get(event.valid) == 0
        ctx.set(bench.dut.accesses.valid, 1)
        assert ctx.get(event.valid) == 1
        await ctx.tick()
        assert ctx.get(event.valid) == 0                     # the next one waits for the reply of this one
        ctx.set(bench.dut.accesses.valid, 0)
    run_registers(testbench)
