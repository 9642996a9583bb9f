"""Generate `sim_top`: the SystemVerilog around a component under simulation.

::

    sim_top --- clock (made here), rst, cycle
       |
       +-- host_port        <- Python (sim/bench.py)     one pair of streams of HostRequest and HostReply
       +-- component        the design, as Verilog
       +-- sparse_memory    <- Python (sim/memory.py)    every pair <name>_requests, <name>_replies of memory streams
       +-- event_recorder   -> Python (sim/events.py)    the array `events`
       +-- attachments      what an experiment adds, for the ports that it claims

Every other port of the component becomes a variable of `sim_top` that Python sets or reads. Layouts reach SystemVerilog
as the package `bench_types`, generated from hw.spec: no bit position is written twice.
"""
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from amaranth.lib import data, stream, wiring

from hw.iommu.messages import EventPort
from hw.spec.bench import HostReply, HostRequest
from hw.spec.codec import field_width
from hw.spec.events import Event
from hw.spec.memory import MEMORY_WORD_BITS, MemoryOperation, MemoryRequest, memory_reply_layout

__all__ = ["CLOCK_PERIOD_STEPS", "Attachment", "WrapperError", "generate_top", "generate_types", "memory_ports"]

CLOCK_PERIOD_STEPS = 10  # of one cycle, in steps of the simulator's clock


class WrapperError(Exception):
    """A component that the wrapper cannot be put around."""


@dataclass(frozen=True, kw_only=True)
class Attachment:
    """Something else in `sim_top`, written in SystemVerilog.

    Parameters
    ----------
    claims : tuple of str
        Members of the component whose wires it drives and reads.
    body : str
        Its text in `sim_top`. The component's ports are there by their flat names (``dma_requests__payload``), and so
        are `clk`, `rst` and `cycle`. Variables for Python need ``/*verilator public_flat_rw*/``.
    sources : tuple of Path
        .sv and .cpp files that the text needs.
    """

    claims: tuple[str, ...]
    body: str
    sources: tuple[Path, ...] = field(default=())


def memory_ports(component: Any) -> tuple[str, ...]:
    """Names of the component's memory ports ("table" for table_requests and table_replies), by their number."""
    return tuple(name.removesuffix("_requests") for name, member in component.signature.members.items()
                 if _is_stream(member, wiring.Out, MemoryRequest))


def generate_types() -> str:
    """The package `bench_types`."""
    reply = memory_reply_layout(max(MEMORY_WORD_BITS))
    operations = [(operation.name, operation.value) for operation in MemoryOperation]
    named = ", ".join(f"MEMORY_OPERATION_{name} = {value}" for name, value in operations)
    return "\n".join([
        "// Generated from hw.spec by sim/wrapper.py.",
        "package bench_types;",
        f"    localparam int MEMORY_TAG_BITS = {field_width(MemoryRequest, 'tag')};",
        f"    localparam int EVENT_BITS = {data.Layout.cast(Event).size};",
        f"    typedef enum logic [{field_width(MemoryRequest, 'operation') - 1}:0] {{{named}}} memory_operation_t;",
        *_packed("memory_request_t", MemoryRequest),
        *_packed("memory_reply_t", reply),
        *_packed("host_request_t", HostRequest),
        *_packed("host_reply_t", HostReply),
        "    typedef logic [EVENT_BITS-1:0] event_t;",
        "endpackage", ""])


def generate_top(component: Any, *, name: str, attachments: Sequence[Attachment] = ()) -> str:
    """The module `sim_top` around a component whose Verilog module is called `name`.

    Raises
    ------
    WrapperError
        If a port is left that nobody drives.
    """
    claimed = {claim for attachment in attachments for claim in attachment.claims}
    if missing := claimed - set(component.signature.members):
        raise WrapperError(f"an attachment claims {', '.join(sorted(missing))}, which {name} does not have")
    wires, variables = [], []
    parts = [*_memory(component), *_events(component), *_host(component, claimed)]
    driven = {member for part in parts for member in part.members} | claimed
    for path, member, value in component.signature.flatten(component):
        flat, width = "__".join(map(str, path)), len(value.as_value() if hasattr(value, "as_value") else value)
        if path[0] in driven:
            wires.append(f"    logic [{width - 1}:0] {flat};")
        elif len(path) == 1:
            access = "public_flat_rw" if member.flow == wiring.In else "public_flat_rd"
            variables.append(f"    logic [{width - 1}:0] {flat} /*verilator {access}*/;")
        else:
            raise WrapperError(f"nobody drives {path[0]} of {name}: it is no memory port, host port or event port, "
                               f"and no attachment claims it")
    connections = [f".{'__'.join(map(str, path))}" for path, _, _ in component.signature.flatten(component)]
    return "\n".join([
        "// Generated by sim/wrapper.py.",
        "module sim_top;",
        "    import bench_types::*;",
        "    logic clk = 0;",
        "    logic rst /*verilator public_flat_rw*/ = 1;",
        "    logic [63:0] cycle /*verilator public_flat_rd*/ = 0;  // since the end of the reset",
        f"    always #{CLOCK_PERIOD_STEPS // 2} clk = ~clk;",
        "    always @(posedge clk) cycle <= rst ? 0 : cycle + 1;",
        *wires, *variables,
        f"    {name} component_under_simulation (.clk, .rst, {', '.join(connections)});",
        *(line for part in parts for line in part.lines),
        *(attachment.body for attachment in attachments),
        "endmodule", ""])


@dataclass(frozen=True)
class _Part:
    members: tuple[str, ...]
    lines: tuple[str, ...]


def _memory(component: Any) -> Iterator[_Part]:
    names = memory_ports(component)
    if not names:
        return
    width = {name: _reply_width(component, name) for name in names}
    count, last = len(names), max(MEMORY_WORD_BITS)
    wide = "".join(str(int(width[name] == last)) for name in reversed(names))
    lines = [
        f"    memory_request_t [{count - 1}:0] memory_request;",
        f"    memory_reply_t [{count - 1}:0] memory_reply;",
        f"    sparse_memory #(.PORTS({count}), .WIDE({count}'b{wide})) memory (",
        "        .clk, .rst, .cycle, .request(memory_request), .reply(memory_reply),",
        f"        .request_valid({_bundle(names, 'requests__valid')}),",
        f"        .request_ready({_bundle(names, 'requests__ready')}),",
        f"        .reply_valid({_bundle(names, 'replies__valid')}), .reply_ready({_bundle(names, 'replies__ready')}));",
    ]
    for number, name in enumerate(names):
        bits = data.Layout.cast(memory_reply_layout(width[name])).size
        lines += [f"    assign memory_request[{number}] = {name}_requests__payload;",
                  f"    assign {name}_replies__payload = {bits}'(memory_reply[{number}]);"]
    yield _Part(tuple(f"{name}_{side}" for name in names for side in ("requests", "replies")), tuple(lines))


def _events(component: Any) -> Iterator[_Part]:
    member = component.signature.members.get("events")
    if member is None:
        return
    if not (member.is_signature and isinstance(member.signature, EventPort) and len(member.dimensions) == 1):
        raise WrapperError("`events` must be an array of EventPort")
    ports = range(member.dimensions[0])
    valid = ", ".join(f"events__{port}__valid" for port in reversed(ports))
    payload = ", ".join(f"events__{port}__payload" for port in reversed(ports))
    yield _Part(("events",), (
        f"    event_recorder #(.PORTS({len(ports)})) recorder (.clk, .rst, .cycle, .valid({{{valid}}}),",
        f"        .payload({{{payload}}}));"))


def _host(component: Any, claimed: set[str]) -> Iterator[_Part]:
    members = component.signature.members
    requests = [name for name, member in members.items()
                if name not in claimed and _is_stream(member, wiring.In, HostRequest)]
    replies = [name for name, member in members.items()
               if name not in claimed and _is_stream(member, wiring.Out, HostReply)]
    if not requests and not replies:
        return
    if len(requests) != 1 or len(replies) != 1:
        raise WrapperError(f"a component has one host port at most, not {requests + replies}")
    request, reply = requests[0], replies[0]
    yield _Part((request, reply), (
        "    host_request_t host_command /*verilator public_flat_rw*/;",
        "    logic [31:0] host_pause_cycles /*verilator public_flat_rw*/;",
        "    logic host_access_go /*verilator public_flat_rw*/ = 0;",
        "    logic host_pause_go /*verilator public_flat_rw*/ = 0;",
        "    logic host_done /*verilator public_flat_rd*/;",
        "    host_reply_t host_result /*verilator public_flat_rd*/;",
        "    host_port host (.clk, .rst, .command(host_command), .access_go(host_access_go),",
        "        .pause_cycles(host_pause_cycles), .pause_go(host_pause_go), .done(host_done), .result(host_result),",
        f"        .request({request}__payload), .request_valid({request}__valid), .request_ready({request}__ready),",
        f"        .reply({reply}__payload), .reply_valid({reply}__valid), .reply_ready({reply}__ready));"))


def _is_stream(member: Any, flow: Any, payload: Any) -> bool:
    if not member.is_signature or member.flow != flow or member.dimensions:
        return False
    upright = member.signature.flip() if flow == wiring.In else member.signature
    return bool(upright == stream.Signature(payload))


def _reply_width(component: Any, name: str) -> int:
    member = component.signature.members.get(f"{name}_replies")
    for width in MEMORY_WORD_BITS:
        if member is not None and _is_stream(member, wiring.In, memory_reply_layout(width)):
            return int(width)
    raise WrapperError(f"{name}_requests needs {name}_replies, a stream of memory_reply_layout(one of {MEMORY_WORD_BITS})")


def _bundle(names: Sequence[str], suffix: str) -> str:
    return "{" + ", ".join(f"{name}_{suffix}" for name in reversed(names)) + "}"


def _packed(name: str, layout: Any) -> list[str]:
    """A layout as a packed struct: SystemVerilog begins at the top bit."""
    fields = [f"        logic [{part.width - 1}:0] {member};" for member, part in reversed(list(data.Layout.cast(layout)))]
    return ["    typedef struct packed {", *fields, f"    }} {name};"]
