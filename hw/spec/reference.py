"""The register reference, docs/registers.md, written from the tables of this package. `make docs`. Ours.

Nothing is said here that the tables do not say, save how to read them: what a field means stands beside it, in `Field.doc`
or in the comment on its line.
"""
import inspect
import re
from pathlib import Path

from amaranth.lib import data

from hw.spec import invalidation, monitor
from hw.spec.bench import MONITOR_BASE
from hw.spec.capabilities import STRAPS_DEFAULT, Straps, cap_value, describe_straps, ecap_value
from hw.spec.codec import decode
from hw.spec.faults import UNQUALIFIED_FAULT_REASONS, UNRECORDED_FAULT_REASONS, FaultReason
from hw.spec.registers import FRCD_STRIDE, REGISTER_WINDOW_BYTES, REGISTERS, Access, Base

__all__ = ["REFERENCE", "remarks", "reference"]

REFERENCE = Path(__file__).resolve().parent.parent.parent / "docs" / "registers.md"
"""Where it stands."""

_MEMBER = re.compile(r"^    (\w+)(?: =|:)[^#\n]*#\s*(.+)$", re.MULTILINE)
_HEAD = f"""\
# Registers

Written by `make docs` from `hw/spec`; edit that. The hardware's registers and the driver's access come from the same tables.

The window has {REGISTER_WINDOW_BYTES:#x} bytes. A 4-byte access is permitted to every register and to every half of one, an
8-byte access to registers of 64 bits and to either half of a fault record, both at multiples of their size. Anything else is
answered by an error and does nothing. Where there is no register, and in bits without a field, reads are zero and writes do
nothing. A command belongs to the write that carries the half of the register in which it stands.

A register whose offset begins with `FRO` or `IRO` stands at 16 times CAP.FRO or ECAP.IRO, which follow the straps (by default
{{fro:#x}} and {{iro:#x}}). Fault record n stands {FRCD_STRIDE} * n bytes further on. CAP and ECAP are shown as the default
straps make them.

A write that breaks a rule of the handshake (GCMD, or a register that stands still) is ignored and counted: the monitor window
has the count.

| Access | |
| --- | --- |
"""


def remarks(declaration):
    """The comment on the line of each member of a class, by the member's name.

    Parameters
    ----------
    declaration : type
        An enumeration or a struct, whose source can be read.
    """
    return dict(_MEMBER.findall(inspect.getsource(declaration)))


def reference():
    """The whole text."""
    straps = describe_straps(STRAPS_DEFAULT)
    parts = [_HEAD.format(fro=straps["fault_record_offset"], iro=straps["invalidation_offset"])]
    parts += [f"| {access.name} | {access.value} |\n" for access in Access]
    parts.append("\n| Offset | Register | Bits | |\n| --- | --- | --- | --- |\n")
    parts += [f"| {_offset(row)} | [{row.name}](#{row.name.lower()}) | {row.width} | {row.doc} |\n"
              for row in REGISTERS.values()]
    parts += [_register(row) for row in REGISTERS.values()]
    parts += [_descriptors(), _monitor(), _reasons()]
    return "".join(parts)


def _offset(row):
    return f"{row.offset:#05x}" if row.base is Base.FIXED else f"{row.base.name} + {row.offset:#x}"


def _bits(low, width):
    return f"{low}" if width == 1 else f"{low + width - 1}:{low}"


def _after_reset(row, field):
    """What a field reads after reset, with the default straps."""
    value = {"CAP": cap_value, "ECAP": ecap_value}.get(row.name)
    return field.reset if value is None else (value(decode(Straps, STRAPS_DEFAULT)) & field.mask) >> field.low


def _register(row):
    lines = [f"\n## {row.name}\n\n{row.doc}. Offset {_offset(row)}, {row.width} bits.\n"]
    if row.fields:
        lines.append("\n| Bits | Field | Access | Reset | |\n| --- | --- | --- | --- | --- |\n")
    for field in reversed(row.fields):
        lines.append(f"| {_bits(field.low, field.width)} | {field.name} | {field.access.name} | "
                     f"{_after_reset(row, field):#x} | {field.doc} |\n")
    return "".join(lines)


def _descriptors():
    narrow, wide = invalidation.DESCRIPTOR_BYTES
    lines = [f"""
# Descriptors of the invalidation queue

{narrow} bytes each, or {wide} with IQA.DW, of which the second half must be zero in the types below. Reserved bits must be
zero, and bits 11:9 belong to the type. In legacy mode the types 1 to {invalidation.LEGACY_DESCRIPTORS[-1].value} are legal in
both widths; in abort-DMA mode 1 to {invalidation.ABORT_MODE_DESCRIPTORS[-1].value}, {wide} bytes wide only; in any other
mode none is.
"""]
    for kind, layout in invalidation.DESCRIPTOR_LAYOUTS.items():
        comments = remarks(layout)
        lines.append(f"\n## {layout.__name__}\n\n{inspect.getdoc(layout)}\n\n| Bits | Field | |\n| --- | --- | --- |\n")
        lines += [_part(name, field, kind, comments) for name, field in data.Layout.cast(layout)]
    comments = remarks(invalidation.QueueError)
    lines.append("\n## Queue errors\n\nIQERCD.IQEI.\n\n| Value | Name | |\n| --- | --- | --- |\n")
    lines += [f"| {error.value} | {error.name} | {comments.get(error.name, '')} |\n" for error in invalidation.QueueError]
    return "".join(lines)


def _part(name, field, kind, comments):
    """A row of a descriptor's table: reserved bits, its type, a number, or one of an enumeration's names."""
    words = comments.get(name, "")
    if name == "type":
        words = str(kind.value)
    elif name == "type_high":
        words = "0"
    elif field.shape is invalidation.Granularity:
        words = ", ".join(f"{each.value} {each.name}" for each in invalidation.Granularity if each.value)
    return f"| {_bits(field.offset, field.width)} | {'reserved' if name.startswith('_') else name} | {words} |\n"


def _monitor():
    comments = remarks(monitor.MonitorRegister)
    lines = [f"""
# Monitor window

At {MONITOR_BASE:#x} for the host. {inspect.getdoc(monitor.MonitorRegister)}

| Offset | Counter | |
| --- | --- | --- |
"""]
    lines += [f"| {row.value:#04x} | {row.name} | {comments.get(row.name, '')} |\n" for row in monitor.MonitorRegister]
    return "".join(lines)


def _reasons():
    comments = remarks(FaultReason)
    lines = ["""
# Fault reasons

FRCD.FR. A reason that is qualified is not recorded if the context entry disables fault processing; the request is blocked
all the same.

| Code | Reason | Qualified | |
| --- | --- | --- | --- |
"""]
    for reason in FaultReason:
        if reason in UNRECORDED_FAULT_REASONS or reason is FaultReason.NONE:
            continue
        qualified = "no" if reason in UNQUALIFIED_FAULT_REASONS else "yes"
        lines.append(f"| {reason.value:#04x} | {reason.name} | {qualified} | {comments.get(reason.name, '')} |\n")
    return "".join(lines)


if __name__ == "__main__":
    REFERENCE.write_text(reference())
