"""Memory that remembers: what a walk could have read in a window, and what an invalidation covers."""
import itertools

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hw.spec.codec import encode
from hw.spec.faults import FaultReason
from hw.spec.invalidation import Granularity, Invalidation, InvalidationKind
from hw.spec.tables import PageSize
from sim.model.caches import InvalidationHistory, InvalidationView
from sim.model.entries import limits
from sim.model.history import VersionedMemory
from sim.model.lines import Line, LineReplica, StructureEntry, StructureReplica
from tests.sim.machine import CONTEXT, ROOT, context_entry, entry, root_entry, stores_of_path, straps

TABLE, IOVA, SOURCE = 0x200, 0x1000, 0x18
LEAF = (TABLE + 3 << 12) + 8


def memory(**options):
    return VersionedMemory(limits=limits(straps()), **options)


def store64(target, cycle, hpa, value, **options):
    target.write(cycle, hpa, value.to_bytes(8, "little"), **options)


def mapped(**options):
    """IOVA 0x1000 at page 0x9000 since ever."""
    target = memory(**options)
    for hpa, value in stores_of_path(TABLE, IOVA, entry(0x9000)):
        store64(target, 0, hpa, value, remember=False)
    return target


def pages(target, since, until, top=4):
    """Pages, or fault names, that a walk of IOVA in this window may end at."""
    return {each.fault_reason.name if each.fault_reason else each.page for each in target.walks(TABLE, top, IOVA, since, until)}


# --- versions ---

def test_window_sees_what_stood_at_both_its_ends():
    target = memory()
    for cycle, value in ((10, 1), (20, 2), (30, 3)):
        store64(target, cycle, 0x1000, value)
    seen = {window: set(target.values(0x1000, 8, *window)) for window in ((0, 9), (10, 10), (11, 19), (12, 20), (20, 30), (31, 40))}
    assert seen == {(0, 9): {0}, (10, 10): {0, 1}, (11, 19): {1}, (12, 20): {1, 2}, (20, 30): {1, 2, 3}, (31, 40): {3}}


def test_exchange_of_a_quantum_makes_one_version_and_two_stores_make_two():
    target = memory()
    target.write(10, 0x1000, (7 << 64 | 5).to_bytes(16, "little"))
    assert set(target.values(0x1000, 16, 0, 20)) == {0, 7 << 64 | 5}
    target = memory()
    store64(target, 10, 0x1000, 5)
    store64(target, 11, 0x1008, 7)
    assert set(target.values(0x1000, 16, 0, 20)) == {0, 5, 7 << 64 | 5}


def test_store_may_have_taken_place_a_little_before_it_was_reported():
    target = memory(slack_cycles=3)
    store64(target, 10, 0x1000, 1)
    assert target.values(0x1000, 8, 0, 6) == [0]
    assert set(target.values(0x1000, 8, 0, 7)) == {0, 1}
    assert target.values(0x1000, 8, 11, 12) == [1]


def test_what_is_not_remembered_has_stood_there_for_ever():
    target = memory()
    store64(target, 50, 0x1000, 1, remember=False)
    assert target.values(0x1000, 8, 0, 10) == [1]


def test_versions_forgotten_are_those_that_no_later_window_needs():
    target = memory()
    for cycle in range(1, 11):
        store64(target, cycle, 0x1000, cycle)
    target.forget_before(6)
    assert target.undo_count == 5
    assert set(target.values(0x1000, 8, 6, 8)) == {5, 6, 7, 8}


def test_stores_must_come_in_order():
    target = memory()
    store64(target, 10, 0x1000, 1)
    with pytest.raises(ValueError, match="store of cycle 9 after one of cycle 10"):
        store64(target, 9, 0x1000, 2)


@settings(max_examples=100, deadline=None)
@given(stores=st.lists(st.tuples(st.integers(0, 3), st.integers(0, 5), st.binary(min_size=1, max_size=20)), max_size=8),
       since=st.integers(0, 20), length=st.integers(0, 20), offset=st.sampled_from([0, 8, 16]))
def test_versions_are_those_of_a_memory_copied_at_every_cycle(stores, since, length, offset):
    target, cycle = memory(), 0
    copies = [bytes(32)] * 64    # what stood there at the end of each cycle
    for gap, place, content in stores:
        cycle += gap
        target.write(cycle, 0x1000 + place, content)
        now = bytearray(copies[cycle])
        now[place:place + len(content)] = content
        copies[cycle:] = [bytes(now[:32])] * (64 - cycle)
    until = since + length
    # What stood there between stores, and at each store of one cycle: replay it store by store.
    expected, image, cycle = {copies[since - 1] if since else bytes(32)}, bytearray(32), 0
    for gap, place, content in stores:
        cycle += gap
        image[place:place + len(content)] = content
        if since <= cycle <= until:
            expected.add(bytes(image[:32]))
    words = {int.from_bytes(each[offset:offset + 8], "little") for each in expected}
    assert set(target.values(0x1000 + offset, 8, since, until)) == words


# --- walks ---

def test_walk_gives_page_size_and_permission_of_all_levels():
    target = mapped()
    (outcome,) = target.walks(TABLE, 4, IOVA | 0x123, 0, 10)
    assert (outcome.page, outcome.page_size, outcome.readable, outcome.writable) == (0x9000, PageSize.SIZE_4K, True, True)
    store64(target, 20, (TABLE << 12), entry(TABLE + 1, writable=0))
    (outcome,) = target.walks(TABLE, 4, IOVA, 21, 30)
    assert (outcome.readable, outcome.writable) == (True, False)


def test_walk_may_read_each_level_at_an_instant_of_its_own():
    """The entry of level 2 moves to another table while the leaf of the old one changes: three walks are possible."""
    target = mapped()
    other = 0x280
    store64(target, 0, (other << 12) + 8, entry(0xB000), remember=False)
    store64(target, 10, LEAF, entry(0xA000))
    store64(target, 20, (TABLE + 2 << 12), entry(other))
    assert pages(target, 0, 9) == {0x9000}
    assert pages(target, 5, 15) == {0x9000, 0xA000}
    assert pages(target, 11, 30) == {0xA000, 0xB000}
    assert pages(target, 0, 30) == {0x9000, 0xA000, 0xB000}
    assert pages(target, 21, 30) == {0xB000}


def test_walk_of_a_superpage_names_the_page_that_the_iova_reaches_and_the_base():
    target = memory()
    for hpa, value in stores_of_path(TABLE, 0, entry(0x40000, page_size=1), level=2):
        store64(target, 0, hpa, value, remember=False)
    (outcome,) = target.walks(TABLE, 4, 0x5000, 0, 0)
    assert (outcome.page, outcome.base, outcome.page_size) == (0x40005, 0x40000, PageSize.SIZE_2M)


def test_entries_above_the_leaf_may_be_older_than_it():
    """A paging-structure cache keeps what names a table; neither a leaf nor what is not present."""
    target = mapped()
    other = 0x280
    store64(target, 0, (other << 12) + 8, entry(0xB000), remember=False)
    store64(target, 10, (TABLE + 2 << 12), entry(other))
    store64(target, 20, LEAF, entry(0xA000))
    def since(path_since, top=4):
        return {each.page for each in target.walks(TABLE, top, IOVA, 30, 40, path_since=path_since)}
    assert (since(30), since(11), since(10)) == ({0xB000}, {0xB000}, {0xA000, 0xB000})
    store64(target, 50, (TABLE + 2 << 12), entry(0x40000, page_size=1))
    store64(target, 60, (TABLE + 2 << 12), 0)
    assert {each.fault_reason for each in target.walks(TABLE, 4, IOVA, 61, 70, path_since=49)} == {
        FaultReason.NONE, FaultReason.READ_PERMISSION}
    assert {each.page for each in target.walks(TABLE, 4, IOVA, 61, 70, path_since=49) if not each.fault_reason} == {0xB000}


def test_path_is_where_an_entry_leads_with_the_permission_of_all_levels_so_far():
    target = mapped()
    assert target.paths(TABLE, 4, IOVA, 2, 0, 10) == {(TABLE + 3, True, True)}
    assert target.paths(TABLE, 4, IOVA, 4, 0, 10) == {(TABLE + 1, True, True)}
    assert target.paths(TABLE, 3, IOVA, 4, 0, 10) == set()            # the table has no such level
    store64(target, 20, TABLE << 12, entry(TABLE + 1, writable=0))
    assert target.paths(TABLE, 4, IOVA, 2, 15, 30) == {(TABLE + 3, True, True), (TABLE + 3, True, False)}
    assert target.paths(TABLE, 4, IOVA, 2, 21, 30) == {(TABLE + 3, True, False)}
    for wrong in (0, entry(0x40000, page_size=1), entry(0x280, snoop=1)):
        store64(target, 40, TABLE + 2 << 12, wrong)
        assert target.paths(TABLE, 4, IOVA, 2, 41, 50) == set()
    assert mapped(limit=TABLE + 2 << 12).paths(TABLE, 4, IOVA, 2, 0, 10) == set()


def test_unmapped_reserved_and_unreadable_entries_are_outcomes_too():
    target = mapped(limit=0x300 << 12)
    store64(target, 10, LEAF, 0)
    store64(target, 20, LEAF, entry(0x9000, snoop=1))
    assert pages(target, 5, 30) == {0x9000, "READ_PERMISSION", "SECOND_STAGE_RESERVED"}
    store64(target, 40, TABLE << 12, entry(0x300))
    assert pages(target, 41, 50) == {"SECOND_STAGE_ACCESS"}
    (outcome,) = target.walks(0x300, 4, IOVA, 0, 0)
    assert outcome.fault_reason is FaultReason.CONTEXT_INVALID


def test_context_entries_of_a_window_are_the_legal_ones_it_held():
    target = memory()
    target.write(0, ROOT << 12, root_entry().to_bytes(16, "little"), remember=False)
    place = (CONTEXT << 12) + 16 * SOURCE
    for cycle, value in ((10, context_entry(1, 5)), (20, context_entry(2, 6)), (30, 0), (40, context_entry(3, 7, 0))):
        target.write(cycle, place, value.to_bytes(16, "little"))
    def domains(*window):
        return {each.domain_id for each in target.context_entries([ROOT], SOURCE, *window)}
    assert (domains(0, 9), domains(0, 15), domains(11, 25), domains(31, 50)) == (set(), {5}, {5, 6}, set())
    assert target.context_entries([], SOURCE, 0, 50) == set()


def test_torn_context_entry_is_a_version_of_its_own():
    target = memory()
    target.write(0, ROOT << 12, root_entry().to_bytes(16, "little"), remember=False)
    place, old, new = (CONTEXT << 12) + 16 * SOURCE, context_entry(1, 5), context_entry(2, 6)
    target.write(0, place, old.to_bytes(16, "little"), remember=False)
    store64(target, 10, place, new & (1 << 64) - 1)
    store64(target, 12, place + 8, new >> 64)
    seen = {(each.table_pointer, each.domain_id) for each in target.context_entries([ROOT], SOURCE, 5, 20)}
    assert seen == {(1, 5), (2, 5), (2, 6)}


# --- invalidations ---

def view(kind=InvalidationKind.IOTLB, granularity=Granularity.GLOBAL, **fields):
    return InvalidationView.of(encode(Invalidation, kind=kind, granularity=granularity, **fields))


@pytest.mark.parametrize(("mask", "covered"), [
    (0, {0x18}), (1, {0x18, 0x1C}), (2, {0x18, 0x1A, 0x1C, 0x1E}), (3, set(range(0x18, 0x20))),
])
def test_device_selective_invalidation_covers_the_functions_that_its_mask_ignores(mask, covered):
    one = view(InvalidationKind.CONTEXT_CACHE, Granularity.SELECTIVE, domain_id=5, source_id=0x18, function_mask=mask)
    assert {source_id for source_id in range(0x40) if one.covers_context(source_id, 5)} == covered
    assert not any(one.covers_context(source_id, 6) for source_id in range(0x40))


def test_wider_context_invalidations():
    domain = view(InvalidationKind.CONTEXT_CACHE, Granularity.DOMAIN_SELECTIVE, domain_id=5)
    assert (domain.covers_context(0x99, 5), domain.covers_context(0x99, 6)) == (True, False)
    assert view(InvalidationKind.CONTEXT_CACHE).covers_context(0x99, 6)
    assert not view(InvalidationKind.IOTLB).covers_context(0x99, 6)
    assert not view(InvalidationKind.CONTEXT_CACHE).covers_translation(5, 1, 0)


@settings(max_examples=200, deadline=None)
@given(page=st.integers(0, 1 << 12), order=st.integers(0, 11), line=st.integers(0, 1 << 12), size=st.integers(0, 1))
def test_page_selective_invalidation_covers_a_line_that_shares_a_page_with_it(page, order, line, size):
    one = view(granularity=Granularity.SELECTIVE, domain_id=5, page=page, address_mask=order)
    named = {page >> order << order | low for low in range(1 << order)}
    held = {line >> 9 * size << 9 * size | low for low in range(1 << 9 * size)}
    assert one.covers_translation(5, line, size) == bool(named & held)
    assert not one.covers_translation(6, line, size)


@settings(max_examples=200, deadline=None)
@given(page=st.integers(0, 1 << 12), order=st.integers(0, 11), place=st.integers(0, 1 << 12), level=st.integers(2, 3),
       hint=st.integers(0, 1))
def test_page_selective_invalidation_covers_the_upper_entries_of_all_its_pages_unless_it_hints(page, order, place, level, hint):
    one = view(granularity=Granularity.SELECTIVE, domain_id=5, page=page, address_mask=order, hint=hint)
    bits = 9 * (level - 1)
    shared = {page >> order << order | low for low in range(1 << order)} & {
        place >> bits << bits | low for low in range(min(1 << bits, 1 << 13))}
    assert one.covers_structure(5, place, level) == (bool(shared) and not hint)
    assert not one.covers_structure(6, place, level)


def test_hint_means_something_with_a_page_selective_invalidation_alone():
    for granularity in (Granularity.GLOBAL, Granularity.DOMAIN_SELECTIVE):
        one = view(granularity=granularity, domain_id=5, hint=1)
        assert (one.covers_structure(5, 8, 2), one.covers_path(5, 8, 0), one.leaves_only) == (True, True, False)
        assert one.canonical().hint == 0
    page = view(granularity=Granularity.SELECTIVE, domain_id=5, page=8, hint=1)
    assert (page.covers_translation(5, 8, 0), page.covers_path(5, 8, 0), page.leaves_only) == (True, False, True)
    assert page.canonical().hint == 1
    device = view(InvalidationKind.CONTEXT_CACHE, Granularity.SELECTIVE, domain_id=5, hint=1)
    assert (device.leaves_only, device.canonical().hint) == (True, 0)


def test_windows_of_upper_levels_begin_with_the_last_invalidation_that_did_not_hint():
    history = InvalidationHistory()
    whole, page, leaf = (view(granularity=Granularity.DOMAIN_SELECTIVE, domain_id=5),
                         view(granularity=Granularity.SELECTIVE, domain_id=5, page=8),
                         view(granularity=Granularity.SELECTIVE, domain_id=5, page=8, hint=1))
    for begin, end, each in ((10, 20, whole), (30, 40, page), (50, 60, leaf)):
        history.begin(begin, each)
        history.end(end)
    assert [history.translation_since(5, 8, 0, 100), history.path_since(5, 8, 0, 100)] == [50, 30]
    assert [history.path_since(5, 9, 0, 100), history.path_since(5, 9, 1, 100)] == [10, 30]
    assert [history.structure_since(5, 9, 2, accepted) for accepted in (20, 40, 41)] == [None, 10, 30]
    assert history.structure_since(5, 0x400, 2, 100) == 10
    assert history.structure_since(6, 8, 2, 100) is None


def test_window_begins_with_the_last_covering_invalidation_that_completed_before():
    history = InvalidationHistory()
    domain, other, page = (view(granularity=Granularity.DOMAIN_SELECTIVE, domain_id=5),
                           view(granularity=Granularity.DOMAIN_SELECTIVE, domain_id=6),
                           view(granularity=Granularity.SELECTIVE, domain_id=5, page=8))
    for begin, end, each in ((10, 20, domain), (30, 40, other), (50, 60, page)):
        history.begin(begin, each)
        assert [(done.begin, done.invalidation) for done in history.end(end)] == [(begin, each)]
    since = {accepted: history.translation_since(5, 8, 0, accepted) for accepted in (20, 21, 60, 61)}
    assert since == {20: None, 21: 10, 60: 10, 61: 50}
    assert history.translation_since(5, 9, 0, 100) == 10
    assert history.context_since(0x18, 5, 100) is None
    assert history.end(70) == []   # nothing had begun


def test_end_completes_everything_that_has_begun_each_from_its_own_beginning():
    history = InvalidationHistory()
    first, second = (view(granularity=Granularity.DOMAIN_SELECTIVE, domain_id=number) for number in (5, 6))
    history.begin(10, first)
    history.begin(20, second)
    assert [(done.begin, done.end, done.invalidation) for done in history.end(30)] == [(10, 30, first), (20, 30, second)]
    assert (history.translation_since(5, 8, 0, 31), history.translation_since(6, 8, 0, 31)) == (10, 20)
    history.begin(40, first)
    assert history.translation_since(5, 8, 0, 100) == 10   # not complete


def test_line_leaves_by_replacement_or_by_an_invalidation_that_began_after_its_fill():
    def line(cycle, domain_id, page=1):
        return Line(cycle, domain_id, page, PageSize.SIZE_4K, 0x9000, True, True, TABLE)
    replica, history = LineReplica(), InvalidationHistory()
    for way, each in enumerate((line(5, 5), line(5, 6), line(12, 5, 2), line(13, 5, 3))):
        replica.fill(0, way, each)
    replica.fill(0, 3, line(14, 5, 4))       # in the place of page 3
    one = view(granularity=Granularity.DOMAIN_SELECTIVE, domain_id=5)
    history.begin(12, one)
    survivors = list(replica.remove(history.end(20)[0]))
    assert [each.iova_page for each in survivors] == [4]
    assert len(replica) == 2                 # page 4, and the line of domain 6


def test_line_holds_all_entries_of_one_fill_and_an_invalidation_removes_those_that_it_covers():
    def line(cycle, page):
        return Line(cycle, 5, page, PageSize.SIZE_4K, 0x9000, True, True, TABLE)
    replica, history = LineReplica(), InvalidationHistory()
    for page in (8, 9):
        replica.fill(0, 0, line(5, page))
        replica.fill(0, 1, line(15, page))
    assert len(replica) == 4
    one = view(granularity=Granularity.SELECTIVE, domain_id=5, page=9)
    history.begin(12, one)
    completed, = history.end(20)
    assert [(each.cycle, each.iova_page) for each in replica.remove(completed)] == [(15, 9)]
    assert len(replica) == 3                 # page 8 of both lines, and page 9 of the one that came later
    replica.fill(0, 1, line(25, 10))
    assert len(replica) == 2                 # a line takes the place of a line


def test_upper_entries_are_looked_at_again_only_under_the_invalidation_that_was_there_when_they_came():
    def upper(cycle, page, level=2):
        return StructureEntry(cycle, 5, page, level, TABLE + 3, True, True, TABLE)
    replica, history = StructureReplica(), InvalidationHistory()
    history.begin(12, view(granularity=Granularity.SELECTIVE, domain_id=5, page=8))
    for each in (upper(12, 0), upper(13, 0, 3), upper(13, 0x200), upper(14, 0), upper(15, 0)):
        replica.fill(each)
    completed, = history.end(20)
    assert [(each.cycle, each.level) for each in replica.remove(completed)] == [(15, 2), (13, 3)]
    replica.settle()
    assert list(replica.remove(completed)) == []


def test_oldest_invalidation_is_forgotten_first():
    history = InvalidationHistory(depth=2)
    for number, cycle in zip(range(3), itertools.count(10, 10)):
        each = view(granularity=Granularity.DOMAIN_SELECTIVE, domain_id=number)
        history.begin(cycle, each)
        history.end(cycle + 1)
    assert [history.translation_since(number, 0, 0, 100) for number in range(3)] == [None, 20, 30]
