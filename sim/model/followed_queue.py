"""The invalidation queue as an event log tells of it: what is fetched, what is executed, and what a wait may say when. Ours.

::

    MEMORY (reads) --> DESCRIPTOR: legal, at the head, as memory stood --> fetched, in order
                  \\-> QUEUE_ERROR: where and why the check says            |
    INVALIDATION_BEGIN, _END, MESSAGE of a status, WAIT_ABANDONED <--------+  each only in its turn

What becomes of a descriptor then is followed by FetchedDescriptors.
"""
from collections.abc import Callable

from hw.spec.events import QueueTrouble
from hw.spec.invalidation import DescriptorType, DeviceTlbDescriptor, QueueError
from hw.spec.memory import QUANTUM_BYTES
from hw.spec.monitor import DeviceTlbAnswer
from hw.spec.tables import PAGE_BITS
from sim.model.caches import InvalidationView
from sim.model.fetched import Fetched, FetchedDescriptors
from sim.model.fields import field
from sim.model.followed_registers import FollowedRegisters
from sim.model.permitted import Permitted
from sim.model.queue import Wait, check_descriptor, check_tail, descriptor_type

__all__ = ["FollowedQueue"]

_DEVICE = field(DeviceTlbDescriptor, "source_id")
_QUANTA_PER_PAGE = 1 << PAGE_BITS - 4
_REACHABLE = 1 << 52
_QUEUE_CAUSES = {QueueError.BAD_TAIL, QueueError.MISALIGNED_TAIL}


class FollowedQueue(FetchedDescriptors):
    """Follows DESCRIPTOR, QUEUE_ERROR, WAIT_ABANDONED, and the queue's share of invalidations and messages.

    Parameters
    ----------
    registers, permitted
        The machine's registers; its memory, and table modes in force.
    complain
        Called with a sentence for each thing that may not be.

    Members
    -------
    causes : set of QueueError
        Why it has stopped so far.
    """

    def __init__(self, registers: FollowedRegisters, permitted: Permitted, *, complain: Callable[[str], None]) -> None:
        super().__init__(registers, complain=complain)
        self._file = registers.file
        self._permitted = permitted
        self._reads: dict[int, int] = {}          # hpa: cycle, of what has not passed yet: many are read ahead
        self._tails: set[int] = {0}               # since the head moved
        self._held_passes = 0                     # descriptors that may still be passed though the queue is held
        self._answer = DeviceTlbAnswer.DONE
        self.causes: set[QueueError] = set()

    # --- fetch ---

    def answer(self, answer: DeviceTlbAnswer) -> None:
        """Devices answer so from now on."""
        self._answer = answer
        for each in (*self._sent, *self._fetched):
            if each.kind is DescriptorType.DEVICE_TLB:
                each.answers = (*each.answers, answer)

    def read(self, cycle: int, hpa: int) -> None:
        """The queue read memory. At or behind the tail it reads what software has not finished: that counts for nothing."""
        head, place, _ = self._place()
        size = self._slots()
        ahead = (hpa - place) // QUANTUM_BYTES % size
        if any(ahead < (tail - head) % size for tail in self._tails):
            self._reads[hpa] = cycle

    def registers_accessed(self) -> None:
        """IQT may have changed, or the queue be off: what it has read ahead is void then."""
        self._tails.add(self._file.get("IQT", "QT"))
        if not self._enabled():
            self._reads.clear()

    def _slots(self) -> int:
        """Quanta of the queue."""
        return _QUANTA_PER_PAGE << self._file.get("IQA", "QS")

    def _place(self) -> tuple[int, int, bool]:
        """Head, its address, and whether descriptors are wide."""
        head, wide = self._file.get("IQH", "QH"), bool(self._file.get("IQA", "DW"))
        base = self._file.get("IQA", "IQA") & (1 << 40) - 1
        return head, (base << PAGE_BITS) + head * QUANTUM_BYTES, wide

    def _errors(self, cycle: int, hpa: int, wide: bool) -> dict[QueueError, set[int]]:
        """What the check may say of the descriptor there, as memory stood when it was read; with its first 16 bytes."""
        memory, found = self._permitted.memory, dict[QueueError, set[int]]()
        read = self._reads.get(hpa)
        if read is None:
            return found
        if memory.refuses(hpa):
            return {QueueError.FETCH: {0}}
        second = self._reads.get(hpa + QUANTUM_BYTES, cycle)
        highs = memory.was128(hpa + QUANTUM_BYTES, second) if wide else [0]
        for low in memory.was128(hpa, read):
            for high in highs:
                for mode in self._permitted.modes(read, cycle):
                    error = QueueError.FETCH if low is None or high is None else check_descriptor(
                        max_address_mask=self._file.strap["max_address_mask"], table_mode=mode, wide=wide, low=low,
                        high=high)
                    found.setdefault(error, set()).add(low or 0)
        return found

    def _enabled(self) -> bool:
        return bool(self._file.commanded["QIE"]) or "QIE" in self._file.pending

    @property
    def held(self) -> bool:
        """Nothing new may be fetched."""
        return bool(self._file.get("FSTS", "IQE") or self._file.get("FSTS", "ITE"))

    def passed(self, cycle: int, hpa: int, wide: bool, low: int) -> None:
        """A DESCRIPTOR event."""
        head, place, is_wide = self._place()
        errors = self._errors(cycle, place, is_wide)
        if hpa != place or wide != is_wide:
            self._complain(f"descriptor passed at {hpa:#x}, the head is at {place:#x}")
        elif not self._enabled():
            self._complain(f"descriptor passed at {hpa:#x}, and the queue is off")
        elif self._tails == {head}:
            self._complain(f"descriptor passed at {hpa:#x}, where the tail is")
        elif low not in errors.get(QueueError.NONE, set()):
            self._complain(f"descriptor {low:#034x} passed at {hpa:#x}: "
                           + (", ".join(error.name for error in errors) or "never read"))
        if self.held and self._held_passes <= 0:
            self._complain(f"descriptor passed at {hpa:#x}, and an error holds the queue")
        self._held_passes -= 1
        step = 2 if is_wide else 1
        self._file.set("IQH", "QH", (head + step) % self._slots())
        for quantum in range(step):
            self._reads.pop(place + quantum * QUANTUM_BYTES, None)
        self._tails = {self._file.get("IQT", "QT")}
        kind = descriptor_type(low)
        wait = Wait.of(low) if kind is DescriptorType.WAIT else None
        self._fetched.append(Fetched(
            low, kind, InvalidationView.of_descriptor(low), wait, answers=(self._answer,),
            stored=wait is not None and (not wait.status_write or wait.address >= _REACHABLE),
            abandoned=wait is not None and self.held))
        self.executed[kind] += 1

    def trouble(self, cycle: int, trouble: int, source_id: int, cause: int) -> None:
        """A QUEUE_ERROR event."""
        if trouble == QueueTrouble.QUEUE_ERROR:
            self._stopped(cycle, QueueError(cause))
            return
        answer = DeviceTlbAnswer.TIME_OUT if trouble == QueueTrouble.TIME_OUT else DeviceTlbAnswer.ERROR
        if not self._answers(source_id, answer):
            self._complain(f"{answer.name} of device {source_id:#06x}, which was not asked")
        if answer is DeviceTlbAnswer.ERROR:
            self._file.completion_error(source_id)
        else:
            self._file.timed_out(source_id)
            self._held_passes = 1
            for each in self._fetched:
                each.abandoned = each.wait is not None
        self._registers.messages.collect(cycle)

    def _answers(self, source_id: int, answer: DeviceTlbAnswer) -> bool:
        """Was one of the devices asked that may have been sent their descriptor by now, and told to answer so?"""
        def fits(each: Fetched) -> bool:
            return (each.kind is DescriptorType.DEVICE_TLB and not each.answered
                    and _DEVICE.get(each.low) == source_id and answer in each.answers)

        while self._sent:
            if fits(self._sent.popleft()):
                return True
        device = self._reach(fits)
        if device is not None:
            device.answered = True
            self._sent.clear()
        return device is not None

    def _stopped(self, cycle: int, cause: QueueError) -> None:
        head, place, wide = self._place()
        size_log2 = self._file.get("IQA", "QS")
        tails = {check_tail(tail, size_log2, wide) for tail in self._tails if tail != head}
        permitted = set(self._errors(cycle, place, wide)) if cause not in _QUEUE_CAUSES else tails
        self.causes.add(cause)
        if not self._enabled() or not tails or cause not in permitted or cause is QueueError.NONE:
            names = ", ".join(each.name for each in permitted) or "nothing"
            self._complain(f"the queue stopped at {place:#x} with {cause.name}; permitted: {names}")
        self._file.queue_error(cause)
        self._held_passes = 0
        self._reads.clear()
        self._registers.messages.collect(cycle)

    def finish_all(self) -> None:
        """The unit has had time enough: all that could be fetched has been, and executed."""
        super().finish_all()
        if self._file.commanded["QIE"] and not self.held and self._file.get("IQH", "QH") != self._file.get("IQT", "QT"):
            self._complain("the queue stands still, and no error holds it")
