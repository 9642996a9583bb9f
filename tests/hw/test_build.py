# amaranth: UnusedElaboratable=no
"""The Verilog that leaves the project."""
import re

from amaranth import *
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from hw.build import constant_processes_run_once, to_verilog


class PartlyConstant(wiring.Component):
    """Some bits of `o` never change, others follow an input under a condition."""

    i: In(4)
    o: Out(8)

    def elaborate(self, platform):
        m = Module()
        m.d.comb += self.o[:2].eq(2)
        with m.If(self.i[0]):
            m.d.comb += self.o[4:].eq(self.i)
        return m


def test_no_process_is_left_that_reads_nothing_and_so_never_runs():
    text = to_verilog(PartlyConstant(), name="top")
    assert re.search(r"always @\*\n    \S+ = \d+'h[0-9a-f]+;", text) is None
    assert re.search(r"initial\n    o\[\d:0\] = \d+'h[0-9a-f]+;", text)


def test_a_constant_process_becomes_initial_and_one_that_reads_something_stays():
    text = "  always @*\n    a[1:0] = 2'h1;\n  always @*\n    a[7:4] = i;\n  always @*\n    b[3:0] = { 2'h0, 2'h3 };\n"
    assert constant_processes_run_once(text) == (
        "  initial\n    a[1:0] = 2'h1;\n  always @*\n    a[7:4] = i;\n  initial\n    b[3:0] = { 2'h0, 2'h3 };\n")
