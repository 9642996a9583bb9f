"""What the event log proves about each store into a live context entry, and about blocked DMA. Facts, no opinions."""
from typing import Any

from hw.spec.dma import Status
from hw.spec.events import EventKind
from hw.spec.invalidation import InvalidationKind
from hw.spec.memory import CLIENT_TAG_BITS, MemoryClient, MemoryOperation
from hw.spec.tables import ENTRY_BYTES
from sim.events import Events, detail_column, detail_of, of_kind
from sim.stories.experiment import DevicePlan, Experiment

__all__ = ["blocked_windows", "stores_into_entries"]


def stores_into_entries(log: Events, experiment: Experiment) -> list[dict[str, Any]]:
    """Each store that the update port made into the entry of a preserved device, in order.

    `commit_cycle`: memory took it. `walks_in_flight`, `hits_in_flight`: of that device, in that cycle: requests that
    wait for a walk, be it their own or one that they have joined; requests answered from the IOTLB whose memory access was not
    yet done. `invalidated_cycle`: when the first IOTLB invalidation of the device's old domain that began after it had
    completed.
    """
    memory = of_kind(log, EventKind.MEMORY)
    memory = memory[memory["tag"] >> CLIENT_TAG_BITS == MemoryClient.UPDATE_PORT]
    begins = [event for event in of_kind(log, EventKind.INVALIDATION_BEGIN)
              if detail_of(event).kind is InvalidationKind.IOTLB]
    ends = of_kind(log, EventKind.INVALIDATION_END)["cycle"]
    by_entry = {device.entry_hpa: device for device in experiment.preserved}
    result = []
    for update in of_kind(log, EventKind.UPDATE):
        hpa = int(update["hpa"])
        device = by_entry.get(hpa - hpa % ENTRY_BYTES)
        if device is None or not int(update["tag"]) & 1:
            continue
        taken = memory[(memory["hpa"] == hpa) & (memory["cycle"] <= update["cycle"])]
        commit = int(taken["cycle"][-1]) if len(taken) else int(update["cycle"])
        after = next((event["cycle"] for event in begins
                      if int(event["domain_id"]) == device.old_domain_id and int(event["cycle"]) > commit), None)
        completed = ends[ends > after] if after is not None else ends[:0]
        result.append({
            "source_id": device.source_id, "hpa": hpa, "commit_cycle": commit,
            "exchange": bool(len(taken) and taken["detail_lo"][-1] == MemoryOperation.COMPARE_EXCHANGE.value),
            "present": bool(int(update["detail_lo"]) & 1) if hpa == device.entry_hpa else None,
            "walks_in_flight": _spans_over(log, device, EventKind.WALK, EventKind.WALK_RESULT, commit),
            "hits_in_flight": _spans_over(log, device, EventKind.REPLY, EventKind.DONE, commit, hits=True),
            "invalidated_cycle": int(completed[0]) if len(completed) else None})
    return result


def _spans_over(log: Events, device: DevicePlan, begin: EventKind, end: EventKind, cycle: int, *,
                hits: bool = False) -> int:
    """How many spans from `begin` to `end`, matched by tag, of one device lie over a cycle (both ends outside)."""
    own = log[(log["source_id"] == device.source_id) & (log["cycle"] < cycle)]
    begun = of_kind(own, begin)
    if hits:
        begun = begun[detail_column(begun, "hit") == 1] if len(begun) else begun
    ended = of_kind(own, end)
    last_end = {int(event["tag"]): int(event["cycle"]) for event in ended}
    still_done = of_kind(log[(log["source_id"] == device.source_id) & (log["cycle"] == cycle)], end)
    ending_now = {int(event["tag"]) for event in still_done}
    last_begin = {int(event["tag"]): int(event["cycle"]) for event in begun}
    return sum(begin_cycle > last_end.get(tag, -1) and tag not in ending_now for tag, begin_cycle in last_begin.items())


def blocked_windows(log: Events, experiment: Experiment) -> list[dict[str, Any]]:
    """For each preserved device of which DMA was blocked: when, and what bounds the window (VT-d 6.5.3.3).

    `first_blocked`, `last_blocked`: cycles of the replies. `break_cycle`: memory took the store that cleared the
    present bit. `first_read`: the first read of the entry after it. `forgotten_cycle`: the context-cache invalidation
    after it began to hide the entry. `make_cycle`: memory took the store that set it again. `fetched_cycle`: the end of
    the first context fetch that then found it.
    """
    replies = of_kind(log, EventKind.REPLY)
    blocked = replies[detail_column(replies, "status") == Status.BLOCKED.value] if len(replies) else replies
    begins = [event for event in of_kind(log, EventKind.INVALIDATION_BEGIN)
              if detail_of(event).kind is InvalidationKind.CONTEXT_CACHE]
    results = of_kind(log, EventKind.CONTEXT_RESULT)
    reads = of_kind(log, EventKind.MEMORY)
    reads = reads[reads["detail_lo"] == MemoryOperation.READ.value]
    stores = stores_into_entries(log, experiment)
    windows = []
    for device in experiment.preserved:
        own = blocked[blocked["source_id"] == device.source_id]
        mine = [store for store in stores if store["source_id"] == device.source_id]
        broken = next((store["commit_cycle"] for store in mine if store["present"] is False), None)
        if not len(own) or broken is None:
            continue
        made = next((store["commit_cycle"] for store in mine
                     if store["present"] and store["commit_cycle"] > broken), None)
        forgotten = next((int(event["cycle"]) for event in begins
                          if int(event["cycle"]) > broken and int(event["source_id"]) == device.source_id), None)
        fetched = None
        if made is not None:
            good = results[(results["source_id"] == device.source_id) & (results["cycle"] > made)]
            good = good[detail_column(good, "fault_reason") == 0] if len(good) else good
            fetched = int(good["cycle"][0]) if len(good) else None
        seen = reads[(reads["hpa"] == device.entry_hpa) & (reads["cycle"] > broken)]
        first, last = int(own["cycle"][0]), int(own["cycle"][-1])
        windows.append({"source_id": device.source_id, "blocked": len(own), "first_blocked": first, "last_blocked": last,
                        "blocked_window_cycles": last - first + 1, "break_cycle": broken,
                        "first_read": int(seen["cycle"][0]) if len(seen) else None, "forgotten_cycle": forgotten,
                        "make_cycle": made, "fetched_cycle": fetched})
    return windows


