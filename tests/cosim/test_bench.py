# amaranth: UnusedElaboratable=no
"""`make bench` in the simulator that other tests use: its figures are there, and a slow unit is found out."""
import pytest
from typer import Typer
from typer.testing import CliRunner

from hw.top.bench_top import BenchTop
from sim.measure.result import read_report
from sim.runner import build
from sim.stories import bench_campaign
from sim.stories.bench import main
from sim.stories.bench_plan import BENCHES
from sim.stories.demo import DEMO_CONFIG

SMOKE = ("hit_throughput", "hit_latency", "walks", "random_4k", "sequential_pages", "victim", "queue_batches", "fault_storm",
         "replacement")


@pytest.fixture(scope="module")
def bench(tmp_path_factory):
    """Call the command; returns its exit status, what it said and the report's rows."""
    command = Typer()
    command.command()(main)
    built = build(BenchTop(DEMO_CONFIG), "bench_top")

    def call(*arguments):
        folder = tmp_path_factory.mktemp("bench")
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(bench_campaign, "build_unit", lambda config: built)
            done = CliRunner().invoke(command, ["--quick", "--folder", str(folder), *arguments])
        rows = read_report(folder / "report.json") if (folder / "report.json").exists() else []
        return done.exit_code, done.output, rows, folder

    return call


@pytest.fixture(scope="module")
def smoke(bench):
    return bench(*(option for name in SMOKE for option in ("--bench", name)))


def row(rows, name, variant=""):
    found, = [each for each in rows if each["name"] == name and each["variant"] == variant]
    return found


def test_every_workload_gives_its_figures(smoke):
    _, said, rows, _ = smoke
    assert "not measured" not in said
    assert {each["name"] for each in rows} >= {
        "W1 hit_throughput", "W1 hit_latency", "W2 cold_walk", "W2 warm_walk", "W2 neighbour_reads", "W3 random_4k",
        "W3 random_4k reads_per_miss", "W4 sequential_pages", "W5 victim_rate", "W5 victim_p99", "W6 page_selective",
        "W6 domain_selective", "W7 lost_silently", "W7 cycles_per_fault", "W7 others_rate"}
    assert all((each["latency"], each["word_bits"], each["slots"], each["seed"]) == (20, 128, 16, 1) for each in rows)


def test_hits_go_at_full_rate(smoke):
    rate = row(smoke[2], "W1 hit_throughput")
    assert rate["met"]
    assert 0.999 <= rate["value"] <= 1


def test_a_hit_takes_three_cycles(smoke):
    assert row(smoke[2], "W1 hit_latency", "the longest, one at a time")["value"] == 3


@pytest.mark.parametrize(("variant", "reads"), [("3 levels", 5), ("4 levels", 6), ("5 levels", 7)])
def test_a_cold_walk_waits_for_every_read_and_little_else(smoke, variant, reads):
    cold = row(smoke[2], "W2 cold_walk", variant)
    assert cold["bound"] == 21 * reads
    assert 21 * reads <= cold["value"] < 21 * reads + 40


def test_no_figure_beats_its_bound_by_more_than_the_allowance_in_it(smoke):
    """A slot is allowed 8 cycles beside the memory's latency, of which a walk cannot save more than 7."""
    for each in smoke[2]:
        slots_decide = each["workload"] in {"W3", "2MiB", "W4"} and "reads_per_miss" not in each["name"]
        allowance = (each["latency"] + 8) / (each["latency"] + 1) if slots_decide else 1.01
        assert each["ratio"] is None or each["ratio"] <= allowance


def test_no_fault_is_lost_silently(smoke):
    assert row(smoke[2], "W7 lost_silently", "of 500 and more")["met"]


def test_the_pictures_are_there(smoke):
    assert {path.name for path in smoke[3].glob("*.png")} == {"throughput-replacement.png", "latency-distribution.png"}


def test_a_slow_unit_misses_its_target_and_the_command_fails(bench):
    status, said, rows, _ = bench("--bench", "hit_latency", "--slowed")
    assert status == 1
    assert not row(rows, "W1 hit_latency", "the longest, one at a time")["met"]
    assert "missed: W1 hit_latency" in said


def test_a_unit_that_reaches_its_target_does_not_fail(bench):
    status, said, _, _ = bench("--bench", "hit_latency")
    assert (status, "every target is met: 1 of them" in said) == (0, True)


def test_what_does_not_exist_is_refused(bench):
    status, said, _, _ = bench("--bench", "nothing")
    assert status == 2
    assert f"no such bench: nothing; there are {', '.join(BENCHES)}" in said.replace("\n", "")
