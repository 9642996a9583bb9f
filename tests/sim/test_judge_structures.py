"""The judge and the upper levels of walks: what paging-structure caches may keep, and for how long; lies, each by its law."""
import pytest

from hw.spec.tables import PageSize
from tests.sim.judging import (
    DOMAIN_A,
    DOMAIN_B,
    LEAF_A,
    PAGE_A,
    PAGE_A_READ_ONLY,
    PAGE_B,
    PAGE_NEW,
    TABLE_A,
    TABLE_B,
    TABLE_NEW,
    B,
    broken,
    context_invalidation,
    dma,
    done,
    exchange,
    fill,
    invalidation,
    judge_of,
    page_invalidation,
    reply,
    request,
    store64,
    structure_fill,
)
from tests.sim.judging import ENTRY_A as CONTEXT_ENTRY_A
from tests.sim.machine import context_entry, entry, stores_of_path

TOP_A, LEVEL_3_A, LEVEL_2_A = TABLE_A << 12, TABLE_A + 1 << 12, TABLE_A + 2 << 12   # the entries on the way to IOVA 0x1000
OTHER_LEAVES = TABLE_NEW + 3        # a table of leaves that maps 0x1000 to PAGE_NEW
MOVED = entry(OTHER_LEAVES)
LARGE = entry(0x40000, page_size=1)


def judge_with_other_leaves():
    """The machine, and tables that stand ready; what the experiment says of A's table is where it stands."""
    judge = judge_of(declared=False)
    judge.declare(DOMAIN_A, table_pointer=TABLE_A)
    judge.declare(DOMAIN_B, table_pointer=TABLE_B)
    for hpa, value in stores_of_path(TABLE_NEW, 0x1000, entry(PAGE_NEW)):
        judge.memory_written(None, hpa, value.to_bytes(8, "little"))
    return judge


def moved(cycle):
    """The entry of level 2 names another table of leaves from now on."""
    return store64(cycle, LEVEL_2_A, MOVED)


# --- truth ---

def test_every_upper_level_of_a_walk_may_be_kept_and_is_judged():
    judge = judge_of()
    run = [dma(10), structure_fill(11, 4, TABLE_A + 1), structure_fill(12, 3, TABLE_A + 2), structure_fill(13), fill(14),
           invalidation(20, 30), structure_fill(35), dma(50, source_id=B, page=PAGE_B, domain_id=DOMAIN_B, table=TABLE_B),
           structure_fill(52, names=TABLE_B + 3, domain_id=DOMAIN_B, table=TABLE_B)]
    assert broken(judge, *run) == set()
    assert judge.verdict()["L3"]["checks"] == 2 + 5 + 1      # the context entries, the fills of upper levels, the line


def test_neighbours_of_one_word_are_lines_though_nobody_asked_for_them():
    assert broken(judge_of(), dma(10), fill(14), fill(14, PAGE_A_READ_ONLY, iova=0x2000, writable=0)) == set()


def test_structure_fills_under_an_undeclared_tag_are_nobodys():
    assert broken(judge_of(declared=False), structure_fill(10)) == {"L3"}


# --- the hint ---

@pytest.mark.parametrize(("clears", "stale"), [
    ([], set()),
    ([page_invalidation(30, 40, hint=1)], set()),                       # leaves only: the way to them may be an old one
    ([page_invalidation(30, 40, page=0x200)], set()),                   # what no page below the entry is named in
    ([page_invalidation(30, 40)], {"L3"}),
    ([page_invalidation(30, 40, page=0)], {"L3"}),                      # any page below it will do
    ([page_invalidation(30, 40, page=0x200, address_mask=10)], {"L3"}),
    ([page_invalidation(30, 40, domain_id=DOMAIN_B)], set()),
    ([invalidation(30, 40, hint=1)], {"L3"}),                           # the hint means nothing here
    ([page_invalidation(30, 40), page_invalidation(42, 44, hint=1)], {"L3"}),
])
def test_upper_entry_may_be_kept_until_an_invalidation_that_does_not_hint(clears, stale):
    assert broken(judge_with_other_leaves(), dma(5), moved(10), *clears, structure_fill(45)) == stale
    assert broken(judge_with_other_leaves(), dma(5), moved(10), *clears, structure_fill(45, names=OTHER_LEAVES)) == set()


@pytest.mark.parametrize(("clear", "stale"), [
    (page_invalidation(30, 40, hint=1), False), (page_invalidation(30, 40), True), (invalidation(30, 40), True),
    (page_invalidation(30, 40, page=2), False),        # this page was not named: what is cached of it may stay as it is
])
def test_translation_may_come_by_an_old_way_until_an_invalidation_of_its_page_that_does_not_hint(clear, stale):
    old, new = dict(hit=0), dict(page=PAGE_NEW)
    assert broken(judge_with_other_leaves(), moved(10), clear, dma(50, **old)) == ({"L5"} if stale else set())
    assert broken(judge_with_other_leaves(), moved(10), clear, fill(50)) == ({"L3"} if stale else set())
    assert broken(judge_with_other_leaves(), moved(10), clear, dma(50, **new), fill(54, PAGE_NEW)) == set()


@pytest.mark.parametrize(("hint", "laws"), [(1, set()), (0, {"L3"})])
def test_line_filled_while_an_invalidation_is_under_way_comes_by_an_old_way_only_with_the_hint(hint, laws):
    assert broken(judge_with_other_leaves(), moved(10), page_invalidation(30, 40, hint=hint), fill(35)) == laws
    gone = [page_invalidation(12, 20), page_invalidation(30, 40, hint=1), fill(35)]    # the hint gives nothing back
    assert broken(judge_with_other_leaves(), moved(10), *gone) == {"L3"}


def test_leaf_is_as_new_as_an_invalidation_that_hints_though_the_way_to_it_is_older():
    run = [moved(10), store64(12, LEAF_A, entry(0x9999)), page_invalidation(30, 40, hint=1)]
    assert broken(judge_with_other_leaves(), *run, dma(50, page=0x9999), fill(54, 0x9999)) == set()
    assert broken(judge_with_other_leaves(), *run, dma(50)) == {"L5"}
    assert broken(judge_with_other_leaves(), *run, fill(54)) == {"L3"}


def test_page_that_once_stood_in_an_upper_entry_is_no_upper_entry():
    """A superpage is a leaf, whatever level it stands on: the hint does not keep it."""
    run = [store64(5, LEVEL_2_A, LARGE), moved(10)]
    large = dict(page=0x40001, page_size=PageSize.SIZE_2M)
    assert broken(judge_with_other_leaves(), *run, page_invalidation(30, 40, hint=1), dma(50, **large)) == {"L5"}
    assert broken(judge_with_other_leaves(), *run, dma(50, **large)) == set()
    assert broken(judge_with_other_leaves(), *run, structure_fill(20, names=0x40000)) == {"L3"}


@pytest.mark.parametrize(("hint", "laws"), [(1, set()), (0, {"L5"})])
def test_drain_with_the_hint_need_not_wait_for_what_came_by_an_old_way(hint, laws):
    run = [moved(10), request(32), page_invalidation(30, 40, drain=1, hint=hint), reply(36), done(50)]
    assert broken(judge_with_other_leaves(), *run) == laws


# --- lies: each breaks L3 and nothing else ---

LIES = {
    "an entry that names another table": [structure_fill(10, names=TABLE_B + 3)],
    "an entry under the tag of another domain": [structure_fill(10, domain_id=DOMAIN_B)],
    "an entry under the tag of another domain, said to come from its table": [
        structure_fill(10, domain_id=DOMAIN_B, table=TABLE_B)],
    "an entry of a table that is none of its domain's": [structure_fill(10, names=TABLE_B + 3, table=TABLE_B)],
    "an entry of another level": [structure_fill(10, level=3)],
    "an entry above the top": [structure_fill(10, level=5, names=TABLE_A)],
    "an entry that covers another place": [structure_fill(10, iova=0x20_0000)],
    "an entry that is not present": [store64(5, LEVEL_2_A, 0), invalidation(6, 8), structure_fill(10)],
    "an entry below one that is not present": [store64(5, TOP_A, 0), invalidation(6, 8), structure_fill(10)],
    "an entry with a reserved bit": [store64(5, LEVEL_2_A, entry(TABLE_A + 3, snoop=1)), invalidation(6, 8), structure_fill(10)],
    "the permission of a level above left out": [
        store64(5, LEVEL_3_A, entry(TABLE_A + 2, writable=0)), invalidation(6, 8), structure_fill(10)],
    "the permission of its own level left out": [
        store64(5, LEVEL_2_A, entry(TABLE_A + 3, writable=0)), invalidation(6, 8), structure_fill(10)],
    "less permission than there is": [structure_fill(10, writable=0)],
    "an entry replaced before an invalidation of the domain, kept after it": [moved(10), invalidation(30, 40), structure_fill(45)],
    "an entry replaced before an invalidation of one page below it, kept after it": [
        moved(10), page_invalidation(30, 40, page=0x1FF), structure_fill(45)],
    "a marked walk that keeps an entry while its invalidation is under way": [
        moved(10), page_invalidation(30, 40), structure_fill(35)],
    "an entry above the one that was kept is older than an invalidation of it": [
        store64(10, LEVEL_3_A, entry(TABLE_NEW + 2)), page_invalidation(30, 40, page=0), structure_fill(45)],
    "a neighbour with another page": [fill(10), fill(10, PAGE_A, iova=0x2000)],
    "a neighbour with the permission of the page that was asked for": [
        fill(10), fill(10, PAGE_A_READ_ONLY, iova=0x2000, writable=1)],
    "a neighbour that is not mapped": [fill(10), fill(10, PAGE_A + 2, iova=0x3000)],
    "a neighbour replaced before an invalidation of it alone, in a line filled after it": [
        store64(5, LEAF_A + 8, 0), page_invalidation(6, 8, page=2), fill(10), fill(10, PAGE_A_READ_ONLY, iova=0x2000, writable=0)],
    "a walk marked for a neighbour that fills under the invalidation": [
        store64(5, LEAF_A + 8, 0), page_invalidation(6, 20, page=2), fill(10),
        fill(10, PAGE_A_READ_ONLY, iova=0x2000, writable=0)],
    "a line by a way that was gone before an invalidation without the hint": [moved(10), page_invalidation(30, 40), fill(45)],
}


@pytest.mark.parametrize("lie", LIES)
def test_lie_about_a_cache_breaks_tag_coherence_and_nothing_else(lie):
    judge = judge_with_other_leaves()
    assert broken(judge, *LIES[lie]) == {"L3"}
    assert judge.verdict()["L3"]["violation_count"] == 1


def test_permission_of_the_levels_above_is_part_of_an_entry():
    run = [store64(5, LEVEL_3_A, entry(TABLE_A + 2, writable=0)), invalidation(6, 8), structure_fill(10, writable=0)]
    assert broken(judge_with_other_leaves(), *run) == set()


# --- several tables behind one tag ---

def shared_tag(*, declared):
    """Domain A gets another table: TABLE_NEW, which maps 0x1000 to PAGE_NEW. Upper levels of the old one are still cached."""
    judge = judge_with_other_leaves()
    if declared:
        judge.declare(DOMAIN_A, table_pointer=TABLE_NEW, cycle=8)
    return judge, [exchange(10, CONTEXT_ENTRY_A, context_entry(TABLE_NEW, DOMAIN_A)), context_invalidation(20, 25)]


def test_walk_of_one_table_of_a_tag_may_be_led_by_the_cached_upper_levels_of_another():
    judge, run = shared_tag(declared=True)
    led = dict(table=TABLE_NEW, page=PAGE_A)
    assert broken(judge, *run, dma(30, **led), fill(34, **led), structure_fill(35, table=TABLE_NEW)) == set()
    assert judge.verdict()["L3"]["ambiguous"] > 0


def test_invalidation_of_the_tag_ends_that_unless_it_hints():
    led = dict(table=TABLE_NEW, page=PAGE_A)
    for clear, laws in ((page_invalidation(26, 28, hint=1), set()), (page_invalidation(26, 28), {"L3", "L5"})):
        judge, run = shared_tag(declared=True)
        judge.forbid(DOMAIN_A, keep_newest=True, cycle=25)
        assert broken(judge, *run, clear, dma(30, **led), fill(34, **led)) == laws


def test_upper_levels_of_a_table_of_another_tag_lead_nowhere():
    for lie, law in ((fill(10, PAGE_B), "L3"), (structure_fill(10, names=TABLE_B + 3), "L3"), (dma(10, page=PAGE_B), "L7")):
        assert broken(judge_with_other_leaves(), lie) == {law}
