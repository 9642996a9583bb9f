# amaranth: UnusedElaboratable=no
"""Which laws a bug of the hardware, or a bad driver, breaks: the set was predicted, and is exactly that."""
import pytest

from sim.runner import build, run
from sim.stories.demo import DEMO_CONFIG
from tests.cosim.sabotage import SabotagedTop, sabotaged_blocks


@pytest.fixture(scope="module")
def bench():
    with sabotaged_blocks():
        return build(SabotagedTop(DEMO_CONFIG), "sabotaged_top")


PREDICTED = {
    "honest_unmap": set(),
    "status_before_effect": {"L8"},      # software is told early; nothing that it then relies on is wrong
    "scan_clears_nothing": {"L5"},       # lines that were right are used after they were taken away
    "drain_ignored": {"L5"},             # software is told that nobody uses a page which a DMA is still under way to
    "marked_walk_fills": {"L3"},         # a line that no table gives any more is filled
    "marked_walk_fills_and_is_used": {"L3", "L5"},   # ... and used
    "answer_lost": {"L6"},               # a request without a reply
    "queue_head_polled": {"L4"},         # pages are freed while their translations are in use
    "queue_freed_while_on": {"L4"},      # the unit reads a descriptor from a page that was freed
}


@pytest.mark.parametrize("experiment", sorted(PREDICTED))
def test_the_predicted_laws_are_broken_and_no_other(bench, experiment):
    outcome = run(bench, "tests.cosim.law_bench", testcase=experiment).value
    assert set(outcome["broken"]) == PREDICTED[experiment], outcome["violations"]


def test_the_honest_run_gives_every_law_of_interest_something_to_judge(bench):
    checked = set(run(bench, "tests.cosim.law_bench", testcase="honest_unmap").value["checked"])
    assert {"L2", "L3", "L4", "L5", "L6", "L7", "L8"} <= checked
