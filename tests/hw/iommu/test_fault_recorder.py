# amaranth: UnusedElaboratable=no
"""The fault records by themselves; how software sees them is in test_register_block.py."""
import pytest

from hw.iommu.config import IommuConfig
from hw.iommu.fault_recorder import FaultRecorder
from hw.iommu.messages import FaultReport
from hw.lib.csr import register_layout
from hw.spec.capabilities import Straps
from hw.spec.codec import decode, encode
from hw.spec.dma import Access, DmaRequest, RequestKind
from hw.spec.events import EventKind, FaultDisposition
from hw.spec.faults import FaultReason, FaultRecord
from hw.spec.registers import REGISTERS
from tests.hw.iommu.bench import run

QUALIFIED = {0x02, 0x03, 0x04, 0x05, 0x06, 0x07, 0x0B, 0x0C, 0x0D, 0x0E}   # VT-d 4.1, 7.2.1
UNQUALIFIED = {0x01, 0x08, 0x09, 0x0A, 0x30, 0x31}
ABORTED = 0xFF   # never recorded


class Bench:
    """A recorder and the hand of the register block."""

    def __init__(self, ctx, dut):
        self.ctx, self.dut, self.port = ctx, dut, dut.registers

    def offer(self, *, source_id=0x0100, iova=0x1000, reason=FaultReason.READ_PERMISSION, disabled=0, **request):
        """Present a fault for this cycle; returns its disposition as the event says it."""
        ctx, dut = self.ctx, self.dut
        ctx.set(dut.faults.payload, decode(FaultReport, encode(
            FaultReport, request=encode(DmaRequest, source_id=source_id, iova=iova, **request),
            fault_reason=reason, fault_processing_disable=disabled)))
        ctx.set(dut.faults.valid, 1)
        assert ctx.get(dut.faults.ready) == 1
        event = ctx.get(dut.events[0].payload)
        assert ctx.get(dut.events[0].valid) == 1
        assert event.kind == EventKind.FAULT
        assert event.source_id == source_id
        assert event.iova == iova
        assert event.detail == reason
        return FaultDisposition(event.tag)

    async def tick(self):
        """End the cycle; nothing is presented in the next one. Returns whether an event was raised in the old one."""
        ctx = self.ctx
        raised = ctx.get(self.port.raised)
        await ctx.tick()
        for signal in (self.dut.faults.valid, self.port.clear_record, self.port.clear_overflow):
            ctx.set(signal, 0)
        return raised

    async def fault(self, **report):
        """One fault in a cycle of its own. Returns (disposition, event raised)."""
        disposition = self.offer(**report)
        return disposition, await self.tick()

    def clear(self, index):
        """Software clears F of this record in this cycle."""
        self.ctx.set(self.port.record_index, index)
        self.ctx.set(self.port.clear_record, 1)

    def clear_overflow(self):
        """Software clears PFO in this cycle."""
        self.ctx.set(self.port.clear_overflow, 1)

    def record(self, index):
        """What record `index` shows now."""
        self.ctx.set(self.port.record_index, index)
        return self.ctx.get(self.port.record)

    def status(self):
        """(PFO, PPF, FRI)"""
        return tuple(self.ctx.get(s) for s in (self.port.overflow, self.port.pending, self.port.first_pending))

    def sources(self, count):
        """The source IDs of the first `count` records, None where F is 0."""
        records = [self.record(index) for index in range(count)]
        return [record.source_id if record.fault else None for record in records]


def run_recorder(testbench, *, last_record=7, built=8):
    """Run a testbench against a recorder of which records 0 to `last_record` are strapped."""
    dut = FaultRecorder(IommuConfig(fault_records=built))

    async def bench(ctx):
        ctx.set(dut.straps, decode(Straps, encode(Straps, fault_records=last_record)))
        await testbench(Bench(ctx, dut))
    run(dut, bench)


def test_a_fault_record_is_laid_out_as_the_register_says():
    names = {"FI": "fault_info", "SID": "source_id", "T2": "type_2", "PRIV": "privileged", "EXE": "execute",
             "PP": "pasid_present", "FR": "fault_reason", "PV": "pasid", "AT": "address_type", "T1": "type_1",
             "F": "fault"}
    layout = register_layout(REGISTERS["FRCD"])
    for register_name, struct_name in names.items():
        value = encode(FaultRecord, **{struct_name: 1})
        assert layout.from_bits(value)[register_name] == 1


def test_a_record_says_who_wanted_what_and_why_it_was_blocked():
    async def testbench(bench):
        await bench.fault(source_id=0xBEEF, iova=0x0123_4567_89AB_CDEF, reason=FaultReason.WRITE_PERMISSION,
                          access=Access.WRITE)
        # F at 127, FR = 05 at 103:96, SID at 79:64, FI = IOVA page at 63:12
        assert bench.record(0).as_bits() == 0x8000_0005_0000_BEEF_0123_4567_89AB_C000
    run_recorder(testbench)


@pytest.mark.parametrize(("access", "high_dword"), [
    (Access.WRITE, 0x8000_0006_0000_0000),
    (Access.READ, 0xC000_0006_0000_0000),
    (Access.ATOMIC, 0xC000_0006_1000_0000),
])
def test_the_type_of_the_record_follows_the_access(access, high_dword):
    async def testbench(bench):
        await bench.fault(access=access, source_id=0)
        assert bench.record(0).as_bits() >> 64 == high_dword
    run_recorder(testbench)


def test_the_process_is_recorded_only_if_the_request_had_one():
    async def testbench(bench):
        process = {"pasid": 0xABCDE, "privileged": 1, "execute": 1, "source_id": 0, "access": Access.WRITE}
        await bench.fault(pasid_present=0, **process)
        await bench.fault(pasid_present=1, **process)
        assert bench.record(0).as_bits() >> 64 == 0x8000_0006_0000_0000
        assert bench.record(1).as_bits() >> 64 == 0x8ABC_DE06_E000_0000
    run_recorder(testbench)


def test_the_address_type_is_that_of_the_request():
    async def testbench(bench):
        for kind in (RequestKind.UNTRANSLATED, RequestKind.TRANSLATION_REQUEST, RequestKind.TRANSLATED):
            await bench.fault(kind=kind, reason=FaultReason.REQUEST_TYPE_BLOCKED)
        assert [bench.record(index).address_type for index in range(3)] == [0, 1, 2]
    run_recorder(testbench)


def test_faults_of_one_device_are_recorded_one_by_one_in_arrival_order():
    async def testbench(bench):
        for iova in (0x1000, 0x1000, 0x2000):
            await bench.fault(source_id=0x0300, iova=iova)
        assert [bench.record(index).fault_info for index in range(3)] == [1, 1, 2]
        assert bench.sources(4) == [0x0300, 0x0300, 0x0300, None]
    run_recorder(testbench)


def test_a_fault_in_every_cycle_is_taken():
    async def testbench(bench):
        for number in range(8):
            assert bench.offer(source_id=number) == FaultDisposition.RECORDED
            await bench.tick()
        assert bench.sources(8) == list(range(8))
        assert bench.status() == (0, 1, 0)
    run_recorder(testbench)


def test_without_a_fault_nothing_is_recorded():
    async def testbench(bench):
        for _ in range(3):
            assert await bench.tick() == 0
        assert bench.status() == (0, 0, 0)
        assert bench.sources(8) == [None] * 8
    run_recorder(testbench)


def test_overflow_is_flagged_in_the_cycle_of_the_lost_fault_and_keeps_the_records():
    async def testbench(bench):
        for number in range(4):
            await bench.fault(source_id=number)
        assert bench.status() == (0, 1, 0)
        assert await bench.fault(source_id=9) == (FaultDisposition.OVERFLOWED, 0)
        assert bench.status() == (1, 1, 0)
        assert bench.sources(4) == [0, 1, 2, 3]
    run_recorder(testbench, last_record=3)


def test_while_overflow_stands_faults_are_lost_although_records_are_free():
    async def testbench(bench):
        for number in range(5):
            await bench.fault(source_id=number)
        for index in range(4):
            bench.clear(index)
            await bench.tick()
        assert await bench.fault(source_id=9) == (FaultDisposition.OVERFLOWED, 0)
        assert bench.status()[:2] == (1, 0)
        assert bench.sources(4) == [None] * 4
        bench.clear_overflow()
        await bench.tick()
        assert await bench.fault(source_id=10) == (FaultDisposition.RECORDED, 1)
        assert bench.sources(4) == [10, None, None, None]
    run_recorder(testbench, last_record=3)


def test_the_index_wraps_at_the_strapped_number_and_is_the_units_own():
    async def testbench(bench):
        for number in range(7):
            await bench.fault(source_id=number)
            bench.clear(number % 3)
            await bench.tick()
        # records 0, 1, 2, 0, 1, 2, 0 have been used: the next is 1, though every F is clear
        await bench.fault(source_id=0x77)
        assert bench.sources(3) == [None, 0x77, None]
        assert bench.status() == (0, 1, 1)
    run_recorder(testbench, last_record=2)


def test_a_strap_beyond_what_was_built_wraps_at_what_was_built():
    async def testbench(bench):
        for number in range(5):
            await bench.fault(source_id=number)
        assert await bench.fault(source_id=9) == (FaultDisposition.OVERFLOWED, 0)
        assert bench.sources(5) == [0, 1, 2, 3, 4]
    run_recorder(testbench, last_record=200, built=5)


def test_one_record_is_enough_to_work_with():
    async def testbench(bench):
        assert await bench.fault(source_id=1) == (FaultDisposition.RECORDED, 1)
        assert await bench.fault(source_id=2) == (FaultDisposition.OVERFLOWED, 0)
        bench.clear(0)
        bench.clear_overflow()
        await bench.tick()
        assert await bench.fault(source_id=3) == (FaultDisposition.RECORDED, 1)
        assert bench.sources(1) == [3]
    run_recorder(testbench, last_record=0, built=1)


def test_the_first_pending_index_moves_only_when_nothing_was_pending():
    async def testbench(bench):
        await bench.fault()
        await bench.fault()
        assert bench.status() == (0, 1, 0)
        bench.clear(0)
        await bench.tick()
        assert bench.status() == (0, 1, 0)
        await bench.fault()
        assert bench.status() == (0, 1, 0)
        for index in (1, 2):
            bench.clear(index)
            await bench.tick()
        assert bench.status()[:2] == (0, 0)
        await bench.fault()
        assert bench.status() == (0, 1, 3)
    run_recorder(testbench)


@pytest.mark.parametrize("reason", [reason for reason in FaultReason if reason not in {FaultReason.NONE, ABORTED}])
def test_fault_processing_disable_suppresses_qualified_reasons_only(reason):
    assert int(reason) in QUALIFIED | UNQUALIFIED

    async def testbench(bench):
        disposition, raised = await bench.fault(reason=reason, disabled=1)
        if int(reason) in QUALIFIED:
            assert (disposition, raised) == (FaultDisposition.SUPPRESSED, 0)
            assert bench.status() == (0, 0, 0)
            assert bench.sources(1) == [None]
        else:
            assert (disposition, raised) == (FaultDisposition.RECORDED, 1)
            assert bench.record(0).fault_reason == int(reason)
        assert await bench.fault(reason=reason, disabled=0) == (FaultDisposition.RECORDED, 1 - raised)
    run_recorder(testbench)


@pytest.mark.parametrize("disabled", [0, 1])
def test_an_aborted_dma_leaves_no_trace_neither_when_records_are_free_nor_full_nor_overflowed(disabled):
    async def testbench(bench):
        for status in ((0, 0, 0), (0, 1, 0), (1, 1, 0)):
            assert await bench.fault(reason=ABORTED, disabled=disabled) == (FaultDisposition.SUPPRESSED, 0)
            assert bench.status() == status
            await bench.fault()
        assert bench.record(0).fault_reason == FaultReason.READ_PERMISSION
    run_recorder(testbench, last_record=0)


def test_a_suppressed_fault_does_not_overflow_full_records():
    async def testbench(bench):
        await bench.fault()
        assert await bench.fault(disabled=1) == (FaultDisposition.SUPPRESSED, 0)
        assert bench.status() == (0, 1, 0)
    run_recorder(testbench, last_record=0)


def test_an_event_is_raised_only_if_no_cause_was_pending():
    async def testbench(bench):
        assert (await bench.fault())[1] == 1
        assert (await bench.fault())[1] == 0
        bench.clear(0)
        await bench.tick()
        assert (await bench.fault())[1] == 0
        for index in (1, 2):
            bench.clear(index)
            await bench.tick()
        assert (await bench.fault())[1] == 1
    run_recorder(testbench)


def test_a_fault_that_meets_the_clearing_of_the_last_cause_raises_an_event():
    async def testbench(bench):
        await bench.fault(source_id=1)
        bench.clear(0)
        assert await bench.fault(source_id=2) == (FaultDisposition.RECORDED, 1)
        assert bench.sources(2) == [None, 2]
        assert bench.status() == (0, 1, 1)
    run_recorder(testbench)


def test_a_fault_that_meets_the_clearing_of_the_record_it_needs_takes_it():
    async def testbench(bench):
        await bench.fault(source_id=1)
        await bench.fault(source_id=2)
        bench.clear(0)
        assert await bench.fault(source_id=3) == (FaultDisposition.RECORDED, 0)
        assert bench.sources(2) == [3, 2]
        assert bench.status() == (0, 1, 0)
    run_recorder(testbench, last_record=1)


def test_a_fault_that_meets_the_clearing_of_overflow_is_recorded_if_there_is_room():
    async def testbench(bench):
        await bench.fault(source_id=1)
        await bench.fault(source_id=2)
        bench.clear(0)
        await bench.tick()
        assert bench.status()[0] == 1
        bench.clear_overflow()
        assert await bench.fault(source_id=3) == (FaultDisposition.RECORDED, 1)
        assert bench.status()[0] == 0
        assert bench.sources(1) == [3]
    run_recorder(testbench, last_record=0)


def test_overflow_stays_set_if_a_fault_is_lost_in_the_cycle_of_its_clearing():
    async def testbench(bench):
        await bench.fault(source_id=1)
        await bench.fault(source_id=2)
        bench.clear_overflow()
        assert await bench.fault(source_id=3) == (FaultDisposition.OVERFLOWED, 0)
        assert bench.status()[0] == 1
        assert bench.sources(1) == [1]
    run_recorder(testbench, last_record=0)
