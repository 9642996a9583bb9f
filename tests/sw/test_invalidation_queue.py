"""Invalidations through the queue: the right descriptors, a status word that is waited for, errors that do not stop it."""
import pytest

from hw.spec.invalidation import Granularity, QueueError
from hw.spec.monitor import DeviceTlbAnswer
from sw import descriptors as make
from sw.errors import (
    BadRange,
    DescriptorRefused,
    DescriptorUnreadable,
    DeviceTlbFailed,
    QueueIsOn,
    QueueTailRefused,
    WaitAborted,
    WaitTimeout,
)
from sw.faults import FaultLog, QueueFailure
from sw.invalidation import RegisterInvalidation
from sw.invalidation_queue import QueuedInvalidation
from sw.registers import RegisterFile
from tests.sw.machine import ARENA, Machine, drive
from tests.sw.test_registers import straps_with

IQH, IQT = 0x80, 0x88
QUEUE, STATUS, PAGE = ARENA, ARENA + 0x1000, 0x1000   # with the smallest queue
GLOBAL_IOTLB = 0x2 | 1 << 4 | 3 << 6
GLOBAL_CONTEXT = 0x1 | 1 << 4
DEVICE_TLB = make.device_tlb(0x18)
BAD_TYPE, RESERVED_BIT = 0xF, GLOBAL_IOTLB | 1 << 40


def prepared(machine=None, **options):
    """A machine whose queue is on, and nothing in it yet."""
    machine = machine or Machine()
    registers = drive(RegisterFile.open(machine.transport))
    invalidation = QueuedInvalidation(machine.transport, registers, machine.allocator, **options)
    drive(invalidation.start())
    machine.transport.log.clear()
    return machine, invalidation, registers


def slot(machine, number, width=16):
    return int.from_bytes(machine.memory.read(QUEUE + number * width, width), "little")


def wait_of(number, status=STATUS):
    """The wait of the batch of that number: SW and FN."""
    return 0x5 | 1 << 5 | 1 << 6 | number << 32 | status << 64


def executed(machine):
    """Descriptors that the unit has executed, by type."""
    return {kind.name: count for kind, count in machine.device.queue.executed.items()}


# --- what is queued ---

@pytest.mark.parametrize(("call", "arguments", "descriptor"), [
    ("context_global", (), GLOBAL_CONTEXT),
    ("context_domain", (5,), 0x1 | 2 << 4 | 5 << 16),
    ("context_device", (0x18, 5), 0x1 | 3 << 4 | 5 << 16 | 0x18 << 32),
    ("iotlb_global", (), GLOBAL_IOTLB),
    ("iotlb_domain", (5,), 0x2 | 2 << 4 | 3 << 6 | 5 << 16),
])
def test_call_queues_the_descriptor_worked_out_by_hand_and_one_wait(call, arguments, descriptor):
    machine, invalidation, _ = prepared()
    drive(getattr(invalidation, call)(*arguments))
    assert [hex(slot(machine, number)) for number in range(3)] == [hex(descriptor), hex(wait_of(1)), "0x0"]
    assert [entry for entry in machine.transport.log if entry[0] == "register"] == [("register", IQT, 2 * 16)]


def test_function_mask_is_part_of_the_context_descriptor():
    machine, invalidation, _ = prepared()
    drive(invalidation.context_device(0x18, 5, function_mask=3))
    assert slot(machine, 0) == 0x1 | 3 << 4 | 5 << 16 | 0x18 << 32 | 3 << 48


@pytest.mark.parametrize(("iova", "size", "only_leaves", "address"), [
    (0x7000, 0x1000, True, 0x7000 | 1 << 6),
    (0x7000, 0x1000, False, 0x7000),
    (0x7000, 0x2000, True, 0x0000 | 1 << 6 | 4),    # pages 7 and 8: the smallest aligned power of two around them
    (0x200000, 0x200000, False, 0x200000 | 9),
])
def test_page_range_becomes_one_aligned_power_of_two(iova, size, only_leaves, address):
    machine, invalidation, _ = prepared()
    assert drive(invalidation.iotlb_pages(5, iova, size, only_leaves=only_leaves)) is Granularity.SELECTIVE
    assert slot(machine, 0) == 0x2 | 3 << 4 | 3 << 6 | 5 << 16 | address << 64


def test_range_beyond_the_largest_address_mask_becomes_the_domain():
    machine, invalidation, _ = prepared(Machine(straps=straps_with(max_address_mask=3)))
    assert drive(invalidation.iotlb_pages(5, 0, 0x9000, only_leaves=True)) is Granularity.DOMAIN_SELECTIVE
    assert slot(machine, 0) == 0x2 | 2 << 4 | 3 << 6 | 5 << 16


def test_range_that_is_no_range_is_refused_and_nothing_is_queued():
    machine, invalidation, _ = prepared()
    with pytest.raises(BadRange, match="multiples of 0x1000"):
        drive(invalidation.iotlb_pages(5, 0x10, 0x1000, only_leaves=True))
    assert machine.transport.log == []


def test_batch_is_in_memory_before_the_doorbell_and_has_one_wait():
    machine, invalidation, _ = prepared()
    drive(invalidation.batch(GLOBAL_CONTEXT, GLOBAL_IOTLB, make.interrupt_entry_cache()))
    assert machine.transport.log[0][:2] == ("memory", QUEUE)
    assert machine.transport.log[1:] == [("register", IQT, 4 * 16)]
    assert executed(machine) == {"CONTEXT_CACHE": 1, "IOTLB": 1, "INTERRUPT_ENTRY_CACHE": 1, "WAIT": 1}


@pytest.mark.parametrize(("size_log2", "wide", "address"), [
    (0, False, 0), (0, True, 1 << 11), (2, False, 2), (1, True, 1 | 1 << 11),
])
def test_queue_of_any_size_and_width_runs_around_its_end(size_log2, wide, address):
    machine, invalidation, registers = prepared(size_log2=size_log2, wide=wide)
    assert drive(registers.read("IQA")).value == ARENA | address
    slots = (0x1000 << size_log2) // (32 if wide else 16)
    for _ in range(slots // 2 + 3):
        drive(invalidation.iotlb_global())
    assert executed(machine) == {"IOTLB": slots // 2 + 3, "WAIT": slots // 2 + 3}
    assert drive(registers.read("IQT")).value == 6 * (32 if wide else 16)
    assert machine.device.protocol_errors == []


# --- waiting ---

def reads_of(machine):
    """The register reads from now on, as a list that grows."""
    seen, read = [], machine.transport.read_register

    async def read_register(offset, width):
        seen.append(offset)
        return await read(offset, width)

    machine.transport.read_register = read_register
    return seen


def test_call_returns_when_the_status_word_says_so_and_never_asks_the_head():
    machine, invalidation, _ = prepared(Machine(queue_cycles=2500))
    seen = reads_of(machine)
    drive(invalidation.iotlb_global())
    assert machine.device.queue.waits_completed == 1
    assert IQH not in seen


def test_word_of_an_earlier_wait_is_no_completion():
    machine, invalidation, _ = prepared()
    drive(invalidation.iotlb_global())
    machine.device.queue.queue_cycles = 1000
    start = machine.device.cycle
    drive(invalidation.iotlb_global())
    assert machine.device.cycle - start >= 2000


def test_batch_longer_than_the_queue_is_queued_as_it_empties():
    machine, invalidation, _ = prepared()
    drive(invalidation.batch(*[GLOBAL_IOTLB] * 300))
    assert executed(machine) == {"IOTLB": 300, "WAIT": 1}
    assert [value for _, place, value in machine.transport.log if place == IQT] == [255 * 16, (301 - 256) * 16]


def test_queue_that_is_full_is_never_overwritten():
    machine, invalidation, _ = prepared(timeout_cycles=1000)
    machine.device.queue.advance = lambda cycle: None   # a unit that does not fetch
    with pytest.raises(WaitTimeout):
        drive(invalidation.batch(*range(1, 301)))
    assert [slot(machine, number) for number in range(256)] == [*range(1, 256), 0]


def test_wait_that_never_completes_is_an_error_that_names_it():
    _, invalidation, _ = prepared(Machine(queue_cycles=1 << 40), timeout_cycles=1000)
    with pytest.raises(WaitTimeout, match=r"wait 1 of 1 descriptors did not complete within 1\d\d\d cycles; all is fetched"):
        drive(invalidation.iotlb_global())


def test_time_out_tells_when_the_unit_has_stopped_fetching():
    machine, invalidation, _ = prepared(timeout_cycles=1000)
    machine.device.queue.advance = lambda cycle: None
    with pytest.raises(WaitTimeout, match=r"IQH 0x0 and IQT 0x2 differ"):
        drive(invalidation.iotlb_global())


# --- errors of the queue ---

@pytest.mark.parametrize(("bad", "cause", "words"), [
    (BAD_TYPE, "BAD_TYPE", "RESERVED_15"), (RESERVED_BIT, "RESERVED_FIELD", "IOTLB granularity=GLOBAL"),
])
def test_refused_descriptor_is_named_with_its_cause_and_gives_way_to_a_wait(bad, cause, words):
    machine, invalidation, registers = prepared()
    with pytest.raises(DescriptorRefused, match=rf"slot 1 of the queue at {QUEUE:#x} \({cause}\): {words}.*{bad:#034x}"):
        drive(invalidation.batch(GLOBAL_CONTEXT, bad, GLOBAL_IOTLB))
    assert slot(machine, 1) == wait_of(1)
    assert drive(QueueFailure.read(registers)) == QueueFailure()


def test_queue_runs_on_after_a_refused_descriptor():
    machine, invalidation, _ = prepared()
    with pytest.raises(DescriptorRefused):
        drive(invalidation.batch(GLOBAL_CONTEXT, BAD_TYPE, GLOBAL_IOTLB))
    drive(invalidation.iotlb_global())
    assert executed(machine) == {"CONTEXT_CACHE": 1, "WAIT": 3, "IOTLB": 2}


def test_memory_that_refuses_a_descriptor_is_named_and_read_again():
    machine, invalidation, _ = prepared()
    queue = machine.device.queue
    read, queue._read = queue._read, lambda hpa, wide: (QueueError.FETCH, 0)
    with pytest.raises(DescriptorUnreadable, match=rf"slot 0 of the queue at {QUEUE:#x}"):
        drive(invalidation.iotlb_global())
    queue._read = read
    drive(invalidation.iotlb_global())
    assert executed(machine) == {"IOTLB": 2, "WAIT": 2}


@pytest.mark.parametrize(("wide", "tail", "cause"), [(False, 0x1000, "BAD_TAIL"), (True, 0x10, "MISALIGNED_TAIL")])
def test_tail_that_somebody_else_wrote_is_put_right(wide, tail, cause):
    machine, invalidation, _ = prepared(wide=wide)
    drive(machine.transport.write_register(IQT, 8, tail))
    with pytest.raises(QueueTailRefused, match=cause):
        drive(invalidation.iotlb_global())
    drive(invalidation.iotlb_global())
    assert executed(machine) == {"IOTLB": 2, "WAIT": 2}


def test_tail_that_is_overwritten_while_the_unit_fetches_is_put_right_at_once():
    machine, invalidation, registers = prepared()
    append = invalidation._queue.append

    async def beaten(descriptors):
        await append(descriptors)
        write = machine.transport.write_register

        async def trash(offset, width, value):
            machine.transport.write_register = write
            await write(offset, width, 0x1000)   # instead of the doorbell

        machine.transport.write_register = trash

    invalidation._queue.append = beaten
    with pytest.raises(QueueTailRefused, match="BAD_TAIL"):
        drive(invalidation.iotlb_global())
    assert drive(registers.read("IQT"))["QT"] == 2
    machine.device.pause(200)
    assert executed(machine) == {"IOTLB": 1, "WAIT": 1}


def test_device_that_does_not_answer_is_asked_once_more():
    machine, invalidation, registers = prepared()
    machine.device.queue.device_tlb_answer = DeviceTlbAnswer.TIME_OUT
    with pytest.raises(WaitAborted, match=r"wait 2 of 2 descriptors was aborted: device 0x0018 did not answer"):
        drive(invalidation.batch(GLOBAL_IOTLB, DEVICE_TLB))
    assert executed(machine) == {"IOTLB": 2, "DEVICE_TLB": 2}
    assert drive(QueueFailure.read(registers)) == QueueFailure()
    drive(invalidation.iotlb_global())


def test_device_that_does_not_answer_is_not_asked_again_if_told_so():
    machine, invalidation, _ = prepared()
    machine.device.queue.device_tlb_answer = DeviceTlbAnswer.TIME_OUT
    with pytest.raises(WaitAborted, match=r"wait 1 of"):
        drive(invalidation.batch(DEVICE_TLB, retry=False))
    assert executed(machine) == {"DEVICE_TLB": 1}


def test_device_that_answers_the_second_time_is_good_enough():
    machine, invalidation, _ = prepared()
    queue = machine.device.queue
    queue.device_tlb_answer, timed_out = DeviceTlbAnswer.TIME_OUT, queue._registers.timed_out

    def once(source_id):
        queue.device_tlb_answer = DeviceTlbAnswer.DONE
        timed_out(source_id)

    queue._registers.timed_out = once
    drive(invalidation.batch(DEVICE_TLB))
    assert executed(machine) == {"DEVICE_TLB": 2, "WAIT": 1}


def test_device_that_does_not_answer_is_told_of_though_the_wait_was_fetched_later():
    """A wait that had not been fetched by then completes, but what it stands for is not true."""
    machine, invalidation, _ = prepared(Machine(queue_cycles=0))
    machine.device.queue.device_tlb_answer = DeviceTlbAnswer.TIME_OUT
    with pytest.raises(WaitAborted, match="device 0x0018"):
        drive(invalidation.batch(DEVICE_TLB, *[GLOBAL_IOTLB] * 300, retry=False))
    assert executed(machine)["WAIT"] == 1


def test_device_that_answers_with_an_error_is_told_of_when_all_is_done():
    machine, invalidation, registers = prepared()
    machine.device.queue.device_tlb_answer = DeviceTlbAnswer.ERROR
    with pytest.raises(DeviceTlbFailed, match="device 0x0018 answered the invalidation of its TLB with an error"):
        drive(invalidation.batch(DEVICE_TLB, GLOBAL_IOTLB))
    assert executed(machine) == {"DEVICE_TLB": 1, "IOTLB": 1, "WAIT": 1}
    assert drive(QueueFailure.read(registers)) == QueueFailure()


def test_failure_of_the_queue_is_shown_by_the_fault_log_and_cleared_when_asked():
    machine, _, registers = prepared()
    log = FaultLog(machine.transport, registers)
    assert str(drive(log.queue_failure())) == "no failure"
    machine.memory.write(QUEUE, DEVICE_TLB.to_bytes(16, "little") + BAD_TYPE.to_bytes(16, "little"))
    machine.device.queue.device_tlb_answer = DeviceTlbAnswer.ERROR
    drive(registers.write("IQT", QT=2))
    machine.device.pause(100)
    words = "the queue stands still: BAD_TYPE; device 0x0018 answered the invalidation of its TLB with an error"
    assert str(drive(log.queue_failure())) == words
    assert str(drive(log.queue_failure(clear=True))) == words
    assert drive(registers.read("FSTS"))["ICE"] == 0


# --- registers and queue ---

@pytest.mark.parametrize(("call", "arguments", "register"), [
    ("context_global", (), "CCMD"), ("iotlb_domain", (5,), "IOTLB"),
])
def test_register_based_invalidation_of_a_unit_with_its_queue_on_is_an_error(call, arguments, register):
    machine, _, registers = prepared()
    with pytest.raises(QueueIsOn, match=f"{register}: the unit ignores it while its invalidation queue is on"):
        drive(getattr(RegisterInvalidation(registers), call)(*arguments))
    assert machine.transport.log == []


def test_driver_that_takes_the_head_for_completion_is_caught():
    """The head has passed the descriptors, the wait has not completed: what the driver relies on is not there yet."""
    machine, _, registers = prepared(Machine(queue_cycles=500))
    machine.memory.write(QUEUE, GLOBAL_IOTLB.to_bytes(16, "little") + wait_of(1).to_bytes(16, "little"))
    drive(registers.write("IQT", QT=2))
    drive(registers.wait("IQH", lambda seen: seen["QH"] == 2, "QH=2"))
    assert executed(machine).get("IOTLB", 0) == 0
    machine.device.pause(1000)
    assert executed(machine) == {"IOTLB": 1, "WAIT": 1}
