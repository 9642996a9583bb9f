# amaranth: UnusedElaboratable=no
"""Faults from every source at the same time: below capacity none is lost, and there is one event until all are cleared."""
from collections import Counter

import pytest

from hw.spec.dma import Status
from hw.spec.invalidation import QueueError
from hw.spec.tables import PAGE_BYTES
from sim.runner import run
from tests.cosim.answers import FRI_SHIFT, PFO, PPF, record_of
from tests.cosim.storm_bench import CROWD, EVENT_DATA, EVENT_HPA, FAILING_DEVICE, ONE_MORE, STORMS

IQE, ICE = 0x010, 0x020   # of FSTS
ICESID_SHIFT = 48         # of IQERCD
QUEUE_ERROR, COMPLETION_ERROR = 0, 2
MESSAGE = [EVENT_HPA, EVENT_DATA]
CROWDS = {"first": CROWD, "second": CROWD, "nine": CROWD + ONE_MORE}
FIRST_RECORD = {"first": 0, "one more": 0, "second": 1, "nine": 1}   # of eight: 8 faults, then 1, then 8


@pytest.fixture(scope="module")
def stories(player):
    """What came of each storm."""
    return run(player, "tests.cosim.storm_bench", seconds=120).value


def each(stories, *crowds):
    """(Number of the storm, name of the crowd, what came of it)."""
    return [(number, name, story[name]) for number, story in enumerate(stories) for name in crowds]


def records_of(crowd):
    """What the faults of these requests are recorded as, each how often."""
    return Counter(record_of(request, reason) for request, reason in crowd)


def test_every_storm_was_played(stories):
    assert len(stories) == len(STORMS)


@pytest.mark.parametrize("crowd", CROWDS)
def test_each_request_of_a_crowd_is_blocked_for_its_own_reason(stories, crowd):
    expected = [[Status.BLOCKED.value, reason] for _, reason in CROWDS[crowd]]
    assert [seen for seen in each(stories, crowd) if seen[2]["replies"] != expected] == []


@pytest.mark.parametrize("crowd", ["first", "second"])
def test_eight_faults_at_once_are_all_recorded(stories, crowd):
    expected = records_of(CROWD)
    assert len(expected) == 8
    assert [seen for seen in each(stories, crowd) if Counter(map(hex, seen[2]["records"])) != expected] == []


@pytest.mark.parametrize("crowd", CROWDS)
def test_records_stand_in_the_order_in_which_the_faults_came(stories, crowd):
    for _, _, seen in each(stories, crowd):
        in_records = [[record >> 64 & 0xFFFF, record >> 12 & (1 << 52) - 1, record >> 96 & 0xFF] for record in seen["records"]]
        assert in_records == [[source, iova // PAGE_BYTES, reason] for source, iova, reason in seen["recorded"]]


@pytest.mark.parametrize("crowd", ["first", "one more", "second"])
def test_both_errors_of_the_queue_stand_beside_the_records_and_nothing_has_overflowed(stories, crowd):
    expected = PPF | IQE | ICE | FIRST_RECORD[crowd] << FRI_SHIFT
    assert [seen for seen in each(stories, crowd) if seen[2]["status"] != expected] == []


@pytest.mark.parametrize("crowd", CROWDS)
def test_each_error_of_the_queue_has_its_cause_and_the_head_stands_still(stories, crowd):
    for _, _, seen in each(stories, crowd):
        assert hex(seen["errors"]) == hex(FAILING_DEVICE << ICESID_SHIFT | QueueError.BAD_TYPE)
        assert seen["head"] == seen["bad"]


@pytest.mark.parametrize("crowd", CROWDS)
def test_ten_causes_or_more_are_one_event(stories, crowd):
    assert [seen for seen in each(stories, crowd) if seen[2]["messages"] != [MESSAGE]] == []


def test_fault_is_recorded_without_an_event_while_the_queue_has_an_error(stories):
    """Records are clear by then, and FSTS.IQE and ICE are not."""
    for _, _, seen in each(stories, "one more"):
        assert Counter(map(hex, seen["records"])) == records_of(ONE_MORE)
        assert seen["messages"] == []


def test_ninth_fault_overflows_and_is_the_only_one_lost(stories):
    nine = records_of(CROWDS["nine"])
    expected = PFO | PPF | IQE | ICE | FIRST_RECORD["nine"] << FRI_SHIFT
    for _, _, seen in each(stories, "nine"):
        kept = Counter(map(hex, seen["records"]))
        assert kept <= nine
        assert kept.total() == 8
        assert len(seen["fault cycles"]) == 9
        assert seen["status"] == expected


@pytest.mark.parametrize(("crowd", "count"), [("first", 8), ("one more", 1), ("second", 8), ("nine", 8)])
def test_driver_takes_every_record_and_is_told_of_an_overflow(stories, crowd, count):
    for story in stories:
        taken = story[f"{crowd} taken"]
        assert [(source, reason) for source, _, reason, _ in taken["taken"]] == [
            (source, reason) for source, _, reason in story[crowd]["recorded"]]
        assert len(taken["taken"]) == count
        assert taken["overflowed"] == (crowd == "nine")


@pytest.mark.parametrize("crowd", CROWDS)
def test_queue_goes_on_when_its_errors_are_cleared_and_then_no_cause_is_left(stories, crowd):
    for story in stories:
        mended = story[f"{crowd} mended"]
        assert mended["failure"] == ("the queue stands still: BAD_TYPE; "
                                     "device 0x0711 answered the invalidation of its TLB with an error")
        assert mended["done"]
        assert mended["status"] & (PFO | PPF | IQE | ICE) == 0


def test_errors_of_the_queue_come_before_among_and_after_the_faults_and_in_the_same_cycle(stories):
    """Whether the storms are storms."""
    met = set()
    for _, _, seen in each(stories, *CROWDS):
        faults = seen["fault cycles"]
        for trouble, cycle in seen["trouble cycles"].items():
            met.add((int(trouble), "before" if cycle < faults[0] else "after" if cycle > faults[-1] else "among"))
            if cycle in faults:
                met.add((int(trouble), "with the first" if cycle == faults[0] else "with another"))
    assert {(trouble, when) for trouble in (QUEUE_ERROR, COMPLETION_ERROR)
            for when in ("before", "among", "after", "with another")} <= met
    assert {when for _, when in met} >= {"with the first"}
