"""Descriptors that have been fetched, and their execution as an event log tells of it. Ours.

A descriptor's turn has come when all before it have been executed. What leaves no event (device-TLB, types without an
effect, a wait that stores nothing) has been executed once something behind it is.

Source: VT-d 4.1, 6.5.2.11 (order of execution), 6.5.2.12 (time-outs).
"""
from collections import Counter, deque
from collections.abc import Callable
from dataclasses import dataclass

from hw.spec.invalidation import DescriptorType
from hw.spec.monitor import DeviceTlbAnswer
from sim.model.caches import InvalidationView
from sim.model.followed_registers import FollowedRegisters
from sim.model.queue import Wait

__all__ = ["Fetched", "FetchedDescriptors"]


@dataclass
class Fetched:
    """A descriptor that has been fetched.

    Members
    -------
    ended
        Of a wait: an INVALIDATION_END came in its turn.
    stored
        Of a wait: its status is in memory, or it has none.
    answered
        Of a device-TLB invalidation: the device's error or time-out has been reported.
    doubtful
        Of a wait: whether it completed before or after software cleared ICS.IWC is not known.
    """

    low: int
    kind: DescriptorType
    invalidation: InvalidationView | None
    wait: Wait | None
    ended: bool = False
    stored: bool = False
    answered: bool = False
    abandoned: bool = False
    doubtful: bool = False
    answers: tuple[DeviceTlbAnswer, ...] = ()

    @property
    def may_be_done(self) -> bool:
        """Nothing shows that it has not been executed."""
        if self.wait is not None:
            return self.ended and self.stored
        return self.invalidation is None


class FetchedDescriptors:
    """Follows the queue's share of invalidations, messages and abandoned waits.

    Parameters
    ----------
    registers : FollowedRegisters
        Where completed waits show.
    complain
        Called with a sentence for each thing that may not be.

    Members
    -------
    now : int
        The cycle; kept by the follower.
    executed : Counter of DescriptorType
        That were fetched, and not abandoned.
    """

    def __init__(self, registers: FollowedRegisters, *, complain: Callable[[str], None]) -> None:
        self._registers = registers
        self._complain = complain
        self._fetched: deque[Fetched] = deque()
        self._sent: deque[Fetched] = deque()      # device-TLB invalidations behind us whose answer may be outstanding
        self._spare_fences = 0                    # of waits that were abandoned in the middle of one
        self.now = 0
        self.executed: Counter[DescriptorType] = Counter()

    @property
    def idle(self) -> bool:
        """See Waits."""
        return all(each.may_be_done for each in self._fetched)

    def _turn(self) -> Fetched | None:
        """The first descriptor that has not been executed for all that is known; what leaves no event is passed over."""
        for each in self._fetched:
            if not each.may_be_done or each.wait is not None:
                return each
        return None

    def _due(self) -> Fetched | None:
        turn = self._turn()
        return turn if turn is not None and turn.wait is not None and turn.may_be_done else None

    @property
    def completion_due(self) -> bool:
        """See Waits."""
        due = self._due()
        return due is not None and due.wait is not None and due.wait.interrupt and not due.doubtful

    def complete_due(self) -> bool:
        """See Waits."""
        if not self.completion_due:
            return False
        due = self._due()
        while self._fetched:
            each = self._fetched.popleft()
            self._expect_done(each)
            if each is due:
                return True
        return False

    def doubt_due(self) -> bool:
        """See Waits."""
        due = self._due()
        if due is None or due.wait is None or not due.wait.interrupt:
            return False
        due.doubtful = True
        return True

    def _expect_done(self, each: Fetched) -> None:
        """It is behind us: what it was to do must have been done."""
        if not each.may_be_done and not each.abandoned:
            self._complain(f"descriptor {each.low:#x} has not been executed, and others behind it have")
        if each.kind is DescriptorType.DEVICE_TLB and not each.answered:
            self._sent.append(each)
        if each.wait is not None:
            self._sent.clear()                    # it has waited for the answer
        if each.wait is not None and each.wait.interrupt and not each.doubtful and each.may_be_done:
            self._registers.wait_completed(self.now)

    def _reach(self, fits: Callable[[Fetched], bool]) -> Fetched | None:
        """The first that fits, if all before it may have been executed; these are dropped."""
        for index, each in enumerate(self._fetched):
            if fits(each):
                for _ in range(index):
                    self._expect_done(self._fetched.popleft())
                return each
            if not each.may_be_done:
                return None
        return None

    def takes(self, invalidation: InvalidationView) -> bool:
        """An invalidation has begun: is it the queue's next?"""
        found = self._reach(lambda each: each.invalidation is not None)
        if found is None or found.invalidation != invalidation:
            return False
        self._fetched.popleft()
        return True

    def completes(self) -> bool:
        """What has begun is complete: was there a wait whose turn it was?"""
        found = self._reach(lambda each: each.wait is not None and not each.ended)
        if found is not None:
            found.ended = True
        elif self._spare_fences:
            self._spare_fences -= 1
        else:
            return False
        return True

    def status(self, address: int, data: int) -> bool:
        """The status of a wait was stored: is it the one whose turn it is?"""
        found = self._reach(lambda each: each.wait is not None and each.ended and not (each.stored or each.abandoned))
        if found is None or found.wait is None or (found.wait.address, found.wait.data) != (address, data):
            return False
        found.stored = True
        self._sent.clear()
        return True

    def abandoned(self, low: int) -> bool:
        """A WAIT_ABANDONED event: is it one that a time-out reached, in its turn?"""
        found = self._reach(lambda each: each.abandoned)
        if found is None or found.low != low:
            return False
        self._fetched.popleft()
        self._spare_fences += not found.ended
        self.executed[found.kind] -= 1
        return True

    def finish_all(self) -> None:
        """The unit has had time enough: everything that was fetched has been executed."""
        while self._fetched:
            each = self._fetched.popleft()
            if each.abandoned or not each.may_be_done:
                self._complain(f"descriptor {each.low:#x} has never been executed")
            each.abandoned = True
            self._expect_done(each)
