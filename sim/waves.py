"""Waveforms for people: a window of the event log as a VCD with words in it, and the view of it for GTKWave.

The time axis is the cycle counter: one nanosecond is one cycle. States are string variables; their words are those of
hw.spec. Every signal of the design, by contrast, is what `sim.runner.run(waves=True)` records.

    machine   phase, translation, root_table, invalidation, invalidations_in_progress, descriptor, waits_in_progress,
              wait_status, message, queue_error, update, structure_fill, prefetch, blocked_count, fault_count
    device_*  last_reply, verdict, requests_in_flight, walks_in_flight, context_fetches_in_flight, context_fill,
              blocked_count, fault

`walks_in_flight` are the requests of the device that wait for a walk, whether it is their own or one that they have joined;
what is prefetched has nobody waiting and does not count. A line that fills a paging-structure cache shows its last entry.
"""
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from vcd.gtkw import GTKWSave
from vcd.writer import VCDWriter

from hw.spec.bench import Phase
from hw.spec.dma import Status
from hw.spec.events import EventKind, MessageKind, PrefetchCause, QueueTrouble
from hw.spec.invalidation import DescriptorType, QueueError, TranslationTableMode
from hw.spec.memory import CLIENT_TAG_BITS, MemoryClient
from sim.events import Events, descriptor_dict, detail_of, device_name

__all__ = ["MAX_WINDOW_CYCLES", "write_waves"]

MAX_WINDOW_CYCLES = 100_000

_MACHINE = "machine"
_MACHINE_KINDS = (EventKind.PHASE, EventKind.CONTROL, EventKind.INVALIDATION_BEGIN, EventKind.INVALIDATION_END,
                  EventKind.MEMORY, EventKind.UPDATE, EventKind.REPLY, EventKind.FAULT, EventKind.DESCRIPTOR,
                  EventKind.MESSAGE, EventKind.QUEUE_ERROR, EventKind.WAIT_ABANDONED, EventKind.STRUCTURE_FILL,
                  EventKind.PREFETCH)
_DEVICE_KINDS = (EventKind.REQUEST, EventKind.REPLY, EventKind.CONTEXT_FETCH, EventKind.CONTEXT_RESULT,
                 EventKind.CONTEXT_FILL, EventKind.WALK, EventKind.WALK_RESULT, EventKind.FAULT, EventKind.DONE)
_NOTHING = "-"

_Name = tuple[str, str]                # scope and signal
_Change = tuple[_Name, str | int]      # an integer is a difference for a count, a value otherwise
_COUNTS = {"invalidations_in_progress", "waits_in_progress", "requests_in_flight", "walks_in_flight", "context_fetches_in_flight",
           "blocked_count", "fault_count"}
_MACHINE_SIGNALS: dict[str, str | int] = {
    "phase": Phase.STEADY.name, "translation": "off", "root_table": 0, "invalidation": _NOTHING,
    "invalidations_in_progress": 0, "descriptor": _NOTHING, "waits_in_progress": 0, "wait_status": _NOTHING,
    "message": _NOTHING, "queue_error": _NOTHING, "update": _NOTHING, "structure_fill": _NOTHING, "prefetch": _NOTHING,
    "blocked_count": 0, "fault_count": 0,
}
_DEVICE_SIGNALS: dict[str, str | int] = {
    "last_reply": _NOTHING, "verdict": _NOTHING, "requests_in_flight": 0, "walks_in_flight": 0,
    "context_fetches_in_flight": 0, "context_fill": _NOTHING, "blocked_count": 0, "fault": _NOTHING,
}
_IN_FLIGHT = {
    EventKind.REQUEST: ("requests_in_flight", 1), EventKind.REPLY: ("requests_in_flight", -1),
    EventKind.WALK: ("walks_in_flight", 1), EventKind.WALK_RESULT: ("walks_in_flight", -1),
    EventKind.CONTEXT_FETCH: ("context_fetches_in_flight", 1), EventKind.CONTEXT_RESULT: ("context_fetches_in_flight", -1),
}


def write_waves(path: Path, events: Events, *, first: int, last: int, source_ids: Sequence[int]) -> Path:
    """Write cycles `first` to `last` of a log as `path` (.vcd), and its view beside it (.gtkw); returns the view.

    Parameters
    ----------
    path : Path
        Of the waveform.
    events : array of events
        The log from the reset on, so that the window begins in the right state.
    first, last : int
        Cycles; at most MAX_WINDOW_CYCLES of them.
    source_ids : sequence of int
        Devices to show.

    Raises
    ------
    ValueError
        If the window is empty or too long.
    """
    if not 0 <= first <= last < first + MAX_WINDOW_CYCLES:
        raise ValueError(f"the window must have 1 to {MAX_WINDOW_CYCLES} cycles, not {first} to {last}")
    state: dict[_Name, str | int] = {(_MACHINE, name): value for name, value in _MACHINE_SIGNALS.items()}
    for source_id in source_ids:
        state |= {(_scope(source_id), name): value for name, value in _DEVICE_SIGNALS.items()}
    relevant = np.isin(events["kind"], [kind.value for kind in _MACHINE_KINDS])
    relevant |= (np.isin(events["kind"], [kind.value for kind in _DEVICE_KINDS])
                 & np.isin(events["source_id"], list(source_ids)))
    window = events[relevant & (events["cycle"] <= last)]
    before = int(np.searchsorted(window["cycle"], first))
    for event in window[:before]:
        _apply(event, state)
    with path.open("w") as file, VCDWriter(file, timescale="1 ns", date="", init_timestamp=first,
                                           comment="one nanosecond is one cycle") as writer:
        variables = {}
        for (scope, name), value in state.items():
            kind = "string" if isinstance(value, str) else "integer" if name in _COUNTS else "wire"
            variables[scope, name] = writer.register_var(scope, name, kind, size=64 if kind == "wire" else None, init=value)
        for event in window[before:]:
            for signal in _apply(event, state):
                writer.change(variables[signal], int(event["cycle"]), state[signal])
        writer.close(last)
    return _write_view(path, state, first)


def _apply(event: Any, state: dict[_Name, str | int]) -> list[_Name]:
    """Let an event change the state; the names of what it changed, as far as they are shown."""
    changed = []
    for name, value in _changes(event, int(state[_MACHINE, "invalidations_in_progress"])):
        if name in state:
            old = state[name]
            state[name] = max(0, int(old) + int(value)) if name[1] in _COUNTS else value  # a log may begin in the middle
            changed.append(name)
    return changed


def _changes(event: Any, invalidations: int) -> Iterator[_Change]:
    """What an event says of each signal."""
    kind, device, detail = EventKind(int(event["kind"])), _scope(int(event["source_id"])), detail_of(event)
    if kind in _IN_FLIGHT:
        name, step = _IN_FLIGHT[kind]
        yield (device, name), step
    match kind:
        case EventKind.PHASE:
            yield (_MACHINE, "phase"), detail.name
        case EventKind.CONTROL:
            mode = detail.translation_table_mode
            on = "ROOT_INVALID" if detail.root_invalid else "on"
            if mode != TranslationTableMode.LEGACY.value:
                on = TranslationTableMode(mode).name
            yield (_MACHINE, "translation"), on if detail.translation_enabled else "off"
            yield (_MACHINE, "root_table"), int(event["hpa"])
        case EventKind.INVALIDATION_BEGIN:
            yield (_MACHINE, "invalidation"), f"{detail.kind.name},{detail.granularity.name},did={int(event['domain_id'])}"
            yield (_MACHINE, "invalidations_in_progress"), 1
        case EventKind.INVALIDATION_END:
            yield (_MACHINE, "invalidations_in_progress"), -invalidations
            yield (_MACHINE, "invalidation"), _NOTHING
        case EventKind.DESCRIPTOR:
            descriptor = _descriptor(_number(event))
            yield (_MACHINE, "descriptor"), descriptor
            if descriptor.startswith(DescriptorType.WAIT.name):
                yield (_MACHINE, "waits_in_progress"), int(_tells(event))
        case EventKind.MESSAGE:
            stored = f"data={int(event['detail_lo']):#x},hpa={int(event['hpa']):#x}"
            if event["tag"] == MessageKind.STATUS:
                yield (_MACHINE, "wait_status"), stored
                yield (_MACHINE, "waits_in_progress"), -1
            else:
                yield (_MACHINE, "message"), f"{MessageKind(int(event['tag'])).name},{stored}"
        case EventKind.QUEUE_ERROR:
            trouble = QueueTrouble(int(event["tag"]))
            why = QueueError(detail).name if trouble is QueueTrouble.QUEUE_ERROR else device_name(int(event["source_id"]))
            yield (_MACHINE, "queue_error"), f"{trouble.name},{why}"
        case EventKind.WAIT_ABANDONED:
            yield (_MACHINE, "wait_status"), "abandoned"
            yield (_MACHINE, "waits_in_progress"), -int(_tells(event))
        case EventKind.MEMORY:
            if event["tag"] >> CLIENT_TAG_BITS == MemoryClient.UPDATE_PORT:
                # The store takes place here; what came of it is known one latency later.
                yield (_MACHINE, "update"), f"{detail.name},hpa={int(event['hpa']):#x}"
        case EventKind.UPDATE:
            outcome = "stored" if event["tag"] else "not_stored"
            yield (_MACHINE, "update"), f"{outcome},hpa={int(event['hpa']):#x}"
        case EventKind.REPLY:
            blocked = detail.status == Status.BLOCKED
            how = detail.fault_reason.name if blocked else "hit" if detail.hit else "walked"
            yield (device, "last_reply"), f"{detail.status.name},{how},did={int(event['domain_id'])}"
            if blocked:
                yield (device, "blocked_count"), 1
                yield (_MACHINE, "blocked_count"), 1
        case EventKind.STRUCTURE_FILL:
            yield (_MACHINE, "structure_fill"), (f"level={detail.level},did={int(event['domain_id'])},"
                                                 f"iova={int(event['iova']):#x},table={int(event['hpa']):#x}")
        case EventKind.PREFETCH:
            cause = PrefetchCause(int(event["tag"]) & 1).name
            yield (_MACHINE, "prefetch"), f"{cause},did={int(event['domain_id'])},iova={int(event['iova']):#x}"
        case EventKind.CONTEXT_FILL:
            yield (device, "context_fill"), f"did={int(event['domain_id'])},table={int(event['hpa']):#x}"
        case EventKind.FAULT:
            yield (device, "fault"), detail.name
            yield (_MACHINE, "fault_count"), 1
        case EventKind.DONE:
            yield (device, "verdict"), detail.verdict.name


def _number(event: Any) -> int:
    return int(event["detail_hi"]) << 64 | int(event["detail_lo"])


def _tells(event: Any) -> bool:
    """True if a wait stores status data: only then its completion is seen."""
    return bool(descriptor_dict(_number(event)).get("status_write"))


def _descriptor(low: int) -> str:
    """A descriptor in words: its type, and what it asks for."""
    said = descriptor_dict(low)
    names = {"granularity": "", "domain_id": "did=", "source_id": "sid=", "status_data": "data="}
    parts = [f"{prefix}{said[name]}" for name, prefix in names.items() if name in said]
    return ",".join([said["type"], *parts])


def _write_view(path: Path, state: dict[_Name, str | int], first: int) -> Path:
    """The GTKWave save file: the phase on top, then the machine, then each device in a group."""
    view = path.with_suffix(".gtkw")
    with view.open("w") as file:
        save = GTKWSave(file)
        save.dumpfile(path.name, abspath=False)
        save.timestart(first)
        save.signals_width(280)
        for scope in dict.fromkeys(scope for scope, _ in state):
            with save.group(scope):
                for name in (name for owner, name in state if owner == scope):
                    value = state[scope, name]
                    save.trace(f"{scope}.{name}", alias=name,
                               datafmt="ascii" if isinstance(value, str) else "dec" if name in _COUNTS else "hex")
    return view


def _scope(source_id: int) -> str:
    return "device_" + device_name(source_id).replace(":", "_").replace(".", "_")
