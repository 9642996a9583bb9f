"""AXI ports of a component under simulation, for the masters and memories of cocotbext-axi, and a check of every channel.

::

    component --- s_dma_awready ---------------> axi_s_dma_awready   Python reads
    component <-- s_dma_awvalid <-- register <-- axi_s_dma_awvalid   Python writes
                  every VALID of the component: holds, with its payload, until READY

cocotbext-axi samples and drives at an edge of the clock that it is given, and expects that what it drives is seen after the
next one. `axi_clk` is the inverse of the clock: at its rising edge everything has settled, and what Python sets then goes
through a register at the clock's own edge, so that a cycle in Python is a cycle in the component.
"""
from collections.abc import Iterator
from typing import Any

from amaranth.lib import wiring

from sim.wrapper import Attachment

__all__ = ["AXI_CLOCK", "AXI_RESET", "axi_attachment", "python_prefix"]

AXI_CLOCK = "axi_clk"
AXI_RESET = "rst"
_PYTHON = "axi_"
_FORWARD, _BACK = ("aw", "w", "ar"), ("b", "r")


def python_prefix(bus: str) -> str:
    """What cocotbext-axi is given as prefix for the bus whose ports begin with `bus`."""
    return _PYTHON + bus


def axi_attachment(component: Any, buses: tuple[str, ...]) -> Attachment:
    """What `sim.runner.build` puts around the component for Python to be at the other end of its buses.

    A channel of which VALID falls, or of which the payload changes, before READY ends the simulation.

    Parameters
    ----------
    component
        With flat AXI ports.
    buses : tuple of str
        Prefixes of their names: ``s_dma`` for s_dma_awvalid.

    Raises
    ------
    ValueError
        If the component has no port with one of the prefixes.
    """
    ports = {name: member for name, member in component.signature.members.items()
             if any(name.startswith(f"{bus}_") for bus in buses)}
    for bus in buses:
        if not any(name.startswith(f"{bus}_") for name in ports):
            raise ValueError(f"the component has no bus {bus}")
    widths = {name: len(getattr(component, name)) for name in ports}
    lines = [f"    wire {AXI_CLOCK} /*verilator public_flat_rd*/ = ~clk;"]
    for name, member in ports.items():
        vector = f"[{widths[name] - 1}:0]"
        if member.flow == wiring.In:
            lines += [f"    logic {vector} {_PYTHON}{name} /*verilator public_flat_rw*/ = 0;",
                      f"    always @(posedge clk) {name} <= {_PYTHON}{name};"]
        else:
            lines += [f"    wire {vector} {_PYTHON}{name} /*verilator public_flat_rd*/ = {name};"]
    for bus in buses:
        for channel in (*_FORWARD, *_BACK):
            if f"{bus}_{channel}valid" in ports and ports[f"{bus}_{channel}valid"].flow == wiring.Out:
                lines += _channel_check(f"{bus}_{channel}", ports)
    return Attachment(claims=tuple(ports), body="\n".join(lines))


def _channel_check(channel: str, ports: dict[str, Any]) -> Iterator[str]:
    """VALID holds until READY, and so does the payload (Arm IHI 0022, A3.2.1)."""
    payload = [name for name in ports if name.startswith(channel) and not name.endswith(("valid", "ready"))]
    before = f"{channel}_before"
    bits = " + ".join(f"$bits({name})" for name in payload)
    yield f"    logic [({bits})-1:0] {before};"
    yield f"    logic {channel}_stalled = 0;"
    yield "    always @(posedge clk) begin"
    yield f"        {channel}_stalled <= !rst && {channel}valid && !{channel}ready;"
    yield f"        {before} <= {{{', '.join(payload)}}};"
    yield f"        if (!rst && {channel}_stalled && !{channel}valid)"
    yield f"            $fatal(1, \"{channel}valid fell before {channel}ready\");"
    yield f"        if (!rst && {channel}_stalled && {before} != {{{', '.join(payload)}}})"
    yield f"            $fatal(1, \"{channel} changed before {channel}ready\");"
    yield "    end"
