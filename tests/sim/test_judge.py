"""The judge is fed lies, and must object by the right law and no other."""
import numpy as np
import pytest

from hw.spec.bench import POISON_BYTE
from hw.spec.codec import encode
from hw.spec.dma import Access, Status
from hw.spec.events import DoneDetail, EventKind, FillDetail, ReplyDetail, Verdict
from hw.spec.faults import FaultReason
from hw.spec.invalidation import Granularity, Invalidation, InvalidationKind
from hw.spec.memory import MemoryOperation
from hw.spec.tables import PageSize, TranslationType
from sim.model.judge import Judge
from sim.model.logged_event import LoggedEvent
from sim.model.translations import Interval, Translations
from tests.sim.machine import CONTEXT, ROOT, context_entry, entry, root_entry, stores_of_path, straps

# Two devices, a table each. Both tables map IOVA 0x1000, to other pages; A also has a read-only page at 0x2000.
A, B, STRANGER, PASSING = 0x18, 0x20, 0x28, 0x30
DOMAIN_A, DOMAIN_B, DOMAIN_NEW, DOMAIN_PASS = 5, 6, 7, 8
TABLE_A, TABLE_B, TABLE_NEW = 0x200, 0x300, 0x400     # the tables below stand in the pages after
PAGE_A, PAGE_A_READ_ONLY, PAGE_B, PAGE_NEW = 0x9000, 0x9001, 0xA000, 0xB000
LEAF_A = (TABLE_A + 3 << 12) + 8                      # of IOVA 0x1000
ENTRY_A, ENTRY_B = ((CONTEXT << 12) + 16 * source_id for source_id in (A, B))

READ_ONLY_AT_2000 = Interval(0x2000, PAGE_A_READ_ONLY << 12, 0x1000, True, False)
TRANSLATIONS_A = Translations([Interval(0x1000, PAGE_A << 12, 0x1000), READ_ONLY_AT_2000])
TRANSLATIONS_B = Translations([Interval(0x1000, PAGE_B << 12, 0x1000)])


def tables():
    """(address, bytes) of every store that makes the machine."""
    quanta = {(ROOT << 12): root_entry(), ENTRY_A: context_entry(TABLE_A, DOMAIN_A), ENTRY_B: context_entry(TABLE_B, DOMAIN_B),
              (CONTEXT << 12) + 16 * PASSING: context_entry(
                  0, DOMAIN_PASS, translation_type=TranslationType.PASS_THROUGH)}
    words = dict([*stores_of_path(TABLE_A, 0x1000, entry(PAGE_A)), *stores_of_path(TABLE_B, 0x1000, entry(PAGE_B)),
                  *stores_of_path(TABLE_A, 0x2000, entry(PAGE_A_READ_ONLY, writable=0))])
    return [(hpa, value.to_bytes(16, "little")) for hpa, value in quanta.items()] + [
        (hpa, value.to_bytes(8, "little")) for hpa, value in words.items()]


def judge_of(*, declared=True, **options):
    """A judge that knows the machine, with translation on."""
    judge = Judge(straps(), **({"root_table": ROOT} | options))
    for hpa, content in tables():
        judge.memory_written(None, hpa, content)
    if declared:
        judge.declare(DOMAIN_A, TRANSLATIONS_A)
        judge.declare(DOMAIN_B, TRANSLATIONS_B)
        judge.live([A, B])
    return judge


# --- events by hand ---

def request(cycle, tag=1, source_id=A, iova=0x1000, access=Access.READ):
    return LoggedEvent(cycle, EventKind.REQUEST, source_id=source_id, tag=tag, iova=iova, detail=access.value)


def reply(cycle, tag=1, source_id=A, iova=0x1000, page=PAGE_A, domain_id=DOMAIN_A, table=TABLE_A, hit=0, status=Status.OK,
          reason=FaultReason.NONE, page_size=PageSize.SIZE_4K):
    detail = encode(ReplyDetail, status=status, page_size=page_size, fault_reason=reason, hit=hit, table_pointer=table)
    return LoggedEvent(cycle, EventKind.REPLY, source_id=source_id, domain_id=domain_id, tag=tag, iova=iova,
                       hpa=page << 12 | iova & 0xFFF, detail=detail)


def done(cycle, tag=1, source_id=A, iova=0x1000, page=PAGE_A, domain_id=DOMAIN_A, verdict=Verdict.OLD):
    return LoggedEvent(cycle, EventKind.DONE, source_id=source_id, domain_id=domain_id, tag=tag, iova=iova,
                       hpa=page << 12 | iova & 0xFFF, detail=encode(DoneDetail, verdict=verdict))


def dma(cycle, tag=1, source_id=A, iova=0x1000, access=Access.READ, verdict=Verdict.OLD, **answer):
    """Request, reply five cycles later, done ten cycles later."""
    landed = {name: value for name, value in answer.items() if name in {"page", "domain_id"}}
    return [request(cycle, tag, source_id, iova, access), reply(cycle + 5, tag, source_id, iova, **answer),
            done(cycle + 10, tag, source_id, iova, verdict=verdict, **landed)]


def blocked(cycle, tag=1, source_id=A, iova=0x1000, reason=FaultReason.READ_PERMISSION, access=Access.READ):
    return dma(cycle, tag, source_id, iova, access, verdict=Verdict.BLOCKED, status=Status.BLOCKED, reason=reason)


def fault(cycle, source_id=A, reason=FaultReason.READ_PERMISSION):
    return LoggedEvent(cycle, EventKind.FAULT, source_id=source_id, iova=0x1000, detail=reason)


def fill(cycle, page=PAGE_A, domain_id=DOMAIN_A, iova=0x1000, table=TABLE_A, readable=1, writable=1, way=0,
         page_size=PageSize.SIZE_4K):
    detail = encode(FillDetail, page_size=page_size, readable=readable, writable=writable, set_index=1, way=way,
                    table_pointer=table)
    return LoggedEvent(cycle, EventKind.IOTLB_FILL, domain_id=domain_id, iova=iova, hpa=page << 12, detail=detail)


def invalidation(begin, end, kind=InvalidationKind.IOTLB, granularity=Granularity.DOMAIN_SELECTIVE, domain_id=DOMAIN_A, **rest):
    detail = encode(Invalidation, kind=kind, granularity=granularity, domain_id=domain_id, **rest)
    return [LoggedEvent(begin, EventKind.INVALIDATION_BEGIN, domain_id=domain_id, detail=detail),
            LoggedEvent(end, EventKind.INVALIDATION_END, domain_id=domain_id, detail=detail)]


def context_invalidation(begin, end, domain_id=DOMAIN_A, source_id=A):
    return invalidation(begin, end, InvalidationKind.CONTEXT_CACHE, Granularity.SELECTIVE, domain_id, source_id=source_id)


def memory_read(cycle, hpa):
    return LoggedEvent(cycle, EventKind.MEMORY, hpa=hpa, detail=MemoryOperation.READ.value)


def exchange(cycle, hpa, desired, *, latency=4, operation=MemoryOperation.COMPARE_EXCHANGE, swapped=1):
    """A store through the update port: done in `cycle`, reported `latency` cycles later."""
    return [LoggedEvent(cycle, EventKind.MEMORY, hpa=hpa, detail=operation.value),
            LoggedEvent(cycle + latency, EventKind.UPDATE, hpa=hpa, tag=swapped, detail=desired)]


def store64(cycle, hpa, value):
    return exchange(cycle, hpa, value, operation=MemoryOperation.WRITE)


def control(cycle, *, enabled=1, root=ROOT):
    return LoggedEvent(cycle, EventKind.CONTROL, hpa=root << 12, detail=enabled)


def broken(judge, *parts):
    """The laws that a run breaks. `parts` are events and lists of them, in any order."""
    events = [event for part in parts for event in ([part] if isinstance(part, LoggedEvent) else part)]
    judge.consume(sorted(events, key=lambda event: event.cycle))
    verdict = judge.verdict()
    return {law for law, says in verdict.items() if says["status"] == "fail"}


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
    assert {law for law, says in verdict.items() if says["status"] == "pass"} == {"L1", "L2", "L3", "L4", "L5", "L6", "L7", "L9"}


def test_order_is_not_checked_and_says_why():
    verdict = judge_of().verdict()
    assert verdict["L8"]["status"] == "not_checked"
    assert "no invalidation queue" in verdict["L8"]["note"]


def test_law_that_had_nothing_to_judge_has_not_passed():
    verdict = judge_of(declared=False).verdict()
    assert {says["status"] for says in verdict.values()} == {"not_checked"}


def test_checks_are_counted():
    judge = judge_of()
    broken(judge, dma(10), dma(30), fill(15))
    verdict = judge.verdict()
    assert (verdict["L1"]["checks"], verdict["L2"]["checks"], verdict["L4"]["checks"], verdict["L7"]["checks"]) == (2, 2, 2, 2)
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

def poisoned(cycle, page):
    return cycle, page << 12, bytes([POISON_BYTE]) * 4096


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
    "L5: a DMA answered too late with what was removed is under way when a drain completes": (
        {"L5"}, [store64(10, LEAF_A, 0), request(20), invalidation(30, 40, drain=1), reply(35), done(50)]),
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


# --- L3: what a context entry says of a tag ---

def with_new_table(judge, translations=TRANSLATIONS_A, page=PAGE_A):
    """The experiment's new table for A: the same translations (or others), in other memory, under another domain."""
    for hpa, value in [*stores_of_path(TABLE_NEW, 0x1000, entry(page)),
                       *stores_of_path(TABLE_NEW, 0x2000, entry(PAGE_A_READ_ONLY, writable=0))]:
        judge.memory_written(None, hpa, value.to_bytes(8, "little"))
    judge.declare(DOMAIN_NEW, translations)
    return judge


SWAPPED = context_entry(TABLE_NEW, DOMAIN_NEW)
TRANSLATIONS_NEW = Translations([Interval(0x1000, PAGE_NEW << 12, 0x1000), READ_ONLY_AT_2000])
NEW = {"domain_id": DOMAIN_NEW, "table": TABLE_NEW}


def hitless_swap():
    """Old hits, one exchange, both kinds of answers until the invalidations complete, then only new ones."""
    return [
        dma(10), fill(14), exchange(30, ENTRY_A, SWAPPED), dma(28, tag=2, hit=1), dma(32, tag=3, verdict=Verdict.NEW, **NEW),
        fill(36, way=1, **NEW), context_invalidation(50, 60), invalidation(65, 75, drain=1),
        dma(80, verdict=Verdict.NEW, hit=1, **NEW),
    ]


def test_swap_by_one_exchange_breaks_no_law():
    judge = with_new_table(judge_of())
    judge.only_new([A], DOMAIN_NEW, cycle=75)
    judge.forbid(DOMAIN_A, cycle=75)
    judge.memory_written(78, TABLE_A << 12, bytes([POISON_BYTE]) * 0x1000)
    assert broken(judge, *hitless_swap()) == set()


def test_what_reads_a_store_before_the_store_is_reported_is_not_held_against_it():
    judge = with_new_table(judge_of())
    assert broken(judge, exchange(30, ENTRY_A, SWAPPED, latency=300), dma(40, verdict=Verdict.NEW, **NEW), fill(44, **NEW)) == set()


@pytest.mark.parametrize("half", [
    context_entry(TABLE_NEW, DOMAIN_A),   # new pointer, old domain
    context_entry(TABLE_A, DOMAIN_NEW),   # old pointer, new domain
])
def test_torn_entry_breaks_tag_coherence_though_both_tables_say_the_same(half):
    judge = with_new_table(judge_of())
    word, address = (half & (1 << 64) - 1, ENTRY_A)
    if half >> 64 != context_entry(TABLE_A, DOMAIN_A) >> 64:
        word, address = half >> 64, ENTRY_A + 8
    assert broken(judge, store64(30, address, word)) == {"L3"}
    assert "names table" in judge.verdict()["L3"]["violations"][0]


def test_line_made_through_a_torn_entry_breaks_tag_coherence_even_if_no_dma_uses_it():
    judge = judge_of(declared=False)
    judge.declare(DOMAIN_A, table_pointer=TABLE_A)
    with_new_table(judge)
    assert broken(judge, store64(30, ENTRY_A, context_entry(TABLE_NEW, DOMAIN_A) & (1 << 64) - 1),
                  fill(44, domain_id=DOMAIN_A, table=TABLE_NEW)) == {"L3"}
    assert judge.verdict()["L3"]["violation_count"] == 2


def test_new_table_that_says_something_else_than_declared_breaks_tag_coherence():
    judge = with_new_table(judge_of(), page=PAGE_NEW)
    assert broken(judge, exchange(30, ENTRY_A, SWAPPED)) == {"L3"}


def test_table_declared_by_place_and_content_must_have_that_content():
    judge = judge_of(declared=False)
    judge.declare(DOMAIN_A, TRANSLATIONS_A, table_pointer=TABLE_A)
    judge.declare(DOMAIN_B, TRANSLATIONS_A, table_pointer=TABLE_B)
    assert broken(judge, fill(10)) == {"L3"}
    assert judge.verdict()["L3"]["violation_count"] == 1


def test_second_table_under_one_tag_must_be_declared_and_makes_its_lines_ambiguous():
    same_tag = context_entry(TABLE_NEW, DOMAIN_A)
    assert broken(with_new_table(judge_of()), exchange(30, ENTRY_A, same_tag)) == {"L3"}
    judge = with_new_table(judge_of())
    judge.declare(DOMAIN_A, TRANSLATIONS_A)
    assert broken(judge, exchange(30, ENTRY_A, same_tag), fill(40, table=TABLE_NEW)) == set()
    assert judge.verdict()["L3"]["ambiguous"] == 1


def test_line_filled_under_a_forbidden_tag_breaks_tag_coherence():
    judge = judge_of()
    judge.forbid(DOMAIN_A, cycle=20)
    assert broken(judge, dma(10), fill(14), invalidation(30, 40), fill(45)) == {"L3"}


def test_stale_line_that_was_replaced_before_the_invalidation_completed_is_gone():
    assert broken(judge_of(), store64(10, LEAF_A, 0), invalidation(30, 40), fill(35),
                  fill(37, PAGE_A_READ_ONLY, iova=0x2000, writable=0)) == set()


def test_invalidation_of_other_pages_permits_the_old_translation():
    elsewhere = invalidation(30, 40, granularity=Granularity.SELECTIVE, page=8, address_mask=2)
    assert broken(judge_of(), store64(10, LEAF_A, 0), elsewhere, fill(35), dma(50, hit=1)) == set()
    around = invalidation(30, 40, granularity=Granularity.SELECTIVE, page=0, address_mask=2)
    assert broken(judge_of(), store64(10, LEAF_A, 0), around, dma(50, hit=1)) == {"L5"}


# --- L2: only new ---

def test_old_translation_after_only_new_was_declared_breaks_only_that_law():
    judge = with_new_table(judge_of())
    judge.only_new([A], DOMAIN_NEW, cycle=50)
    run = [exchange(20, ENTRY_A, SWAPPED), dma(45), dma(60)]
    assert broken(judge, *run) == {"L2"}
    assert judge.verdict()["L2"]["violation_count"] == 1   # the DMA of cycle 45 was accepted before


def test_missing_iotlb_invalidation_with_the_same_domain_breaks_only_old_or_new():
    judge = with_new_table(judge_of(), TRANSLATIONS_NEW, PAGE_NEW)
    judge.declare(DOMAIN_A, TRANSLATIONS_NEW)
    judge.only_new([A], DOMAIN_A, cycle=60)
    run = [dma(10), fill(14), exchange(30, ENTRY_A, context_entry(TABLE_NEW, DOMAIN_A)), context_invalidation(50, 58),
           dma(70, hit=1, verdict=Verdict.NEW)]
    assert broken(judge, *run) == {"L2"}


def test_context_invalidation_by_the_wrong_domain_covers_nothing_so_the_old_context_is_no_use_of_what_was_removed():
    judge = with_new_table(judge_of())
    judge.only_new([A], DOMAIN_NEW, cycle=45)
    run = [exchange(20, ENTRY_A, SWAPPED), context_invalidation(30, 40, domain_id=DOMAIN_NEW), dma(60)]
    assert broken(judge, *run) == {"L2"}
    judge = with_new_table(judge_of())
    assert broken(judge, exchange(20, ENTRY_A, SWAPPED), context_invalidation(30, 40), dma(60)) == {"L5"}


def test_place_that_no_declaration_gives_is_caught_though_engine_and_tables_agree():
    judge = judge_of(declared=False)
    judge.declare(DOMAIN_A, table_pointer=TABLE_A)
    judge.declare(DOMAIN_A, TRANSLATIONS_B, cycle=1)
    assert broken(judge, dma(10)) == set()   # a table alone leaves the place open
    wrong = Judge(straps(), root_table=ROOT)
    wrong.declare(DOMAIN_A, TRANSLATIONS_B)   # before the tables are there: nothing to compare yet
    for hpa, content in tables():
        wrong.memory_written(None, hpa, content)
    assert broken(wrong, dma(10)) == {"L2", "L3"}


# --- L1: break-before-make ---

def test_break_before_make_blocks_a_live_device_and_breaks_that_law_alone():
    judge = with_new_table(judge_of())
    cleared = context_entry(TABLE_A, DOMAIN_A, present=0)
    run = [dma(10), fill(14), exchange(30, ENTRY_A, cleared), context_invalidation(40, 50), invalidation(52, 58),
           blocked(60, reason=FaultReason.CONTEXT_NOT_PRESENT), fault(65, reason=FaultReason.CONTEXT_NOT_PRESENT),
           exchange(80, ENTRY_A, SWAPPED), dma(90, verdict=Verdict.NEW, **NEW)]
    assert broken(judge, *run) == {"L1"}
    assert judge.verdict()["L1"]["violation_count"] == 2


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


# --- L9 ---

def handover(judge=None, *, ends=None):
    judge = judge or judge_of()
    judge.preserve([A])
    judge.handover_begins(cycle=20)
    if ends is not None:
        judge.handover_ends(cycle=ends)
    return judge


@pytest.mark.parametrize("lie", [
    [control(30, enabled=0)],
    [control(30, root=0x700)],
])
def test_change_of_translation_during_the_handover_breaks_handover(lie):
    assert broken(handover(), dma(10), *lie) == {"L9"}


def test_change_of_translation_before_or_after_the_handover_is_free():
    assert broken(handover(ends=40), control(10), control(50, enabled=0)) == set()


def test_preserved_device_that_is_blocked_breaks_handover():
    judge = judge_of(declared=False)
    judge.declare(DOMAIN_A, TRANSLATIONS_A)   # nobody declares it live: that would be L1 too
    assert broken(handover(judge), blocked(30)) == {"L9"}


def test_preserved_device_that_is_blocked_after_the_handover_is_no_matter_of_the_handover():
    assert broken(handover(ends=40), blocked(50)) == {"L1"}


def test_preserved_device_that_loses_bus_mastering_breaks_handover():
    judge = handover()
    judge.bus_mastering(B, False, cycle=25)
    judge.bus_mastering(A, True, cycle=26)
    assert broken(judge, dma(10), dma(30)) == set()
    judge = handover()
    judge.bus_mastering(A, False, cycle=25)
    assert broken(judge, dma(10), dma(30)) == {"L9"}


def test_device_that_was_not_preserved_and_is_let_through_afterwards_breaks_handover():
    other = dict(source_id=B, page=PAGE_B, domain_id=DOMAIN_B, table=TABLE_B)
    assert broken(handover(ends=40), dma(35, **other)) == set()
    assert broken(handover(ends=40), dma(45, **other)) == {"L9"}


# --- how it is told ---

def test_events_must_come_in_the_order_of_cycles():
    judge = judge_of()
    judge.consume(dma(10))
    with pytest.raises(ValueError, match="an event of cycle 9 after one of cycle 20"):
        judge.consume([request(9)])


def test_declaration_without_content_is_refused():
    with pytest.raises(ValueError, match="domain 0x5: declare translations, a table pointer or both"):
        judge_of().declare(5)
