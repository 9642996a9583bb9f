"""The judge on whole replacements and handovers: what keeps the laws, and which law each way of failing breaks."""
import pytest

from hw.spec.bench import POISON_BYTE
from hw.spec.events import Verdict
from hw.spec.faults import FaultReason
from hw.spec.invalidation import Granularity
from sim.model.judge import Judge
from sim.model.translations import Interval, Translations
from tests.sim.judging import (
    DOMAIN_A,
    DOMAIN_B,
    DOMAIN_NEW,
    ENTRY_A,
    LEAF_A,
    PAGE_A,
    PAGE_A_READ_ONLY,
    PAGE_B,
    PAGE_NEW,
    READ_ONLY_AT_2000,
    TABLE_A,
    TABLE_B,
    TABLE_NEW,
    TRANSLATIONS_A,
    TRANSLATIONS_B,
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
    reply,
    request,
    store64,
    tables,
)
from tests.sim.machine import ROOT, context_entry, entry, stores_of_path, straps

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
    assert broken(judge, dma(10)) == set()   # a table alone leaves the page open
    elsewhere = judge_of(declared=False)
    elsewhere.declare(DOMAIN_A, table_pointer=TABLE_A)
    shifted = [request(10), *(event._replace(hpa=event.hpa + 0x40) for event in (reply(15), done(20)))]
    assert broken(elsewhere, *shifted) == {"L2"}   # but not the place in it
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


def test_preserved_device_whose_dma_is_refused_after_the_handover_was_accepted_too_early_to_tell():
    """Its context was fetched when the replacement had begun: the handover is not what refused it."""
    assert broken(handover(ends=32), blocked(30)) == {"L1"}   # accepted in cycle 30, refused in cycle 35


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
