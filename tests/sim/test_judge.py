"""The judge is fed lies, and must object by the right law and no other."""
import numpy as np
import pytest

from hw.spec.bench import POISON_BYTE
from hw.spec.dma import Access, Status
from hw.spec.events import Verdict
from hw.spec.faults import FaultReason
from hw.spec.tables import PageSize
from tests.sim.judging import (
    DOMAIN_A,
    DOMAIN_B,
    DOMAIN_PASS,
    ENTRY_A,
    LEAF_A,
    PAGE_A,
    PAGE_A_READ_ONLY,
    PAGE_B,
    PASSING,
    STRANGER,
    TABLE_A,
    TABLE_B,
    A,
    B,
    blocked,
    broken,
    context_invalidation,
    control,
    dma,
    done,
    exchange,
    fault,
    fill,
    invalidation,
    judge_of,
    memory_read,
    poisoned,
    reply,
    request,
    store64,
)
from tests.sim.machine import ROOT, context_entry, entry, root_entry

# --- truth ---

def honest_run():
    """Misses and hits of both devices, a read-only page, a blocked stranger, an unmap, its invalidation, a pass-through."""
    return [
        dma(10), fill(14), dma(30, hit=1), dma(50, source_id=B, page=PAGE_B, domain_id=DOMAIN_B, table=TABLE_B),
        fill(54, PAGE_B, DOMAIN_B, table=TABLE_B, way=1), dma(70, iova=0x2000, page=PAGE_A_READ_ONLY),
        fill(74, PAGE_A_READ_ONLY, iova=0x2000, writable=0, way=2),
        blocked(90, source_id=STRANGER, reason=FaultReason.CONTEXT_NOT_PRESENT),
        fault(95, STRANGER, FaultReason.CONTEXT_NOT_PRESENT), memory_read(96, ROOT << 12),
        store64(200, LEAF_A + 8, 0), invalidation(220, 230, drain=1), dma(240), fill(244),
        dma(260, source_id=B, page=PAGE_B, domain_id=DOMAIN_B, table=TABLE_B, hit=1),
        dma(280, source_id=PASSING, iova=0x77000, page=0x77, domain_id=DOMAIN_PASS, table=0, page_size=PageSize.UNTRANSLATED),
    ]


def test_honest_run_breaks_no_law_and_every_law_with_something_to_judge_says_pass():
    judge = judge_of()
    judge.preserve([A, B])
    judge.handover_begins(cycle=1)
    assert broken(judge, *honest_run()) == set()
    verdict = judge.verdict()
    assert {law for law, says in verdict.items() if says["status"] == "pass"} == {"L1", "L2", "L3", "L5", "L6", "L7", "L9"}


def test_use_after_free_is_checked_only_while_something_is_free():
    judge = judge_of()
    judge.memory_written(*poisoned(25, 0x999))
    broken(judge, dma(10), dma(30))
    verdict = judge.verdict()
    assert (verdict["L4"]["status"], verdict["L4"]["checks"]) == ("pass", 1)
    assert judge.free_pages == {0x999}


def test_order_is_not_checked_and_says_why():
    verdict = judge_of().verdict()
    assert verdict["L8"]["status"] == "not_checked"
    assert "no descriptor was fetched" in verdict["L8"]["note"]


def test_law_that_had_nothing_to_judge_has_not_passed():
    verdict = judge_of(declared=False).verdict()
    assert {says["status"] for says in verdict.values()} == {"not_checked"}


def test_checks_are_counted():
    judge = judge_of()
    broken(judge, dma(10), dma(30), fill(15))
    verdict = judge.verdict()
    assert (verdict["L1"]["checks"], verdict["L2"]["checks"], verdict["L4"]["checks"], verdict["L7"]["checks"]) == (2, 2, 0, 2)
    assert verdict["L6"]["checks"] == 4
    assert verdict["L3"]["checks"] == 3  # the two context entries when they were declared, and the fill


def test_rows_of_an_event_log_are_judged_like_events():
    columns = ("cycle", "kind", "source_id", "domain_id", "tag", "iova", "hpa")
    dtype = np.dtype([(name, "<u8") for name in (*columns, "detail_lo", "detail_hi")])
    events = [*dma(10), fill(14), *dma(30, hit=1, page=PAGE_B)]
    rows = np.array([(*event[:7], event.detail & (1 << 64) - 1, event.detail >> 64) for event in sorted(events)], dtype=dtype)
    judge = judge_of()
    judge.consume_rows(rows)
    verdict = judge.verdict()
    assert {law for law, says in verdict.items() if says["status"] == "fail"} == {"L2", "L7"}
    assert verdict["L3"]["checks"] == 3


# --- lies: each breaks exactly the law named ---

LIES = {
    "L1: a live device is blocked": ({"L1"}, [blocked(10)]),
    "L1: a live device faults, and the record is suppressed": ({"L1"}, [dma(10), fault(15)]),
    "L2: the engine finds another page": ({"L2"}, [dma(10, verdict=Verdict.WRONG)]),
    "L2: memory refuses the address": ({"L2"}, [dma(10, verdict=Verdict.ERROR)]),
    "L2: the DMA goes elsewhere than the reply said": ({"L2"}, [request(10), reply(15), done(20, page=PAGE_B)]),
    "L2: the right page, another place in it": (
        {"L2"}, [request(10), *(event._replace(hpa=event.hpa + 0x40) for event in (reply(15), done(20)))]),
    "L2: the DMA is done under another domain than the reply said": (
        {"L2"}, [request(10), reply(15), done(20, domain_id=DOMAIN_B)]),
    "L3: a line with another page": ({"L3"}, [fill(10, PAGE_B)]),
    "L3: a line with more permission than the leaf": ({"L3"}, [fill(10, PAGE_A_READ_ONLY, iova=0x2000, writable=1)]),
    "L3: a line larger than the leaf": ({"L3"}, [fill(10, page_size=PageSize.SIZE_2M)]),
    "L3: a line from the table of another domain": ({"L3"}, [fill(10, PAGE_B, table=TABLE_B)]),
    "L3: a line of a domain that nobody declared": ({"L3"}, [fill(10, domain_id=0x99)]),
    "L3: a marked walk fills after its invalidation began": (
        {"L3"}, [store64(10, LEAF_A, 0), invalidation(30, 40), fill(35)]),
    "L3: a line filled after its invalidation completed": ({"L3"}, [store64(10, LEAF_A, 0), invalidation(30, 40), fill(45)]),
    "L5: a request accepted after an unmap was invalidated still gets the page": (
        {"L5"}, [store64(10, LEAF_A, 0), invalidation(30, 40), dma(41, hit=1)]),
    "L5: a walk begun after an unmap was invalidated still finds the page": (
        {"L5"}, [store64(10, LEAF_A, 0), invalidation(30, 40), dma(41)]),
    "L5: what was right and is asked again is wrong after its invalidation": (
        {"L5"}, [dma(1, hit=1), store64(20, LEAF_A, 0), invalidation(30, 40), dma(41, hit=1)]),
    "L5: a context entry is used after it was cleared and invalidated": (
        {"L5"}, [exchange(10, ENTRY_A, 0), context_invalidation(30, 40), dma(41)]),
    "L5: a DMA is under way when a drain completes": (
        {"L5"}, [request(10), reply(15), invalidation(30, 40, drain=1), done(50)]),
    "L5: a DMA looked up before a drain began is answered only while it is under way, and not done when it completes": (
        {"L5"}, [request(10), invalidation(30, 40, drain=1), reply(35), done(50)]),
    "L5: a DMA looked up before a drain began is answered only after it has completed": (
        {"L5"}, [request(10), invalidation(30, 40, drain=1), reply(45), done(50)]),
    "L5: a DMA answered too late with what was removed is under way when a drain completes": (
        {"L5"}, [store64(10, LEAF_A, 0), request(29), invalidation(30, 40, drain=1), reply(35), done(50)]),
    "L6: a request is never answered": ({"L6"}, [request(10)]),
    "L6: a DMA is never done": ({"L6"}, [request(10), reply(15)]),
    "L6: two replies": ({"L6"}, [dma(10), reply(17)]),
    "L6: a reply that nobody asked for": ({"L6"}, [reply(17)]),
    "L6: a reply to another device": ({"L6"}, [request(30), reply(35, source_id=B), done(40)]),
    "L6: a reply for another address": ({"L6"}, [request(30), reply(35, iova=0x2000, page=PAGE_A_READ_ONLY), done(40)]),
    "L6: done twice": ({"L6"}, [dma(10), done(30)]),
    "L6: done without a reply": ({"L6"}, [request(10), done(20)]),
    "L6: blocked without a reason": ({"L6"}, [blocked(10, source_id=STRANGER, reason=FaultReason.NONE)]),
    "L6: a tag given out twice": ({"L6"}, [request(10), reply(15), done(20), request(12), reply(25), done(30)]),
    "L7: translated under another device's domain": (
        {"L7"}, [dma(10, page=PAGE_B, domain_id=DOMAIN_B, table=TABLE_B)]),
    "L7: a device without a context entry is let through": ({"L7"}, [dma(10, source_id=STRANGER)]),
    "L7: a write to a read-only page": ({"L7"}, [dma(10, iova=0x2000, page=PAGE_A_READ_ONLY, access=Access.WRITE)]),
    "L7: a write to a page that was read-only before and after an invalidation": (
        {"L7"}, [invalidation(2, 8), dma(10, iova=0x2000, page=PAGE_A_READ_ONLY, access=Access.WRITE)]),
    "L7: an atomic access to a read-only page": ({"L7"}, [dma(10, iova=0x2000, page=PAGE_A_READ_ONLY, access=Access.ATOMIC)]),
    "L7: a walk through a table that its context entry does not name": ({"L7"}, [dma(10, table=TABLE_B)]),
    "L7: a context entry that translates is passed through": (
        {"L7"}, [dma(10, iova=0x9000000, page=0x9000, page_size=PageSize.UNTRANSLATED)]),
}


@pytest.mark.parametrize("lie", LIES)
def test_lie_breaks_exactly_its_law(lie):
    laws, events = LIES[lie]
    judge = judge_of()
    assert broken(judge, *events) == laws
    for law in laws:
        assert "cycle" in judge.verdict()[law]["violations"][0]


# --- L4 ---

def test_unit_that_reads_a_freed_page_breaks_use_after_free():
    judge = judge_of()
    judge.memory_written(*poisoned(20, 0x500))
    assert broken(judge, memory_read(19, 0x500_040), memory_read(20, 0x500_040), memory_read(21, 0x500_040)) == {"L4"}
    assert judge.verdict()["L4"]["violation_count"] == 1


def test_dma_to_a_freed_page_breaks_use_after_free():
    judge = judge_of()
    judge.memory_written(*poisoned(5, PAGE_A))
    assert broken(judge, dma(10, verdict=Verdict.AFTER_FREE)) == {"L4"}


def test_poison_found_by_the_engine_breaks_use_after_free():
    assert broken(judge_of(), dma(10, verdict=Verdict.AFTER_FREE)) == {"L4"}


@pytest.mark.parametrize("store", [
    lambda judge: judge.memory_written(40, 0x500_000, b"\0"),
    lambda judge: judge.consume(store64(40, 0x500_008, 7)),
])
def test_page_that_is_written_again_is_no_longer_free(store):
    judge = judge_of()
    judge.memory_written(*poisoned(20, 0x500))
    judge.consume(dma(22))
    store(judge)
    assert broken(judge, memory_read(50, 0x500_000)) == set()


def test_page_poisoned_in_parts_is_free_when_all_of_it_is():
    judge = judge_of()
    for part in range(4):
        judge.memory_written(20 + part, (0x500 << 12) + 1024 * part, bytes([POISON_BYTE]) * 1024)
    assert broken(judge, memory_read(23, 0x500_000)) == set()
    judge.consume([memory_read(30, 0x500_000)])
    assert judge.verdict()["L4"]["violation_count"] == 1


# --- L5, L6: events of one cycle ---

def test_dma_done_in_the_cycle_in_which_the_drain_completes_is_in_time():
    end = invalidation(20, 30, drain=1)
    assert broken(judge_of(), request(10), reply(15), end, done(30)) == set()


def test_without_drain_a_dma_may_be_under_way_when_the_invalidation_completes():
    assert broken(judge_of(), request(10), reply(15), invalidation(20, 30), done(50)) == set()


def test_request_accepted_in_the_cycle_of_completion_may_still_use_what_was_removed():
    run = [store64(5, LEAF_A, 0), invalidation(20, 30)]
    assert broken(judge_of(), *run, dma(30, hit=1)) == set()
    assert broken(judge_of(), *run, dma(31, hit=1)) == {"L5"}


def test_approval_of_a_late_request_does_not_excuse_the_next_one():
    run = [store64(5, LEAF_A, 0), request(29, tag=9), invalidation(20, 30), reply(36, tag=9, hit=1), done(40, tag=9)]
    assert broken(judge_of(), *run) == set()
    assert broken(judge_of(), *run, dma(50, hit=1)) == {"L5"}


def test_tag_may_be_given_out_again_in_the_cycle_in_which_it_is_done():
    assert broken(judge_of(), dma(10), dma(20)) == set()
    assert broken(judge_of(), dma(20), dma(10)) == set()   # the request's port is read before that of DONE


def test_blocked_dma_may_be_done_in_the_cycle_of_its_reply():
    events = [request(10, source_id=STRANGER),
              reply(15, source_id=STRANGER, status=Status.BLOCKED, reason=FaultReason.CONTEXT_NOT_PRESENT),
              done(15, source_id=STRANGER, verdict=Verdict.BLOCKED)]
    assert broken(judge_of(), *events) == set()


# --- L7 ---

def test_translation_off_lets_everybody_through_and_on_does_not():
    passed = {"iova": 0x5000, "page": 5, "domain_id": 0, "table": 0, "page_size": PageSize.UNTRANSLATED}
    off = judge_of(declared=False, root_table=None)
    assert broken(off, dma(10, source_id=STRANGER, **passed)) == set()
    assert broken(judge_of(declared=False, root_table=None), control(12), dma(10, source_id=STRANGER, **passed)) == set()
    on = judge_of(declared=False, root_table=None)
    assert broken(on, control(5), dma(10, source_id=STRANGER, **passed)) == {"L7"}


def test_page_in_the_interrupt_window_is_nobodys():
    judge = judge_of(declared=False)
    judge.memory_written(None, LEAF_A, entry(0xFEE01).to_bytes(8, "little"))
    judge.declare(DOMAIN_A, table_pointer=TABLE_A)
    assert broken(judge, dma(10, page=0xFEE01)) == {"L7"}


def test_new_root_table_gives_devices_new_contexts():
    judge, other_root, other_context = judge_of(), 0x110, 0x111
    judge.memory_written(None, other_root << 12, root_entry(other_context).to_bytes(16, "little"))
    judge.memory_written(None, (other_context << 12) + 16 * A, context_entry(TABLE_B, DOMAIN_B).to_bytes(16, "little"))
    moved = dict(page=PAGE_B, domain_id=DOMAIN_B, table=TABLE_B)
    assert broken(judge, dma(10), control(30, root=other_root), dma(40, **moved), dma(60)) == set()
    assert broken(judge_of(), dma(10), dma(40, **moved)) == {"L7"}


# --- how it is told ---

def test_events_must_come_in_the_order_of_cycles():
    judge = judge_of()
    judge.consume(dma(10))
    with pytest.raises(ValueError, match="an event of cycle 9 after one of cycle 20"):
        judge.consume([request(9)])


def test_declaration_without_content_is_refused():
    with pytest.raises(ValueError, match="domain 0x5: declare translations, a table pointer or both"):
        judge_of().declare(5)
