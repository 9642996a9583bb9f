"""The DMA of an event log: is each answer in its set, what is recorded of it, and is its access over when it must be? Ours."""
import heapq
from collections import Counter
from collections.abc import Callable, Sequence
from typing import NamedTuple

from hw.spec.dma import Access, Status
from hw.spec.events import FaultDisposition, ReplyDetail
from hw.spec.faults import FaultReason
from hw.spec.tables import PageSize
from sim.model.fields import field
from sim.model.followed_registers import FollowedRegisters
from sim.model.logged_event import LoggedEvent
from sim.model.permitted import Answer, Permitted
from sim.model.translate import Request

__all__ = ["FollowedDma"]

_STATUS, _SIZE, _REASON, _COLOUR = (field(ReplyDetail, name) for name in ("status", "page_size", "fault_reason", "colour"))
_STATUSES, _SIZES, _ACCESSES = tuple(Status), tuple(PageSize), tuple(Access)
_REASONS = {reason.value: reason for reason in FaultReason}
_SETTLE_CYCLES = 2     # in which a request that was accepted may not be looked up yet


class _Dma(NamedTuple):
    """A request under way."""

    request: Request
    accepted: int
    number: int


class FollowedDma:
    """Follows REQUEST, REPLY, FAULT and RETIRE events.

    A retire names the colour of a reply, and no more: it is taken for that of the oldest request of the colour, so that
    whatever is left then is left for certain.

    Parameters
    ----------
    registers, permitted
        Where faults are recorded; which answers are permitted.
    requests : sequence of Request
        The n-th REQUEST event is the n-th of them.
    complain
        Called with a sentence for each thing that may not be.

    Members
    -------
    replies : int
        Replies compared.
    reasons, sizes : Counter
        Fault reasons and page sizes of replies.
    """

    def __init__(self, registers: FollowedRegisters, permitted: Permitted, requests: Sequence[Request], *,
                 complain: Callable[[str], None]) -> None:
        self._registers = registers
        self._permitted = permitted
        self._requests = requests
        self._complain = complain
        self._accepted = 0
        self._outstanding: dict[int, _Dma] = {}
        self._accessing: tuple[list[tuple[int, int, _Dma]], ...] = ([], [])   # by colour: answered, not retired; heaps by age
        self._blocked: tuple[_Dma, FaultReason, Answer] | None = None   # whose FAULT must come in this cycle
        self.replies = 0
        self.reasons: Counter[FaultReason] = Counter()
        self.sizes: Counter[PageSize] = Counter()

    def request(self, event: LoggedEvent) -> None:
        """A REQUEST event."""
        number, self._accepted = self._accepted, self._accepted + 1
        request = self._requests[number] if number < len(self._requests) else Request(
            event.source_id, event.iova, _ACCESSES[event.detail & 3])
        if (request.source_id, request.iova, request.access.value) != (event.source_id, event.iova, event.detail & 3):
            self._complain(f"request {number} is not the one that was made")
        if event.tag in self._outstanding:
            self._complain(f"{_words(self._outstanding[event.tag])} is not answered, and its tag is used again")
        self._outstanding[event.tag] = _Dma(request, event.cycle, number)

    def reply(self, event: LoggedEvent) -> None:
        """A REPLY event."""
        dma = self._outstanding.pop(event.tag, None)
        if dma is None or (dma.request.source_id, dma.request.iova) != (event.source_id, event.iova):
            self._complain(f"a reply with tag {event.tag} to {event.source_id:#06x} for {event.iova:#x}: nobody waits for it")
            return
        self.replies += 1
        detail = event.detail
        heapq.heappush(self._accessing[_COLOUR.get(detail)], (dma.accepted, dma.number, dma))
        status, size, reason = _STATUSES[_STATUS.get(detail)], _SIZES[_SIZE.get(detail)], _REASON.get(detail)
        now = self._permitted.now(dma.request)
        if status is Status.BLOCKED:
            named = _REASONS.get(reason)
            if named is None or named is FaultReason.NONE:
                self._complain(f"{_words(dma)} was blocked with reason {reason:#x}")
            else:
                self.reasons[named] += 1
                self._blocked = dma, named, now
            return
        self.sizes[size] += 1
        domain_id = 0 if size is PageSize.UNTRANSLATED else event.domain_id
        hpa = event.hpa
        if now.status is status and now.hpa == hpa and now.page_size is size and now.domain_id == domain_id:
            return
        answers = self._permitted.answers(dma.request, dma.accepted, event.cycle)
        if not any((each.status, each.hpa, each.page_size, each.domain_id) == (status, hpa, size, domain_id)
                   for each in answers):
            self._complain(f"{_words(dma)} was answered {status.name} {hpa:#x}, {size.name}, domain {domain_id:#x}; "
                           f"permitted: {_list(answers)}")

    def retire(self, event: LoggedEvent) -> None:
        """A RETIRE event: the memory access of one reply is over."""
        waiting = self._accessing[event.detail & 1]
        if waiting:
            heapq.heappop(waiting)
        else:
            self._complain(f"colour {event.detail & 1} was handed back, and no reply has it")

    def fault(self, event: LoggedEvent) -> None:
        """A FAULT event, which follows its reply in the same cycle."""
        if self._blocked is None:
            self._complain(f"a fault of {event.source_id:#06x} at {event.iova:#x}, and no request was blocked")
            return
        (dma, reason, now), self._blocked = self._blocked, None
        if (dma.request.source_id, dma.request.iova, reason) != (event.source_id, event.iova, event.detail & 0xFF):
            self._complain(f"{_words(dma)} was blocked with {reason.name}; the fault raised is another")
        answers = {now}
        if now.fault_reason is not reason or self._disposition(now.hidden, reason) != event.tag:
            answers = self._permitted.answers(dma.request, dma.accepted, event.cycle)
            hidden = {each.hidden for each in answers if each.fault_reason is reason}
            if not hidden:
                self._complain(f"{_words(dma)} was blocked with {reason.name}; permitted: {_list(answers)}")
            elif event.tag not in {self._disposition(each, reason) for each in hidden}:
                self._complain(f"fault {reason.name} of {_words(dma)} was {FaultDisposition(event.tag).name}; must be "
                               + " or ".join(sorted(self._disposition(each, reason).name for each in hidden)))
        self._registers.record(event.cycle, dma.request, reason, event.tag)

    def _disposition(self, hidden: bool, reason: FaultReason) -> FaultDisposition:
        if reason is FaultReason.DMA_ABORTED:
            return FaultDisposition.SUPPRESSED
        if self._registers.file.get("FSTS", "PFO"):
            return FaultDisposition.OVERFLOWED
        if hidden:
            return FaultDisposition.SUPPRESSED
        return FaultDisposition.OVERFLOWED if self._registers.next_is_taken else FaultDisposition.RECORDED

    def end_of_cycle(self) -> None:
        """Every fault of the cycle has been raised."""
        if self._blocked is not None:
            self._complain(f"{_words(self._blocked[0])} was blocked with {self._blocked[1].name}, and no fault raised")
            self._blocked = None

    def completed(self, begun: int, what: object, *, drain_begun: int | None) -> None:
        """An invalidation that began in cycle `begun` is complete: what was looked up before it has been answered.

        What was looked up before the last one with a drain, if there was one, has also been retired.
        """
        for dma in self._outstanding.values():
            if dma.accepted < begun - _SETTLE_CYCLES:
                self._complain(f"{what} is complete, and {_words(dma)} is not answered")
        for waiting in self._accessing:
            if drain_begun is not None and waiting and waiting[0][0] < drain_begun - _SETTLE_CYCLES:
                self._complain(f"{what} is complete and was to drain, and {_words(waiting[0][2])} is not retired")

    def finish(self) -> None:
        """The log has ended."""
        for dma in self._outstanding.values():
            self._complain(f"{_words(dma)} was never answered")


def _words(dma: _Dma) -> str:
    request = dma.request
    return (f"request {dma.number} ({request.access.name} of {request.iova:#x} by {request.source_id:#06x}, "
            f"accepted in cycle {dma.accepted})")


def _list(answers: set[Answer]) -> str:
    texts = [each.fault_reason.name + (" hidden" if each.hidden else "") if each.status is Status.BLOCKED
             else f"{each.status.name} {each.hpa:#x} {each.page_size.name} domain {each.domain_id:#x}" for each in answers]
    return "; ".join(sorted(texts)) or "nothing"
