"""Every fault reason of legacy mode on the whole unit: replies, fault records as software reads them, reads of memory.

Expectations by hand are in fault_cases and fault_pairs; each case is held against them and against the golden model.
"""
from collections import Counter
from dataclasses import replace
from itertools import combinations

import pytest

from hw.spec.dma import Access, RequestKind, Status
from hw.spec.faults import FaultReason
from hw.spec.tables import PAGE_BYTES, PageSize
from tests.cosim.answers import (
    FRI_SHIFT,
    PFO,
    PPF,
    expected_reads,
    is_hit,
    meaning,
    model_of,
    model_of_case,
    record_of,
    replied,
    shown,
)
from tests.cosim.fault_cases import CASES, KEPT, REPAIRS
from tests.cosim.fault_pairs import ALONE, CAUSES, IMPOSSIBLE, PAIRS, Contradiction, both, name_of_pair
from tests.cosim.faults_bench import RANDOM_SEEDS
from tests.cosim.random_tables import RandomTables
from tests.cosim.tables import HPA, SOURCE_ID, UNMAPPED_PAGE, Expected, unmapped

LEGACY_REASONS = {0x01, 0x02, 0x03, 0x04, 0x05, 0x06, 0x07, 0x08, 0x09, 0x0A, 0x0B, 0x0C, 0x0D, 0x0E, 0x30, 0x31}


# --- each case ---

@pytest.mark.parametrize("name", CASES)
def test_each_request_is_answered_as_worked_out_by_hand(observed, name):
    assert [replied(one["reply"]) for one in observed["cases"][name]] == [meaning(each) for each in CASES[name].expected]


@pytest.mark.parametrize("name", CASES)
def test_each_request_is_answered_as_the_golden_model_says(observed, name):
    answers = map(model_of_case(CASES[name]), CASES[name].requests)
    assert [replied(one["reply"]) for one in observed["cases"][name]] == [meaning(each) for each in answers]


@pytest.mark.parametrize("name", CASES)
def test_each_fault_leaves_its_record_and_nothing_else_does(observed, name):
    expected, count = [], 0
    for request, outcome in zip(CASES[name].requests, CASES[name].expected, strict=True):
        expected.append((PPF | count << FRI_SHIFT, record_of(request, outcome.fault_reason))
                        if outcome.recorded else (0, None))
        count += outcome.recorded
    assert [shown(one) for one in observed["cases"][name]] == expected


@pytest.mark.parametrize("name", CASES)
def test_each_request_reads_every_entry_that_is_not_cached_and_no_other(observed, name):
    """A fault is so seen with cold caches, and again with its context cached if it is a legal one."""
    asked = observed["cases"][name]
    assert [one["reads"] for one in asked] == list(expected_reads(CASES[name], [is_hit(one) for one in asked]))


def test_an_access_hits_if_an_earlier_one_has_read_its_page_and_no_other_does(observed):
    hits = {name: [is_hit(one) for one in asked] for name, asked in observed["cases"].items()}
    assert {name: found for name, found in hits.items() if any(
        each.hit not in {None, hit} for each, hit in zip(CASES[name].expected, found, strict=True))} == {}


def test_a_blocked_reply_shows_no_address(observed):
    replies = [one["reply"] for asked in observed["cases"].values() for one in asked if one["reply"] is not None]
    assert {reply["hpa"] for reply in replies if reply["status"] == Status.BLOCKED.value} == {0}


def test_the_driver_reads_what_was_recorded(observed):
    kinds = {Access.READ: 0b10, Access.WRITE: 0b00, Access.ATOMIC: 0b11}
    expected = {name: [[[request.source_id, request.iova & -PAGE_BYTES, outcome.fault_reason, kinds[request.access]]]
                       if outcome.recorded else [] for request, outcome in zip(case.requests, case.expected, strict=True)]
                for name, case in CASES.items()}
    assert {name: [one["taken"] for one in asked] for name, asked in observed["cases"].items()} == expected


def test_every_reason_of_legacy_mode_is_recorded_for_every_access_that_it_can_meet():
    met = {(outcome.fault_reason, request.access) for case in CASES.values()
           for request, outcome in zip(case.requests, case.expected, strict=True) if outcome.recorded}
    assert met == {(reason, access) for reason in LEGACY_REASONS for access in Access if access is not Access.RESERVED_3
                   } - {(0x05, Access.READ), (0x06, Access.WRITE)}


# --- two causes in one request ---

@pytest.mark.parametrize("name", [*ALONE, *PAIRS])
def test_of_two_causes_the_one_that_is_checked_first_is_reported(observed, name):
    """Reply and record; and what is read: a walk goes on as long as any access may pass, and no further."""
    case, seen = (ALONE | PAIRS)[name], observed["pairs"][name]
    recorded = [record_of(request, outcome.fault_reason)
                for request, outcome in zip(case.requests, case.expected, strict=True) if outcome.recorded]
    assert [replied(one) for one in seen["replies"]] == [meaning(outcome) for outcome in case.expected]
    assert [hex(record) for record in seen["records"]] == recorded
    assert seen["status"] == (PPF if recorded else 0)
    assert seen["reads"] == [hpa for reads in expected_reads(case, [False] * len(case.requests)) for hpa in reads]


def test_golden_model_reports_the_same_of_two_causes():
    cases = ALONE | PAIRS
    assert {name: [meaning(answer) for answer in map(model_of_case(case), case.requests)] for name, case in cases.items()
            } == {name: [meaning(outcome) for outcome in case.expected] for name, case in cases.items()}


def test_every_two_causes_are_a_pair_or_cannot_be_in_one_request():
    every = [name_of_pair(first, second) for first, second in combinations(CAUSES, 2)]
    assert len(set(every)) == len(every)
    assert sorted([*(name.removeprefix("pair: ") for name in PAIRS), *IMPOSSIBLE]) == sorted(every)
    assert all(case.requests for case in PAIRS.values())


@pytest.mark.parametrize(("first", "second"), [
    (first, second) for first, second in combinations(CAUSES, 2) if name_of_pair(first, second) in IMPOSSIBLE])
def test_pairs_that_are_left_out_contradict_themselves(first, second):
    with pytest.raises(Contradiction):
        both(first, second)


def test_every_reason_is_a_cause():
    assert {cause.reason for cause in CAUSES} == LEGACY_REASONS | {0xFF}


# --- nothing that faulted is cached ---

@pytest.mark.parametrize("name", REPAIRS)
def test_what_was_repaired_without_an_invalidation_is_translated(observed, name):
    tables = CASES[name].tables.repaired
    assert [replied(one["reply"]) for one in observed["repairs"][name]] == [
        meaning(CASES[name].expected[0]),
        (Status.OK, hex(HPA[tables.leaf]), PageSize(tables.leaf - 1))]


@pytest.mark.parametrize("name", KEPT)
def test_what_caching_mode_keeps_stays_blocked_until_it_is_invalidated(observed, name):
    assert [replied(one["reply"]) for one in observed["repairs"][name]] == [meaning(CASES[name].expected[0])] * 2
    assert observed["repairs"][name][1]["reads"] == []


# --- more faults than records ---

def test_nine_faults_in_a_row_are_all_blocked(observed):
    assert [replied(one) for one in observed["overflow"]["replies"]] == 9 * [(Status.BLOCKED, FaultReason.READ_PERMISSION)]


def test_of_nine_faults_the_first_eight_are_recorded_in_order(observed):
    assert [hex(record) for record in observed["overflow"]["records"]] == [record_of(unmapped(n), 0x06) for n in range(8)]


def test_of_nine_faults_the_last_is_flagged_as_overflow(observed):
    assert shown(observed["overflow"]["full"]) == (PPF | PFO, record_of(unmapped(0), 0x06))


def test_the_driver_takes_eight_records_and_the_overflow(observed):
    full = observed["overflow"]["full"]
    assert full["taken"] == [[SOURCE_ID, (UNMAPPED_PAGE + number) * PAGE_BYTES, 0x06, 0b10] for number in range(8)]
    assert full["overflowed"]


def test_a_device_is_served_while_the_records_are_full(observed):
    assert replied(observed["overflow"]["good"]) == (Status.OK, hex(HPA[1]), PageSize.SIZE_4K)


def test_recording_goes_on_after_the_driver_cleared_everything(observed):
    assert shown(observed["overflow"]["after"]) == (PPF, record_of(unmapped(9), 0x06))


def test_a_fault_is_blocked_and_lost_while_the_overflow_stands_though_records_are_free(observed):
    lost = observed["overflow stands"]["lost"]
    assert replied(lost["reply"]) == (Status.BLOCKED, FaultReason.READ_PERMISSION)
    assert shown(lost) == (PFO, None)


def test_clearing_the_overflow_is_enough_to_record_again(observed):
    assert shown(observed["overflow stands"]["after"]) == (PPF, record_of(unmapped(10), 0x06))


def test_a_unit_that_shows_four_records_overflows_at_the_fifth_fault(observed):
    few = observed["few records"]
    assert shown(few) == (PPF | PFO, record_of(unmapped(0), 0x06))
    assert len(few["taken"]) == 4


# --- random tables ---

@pytest.mark.parametrize("seed", RANDOM_SEEDS)
def test_random_tables_are_read_as_the_golden_model_reads_them(observed, seed):
    tables = RandomTables.of_seed(seed)
    answer = model_of(tables, straps=tables.straps)
    differences = [(request, got, expected) for request, one in zip(tables.requests, observed["random"][str(seed)], strict=True)
                   if (got := replied(one)) != (expected := meaning(answer(request)))]
    assert differences == []


def test_random_tables_reach_nearly_every_outcome():
    """By the model alone: a root table that cannot be read is in none of them."""
    outcomes = Counter()
    for seed in RANDOM_SEEDS:
        tables = RandomTables.of_seed(seed)
        outcomes.update(meaning(each)[-1] for each in map(model_of(tables, straps=tables.straps), tables.requests))
    assert LEGACY_REASONS - {0x08, 0x30} <= {each.value for each in outcomes if isinstance(each, FaultReason)}
    assert set(PageSize) <= set(outcomes)


# --- the comparisons themselves ---

@pytest.mark.parametrize("other", [
    dict(status=Status.OK.value, fault_reason=0), dict(fault_reason=0x0B), dict(status=Status.INTERRUPT.value),
])
def test_another_answer_is_told_from_the_expected_one(other):
    reply = dict(status=Status.BLOCKED.value, hpa=0, page_size=0, fault_reason=0x0C)
    expected = meaning(Expected(Status.BLOCKED, 0x0C))
    assert replied(reply) == expected
    assert replied(reply | other) != expected


@pytest.mark.parametrize("other", [dict(hpa=HPA[1] ^ 4), dict(page_size=1), dict(status=Status.BLOCKED.value)])
def test_another_translation_is_told_from_the_expected_one(other):
    reply = dict(status=Status.OK.value, hpa=HPA[1], page_size=0, fault_reason=0)
    expected = meaning(Expected(Status.OK, hpa=HPA[1], page_size=PageSize.SIZE_4K))
    assert replied(reply) == expected
    assert replied(reply | other) != expected


def test_a_missing_reply_is_no_answer():
    assert replied(None) not in {meaning(outcome) for case in CASES.values() for outcome in case.expected}


def test_every_field_of_a_record_counts():
    request = unmapped(0)
    others = [dict(access=Access.WRITE), dict(access=Access.ATOMIC), dict(kind=RequestKind.TRANSLATED),
              dict(source_id=SOURCE_ID ^ 1), dict(iova=request.iova + PAGE_BYTES), dict(pasid_present=True)]
    records = {record_of(replace(request, **other), 0x06) for other in others} | {record_of(request, 0x05)}
    assert len(records - {record_of(request, 0x06)}) == len(others) + 1


@pytest.mark.parametrize("name", [*REPAIRS, *KEPT])
def test_the_golden_model_tells_broken_tables_from_good_ones(name):
    case = CASES[name]
    request = case.requests[0]
    good = model_of(case.tables.repaired, straps=case.straps)(request)
    assert meaning(good) != meaning(model_of_case(case)(request))
