"""From what was observed to figures: one function for each workload. Formulas of the bounds: sim.measure.bounds.

A miss is a request that the IOTLB could not answer, as the unit counts them; one that joins a walk under way is a miss, too.
"""
from collections.abc import Callable, Iterable, Mapping, Sequence
from statistics import median
from typing import Any

from sim.measure import bounds
from sim.measure.case import Case
from sim.measure.result import Better, Result

__all__ = ["VERDICTS", "latency_at", "results_of"]

Observed = Mapping[str, Any]

_RANDOM_OF_BOUND = 0.95
_SEQUENTIAL_OF_BOUND = 0.99
_READS_PER_MISS = 1.05
_WALK_ALLOWANCE = 8              # cycles beside the reads
_W5_CALM, _W5_BUSY = 1.02, 1.05
_W5_SHARE_OF_SLOTS = 0.75
_W6_CYCLES = 250
_W6_LATENCY = 20                 # at which it is asked for
_UNDER_COMMANDS = 0.98
_BESIDE_FAULTS = 0.99
_SEVEN_KEEP = 0.95
_OTHERS_KEEP = 0.99              # beside a swap
_BARE_RATIO = 0.5


def results_of(case: Case, observed: Observed) -> list[Result]:
    """The figures of one case."""
    return VERDICTS[case.bench](case, observed)


def latency_at(histogram: Sequence[int], percent: float) -> int:
    """The least latency that `percent` of the requests do not exceed."""
    wanted, seen = sum(histogram) * percent / 100, 0
    for latency, count in enumerate(histogram):
        seen += count
        if count and seen >= wanted:
            return latency
    raise ValueError("an empty histogram has no percentiles")


def _rate(window: Observed) -> float:
    return float(window["requests"] / window["cycles"])


def _result(case: Case, name: str, value: float, unit: str, better: Better, *, bound: float | None = None,
            target: float | None = None, variant: str = "") -> Result:
    return Result(name=name, variant=variant, latency=case.latency, word_bits=case.word_bits, slots=case.slots,
                  levels=case.levels, seed=case.seed, value=value, unit=unit, better=better, bound=bound, target=target,
                  command=case.command)


_PER_CYCLE, _CYCLES = "requests/cycle", "cycles"


def _hit_throughput(case: Case, observed: Observed) -> list[Result]:
    return [
        _result(case, "W1 hit_throughput", _rate(observed), _PER_CYCLE, Better.HIGHER, bound=bounds.hit_rate(), target=0.999),
        _result(case, "W1 hit_latency", latency_at(observed["histogram"], 99), _CYCLES, Better.LOWER,
                bound=bounds.HIT_LATENCY, target=bounds.HIT_LATENCY, variant="p99 at full rate")]


def _hit_latency(case: Case, observed: Observed) -> list[Result]:
    return [_result(case, "W1 hit_latency", latency_at(observed["histogram"], 100), _CYCLES, Better.LOWER,
                    bound=bounds.HIT_LATENCY, target=bounds.HIT_LATENCY, variant="the longest, one at a time")]


def _walks(case: Case, observed: Observed) -> list[Result]:
    cold, one = bounds.cold_walk(case.latency, case.levels), bounds.walk_read(case.latency)
    levels = f"{case.levels} levels"
    return [
        _result(case, "W2 cold_walk", latency_at(observed["cold"]["histogram"], 100), _CYCLES, Better.LOWER, bound=cold,
                target=cold + _WALK_ALLOWANCE, variant=levels),
        _result(case, "W2 warm_walk", latency_at(observed["warm"]["histogram"], 100), _CYCLES, Better.LOWER, bound=one,
                target=case.latency + _WALK_ALLOWANCE, variant=levels),
        _result(case, "W2 neighbour_reads", observed["neighbour"]["reads"], "reads", Better.LOWER, bound=0, target=0,
                variant=levels)]


def _random(case: Case, observed: Observed, name: str, second_read: float) -> list[Result]:
    misses = observed["misses"]
    bound = bounds.missing_rate(case.latency, case.slots, misses, second_read)
    count = misses * observed["requests"]
    reads = 1 + second_read
    return [
        _result(case, name, _rate(observed), _PER_CYCLE, Better.HIGHER, bound=bound, target=_RANDOM_OF_BOUND * bound),
        _result(case, f"{name} reads_per_miss", observed["reads"] / max(count, 1), "reads", Better.LOWER, bound=reads,
                target=_READS_PER_MISS * reads)]


def _random_4k(case: Case, observed: Observed) -> list[Result]:
    return _random(case, observed, "W3 random_4k", 0.0)


def _random_1g(case: Case, observed: Observed) -> list[Result]:
    return _random(case, observed, "W3 random_1g", 1 - bounds.resident_share(case.sizes.reach_leaf_tables, 512))


def _random_2m(case: Case, observed: Observed) -> list[Result]:
    return _random(case, observed, "2MiB random_16g", 1 - bounds.resident_share(case.sizes.reach_level_3, 16))


def _sequential(case: Case, observed: Observed, name: str, requests_per_page: int) -> list[Result]:
    bound = bounds.sequential_rate(case.latency, case.slots, case.sizes.entries_per_word, requests_per_page)
    return [_result(case, name, _rate(observed), _PER_CYCLE, Better.HIGHER, bound=bound, target=_SEQUENTIAL_OF_BOUND * bound)]


def _sequential_pages(case: Case, observed: Observed) -> list[Result]:
    return _sequential(case, observed, "W4 sequential_pages", 1)


def _sequential_lines(case: Case, observed: Observed) -> list[Result]:
    return _sequential(case, observed, "W4 sequential_lines", bounds.DMAS_PER_PAGE)


def _victim(case: Case, observed: Observed) -> list[Result]:
    everybody = observed["all"]
    misses = everybody["misses"]
    bound = bounds.victim_cycles(case.latency, case.slots, misses)
    calm = misses * (case.latency + bounds.SLOT_OVERHEAD) <= _W5_SHARE_OF_SLOTS * case.slots
    variant = f"p = {case.option} %"
    return [
        _result(case, "W5 victim_rate", everybody["cycles"] / everybody["requests"], "cycles/request", Better.LOWER,
                bound=bound, target=_W5_CALM if calm else max(_W5_CALM, _W5_BUSY * bound), variant=variant),
        _result(case, "W5 victim_p99", latency_at(observed["victim"]["histogram"], 99), _CYCLES, Better.LOWER,
                bound=bounds.HIT_LATENCY, target=bounds.HIT_LATENCY + 2, variant=variant)]


def _queue_batches(case: Case, observed: Observed) -> list[Result]:
    bound = bounds.queue_batch(case.latency, bounds.INVALIDATIONS)
    asked = _W6_CYCLES if case.latency == _W6_LATENCY else None
    return [
        _result(case, "W6 page_selective", max(observed["page_busy"]), _CYCLES, Better.LOWER, bound=bound, target=asked,
                variant="beside DMA at full rate"),
        _result(case, "W6 page_selective", max(observed["page_idle"]), _CYCLES, Better.LOWER, bound=bound, target=asked,
                variant="without DMA"),
        _result(case, "W6 domain_selective", max(observed["domain_busy"]), _CYCLES, Better.LOWER, bound=bound,
                variant="beside DMA at full rate")]


def _queue_under_dma(case: Case, observed: Observed) -> list[Result]:
    return [_result(case, "W6 dma_beside_invalidations", _rate(observed) / _rate(observed["calm"]), "of the rate without",
                    Better.HIGHER, bound=1.0, target=_UNDER_COMMANDS, variant="a page every 100 cycles")]


def _fault_storm(case: Case, observed: Observed) -> list[Result]:
    silent = 0 if observed["overflowed"] else max(0, observed["blocked"] - observed["recorded"])
    rates = [requests / cycles for cycles, requests in (observed["calm"], observed["beside"])]
    return [
        _result(case, "W7 lost_silently", silent + observed["bad"], "faults", Better.LOWER, bound=0, target=0,
                variant="of 500 and more"),
        _result(case, "W7 cycles_per_fault", observed["cycles"] / observed["done"], _CYCLES, Better.LOWER, bound=1.0),
        _result(case, "W7 others_rate", rates[1] / rates[0], "of the rate without", Better.HIGHER, bound=1.0,
                target=_BESIDE_FAULTS)]


def _prewalk_swap(case: Case, observed: Observed) -> list[Result]:
    return [_result(case, "pre-walk misses_after_swap", observed["misses"], "requests", Better.LOWER, bound=0,
                    target=0 if case.option else None, variant="walked before" if case.option else "not walked before")]


def _fairness_access(case: Case, observed: Observed) -> list[Result]:
    return [_result(case, "fairness reads_writes", min(observed["counts"]), _PER_CYCLE, Better.HIGHER,
                    bound=bounds.fair_share(2), target=_SEVEN_KEEP * bounds.fair_share(2), variant="the lesser of the two")]


def _fairness_device(case: Case, observed: Observed) -> list[Result]:
    calm, thrashing = observed["calm"], observed["thrashing"]
    variant = f"{case.option} tags"
    own = min(bounds.fair_share(8), min(case.slots, case.option) / (case.latency + bounds.SLOT_OVERHEAD))
    return [
        _result(case, "fairness seven_keep", sum(thrashing[:7]) / sum(calm[:7]), "of the rate without", Better.HIGHER,
                bound=None, target=_SEVEN_KEEP, variant=variant),
        _result(case, "fairness thrasher", thrashing[7], _PER_CYCLE, Better.HIGHER, bound=own, target=own / 2,
                variant=variant)]


def _replacement(case: Case, observed: Observed) -> list[Result]:
    return []


def _none_of(case: Case, name: str, count: int, unit: str, variant: str) -> Result:
    """A figure of what must not be."""
    return _result(case, name, count, unit, Better.LOWER, bound=0, target=0, variant=variant)


def _race(case: Case, observed: Observed, form: str) -> list[Result]:
    variant = f"{form}, {observed['placements']} placements, queue {'faster' if case.option < 0 else f'{case.option} cycles later'}"
    return [_none_of(case, f"W8 {name}", len(observed[name]), "placements", variant)
            for name in ("hangs", "stale", "faults", "wrong")]


def _race_iotlb(case: Case, observed: Observed) -> list[Result]:
    return _race(case, observed, "page")


def _race_context(case: Case, observed: Observed) -> list[Result]:
    return _race(case, observed, "context")


def _swap(case: Case, observed: Observed, form: str) -> list[Result]:
    swaps, counted = observed["swaps"], observed["counted"]
    variant = f"{form}, {case.option} device{'s' if case.option > 1 else ''}, {len(swaps)} phases"
    cold = bounds.cold_walk(case.latency, case.levels)
    hangs = sum(swap["complete"] is None or swap["first_new"] is None for swap in swaps)
    results = [
        _none_of(case, "W9 hangs", hangs, "swaps", variant),
        _none_of(case, "W9 faults", sum(swap["faults"] for swap in swaps), "DMAs", variant),
        _none_of(case, "W9 blocked", sum(count["blocked"] for count in counted), "DMAs", variant),
        _none_of(case, "W9 wrong", sum(swap["wrong"] for swap in swaps)
                 + sum(count[name] for count in counted for name in ("wrong", "after_free", "error")), "DMAs", variant),
        _none_of(case, "W9 old_after_completion", sum(swap["old_after"] for swap in swaps), "DMAs", variant),
        _result(case, "W9 longest_gap", max(swap["longest_gap"] for swap in swaps), _CYCLES, Better.LOWER, bound=cold,
                target=cold + _WALK_ALLOWANCE + case.option - 1, variant=variant)]   # the engine's devices take turns
    if before := sum(swap["before"] for swap in swaps):
        beside = sum(swap["beside"] for swap in swaps)
        results += [_result(case, "W9 others_rate", beside / before, "of the rate before", Better.HIGHER, bound=1.0,
                            target=_OTHERS_KEEP, variant=variant),
                    _result(case, "W9 others_lost", (before - beside) / len(swaps), "DMAs a swap", Better.LOWER,
                            variant=variant)]
    for name in ("first_new", "last_old", "complete"):
        cycles = [swap[name] for swap in swaps if swap[name] is not None]
        results += [_result(case, f"W9 {name}", choose(cycles), _CYCLES, Better.LOWER, variant=f"{variant}, {which}")
                    for which, choose in (("least", min), ("median", median), ("most", max)) if cycles]
    return results


def _swap_hitting(case: Case, observed: Observed) -> list[Result]:
    return _swap(case, observed, "hitting")


def _swap_thrashing(case: Case, observed: Observed) -> list[Result]:
    return _swap(case, observed, "thrashing")


def _sim_speed(case: Case, observed: Observed) -> list[Result]:
    rate, bare = observed["cycles"] / observed["seconds"], observed["bare_cycles"] / observed["bare_seconds"]
    return [
        _result(case, "sim_speed cycles", rate, "cycles/s", Better.HIGHER, bound=bare, target=_BARE_RATIO * bare),
        _result(case, "sim_speed translations", observed["requests"] / observed["seconds"], "translations/s", Better.HIGHER,
                bound=observed["bare_requests"] / observed["bare_seconds"],
                target=_BARE_RATIO * observed["bare_requests"] / observed["bare_seconds"])]


def _named(functions: Iterable[Callable[[Case, Observed], list[Result]]]) -> dict[str, Callable[[Case, Observed], list[Result]]]:
    return {function.__name__.removeprefix("_"): function for function in functions}


VERDICTS = _named((
    _hit_throughput, _hit_latency, _walks, _random_4k, _random_1g, _random_2m, _sequential_pages, _sequential_lines,
    _victim, _queue_batches, _queue_under_dma, _fault_storm, _prewalk_swap, _fairness_access, _fairness_device,
    _replacement, _race_iotlb, _race_context, _swap_hitting, _swap_thrashing, _sim_speed))
"""By the workload's name."""
