"""The invalidation queue: which descriptors are legal, and what becomes of them, from the fetch to the wait's status.

::

    IQT --> fetch, check --> fetched, in order --(queue_cycles later)--> execute --> invalidate, count, or wait: store, IWC
              |   \\                                                          \\
              |    +--> IQH: fetched, not done                               +--> ITE: the waits fetched up to here are abandoned
              +-------> IQE: stands still at the descriptor

Source: VT-d 4.1, 6.5.2 (descriptors, order), 6.5.2.10 (legal types), 6.5.2.12 (errors), 11.4.9 (registers).
"""
from collections import Counter, deque
from collections.abc import Callable
from typing import NamedTuple

from hw.spec.events import MessageKind
from hw.spec.invalidation import (
    ABORT_MODE_DESCRIPTORS,
    DESCRIPTOR_LAYOUTS,
    LEGACY_DESCRIPTORS,
    ContextCacheDescriptor,
    DescriptorHeader,
    DescriptorType,
    DeviceTlbDescriptor,
    Granularity,
    IotlbDescriptor,
    QueueError,
    TranslationTableMode,
    WaitDescriptor,
)
from hw.spec.memory import QUANTUM_BYTES
from hw.spec.monitor import DeviceTlbAnswer
from hw.spec.tables import PAGE_BITS, PAGE_BYTES
from sim.model.caches import InvalidationView
from sim.model.fields import field, reserved_mask
from sim.model.memory import AccessError, Reader
from sim.model.register_file import Message, RegisterFile

__all__ = ["InvalidationQueue", "Wait", "check_descriptor", "check_tail", "descriptor_type"]

_TYPE = field(DescriptorHeader, "type")
_TYPE_HIGH = field(DescriptorHeader, "type_high")
_GRANULARITIES = {DescriptorType.CONTEXT_CACHE: field(ContextCacheDescriptor, "granularity"),
                  DescriptorType.IOTLB: field(IotlbDescriptor, "granularity")}
_ADDRESS_MASK = field(IotlbDescriptor, "address_mask")
_DEVICE = field(DeviceTlbDescriptor, "source_id")
_RESERVED = {kind: reserved_mask(layout) for kind, layout in DESCRIPTOR_LAYOUTS.items()}
_WAIT = tuple(field(WaitDescriptor, name) for name in (
    "interrupt", "status_write", "fence", "status_address", "status_data"))
_QUANTA_PER_PAGE = PAGE_BYTES // QUANTUM_BYTES


class Wait(NamedTuple):
    """What a wait descriptor asks for."""

    interrupt: bool
    status_write: bool
    fence: bool         # FN
    address: int        # byte address
    data: int

    @classmethod
    def of(cls, low: int) -> "Wait":
        """From the first 16 bytes of a descriptor."""
        interrupt, status_write, fence, address, data = (each.get(low) for each in _WAIT)
        return cls(bool(interrupt), bool(status_write), bool(fence), address << 2, data)


def descriptor_type(low: int) -> DescriptorType:
    """Type of a descriptor, from its first 16 bytes."""
    return DescriptorType(_TYPE.get(low))


def check_tail(tail: int, size_log2: int, wide: bool) -> QueueError:
    """What is wrong with IQT.QT (units of 16 bytes) for a queue of 2**size_log2 pages: looked at before each fetch."""
    if tail >= _QUANTA_PER_PAGE << size_log2:
        return QueueError.BAD_TAIL
    return QueueError.MISALIGNED_TAIL if wide and tail & 1 else QueueError.NONE


def check_descriptor(*, max_address_mask: int, table_mode: int, wide: bool, low: int, high: int = 0) -> QueueError:
    """What is wrong with a descriptor. The width is looked at first, then the type, then the fields.

    Parameters
    ----------
    max_address_mask : int
        CAP.MAMV.
    table_mode : int
        TranslationTableMode, as latched.
    wide : bool
        IQA.DW.
    low, high : int
        Its first and its second 16 bytes.
    """
    # 1. Width (VT-d 6.5.2.10): legacy mode takes both, abort mode the wide one, the others none.
    legacy, abort = (table_mode == each.value for each in (TranslationTableMode.LEGACY, TranslationTableMode.ABORT_DMA))
    if not legacy and not (abort and wide):
        return QueueError.BAD_WIDTH
    # 2. Type, all seven bits of it.
    kind = descriptor_type(low)
    if _TYPE_HIGH.get(low) or kind not in (LEGACY_DESCRIPTORS if legacy else ABORT_MODE_DESCRIPTORS):
        return QueueError.BAD_TYPE
    # 3. The second half of a wide one, which only one type uses (VT-d 6.5.2).
    if wide and high and kind is not DescriptorType.PAGE_GROUP_RESPONSE:
        return QueueError.RESERVED_FIELD
    # 4. Fields, of the types that do something in legacy mode.
    if kind not in DESCRIPTOR_LAYOUTS:
        return QueueError.NONE
    granularity = _GRANULARITIES[kind].get(low) if kind in _GRANULARITIES else Granularity.GLOBAL.value
    too_many = (kind is DescriptorType.IOTLB and granularity == Granularity.SELECTIVE.value
                and _ADDRESS_MASK.get(low) > max_address_mask)
    wrong = low & _RESERVED[kind] or granularity == Granularity.RESERVED_0.value or too_many
    return QueueError.RESERVED_FIELD if wrong else QueueError.NONE


class _Fetched(NamedTuple):
    """A descriptor on its way to its execution."""

    due: int       # cycle
    low: int


class InvalidationQueue:
    """Fetch, check and execute, by the model's clock.

    Everything that can be fetched is fetched as soon as IQT says so; each descriptor is executed `queue_cycles` after
    the one before, one at a time, in order. A driver that takes the head for completion is caught.

    Parameters
    ----------
    registers, memory
        IQA, IQT, IQH, FSTS; the queue itself.
    invalidate
        Called with each invalidation, which takes effect at once.
    store
        Called with the status data of each wait.
    queue_cycles : int
        From fetch to execution, and from one execution to the next.

    Members
    -------
    table_mode : int
        TranslationTableMode as latched; kept by the device.
    device_tlb_answer : DeviceTlbAnswer
        How devices answer the invalidation of their TLB from now on.
    executed : Counter of DescriptorType
        Descriptors executed.
    waits_completed : int
    waits_abandoned : list of int
        The first 16 bytes of each.
    """

    def __init__(self, registers: RegisterFile, memory: Reader, *, invalidate: Callable[[InvalidationView], None],
                 store: Callable[[Message], None], queue_cycles: int = 0) -> None:
        self._registers = registers
        self._memory = memory
        self._invalidate = invalidate
        self._store = store
        self.queue_cycles = queue_cycles
        self.table_mode = 0
        self.device_tlb_answer = DeviceTlbAnswer.DONE
        self.executed: Counter[DescriptorType] = Counter()
        self.waits_completed = 0
        self.waits_abandoned: list[int] = []
        self._fetched: deque[_Fetched] = deque()
        self._last_due = 0
        self._timed_out = False   # what had been fetched when ITE was set is not finished

    @property
    def drained(self) -> bool:
        """Nothing that was fetched is left to be executed."""
        return not self._fetched

    def advance(self, cycle: int) -> None:
        """Do what can be done by this cycle."""
        self._fetch(cycle)
        while self._fetched and self._fetched[0].due <= cycle:
            self._execute(self._fetched.popleft().low)
            self._fetch(cycle)
        self._timed_out = self._timed_out and not self.drained

    # --- fetch ---

    def _fetch(self, cycle: int) -> None:
        get = self._registers.get
        wide, size_log2, base = bool(get("IQA", "DW")), get("IQA", "QS"), get("IQA", "IQA") << PAGE_BITS
        step = 2 if wide else 1
        while self._may_fetch() and get("IQH", "QH") != get("IQT", "QT"):
            head = get("IQH", "QH")
            error = check_tail(get("IQT", "QT"), size_log2, wide)
            low = 0
            if not error:
                error, low = self._read(base + head * QUANTUM_BYTES, wide)
            if error:
                self._registers.queue_error(error)
                return
            self._registers.set("IQH", "QH", (head + step) % (_QUANTA_PER_PAGE << size_log2))
            self._last_due = max(self._last_due, cycle) + self.queue_cycles
            self._fetched.append(_Fetched(self._last_due, low))

    def _may_fetch(self) -> bool:
        """The queue is on, and neither an error nor what had been fetched before a time-out holds it."""
        get = self._registers.get
        held = get("FSTS", "IQE") or get("FSTS", "ITE") or (self._timed_out and self._fetched)
        return bool(self._registers.commanded["QIE"] and get("GSTS", "QIES")) and not held

    def _read(self, hpa: int, wide: bool) -> tuple[QueueError, int]:
        try:
            low = self._memory.read128(hpa)
            high = self._memory.read128(hpa + QUANTUM_BYTES) if wide else 0
        except AccessError:
            return QueueError.FETCH, 0
        return check_descriptor(max_address_mask=self._registers.strap["max_address_mask"], table_mode=self.table_mode,
                                wide=wide, low=low, high=high), low

    # --- execution ---

    def _execute(self, low: int) -> None:
        kind = descriptor_type(low)
        self.executed[kind] += 1
        invalidation = InvalidationView.of_descriptor(low)
        if invalidation is not None:
            self._invalidate(invalidation)
        elif kind is DescriptorType.DEVICE_TLB:
            self._device_answers(_DEVICE.get(low))
        elif kind is DescriptorType.WAIT:
            wait = Wait.of(low)
            if wait.status_write:
                self._store(Message(MessageKind.STATUS, wait.address, wait.data))
            self.waits_completed += 1
            if wait.interrupt:
                self._registers.wait_completed()

    def _device_answers(self, source_id: int) -> None:
        if self.device_tlb_answer is DeviceTlbAnswer.ERROR:
            self._registers.completion_error(source_id)
        elif self.device_tlb_answer is DeviceTlbAnswer.TIME_OUT:
            self._registers.timed_out(source_id)
            self._timed_out = True
            waits = [each for each in self._fetched if descriptor_type(each.low) is DescriptorType.WAIT]
            self.waits_abandoned += [each.low for each in waits]
            self._fetched = deque(each for each in self._fetched if each not in waits)
