"""Which cases `make bench` measures: quick, as it is called without a word, and full.

    quick     128 bits, 16 slots, L = 20, small counts: the harness and the first figures, in a minute
    default   everything at 128 and 512 bits, 16 slots, L = 20, 100, 400; W3 and W4 at 8, 32 and 64 slots and 128 bits
    full      everything at 8, 16, 32 and 64 slots as well

The sweeps W8 and W9 have simulators of their own, with event ports: quick leaves them out, the others take them at 16 slots.
"""
from collections.abc import Collection, Iterator
from enum import Enum

from sim.measure.case import DEFAULT_SLOTS, LATENCIES, SLOTS, Case

__all__ = ["BENCHES", "QUEUE_LATENCIES", "RACES", "SWAPS", "SWAP_DEVICES", "Mode", "plan"]

WORD_BITS = (128, 512)
CURVE_LATENCIES = (5, 10, 50, 200)    # for the plots, besides LATENCIES
PERCENTAGES = (0, 1, 2, 5, 10, 20)    # of misses in W5
TAGS = (16, 64)                       # of the thrashing device
RACES = ("race_iotlb", "race_context")
RACE_LATENCIES = (1, 20, 32)          # of W8; `make regress` takes them all
QUEUE_LATENCIES = (-1, 0, 40)         # of a fetch besides the memory's; -1: descriptors are read faster than tables
SWAPS = ("swap_hitting", "swap_thrashing")
SWAP_DEVICES = (1, 2, 8)

_WALK_RATE = ("random_4k", "sequential_pages")    # whose figures depend on the walk slots above all
_ONCE = ("replacement", "sim_speed")              # at one setting
_NARROW = (*RACES, *SWAPS, *_ONCE)                # at one width and number of slots
BENCHES = ("hit_throughput", "hit_latency", "walks", "random_4k", "random_1g", "random_2m", "sequential_pages",
           "sequential_lines", "victim", "queue_batches", "queue_under_dma", "fault_storm", "prewalk_swap",
           "fairness_access", "fairness_device", *RACES, *SWAPS, *_ONCE)
"""By name, in the order of the table. RACES and SWAPS are the sweeps: W8, of offsets, and W9, of phases."""

_QUICK_REQUESTS, _REQUESTS = 2_000, 10_000


class Mode(Enum):
    """How much."""

    QUICK = "quick"
    DEFAULT = "default"
    FULL = "full"


def plan(mode: Mode, *, benches: Collection[str] = (), latencies: Collection[int] = (), slots: Collection[int] = (),
         word_bits: Collection[int] = (), seeds: Collection[int] = (1,), slowed: bool = False) -> list[Case]:
    """The cases of a mode; what is given replaces what the mode would take.

    Raises
    ------
    ValueError
        If there is no such bench, or a unit or memory cannot be so.
    """
    if unknown := set(benches) - set(BENCHES):
        raise ValueError(f"no such bench: {', '.join(sorted(unknown))}; there are {', '.join(BENCHES)}")
    if wrong := [latency for latency in latencies if latency < 1]:
        raise ValueError(f"a latency must be at least one cycle: {wrong}")
    found: dict[str, Case] = {}
    for seed in seeds:
        for bench in benches or _of_mode(mode):
            for case in _of_bench(mode, bench, latencies, slots, word_bits):
                case = case.changed(seed=seed, slowed=slowed,
                                    requests=_QUICK_REQUESTS if mode is Mode.QUICK else _REQUESTS)
                found[case.text] = case
    return list(found.values())


def _of_mode(mode: Mode) -> tuple[str, ...]:
    return tuple(bench for bench in BENCHES if mode is not Mode.QUICK or bench not in (*RACES, *SWAPS))


def _of_bench(mode: Mode, bench: str, latencies: Collection[int], slots: Collection[int],
              word_bits: Collection[int]) -> Iterator[Case]:
    """Every setting of one bench."""
    quick = mode is Mode.QUICK
    for bits in word_bits or (WORD_BITS[:1] if quick or bench in _NARROW else WORD_BITS):
        for count in slots or _slots_of(mode, bench, bits):
            for latency in latencies or _latencies_of(mode, bench, bits, count):
                base = Case(bench=bench, latency=latency, word_bits=bits, slots=count)
                if bench == "walks":
                    yield from (base.changed(levels=levels) for levels in (3, 4, 5))
                elif bench == "victim":
                    yield from (base.changed(option=percent) for percent in (PERCENTAGES[::3] if quick else PERCENTAGES))
                elif bench == "fairness_device":
                    yield from (base.changed(option=tags) for tags in TAGS)
                elif bench in ("replacement", "prewalk_swap"):
                    yield from (base.changed(option=option) for option in (0, 1))
                elif bench in (*RACES, *SWAPS):
                    options = QUEUE_LATENCIES if bench in RACES else SWAP_DEVICES
                    yield from (base.changed(option=option) for option in options)
                else:
                    yield base


def _slots_of(mode: Mode, bench: str, bits: int) -> tuple[int, ...]:
    more = (mode is Mode.FULL and bench not in _NARROW) or (mode is Mode.DEFAULT and bench in _WALK_RATE and bits == WORD_BITS[0])
    return SLOTS if more else (DEFAULT_SLOTS,)


def _latencies_of(mode: Mode, bench: str, bits: int, slots: int) -> tuple[int, ...]:
    if mode is Mode.QUICK or bench in _ONCE:
        return LATENCIES[:1]
    if bench in RACES:
        return RACE_LATENCIES
    curve = bench in _WALK_RATE and slots == DEFAULT_SLOTS
    return tuple(sorted({*LATENCIES, *(CURVE_LATENCIES if curve else ())}))
