# amaranth: UnusedElaboratable=no
"""The register file as software sees it: accesses, capabilities, and the handshake of GCMD and GSTS."""
import pytest

from hw.spec.bench import HostRequest
from hw.spec.codec import decode, encode
from hw.spec.events import EventKind
from hw.spec.invalidation import Granularity, InvalidationKind
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
    IOTLB,
    IVA,
    RTADDR,
    SRTP,
    START,
    TE,
    VER,
    run_registers,
)

UNSUPPORTED = [1 << bit for bit in range(23, 30)]   # CFI, SIRTP, IRE, QIE, WBF, EAFL, SFL


def test_after_reset_translation_is_off_and_fault_events_are_masked():
    async def testbench(bench):
        expected = {VER: 0x50, GCMD: 0, GSTS: 0, FSTS: 0, FECTL: 0x8000_0000, FEDATA: 0, FEADDR: 0, FEUADDR: 0}
        for offset, value in expected.items():
            assert await bench.read(offset) == value
        for offset in (RTADDR, CCMD, 0x58, IVA, IOTLB, FRCD, FRCD + 8):
            assert await bench.read(offset, 8) == 0
        assert bench.ctx.get(bench.dut.control.as_value()) == 0
    run_registers(testbench)


def test_capabilities_follow_the_straps():
    async def default(bench):
        # ND 6, SAGAW 01110, MGAW 56, ZLR, FRO 0x22, SSLPS 11, PSI, NFR 7, MAMV 18, DWD, DRD
        assert await bench.read(CAP, 8) == 0x00D2_078C_2278_0E06
        assert await bench.read(CAP) == 0x2278_0E06
        assert await bench.read(CAP + 4) == 0x00D2_078C
        assert await bench.read(ECAP, 8) == 0xF41    # C, PT, IRO 0xF

    async def other(bench):
        # ND 2, CM, SAGAW 00100, MGAW 47, FRO 0x40, SSLPS 01, PSI, NFR 0, MAMV 9, DWD, DRD, ESRTPS
        assert await bench.read(CAP, 8) == 0x80C9_0084_402F_0482
        assert await bench.read(ECAP, 8) == 0x5081   # C, SC, IRO 0x50
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


def test_neighbouring_32_bit_registers_are_written_apart():
    async def testbench(bench):
        for offset, value in ((FEDATA, 0x1111_2222), (FEADDR, 0x3333_4447), (FEUADDR, 0x5555_6666), (FECTL, 0)):
            await bench.write(offset, value)
        expected = {FECTL: 0, FEDATA: 0x1111_2222, FEADDR: 0x3333_4444, FEUADDR: 0x5555_6666}
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
    (0x00, 8), (0x18, 8), (0x30, 8), (0x38, 8), (0x40, 8),   # 8 bytes where a 32-bit register stands
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
        ctx.set(dut.accesses.payload, decode(HostRequest, encode(HostRequest, address=FEDATA)))
        ctx.set(dut.accesses.valid, 1)
        await ctx.tick()
        ctx.set(dut.accesses.payload, decode(HostRequest, encode(HostRequest, address=VER)))
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


def test_the_root_table_takes_effect_with_srtp_and_not_before():
    async def testbench(bench):
        control = bench.dut.control
        await bench.write(RTADDR, 0x7FFA_BCDE_F012_3000, 8)   # beyond 52 bits nothing is latched
        assert bench.ctx.get(control.root_table) == 0
        await bench.write(GCMD, SRTP)
        assert bench.ctx.get(control.root_table) == 0xAB_CDEF_0123
        assert await bench.read(GSTS) == SRTP
        await bench.write(RTADDR, 0x0000_0000_5555_5C00, 8)
        assert bench.ctx.get(control.root_table) == 0xAB_CDEF_0123
        assert bench.ctx.get(control.translation_table_mode) == 0b00
        await bench.write(GCMD, SRTP)
        assert bench.ctx.get(control.root_table) == 0x55555
        assert bench.ctx.get(control.translation_table_mode) == 0b11
        assert await bench.read(GSTS) == SRTP
        assert await bench.read(GCMD) == 0
        await bench.nothing_offered()      # without ESRTPS it is software that invalidates
        assert bench.errors() == 0
    run_registers(testbench)


def test_translation_is_switched_by_level_with_or_without_a_root():
    async def testbench(bench):
        enabled = bench.dut.control.translation_enabled
        await bench.write(GCMD, TE)
        assert bench.ctx.get(enabled) == 1
        assert await bench.read(GSTS) == TE
        await bench.write(GCMD, TE)
        assert await bench.read(GSTS) == TE
        await bench.write(GCMD, 0)
        assert bench.ctx.get(enabled) == 0
        await bench.take()
        await bench.complete()
        assert await bench.read(GSTS) == 0
        assert bench.errors() == 0
    run_registers(testbench)


def test_translation_reads_off_only_when_what_was_translated_has_been_drained():
    async def testbench(bench):
        await bench.write(GCMD, TE)
        await bench.write(GCMD, 0)
        drain = await bench.take()
        assert (drain.kind, drain.granularity, drain.drain) == (InvalidationKind.IOTLB, Granularity.GLOBAL, 1)
        assert await bench.read(GSTS) == TE
        await bench.write(GCMD, TE)  # a change while the one before is under way
        assert bench.errors() == 1
        await bench.complete()
        assert await bench.read(GSTS) == 0
        await bench.nothing_offered()
    run_registers(testbench)


def test_the_root_is_switched_while_translation_is_on():
    async def testbench(bench):
        await bench.write(RTADDR, 0x1000, 8)
        await bench.write(GCMD, SRTP)
        await bench.write(GCMD, TE)
        assert await bench.read(GSTS) == TE | SRTP
        await bench.write(RTADDR, 0x2000, 8)
        await bench.write(GCMD, TE | SRTP)
        assert bench.ctx.get(bench.dut.control.root_table) == 2
        assert bench.ctx.get(bench.dut.control.translation_enabled) == 1
        assert await bench.read(GSTS) == TE | SRTP
        assert bench.errors() == 0
    run_registers(testbench)


@pytest.mark.parametrize("command", UNSUPPORTED)
def test_what_the_unit_does_not_have_is_a_protocol_error_and_does_nothing(command):
    async def testbench(bench):
        await bench.write(GCMD, command)
        assert (bench.errors(), await bench.read(GSTS)) == (1, 0)
        await bench.write(GCMD, TE | command)
        assert (bench.errors(), await bench.read(GSTS)) == (2, 0)
        await bench.write(GCMD, TE)
        await bench.write(GCMD, TE | command)
        assert (bench.errors(), await bench.read(GSTS)) == (3, TE)
    run_registers(testbench)


def test_two_changes_in_one_write_are_a_protocol_error_and_change_nothing():
    async def testbench(bench):
        await bench.write(RTADDR, 0x7000, 8)
        await bench.write(GCMD, TE | SRTP)
        assert (bench.errors(), await bench.read(GSTS)) == (1, 0)
        await bench.write(GCMD, TE)
        await bench.write(GCMD, SRTP)      # TE 1 -> 0 and SRTP
        assert (bench.errors(), await bench.read(GSTS)) == (2, TE)
        assert bench.ctx.get(bench.dut.control.root_table) == 0
    run_registers(testbench)


def test_protocol_errors_stop_at_the_largest_count():
    async def testbench(bench):
        bench.ctx.set(bench.dut.protocol_errors, 0xFFFE)
        for expected in (0xFFFF, 0xFFFF):
            await bench.write(GCMD, UNSUPPORTED[0])
            assert bench.errors() == expected
    run_registers(testbench)


def test_with_esrtps_the_root_is_set_only_after_both_caches_are_invalidated():
    async def testbench(bench):
        await bench.write(RTADDR, 0x3000, 8)
        for _ in range(2):     # the second time RTPS was set before
            await bench.write(GCMD, SRTP)
            assert bench.ctx.get(bench.dut.control.root_table) == 3
            assert await bench.read(GSTS) == 0
            first = await bench.take()
            assert (first.kind, first.granularity) == (InvalidationKind.CONTEXT_CACHE, Granularity.GLOBAL)
            await bench.nothing_offered()
            await bench.complete()
            assert await bench.read(GSTS) == 0
            second = await bench.take()
            assert (second.kind, second.granularity) == (InvalidationKind.IOTLB, Granularity.GLOBAL)
            assert second.drain == 1
            await bench.nothing_offered()
            assert await bench.read(GSTS) == 0
            await bench.complete()
            assert await bench.read(GSTS) == SRTP
            await bench.nothing_offered()
        assert bench.errors() == 0
    run_registers(testbench, esrtps=1)


def test_while_srtp_is_under_way_a_change_is_a_protocol_error():
    async def testbench(bench):
        await bench.write(RTADDR, 0x3000, 8)
        await bench.write(GCMD, SRTP)
        await bench.write(GCMD, TE)
        await bench.write(GCMD, SRTP)
        await bench.write(CCMD, START | 1 << 61, 8)
        await bench.write(IOTLB, START | 1 << 60, 8)
        assert bench.errors() == 4
        await bench.write(GCMD, 0)             # changes nothing: no error
        assert bench.errors() == 4
        assert await bench.read(CCMD, 8) == 0
        for _ in range(2):
            assert await bench.read(GSTS) == 0
            await bench.take()
            await bench.complete()
        assert await bench.read(GSTS) == SRTP
        await bench.nothing_offered()
        await bench.write(GCMD, TE)
        assert await bench.read(GSTS) == TE | SRTP
    run_registers(testbench, esrtps=1)


def test_srtp_waits_for_the_invalidation_that_software_asked_for():
    async def testbench(bench):
        await bench.write(IOTLB, START | 2 << 60 | 5 << 32, 8)
        await bench.write(GCMD, SRTP)
        mine = await bench.take()
        assert (mine.kind, mine.granularity) == (InvalidationKind.IOTLB, Granularity.DOMAIN_SELECTIVE)
        assert mine.domain_id == 5
        await bench.nothing_offered()
        await bench.complete()
        assert await bench.read(IOTLB, 8) == 2 << 60 | 2 << 57 | 5 << 32
        for kind in (InvalidationKind.CONTEXT_CACHE, InvalidationKind.IOTLB):
            assert await bench.read(GSTS) == 0
            assert (await bench.take()).kind == kind
            await bench.complete()
        assert await bench.read(GSTS) == SRTP
        assert await bench.read(IOTLB, 8) == 2 << 60 | 2 << 57 | 5 << 32
    run_registers(testbench, esrtps=1)


def test_changes_of_control_are_events():
    async def testbench(bench):
        log = []

        async def write(value):
            """Write GCMD and look at the cycle in which the change is in force."""
            ctx, dut = bench.ctx, bench.dut
            ctx.set(dut.accesses.payload, decode(HostRequest, encode(HostRequest, write=1, address=GCMD, data=value)))
            ctx.set(dut.accesses.valid, 1)
            ctx.set(dut.replies.ready, 1)
            assert ctx.get(dut.events[0].valid) == 0
            await ctx.tick()
            ctx.set(dut.accesses.valid, 0)
            if ctx.get(dut.events[0].valid):
                event = ctx.get(dut.events[0].payload)
                log.append((event.kind, event.hpa, event.detail))
            for _ in range(4):
                await ctx.tick()
                assert ctx.get(dut.events[0].valid) == 0
            ctx.set(dut.replies.ready, 0)

        await bench.write(RTADDR, 0x1234_5000, 8)
        for value in (SRTP, TE, TE, TE | SRTP, TE | UNSUPPORTED[3], 0, 0):
            await write(value)
        assert log == [(EventKind.CONTROL, 0x1234_5000, detail) for detail in (0b10, 0b01, 0b11, 0b00)]
    run_registers(testbench)
