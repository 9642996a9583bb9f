# amaranth: UnusedElaboratable=no
"""W8: an invalidation against a miss, at every offset, with every memory latency up to 32 cycles and three of the queue."""
import pytest

from sim.measure.case import Case
from sim.measure.verdicts import results_of
from sim.runner import build, run
from sim.stories.bench_plan import QUEUE_LATENCIES, RACES
from sim.stories.demo import DEMO_CONFIG
from sim.stories.race_machine import PLAYS
from sim.stories.race_sweep import OFFSETS
from tests.cosim.sabotage import SabotagedTop, sabotaged_blocks

LATENCIES = range(1, 33)
SAMPLED_LATENCIES, SAMPLED_OFFSETS = (1, 2, 7, 20, 32), 6
EVERYTHING = "everything"


@pytest.fixture(scope="module", params=["sample", EVERYTHING])
def swept(player, request):
    """Cases, and what was observed of each; the second is for `make regress`."""
    every = request.param == EVERYTHING
    cases = [Case(bench=bench, latency=latency, word_bits=128, option=delay, seed=3,
                  requests=len(OFFSETS) if every else SAMPLED_OFFSETS)
             for bench in RACES for delay in QUEUE_LATENCIES for latency in (LATENCIES if every else SAMPLED_LATENCIES)]
    values = run(player, "sim.stories.bench_runner", config={"cases": [case.as_dict() for case in cases]},
                 seconds=10_000 if every else 300).values
    return [(case, values[f"case-{number:04}"]) for number, case in enumerate(cases)]


def test_no_placement_hangs_faults_or_leaves_anything_stale(swept):
    assert {case.label: value["error"] for case, value in swept if "error" in value} == {}
    figures = [result for case, value in swept for result in results_of(case, value["observed"])]
    assert {result.name for result in figures} == {"W8 hangs", "W8 stale", "W8 faults", "W8 wrong"}
    assert [f"{result.name}, {result.variant}, L = {result.latency}" for result in figures if not result.met] == []


def test_every_placement_was_played_in_every_way_and_many_found_a_miss_under_way(swept):
    for case, value in swept:
        assert value["observed"]["placements"] == len(PLAYS) * min(case.requests, len(OFFSETS))
    assert sum(value["observed"]["under_way"] for case, value in swept if case.latency >= 20) > 0.2 * sum(
        value["observed"]["placements"] for case, value in swept if case.latency >= 20)


# --- the control ---

@pytest.fixture(scope="module")
def control():
    """What a machine in which walks do not hear of invalidations shows, and the same machine without that bug."""
    with sabotaged_blocks():
        built = build(SabotagedTop(DEMO_CONFIG), "sabotaged_top")
    return run(built, "tests.cosim.race_control_bench", seconds=300, config={
        "latency": 20, "offsets": [-40, -15, 0, *range(4, 11), 30, *range(46, 56, 2), 110]}).value


def test_the_same_machine_without_the_bug_shows_nothing(control):
    for form in control["NONE"].values():
        assert [form[name] for name in ("hangs", "stale", "faults", "wrong")] == [[], [], [], []]


def test_walks_that_do_not_hear_of_invalidations_leave_stale_translations(control):
    """Of a page; of a context they leave lines of a domain that nobody is in any more."""
    found = control["MARKED_WALK_FILLS"]
    assert found["iotlb"]["stale"]
    assert found["context"]["stale"] == []
    for form in found.values():
        assert (form["hangs"], form["faults"], form["wrong"]) == ([], [], [])


def test_a_lost_answer_is_a_hang_and_the_next_placement_begins_from_a_reset(control):
    assert control["hangs"] == [True, True, False]
