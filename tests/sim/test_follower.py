"""The scoreboard is fed the truth, and says nothing; then lies, one at a time, and says which."""
import pytest

from hw.spec.codec import encode
from hw.spec.dma import Access
from hw.spec.events import ControlDetail, EventKind, FaultDisposition, MessageKind
from hw.spec.faults import FaultReason, FaultRecord
from hw.spec.invalidation import DescriptorType, Granularity, IotlbDescriptor
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
    ROOT,
    Log,
    entry,
    invalidated_by_queue,
    wait,
)

DRAIN = encode(IotlbDescriptor, type=DescriptorType.IOTLB, granularity=Granularity.GLOBAL, drain_reads=1)
MASKED = 1 << 31


def blocked_once():
    """A log with one fault: the IOVA after the one that is mapped."""
    log = Log().enable()
    return log.request(iova=IOVA + 0x1000).blocked(NO_READ, iova=IOVA + 0x1000)


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


def drain_begun(log, *, drain=1):
    """A log in which an invalidation with a drain has begun, and its wait been fetched."""
    descriptor = DRAIN if drain else IOTLB_DESCRIPTOR
    log.queued(descriptor, wait()).fetched(0, descriptor).begin(**EVERYTHING, drain=drain)
    return log.fetched(1, wait())


def retired(log, colour=0):
    """An access is over."""
    return log.event(EventKind.RETIRE, detail=colour)


def test_completion_of_a_drain_before_an_old_access_is_over_is_reported():
    def answered():
        return Log().enable().enable_queue().request().answered()

    assert retired(drain_begun(answered())).end().status(0x77).troubles() == ""
    assert "was to drain, and request 0" in retired(drain_begun(answered()).end()).troubles()
    assert retired(drain_begun(answered(), drain=0).end()).troubles() == ""


def test_a_drain_is_honoured_by_the_next_completion_even_if_others_have_begun_since():
    log = Log().enable().enable_queue().request().answered()
    log.queued(DRAIN, CONTEXT_DESCRIPTOR, wait()).fetched(0, DRAIN).begin(**EVERYTHING, drain=1)
    log.fetched(1, CONTEXT_DESCRIPTOR).begin(**CONTEXT_CACHE).fetched(2, wait()).end()
    assert "was to drain" in log.troubles()


def test_a_retire_of_the_other_colour_is_not_that_of_an_old_access():
    log = Log().enable().enable_queue().request().answered()
    log.request(tag=1).answered(tag=1, colour=1)
    assert "request 0" in retired(drain_begun(log), colour=1).end().troubles()


def test_an_access_that_came_after_a_drain_has_begun_may_go_on():
    log = drain_begun(Log().enable().enable_queue()).request().answered()
    assert retired(log.end()).status(0x77).troubles() == ""


def test_a_retire_without_a_reply_is_reported():
    assert "no reply has it" in retired(Log().enable().request().answered(), colour=1).troubles()


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


def test_a_message_that_reaches_no_memory_leaves_the_next_ones_to_be_checked():
    def fault(number):
        log.request(iova=0x4000).blocked(NO_READ, iova=0x4000)
        log.register("FRCD", MASKED, write=True, wide=False, index=number, part=12)

    def message(data):
        return log.event(EventKind.MESSAGE, hpa=0x51000, tag=MessageKind.FAULT_EVENT, detail=data)

    log = Log().write("FEADDR", 0x51000, wide=False).write("FEUADDR", 1 << 30, wide=False).write("FECTL", 0, wide=False).enable()
    fault(0)
    log.write("FEUADDR", 0, wide=False).write("FEDATA", 7, wide=False)
    fault(1)
    message(7)
    log.write("FEDATA", 8, wide=False)
    fault(2)
    message(8)
    assert log.troubles() == ""
    assert "nothing asks for it now" in message(8).troubles()
    log.events.pop()
    fault(3)
    log.notes.append(Note(log.cycle + 100, "settled"))
    assert "FAULT_EVENT of 0x8 to 0x51000 was never stored" in log.troubles()


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
