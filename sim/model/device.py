"""A unit with no gateware: registers, queue, invalidations, faults and memory around `translate`. Ours.

::

    driver --> ModelTransport --> ModelDevice --+-- 0x0_0000 RegisterFile --> commands, InvalidationQueue --> StaleCaches
                                                +-- 0x1_0000 UpdateWindow --> Memory
                                                +-- 0x1_8000 MonitorWindow: counters
                                                +-- 0x1_C000 PrewalkWindow --> StaleCaches
                                                +-- 0x2_0000 traffic engine: only its phase, cycle and storage
                     test --> dma() ------------+-- translate, or StaleCaches --> Result, fault records, messages

It promises results, not cycles: time passes by one cycle for each access, and by `pause`.
"""
from collections.abc import Callable

from hw.spec.bench import MONITOR_BASE, PREWALK_BASE, TRAFFIC_BASE, UNIT_BASE, UPDATE_BASE, TrafficRegister
from hw.spec.capabilities import STRAPS_DEFAULT
from hw.spec.dma import Access, RequestKind, Status
from hw.spec.events import MessageKind
from hw.spec.invalidation import ABORT_MODE_DESCRIPTORS
from hw.spec.monitor import DeviceTlbAnswer, MonitorRegister, descriptor_counter
from hw.spec.registers import REGISTERS
from sim.model.caches import InvalidationView
from sim.model.commands import context_command, iotlb_command
from sim.model.entries import ContextView, limits
from sim.model.memory import AccessError, Memory
from sim.model.monitor_window import MonitorWindow
from sim.model.prewalk_window import PrewalkWindow
from sim.model.queue import InvalidationQueue
from sim.model.register_file import Message, RegisterError, RegisterFile
from sim.model.stale_caches import StaleCaches
from sim.model.translate import Request, Result, check_early, translate
from sim.model.update_window import UpdateWindow

__all__ = ["ModelDevice"]

_GCMD = REGISTERS["GCMD"]
_OURS = (UPDATE_BASE, MONITOR_BASE, PREWALK_BASE, TRAFFIC_BASE)


class ModelDevice:
    """The host's view of bench_top, with no traffic but what `dma` is asked for.

    Parameters
    ----------
    straps : int
        An encoded `Straps`.
    memory : Memory
        Table, queue and data memory.
    stale : bool
        False: nothing is cached. True: contexts and translations are cached for ever, until an invalidation covers
        them, so that a driver that forgets one is caught; in caching mode so is what is not present.
    command_cycles : int
        How long SRTP, TE and invalidations by registers take; their effect comes at the end. A driver that does not
        wait is caught.
    queue_cycles : int
        From the fetch of a descriptor to its execution, and from one execution to the next. A driver that takes the
        queue's head for completion is caught.

    Members
    -------
    registers, queue, memory
        The parts, for tests that reach past the host's side.
    protocol_errors : list of str
        Writes that broke a rule of the programming interface.
    messages : list of Message
        Status data and event messages that the unit has stored to memory, oldest first.
    refused_messages : list of Message
        Those that the memory refused.
    """

    def __init__(self, *, straps: int = STRAPS_DEFAULT, memory: Memory | None = None, stale: bool = False,
                 command_cycles: int = 0, queue_cycles: int = 0) -> None:
        self.memory = memory or Memory()
        self.registers = RegisterFile(straps)
        self.messages: list[Message] = []
        self.refused_messages: list[Message] = []
        self.queue = InvalidationQueue(self.registers, self.memory, invalidate=self._invalidate, store=self._store,
                                       queue_cycles=queue_cycles)
        self.cycle = 0
        self._straps = straps
        self._stale = StaleCaches(straps) if stale else None
        self._command_cycles = command_cycles
        self._pending: list[tuple[int, Callable[[], None]]] = []
        self._root_table = self._table_mode = 0
        self._window = UpdateWindow(self.memory)
        self._monitor = MonitorWindow(self._counted)
        self._prewalk_window = PrewalkWindow(straps, self._prewalk)
        self._traffic: dict[int, int] = {}

    @property
    def protocol_errors(self) -> list[str]:
        """Writes that broke a rule."""
        return self.registers.protocol_errors

    @property
    def device_tlb_answer(self) -> DeviceTlbAnswer:
        """How devices answer the invalidation of their TLB; may be set."""
        return self.queue.device_tlb_answer

    @device_tlb_answer.setter
    def device_tlb_answer(self, answer: DeviceTlbAnswer) -> None:
        self.queue.device_tlb_answer = answer

    # --- the host's side ---

    def read_register(self, address: int, width: int) -> int:
        """One register read at a host address. Raises RegisterError."""
        self.pause(1)
        if address < UPDATE_BASE:
            return self.registers.read(address - UNIT_BASE, width)
        place = self._wide(address, width)
        if address < MONITOR_BASE:
            return self._window.read(place)
        if address < PREWALK_BASE:
            return self._monitor.read(place)
        if address < TRAFFIC_BASE:
            return self._prewalk_window.read(place)
        return self.cycle if place == TrafficRegister.CYCLE else self._traffic.get(place, 0)

    def write_register(self, address: int, width: int, value: int) -> None:
        """One register write at a host address. Raises RegisterError."""
        self.pause(1)
        if address < UPDATE_BASE:
            for name in self.registers.write(address - UNIT_BASE, width, value):
                {"GCMD": self._global_command, "CCMD": self._context_command, "IOTLB": self._iotlb_command}[name](value)
            self.pause(0)
            return
        place = self._wide(address, width)
        if address < MONITOR_BASE:
            self._window.write(place, value, self.cycle)
        elif address < PREWALK_BASE:
            self._monitor.write(place, value)
        elif address < TRAFFIC_BASE:
            self._prewalk_window.write(place, value)
        else:
            self._traffic[place] = value

    def pause(self, cycles: int) -> None:
        """Let time pass; what is due takes effect, in order."""
        self.cycle += cycles
        while self._pending and self._pending[0][0] <= self.cycle:
            self._pending.pop(0)[1]()
        self.queue.advance(self.cycle)
        if "QIE" in self.registers.pending and self.queue.drained:
            self._queue_off()
        self._store_events()

    def _wide(self, address: int, width: int) -> int:
        if width != 8 or address % 8:
            raise RegisterError(f"only aligned accesses of 8 bytes at {address:#x}, not {width}")
        return address - max(base for base in _OURS if base <= address)

    def _counted(self) -> dict[int, int]:
        sent = [message.kind for message in self.messages]
        return {
            MonitorRegister.PROTOCOL_ERRORS: len(self.protocol_errors),
            MonitorRegister.FAULT_MESSAGES: sent.count(MessageKind.FAULT_EVENT),
            MonitorRegister.INVALIDATION_MESSAGES: sent.count(MessageKind.INVALIDATION_EVENT),
            MonitorRegister.WAITS_COMPLETED: self.queue.waits_completed,
            MonitorRegister.WAITS_ABANDONED: len(self.queue.waits_abandoned),
            MonitorRegister.REFUSED_MESSAGES: len(self.refused_messages),
        } | {descriptor_counter(kind): self.queue.executed[kind] for kind in ABORT_MODE_DESCRIPTORS}

    def _prewalk(self, context: ContextView, request: Request) -> None:
        if self._stale:
            self._stale.prewalk(self.memory, context, request)

    # --- commands ---

    def _after(self, effect: Callable[[], None]) -> None:
        self._pending.append((self.cycle + self._command_cycles, effect))
        self.pause(0)

    def _global_command(self, value: int) -> None:
        commanded, pending = self.registers.commanded, self.registers.pending
        enable, queue = (int(value & _GCMD.field(name).mask != 0) for name in ("TE", "QIE"))
        if enable != commanded["TE"]:
            commanded["TE"] = enable
            pending.add("TE")
            self._after(self._translation_changed)
        elif queue != commanded["QIE"]:
            commanded["QIE"] = queue
            if queue:
                self.registers.set("GSTS", "QIES", 1)
            else:
                pending.add("QIE")   # ends when what has been fetched is executed
        elif value & _GCMD.field("SRTP").mask:
            self.registers.set("GSTS", "RTPS", 0)
            pending.add("SRTP")
            self._after(self._latch_root)

    def _translation_changed(self) -> None:
        self.registers.set("GSTS", "TES", self.registers.commanded["TE"])
        self.registers.pending.discard("TE")

    def _queue_off(self) -> None:
        self.registers.set("GSTS", "QIES", 0)
        self.registers.set("IQH", "QH", 0)
        self.registers.pending.discard("QIE")

    def _latch_root(self) -> None:
        self._root_table = self.registers.get("RTADDR", "RTA")
        self._table_mode = self.queue.table_mode = self.registers.get("RTADDR", "TTM")
        if self._stale and self.registers.strap["esrtps"]:
            self._stale.clear()
        self.registers.set("GSTS", "RTPS", 1)
        self.registers.pending.discard("SRTP")

    def _context_command(self, _: int) -> None:
        invalidation = context_command(self.registers)

        def finish() -> None:
            self._invalidate(invalidation)
            self.registers.set("CCMD", "CAIG", invalidation.granularity)
            self.registers.set("CCMD", "ICC", 0)
        self._after(finish)

    def _iotlb_command(self, _: int) -> None:
        invalidation = iotlb_command(self.registers)

        def finish() -> None:
            self._invalidate(invalidation)
            self.registers.set("IOTLB", "IAIG", invalidation.granularity)
            self.registers.set("IOTLB", "IVT", 0)
        self._after(finish)

    def _invalidate(self, invalidation: InvalidationView) -> None:
        if self._stale and invalidation.granularity:
            self._stale.invalidate(invalidation)

    # --- what the unit stores ---

    def _store_events(self) -> None:
        while self.registers.messages:
            self._store(self.registers.messages.pop(0))

    def _store(self, message: Message) -> None:
        try:
            self.memory.write(message.address, message.data.to_bytes(4, "little"))
        except AccessError:
            self.refused_messages.append(message)
        else:
            self.messages.append(message)

    # --- the devices' side ---

    def dma(self, source_id: int, iova: int, access: Access = Access.READ, *, length_bytes: int = 64,
            kind: RequestKind = RequestKind.UNTRANSLATED, pasid_present: bool = False) -> Result:
        """One DMA. What is blocked is recorded as the registers would show it."""
        request = Request(source_id, iova, access, length_bytes, kind, pasid_present)
        result = self._answer(request)
        if result.status is Status.BLOCKED:
            self.registers.record_fault(request, result)
            self._store_events()
        return result

    def _answer(self, request: Request) -> Result:
        enabled = bool(self.registers.get("GSTS", "TES"))
        if self._stale and enabled:
            return (check_early(limits(self._straps), request, self._root_table, self._table_mode)
                    or self._stale.answer(self.memory, self._root_table, request))
        return translate(self.memory, root_table=self._root_table, straps=self._straps, request=request,
                         translation_enabled=enabled, translation_table_mode=self._table_mode)
