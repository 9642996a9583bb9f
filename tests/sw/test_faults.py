"""Fault records: read, cleared, explained."""
from hw.spec.dma import Access
from hw.spec.faults import FaultReason, FaultType
from sw.faults import Fault, FaultLog
from tests.sw.machine import drive
from tests.sw.test_driver import DEVICE, IOVA, running

STRANGER = 0x0020


def test_record_is_decoded_from_the_bits_worked_out_by_hand():
    record = 1 << 127 | 1 << 126 | 0x06 << 96 | 0x0018 << 64 | 0x12345 << 12
    assert Fault.from_record(record) == Fault(0x0018, 0x12345000, FaultReason.READ_PERMISSION, FaultType.READ)
    assert str(Fault.from_record(record)) == "00:03.0 read of iova 0x12345000 blocked: READ_PERMISSION (0x06)"


def test_no_fault_is_an_empty_list():
    machine, iommu, _ = running()
    assert drive(FaultLog(machine.transport, iommu.registers).take()) == ([], False)


def test_faults_are_read_oldest_first_and_then_gone():
    machine, iommu, _ = running()
    log = FaultLog(machine.transport, iommu.registers)
    machine.device.dma(STRANGER, IOVA, Access.WRITE)
    machine.device.dma(DEVICE, 0x7000, Access.READ)
    faults, overflowed = drive(log.take())
    assert faults == [Fault(STRANGER, IOVA, FaultReason.CONTEXT_NOT_PRESENT, FaultType.WRITE),
                      Fault(DEVICE, 0x7000, FaultReason.READ_PERMISSION, FaultType.READ)]
    assert not overflowed
    assert drive(log.take()) == ([], False)


def test_overflow_is_reported_and_cleared_and_records_are_read_around_the_end():
    machine, iommu, _ = running()
    log = FaultLog(machine.transport, iommu.registers)

    def blocked(first, count):
        """Fault on so many pages; the records that must come of it."""
        pages = [first + page * 0x1000 for page in range(count)]
        for page in pages:
            machine.device.dma(DEVICE, page)
        return pages[:8]

    for first, count, overflow in ((0x10000, 3, False), (0x20000, 10, True), (0x30000, 2, False)):
        pages = blocked(first, count)
        faults, overflowed = drive(log.take())
        assert [fault.iova for fault in faults] == pages
        assert overflowed == overflow


def test_explanation_shows_every_entry_down_to_the_one_that_ends_the_walk():
    machine, iommu, domain = running()
    log = FaultLog(machine.transport, iommu.registers)
    machine.device.dma(DEVICE, 0x7000)
    (fault,), _ = drive(log.take())
    root = iommu.contexts.root_table
    lines = drive(log.explain(fault)).splitlines()
    assert lines[0] == "00:03.0 read of iova 0x7000 blocked: READ_PERMISSION (0x06)"
    assert lines[1].startswith(f"  root entry at {root:#x}: 0x")
    assert lines[2].startswith(f"  context entry at {iommu.contexts.entry_hpa(DEVICE):#x}: 0x")
    assert lines[3].startswith(f"  level 3 entry at {domain.table.top:#x}: 0x")
    assert [line.split(" entry")[0] for line in lines[3:]] == ["  level 3", "  level 2", "  level 1"]
    assert lines[5].endswith(": 0x0000000000000000")


def test_explanation_stops_where_nothing_is_present():
    machine, iommu, _ = running()
    log = FaultLog(machine.transport, iommu.registers)
    machine.device.dma(STRANGER, IOVA)
    machine.device.dma(0x0200, IOVA)
    faults, _ = drive(log.take())
    assert [len(drive(log.explain(fault)).splitlines()) for fault in faults] == [3, 2]
