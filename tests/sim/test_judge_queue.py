"""The judge is told lies about the invalidation queue: order (L8), queue and messages in freed pages (L4), negative lines (L3)."""
import pytest

from hw.spec.codec import encode
from hw.spec.events import MessageKind, QueueTrouble
from hw.spec.faults import FaultReason
from hw.spec.invalidation import (
    ContextCacheDescriptor,
    DescriptorType,
    DeviceTlbDescriptor,
    Granularity,
    InvalidationKind,
    IotlbDescriptor,
    QueueError,
    TranslationTableMode,
    WaitDescriptor,
)
from hw.spec.memory import MemoryClient
from hw.spec.tables import PageSize
from tests.sim.judging import (
    DOMAIN_A,
    ENTRY_B,
    LEAF_A,
    TABLE_A,
    A,
    abandoned,
    blocked,
    broken,
    control,
    descriptor,
    dma,
    exchange,
    fill,
    invalidation,
    judge_of,
    memory_read,
    message,
    poisoned,
    store64,
    trouble,
)
from tests.sim.machine import straps

STATUS, QUEUE_PAGE = 0x7F_0010, 0x700
INTERRUPT = 0xFEE0_1000
GLOBAL, DOMAIN, SELECTIVE = Granularity.GLOBAL, Granularity.DOMAIN_SELECTIVE, Granularity.SELECTIVE
CONTEXT = InvalidationKind.CONTEXT_CACHE

CONTEXT_OF_A = encode(ContextCacheDescriptor, type=DescriptorType.CONTEXT_CACHE, granularity=SELECTIVE, domain_id=DOMAIN_A,
                      source_id=A)
LINES_OF_A = encode(IotlbDescriptor, type=DescriptorType.IOTLB, granularity=DOMAIN, domain_id=DOMAIN_A, drain_reads=1,
                    drain_writes=1)
PAGES_OF_A = encode(IotlbDescriptor, type=DescriptorType.IOTLB, granularity=SELECTIVE, domain_id=DOMAIN_A, page=5,
                    address_mask=2)
DEVICE_TLB = encode(DeviceTlbDescriptor, type=DescriptorType.DEVICE_TLB, source_id=A)


def wait(data=1, address=STATUS, **fields):
    return encode(WaitDescriptor, **({"type": DescriptorType.WAIT, "status_write": 1, "status_data": data,
                                      "status_address": address >> 2} | fields))


def begin_context(cycle, **fields):
    """What CONTEXT_OF_A asks for."""
    return invalidation(cycle, cycle, CONTEXT, SELECTIVE, **({"source_id": A} | fields))[0]


def begin_lines(cycle, **fields):
    """What LINES_OF_A asks for."""
    return invalidation(cycle, cycle, **({"drain": 1} | fields))[0]


def begin_pages(cycle):
    """What PAGES_OF_A asks for: the page aligned to the number of pages."""
    return invalidation(cycle, cycle, granularity=SELECTIVE, page=4, address_mask=2)[0]


def end(cycle):
    return invalidation(cycle, cycle)[1]


def program(*, status=60, data=1, address=STATUS):
    """Context cache, IOTLB, wait: fetched at once, executed later, in order."""
    return [descriptor(10, CONTEXT_OF_A), descriptor(11, LINES_OF_A), descriptor(12, wait()), begin_context(20), begin_lines(30),
            end(50), message(status, address, data)]


def event(cycle):
    return message(cycle, INTERRUPT, 7, MessageKind.INVALIDATION_EVENT)


# --- truth ---

def test_honest_queue_breaks_no_law_and_order_is_checked():
    judge = judge_of()
    assert broken(judge, program(), dma(70), descriptor(100, PAGES_OF_A), descriptor(101, wait(2)), begin_pages(110), end(115),
                  message(120, STATUS, 2)) == set()
    assert judge.verdict()["L8"]["status"] == "pass"
    assert judge.verdict()["L8"]["checks"] >= 5


TRUTHS = {
    "several waits share one end": [
        descriptor(10, LINES_OF_A), descriptor(11, wait(1)), descriptor(12, wait(2)), begin_lines(20), end(30),
        message(40, STATUS, 1), message(45, STATUS, 2)],
    "a wait that stores nothing completes unseen": [descriptor(10, wait(status_write=0)), descriptor(11, wait()),
                                                    message(20, STATUS, 1)],
    "status data beyond the memory port are never seen": [
        descriptor(10, wait(address=1 << 52)), descriptor(11, wait()), message(20, STATUS, 1)],
    "an event after its wait, and another after the next": [
        descriptor(10, wait(1, interrupt=1)), message(20, STATUS, 1), event(25), descriptor(30, wait(2, interrupt=1)),
        message(40, STATUS, 2), event(45)],
    "an event after a wait that stores nothing": [
        descriptor(10, LINES_OF_A), descriptor(11, wait(status_write=0, interrupt=1)), begin_lines(20), end(30), event(40)],
    "an event after the second of two waits that store nothing": [
        descriptor(10, wait(status_write=0)), descriptor(11, wait(status_write=0, interrupt=1)), event(40)],
    "one event for two waits": [
        descriptor(10, wait(1, interrupt=1)), descriptor(11, wait(2, interrupt=1)), message(20, STATUS, 1),
        message(25, STATUS, 2), event(30)],
    "an event that is late comes when its wait is long done": [
        descriptor(10, wait(1, interrupt=1)), descriptor(11, wait(2, interrupt=1)), message(20, STATUS, 1),
        message(25, STATUS, 2), event(30), event(35)],
    "a fault event is nobody's wait": [message(20, INTERRUPT, 7, MessageKind.FAULT_EVENT), descriptor(30, wait()),
                                       message(40, STATUS, 1)],
    "a device times out, and the waits fetched by then or under way are abandoned": [
        descriptor(10, DEVICE_TLB), descriptor(11, wait(1)), trouble(20, QueueTrouble.TIME_OUT), descriptor(21, wait(2)),
        abandoned(22, wait(1)), abandoned(24, wait(2)), descriptor(40, wait(3)), message(50, STATUS, 3)],
    "a completion error holds nothing up": [
        descriptor(10, DEVICE_TLB), descriptor(11, wait()), trouble(20, QueueTrouble.COMPLETION_ERROR), message(30, STATUS, 1)],
    "a queue that stands still for an error may leave things undone": [
        descriptor(10, LINES_OF_A), descriptor(11, wait()), trouble(20, QueueTrouble.QUEUE_ERROR, QueueError.BAD_TYPE)],
    "TE brings an invalidation that no descriptor asked for": [
        descriptor(10, CONTEXT_OF_A), descriptor(11, encode(
            IotlbDescriptor, type=DescriptorType.IOTLB, granularity=GLOBAL, drain_reads=1)), descriptor(12, wait()),
        control(15, enabled=0), invalidation(20, 20, granularity=GLOBAL, drain=1)[0], begin_context(25),
        invalidation(30, 30, granularity=GLOBAL, drain=1)[0], end(40), message(50, STATUS, 1)],
    "invalidations by registers are none of the queue's": [*invalidation(10, 20), *invalidation(30, 40, CONTEXT, GLOBAL),
                                                           descriptor(50, wait()), message(60, STATUS, 1)],
}


@pytest.mark.parametrize("truth", TRUTHS)
def test_truth_breaks_no_law(truth):
    assert broken(judge_of(), *TRUTHS[truth]) == set()


def test_srtp_brings_invalidations_of_its_own_where_the_machine_says_so():
    ahead = [descriptor(10, CONTEXT_OF_A), descriptor(11, encode(
                 ContextCacheDescriptor, type=DescriptorType.CONTEXT_CACHE, granularity=GLOBAL)), descriptor(12, wait()),
             control(15, latched=1), invalidation(20, 20, CONTEXT, GLOBAL)[0], begin_context(25),
             invalidation(30, 30, CONTEXT, GLOBAL)[0], end(40), message(50, STATUS, 1)]
    assert broken(judge_of(strap=straps(esrtps=1)), *ahead) == set()
    assert broken(judge_of(), *ahead) == {"L8"}


# --- lies about order: each breaks L8 alone ---

LIES = {
    "status before the invalidations have begun": [
        descriptor(10, LINES_OF_A), descriptor(11, wait()), message(20, STATUS, 1), begin_lines(30), end(40)],
    "status while the last scan runs": [
        descriptor(10, LINES_OF_A), descriptor(11, wait()), begin_lines(20), message(30, STATUS, 1), end(40)],
    "status after the end of the first of two invalidations": [
        descriptor(10, CONTEXT_OF_A), descriptor(11, LINES_OF_A), descriptor(12, wait()), begin_context(20), end(25),
        begin_lines(30), message(35, STATUS, 1), end(40)],
    "an invalidation that is skipped": [
        descriptor(10, CONTEXT_OF_A), descriptor(11, LINES_OF_A), descriptor(12, wait()), begin_lines(20), end(30),
        message(40, STATUS, 1)],
    "an invalidation of another domain": [
        descriptor(10, LINES_OF_A), descriptor(11, wait()), begin_lines(20, domain_id=9), end(30), message(40, STATUS, 1)],
    "an invalidation without the drain that was asked for": [
        descriptor(10, LINES_OF_A), descriptor(11, wait()), begin_lines(20, drain=0), end(30), message(40, STATUS, 1)],
    "a context invalidation with another function mask": [
        descriptor(10, CONTEXT_OF_A), descriptor(11, wait()), begin_context(20, function_mask=1), end(30),
        message(40, STATUS, 1)],
    "an IOTLB invalidation that overtakes one of the context cache": [
        descriptor(10, CONTEXT_OF_A), descriptor(11, LINES_OF_A), descriptor(12, wait()), begin_lines(20), begin_context(30),
        end(40), message(50, STATUS, 1)],
    "an invalidation that does not wait for the fence": [
        descriptor(10, LINES_OF_A), descriptor(11, wait(1, fence=1)), descriptor(12, PAGES_OF_A), descriptor(13, wait(2)),
        begin_lines(20), begin_pages(25), end(30), message(40, STATUS, 1), message(45, STATUS, 2)],
    "an invalidation that does not wait for a fence without status": [
        descriptor(10, LINES_OF_A), descriptor(11, wait(status_write=0, fence=1)), descriptor(12, PAGES_OF_A),
        descriptor(13, wait(2)), begin_lines(20), begin_pages(25), end(30), message(45, STATUS, 2)],
    "status that no wait asks for": [message(20, STATUS, 1)],
    "status twice": [*program(), message(70, STATUS, 1)],
    "status with other data": [descriptor(10, wait()), message(20, STATUS, 2), trouble(30, QueueTrouble.QUEUE_ERROR)],
    "status at another address": [descriptor(10, wait()), message(20, STATUS + 4, 1), trouble(30, QueueTrouble.QUEUE_ERROR)],
    "status of the second wait first": [
        descriptor(10, wait(1)), descriptor(11, wait(2)), message(20, STATUS, 2), message(25, STATUS, 1)],
    "an event before the status": [descriptor(10, wait(interrupt=1)), event(15), message(20, STATUS, 1)],
    "an event of a wait without IF": [descriptor(10, wait()), message(20, STATUS, 1), event(25)],
    "more events than waits": [descriptor(10, wait(interrupt=1)), message(20, STATUS, 1), event(25), event(30)],
    "an event while the scan runs": [
        descriptor(10, LINES_OF_A), descriptor(11, wait(status_write=0, interrupt=1)), begin_lines(20), event(25), end(30)],
    "status of a wait that a time-out has abandoned": [
        descriptor(10, DEVICE_TLB), descriptor(11, wait()), trouble(20, QueueTrouble.TIME_OUT), message(30, STATUS, 1)],
    "a wait abandoned though nobody timed out": [descriptor(10, wait()), abandoned(20, wait())],
    "a wait abandoned that was fetched long after the time-out": [
        trouble(20, QueueTrouble.TIME_OUT), descriptor(21, LINES_OF_A), descriptor(30, wait()), abandoned(40, wait()),
        begin_lines(50), end(60)],
    "a wait abandoned that was never fetched": [trouble(20, QueueTrouble.TIME_OUT), abandoned(30, wait())],
    "a wait that never completes": [descriptor(10, wait())],
    "a wait that never completes though only a completion error came": [
        descriptor(10, wait()), trouble(20, QueueTrouble.COMPLETION_ERROR)],
    "a wait that is forgotten when the queue goes on after an error": [
        descriptor(10, wait()), trouble(20, QueueTrouble.QUEUE_ERROR), descriptor(30, DEVICE_TLB)],
    "a fence that cannot have completed": [descriptor(10, LINES_OF_A), descriptor(11, wait(status_write=0)), begin_lines(20)],
    "an invalidation that never begins": [descriptor(10, LINES_OF_A)],
}


@pytest.mark.parametrize("lie", LIES)
def test_lie_about_order_breaks_order_alone(lie):
    assert broken(judge_of(), *LIES[lie]) == {"L8"}


def test_status_may_come_in_the_cycle_of_the_end_and_not_before():
    assert broken(judge_of(), program(status=50)) == set()
    assert broken(judge_of(), program(status=49)) == {"L8"}


def test_status_names_what_it_did_not_wait_for():
    judge = judge_of()
    broken(judge, *LIES["status while the last scan runs"])
    [sentence] = judge.verdict()["L8"]["violations"]
    assert "cycle 30: status 0x1 was stored at 0x7f0010" in sentence
    assert "the iotlb descriptor" in sentence
    assert "fetched in cycle 10, has not ended" in sentence


def test_invalidation_that_was_skipped_is_a_use_of_what_was_removed_only_if_somebody_uses_it():
    """With the order broken and a stale hit after the wait, the replies are wrong in their own right."""
    judge = judge_of()
    unmapped = [fill(4), dma(2), store64(100, LEAF_A, 0), descriptor(110, LINES_OF_A), descriptor(111, wait()),
                message(150, STATUS, 1)]
    assert broken(judge, *unmapped) == {"L8"}
    assert broken(judge_of(), *unmapped[:3], *(each._replace(cycle=each.cycle) for each in unmapped[3:5]),
                  begin_lines(120), end(130), message(150, STATUS, 1), dma(200, hit=1)) == {"L5"}


def test_end_completes_every_invalidation_that_has_begun():
    """Two invalidations share one end; the first one's lines may not be used after it either."""
    judge = judge_of()
    assert broken(judge, dma(2), fill(4), store64(100, LEAF_A, 0), begin_lines(120), begin_context(125), end(140),
                  dma(200, hit=1)) == {"L5"}


# --- use after free ---

def freed(page):
    judge = judge_of()
    judge.memory_written(*poisoned(25, page))
    return judge


@pytest.mark.parametrize("client", [MemoryClient.CONTEXT_WALKER, MemoryClient.PAGE_WALKER, MemoryClient.INVALIDATION_QUEUE])
def test_read_of_a_freed_page_by_any_part_of_the_unit_breaks_use_after_free(client):
    assert broken(freed(QUEUE_PAGE), dma(10), memory_read(40, QUEUE_PAGE << 12, client)) == {"L4"}


@pytest.mark.parametrize("stored", [[descriptor(10, wait()), *message(40, STATUS, 1)],
                                    message(40, STATUS, 7, MessageKind.FAULT_EVENT)])
def test_store_of_status_or_event_into_a_freed_page_breaks_use_after_free_alone(stored):
    assert broken(freed(STATUS >> 12), dma(10), stored) == {"L4"}


def test_page_that_the_unit_wrote_to_is_as_free_as_before():
    judge = freed(STATUS >> 12)
    broken(judge, dma(10), message(40, STATUS, 7, MessageKind.FAULT_EVENT), message(50, STATUS, 7, MessageKind.FAULT_EVENT))
    assert judge.verdict(final=False)["L4"]["violation_count"] == 2
    assert judge.free_pages == {STATUS >> 12}


def test_store_through_the_update_port_into_a_freed_page_is_no_use_and_takes_it_back():
    judge = freed(QUEUE_PAGE)
    assert broken(judge, dma(10), exchange(40, QUEUE_PAGE << 12, 5),
                  memory_read(60, QUEUE_PAGE << 12, MemoryClient.INVALIDATION_QUEUE)) == set()


def test_message_is_a_store_that_walks_may_read():
    """Status data land on a leaf: the page is another from then on, and a reply by the old one is wrong after the drain."""
    leaf_now = 0xB000 << 12 | 3
    stored = [descriptor(20, wait(leaf_now & 0xFFFF_FFFF, LEAF_A)), message(30, LEAF_A, leaf_now & 0xFFFF_FFFF)]
    judge = judge_of(declared=False)
    judge.declare(DOMAIN_A, table_pointer=TABLE_A)
    assert broken(judge, stored, dma(60, page=0xB000), fill(64, 0xB000)) == set()
    judge = judge_of(declared=False)
    judge.declare(DOMAIN_A, table_pointer=TABLE_A)
    assert broken(judge, dma(60, page=0xB000)) == {"L7"}


# --- caching mode ---

def negative(cycle, iova=0x5000):
    return fill(cycle, 0, iova=iova, readable=0, writable=0)


def test_line_that_permits_nothing_is_right_in_caching_mode_where_the_table_permits_nothing():
    caching = straps(caching_mode=1)
    assert broken(judge_of(strap=caching), dma(10), negative(20)) == set()
    assert broken(judge_of(strap=caching), dma(10), negative(20, 0x1000)) == {"L3"}
    assert broken(judge_of(), dma(10), negative(20)) == {"L3"}
    superpage = fill(20, 0, iova=0x20_0000, readable=0, writable=0, page_size=PageSize.SIZE_2M)
    assert broken(judge_of(strap=caching), dma(10), superpage) == {"L3"}


def test_line_that_permits_nothing_must_go_with_its_invalidation():
    caching = straps(caching_mode=1)
    mapped = [dma(10), store64(100, LEAF_A, 0), negative(120, 0x1000), store64(200, LEAF_A, 0x9000 << 12 | 3),
              *invalidation(220, 240)]
    assert broken(judge_of(strap=caching), *mapped) == set()
    late = negative(230, 0x1000)
    assert broken(judge_of(strap=caching), *mapped, late) == {"L3"}


# --- the table mode ---

BLOCKS_ALL = [(dict(mode=TranslationTableMode.ABORT_DMA), FaultReason.DMA_ABORTED),
              (dict(root_invalid=1), FaultReason.ROOT_POINTER_INVALID)]


@pytest.mark.parametrize(("latched", "reason"), BLOCKS_ALL)
def test_request_let_through_by_a_mode_or_a_root_table_that_blocks_all_breaks_nobody_gets_in(latched, reason):
    latch = control(100, latched=1, **latched)
    quiet = {"declared": False}
    judge = judge_of(**quiet)
    judge.declare(DOMAIN_A, table_pointer=TABLE_A)
    assert broken(judge, dma(10), dma(98), latch, blocked(120, reason=reason)) == set()
    judge = judge_of(**quiet)
    judge.declare(DOMAIN_A, table_pointer=TABLE_A)
    assert broken(judge, dma(10), latch, dma(120)) == {"L7"}


@pytest.mark.parametrize(("latched", "reason"), BLOCKS_ALL)
def test_a_mode_or_a_root_table_that_blocks_all_during_the_handover_breaks_handover(latched, reason):
    judge = judge_of(declared=False)
    judge.handover_begins(cycle=50)
    assert broken(judge, blocked(10, reason=FaultReason.CONTEXT_NOT_PRESENT), control(100, latched=1, **latched),
                  blocked(120, reason=reason)) == {"L9"}


def test_entry_of_another_device_is_no_matter_of_the_queue():
    assert broken(judge_of(), program(), exchange(80, ENTRY_B, 0, swapped=0)) == set()
