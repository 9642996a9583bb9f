"""Turn a component into Verilog that every tool reads alike. The only way from Amaranth to a file."""
import re

from amaranth.back import rtlil, verilog

__all__ = ["constant_processes_run_once", "rtlil_to_verilog", "to_verilog"]

_CONSTANT = r"\d+'[bdho][0-9a-f_]+"
_CONSTANT_PROCESS = re.compile(
    rf"^  always @\*\n(    [^\n=]+ = (?:{_CONSTANT}|\{{ ?{_CONSTANT}(?:, {_CONSTANT})* ?\}});)$", re.MULTILINE)


def to_verilog(component, *, name):
    """Verilog of a component, as one string, without attributes that tell of its making.

    Parameters
    ----------
    component : wiring.Component
        What to convert; its signature becomes the ports.
    name : str
        Of the top module.

    Where part of a variable has a constant driver, the converter writes ``always @*`` around an assignment that reads
    nothing. By the language such a process never runs, and a simulator that keeps to it leaves those bits as they were
    initialised, silently. They become ``initial`` here, which means the same everywhere.
    """
    return rtlil_to_verilog(rtlil.convert(component, name=name, emit_src=False))


def rtlil_to_verilog(text):
    """The same of a component that has been converted to RTLIL already."""
    return constant_processes_run_once(verilog._convert_rtlil_text(text, strip_internal_attrs=True))


def constant_processes_run_once(text):
    """See `to_verilog`."""
    return _CONSTANT_PROCESS.sub(r"  initial\n\1", text)

