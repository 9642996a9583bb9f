"""Read a trace: what a real driver, its devices and the captured unit did, in the order in which it took effect.

    trace_init.txt.gz   from the driver's first register access on
    trace_run.txt.gz    up to the snapshots, and past each but the last

One event a line, hexadecimal unless said:

    R, W off width value     register read, register write (width in bytes, decimal)
    I lo hi                  descriptor executed
    S addr data              status of a wait written
    M addr data              interrupt message
    T sid iova gpa mask      translation made for a DMA
    F sid reason addr write  fault (reason decimal)
    N lo hi                  fault record
    E n                      snapshot n was taken here (decimal)
"""
import gzip
from pathlib import Path
from typing import NamedTuple

from sw.capture_files import rules_of

__all__ = ["Descriptor", "Fault", "Message", "RegisterRead", "RegisterWrite", "Snapshot", "StatusWrite", "TraceEvent",
           "TracedRecord", "Translation", "read_trace"]


class RegisterRead(NamedTuple):
    """R: the driver read a register."""

    offset: int
    width: int    # bytes
    value: int


class RegisterWrite(NamedTuple):
    """W: the driver wrote one."""

    offset: int
    width: int    # bytes
    value: int


class Descriptor(NamedTuple):
    """I: the unit executed a descriptor of 16 bytes."""

    low: int
    high: int


class StatusWrite(NamedTuple):
    """S: a wait completed."""

    hpa: int
    data: int


class Message(NamedTuple):
    """M: the unit sent an interrupt."""

    hpa: int
    data: int


class Translation(NamedTuple):
    """T: the unit translated a DMA."""

    source_id: int
    iova: int
    hpa: int
    page_bytes: int


class Fault(NamedTuple):
    """F: the unit blocked a DMA."""

    source_id: int
    fault_reason: int
    iova: int
    write: bool


class TracedRecord(NamedTuple):
    """N: the fault record that it left."""

    low: int
    high: int


class Snapshot(NamedTuple):
    """E: a snapshot was taken."""

    epoch: int


TraceEvent = (RegisterRead | RegisterWrite | Descriptor | StatusWrite | Message | Translation | Fault | TracedRecord
              | Snapshot)


def read_trace(path: Path) -> list[TraceEvent]:
    """Every event of one file.

    Raises
    ------
    CaptureMalformed
        If the file is missing, cut short, or a line of it is none of the above.
    """
    events = []
    with rules_of(path.name), gzip.open(path, "rt", encoding="utf-8") as stream:
        for line, text in enumerate(stream, start=1):
            with rules_of(path.name, f"line {line}: "):
                events.append(_event(text))
    return events


def _event(text: str) -> TraceEvent:
    letter, *words = text.split()
    match letter, words:
        case "R" | "W", [offset, width, value]:
            return _access(letter, int(offset, 16), int(width), int(value, 16))
        case "I", [low, high]:
            return Descriptor(int(low, 16), int(high, 16))
        case "S", [hpa, data]:
            return StatusWrite(int(hpa, 16), int(data, 16))
        case "M", [hpa, data]:
            return Message(int(hpa, 16), int(data, 16))
        case "T", [source_id, iova, hpa, mask]:
            return Translation(int(source_id, 16), int(iova, 16), int(hpa, 16), int(mask, 16) + 1)
        case "F", [source_id, reason, iova, "0" | "1" as write]:
            return Fault(int(source_id, 16), int(reason), int(iova, 16), write == "1")
        case "N", [low, high]:
            return TracedRecord(int(low, 16), int(high, 16))
        case "E", [epoch]:
            return Snapshot(int(epoch))
    raise ValueError(f"must be one of R, W, I, S, M, T, F, N, E with its numbers, not {text.rstrip()!r}")


def _access(letter: str, offset: int, width: int, value: int) -> RegisterRead | RegisterWrite:
    if width not in (4, 8) or offset % width or not 0 <= value < 1 << 8 * width:
        raise ValueError(f"an access must be of 4 or 8 aligned bytes and fit them, not {width} bytes at {offset:#x}, "
                         f"value {value:#x}")
    return RegisterRead(offset, width, value) if letter == "R" else RegisterWrite(offset, width, value)
