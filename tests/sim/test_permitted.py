"""Which answers are permitted, worked out by hand: stale ones until their invalidation has completed, faults only as memory is."""
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hw.spec.dma import Access, RequestKind, Status
from hw.spec.faults import FaultReason
from hw.spec.invalidation import TranslationTableMode
from hw.spec.tables import PageSize
from sim.model.caches import InvalidationView
from sim.model.permitted import Permitted
from sim.model.quanta import Quanta, Version
from sim.model.translate import Request
from sim.stories.fuzz_draw import cases
from tests.sim.following import (
    CONTEXT,
    DEVICE,
    DOMAIN,
    IOVA,
    LEAF,
    LEVELS,
    NEW,
    OLD,
    ROOT,
    context,
    entry,
    straps,
    tables,
)

CONTEXT_CACHE, IOTLB = 0, 1
GLOBAL, DOMAIN_SELECTIVE, SELECTIVE = 1, 2, 3
READ = Request(DEVICE, IOVA)
OTHER_TABLES = {4: 0x28, 3: 0x29, 2: 0x2A, 1: 0x2B}   # lead IOVA to NEW


def machine(memory=None, **changes):
    """A machine whose translation is on since cycle 1."""
    permitted = Permitted(straps(**changes), memory or tables())
    permitted.control(1, enabled=True, root_table=ROOT, mode=0)
    return permitted


def store(permitted, cycle, hpa, content):
    """A store, and the machine is told."""
    permitted.memory.write(cycle, hpa, content)
    permitted.stored(hpa)


def pages(permitted, accepted, replied, request=READ):
    """The pages that the request may be led to, and the reasons for which it may be blocked."""
    return {each.fault_reason if each.status is Status.BLOCKED else each.hpa >> 12
            for each in permitted.answers(request, accepted, replied)}


def invalidate(permitted, begin, end, *fields, **named):
    """One invalidation, from beginning to end."""
    permitted.invalidated.begin(begin, InvalidationView(*fields, **named))
    permitted.invalidated.end(end)


def other_tables(memory):
    """A second set of tables."""
    for level in (4, 3, 2):
        memory.preset(OTHER_TABLES[level] << 12, entry(OTHER_TABLES[level - 1]))
    memory.preset((OTHER_TABLES[1] << 12) + 24, entry(NEW))
    return memory


# --- versions ---

def test_a_version_counts_in_both_cycles_at_its_ends():
    memory = Quanta()
    memory.preset(0, b"\1")
    memory.write(10, 0, b"\2")
    assert memory.was128(0, 9) == [1]
    assert memory.was128(0, 10) == [2, 1]
    assert memory.was128(0, 11) == [2]


def test_two_stores_of_half_a_quantum_make_three_versions():
    memory = Quanta()
    memory.write(10, 0, b"\1")
    memory.write(20, 8, b"\1")
    assert [each.value for each in memory.versions128(0)] == [1 << 64 | 1, 1, 0]
    assert [each.value for each in memory.versions64(8)] == [1, 0, 0]
    assert memory.versions128(0)[1] == Version(10, 20, 1)


def test_a_refused_store_changes_nothing():
    memory = Quanta(limit=0x2000, errors=frozenset({1}))
    memory.write(1, 0x1000, b"\1")
    memory.write(1, 0x2000, b"\1")
    assert memory.versions128(0x1000)[0].value is None
    assert memory.versions128(0x2000)[0].value is None


# --- translations ---

def test_without_stores_there_is_one_answer():
    permitted = machine()
    assert permitted.answers(READ, 5, 9) == {permitted.now(READ)}


def test_a_line_may_be_stale_until_its_invalidation_has_completed():
    permitted = machine()
    store(permitted, 10, LEAF, entry(NEW))
    assert pages(permitted, 20, 25) == {OLD, NEW}
    permitted.invalidated.begin(30, InvalidationView(IOTLB, GLOBAL))
    assert pages(permitted, 35, 38) == {OLD, NEW}
    permitted.invalidated.end(40)
    assert pages(permitted, 40, 45) == {OLD, NEW}    # accepted in the cycle of completion: not after it
    assert pages(permitted, 41, 45) == {NEW}


def test_what_is_stored_after_the_beginning_of_an_invalidation_may_be_either():
    permitted = machine()
    permitted.invalidated.begin(30, InvalidationView(IOTLB, GLOBAL))
    store(permitted, 35, LEAF, entry(NEW))
    permitted.invalidated.end(40)
    assert pages(permitted, 50, 55) == {OLD, NEW}


@pytest.mark.parametrize(("fields", "removed"), [
    ((IOTLB, DOMAIN_SELECTIVE, DOMAIN), True), ((IOTLB, DOMAIN_SELECTIVE, DOMAIN + 1), False),
    ((IOTLB, SELECTIVE, DOMAIN, 0, 0, 3, 0), True), ((IOTLB, SELECTIVE, DOMAIN, 0, 0, 4, 0), False),
    ((IOTLB, SELECTIVE, DOMAIN, 0, 0, 0, 2), True), ((IOTLB, SELECTIVE, DOMAIN, 0, 0, 0, 1), False),
    ((IOTLB, SELECTIVE, DOMAIN + 1, 0, 0, 3, 0), False), ((CONTEXT_CACHE, GLOBAL), False)])
def test_only_an_invalidation_that_covers_a_line_removes_it(fields, removed):
    permitted = machine()
    store(permitted, 10, LEAF, entry(NEW))
    invalidate(permitted, 20, 30, *fields)
    assert pages(permitted, 40, 45) == ({NEW} if removed else {OLD, NEW})


def test_a_large_page_is_removed_by_an_invalidation_of_any_page_in_it():
    memory = tables()
    memory.preset(LEVELS[2] << 12, entry(0x400, page_size=1))
    permitted = machine(memory)
    store(permitted, 10, LEVELS[2] << 12, entry(0x600, page_size=1))
    assert pages(permitted, 15, 18) == {0x403, 0x603}
    invalidate(permitted, 20, 30, IOTLB, SELECTIVE, DOMAIN, page=0x1FF)
    assert pages(permitted, 40, 45) == {0x603}


def test_entries_are_read_at_instants_of_their_own():
    memory = other_tables(tables())
    permitted = machine(memory)
    store(permitted, 10, LEVELS[2] << 12, entry(OTHER_TABLES[1]))    # now by the other last table, to NEW
    store(permitted, 20, (OTHER_TABLES[1] << 12) + 24, entry(0x300))
    assert pages(permitted, 30, 35) == {OLD, NEW, 0x300}


def test_a_fault_is_never_stale():
    permitted = machine()
    store(permitted, 5, LEAF, entry(NEW, readable=0, writable=0))
    store(permitted, 10, LEAF, entry(NEW))
    assert pages(permitted, 20, 25) == {OLD, NEW}
    assert pages(permitted, 8, 25) == {OLD, NEW, FaultReason.READ_PERMISSION}


def test_a_line_without_the_permission_does_not_answer():
    memory = tables()
    memory.preset(LEAF, entry(OLD, writable=0))
    permitted = machine(memory)
    store(permitted, 10, LEAF, entry(NEW))
    assert pages(permitted, 20, 25, Request(DEVICE, IOVA, Access.WRITE)) == {NEW}


def test_a_line_that_leads_into_the_interrupt_window_may_be_stale_too():
    memory = tables()
    memory.preset(LEAF, entry(0xFEE00))
    permitted = machine(memory)
    store(permitted, 10, LEAF, entry(NEW))
    assert pages(permitted, 20, 25) == {FaultReason.OUTPUT_IN_INTERRUPT_WINDOW, NEW}


# --- contexts ---

def test_a_context_is_removed_only_under_the_domain_it_was_cached_with():
    memory = other_tables(tables())
    permitted = machine(memory)
    store(permitted, 10, CONTEXT, context(second_stage_pointer=OTHER_TABLES[4], domain_id=DOMAIN + 1))
    assert pages(permitted, 20, 25) == {OLD, NEW}
    invalidate(permitted, 30, 35, CONTEXT_CACHE, SELECTIVE, DOMAIN + 1, DEVICE)
    assert pages(permitted, 40, 45) == {OLD, NEW}
    invalidate(permitted, 50, 55, CONTEXT_CACHE, SELECTIVE, DOMAIN, DEVICE)
    assert pages(permitted, 60, 65) == {NEW}


@pytest.mark.parametrize(("source_id", "function_mask", "removed"), [
    (DEVICE, 0, True), (DEVICE | 4, 0, False), (DEVICE | 4, 1, True), (DEVICE | 6, 1, False), (DEVICE | 6, 2, True),
    (DEVICE | 7, 2, False), (DEVICE | 7, 3, True), (DEVICE ^ 8, 3, False)])
def test_the_function_mask_says_which_functions_are_meant(source_id, function_mask, removed):
    permitted = machine()
    store(permitted, 10, CONTEXT, context(translation_type=2))
    invalidate(permitted, 20, 30, CONTEXT_CACHE, SELECTIVE, DOMAIN, source_id, function_mask)
    assert (OLD not in pages(permitted, 40, 45)) is removed


def test_a_line_of_a_table_that_the_domain_no_longer_has_stays_until_it_is_invalidated():
    permitted = machine(other_tables(tables()))
    store(permitted, 10, CONTEXT, context(second_stage_pointer=OTHER_TABLES[4]))      # the same domain, another table
    invalidate(permitted, 20, 30, CONTEXT_CACHE, GLOBAL)
    assert pages(permitted, 40, 45) == {OLD, NEW}
    invalidate(permitted, 50, 60, IOTLB, DOMAIN_SELECTIVE, DOMAIN)
    assert pages(permitted, 70, 75) == {NEW}


def test_an_invalidation_of_lines_alone_lets_the_stale_context_make_new_ones():
    permitted = machine(other_tables(tables()))
    store(permitted, 10, CONTEXT, context(second_stage_pointer=OTHER_TABLES[4]))
    invalidate(permitted, 20, 30, IOTLB, GLOBAL)
    assert pages(permitted, 40, 45) == {OLD, NEW}


def test_a_stale_context_hides_faults_as_it_did():
    memory = tables()
    memory.preset(CONTEXT, context(fault_processing_disable=1))
    memory.preset(LEAF, bytes(8))
    permitted = machine(memory)
    store(permitted, 10, CONTEXT, context())
    assert {each.hidden for each in permitted.answers(READ, 20, 25)} == {True, False}
    invalidate(permitted, 30, 35, CONTEXT_CACHE, GLOBAL)
    assert {each.hidden for each in permitted.answers(READ, 40, 45)} == {False}


def test_a_context_that_faults_is_cached_in_caching_mode_only_and_under_domain_0():
    for caching_mode in (0, 1):
        memory = tables()
        memory.preset(CONTEXT, context(present=0))
        permitted = machine(memory, caching_mode=caching_mode)
        store(permitted, 10, CONTEXT, context())
        stale = {FaultReason.CONTEXT_NOT_PRESENT} if caching_mode else set()
        assert pages(permitted, 20, 25) == {OLD} | stale
        invalidate(permitted, 30, 35, CONTEXT_CACHE, SELECTIVE, DOMAIN, DEVICE)
        assert pages(permitted, 40, 45) == {OLD} | stale
        invalidate(permitted, 50, 55, CONTEXT_CACHE, SELECTIVE, 0, DEVICE)
        assert pages(permitted, 60, 65) == {OLD}


def test_a_page_that_is_not_there_is_cached_in_caching_mode_only():
    for caching_mode in (0, 1):
        memory = tables()
        memory.preset(LEAF, bytes(8))
        permitted = machine(memory, caching_mode=caching_mode)
        store(permitted, 10, LEAF, entry(NEW))
        assert pages(permitted, 20, 25) == {NEW} | ({FaultReason.READ_PERMISSION} if caching_mode else set())
        invalidate(permitted, 30, 35, IOTLB, SELECTIVE, DOMAIN, page=3)
        assert pages(permitted, 40, 45) == {NEW}


def test_a_new_root_table_does_not_invalidate():
    memory = other_tables(tables())
    permitted = machine(memory)
    permitted.control(10, enabled=True, root_table=0x60, mode=0)      # nothing stands there
    assert pages(permitted, 20, 25) == {OLD, FaultReason.ROOT_NOT_PRESENT}
    invalidate(permitted, 30, 35, CONTEXT_CACHE, GLOBAL)
    assert pages(permitted, 40, 45) == {FaultReason.ROOT_NOT_PRESENT}


# --- controls ---

def test_while_translation_is_switched_both_ways_are_permitted():
    permitted = machine()
    permitted.control(10, enabled=False, root_table=ROOT, mode=0)
    assert pages(permitted, 8, 12) == {OLD, IOVA >> 12}
    assert pages(permitted, 11, 12) == {IOVA >> 12}


@pytest.mark.parametrize(("mode", "reason"), [
    (TranslationTableMode.SCALABLE, FaultReason.ROOT_POINTER_INVALID), (TranslationTableMode.ABORT_DMA, FaultReason.DMA_ABORTED)])
def test_a_mode_that_is_not_legacy_blocks_from_its_cycle_on(mode, reason):
    permitted = machine()
    permitted.control(10, enabled=True, root_table=ROOT, mode=mode.value)
    assert pages(permitted, 20, 25) == {reason}


@pytest.mark.parametrize(("width", "beyond"), [(52, 1 << 40), (52, 1 << 51), (39, 1 << 27)])
def test_a_root_table_that_the_host_does_not_have_blocks_from_its_cycle_on_and_no_alias_of_it_is_read(width, beyond):
    permitted = machine(host_address_width=width)
    permitted.control(10, enabled=True, root_table=beyond | ROOT, mode=0)
    assert pages(permitted, 8, 25) == {OLD, FaultReason.ROOT_POINTER_INVALID}
    assert pages(permitted, 20, 25) == {FaultReason.ROOT_POINTER_INVALID}
    assert permitted.now(READ).fault_reason is FaultReason.ROOT_POINTER_INVALID
    permitted = machine(host_address_width=width)
    permitted.control(10, enabled=True, root_table=beyond | NEW, mode=0)      # there is no root entry at NEW
    assert pages(permitted, 8, 25) == {OLD, FaultReason.ROOT_POINTER_INVALID}


@settings(max_examples=30, deadline=None)
@given(cases(), st.data())
def test_of_a_machine_that_stands_still_exactly_one_answer_is_permitted(case, data):
    memory = Quanta(limit=case.memory_limit, errors=frozenset(case.unreadable))
    for hpa, word in case.image:
        memory.preset(hpa, word.to_bytes(8, "little"))
    permitted = Permitted(case.encoded_straps, memory)
    permitted.control(0, enabled=True, root_table=ROOT, mode=0)
    for number in data.draw(st.lists(st.integers(0, len(case.requests) - 1), max_size=8)) if case.requests else []:
        request = case.request(number)
        answers = permitted.answers(request, 5, 9)
        if case.straps["caching_mode"] or PageSize.UNTRANSLATED in {each.page_size for each in answers}:
            continue   # lines of other devices' tables may answer, or other access kinds have met what is not there
        assert permitted.now(request) in answers
        if request.kind is RequestKind.UNTRANSLATED:
            assert {each.fault_reason for each in answers if each.status is Status.BLOCKED} <= {
                permitted.now(request).fault_reason}
