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

IMAGES = 220
SEED = 3
_OK_4K = 0      # status and page size, both zero


@pytest.fixture(scope="module")
def report(player):
    """A short run."""
    return fuzz(IMAGES, SEED)


class Lying:
    """A simulation whose log is changed on its way: `lie` takes the events of a case and returns others."""

    def __init__(self, simulation, lie):
        self._simulation, self._lie = simulation, lie

    def play(self, case):
        played = self._simulation.play(case)
        return replace(played, events=self._lie(played.events.copy()))


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


def test_the_gateware_and_the_model_agree(report):
    assert report["cases"] == []
    assert report["images"] == IMAGES
    assert report["requests"] > 90 * IMAGES


def test_nothing_hangs(report):
    assert 0 < report["longest_wait_of_its_deadline"] < 1


def test_everything_that_there_is_was_seen(report):
    assert report["not_seen"] == {}


@pytest.mark.parametrize(("lie", "says"), [
    (wrong_page, "permitted: OK"), (slow_head, "IQH"), (early_status, "nothing asks for it now")])
def test_a_lie_is_found_and_made_small(player, lie, says):
    with Simulation(player) as simulation:
        lying = Lying(simulation, lie)
        found = search(lying, images=150, seed=1, most_mismatches=1, shrink_seconds=3)
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


def test_a_machine_that_hangs_is_a_finding():
    found = search(Canned(Played(hang="cycle 7, waiting for the reply to a read")), images=10, seed=1, most_mismatches=1)
    assert "the machine hangs: cycle 7" in found.mismatches[0][1][0]
    assert Case.from_json(found.mismatches[0][0]).requests == []


def test_what_was_not_seen_is_missing():
    everything = Coverage(**{name: type(getattr(Coverage(), name))(names) for name, names in EVERYTHING.items()})
    assert missing(everything) == {}
    del everything.top_levels["5"]
    assert missing(everything) == {"top_levels": ["5"]}


def test_the_log_of_a_case_holds_its_accesses(player):
    with Simulation(player) as simulation:
        played = simulation.play(Case(program=[["read", 0, 4]]))
    assert played.reads[0] == int(of_kind(played.events, EventKind.REGISTER)[0]["detail_lo"])
