"""Reading what the tools write, and judging it."""

import pytest

from hw.fpga.figures import cells_by_block, critical_path, frequency, total_cells
from hw.fpga.report import misses

STAT = {
    "modules": {
        "\\top": {"num_cells_by_type": {"LUT4": 7, "TRELLIS_FF": 9}},
        "\\top.component": {"num_cells_by_type": {"LUT4": 1}},
        "\\top.component.lookup": {"num_cells_by_type": {"LUT4": 10, "DP16KD": 2}},
        "\\top.component.lookup.iotlb": {"num_cells_by_type": {"LUT4": 30, "TRELLIS_DPR16X4": 4}},
        "\\top.component.monitor": {"num_cells_by_type": {"LUT4": 20, "CCU2C": 5}},
    },
    "design": {"num_cells_by_type": {"LUT4": 68, "TRELLIS_FF": 9, "TRELLIS_DPR16X4": 4, "$scopeinfo": 3}},
}


def step(kind, delay, source, sink):
    """One step of a path, as nextpnr's report has it."""
    return {"type": kind, "delay": delay, "from": {"cell": source, "port": "Q"}, "to": {"cell": sink, "port": "A"}}


REGISTER, LUT, LUT_2, END = "component.lookup.age_TRELLIS_FF_Q_3", "a", "b", "component.walker.slot_TRELLIS_FF_Q"
PATH = [
    step("clk-to-q", 0.5, REGISTER, REGISTER),
    step("routing", 1.0, REGISTER, LUT),
    step("logic", 0.2, LUT, LUT),
    step("routing", 2.0, LUT, LUT_2),
    step("logic", 0.3, LUT_2, LUT_2),
    step("routing", 0.5, LUT_2, END),
    step("setup", 0.1, END, END),
]
TIMING = {
    "fmax": {"$glbnet$clk": {"achieved": 80.5, "constraint": 100.0}, "fast": {"achieved": 200.0, "constraint": 100.0}},
    "critical_paths": [
        {"from": "<async>", "to": "posedge $glbnet$clk", "path": PATH[:1]},
        {"from": "posedge $glbnet$clk", "to": "posedge $glbnet$clk", "path": PATH},
    ],
}


def test_cells_inside_a_block_count_for_the_block_and_the_harness_for_none():
    blocks = cells_by_block(STAT, below="top.component")
    assert list(blocks) == ["lookup", "monitor", "(connections)"]
    assert blocks["lookup"] == {"LUT4": 40, "FF": 0, "DP16KD": 2, "DPR16X4": 4, "CCU2C": 0}


def test_totals_name_every_kind_of_cell():
    assert total_cells(STAT) == {"LUT4": 68, "FF": 9, "DP16KD": 0, "DPR16X4": 4, "CCU2C": 0}


def test_the_slowest_clock_is_the_frequency():
    assert frequency(TIMING) == 80.5


def test_the_critical_path_names_both_registers_and_counts_what_is_between():
    path = critical_path(TIMING)
    assert (path.begins, path.ends, path.levels) == ("lookup.age", "walker.slot", 2)
    assert path.logic_ns == pytest.approx(1.1)
    assert path.wires_ns == pytest.approx(3.5)
    assert str(path) == "from lookup.age to walker.slot: 2 levels, 1.1 ns in cells and 3.5 ns in wires"


@pytest.mark.parametrize(
    ("lut4", "megahertz", "found"),
    [
        (12_000, 75.0, []),
        (12_001, 75.0, ["12,001 LUT4 are more than 12,000"]),
        (12_000, 74.9, ["74.9 MHz are less than 75 MHz"]),
        (20_000, 10.0, ["20,000 LUT4 are more than 12,000", "10.0 MHz are less than 75 MHz"]),
    ],
)
def test_too_large_or_too_slow_is_said(lut4, megahertz, found):
    assert misses({"cells": {"LUT4": lut4}, "best_megahertz": megahertz}) == found


def test_without_routing_only_the_size_is_judged():
    assert misses({"cells": {"LUT4": 11_000}}) == []
