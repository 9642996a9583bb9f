"""The scoreboard is fed the truth, and says nothing; then lies, one at a time, and says which."""
import pytest

from hw.spec.codec import encode
from hw.spec.dma import Access
from hw.spec.events import ControlDetail, EventKind, FaultDisposition, MessageKind, QueueTrouble
from hw.spec.faults import FaultReason, FaultRecord
from hw.spec.invalidation import DescriptorType, DeviceTlbDescriptor, QueueError
from hw.spec.monitor import DeviceTlbAnswer
from sim.model.follower import Note
from tests.sim.following import (
    CONTEXT_CACHE,
    CONTEXT_DESCRIPTOR,
    DEVICE,
    EVERYTHING,
    IOTLB_DESCRIPTOR,
    IOVA,
    LEAF,
    NEW,
    NO_READ,
    NO_WRITE,
    OLD,
    QUEUE,
    ROOT,
    Log,
    entry,
    tables,
    wait,
)

DEVICE_TLB = encode(DeviceTlbDescriptor, type=DescriptorType.DEVICE_TLB, source_id=DEVICE)
MASKED = 1 << 31


def blocked_once():
    """A log with one fault: the IOVA after the one that is mapped."""
    log = Log().enable()
    return log.request(iova=IOVA + 0x1000).blocked(NO_READ, iova=IOVA + 0x1000)


def invalidated_by_queue():
    """A log with an invalidation and a wait, fetched, and the invalidation begun."""
    log = Log().enable().enable_queue().queued(IOTLB_DESCRIPTOR, wait())
    return log.fetched(0, IOTLB_DESCRIPTOR).begin(**EVERYTHING).fetched(1, wait())


# --- DMA ---

def test_an_answer_of_the_tables_is_right():
    log = Log().enable().request().answered()
    assert log.troubles() == ""
    assert log.follow().dma.replies == 1


def test_another_page_is_reported():
    assert "permitted: OK 0x100000" in Log().enable().request().answered(OLD + 1).troubles()


def test_another_domain_is_reported():
    assert "domain 0x6" in Log().enable().request().answered(domain_id=6).troubles()


def test_a_block_of_what_is_permitted_is_reported():
    assert "was blocked with READ_PERMISSION" in Log().enable().request().blocked(NO_READ).troubles()


def test_a_blocked_request_without_a_fault_is_reported():
    log = Log().enable().request(iova=0x4000).blocked(NO_READ, iova=0x4000, fault=False)
    assert "no fault raised" in log.troubles()


def latched(root, **detail):
    """A log in which another root table is latched while translation is on, and how CONTROL tells of it."""
    log = Log().enable().write("RTADDR", root << 12).write("GCMD", 3 << 30, wide=False)
    detail = dict(translation_enabled=1, latched=1) | detail
    return log.event(EventKind.CONTROL, after=0, hpa=detail.pop("hpa", ROOT << 12), detail=encode(ControlDetail, **detail))


@pytest.mark.parametrize("beyond", [1 << 40, 1 << 51])
def test_a_root_table_that_the_host_does_not_have_blocks_and_the_one_before_stays_in_force(beyond):
    assert latched(beyond | NEW, root_invalid=1).request().blocked(FaultReason.ROOT_POINTER_INVALID).troubles() == ""
    assert "permitted: ROOT_POINTER_INVALID" in latched(beyond | ROOT, root_invalid=1).request().answered().troubles()


@pytest.mark.parametrize(("root", "lie"), [
    (1 << 40 | ROOT, dict()), (1 << 40 | NEW, dict(hpa=NEW << 12, root_invalid=1)), (NEW, dict(hpa=NEW << 12, root_invalid=1)),
    (NEW, dict(hpa=ROOT << 12)), (1 << 51, dict(hpa=0)),
])
def test_a_root_table_other_than_rtaddr_says_is_reported(root, lie):
    assert "in force, which RTADDR has not said" in latched(root, **lie).troubles()


def test_a_table_mode_other_than_rtaddr_says_is_reported():
    assert "table mode 3 latched, which RTADDR does not say" in latched(ROOT, translation_table_mode=3).troubles()


def test_a_fault_of_nobody_is_reported():
    log = Log().enable().event(EventKind.FAULT, source_id=DEVICE, iova=IOVA, detail=NO_READ)
    assert "no request was blocked" in log.troubles()


def test_a_request_without_a_reply_is_reported():
    assert "was never answered" in Log().enable().request().troubles()


def test_a_second_reply_is_reported():
    assert "nobody waits for it" in Log().enable().request().answered().answered().troubles()


@pytest.mark.parametrize(("access", "reason"), [(Access.READ, NO_READ), (Access.WRITE, NO_WRITE), (Access.ATOMIC, NO_WRITE)])
def test_the_reason_is_that_of_the_access(access, reason):
    other = NO_READ if reason is NO_WRITE else NO_WRITE
    right = Log().enable().request(iova=0x4000, access=access).blocked(reason, iova=0x4000)
    wrong = Log().enable().request(iova=0x4000, access=access).blocked(other, iova=0x4000)
    assert right.troubles() == ""
    assert f"permitted: {reason.name}" in wrong.troubles()


# --- stale answers ---

def test_a_stale_answer_before_an_invalidation_is_right():
    log = Log().enable().request().answered().stored(LEAF, entry(NEW)).request().answered(OLD)
    assert log.request().answered(NEW).troubles() == ""


def test_a_stale_answer_after_a_completed_invalidation_is_reported():
    log = invalidated_by_queue()
    log = Log().enable().enable_queue().request().answered().stored(LEAF, entry(NEW))
    log.queued(IOTLB_DESCRIPTOR, wait()).fetched(0, IOTLB_DESCRIPTOR).begin(**EVERYTHING).fetched(1, wait()).end()
    log.status(0x77)
    assert log.troubles() == ""
    log.request().answered(OLD)
    assert "permitted: OK 0x200000" in log.troubles()


def test_a_request_accepted_before_completion_may_still_be_answered_by_what_was():
    log = Log().enable().enable_queue().stored(LEAF, entry(NEW))
    log.queued(IOTLB_DESCRIPTOR, wait()).fetched(0, IOTLB_DESCRIPTOR).begin(**EVERYTHING).request().fetched(1, wait())
    assert log.end(after=1).answered(OLD).status(0x77).troubles() == ""


def test_completion_before_an_old_request_is_answered_is_reported():
    log = Log().enable().enable_queue().request()
    log.queued(IOTLB_DESCRIPTOR, wait()).fetched(0, IOTLB_DESCRIPTOR).begin(**EVERYTHING).fetched(1, wait()).end()
    assert "is not answered" in log.answered().troubles()


# --- fault records ---

def test_a_fault_record_shows_the_request():
    record = encode(FaultRecord, fault_info=IOVA + 0x1000 >> 12, source_id=DEVICE, type_1=1, fault_reason=NO_READ, fault=1)
    log = blocked_once().register("FSTS", 0b10, wide=False)
    log.register("FRCD", record & (1 << 64) - 1).register("FRCD", record >> 64, part=8)
    assert log.troubles() == ""
    log.register("FRCD", record >> 64 ^ 1, part=8)
    assert "read of FRCD" in log.troubles()


def test_an_overflow_without_need_is_reported():
    log = Log().enable().request(iova=0x4000).blocked(NO_READ, iova=0x4000, disposition=FaultDisposition.OVERFLOWED)
    assert "must be RECORDED" in log.troubles()


def test_the_second_fault_of_one_record_overflows():
    log = Log(fault_records=0).enable()
    for disposition in (FaultDisposition.RECORDED, FaultDisposition.OVERFLOWED):
        log.request(iova=0x4000).blocked(NO_READ, iova=0x4000, disposition=disposition)
    assert log.register("FSTS", 0b11, wide=False).troubles() == ""


def test_a_fault_event_is_owed_once():
    log = Log().write("FEADDR", 0x51000, wide=False).write("FEDATA", 7, wide=False).write("FECTL", 0, wide=False).enable()
    log.request(iova=0x4000).blocked(NO_READ, iova=0x4000)
    silent = [*log.notes, Note(log.cycle + 100, "settled")]
    log.notes = silent
    assert "FAULT_EVENT of 0x7 to 0x51000 was never stored" in log.troubles()
    log.event(EventKind.MESSAGE, hpa=0x51000, tag=MessageKind.FAULT_EVENT, detail=7)
    assert log.troubles() == ""
    log.event(EventKind.MESSAGE, hpa=0x51000, tag=MessageKind.FAULT_EVENT, detail=7)
    assert "nothing asks for it now" in log.troubles()


def test_a_masked_fault_event_is_pending():
    log = blocked_once().register("FECTL", 1 << 30 | MASKED, wide=False)
    assert log.troubles() == ""
    assert "read of FECTL" in log.register("FECTL", MASKED, wide=False).troubles()


# --- registers ---

@pytest.mark.parametrize(("name", "value", "wide"), [("VER", 0x51, False), ("CAP", 0, True), ("GSTS", 1, False)])
def test_a_register_that_shows_something_else_is_reported(name, value, wide):
    assert f"read of {name}" in Log().register(name, value, wide=wide).troubles()


def test_a_command_by_registers_may_not_end_before_its_invalidation():
    log = Log().enable().write("CCMD", 1 << 63 | 1 << 61).begin(**CONTEXT_CACHE)
    done = 1 << 59 | 1 << 61
    assert "read of CCMD" in Log().enable().write("CCMD", 1 << 63 | 1 << 61).begin(**CONTEXT_CACHE).register(
        "CCMD", done).end().troubles()
    assert log.end().register("CCMD", 1 << 63 | 1 << 61).register("CCMD", done).troubles() == ""
    assert "read of CCMD" in log.register("CCMD", 1 << 63 | 1 << 61).troubles()   # once ended, it has ended


def test_a_protocol_error_must_be_one():
    assert "taken for a protocol error" in Log().write("IQT", 0, violation=True).troubles()
    assert "was not taken" in Log().enable().enable_queue().write("IQA", 0).troubles()
    assert Log().enable().enable_queue().write("IQA", 0, violation=True).troubles() == ""


# --- the queue ---

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
