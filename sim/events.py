"""Recorded events as NumPy structured arrays, and as text.

A row has the fields of hw.spec.events.Event beside `cycle` and `port`; rows are in the order of (cycle, port). The 128
bits of `detail` are `detail_lo` and `detail_hi`: read them by name with `detail_of` (one row) or `detail_column` (many).
"""
import ctypes
import json
from collections.abc import Iterable
from enum import Enum
from pathlib import Path
from typing import Any

import numpy as np
from amaranth.lib import data

from hw.spec.bench import Phase
from hw.spec.codec import decode
from hw.spec.dma import Access
from hw.spec.events import (
    EVENT_DETAILS,
    Event,
    EventKind,
    FaultDisposition,
    MessageKind,
    PrefetchCause,
    QueueTrouble,
    RegisterAccess,
)
from hw.spec.faults import FaultReason
from hw.spec.invalidation import DESCRIPTOR_LAYOUTS, DescriptorHeader, DescriptorType, QueueError
from hw.spec.memory import CLIENT_TAG_BITS, MemoryClient, MemoryOperation

__all__ = ["EVENT_DTYPE", "EventRecorder", "Events", "decode_records", "descriptor_dict", "detail_column", "detail_of",
           "device_name", "event_dict", "format_event", "no_events", "of_kind", "write_json_lines"]

Events = np.ndarray[Any, np.dtype[np.void]]

_LAYOUT = data.Layout.cast(Event)
_HEADER_WORDS = 3  # cycle, twice 32 bits, and port
_RECORD_WORDS = _HEADER_WORDS + -(-_LAYOUT.size // 32)

EVENT_DTYPE = np.dtype([
    ("cycle", "<u8"), ("port", "<u2"), ("kind", "u1"), ("source_id", "<u2"), ("domain_id", "<u2"), ("tag", "<u2"),
    ("iova", "<u8"), ("hpa", "<u8"), ("detail_lo", "<u8"), ("detail_hi", "<u8"),
])

# Kinds whose detail is one number with names.
_DETAIL_NAMES: dict[EventKind, tuple[str, type[Enum]]] = {
    EventKind.REQUEST: ("access", Access),
    EventKind.MEMORY: ("operation", MemoryOperation),
    EventKind.FAULT: ("fault_reason", FaultReason),
    EventKind.PHASE: ("phase", Phase),
    EventKind.QUEUE_ERROR: ("cause", QueueError),
}
# Kinds whose tag is one number with names.
_TAG_NAMES: dict[EventKind, tuple[str, type[Enum]]] = {
    EventKind.FAULT: ("disposition", FaultDisposition),
    EventKind.MESSAGE: ("message", MessageKind),
    EventKind.QUEUE_ERROR: ("trouble", QueueTrouble),
    EventKind.PREFETCH: ("cause", PrefetchCause),
}
_DESCRIPTORS = {EventKind.DESCRIPTOR, EventKind.WAIT_ABANDONED}   # their detail is the first 16 bytes of a descriptor
# What the kinds say beside their detail, as hw.spec.events.EventKind lists it.
_SAID: dict[EventKind, tuple[str, ...]] = {
    EventKind.NONE: (),
    EventKind.REQUEST: ("source_id", "tag", "iova"),
    EventKind.REPLY: ("source_id", "domain_id", "tag", "iova", "hpa"),
    EventKind.RETIRE: ("detail",),
    EventKind.CONTEXT_FETCH: ("source_id", "tag"),
    EventKind.CONTEXT_RESULT: ("source_id", "tag", "domain_id", "hpa"),
    EventKind.CONTEXT_FILL: ("source_id", "domain_id", "hpa"),
    EventKind.WALK: ("source_id", "domain_id", "tag", "iova", "hpa"),
    EventKind.WALK_RESULT: ("source_id", "domain_id", "tag", "iova", "hpa"),
    EventKind.IOTLB_FILL: ("source_id", "domain_id", "iova", "hpa"),
    EventKind.MEMORY: ("hpa",),
    EventKind.UPDATE: ("hpa", "tag", "detail"),
    EventKind.INVALIDATION_BEGIN: ("domain_id", "source_id"),
    EventKind.INVALIDATION_END: ("domain_id", "source_id"),
    EventKind.FAULT: ("source_id", "iova"),
    EventKind.PHASE: (),
    EventKind.DONE: ("source_id", "domain_id", "tag", "iova", "hpa"),
    EventKind.CONTROL: ("hpa",),
    EventKind.DESCRIPTOR: ("hpa",),
    EventKind.MESSAGE: ("hpa", "detail"),
    EventKind.QUEUE_ERROR: ("source_id",),
    EventKind.REGISTER: ("hpa", "detail"),
    EventKind.WAIT_ABANDONED: (),
    EventKind.STRUCTURE_FILL: ("domain_id", "iova", "hpa"),
    EventKind.PREFETCH: ("domain_id", "iova", "hpa"),
}
_HEXADECIMAL = {"iova", "hpa", "detail", "table_pointer", "page", "signature", "status_data", "status_address"}


class EventRecorder:
    """The recorder in the simulator process (sim/event_recorder.cpp)."""

    def __init__(self, library: ctypes.CDLL | None = None) -> None:
        library = library or ctypes.CDLL(None)
        self._count = library.events_count
        self._count.restype, self._count.argtypes = ctypes.c_uint64, ()
        self._take = library.events_take
        self._take.restype, self._take.argtypes = None, (ctypes.c_void_p, ctypes.c_uint64)

    def take(self) -> Events:
        """What was recorded since the last time; the recorder forgets it."""
        count = int(self._count())
        words = np.empty((count, _RECORD_WORDS), dtype="<u4")
        self._take(words.ctypes.data, count)
        return decode_records(words)


def no_events() -> Events:
    """An empty array of events."""
    return np.empty(0, dtype=EVENT_DTYPE)


def decode_records(words: np.ndarray[Any, np.dtype[np.uint32]]) -> Events:
    """Raw records (one a row, of 32-bit words: cycle, cycle, port, payload) as events."""
    events = np.zeros(len(words), dtype=EVENT_DTYPE)
    events["cycle"] = words[:, 0].astype(np.uint64) | words[:, 1].astype(np.uint64) << np.uint64(32)
    events["port"] = words[:, 2]
    payload = words[:, _HEADER_WORDS:]
    for name, part in _LAYOUT:
        if name == "detail":
            events["detail_lo"] = _bits(payload, part.offset, 64)
            events["detail_hi"] = _bits(payload, part.offset + 64, part.width - 64)
        else:
            events[name] = _bits(payload, part.offset, part.width)
    return events


def of_kind(events: Events, *kinds: EventKind) -> Events:
    """Those of these kinds."""
    return events[np.isin(events["kind"], [kind.value for kind in kinds])]


def detail_of(event: Any) -> Any:
    """`detail` of one row: a layout constant whose fields read by name, a named value, or an integer."""
    kind = EventKind(int(event["kind"]))
    number = int(event["detail_hi"]) << 64 | int(event["detail_lo"])
    if kind in EVENT_DETAILS:
        layout = EVENT_DETAILS[kind]
        return decode(layout, number & ((1 << data.Layout.cast(layout).size) - 1))
    if kind in _DETAIL_NAMES:
        return _DETAIL_NAMES[kind][1](number)
    return number


def detail_column(events: Events, field: str) -> np.ndarray[Any, np.dtype[np.uint64]]:
    """One field of `detail` of many rows, which must be of kinds with the same detail layout.

    Raises
    ------
    ValueError
        If they are not, or the layout has no such field.
    """
    layouts = {EVENT_DETAILS.get(EventKind(int(kind))) for kind in np.unique(events["kind"])}
    if not layouts:
        return np.empty(0, dtype=np.uint64)
    layout = layouts.pop()
    if layouts or layout is None:
        raise ValueError(f"`events` must be of kinds with one detail layout, not of "
                         f"{', '.join(EventKind(int(kind)).name for kind in np.unique(events['kind']))}")
    parts = dict(data.Layout.cast(layout))
    if field not in parts:
        raise ValueError(f"{layout.__name__} has no field {field!r}; it has {', '.join(parts)}")
    words = np.stack([events["detail_lo"], events["detail_hi"]], axis=1).astype("<u8").view("<u4")
    return _bits(words, parts[field].offset, parts[field].width)


def device_name(source_id: int) -> str:
    """Bus, device and function of a source ID, as they are usually printed."""
    return f"{source_id >> 8:02x}:{source_id >> 3 & 0x1F:02x}.{source_id & 7}"


def event_dict(event: Any) -> dict[str, Any]:
    """What one row says, and no more, in words and integers; ready for JSON. Named parts of the detail are under "detail"."""
    kind = EventKind(int(event["kind"]))
    detail = int(event["detail_hi"]) << 64 | int(event["detail_lo"])
    said: dict[str, Any] = {"cycle": int(event["cycle"]), "kind": kind.name}
    for name in _SAID[kind]:
        said[name] = detail if name == "detail" else int(event[name])
    if "source_id" in said:
        said["device"] = device_name(said["source_id"])
    said |= _tag_in_words(kind, int(event["tag"]))
    if kind in _DESCRIPTORS:
        said["detail"] = descriptor_dict(detail)
    elif kind in _DETAIL_NAMES:
        name, words = _DETAIL_NAMES[kind]
        said["detail"] = {name: _word(words, detail)}
    elif kind in EVENT_DETAILS:
        said["detail"] = _fields(EVENT_DETAILS[kind], detail)
    return said


def descriptor_dict(low: int) -> dict[str, Any]:
    """What the first 16 bytes of a descriptor say, by name; the fields of a type that has no effect here are not named."""
    kind = DescriptorType(decode(DescriptorHeader, low & 0xFFF).type)
    layout = DESCRIPTOR_LAYOUTS.get(kind)
    if layout is None:
        return {"type": kind.name}
    return {name: value for name, value in _fields(layout, low).items() if not name.startswith("_") and name != "type_high"}


def format_event(event: Any) -> str:
    """One row as a line for people."""
    said = event_dict(event)
    cycle, kind = said.pop("cycle"), said.pop("kind")
    said.pop("source_id", None)  # the device's name says it
    detail = said.pop("detail", {})
    parts = [*said.items(), *(detail.items() if isinstance(detail, dict) else [("detail", detail)])]
    words = [f"{name}={value:#x}" if name in _HEXADECIMAL else f"{name}={value}" for name, value in parts]
    return f"{cycle:>10} {kind:<18} {' '.join(words)}".rstrip()


def write_json_lines(path: Path, events: Iterable[Any]) -> None:
    """One JSON object a line."""
    with path.open("w") as file:
        for event in events:
            file.write(json.dumps(event_dict(event)) + "\n")


def _tag_in_words(kind: EventKind, tag: int) -> dict[str, Any]:
    """What the tag says, where it is more than a number."""
    if kind in _TAG_NAMES:
        name, words = _TAG_NAMES[kind]
        return {name: _word(words, tag)}
    if kind is EventKind.MEMORY:
        return {"client": _word(MemoryClient, tag >> CLIENT_TAG_BITS), "tag": tag & (1 << CLIENT_TAG_BITS) - 1}
    if kind is EventKind.DESCRIPTOR:
        return {"wide": tag & 1}
    if kind is EventKind.REGISTER:
        access = _fields(RegisterAccess, tag)
        return {"access": "write" if access["write"] else "read", "bytes": 8 if access["wide"] else 4,
                **{name: access[name] for name in ("error", "violation") if access[name]}}
    return {}


def _fields(layout: Any, number: int) -> dict[str, Any]:
    """Fields of a layout, in words where they have any."""
    return {str(name): _word(part.shape, number >> part.offset & ((1 << part.width) - 1))
            for name, part in data.Layout.cast(layout)}


def _word(shape: Any, number: int) -> Any:
    """The name of a number whose shape has names; the number itself if there is none for it."""
    if isinstance(shape, type) and issubclass(shape, Enum):
        return next((member.name for member in shape if member.value == number), number)
    return number


def _bits(words: np.ndarray[Any, Any], offset: int, width: int) -> np.ndarray[Any, np.dtype[np.uint64]]:
    """`width` (at most 64) bits from bit `offset` of each row of 32-bit words."""
    result = np.zeros(len(words), dtype=np.uint64)
    for index in range(offset // 32, (offset + width - 1) // 32 + 1):
        word = words[:, index].astype(np.uint64)
        place = index * 32 - offset
        result |= word << np.uint64(place) if place >= 0 else word >> np.uint64(-place)
    return result & np.uint64((1 << width) - 1)
