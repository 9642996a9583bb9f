"""L8 order: what a wait descriptor promises, held against when things happened. Ours; the order is VT-d 4.1, 6.5.2.11.

::

    DESCRIPTOR      context cache   IOTLB   wait           (the head passes them: fetched, not done)
    INVALIDATION_BEGIN    |-- X ------|-- Y ---|
    INVALIDATION_END                           |  X and Y have had their effect
    MESSAGE                                       |  the wait's status

"""
from collections import Counter, deque
from dataclasses import dataclass

from hw.spec.events import MessageKind, QueueTrouble
from hw.spec.invalidation import DescriptorType, Granularity, InvalidationKind
from sim.model.caches import InvalidationView
from sim.model.queue import Wait, descriptor_type
from sim.model.world import World

__all__ = ["Order"]

_REACH = 1 << 52         # status data for an address beyond is never stored, and no event says so
_ALL_CONTEXTS = InvalidationView(InvalidationKind.CONTEXT_CACHE.value, Granularity.GLOBAL.value)
_ALL_TRANSLATIONS = InvalidationView(InvalidationKind.IOTLB.value, Granularity.GLOBAL.value, drain=1)


@dataclass(slots=True, eq=False)
class _Fetched:
    """A descriptor that was fetched and of which something is still to come."""

    cycle: int
    low: int
    invalidation: InvalidationView | None
    wait: Wait | None
    begun: int | None = None       # cycle
    ended: bool = False
    abandonable: bool = False      # a time-out came after it was fetched, or while it was

    @property
    def told(self) -> bool:
        """Its completion is seen: a wait whose status data reach memory."""
        return self.wait is not None and self.wait.status_write and self.wait.address < _REACH

    def __str__(self) -> str:
        if self.wait is not None:
            return f"the wait for {self.wait.data:#x} at {self.wait.address:#x}, fetched in cycle {self.cycle}"
        kind = descriptor_type(self.low).name.lower().replace("_", " ")
        return f"the {kind} descriptor {self.low:#x}, fetched in cycle {self.cycle}"


class Order:
    """L8: status and invalidation events come after the effect of everything before them, and everything has its effect.

    - Status data are those of the oldest wait with SW that was fetched and has neither completed nor been abandoned.
    - They are not stored before every invalidation that was fetched before that wait has begun, with the content that its
      descriptor gives it, and has ended.
    - Invalidations begin in the order of their descriptors, and none behind a wait with FN before that wait has completed.
    - There are no more invalidation events than waits with IF that have completed.
    - A wait is abandoned only if it had been fetched when a device timed out, or was being fetched; then it never completes.
    - At the end of a run no wait is left that has neither completed nor been abandoned, and no invalidation that has
      never begun, unless the queue stands still for an error.

    A wait without status data completes unseen: at the latest when something behind it is seen to. All events of a cycle
    happen together. SRTP and TE bring invalidations of their own; one that does what a descriptor asks for, after it was
    fetched, is as good as the descriptor's. That the head tells what is fetched is no matter of this law: a driver that
    takes it for more is caught by L4 and L5.
    """

    def __init__(self, world: World, *, esrtps: bool) -> None:
        self._world = world
        self._esrtps = esrtps
        self._fetched: deque[_Fetched] = deque()
        self._by_registers: Counter[InvalidationView] = Counter()   # what SRTP and TE will yet begin
        self._interrupts = 0       # waits with IF that have completed, less invalidation events
        self._being_fetched = False   # when a device timed out, a descriptor may have been on its way
        self._in_error = False
        # Of this cycle.
        self._begun: list[InvalidationView] = []
        self._ended = self._timed_out = False
        self._messages: list[tuple[int, int, int]] = []
        self._abandoned: list[int] = []

    # --- what happens, in any order within a cycle ---

    def descriptor(self, cycle: int, low: int) -> None:
        """A descriptor was fetched and found legal."""
        kind = descriptor_type(low)
        wait = Wait.of(low) if kind is DescriptorType.WAIT else None
        invalidation = InvalidationView.of_descriptor(low)
        if wait is not None or invalidation is not None:
            self._fetched.append(_Fetched(cycle, low, invalidation, wait, abandonable=self._being_fetched))
        self._being_fetched = self._in_error = False

    def begin(self, invalidation: InvalidationView) -> None:
        """An invalidation began."""
        self._begun.append(invalidation.canonical())

    def end(self) -> None:
        """Every invalidation that has begun is complete."""
        self._ended = True

    def message(self, kind: int, address: int, data: int) -> None:
        """The unit stored four bytes."""
        self._messages.append((kind, address, data))

    def abandoned(self, low: int) -> None:
        """A wait will never complete."""
        self._abandoned.append(low)

    def trouble(self, which: int) -> None:
        """FSTS.IQE, ITE or ICE was set."""
        self._in_error = self._in_error or which != QueueTrouble.COMPLETION_ERROR
        self._timed_out = self._timed_out or which == QueueTrouble.TIME_OUT

    def control(self, *, latched: bool, disabled: bool) -> None:
        """SRTP or TE: what they invalidate begins without a descriptor."""
        if latched and self._esrtps:
            self._by_registers.update((_ALL_CONTEXTS, _ALL_TRANSLATIONS))
        if disabled:
            self._by_registers[_ALL_TRANSLATIONS] += 1

    def end_of_cycle(self, cycle: int) -> None:
        """No event of this cycle is left."""
        if not (self._begun or self._ended or self._messages or self._timed_out or self._abandoned):
            return
        begun = [step for each in self._begun if (step := self._begins(cycle, each)) is not None]
        if self._ended:
            for step in self._fetched:
                step.ended = step.ended or step.begun is not None
        for kind, address, data in self._messages:
            if kind == MessageKind.STATUS:
                self._status(cycle, address, data)
            elif kind == MessageKind.INVALIDATION_EVENT:
                self._event(cycle)
        for step in begun:
            self._behind_fence(cycle, step)
        if self._timed_out:
            self._being_fetched = True
            for step in self._fetched:
                step.abandonable = True
        for low in self._abandoned:
            self._abandons(cycle, low)
        while self._fetched and self._fetched[0].ended:
            self._fetched.popleft()
        self._begun, self._messages, self._abandoned = [], [], []
        self._ended = self._timed_out = False

    def finish(self) -> None:
        """Nothing will happen any more."""
        if self._in_error:
            return
        for index, step in enumerate(self._fetched):
            if step.told:
                self._check(self._world.now, False, f"{step}, has neither completed nor been abandoned")
            elif step.wait is not None:
                late = self._late(index)
                self._check(self._world.now, not late, f"{step}, cannot have completed: {'; '.join(late)}")
            elif step.begun is None:
                self._check(self._world.now, False, f"{step}, has never begun")
        self._fetched.clear()

    # --- what it means ---

    def _begins(self, cycle: int, invalidation: InvalidationView) -> _Fetched | None:
        waiting = [step for step in self._fetched if step.invalidation is not None and step.begun is None]
        found = next((step for step in waiting if step.invalidation == invalidation), None)
        if found is None or (found is not waiting[0] and self._by_registers[invalidation]):
            self._by_registers[invalidation] = max(0, self._by_registers[invalidation] - 1)
            return None
        self._check(cycle, found is waiting[0], f"{found}, began before {waiting[0]}, has")
        found.begun = cycle
        return found

    def _status(self, cycle: int, address: int, data: int) -> None:
        told = [index for index, step in enumerate(self._fetched) if step.told]
        index = next((index for index in told if self._asks_for(index, address, data)), None)
        stored = f"status {data:#x} was stored at {address:#x}"
        if index is None:
            self._check(cycle, False, f"{stored}, but " + (
                f"the oldest wait is {self._fetched[told[0]]}" if told else "no wait that was fetched is left"))
            return
        step = self._fetched[index]
        if index != told[0]:
            self._check(cycle, False, f"{stored}, but {self._fetched[told[0]]}, is older")
            del self._fetched[index]
            return
        late = self._late(index)
        self._check(cycle, not late, f"{stored}: {'; '.join(late)}")
        self._check(cycle, not step.abandonable, f"{stored}, but a time-out has abandoned {step}")
        self._complete(index)

    def _asks_for(self, index: int, address: int, data: int) -> bool:
        wait = self._fetched[index].wait
        return wait is not None and (wait.address, wait.data) == (address, data)

    def _late(self, index: int) -> list[str]:
        """What stands before a step and has not had its effect."""
        return [f"{step}, has not {'ended' if step.begun is not None else 'begun'}"
                for step in list(self._fetched)[:index] if step.invalidation is not None and not step.ended]

    def _complete(self, index: int) -> None:
        """A wait has completed, and so has everything before it."""
        for _ in range(index + 1):
            wait = self._fetched.popleft().wait
            self._interrupts += wait is not None and wait.interrupt

    def _event(self, cycle: int) -> None:
        if not self._interrupts:
            self._complete_unseen()
        self._check(cycle, self._interrupts > 0, "an invalidation event, but no wait with IF has completed since the last")
        self._interrupts = max(0, self._interrupts - 1)

    def _complete_unseen(self) -> None:
        """Of the waits without status data the oldest with IF may have completed, if everything before it has."""
        for index, step in enumerate(self._fetched):
            if step.told or (step.invalidation is not None and not step.ended):
                return
            if step.wait is not None and step.wait.interrupt:
                self._complete(index)
                return

    def _behind_fence(self, cycle: int, step: _Fetched) -> None:
        for index, before in enumerate(self._fetched):
            if before is step:
                return
            if before.wait is not None and before.wait.fence and (before.told or self._late(index)):
                self._check(cycle, False, f"{step}, began though {before}, has FN and has not completed")
                return

    def _abandons(self, cycle: int, low: int) -> None:
        found = next((step for step in self._fetched if step.low == low), None)
        if found is not None:
            self._fetched.remove(found)
        self._check(cycle, found is not None and found.abandonable,
                    f"wait {low:#x} was abandoned, but " + ("it was never fetched" if found is None else "nobody timed out"))

    def _check(self, cycle: int, holds: bool, sentence: str) -> None:
        self._world.ledger.checks["L8"] += 1
        if not holds:
            self._world.ledger.violate(cycle, "L8", sentence)
