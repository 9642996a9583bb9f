# amaranth: UnusedElaboratable=no
"""Whole-machine experiments: what a good driver shows, and which laws a bad one breaks, predicted beforehand."""
import re

import pytest

from hw.top.bench_top import BenchTop
from sim.runner import ROOT, build, run
from sim.stories.demo import DEMO_CONFIG


@pytest.fixture(scope="module")
def bench():
    return build(BenchTop(DEMO_CONFIG), "bench_top")


def told(bench, testcase):
    return run(bench, "tests.cosim.lab_bench", testcase=testcase).value


@pytest.fixture(scope="module")
def atomic_swap(bench):
    return told(bench, "atomic_swap")


def test_atomic_swap_under_dma_breaks_no_law(atomic_swap):
    assert atomic_swap["broken"] == []


@pytest.mark.parametrize("counter", ["blocked", "wrong", "after_free", "error"])
def test_atomic_swap_under_dma_counts_nothing_but_old_and_new(atomic_swap, counter):
    assert atomic_swap["counters"][counter] == 0


@pytest.mark.parametrize("counter", ["old", "new"])
def test_atomic_swap_is_seen_by_dma_on_both_sides(atomic_swap, counter):
    assert atomic_swap["counters"][counter] > 100


# Which laws each bad driver breaks: these, and no other.
PREDICTED = {
    "break_before_make": {"L1"},                      # the present bit is clear while the device asks
    "torn_pointer_first": {"L3"},                     # the new table is cached under the old tag, though both say the same
    "freed_too_early": {"L1", "L4"},                  # the unit reads poisoned tables, and blocks on what it finds
    "bus_mastering_withdrawn_during_handover": {"L9"},  # a preserved device is stopped
    "translation_off_during_handover": {"L2", "L9"},  # DMA goes out untranslated, to where no table says
}


@pytest.mark.parametrize("experiment", sorted(PREDICTED))
def test_bad_driver_breaks_the_predicted_laws_and_no_other(bench, experiment):
    assert set(told(bench, experiment)["broken"]) == PREDICTED[experiment]


def test_a_driver_that_never_invalidates_is_told_that_it_is_not_done(bench):
    assert told(bench, "never_invalidated")["unfinished"] == [0x38]


def test_a_driver_that_invalidates_is_done(atomic_swap):
    assert atomic_swap["unfinished"] == []


def test_the_readmes_experiment_is_the_one_in_the_repository():
    shown = re.search(r"```python\n(.*?)```", (ROOT / "README.md").read_text(), re.DOTALL)
    assert shown is not None
    assert shown.group(1) == (ROOT / "sim" / "stories" / "first_experiment.py").read_text()


def test_the_readmes_experiment_holds(bench):
    assert run(bench, "sim.stories.first_experiment").tests == 1


