"""Preparing a netlist for the tools."""

from hw.fpga.tools import without_outputs

NETLIST = r"""
module \top
  wire width 3 \of_block
  cell \top.block \block
    connect \a \b
    connect \events__0__valid \of_block [0]
  end
end
module \top.block
  wire width 1 input 0 \a
  wire width 1 output 1  \events__0__valid
  wire width 1 output 2 \eventual
  connect \events__0__valid \a
end
"""


def test_outputs_of_that_name_are_no_ports_any_more_and_nobody_connects_them():
    left = without_outputs(NETLIST, "events")
    assert "connect \\events__0__valid \\of_block" not in left
    assert "wire width 1 \\events__0__valid" in " ".join(left.split())


def test_everything_else_stays():
    left = without_outputs(NETLIST, "events")
    assert "wire width 1 output 2 \\eventual" in left
    assert "\n  connect \\events__0__valid \\a\n" in left
    assert "\n    connect \\a \\b\n" in left
