"""Bounds, percentiles and targets of the benchmarks: expected values by hand."""
import pytest

from sim.measure import bounds
from sim.measure.case import Case, Sizes
from sim.measure.result import Better
from sim.measure.verdicts import VERDICTS, latency_at, results_of
from sim.stories.bench_plan import BENCHES


def case(bench, latency=20, word_bits=128, slots=16, **fields):
    return Case(bench=bench, latency=latency, word_bits=word_bits, slots=slots, **fields)


def window(cycles=1000, requests=1000, reads=0, misses=0.0, **histogram):
    bins = [0] * 600
    for latency, count in histogram.items():
        bins[int(latency.removeprefix("at_"))] = count
    return {"cycles": cycles, "requests": requests, "reads": reads, "histogram": bins, "misses": misses}


def figures(subject, observed):
    """Value, bound, target and whether it is met, by name and variant."""
    return {f"{each.name} {each.variant}".strip(): (each.value, each.bound, each.target, each.met)
            for each in results_of(subject, observed)}


# --- the bounds ---

@pytest.mark.parametrize(("latency", "levels", "cycles"), [(20, 4, 126), (20, 3, 105), (20, 5, 147), (100, 4, 606), (400, 4, 2406)])
def test_a_cold_walk_reads_root_context_and_every_level(latency, levels, cycles):
    assert bounds.cold_walk(latency, levels) == cycles


def test_a_warm_walk_is_one_read():
    assert [bounds.walk_read(latency) for latency in (20, 100, 400)] == [21, 101, 401]


@pytest.mark.parametrize(("latency", "slots", "misses", "second", "rate"), [
    (20, 16, 1.0, 0.0, 16 / 28), (20, 16, 0.5, 0.0, 1.0), (20, 8, 0.875, 0.0, 8 / 24.5), (400, 64, 1.0, 0.0, 64 / 408),
    (20, 16, 1.0, 0.75, 16 / (28 + 15.75)), (20, 16, 0.0, 0.0, 1.0),
])
def test_random_requests_go_as_fast_as_slots_are_free(latency, slots, misses, second, rate):
    assert bounds.missing_rate(latency, slots, misses, second) == pytest.approx(rate)


@pytest.mark.parametrize(("latency", "slots", "entries", "requests", "rate"), [
    (20, 16, 2, 1, 1.0), (100, 16, 2, 1, 32 / 108), (400, 16, 8, 1, 128 / 408), (400, 16, 2, 64, 1.0), (400, 1, 2, 1, 2 / 408)])
def test_sequential_pages_share_the_reads_of_a_word(latency, slots, entries, requests, rate):
    assert bounds.sequential_rate(latency, slots, entries, requests) == pytest.approx(rate)


@pytest.mark.parametrize(("latency", "misses", "cycles"), [(20, 0.2, 1.0), (100, 0.2, 21.6 / 16), (400, 0.1, 40.8 / 16)])
def test_misses_of_one_device_cost_the_others_nothing_until_the_slots_are_full(latency, misses, cycles):
    assert bounds.victim_cycles(latency, 16, misses) == pytest.approx(cycles)


def test_sixty_four_descriptors_and_a_wait_take_a_cycle_each_after_the_first_has_arrived():
    assert bounds.queue_batch(20, 64) == 86


def test_a_cache_holds_a_share_of_what_is_larger_and_all_of_what_is_smaller():
    assert [bounds.resident_share(128, 512), bounds.resident_share(512, 512), bounds.resident_share(64, 16)] == [0.25, 1, 1]


def test_eight_devices_have_an_eighth_each():
    assert bounds.fair_share(8) == 0.125


@pytest.mark.parametrize(("word_bits", "sizes"), [(128, (2, 512, 32)), (512, (8, 2048, 128))])
def test_reach_counts_the_entries_of_a_word(word_bits, sizes):
    found = case("walks", word_bits=word_bits).sizes
    assert (found.entries_per_word, found.reach_pages, found.reach_superpages) == sizes


# --- from histograms ---

def test_a_percentile_is_the_latency_that_so_many_do_not_exceed():
    histogram = [0, 0, 0, 98, 0, 1, 0, 0, 1]
    assert [latency_at(histogram, percent) for percent in (1, 98, 98.5, 99, 99.5, 100)] == [3, 3, 5, 5, 8, 8]


# --- from observations to figures ---

def test_every_bench_has_a_verdict():
    assert set(VERDICTS) == set(BENCHES)


@pytest.mark.parametrize(("requests", "met"), [(10_000, True), (9_990, True), (9_989, False)])
def test_w1_must_reach_999_of_1000(requests, met):
    found = figures(case("hit_throughput"), window(10_000, requests, at_3=requests))
    assert found["W1 hit_throughput"] == (requests / 10_000, 1.0, 0.999, met)


def test_w1_latency_is_three_cycles():
    assert figures(case("hit_latency"), window(at_3=999, at_4=1)) == {"W1 hit_latency the longest, one at a time": (4, 3, 3, False)}


def test_w2_counts_the_reads():
    observed = {"cold": window(at_134=1), "warm": window(at_28=1), "neighbour": window(at_3=1, reads=0)}
    assert figures(case("walks"), observed) == {
        "W2 cold_walk 4 levels": (134, 126, 134, True), "W2 warm_walk 4 levels": (28, 21, 28, True),
        "W2 neighbour_reads 4 levels": (0, 0, 0, True)}
    late = {"cold": window(at_135=1), "warm": window(at_29=1), "neighbour": window(at_29=1, reads=1)}
    assert not any(met for *_, met in figures(case("walks"), late).values())


def test_w3_is_held_against_the_misses_that_there_were():
    """Half of the requests miss at L = 20 and 8 slots: 8 / 14 a cycle, of which 0.95 must be reached."""
    observed = window(10_000, 5_500, reads=2_800, misses=0.5)
    rate, reads = figures(case("random_4k", slots=8), observed).values()
    assert rate == (0.55, pytest.approx(8 / 14), pytest.approx(0.95 * 8 / 14), True)
    assert reads == (pytest.approx(2_800 / 2_750), 1, 1.05, True)
    assert not results_of(case("random_4k", slots=8), window(10_000, 5_400, reads=0, misses=0.5))[0].met


def test_w3_over_a_gigabyte_needs_a_second_read_where_the_table_is_not_cached(monkeypatch):
    """128 of 512 tables are cached: three of four misses read twice."""
    monkeypatch.setattr(Case, "sizes", Sizes(2, 512, 32, 128, 32))
    rate, reads = figures(case("random_1g"), window(10_000, 3_600, reads=6_300, misses=1.0)).values()
    assert rate == (0.36, pytest.approx(16 / (28 + 0.75 * 21)), pytest.approx(0.95 * 16 / 43.75), True)
    assert reads == (1.75, 1.75, pytest.approx(1.8375), True)


def test_w4_counts_a_page_or_sixty_four_lines_of_it():
    pages, = figures(case("sequential_pages", latency=400), window(10_000, 780)).values()
    assert pages == (0.078, pytest.approx(32 / 408), pytest.approx(0.99 * 32 / 408), True)
    lines, = figures(case("sequential_lines", latency=400), window(10_000, 9_900)).values()
    assert lines == (0.99, 1.0, 0.99, True)


@pytest.mark.parametrize(("latency", "misses", "target"), [(20, 200, 1.02), (100, 50, 1.02), (100, 200, 1.05 * 21.6 / 16)])
def test_w5_allows_two_percent_until_three_quarters_of_the_slots_are_taken(latency, misses, target):
    observed = {"all": window(1000, 1000, misses=misses / 1000), "victim": window(at_3=990, at_5=10)}
    rate, p99 = figures(case("victim", latency=latency, option=20), observed).values()
    assert rate[2] == pytest.approx(target)
    assert p99 == (3, 3, 5, True)


@pytest.mark.parametrize(("latency", "target"), [(20, 250), (100, None)])
def test_w6_is_asked_for_at_the_latency_of_the_contract(latency, target):
    observed = {"page_busy": [200, 251], "page_idle": [249, 200], "domain_busy": [5000]}
    busy, idle, domains = figures(case("queue_batches", latency=latency), observed).values()
    assert busy == (251, latency + 66, target, target is None)
    assert idle == (249, latency + 66, target, True)
    assert domains[2:] == (None, True)


@pytest.mark.parametrize(("requests", "met"), [(9_800, True), (9_799, False)])
def test_w6_lets_dma_lose_two_percent(requests, met):
    observed = {"calm": window(10_000, 10_000), "cycles": 10_000, "requests": requests}
    assert figures(case("queue_under_dma"), observed)["W6 dma_beside_invalidations a page every 100 cycles"][3] is met


@pytest.mark.parametrize(("recorded", "overflowed", "bad", "silent"), [
    (8, True, 0, 0), (500, False, 0, 0), (8, False, 0, 492), (500, False, 3, 3)])
def test_w7_a_fault_is_recorded_or_the_overflow_says_so(recorded, overflowed, bad, silent):
    observed = {"calm": [1000, 875], "beside": [1000, 870], "cycles": 500, "done": 500, "blocked": 500,
                "recorded": recorded, "overflowed": overflowed, "bad": bad}
    lost, rate, others = results_of(case("fault_storm"), observed)
    assert (lost.value, lost.met) == (silent, silent == 0)
    assert rate.value == 1
    assert (others.value, others.met) == (pytest.approx(870 / 875), True)


@pytest.mark.parametrize(("option", "misses", "target", "met"), [(1, 0, 0, True), (1, 1, 0, False), (0, 60, None, True)])
def test_after_a_pre_walk_nothing_misses(option, misses, target, met):
    found, = figures(case("prewalk_swap", option=option), {"misses": misses}).values()
    assert found == (misses, 0, target, met)


def test_fairness_is_the_share_of_the_lesser_and_what_the_seven_keep():
    access, = figures(case("fairness_access"), {"counts": [0.52, 0.47]}).values()
    assert access == (0.47, 0.5, pytest.approx(0.475), False)
    seven, thrasher = figures(case("fairness_device", latency=400, option=64), {
        "calm": [0.125] * 8, "thrashing": [0.12] * 7 + [0.03]}).values()
    assert seven == (pytest.approx(0.96), None, 0.95, True)
    assert thrasher == (0.03, pytest.approx(16 / 408), pytest.approx(8 / 408), True)


def test_the_simulator_is_held_against_the_one_without_python():
    observed = {"cycles": 1000, "requests": 900, "seconds": 2.0, "bare_cycles": 1000, "bare_seconds": 1.0, "bare_requests": 900}
    cycles, translations = results_of(case("sim_speed"), observed)
    assert (cycles.value, cycles.bound, cycles.target, cycles.met, cycles.better) == (500, 1000, 500, True, Better.HIGHER)
    assert (translations.value, translations.bound) == (450, 900)
