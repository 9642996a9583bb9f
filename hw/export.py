# amaranth: UnusedElaboratable=no
# (an ExportedUnit may be made only to describe its ports)
"""`make verilog CONFIG=<...>`: the unit for other people's designs, as one Verilog file, and what its ports mean. Ours.

Written to build/verilog/<name>: iommu_unit.v, which needs no other file; report.json, with the sizes, the ports and the
layout of each; and ports.md, the same for a reader. The event ports, which only a simulation reads, are left out.
"""
import inspect
import json
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer
from amaranth import *
from amaranth.hdl import ShapeCastable
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In

from hw.build import to_verilog
from hw.iommu.config_text import ConfigRefused, read_config
from hw.iommu.unit import IommuUnit
from hw.spec.reference import remarks
from hw.spec.tables import PAGE_BYTES

__all__ = ["ExportedUnit", "describe_layout", "describe_ports", "export", "main"]

MODULE = "iommu_unit"
OUTPUT = Path("build/verilog")
_CLOCK = [{"name": name, "direction": "input", "width": 1, "layout": None} for name in ("clk", "rst")]


class ExportedUnit(wiring.Component):
    """The unit, without its event ports. Ports and timing are those of IommuUnit."""

    def __init__(self, config):
        self._unit = IommuUnit(config)
        super().__init__({name: member for name, member in self._unit.signature.members.items() if name != "events"})

    def elaborate(self, platform):
        m = Module()
        m.submodules.unit = unit = self._unit
        inner = {path: (member, value) for path, member, value in unit.signature.flatten(unit)}
        for path, _, outside in self.signature.flatten(self):
            member, inside = inner[path]
            inside, outside = Value.cast(inside), Value.cast(outside)
            m.d.comb += inside.eq(outside) if member.flow is In else outside.eq(inside)
        return m


def _name_of(shape):
    """What a layout is called: its class, if it has one."""
    return shape.__name__ if inspect.isclass(shape) else None


def describe_layout(shape, *, low=0, prefix=""):
    """Every field of a layout, down to the last, at its place: name, lowest bit, width, the names of its values, remark."""
    comments = remarks(shape) if inspect.isclass(shape) and issubclass(shape, data.Struct) else {}
    for name, field in data.Layout.cast(shape):
        place = {"name": f"{prefix}{name}", "low": low + field.offset, "width": field.width}
        remark = {"remark": comments[name]} if name in comments else {}
        if isinstance(field.shape, data.Layout) or (inspect.isclass(field.shape) and issubclass(field.shape, data.Struct)):
            yield from describe_layout(field.shape, low=place["low"], prefix=f"{place['name']}.")
        elif isinstance(field.shape, ShapeCastable):
            yield place | {"values": {each.name: each.value for each in field.shape}} | remark
        else:
            yield place | remark


def describe_ports(component):
    """Ports of a component in the order of its signature: name in Verilog, direction, width, layout."""
    ports = list(_CLOCK)
    for path, member, value in component.signature.flatten(component):
        shape = member.shape
        port = {"name": "__".join(map(str, path)), "direction": "input" if member.flow is In else "output",
                "width": Shape.cast(shape).width, "layout": _name_of(shape)}
        if isinstance(shape, data.Layout) or (inspect.isclass(shape) and issubclass(shape, data.Struct)):
            port["fields"] = list(describe_layout(shape))
        ports.append(port)
        assert len(Value.cast(value)) == port["width"]
    return ports


def export(name, config, folder):
    """Write the three files of a configuration into a folder; returns the report."""
    unit = ExportedUnit(config)
    text = to_verilog(unit, name=MODULE)
    entries = config.iotlb_sets * config.iotlb_ways * config.entries_per_word
    report = {
        "name": name,
        "module": MODULE,
        "sizes": asdict(config) | {
            "entries_per_word": config.entries_per_word,
            "iotlb_entries": entries,
            "iotlb_reach_bytes": entries * PAGE_BYTES,
            "contexts": config.context_sets * config.context_ways,
        },
        "verilog_lines": text.count("\n"),
        "ports": describe_ports(unit),
    }
    folder.mkdir(parents=True, exist_ok=True)
    (folder / f"{MODULE}.v").write_text(text)
    (folder / "report.json").write_text(json.dumps(report, indent=2) + "\n")
    (folder / "ports.md").write_text(_reading(report))
    return report


def _reading(report):
    """The report as a page."""
    lines = [f"# {MODULE}, {report['name']}", "",
             "One clock, `clk`, rising edge; `rst` is synchronous, active high. A stream is three ports: a payload moves in a",
             "cycle in which `valid` and `ready` are high; `valid` waits for no `ready`. Bit 0 of a field is its lowest.", "",
             "| Size | |", "| --- | --- |", *(f"| {name} | {value:,} |" for name, value in report["sizes"].items()), "",
             "| Port | Direction | Bits | Layout |", "| --- | --- | --- | --- |"]
    for port in report["ports"]:
        lines.append(f"| {port['name']} | {port['direction']} | {port['width']} | {port['layout'] or ''} |")
    for port in report["ports"]:
        if "fields" in port:
            lines += ["", f"## {port['name']}", "", "| Bits | Field | |", "| --- | --- | --- |"]
            lines += [_row(field) for field in port["fields"]]
    return "\n".join(lines) + "\n"


def _row(field):
    low, high = field["low"], field["low"] + field["width"] - 1
    values = ", ".join(f"{value} {name}" for name, value in field.get("values", {}).items())
    words = "; ".join(part for part in (field.get("remark"), values) if part)
    return f"| {low if low == high else f'{high}:{low}'} | {field['name']} | {words} |"


def main(config: Annotated[str, typer.Argument(
             metavar="CONFIG", help="small, default, large; name=value,... on top of one; or a .toml file.")] = "default",
         output: Annotated[Path, typer.Option(help="Where the folder of the configuration is made.")] = OUTPUT) -> None:
    """Write the unit as Verilog, with its sizes and what its ports mean."""
    try:
        name, sizes = read_config(config)
    except ConfigRefused as error:
        typer.echo(str(error), err=True)
        raise typer.Exit(2) from None
    report = export(name, sizes, output / name)
    typer.echo(f"{output / name / MODULE}.v: {report['verilog_lines']:,} lines, {len(report['ports'])} ports; "
               f"report.json and ports.md beside it")


if __name__ == "__main__":
    typer.run(main)
