# amaranth: UnusedElaboratable=no
"""The handshake of GCMD and GSTS: translation, the root table, and every way to break the rules."""
import pytest

from hw.spec.events import EventKind
from hw.spec.invalidation import Granularity, InvalidationKind, TranslationTableMode
from tests.hw.iommu.register_bench import (
    CCMD,
    GCMD,
    GSTS,
    IOTLB,
    QIE,
    RTADDR,
    SRTP,
    START,
    TE,
    access_of,
    run_registers,
)

UNSUPPORTED = [1 << bit for bit in (23, 24, 25, 27, 28, 29)]   # CFI, SIRTP, IRE, WBF, EAFL, SFL


def test_the_root_table_takes_effect_with_srtp_and_not_before():
    async def testbench(bench):
        control = bench.dut.control
        await bench.write(RTADDR, 0x000A_BCDE_F012_3000, 8)
        assert bench.ctx.get(control.root_table) == 0
        await bench.write(GCMD, SRTP)
        assert bench.ctx.get(control.root_table) == 0xAB_CDEF_0123
        assert await bench.read(GSTS) == SRTP
        await bench.write(RTADDR, 0x0000_0000_5555_5C00, 8)
        assert bench.ctx.get(control.root_table) == 0xAB_CDEF_0123
        assert bench.ctx.get(control.translation_table_mode) == TranslationTableMode.LEGACY
        await bench.write(GCMD, SRTP)
        assert bench.ctx.get(control.root_table) == 0x55555
        assert bench.ctx.get(control.translation_table_mode) == TranslationTableMode.ABORT_DMA
        assert await bench.read(GSTS) == SRTP
        assert await bench.read(GCMD) == 0
        await bench.nothing_offered()      # without ESRTPS it is software that invalidates
        assert bench.errors() == 0
    run_registers(testbench)


@pytest.mark.parametrize(("width", "address", "invalid"), [
    (52, 0x000F_FFFF_FFFF_F000, 0), (52, 1 << 52 | 0x5000, 1), (52, 1 << 63 | 0x5000, 1),
    (39, 0x0000_007F_FFFF_F000, 0), (39, 1 << 39 | 0x5000, 1), (39, 1 << 51, 1), (39, 1 << 63, 1),
    (32, 0x0000_0000_FFFF_F000, 0), (32, 1 << 32, 1),
])
def test_a_root_table_beyond_the_host_address_width_is_latched_as_invalid_and_the_one_before_it_stays(width, address, invalid):
    async def testbench(bench):
        control = bench.dut.control
        await bench.write(RTADDR, 0x7000, 8)
        await bench.write(GCMD, SRTP)
        await bench.write(RTADDR, address | 3 << 10, 8)
        assert (bench.ctx.get(control.root_invalid), bench.ctx.get(control.root_table)) == (0, 7)
        await bench.write(GCMD, SRTP)
        assert bench.ctx.get(control.root_invalid) == invalid
        assert bench.ctx.get(control.root_table) == (7 if invalid else address >> 12)
        assert bench.ctx.get(control.translation_table_mode) == TranslationTableMode.ABORT_DMA
        assert (await bench.read(GSTS), bench.errors()) == (SRTP, 0)
        await bench.write(RTADDR, 0x8000, 8)
        await bench.write(GCMD, SRTP)
        assert (bench.ctx.get(control.root_invalid), bench.ctx.get(control.root_table)) == (0, 8)
    run_registers(testbench, host_address_width=width)


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


async def control_events(bench, *values):
    """Write values to GCMD and look at the cycle in which each write is accepted, and at the ones behind it."""
    log = []
    ctx, event = bench.ctx, bench.dut.events[0]
    for value in values:
        ctx.set(bench.dut.accesses.payload, access_of(GCMD, write=value))
        assert ctx.get(event.valid) == 0
        ctx.set(bench.dut.accesses.valid, 1)
        ctx.set(bench.dut.replies.ready, 1)
        if ctx.get(event.valid):
            payload = ctx.get(event.payload)
            log.append((payload.kind, payload.hpa, payload.detail))
        await ctx.tick()
        ctx.set(bench.dut.accesses.valid, 0)
        for _ in range(4):
            assert ctx.get(event.valid) == 0
            await ctx.tick()
        ctx.set(bench.dut.replies.ready, 0)
    return log


def test_changes_of_control_are_events_in_the_cycle_of_the_write():
    async def testbench(bench):
        await bench.write(RTADDR, 0x1234_5C00, 8)
        log = await control_events(bench, SRTP, TE, TE, TE | SRTP, TE | UNSUPPORTED[3], TE | QIE, QIE, QIE)
        # the mode that is latched stands above "enabled" and "latched"
        assert log == [(EventKind.CONTROL, 0x1234_5000, 0b1100 | detail) for detail in (0b10, 0b01, 0b11, 0b00)]
    run_registers(testbench)


def test_a_root_table_that_is_no_address_is_told_so_with_the_one_that_stays():
    async def testbench(bench):
        await bench.write(RTADDR, 0x1234_5000, 8)
        assert await control_events(bench, SRTP) == [(EventKind.CONTROL, 0x1234_5000, 0b10)]
        await bench.write(RTADDR, 1 << 52 | 0x5000, 8)
        assert await control_events(bench, SRTP, TE) == [
            (EventKind.CONTROL, 0x1234_5000, 0b10000 | detail) for detail in (0b10, 0b01)]
    run_registers(testbench)
