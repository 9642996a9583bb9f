# amaranth: UnusedElaboratable=no
"""The latency histogram on a whole machine: it says what the event log says, and what the unit promises of a hit."""
import pytest

from hw.top.bench_top import BenchTop
from sim.runner import build, run
from sim.stories.demo import DEMO_CONFIG
from sw.traffic import percentile

HIT_CYCLES = 3


@pytest.fixture(scope="module")
def told():
    return run(build(BenchTop(DEMO_CONFIG), "bench_top"), "tests.cosim.latency_bench", testcase="misses_and_hits").value


@pytest.mark.parametrize("which", [0, 1], ids=["all devices", "one device"])
def test_the_histogram_counts_every_dma_as_the_event_log_does(told, which):
    window = told[which]
    assert window["histogram"] == window["events"]
    assert sum(window["histogram"]) == window["count"] > 100
    assert window["longest"] == len(window["histogram"]) - 1


@pytest.mark.parametrize("which", [0, 1], ids=["all devices", "one device"])
def test_every_hit_takes_the_cycles_that_the_unit_promises(told, which):
    window = told[which]
    assert window["hits"] == [HIT_CYCLES]
    assert window["histogram"][:HIT_CYCLES] == [0] * HIT_CYCLES
    assert percentile(window["histogram"], 50) == HIT_CYCLES


def test_a_walk_is_the_longest(told):
    assert told[0]["longest"] > 4 * 20  # four levels, a memory latency of 20
