"""What `make bench` measures when, and that it goes on where it was interrupted."""
import json
from types import SimpleNamespace

import pytest

from hw.spec.tables import PageSize
from sim.measure.case import Case
from sim.measure.page_tables import PageTables, Region
from sim.runner import SimulationFailed
from sim.stories import bench_campaign
from sim.stories.bench_campaign import Campaign
from sim.stories.bench_commands import ALL_WORKLOADS
from sim.stories.bench_plan import BENCHES, RACES, SWAPS, Mode, plan


def settings(cases, bench):
    return {(case.word_bits, case.slots, case.latency) for case in cases if case.bench == bench}


def test_every_bench_is_there_and_is_planned_in_every_mode():
    assert set(ALL_WORKLOADS) == set(BENCHES)
    for mode in (Mode.DEFAULT, Mode.FULL):
        assert {case.bench for case in plan(mode)} == set(BENCHES)
    assert {case.bench for case in plan(Mode.QUICK)} == set(BENCHES) - {*RACES, *SWAPS}   # with simulators of their own


def test_quick_needs_one_simulator():
    assert {(case.word_bits, case.slots, case.latency) for case in plan(Mode.QUICK)} == {(128, 16, 20)}


def test_the_default_takes_three_latencies_and_both_word_widths():
    cases = plan(Mode.DEFAULT)
    assert settings(cases, "hit_throughput") == {(bits, 16, latency) for bits in (128, 512) for latency in (20, 100, 400)}
    assert {(slots, latency) for bits, slots, latency in settings(cases, "random_4k") if bits == 128} >= {
        (slots, latency) for slots in (8, 16, 32, 64) for latency in (20, 100, 400)}
    assert {case.levels for case in cases if case.bench == "walks"} == {3, 4, 5}
    assert {case.option for case in cases if case.bench == "victim"} == {0, 1, 2, 5, 10, 20}


def test_the_sweeps_take_every_latency_of_the_queue_and_every_number_of_devices():
    cases = plan(Mode.DEFAULT)
    for bench in RACES:
        assert {(case.latency, case.option) for case in cases if case.bench == bench} == {
            (latency, delay) for latency in (1, 20, 32) for delay in (-1, 0, 40)}
    for bench in SWAPS:
        assert {(case.latency, case.option) for case in cases if case.bench == bench} == {
            (latency, devices) for latency in (20, 100, 400) for devices in (1, 2, 8)}
    assert {(case.word_bits, case.slots) for case in cases if case.bench in (*RACES, *SWAPS)} == {(128, 16)}


def test_full_measures_everything_with_every_number_of_slots():
    assert {slots for _, slots, _ in settings(plan(Mode.FULL), "victim")} == {8, 16, 32, 64}


def test_what_is_asked_for_replaces_what_the_mode_would_take():
    cases = plan(Mode.FULL, benches=["hit_latency"], latencies=[7], slots=[4], word_bits=[512], seeds=[3, 4], slowed=True)
    assert [(case.bench, case.latency, case.slots, case.word_bits, case.seed, case.slowed) for case in cases] == [
        ("hit_latency", 7, 4, 512, 3, True), ("hit_latency", 7, 4, 512, 4, True)]


@pytest.mark.parametrize(("options", "message"), [
    ({"benches": ["w1"]}, "no such bench: w1; there are hit_throughput"), ({"latencies": [0]}, "at least one cycle")])
def test_what_cannot_be_measured_is_refused(options, message):
    with pytest.raises(ValueError, match=message):
        plan(Mode.QUICK, **options)


# --- the campaign ---

CASES = [Case(bench=bench, latency=20, word_bits=128) for bench in ("hit_throughput", "hit_latency", "walks")]


class Machine:
    """Stands for builder and simulator. What it is asked to measure; it dies at `dies`, and cannot observe `fails`."""

    def __init__(self, monkeypatch, *, key="k", dies=None, fails=None):
        self.key, self.dies, self.fails, self.measured = key, dies, fails, []
        monkeypatch.setattr(bench_campaign, "run", self.run)

    def build(self, config):
        return SimpleNamespace(key=self.key, cached=True)

    def run(self, built, module, *, config, folder, seconds, log):
        folder.mkdir(parents=True)
        for number, fields in enumerate(config["cases"]):
            if fields["bench"] == self.dies:
                raise SimulationFailed("it died\nof this")
            self.measured.append(fields["bench"])
            result = {"error": "AssertionError: why"} if fields["bench"] == self.fails else {"observed": {"of": fields["bench"]}}
            (folder / f"case-{number:04}.value.json").write_text(json.dumps(result))
            log("something else")
            log(f"bench: measured case {number}")


def campaign(machine, folder, **options):
    done = []
    subject = Campaign(folder, say=lambda text: None, done=done.append, builder=machine.build, **options)
    subject.measure(CASES)
    return subject, done


def test_what_was_observed_is_not_measured_again(monkeypatch, tmp_path):
    machine = Machine(monkeypatch)
    first, done = campaign(machine, tmp_path / "bench")
    assert {case.bench: observed for case, observed in first.observed.items()} == {
        bench: {"of": bench} for bench in ("hit_throughput", "hit_latency", "walks")}
    assert sorted(machine.measured) == sorted(case.bench for case in done) == ["hit_latency", "hit_throughput", "walks"]
    machine.measured.clear()
    again, done = campaign(machine, tmp_path / "bench")
    assert (again.observed, machine.measured, len(done)) == (first.observed, [], 3)


@pytest.mark.parametrize("change", [{"key": "another simulator"}, {"fresh": True}])
def test_another_simulator_or_a_wish_measures_again(monkeypatch, tmp_path, change):
    campaign(Machine(monkeypatch), tmp_path / "a")
    machine = Machine(monkeypatch, key=change.get("key", "k"))
    for place in (tmp_path / "a" / "runs").iterdir():
        place.rename(tmp_path / place.name)
    campaign(machine, tmp_path / "a", fresh=change.get("fresh", False))
    assert len(machine.measured) == 3


def test_each_sweep_is_measured_in_the_simulator_that_it_needs(monkeypatch, tmp_path):
    machine, asked = Machine(monkeypatch), []

    def builder(name):
        return lambda config: asked.append((name, config)) or SimpleNamespace(key=name, cached=True)

    cases = [Case(bench=bench, latency=20, word_bits=128) for bench in ("walks", RACES[0], SWAPS[0], SWAPS[1])]
    subject = Campaign(tmp_path, say=lambda text: None, done=lambda case: None, builder=builder("unit"),
                       player_builder=builder("player"), traffic_builder=builder("traffic"))
    subject.measure(cases)
    assert sorted(name for name, _ in asked) == ["player", "traffic", "unit"]
    assert {config for _, config in asked} == {cases[0].config}
    assert sorted(machine.measured) == sorted(case.bench for case in cases)


def test_a_simulator_that_dies_keeps_what_it_had_measured(monkeypatch, tmp_path):
    machine = Machine(monkeypatch, dies="walks")
    died, _ = campaign(machine, tmp_path / "a")
    assert {case.bench for case in died.observed} == {"hit_throughput", "hit_latency"}
    assert {case.bench: error for case, error in died.errors.items()} == {"walks": "it died"}
    for place in (tmp_path / "a" / "runs").iterdir():
        place.rename(tmp_path / place.name)
    machine = Machine(monkeypatch)
    campaign(machine, tmp_path / "a")
    assert machine.measured == ["walks"]


def test_a_case_that_fails_is_told_and_not_kept(monkeypatch, tmp_path):
    failed, done = campaign(Machine(monkeypatch, fails="walks"), tmp_path / "a")
    assert {case.bench: error for case, error in failed.errors.items()} == {"walks": "AssertionError: why"}
    assert len(done) == 3
    assert not list((tmp_path / "a" / "cases").glob("walks-*"))


# --- tables ---

def words(tables):
    found = {}
    for hpa, page in tables.pages():
        for index in range(512):
            if word := int.from_bytes(page[8 * index:8 * index + 8], "little"):
                found[hpa + 8 * index] = word
    return found


def test_pages_of_a_region_stand_in_tables_of_their_level():
    """Two 4 KiB pages on either side of a 2 MiB border, four levels: five tables."""
    tables = PageTables(2, 0x10_0000)
    tables.map(Region(0x1F_F000, 0x8000_0000, 0x2000))
    assert (tables.top, tables.end) == (0x10_0000, 0x10_5000)
    leaf = {hpa: word for hpa, word in words(tables).items() if word >= 0x8000_0000}
    assert sorted(leaf.values()) == [0x8000_0003, 0x8000_1003]
    assert sorted(hpa % 0x1000 for hpa in leaf) == [0, 0xFF8]
    assert words(tables)[0x10_0000] % 0x1000 == 3


def test_larger_pages_are_leaves_further_up():
    tables = PageTables(1, 0x10_0000)
    tables.map(Region(1 << 30, 1 << 40, 2 << 30, PageSize.SIZE_1G, writable=False))
    assert words(tables) == {0x10_0008: 1 << 40 | 0x81, 0x10_0010: (1 << 40) + (1 << 30) | 0x81}


@pytest.mark.parametrize(("region", "message"), [
    (Region(0, 0, 0x1000), "something is mapped at 0x0 already"),
    (Region(0, 0, 2 << 20, PageSize.SIZE_2M), "something is mapped at 0x0 already"),
    (Region(1 << 30, 0, 0x1000), "a larger page covers 0x40000000 already"),
    (Region(1 << 39, 0, 0x1000), "0x8000000000 is beyond what 3 levels reach"),
])
def test_what_cannot_be_mapped_is_refused(region, message):
    tables = PageTables(1, 0x10_0000)
    tables.map(Region(0, 1 << 40, 0x3000))
    tables.map(Region(1 << 30, 1 << 40, 1 << 30, PageSize.SIZE_1G))
    with pytest.raises(ValueError, match=message):
        tables.map(region)


def test_a_region_begins_at_a_multiple_of_its_pages():
    with pytest.raises(ValueError, match="`hpa` must be a multiple of 0x200000, not 0x1000"):
        Region(0, 0x1000, 2 << 20, PageSize.SIZE_2M)
