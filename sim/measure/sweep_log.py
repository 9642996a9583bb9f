"""What the event log says of one placement of W8 and one phase of W9. Expected translations come from the caller, who made
the tables; nothing here asks the unit. Ours.

Completion is the cycle in which memory takes the status of the wait behind the invalidations. A DMA is over when its access
to memory is: at its RETIRE, in the order of the replies, or at its DONE.
"""
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from hw.spec.dma import Status
from hw.spec.events import EventKind, MessageKind, RegisterAccess, Verdict
from hw.spec.memory import CLIENT_TAG_BITS, MemoryClient, MemoryOperation
from hw.spec.tables import PAGE_BYTES
from sim.events import Events, detail_column, of_kind

__all__ = ["RaceOutcome", "SwapOutcome", "doorbells", "race_outcome", "swap_outcome"]

Cycles = npt.NDArray[np.uint64]
_PAGE_MASK = np.uint64(~(PAGE_BYTES - 1) & (1 << 64) - 1)


@dataclass(frozen=True)
class RaceOutcome:
    """One placement of W8.

    Members
    -------
    offset : int
        The doorbell's cycle, less that in which the unit accepted the first request.
    hang : bool
        A request has no reply, or the wait has no status.
    stale : int
        Accesses made with the old translation that were not over when the invalidation was complete.
    faults : int
        Blocked requests and faults raised.
    wrong : int
        Replies that are neither the old nor the new translation, or the new one before the change.
    probes : int
        Requests accepted after the invalidation was complete, and answered.
    joined : int
        Requests that waited for a walk or fetch when the doorbell rang: what the placement is about.
    """

    offset: int
    hang: bool
    stale: int
    faults: int
    wrong: int
    probes: int
    joined: int


@dataclass(frozen=True)
class SwapOutcome:
    """One phase of W9. Cycles count from the one in which memory took the compare-exchange.

    Members
    -------
    first_new, last_old, complete : int or None
        First reply by the new tables; end of the last DMA by the old ones; status of the wait. None: there was none.
    longest_gap : int
        Between the ends of two DMAs of the swapped device one after the other, from the exchange on.
    old_after : int
        DMAs by the old tables that were not over, or not yet answered, when the invalidation was complete.
    faults, wrong : int
        Blocked DMAs and faults raised; DMAs elsewhere than old or new, or new before the exchange.
    before, beside : int
        DMAs of the other devices in as many cycles before the exchange as from it on.
    """

    first_new: int | None
    last_old: int | None
    complete: int | None
    longest_gap: int
    old_after: int
    faults: int
    wrong: int
    before: int
    beside: int

    @property
    def hang(self) -> bool:
        """The wait has no status, or no DMA has gone by the new tables."""
        return self.complete is None or self.first_new is None


def doorbells(events: Events, place: int) -> Cycles:
    """Cycles in which the host wrote the register at that offset of the unit's window."""
    accesses = of_kind(events, EventKind.REGISTER)
    write = RegisterAccess.const({"write": 1}).as_bits()
    written: Cycles = accesses["cycle"][(accesses["hpa"] == place) & (accesses["tag"] & write != 0)]
    return written


def race_outcome(events: Events, *, iova: int, old: tuple[int, int], new: tuple[int, int], changed: int,
                 doorbell: int) -> RaceOutcome:
    """Judge one placement.

    Parameters
    ----------
    events : Events
        Of the placement, with nothing in flight at their beginning. Replies are retired in their order, or there is a DONE
        for each.
    iova : int
        The page that is looked at.
    old, new : (int, int)
        Its domain ID and HPA before and after the change.
    changed : int
        Cycle of the change in memory.
    doorbell : int
        Cycle of the doorbell.
    """
    requests, replies, retires = (of_kind(events, kind) for kind in (EventKind.REQUEST, EventKind.REPLY, EventKind.RETIRE))
    requests = requests[requests["iova"] & _PAGE_MASK == iova]
    over = _ends(replies, retires, of_kind(events, EventKind.DONE))
    of_page = replies["iova"] & _PAGE_MASK == iova
    over, replies = over[of_page], replies[of_page]
    good = detail_column(replies, "status") == Status.OK.value
    is_old, is_new = (good & (replies["domain_id"] == domain_id) & (replies["hpa"] & _PAGE_MASK == hpa)
                      for domain_id, hpa in (old, new))
    fence = _status(events, doorbell)
    walks = of_kind(events, EventKind.WALK, EventKind.CONTEXT_FETCH)["cycle"]
    results = of_kind(events, EventKind.WALK_RESULT, EventKind.CONTEXT_RESULT)["cycle"]
    return RaceOutcome(
        offset=doorbell - int(requests["cycle"][0]) if len(requests) else 0,
        hang=fence is None or len(requests) != len(replies),
        stale=0 if fence is None else int(np.sum(is_old & (over > fence))),
        faults=len(of_kind(events, EventKind.FAULT)) + int(np.sum(~good)),
        wrong=int(np.sum(good & ~is_old & ~is_new)) + int(np.sum(is_new & (replies["cycle"] < changed))),
        probes=0 if fence is None else int(np.sum(requests["cycle"] > fence)),
        joined=int(np.sum(walks <= doorbell)) - int(np.sum(results <= doorbell)))


def swap_outcome(events: Events, *, source_id: int, old: Verdict, new: Verdict, old_domain_id: int,
                 pages: Mapping[int, tuple[int, int]]) -> SwapOutcome:
    """Judge one phase, in whose events is one compare-exchange and, after it, one status.

    Parameters
    ----------
    events : Events
        From well before the exchange on; what follows it is as long as what is compared with it.
    source_id : int
        The swapped device.
    old, new : Verdict
        What the traffic engine says of a DMA that went by the tables before and after the exchange.
    old_domain_id : int
        Of the domain that is left.
    pages : {domain ID: (IOVA, HPA)}
        Where the two domains begin to map: one address after the other.
    """
    done, replies = of_kind(events, EventKind.DONE), of_kind(events, EventKind.REPLY)
    swapped = _exchange(events)
    window = int(events["cycle"][-1]) - swapped
    complete = _status(events, swapped)
    others = done[done["source_id"] != source_id]
    bad_others = int(np.sum(detail_column(others, "verdict") != Verdict.OLD.value))
    done, replies = done[done["source_id"] == source_id], replies[replies["source_id"] == source_id]
    verdicts, ends = detail_column(done, "verdict"), done["cycle"]
    good = detail_column(replies, "status") == Status.OK.value
    lands = np.zeros(len(replies), dtype=bool)
    for domain_id, (iova, hpa) in pages.items():
        lands |= (replies["domain_id"] == domain_id) & (replies["hpa"] - np.uint64(hpa) == replies["iova"] - np.uint64(iova))
    by_old = good & (replies["domain_id"] == old_domain_id)
    by_new = good & ~by_old
    old_ends, from_then_on = ends[verdicts == old.value], ends[max(0, int(np.searchsorted(ends, swapped)) - 1):]
    first_new = replies["cycle"][by_new]
    gaps = np.diff(np.append(from_then_on, events["cycle"][-1]))
    return SwapOutcome(
        first_new=int(first_new[0]) - swapped if len(first_new) else None,
        last_old=int(old_ends[-1]) - swapped if len(old_ends) else None,
        complete=None if complete is None else complete - swapped,
        longest_gap=int(gaps.max()) if len(gaps) else window,
        old_after=0 if complete is None else int(np.sum(old_ends > complete)) + int(np.sum(replies["cycle"][by_old] > complete)),
        faults=len(of_kind(events, EventKind.FAULT)) + int(np.sum(~good)) + int(np.sum(verdicts == Verdict.BLOCKED.value)),
        wrong=bad_others + int(np.sum(good & ~lands)) + int(np.sum(first_new < swapped))
        + int(np.sum(~np.isin(verdicts, (old.value, new.value, Verdict.BLOCKED.value)))),
        before=int(np.sum((others["cycle"] < swapped) & (others["cycle"] >= swapped - window))),
        beside=int(np.sum((others["cycle"] >= swapped) & (others["cycle"] < swapped + window))))


def _ends(replies: Events, retires: Events, done: Events) -> Cycles:
    """When the access behind each reply was over: at the DONE of its tag, if somebody says DONE; else at its RETIRE."""
    over = np.full(len(replies), np.iinfo(np.uint64).max, dtype=np.uint64)
    if not len(done):
        over[:min(len(retires), len(replies))] = retires["cycle"][:len(replies)]
        return over
    for number, reply in enumerate(replies):
        own = done["cycle"][(done["tag"] == reply["tag"]) & (done["cycle"] >= reply["cycle"])]
        if len(own):
            over[number] = own[0]
    return over


def _status(events: Events, since: int) -> int | None:
    """When the first status after that cycle was in memory."""
    messages = of_kind(events, EventKind.MESSAGE)
    found = messages["cycle"][(messages["tag"] == MessageKind.STATUS.value) & (messages["cycle"] >= since)]
    return int(found[0]) if len(found) else None


def _exchange(events: Events) -> int:
    """When memory took the one compare-exchange that is there."""
    accesses = of_kind(events, EventKind.MEMORY)
    found = accesses["cycle"][(accesses["tag"] >> CLIENT_TAG_BITS == MemoryClient.UPDATE_PORT.value)
                              & (accesses["detail_lo"] & 3 == MemoryOperation.COMPARE_EXCHANGE.value)]
    if len(found) != 1:
        raise AssertionError(f"there are {len(found)} compare-exchanges in the log, not one")
    return int(found[0])
