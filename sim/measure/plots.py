"""The plots of `make bench`, each as PNG and SVG: readable in print, in grey and by the colour blind.

Measured points are marks joined by lines; what cannot be beaten is dashed, in the same colour.
"""
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from sim.measure.case import DEFAULT_SLOTS, Case
from sim.measure.result import Result

__all__ = ["draw"]

Observed = Mapping[Case, Mapping[str, Any]]

_COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9")   # Okabe and Ito
_MARKS = ("o", "s", "^", "D", "v", "P")
_STYLE: Any = {
    "font.size": 10, "axes.titlesize": 11, "axes.spines.top": False, "axes.spines.right": False, "axes.grid": True,
    "grid.color": "#DDDDDD", "grid.linewidth": 0.6, "legend.frameon": False, "lines.linewidth": 1.6, "lines.markersize": 5.5,
    "figure.dpi": 100, "savefig.dpi": 200, "svg.hashsalt": "hitless", "axes.axisbelow": True,
}
_SIZE = (7.2, 4.4)
_RANDOM, _SEQUENTIAL = "W3 random_4k", "W4 sequential_pages"
_WORKING = {_RANDOM: "random", _SEQUENTIAL: "sequential"}


def draw(results: Sequence[Result], observed: Observed, folder: Path) -> list[Path]:
    """Draw what there are figures for; returns the files."""
    folder.mkdir(parents=True, exist_ok=True)
    drawn = []
    with mpl.rc_context(_STYLE):
        for name, figure in (("throughput-slots", _against_slots(results)), ("throughput-latency", _against_latency(results)),
                             ("throughput-replacement", _across_replacement(observed)),
                             ("latency-distribution", _distribution(observed))):
            if figure is not None:
                for suffix in (".png", ".svg"):
                    place = folder / f"{name}{suffix}"
                    figure.savefig(place, metadata={"Date": None} if suffix == ".svg" else None)
                    drawn.append(place)
    return drawn


def _axes(title: str, horizontal: str, vertical: str) -> tuple[Figure, Axes]:
    figure = Figure(figsize=_SIZE, layout="constrained")
    axes = figure.subplots()
    axes.set_title(title, loc="left")
    axes.set_xlabel(horizontal)
    axes.set_ylabel(vertical)
    return figure, axes


def _lines(axes: Axes, lines: Mapping[str, list[tuple[float, float, float | None]]]) -> None:
    """Measured and bound, for each label."""
    for number, (label, points) in enumerate(lines.items()):
        where, value, bound = zip(*sorted(points), strict=True)
        colour = _COLOURS[number % len(_COLOURS)]
        mark = _MARKS[number % len(_MARKS)]
        axes.plot(where, bound, linestyle="--", linewidth=1.1, color=colour)
        if number % 2:
            axes.plot(where, value, marker=mark, color=colour, label=label)
        else:     # open and large, to be seen behind another one
            axes.plot(where, value, marker=mark, markersize=8.5, fillstyle="none", color=colour, label=label)
    axes.plot([], [], linestyle="--", linewidth=1.1, color="#444444", label="bound")


def _ticks(axes: Axes, places: Iterable[float]) -> None:
    ticks = sorted(set(places))
    axes.set_xscale("log", base=2)
    axes.set_xticks(ticks, [f"{tick:g}" for tick in ticks])
    axes.minorticks_off()


def _legend(figure: Figure) -> None:
    """Below the axes, where it hides nothing."""
    figure.legend(loc="outside lower center", ncols=2, fontsize=9)


def _against_slots(results: Sequence[Result]) -> Figure | None:
    chosen = [result for result in results if result.name == _RANDOM]
    if len({result.slots for result in chosen}) < 2:
        return None
    figure, axes = _axes("Random 4 KiB pages: throughput against walk slots", "walk slots", "requests per cycle")
    lines: dict[str, list[tuple[float, float, float | None]]] = {}
    for result in sorted(chosen, key=lambda each: (each.word_bits, each.latency)):
        if len({each.slots for each in chosen
                if (each.word_bits, each.latency) == (result.word_bits, result.latency)}) > 1:
            lines.setdefault(f"L = {result.latency}, {result.word_bits} bits", []).append(
                (result.slots, result.value, result.bound))
    _lines(axes, lines)
    _ticks(axes, (result.slots for result in chosen))
    axes.set_ylim(0, 1.05)
    _legend(figure)
    return figure


def _against_latency(results: Sequence[Result]) -> Figure | None:
    chosen = [result for result in results if result.name in _WORKING and result.slots == DEFAULT_SLOTS]
    if len({result.latency for result in chosen}) < 2:
        return None
    figure, axes = _axes(f"Throughput against memory latency, {DEFAULT_SLOTS} walk slots, one request per page",
                         "memory latency in cycles", "requests per cycle")
    lines: dict[str, list[tuple[float, float, float | None]]] = {}
    for result in sorted(chosen, key=lambda each: (each.name, each.word_bits)):
        lines.setdefault(f"{_WORKING[result.name]}, {result.word_bits} bits", []).append(
            (result.latency, result.value, result.bound))
    _lines(axes, lines)
    _ticks(axes, (result.latency for result in chosen))
    axes.set_yscale("log")
    least = min(result.value for result in chosen)
    rates = [rate for rate in (1, 0.5, 0.2, 0.1, 0.05, 0.02, 0.01, 0.005, 0.002, 0.001) if rate > least / 2.5]
    axes.set_yticks(rates, [f"{rate:g}" for rate in rates])
    axes.minorticks_off()
    axes.set_ylim(least / 1.5, 1.3)
    _legend(figure)
    return figure


def _across_replacement(observed: Observed) -> Figure | None:
    found = {case.option: (case, each) for case, each in observed.items() if case.bench == "replacement"}
    if not found:
        return None
    case = next(iter(found.values()))[0]
    figure, axes = _axes(f"Eight devices at full rate, the domain of one is replaced (L = {case.latency}, "
                         f"{case.word_bits} bits)", "cycles since memory took the first store", "DMAs per cycle")
    for option, label, width in ((1, "break before make", 1.2), (0, "atomic swap", 2.4)):
        if option in found:
            _, each = found[option]
            cycles, totals = (np.array(column) for column in zip(*each["samples"], strict=True))
            blocked = each["verdicts"]["blocked"] or "no"
            axes.stairs(np.diff(totals) / np.diff(cycles), cycles - each["commit"], color=_COLOURS[option], linewidth=width,
                        baseline=None, label=f"{label}: {blocked} DMAs blocked")
            axes.axvline(each["end"] - each["commit"], color=_COLOURS[option], linestyle=":" if option else "--",
                         linewidth=1.2, label=f"{label}: complete")
    axes.axvline(0, color="#444444", linewidth=0.8)
    axes.set_ylim(0, 1.08)
    axes.set_xlim(right=max(each["samples"][-1][0] - each["commit"] for _, each in found.values()))
    _legend(figure)
    return figure


def _distribution(observed: Observed) -> Figure | None:
    """Share of requests that take longer than so many cycles."""
    wanted = {"hit_throughput": "hits at full rate", "sequential_lines": "sequential 64-byte DMAs",
              "random_4k": "random 4 KiB pages", "victim": "a hitting device beside misses"}
    chosen: dict[str, tuple[Case, Sequence[int]]] = {}
    for case, each in sorted(observed.items(), key=lambda item: (item[0].latency, item[0].word_bits, item[0].option)):
        histogram = each.get("victim", each).get("histogram")
        if case.bench in wanted and histogram and case.slots == DEFAULT_SLOTS:
            first = chosen.get(case.bench)
            if first is None or (first[0].latency, first[0].word_bits) == (case.latency, case.word_bits):
                chosen[case.bench] = case, histogram
    if not chosen:
        return None
    case = next(iter(chosen.values()))[0]
    figure, axes = _axes(f"Latency, from request to reply (L = {case.latency}, {case.word_bits} bits, {case.slots} slots)",
                         "cycles of latency", "share of requests that take longer")
    for number, (bench, label) in enumerate(wanted.items()):
        if bench in chosen:
            of, histogram = chosen[bench]
            counts = np.array(histogram, dtype=float)
            longer = 1 - np.cumsum(counts) / counts.sum()
            note = f", p = {of.option} %" if bench == "victim" else ""
            axes.step(np.arange(len(longer)), np.maximum(longer, 1e-5), where="post", color=_COLOURS[number],
                      linestyle=("-", "--", "-.", ":")[number], label=label + note)
    axes.set_xscale("log")
    axes.set_yscale("log")
    axes.set_xlim(1, 1100)
    axes.set_ylim(1e-4, 1.3)
    axes.set_yticks([1, 0.1, 0.01, 0.001, 0.0001], ["100 %", "10 %", "1 %", "0.1 %", "0.01 %"])
    axes.set_xticks([1, 3, 10, 30, 100, 300, 1000], ["1", "3", "10", "30", "100", "300", "1000"])
    axes.minorticks_off()
    _legend(figure)
    return figure
