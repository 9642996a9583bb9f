"""Which answers are permitted where upper levels of walks are cached: by which old ways, how long, and which faults never."""
import pytest

from hw.spec.dma import Access
from hw.spec.faults import FaultReason
from sim.model.translate import Request
from tests.sim.following import CONTEXT as CONTEXT_ENTRY
from tests.sim.following import (
    DEVICE,
    DOMAIN,
    IOVA,
    LEAF,
    LEVELS,
    NEW,
    NO_READ,
    NO_WRITE,
    OLD,
    Log,
    context,
    entry,
    tables,
)
from tests.sim.test_permitted import (
    CONTEXT_CACHE,
    DOMAIN_SELECTIVE,
    GLOBAL,
    IOTLB,
    OTHER_TABLES,
    SELECTIVE,
    invalidate,
    machine,
    other_tables,
    pages,
    store,
)

WRITE = Request(DEVICE, IOVA, Access.WRITE)
LEVEL_2, LEVEL_3 = LEVELS[2] << 12, LEVELS[3] << 12
MOVED = entry(OTHER_TABLES[1])          # of level 2: leads to NEW instead of OLD
BESIDE = 0x1F0                          # a page below the same entry of level 2
FAR = 0x3FF                             # below the same entry of level 3, not of level 2


def moved(memory=None, **changes):
    """A machine in which the entry of level 2 names other leaves since cycle 10."""
    permitted = machine(memory or other_tables(tables()), **changes)
    store(permitted, 10, LEVEL_2, MOVED)
    return permitted


# --- ways ---

@pytest.mark.parametrize(("fields", "removed"), [
    (dict(page=3), True), (dict(page=3, hint=1), False), (dict(page=0, address_mask=9), True),
    (dict(page=0, address_mask=9, hint=1), False), (dict(page=BESIDE), False), (dict(page=3, domain_id=DOMAIN + 1), False)])
def test_an_old_way_may_be_taken_until_an_invalidation_of_the_page_without_the_hint(fields, removed):
    permitted = moved()
    invalidate(permitted, 20, 30, IOTLB, SELECTIVE, **dict(domain_id=DOMAIN) | fields)
    assert pages(permitted, 40, 45) == ({NEW} if removed else {OLD, NEW})


@pytest.mark.parametrize("granularity", [GLOBAL, DOMAIN_SELECTIVE])
def test_the_hint_means_nothing_with_an_invalidation_of_more_than_pages(granularity):
    permitted = moved()
    invalidate(permitted, 20, 30, IOTLB, granularity, DOMAIN, hint=1)
    assert pages(permitted, 40, 45) == {NEW}


def test_an_old_way_leads_to_the_leaf_as_it_is_after_an_invalidation_that_hints():
    permitted = moved()
    store(permitted, 12, LEAF, entry(0x300))
    assert pages(permitted, 15, 18) == {OLD, 0x300, NEW}
    invalidate(permitted, 20, 30, IOTLB, SELECTIVE, DOMAIN, page=3, hint=1)
    assert pages(permitted, 40, 45) == {0x300, NEW}


def test_a_large_page_is_no_way_and_the_hint_does_not_keep_it():
    memory = tables()
    memory.preset(LEVEL_2, entry(0x400, page_size=1))
    permitted = machine(memory)
    store(permitted, 10, LEVEL_2, entry(LEVELS[1]))
    assert pages(permitted, 15, 18) == {0x403, OLD}
    invalidate(permitted, 20, 30, IOTLB, SELECTIVE, DOMAIN, page=BESIDE, hint=1)
    assert pages(permitted, 40, 45) == {OLD}


def test_the_way_to_a_large_page_is_ended_by_an_invalidation_of_any_page_in_it():
    for hint in (0, 1):
        memory = other_tables(tables())
        memory.preset(LEVEL_2, entry(0x400, page_size=1))
        memory.preset(OTHER_TABLES[2] << 12, entry(0x600, page_size=1))
        permitted = machine(memory)
        store(permitted, 10, LEVEL_3, entry(OTHER_TABLES[2]))
        invalidate(permitted, 20, 30, IOTLB, SELECTIVE, DOMAIN, page=BESIDE, hint=hint)
        assert pages(permitted, 40, 45) == ({0x403, 0x603} if hint else {0x603})


# --- faults ---

def test_a_fault_below_an_old_way_is_permitted_as_long_as_the_way_may_be_cached():
    permitted = moved()
    store(permitted, 12, LEAF, bytes(8))
    assert pages(permitted, 20, 25) == {OLD, NEW, NO_READ}
    invalidate(permitted, 30, 35, IOTLB, SELECTIVE, DOMAIN, page=3, hint=1)
    assert pages(permitted, 40, 45) == {NEW, NO_READ}
    invalidate(permitted, 50, 55, IOTLB, SELECTIVE, DOMAIN, page=FAR)
    assert pages(permitted, 60, 65) == {NEW, NO_READ}
    invalidate(permitted, 70, 75, IOTLB, SELECTIVE, DOMAIN, page=BESIDE)      # removes the way of its neighbours, too
    assert pages(permitted, 80, 85) == {NEW}


@pytest.mark.parametrize(("page", "ended"), [(FAR, True), (3, True), (1 << 18, False)])
def test_a_way_is_as_long_as_the_lowest_entry_that_is_cached(page, ended):
    """The fault stands on level 2: what names level 2 is cached by the entry of level 3."""
    permitted = machine(other_tables(tables()))
    store(permitted, 10, LEVEL_3, entry(OTHER_TABLES[2]))
    store(permitted, 12, LEVEL_2, bytes(8))
    invalidate(permitted, 20, 30, IOTLB, SELECTIVE, DOMAIN, page=page)
    assert (NO_READ in pages(permitted, 40, 45)) is not ended


def test_what_is_not_present_is_read_while_the_request_is_under_way_on_whatever_level_it_stands():
    for level in (2, 3, 4):
        permitted = machine()
        store(permitted, 5, LEVELS[level] << 12, bytes(8))
        store(permitted, 10, LEVELS[level] << 12, entry(LEVELS[level - 1]))
        assert pages(permitted, 10, 25) == {OLD, NO_READ}
        assert pages(permitted, 11, 25) == {OLD}


@pytest.mark.parametrize("level", [1, 2, 3, 4])
def test_missing_permission_is_found_by_an_entry_that_was_read_while_the_request_was_under_way(level):
    page, place = (OLD, LEAF) if level == 1 else (LEVELS[level - 1], LEVELS[level] << 12)
    permitted = machine()
    store(permitted, 5, place, entry(page, writable=0))
    store(permitted, 10, place, entry(page))
    assert pages(permitted, 8, 25, WRITE) == {OLD, NO_WRITE}
    assert pages(permitted, 11, 25, WRITE) == {OLD}             # what is cached and permits less is not used
    assert pages(permitted, 11, 25) == {OLD}


def test_a_way_that_permitted_more_may_be_taken_until_it_is_invalidated():
    permitted = machine()
    store(permitted, 10, LEVEL_3, entry(LEVELS[2], writable=0))
    assert pages(permitted, 20, 25, WRITE) == {OLD, NO_WRITE}
    invalidate(permitted, 30, 35, IOTLB, SELECTIVE, DOMAIN, page=3)
    assert pages(permitted, 40, 45, WRITE) == {NO_WRITE}


def test_reserved_bits_and_refused_reads_below_an_old_way():
    memory = other_tables(tables(errors=frozenset({0x77})))
    permitted = moved(memory)
    store(permitted, 12, LEAF, entry(OLD, transient_mapping=1))
    assert pages(permitted, 20, 25) == {OLD, NEW, FaultReason.SECOND_STAGE_RESERVED}
    permitted = machine(other_tables(tables(errors=frozenset({0x77}))))
    store(permitted, 5, LEVEL_2, entry(0x77))
    store(permitted, 10, LEVEL_2, MOVED)
    assert pages(permitted, 20, 25) == {OLD, NEW, FaultReason.SECOND_STAGE_ACCESS}
    invalidate(permitted, 30, 35, IOTLB, GLOBAL)
    assert pages(permitted, 40, 45) == {NEW}


# --- two tables of one domain ---

def replaced():
    """The device has another table under the same domain since cycle 10; its context is invalidated, no line is."""
    permitted = machine(other_tables(tables()))
    store(permitted, 10, CONTEXT_ENTRY, context(second_stage_pointer=OTHER_TABLES[4]))
    invalidate(permitted, 12, 14, CONTEXT_CACHE, GLOBAL)
    return permitted


def test_ways_of_a_table_that_the_domain_no_longer_has_lead_to_faults_until_they_are_invalidated():
    permitted = replaced()
    store(permitted, 16, LEAF, bytes(8))
    assert pages(permitted, 20, 25) == {OLD, NEW, NO_READ}
    invalidate(permitted, 30, 35, IOTLB, SELECTIVE, DOMAIN, page=BESIDE)
    assert pages(permitted, 40, 45) == {OLD, NEW}                # the line may still be there, the way to it is not


def test_an_invalidation_of_a_context_before_it_was_replaced_ends_nothing():
    permitted = machine(other_tables(tables()))
    invalidate(permitted, 2, 4, CONTEXT_CACHE, GLOBAL)
    invalidate(permitted, 6, 8, IOTLB, GLOBAL)
    store(permitted, 10, CONTEXT_ENTRY, context(second_stage_pointer=OTHER_TABLES[4]))
    invalidate(permitted, 12, 14, CONTEXT_CACHE, GLOBAL)
    assert pages(permitted, 20, 25) == {OLD, NEW}


def test_the_first_entry_of_a_table_that_the_domain_no_longer_has_is_not_read_any_more():
    permitted = replaced()
    store(permitted, 16, LEVELS[4] << 12, bytes(8))
    assert pages(permitted, 20, 25) == {OLD, NEW}


def test_a_table_that_was_taken_from_the_domain_before_an_invalidation_leads_nowhere():
    permitted = replaced()
    invalidate(permitted, 16, 18, IOTLB, DOMAIN_SELECTIVE, DOMAIN)
    store(permitted, 20, LEAF, bytes(8))
    assert pages(permitted, 30, 35) == {NEW}


# --- caching mode ---

def test_in_caching_mode_an_old_way_leads_to_a_page_that_is_not_there_unless_it_is_invalidated():
    for hint in (0, 1):
        memory = other_tables(tables())
        memory.preset(LEAF, bytes(8))
        permitted = moved(memory, caching_mode=1)
        assert pages(permitted, 15, 18) == {NO_READ, NEW}
        store(permitted, 19, LEAF, entry(OLD))
        invalidate(permitted, 20, 30, IOTLB, SELECTIVE, DOMAIN, page=3, hint=hint)
        assert pages(permitted, 40, 45) == ({OLD, NEW} if hint else {NEW})


def test_in_caching_mode_what_is_missing_on_an_old_way_is_as_old_as_the_way():
    for hint in (0, 1):
        memory = other_tables(tables())
        memory.preset(LEAF, bytes(8))
        permitted = moved(memory, caching_mode=1)
        invalidate(permitted, 20, 30, IOTLB, SELECTIVE, DOMAIN, page=3, hint=hint)
        assert pages(permitted, 40, 45) == ({NO_READ, NEW} if hint else {NEW})


# --- logs ---

def found_missing(log):
    """A request finds the page after the mapped one missing."""
    return log.request(iova=IOVA + 0x1000, tag=1)


def test_a_request_that_joined_a_walk_is_not_blocked_by_what_the_walk_had_found_before():
    log = found_missing(Log().enable()).stored(LEAF + 8, entry(NEW)).request(iova=IOVA + 0x1000, tag=2)
    log.blocked(NO_READ, iova=IOVA + 0x1000, tag=1)
    assert "was blocked with READ_PERMISSION; permitted: OK" in log.blocked(NO_READ, iova=IOVA + 0x1000, tag=2).troubles()


def test_a_request_that_joined_a_walk_may_be_translated_by_what_the_walk_had_found_before():
    log = Log().enable().request(tag=1).stored(LEAF, bytes(8)).request(tag=2).answered(tag=1).answered(tag=2)
    assert log.troubles() == ""


@pytest.mark.parametrize(("hint", "troubles"), [(1, False), (0, True)])
def test_an_answer_by_an_old_way_is_reported_after_an_invalidation_without_the_hint(hint, troubles):
    log = Log().enable().request().answered().stored(LEVEL_2, MOVED)
    log.write("IVA", 3 << 12 | hint << 6).write("IOTLB", 1 << 63 | 3 << 60 | DOMAIN << 32)
    log.begin(kind=1, granularity=3, domain_id=DOMAIN, page=3, hint=hint).end().request().answered()
    assert ("permitted: OK 0x200000" in log.troubles(other_tables(tables()))) is troubles
    assert troubles or log.troubles(other_tables(tables())) == ""


def test_an_invalidation_that_hints_though_nobody_asked_for_that_is_reported():
    log = Log().enable().write("IVA", 3 << 12).write("IOTLB", 1 << 63 | 3 << 60 | DOMAIN << 32)
    log.begin(kind=1, granularity=3, domain_id=DOMAIN, page=3, hint=1)
    assert "has begun, and nothing asks for it now" in log.troubles()


def test_a_line_filled_beside_the_one_that_was_asked_for_answers_like_any_other():
    """Two pages of one word; the neighbour is cleared, and answered from its line until it is invalidated."""
    memory = tables()
    memory.preset(LEAF - 8, entry(NEW))
    def log():
        return Log().enable().request().answered().stored(LEAF - 8, bytes(8))
    beside = dict(iova=IOVA - 0x1000)
    assert log().request(**beside).answered(NEW, **beside).troubles(memory) == ""
    gone = log().write("IVA", 2 << 12 | 1 << 6).write("IOTLB", 1 << 63 | 3 << 60 | DOMAIN << 32)
    gone.begin(kind=1, granularity=3, domain_id=DOMAIN, page=2, hint=1).end().request(**beside).answered(NEW, **beside)
    assert "permitted: READ_PERMISSION" in gone.troubles(memory)
