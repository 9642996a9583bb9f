"""The scoreboard and the invalidation queue: the truth, in which there is nothing to say; then lies, one at a time."""
import pytest

from hw.spec.codec import encode
from hw.spec.events import EventKind, QueueTrouble
from hw.spec.invalidation import DescriptorType, DeviceTlbDescriptor, QueueError
from hw.spec.monitor import DeviceTlbAnswer
from sim.model.follower import Note
from tests.sim.following import (
    CONTEXT_DESCRIPTOR,
    DEVICE,
    EVERYTHING,
    IOTLB_DESCRIPTOR,
    LEAF,
    NEW,
    QUEUE,
    Log,
    invalidated_by_queue,
    tables,
    wait,
)

DEVICE_TLB = encode(DeviceTlbDescriptor, type=DescriptorType.DEVICE_TLB, source_id=DEVICE)


def test_a_queue_that_does_its_work_is_right():
    log = invalidated_by_queue().end().status(0x77).register("IQH", 0x20)
    assert log.troubles() == ""
    log.notes.append(Note(log.cycle + 1, "settled"))
    assert log.troubles() == ""


def test_a_head_that_does_not_stand_where_it_should_is_reported():
    assert "read of IQH" in invalidated_by_queue().register("IQH", 0x10).troubles()


def test_a_status_before_completion_is_reported():
    assert "nothing asks for it now" in invalidated_by_queue().status(0x77).end().troubles()


def test_a_second_status_is_reported():
    assert "nothing asks for it now" in invalidated_by_queue().end().status(0x77).status(0x77).troubles()


def test_another_status_is_reported():
    assert "STATUS of 0x78" in invalidated_by_queue().end().status(0x78).troubles()


def test_a_missing_status_is_reported():
    log = invalidated_by_queue().end()
    log.notes.append(Note(log.cycle + 1, "settled"))
    assert "has never been executed" in log.troubles()


def test_an_invalidation_out_of_turn_is_reported():
    log = Log().enable().enable_queue().queued(CONTEXT_DESCRIPTOR, IOTLB_DESCRIPTOR)
    log.fetched(0, CONTEXT_DESCRIPTOR).fetched(1, IOTLB_DESCRIPTOR)
    assert "nothing asks for it now" in log.begin(**EVERYTHING).troubles()


def test_a_descriptor_that_memory_does_not_hold_is_reported():
    log = Log().enable().enable_queue().queued(CONTEXT_DESCRIPTOR).fetched(0, IOTLB_DESCRIPTOR)
    assert "passed at 0x40000" in log.troubles()


def test_a_descriptor_beyond_the_tail_is_reported():
    log = Log().enable().enable_queue().stored(QUEUE << 12, IOTLB_DESCRIPTOR.to_bytes(16, "little"))
    assert "where the tail is" in log.fetched(0, IOTLB_DESCRIPTOR).troubles()


def test_descriptors_may_be_read_ahead():
    log = Log().enable().enable_queue().queued(CONTEXT_DESCRIPTOR, IOTLB_DESCRIPTOR).slot_read(0).slot_read(1)
    assert log.passed(0, CONTEXT_DESCRIPTOR).passed(1, IOTLB_DESCRIPTOR).troubles() == ""


def test_a_descriptor_that_was_read_behind_the_tail_and_not_again_is_reported():
    log = Log().enable().enable_queue().queued(CONTEXT_DESCRIPTOR).slot_read(0).slot_read(1)
    log.queued(CONTEXT_DESCRIPTOR, IOTLB_DESCRIPTOR).passed(0, CONTEXT_DESCRIPTOR).passed(1, IOTLB_DESCRIPTOR)
    assert "passed at 0x40010: never read" in log.troubles()


def test_a_slot_that_was_not_read_again_in_the_next_round_is_reported():
    last = 255   # slot of a queue of one page
    log = Log().enable().enable_queue().queued(*last * [CONTEXT_DESCRIPTOR])
    for slot in range(last):
        log.fetched(slot, CONTEXT_DESCRIPTOR)
    log.slot_read(0)   # behind the tail: it counts for nothing
    log.stored((QUEUE << 12) + 16 * last, CONTEXT_DESCRIPTOR.to_bytes(16, "little")).write("IQT", 1 << 4)
    log.fetched(last, CONTEXT_DESCRIPTOR)
    assert log.troubles() == ""
    assert "passed at 0x40000: never read" in log.passed(0, CONTEXT_DESCRIPTOR).troubles()


def test_what_was_read_before_the_queue_was_turned_off_is_void():
    log = Log().enable().enable_queue().queued(CONTEXT_DESCRIPTOR).slot_read(0)
    log.write("GCMD", 1 << 31, wide=False).register("GSTS", 3 << 30, wide=False).write("IQT", 0)
    log.enable_queue().write("IQT", 1 << 4)
    assert "passed at 0x40000: never read" in log.passed(0, CONTEXT_DESCRIPTOR).troubles()


@pytest.mark.parametrize(("cause", "fine"), [(QueueError.BAD_TYPE, True), (QueueError.RESERVED_FIELD, False)])
def test_the_queue_stops_where_and_why_the_check_says(cause, fine):
    log = Log().enable().enable_queue().queued(0xF)
    log.event(EventKind.MEMORY, hpa=QUEUE << 12, tag=3 << 8)
    log.event(EventKind.QUEUE_ERROR, tag=QueueTrouble.QUEUE_ERROR, detail=cause)
    assert (log.troubles() == "") is fine
    if fine:
        log.register("FSTS", 1 << 4, wide=False).register("IQERCD", cause)
        assert log.troubles() == ""


def test_a_queue_that_stops_at_a_legal_descriptor_is_reported():
    log = Log().enable().enable_queue().queued(IOTLB_DESCRIPTOR).event(EventKind.MEMORY, hpa=QUEUE << 12, tag=3 << 8)
    log.event(EventKind.QUEUE_ERROR, tag=QueueTrouble.QUEUE_ERROR, detail=QueueError.BAD_TYPE)
    assert "permitted: NONE" in log.troubles()


def timed_out():
    """A log with a device that did not answer, and a wait behind it."""
    log = Log().enable().enable_queue()
    log.notes.append(Note(log.cycle, "answer", answer=DeviceTlbAnswer.TIME_OUT.value))
    log.queued(DEVICE_TLB, wait()).fetched(0, DEVICE_TLB).fetched(1, wait()).end()
    return log.event(EventKind.QUEUE_ERROR, tag=QueueTrouble.TIME_OUT, source_id=DEVICE)


def test_a_time_out_abandons_the_wait():
    log = timed_out().event(EventKind.WAIT_ABANDONED, detail=wait())
    assert log.register("FSTS", 1 << 6, wide=False).register("IQERCD", DEVICE << 32).troubles() == ""
    assert "nothing asks for it now" in log.status(0x77).troubles()


def test_a_wait_is_not_abandoned_without_a_time_out():
    assert "nothing has made it so" in invalidated_by_queue().event(EventKind.WAIT_ABANDONED, detail=wait()).troubles()


def test_a_time_out_of_another_device_is_reported():
    log = Log().enable().enable_queue().queued(DEVICE_TLB).fetched(0, DEVICE_TLB)
    assert "was not asked" in log.event(
        EventKind.QUEUE_ERROR, tag=QueueTrouble.TIME_OUT, source_id=DEVICE).troubles()   # it answers, as it was told to


def test_a_wait_with_an_interrupt_sets_iwc():
    descriptor = wait(interrupt=1, status_write=0)
    log = Log().enable().enable_queue().queued(descriptor).fetched(0, descriptor)
    assert "read of ICS" in Log().enable().enable_queue().queued(descriptor).fetched(0, descriptor).register(
        "ICS", 1, wide=False).end().troubles()
    log.end().register("ICS", 0, wide=False).register("ICS", 1, wide=False).register("IECTL", 3 << 30, wide=False)
    assert log.troubles() == ""
    assert "read of ICS" in log.register("ICS", 0, wide=False).troubles()


def test_a_status_is_a_store_like_any_other():
    descriptor = wait(data=NEW << 12 | 3, status_address=LEAF >> 2)
    log = Log().enable().enable_queue().queued(descriptor).fetched(0, descriptor).end().status(NEW << 12 | 3, hpa=LEAF)
    assert log.request().answered(NEW).troubles() == ""
    assert log.request().answered(NEW + 1).troubles()


def test_memory_that_is_refused_is_not_stored_to():
    memory = tables(limit=0x30000)
    log = Log().enable().stored(0x40000, b"\1" * 8)
    log.follow(memory)
    assert memory.refuses(0x40000)
