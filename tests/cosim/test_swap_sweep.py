# amaranth: UnusedElaboratable=no
"""W9: the domain of a device is swapped under traffic, at random phases: no DMA is lost, and it waits for one walk."""
import pytest

from hw.top.bench_top import BenchTop
from sim.measure.case import Case
from sim.measure.verdicts import results_of
from sim.runner import build, run
from sim.stories.bench_plan import SWAP_DEVICES, SWAPS
from sim.stories.demo import DEMO_CONFIG
from sim.stories.swap_sweep import OUTSTANDING, phases_of
from tests.cosim.sabotage import SabotagedTop, sabotaged_blocks

EVERYTHING = "everything"
MUST_NOT_BE = {"W9 hangs", "W9 faults", "W9 blocked", "W9 wrong", "W9 old_after_completion"}


@pytest.fixture(scope="module", params=["sample", EVERYTHING])
def swept(request):
    """Cases with their figures: 15 phases each, or 300 in `make regress`."""
    requests = 10_000 if request.param == EVERYTHING else 500
    cases = [Case(bench=bench, latency=20, word_bits=128, option=devices, requests=requests, seed=5)
             for bench in SWAPS for devices in SWAP_DEVICES]
    values = run(build(BenchTop(DEMO_CONFIG), "bench_top"), "sim.stories.bench_runner",
                 config={"cases": [case.as_dict() for case in cases]}, seconds=3_000).values
    assert {case.label: value["error"] for case, value in zip(cases, values.values(), strict=True) if "error" in value} == {}
    return [(case, results_of(case, value["observed"])) for case, value in zip(cases, values.values(), strict=True)]


def short(swept, names):
    """The figures of these names that do not reach their target."""
    return [f"{result.name}, {result.variant}: {result.value}, target {result.target}"
            for _, results in swept for result in results if result.name in names and not result.met]


def test_no_swap_hangs_faults_or_is_seen_by_a_dma_after_its_completion(swept):
    assert short(swept, MUST_NOT_BE) == []
    assert all({result.name for result in results} >= MUST_NOT_BE for _, results in swept)


def test_the_device_waits_for_one_cold_walk_at_most(swept):
    """Six reads: root, context and four levels."""
    assert short(swept, {"W9 longest_gap"}) == []


def test_the_other_devices_lose_less_than_the_swapped_one_has_in_flight(swept):
    """The port is full: what was asked for during the walk is answered in the place of others. Their rate: `make bench`."""
    lost = {(case.bench, case.option): result.value for case, results in swept for result in results
            if result.name == "W9 others_lost"}
    assert set(lost) == {(bench, devices) for bench in SWAPS for devices in (2, 8)}
    assert {which: value for which, value in lost.items() if value > OUTSTANDING} == {}


def test_the_figures_are_in_their_order(swept):
    for _, results in swept:
        times = {(result.name, result.variant.rpartition(", ")[2]): result.value for result in results}
        for which in ("least", "median", "most"):
            assert 0 < times["W9 last_old", which] < times["W9 complete", which]
        assert times["W9 first_new", "least"] <= times["W9 first_new", "median"] <= times["W9 first_new", "most"]


def test_there_are_300_phases_at_the_latency_of_the_contract_and_fewer_where_they_are_longer():
    case = Case(bench="swap_hitting", latency=20, word_bits=128, requests=10_000)
    assert [phases_of(case.changed(latency=latency)) for latency in (20, 100, 400, 1)] == [300, 60, 15, 300]
    assert phases_of(case.changed(requests=0)) == 2


# --- the control ---

@pytest.fixture(scope="module")
def control():
    """Figures by bug; a bug of the hardware is chosen when the simulation runs."""
    with sabotaged_blocks():
        built = build(SabotagedTop(DEMO_CONFIG), "sabotaged_top")
    case = Case(bench="swap_thrashing", latency=100, word_bits=128, option=2, requests=500)
    found = run(built, "tests.cosim.swap_control_bench", seconds=300, config={
        "case": case.as_dict(), "bugs": ["STATUS_BEFORE_EFFECT", "ANSWER_LOST"]}).value
    return {bug: {result.name: result for result in results_of(case, observed)} for bug, observed in found.items()}


def test_the_same_machine_without_a_bug_swaps_well(control):
    assert {name for name, result in control["NONE"].items() if not result.met and name in MUST_NOT_BE} == set()


def test_a_wait_that_does_not_wait_leaves_dmas_by_the_old_tables(control):
    assert not control["STATUS_BEFORE_EFFECT"]["W9 old_after_completion"].met


def test_a_lost_answer_is_a_hang(control):
    assert not control["ANSWER_LOST"]["W9 hangs"].met
