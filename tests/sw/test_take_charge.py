"""Who a unit's queue belongs to: turned on before anything else, and taken over from a kernel that is gone."""
import pytest

from hw.spec.dma import Access
from hw.spec.faults import FaultReason
from hw.spec.invalidation import Granularity
from hw.spec.monitor import DeviceTlbAnswer
from sw import descriptors as make
from sw.driver import Iommu
from sw.errors import RegisterTimeout
from sw.invalidation import RegisterInvalidation
from sw.invalidation_queue import QueuedInvalidation
from sw.memory import PageAllocator
from sw.registers import RegisterFile
from sw.strategies import AtomicSwap, Silent
from tests.sw.machine import ARENA, Machine, drive
from tests.sw.test_driver import DEVICE, IOVA, NEW_HPA, OLD_HPA, PAGE, lands, new_domain, running, successor
from tests.sw.test_registers import straps_with

GCMD, RTADDR, CCMD, FECTL, FEDATA, FEADDR, FEUADDR, IQT, IQA, IECTL = (
    0x18, 0x20, 0x28, 0x38, 0x3C, 0x40, 0x44, 0x88, 0x90, 0xA0)
TE, SRTP, QIE, IM = 1 << 31, 1 << 30, 1 << 26, 1 << 31
HEIR = ARENA + 0x1000_0000
BAD = 0xF


def registers_written(machine):
    return [(place, value) for kind, place, value in machine.transport.log if kind == "register"]


def queue_page(machine):
    """Where the unit's queue stands."""
    return machine.device.registers.get("IQA", "IQA") << 12


def queued_by_hand(machine, *descriptors):
    """Put descriptors into the queue that is on, as a kernel does that will not see their end."""
    tail = machine.device.registers.get("IQT", "QT")
    for number, descriptor in enumerate(descriptors, start=tail):
        machine.memory.write(queue_page(machine) + 16 * number, descriptor.to_bytes(16, "little"))
    drive(machine.transport.write_register(IQT, 8, 16 * (tail + len(descriptors))))


# --- in a driver's order ---

def test_queue_is_turned_on_first_and_translation_last():
    machine = Machine()
    iommu = drive(Iommu.open(machine.transport, machine.allocator))
    drive(iommu.enable(fault_events=(0x12_3456_7000, 0x4021)))
    root, queue = iommu.contexts.root_table, queue_page(machine)
    assert registers_written(machine) == [
        (IQT, 0), (IQA, queue), (GCMD, QIE),
        (RTADDR, root), (GCMD, QIE | SRTP),
        (IQT, 2 * 16), (IQT, 4 * 16),
        (FECTL, IM), (FEDATA, 0x4021), (FEADDR, 0x3456_7000), (FEUADDR, 0x12), (FECTL, 0),
        (GCMD, QIE | TE)]
    assert machine.device.protocol_errors == []


def test_unit_that_forgets_by_itself_needs_no_global_invalidation():
    machine = Machine(straps=straps_with(esrtps=1))
    drive(drive(Iommu.open(machine.transport, machine.allocator)).enable())
    assert [value for place, value in registers_written(machine) if place == IQT] == [0]


def test_unit_without_a_queue_is_driven_through_its_registers():
    machine = Machine()
    found = drive(RegisterFile.open(machine.transport))
    without_queue = RegisterFile(machine.transport, cap=found.cap.value, ecap=found.ecap.value & ~2)
    iommu = Iommu(machine.transport, without_queue, machine.allocator, Silent())
    drive(iommu.enable())
    assert isinstance(iommu.invalidation, RegisterInvalidation)
    assert not {IQT, IQA} & {place for place, _ in registers_written(machine)}
    old, new = new_domain(iommu, OLD_HPA), new_domain(iommu, NEW_HPA)
    drive(iommu.attach(DEVICE, old))
    assert lands(machine, DEVICE) == OLD_HPA
    drive(iommu.replace(DEVICE, new, AtomicSwap()))
    assert lands(machine, DEVICE) == NEW_HPA


def test_fault_is_told_by_a_message_in_memory_if_asked():
    machine = Machine()
    drive(drive(Iommu.open(machine.transport, machine.allocator)).enable(fault_events=(0x7004, 0xBEEF)))
    machine.device.dma(DEVICE, IOVA, Access.READ)
    machine.device.pause(1)
    assert machine.memory.read(0x7000, 16) == bytes(4) + b"\xef\xbe\0\0" + bytes(8)


def test_invalidation_through_a_register_that_is_under_way_is_waited_for():
    machine = Machine(command_cycles=3000)
    registers = drive(RegisterFile.open(machine.transport))
    drive(registers.write("CCMD", ICC=1, CIRG=1))
    drive(QueuedInvalidation(machine.transport, registers, machine.allocator).start())
    assert machine.device.protocol_errors == []
    assert machine.device.cycle > 3000


def test_invalidation_through_a_register_that_never_ends_is_an_error():
    machine = Machine(command_cycles=1 << 40)
    registers = drive(RegisterFile.open(machine.transport))
    drive(registers.write("IOTLB", IVT=1, IIRG=1))
    queue = QueuedInvalidation(machine.transport, registers, machine.allocator, timeout_cycles=1000)
    with pytest.raises(RegisterTimeout, match="IOTLB did not become IVT=0 within 1"):
        drive(queue.start())


# --- after a kernel that is gone ---

def heir_of(machine):
    heir = successor(machine)
    drive(heir.adopt())
    machine.transport.log.clear()
    return heir


def test_adoption_leaves_the_queue_of_the_old_kernel_alone():
    machine, _, _ = running()
    page, tail = queue_page(machine), machine.device.registers.get("IQT", "QT")
    heir_of(machine)
    assert (queue_page(machine), machine.device.registers.get("IQT", "QT")) == (page, tail)


def test_queue_is_replaced_by_one_in_own_memory_and_nothing_else_changes():
    machine, _, _ = running()
    old_page = queue_page(machine)
    heir = heir_of(machine)
    assert drive(heir.take_charge()) == (old_page,)
    new_page = queue_page(machine)
    assert HEIR <= new_page < HEIR + 0x10_0000
    assert registers_written(machine) == [(GCMD, TE), (IQT, 0), (IQA, new_page), (GCMD, TE | QIE)]
    assert machine.device.protocol_errors == []


def test_first_invalidation_takes_the_queue_over_if_nobody_has():
    machine, _, _ = running()
    assert lands(machine, DEVICE) == OLD_HPA
    heir = heir_of(machine)
    domain = heir.domain_of(DEVICE)
    heir.allocator.reserve(domain.table.pages)
    drive(heir.unmap(domain, IOVA, PAGE))
    assert lands(machine, DEVICE) is FaultReason.READ_PERMISSION
    assert HEIR <= queue_page(machine) < HEIR + 0x10_0000


def test_charge_is_taken_once():
    machine, _, _ = running()
    heir = heir_of(machine)
    pages = drive(heir.take_charge())
    machine.transport.log.clear()
    assert drive(heir.take_charge()) == pages
    assert machine.transport.log == []


def test_dma_goes_on_while_the_queue_changes_hands():
    machine, _, _ = running()
    landed, heir = [], heir_of(machine)
    pause = machine.device.pause

    def looking(cycles):
        pause(cycles)
        landed.append(lands(machine, DEVICE))

    machine.device.pause = looking
    drive(heir.take_charge())
    assert len(landed) > 10
    assert set(landed) == {OLD_HPA}


def test_memory_of_the_old_queue_may_be_freed_afterwards():
    machine, _, _ = running()
    heir = heir_of(machine)
    pages = drive(heir.take_charge())
    heir.allocator.reserve(pages)
    for page in pages:
        drive(heir.allocator.free(page))
    for _ in range(200):
        drive(heir.invalidation.iotlb_global())
    assert all(machine.memory.read(page, PAGE) == b"\xdb" * PAGE for page in pages)
    assert machine.device.registers.get("FSTS", "IQE") == 0


def test_what_the_old_kernel_had_queued_is_done_before_its_queue_goes():
    machine, _, _ = running()
    machine.device.queue.queue_cycles = 1000
    queued_by_hand(machine, make.iotlb(Granularity.GLOBAL), make.wait(0x6000, 0x77))
    before = machine.device.queue.waits_completed
    drive(heir_of(machine).take_charge())
    assert machine.device.queue.waits_completed == before + 1
    assert machine.memory.read(0x6000, 4) == b"\x77\0\0\0"
    assert machine.device.protocol_errors == []


def test_queue_that_an_error_has_stopped_is_replaced_and_everything_invalidated():
    """What stood behind the error was never done: the old kernel may have relied on it."""
    machine, _, _ = running()
    assert lands(machine, DEVICE) == OLD_HPA
    heir = heir_of(machine)
    queued_by_hand(machine, BAD, make.iotlb(Granularity.GLOBAL))
    machine.device.pause(100)
    before = dict(machine.device.queue.executed)
    drive(heir.take_charge())
    assert machine.device.registers.get("FSTS", "IQE") == 0
    after = machine.device.queue.executed
    assert {kind.name: after[kind] - before.get(kind, 0) for kind in after if after[kind] != before.get(kind, 0)} == {
        "CONTEXT_CACHE": 1, "IOTLB": 1, "WAIT": 1}
    assert machine.device.protocol_errors == []


def test_queue_that_waits_for_a_device_is_let_run_on():
    machine, _, _ = running()
    heir = heir_of(machine)
    machine.device.device_tlb_answer = DeviceTlbAnswer.TIME_OUT
    queued_by_hand(machine, make.device_tlb(0x18), make.wait(0x6000, 0x77))
    machine.device.pause(500)
    queued_by_hand(machine, make.wait(0x6000, 0x78))
    drive(heir.take_charge())
    assert machine.memory.read(0x6000, 4) == b"\x78\0\0\0"
    assert machine.device.registers.get("FSTS", "ITE") == 0
    drive(heir.invalidation.iotlb_global())


def test_queue_that_neither_ends_nor_says_why_is_an_error_and_stays():
    machine, _, _ = running()
    registers = drive(RegisterFile.open(machine.transport))
    page = queue_page(machine)
    machine.device.queue.advance = lambda cycle: None
    queued_by_hand(machine, make.iotlb(Granularity.GLOBAL))
    allocator = PageAllocator(machine.transport, base=HEIR, size=0x10_0000)
    queue = QueuedInvalidation(machine.transport, registers, allocator, timeout_cycles=1000)
    with pytest.raises(RegisterTimeout, match="IQH did not become equal to IQT"):
        drive(queue.start())
    assert queue_page(machine) == page
    assert machine.device.registers.get("GSTS", "QIES") == 1


def test_messages_to_the_memory_of_the_old_kernel_are_masked():
    machine, iommu, _ = running()
    drive(iommu.registers.write("FEADDR", MA=0x6000 >> 2))
    drive(iommu.registers.write("FEDATA", IMD=0x55))
    drive(iommu.registers.write("FECTL", IM=0))
    drive(iommu.registers.write("IECTL", IM=0))
    heir = heir_of(machine)
    drive(heir.take_charge())
    assert registers_written(machine)[:2] == [(FECTL, IM), (IECTL, IM)]
    machine.device.dma(DEVICE, 0x9000, Access.READ)
    machine.device.pause(10)
    assert machine.memory.read(0x6000, 4) == bytes(4)
