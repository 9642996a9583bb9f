# amaranth: UnusedElaboratable=no
"""Random testing itself: the gateware against the golden model; and a log with lies in it, which must be found and made small."""
from dataclasses import replace

import numpy as np
import pytest

from hw.spec.events import EventKind
from sim.events import detail_column, of_kind
from sim.stories.fuzz import EVERYTHING, fuzz, missing, play_case, search
from sim.stories.fuzz_case import Case
from sim.stories.fuzz_check import Coverage, Simulation, check
from sim.stories.fuzz_worker import Played

IMAGES = (60, 220)      # the second is for `make regress`; then everything must have been seen
SEED = 3
_OK_4K = 0      # status and page size, both zero


@pytest.fixture(scope="module", params=IMAGES)
def report(player, request):
    """A short run, and how many images it was asked for."""
    return fuzz(request.param, SEED) | {"asked": request.param}


@pytest.fixture(scope="module")
def simulation(player):
    """A simulator that lives on from test to test."""
    with Simulation(player) as one:
        yield one


class Lying:
    """A simulation whose log is changed on its way: `lie` takes the events of a case and returns others."""

    def __init__(self, simulation, lie):
        self._simulation, self._lie = simulation, lie

    def play(self, case):
        played = self._simulation.play(case)
        return replace(played, events=self._lie(played.events.copy()))


class Forgetful:
    """A simulation that hangs, and never again."""

    def __init__(self, simulation):
        self._simulation, self._hung = simulation, False

    def play(self, case):
        if self._hung or not case.requests:
            return self._simulation.play(case)
        self._hung = True
        return Played(hang="only once")


class Canned:
    """A simulation that always says the same."""

    def __init__(self, played):
        self._played = played

    def play(self, case):
        return self._played


def wrong_page(events):
    """Every translation to a small page ends in the page beside it."""
    replies = np.flatnonzero(events["kind"] == EventKind.REPLY)
    if len(replies):
        small = (detail_column(events[replies], "status") == _OK_4K) & (detail_column(events[replies], "page_size") == _OK_4K)
        events["hpa"][replies[small]] ^= 0x1000
    return events


def slow_head(events):
    """IQH is read as if one descriptor less had been fetched."""
    place = (events["kind"] == EventKind.REGISTER) & (events["hpa"] == 0x80) & (events["detail_lo"] >= 0x10)
    events["detail_lo"][place] -= 0x10
    return events


def early_status(events):
    """The status of a wait is in memory before its invalidation is complete."""
    ends = np.flatnonzero(events["kind"] == EventKind.INVALIDATION_END)
    for end in ends:
        later = np.flatnonzero((events["kind"] == EventKind.MESSAGE) & (events["tag"] == 0))
        later = later[later > end]
        if len(later):
            order = [*range(end), int(later[0]), *range(end, later[0]), *range(later[0] + 1, len(events))]
            moved = events["cycle"][end]
            events = events[order]
            events["cycle"][end] = moved
            return events
    return events


def late_retire(events):
    """Accesses go on long after they are over."""
    events["cycle"][events["kind"] == EventKind.RETIRE] += 2000
    return events[np.argsort(events["cycle"], kind="stable")]


def test_the_gateware_and_the_model_agree(report):
    assert report["cases"] == []
    assert report["images"] == report["asked"]
    assert report["requests"] >= 100 * report["asked"]


def test_nothing_hangs(report):
    assert report["hangs"] == 0
    assert 0 < report["longest_wait_of_its_deadline"] < 1


@pytest.mark.parametrize("report", IMAGES[1:], indirect=True)
def test_everything_that_there_is_was_seen(report):
    assert report["not_seen"] == {}


@pytest.mark.parametrize(("lie", "says"), [
    (wrong_page, "permitted: OK"), (slow_head, "IQH"), (early_status, "nothing asks for it now")])
def test_a_lie_is_found_and_made_small(simulation, lie, says):
    lying = Lying(simulation, lie)
    found = search(lying, images=150, seed=2, most_mismatches=1, shrink_seconds=5)
    assert len(found.mismatches) == 1
    text, findings = found.mismatches[0]
    case = Case.from_json(text)
    assert says in findings[0]
    assert says in check(case, lying.play(case))[0][0]
    assert len(case.program) <= 16
    assert len(case.requests) <= 8
    assert check(case, simulation.play(case))[0] == []   # the truth is fine


def test_a_case_is_played_again_from_its_text(player):
    case = Case(requests=[[8, 0x1000, 0, 0, 4, 0]], program=[["dma", 1], ["barrier"]])
    assert Case.from_json(case.to_json()) == case
    assert play_case(Case.from_json(case.to_json()), player) == []
    assert "READ of 0x1000 by 0x0008" in case.explain()


def translating(*requests, **knobs):
    """A case in which translation is on, and there are no tables."""
    return Case(knobs=knobs, requests=[list(each) for each in requests], program=[
        ["write", 0x18, 4, 1 << 30], ["poll", 0x1C, 4, 1 << 30, 1 << 30], ["write", 0x18, 4, 1 << 31],
        ["dma", len(requests)], ["barrier"]])


def test_memory_that_does_not_answer_in_time_is_a_hang_and_the_next_case_is_played(simulation):
    late = translating((8, 0x1000, 0, 0, 4, 0), latency=70_000)
    played = simulation.play(late)
    findings, _ = check(late, played)
    assert findings[0].startswith("the machine hangs: cycle 60")
    assert "memory port table: 1 of 1 unanswered" in findings[0]
    assert played.longest_wait == 1
    again = translating((8, 0x1000, 0, 0, 4, 0), latency=7)
    assert check(again, simulation.play(again))[0] == []


def test_a_simulator_that_ends_before_it_plays_is_a_hang(player, tmp_path):
    with Simulation(replace(player, folder=tmp_path)) as simulation:
        assert "the simulator has ended" in simulation.play(Case()).hang


def test_accesses_end_as_late_as_the_knob_says(simulation):
    case = translating(*((8, 0x1000 * number, 0, 0, 4, 0) for number in range(40)), retire_delay=50, seed=4)
    logs = [simulation.play(case).events for _ in range(2)]
    replies, retires = (of_kind(logs[0], kind)["cycle"] for kind in (EventKind.REPLY, EventKind.RETIRE))
    assert len(replies) == len(retires) == 40
    assert 15 < np.mean(retires) - np.mean(replies) < 37      # one cycle, and 0 to 50 more
    assert np.array_equal(retires, of_kind(logs[1], EventKind.RETIRE)["cycle"])


def test_a_drain_that_does_not_wait_for_accesses_is_found(simulation):
    case = translating((8, 0x1000, 0, 0, 4, 0), retire_delay=300)
    place = case.offset("IOTLB")
    case.program += [["write", place, 8, 1 << 63 | 1 << 60 | 3 << 48], ["poll", place + 4, 4, 1 << 31, 0]]
    assert check(case, simulation.play(case))[0] == []
    found = check(case, Lying(simulation, late_retire).play(case))[0]
    assert "is complete and was to drain, and request 0" in found[0]


def test_a_log_that_cannot_be_followed_is_a_finding(simulation):
    case = Case(program=[["read", 0, 4]])
    played = simulation.play(case)
    played.events["kind"][0], played.events["tag"][0] = EventKind.MESSAGE, 9
    assert "the log cannot be followed: ValueError" in check(case, played)[0][0]


def test_what_differs_only_once_is_a_finding(simulation):
    found = search(Forgetful(simulation), images=10, seed=1, most_mismatches=1, shrink_seconds=1)
    assert found.hangs == 1
    assert "only once" in found.mismatches[0][1][0]


def test_a_machine_that_hangs_is_a_finding():
    found = search(Canned(Played(hang="cycle 7, waiting for the reply to a read")), images=10, seed=1, most_mismatches=1)
    assert "the machine hangs: cycle 7" in found.mismatches[0][1][0]
    assert found.hangs == 1
    assert Case.from_json(found.mismatches[0][0]).requests == []


def test_what_was_not_seen_is_missing():
    everything = Coverage(**{name: type(getattr(Coverage(), name))(names) for name, names in EVERYTHING.items()})
    assert missing(everything) == {}
    del everything.top_levels["5"]
    assert missing(everything) == {"top_levels": ["5"]}


def test_the_log_of_a_case_holds_its_accesses(simulation):
    played = simulation.play(Case(program=[["read", 0, 4]]))
    assert played.reads[0] == int(of_kind(played.events, EventKind.REGISTER)[0]["detail_lo"])
