"""The register window as an event log tells of it: what each access must show, where only time can say which. Ours.

The values are those of `RegisterFile`. What ends at a time of the unit's own (an invalidation by registers, SRTP, TE off, QIE
off, a wait, a message) is pending here: it may have ended once its condition holds, has ended once an access shows it, and
an access may show nothing else. An event message in flight leaves IP open, and nothing but that.
"""
import copy
from collections import deque
from collections.abc import Callable
from typing import Protocol

from hw.spec.dma import Status
from hw.spec.events import FaultDisposition, MessageKind, RegisterAccess
from hw.spec.faults import FaultReason
from hw.spec.registers import REGISTERS, register_offset
from sim.model.caches import InvalidationView
from sim.model.commands import context_command, iotlb_command
from sim.model.fields import field
from sim.model.owed_messages import EVENT_REGISTERS, OwedMessages
from sim.model.pending import Pending
from sim.model.register_file import EVENT_CAUSES, RegisterError, RegisterFile
from sim.model.register_rules import broken_rule
from sim.model.translate import Request, Result

__all__ = ["FollowedRegisters", "Waits"]

_WRITE, _WIDE, _ERROR, _VIOLATION = (field(RegisterAccess, name).mask for name in (
    "write", "wide", "error", "violation"))
_IP = REGISTERS["FECTL"].field("IP").mask
_DWORD = (1 << 32) - 1
_SHOWS = {"ICC": {"CCMD"}, "IVT": {"IOTLB"}, "SRTP": {"GSTS"}, "TE": {"GSTS"}, "QIE": {"GSTS", "IQH"}}
_GCMD = REGISTERS["GCMD"]


class Waits(Protocol):
    """What the registers ask of the queue."""

    @property
    def idle(self) -> bool:
        """Nothing that was fetched can still be waiting for its execution."""
        ...

    @property
    def completion_due(self) -> bool:
        """A wait with IF may have completed, or not yet."""
        ...

    def complete_due(self) -> bool:
        """An access shows that it has; False if there is none."""
        ...

    def doubt_due(self) -> bool:
        """Whatever it did, software has cleared ICS.IWC before or after it. False if there is none."""
        ...


class FollowedRegisters:
    """Follows REGISTER and MESSAGE events.

    Parameters
    ----------
    straps : int
        An encoded `Straps`.
    complain
        Called with a sentence for each thing that may not be.

    Members
    -------
    waits : Waits
        The queue's side; set before the first event.
    file : RegisterFile
        The values, as far as they are known.
    messages : OwedMessages
        Event messages on their way.
    pending : dict
        By name: ICC, IVT, SRTP, TE, QIE.
    """

    waits: "Waits"

    def __init__(self, straps: int, *, complain: Callable[[str], None]) -> None:
        self.file = RegisterFile(straps)
        self._complain = complain
        self.messages = OwedMessages(self.file)
        self.pending: dict[str, Pending] = {}
        self.completion_open = False        # IWC was cleared while a wait may or may not have completed
        self._recorded = 0                  # fault records made so far

    # --- accesses ---

    def access(self, cycle: int, offset: int, tag: int, value: int) -> None:
        """A REGISTER event."""
        width = 8 if tag & _WIDE else 4
        refused = self._refused(offset, width)
        if refused != bool(tag & _ERROR):
            self._complain(f"access of {width} bytes at {offset:#x} was {'refused' if tag & _ERROR else 'permitted'}")
        elif not refused and tag & _WRITE:
            self._write(cycle, offset, width, value, bool(tag & _VIOLATION))
        elif not refused:
            self._read(offset, width, value)

    def _refused(self, offset: int, width: int) -> bool:
        try:
            self.file.read(offset, width)
        except RegisterError:
            return True
        return False

    def _read(self, offset: int, width: int, value: int) -> None:
        mask = self._open_bits(offset, width)
        if self._agrees(offset, width, value, mask):
            return
        names = {self.file.name_at(offset), self.file.name_at(offset + width - 4)}
        if "ICS" in names and value & 1 and (self.completion_open or self.waits.complete_due()):
            self.file.set("ICS", "IWC", 1)
            self.completion_open = False
            return
        ended = [each for each in self._ending() if _SHOWS[each.name] & names]
        for count in range(1, 1 << len(ended)):
            chosen = [each for index, each in enumerate(ended) if count >> index & 1]
            trial = copy.deepcopy(self.file)
            for each in chosen:
                each.finish(trial)
            if (trial.read(offset, width) ^ value) & ~mask == 0:
                for each in chosen:
                    self.finish(each)
                return
        if "IQH" in names and value == 0 and any(each.name == "QIE" for each in ended):
            return   # the head has returned, QIES follows
        name = "/".join(str(each) for each in names if each)
        self._complain(f"read of {name or 'nothing'} at {offset:#x}: {value:#x}, must be {self.file.read(offset, width):#x}"
                       + (f" (open: {mask:#x})" if mask else ""))

    def _unwritten(self, offset: int) -> bool:
        """A record that was not made since the reset holds whatever it held before, without F."""
        index = (offset - 16 * self.file.strap["fault_record_offset"]) // 16
        return bool(index >= self._recorded)

    def _agrees(self, offset: int, width: int, value: int, mask: int) -> bool:
        return (self.file.read(offset, width) ^ value) & ~mask == 0

    def _open_bits(self, offset: int, width: int) -> int:
        mask = 0
        for dword in range(width // 4):
            name = self.file.name_at(offset + 4 * dword)
            if name == "FRCD" and self._unwritten(offset + 4 * dword):
                mask |= (_DWORD if (offset + 4 * dword) % 16 < 12 else _DWORD >> 1) << 32 * dword
            for kind, (control, _) in EVENT_REGISTERS.items():
                open_wait = control == "IECTL" and (self.completion_open or self.waits.completion_due)
                if name == control and (self.messages.under_way(kind) or open_wait):
                    mask |= _IP << 32 * dword
        return mask

    def _write(self, cycle: int, offset: int, width: int, value: int, violation: bool) -> None:
        name = self.file.name_at(offset)
        if name is not None and (broken_rule(self.file, name, value) is not None) != violation:
            for each in self._ending():
                self.finish(each)
        if (broken_rule(self.file, name, value) is not None) != violation:
            self._complain(f"write of {value:#x} to {name} at {offset:#x} "
                           f"{'was' if violation else 'was not'} taken for a protocol error")
        before = {kind: self._cause(control) for kind, (control, _) in EVENT_REGISTERS.items()}
        obeyed = self._obeys(name, value)
        if name == "ICS" and value & 1:
            if self.waits.completion_due:
                self.messages.may_come(cycle, MessageKind.INVALIDATION_EVENT)
            self.completion_open = self.waits.doubt_due()
        commands = self.file.write(offset, width, value)
        for kind, (control, _) in EVENT_REGISTERS.items():
            if before[kind] and not self._cause(control):
                self.messages.cause_gone(kind)
        self.messages.note_versions(cycle)
        self.messages.collect(cycle)
        for command in commands if obeyed else []:
            self._command(command, value)

    def _obeys(self, name: str | None, value: int) -> bool:
        rule = broken_rule(self.file, name, value)
        return rule is None or rule.obeyed

    def _cause(self, control: str) -> bool:
        status, names = EVENT_CAUSES[control]
        return any(self.file.get(status, name) for name in names)

    # --- fault records ---

    @property
    def next_is_taken(self) -> bool:
        """F of the next record is set."""
        strap = self.file.strap
        offset = register_offset("FRCD", fro=strap["fault_record_offset"], iro=strap["invalidation_offset"],
                                 index=self._recorded % (strap["fault_records"] + 1))
        return bool(self.file.read(offset + 12, 4) >> 31)

    def record(self, cycle: int, request: Request, reason: FaultReason, disposition: int) -> None:
        """A fault was raised."""
        self._recorded += disposition == FaultDisposition.RECORDED
        self.file.record_fault(request, Result(
            Status.BLOCKED, fault_reason=reason, recorded=disposition != FaultDisposition.SUPPRESSED))
        self.messages.collect(cycle)

    # --- commands ---

    def _command(self, command: str, value: int) -> None:
        file = self.file
        if command == "CCMD":
            view = context_command(file)
            self._begin("ICC", [view] if view.granularity else [], granularity=view.granularity)
        elif command == "IOTLB":
            view = iotlb_command(file)
            self._begin("IVT", [view] if view.granularity else [], granularity=view.granularity)
        else:
            self._global_command(value)

    def _global_command(self, value: int) -> None:
        file = self.file
        enable, queue, root = (bool(value & _GCMD.field(name).mask) for name in ("TE", "QIE", "SRTP"))
        everything = InvalidationView(1, 1, drain=1)
        if root:
            file.set("GSTS", "RTPS", 0)
            self._begin("SRTP", [InvalidationView(0, 1), everything] if file.strap["esrtps"] else [])
        elif enable != bool(file.commanded["TE"]):
            file.commanded["TE"] = int(enable)
            if enable:
                file.set("GSTS", "TES", 1)
            else:
                self._begin("TE", [everything])
        elif queue != bool(file.commanded["QIE"]):
            file.commanded["QIE"] = int(queue)
            if queue:
                file.set("GSTS", "QIES", 1)
            else:
                self._begin("QIE", [])

    def _begin(self, name: str, invalidations: list[InvalidationView], *, granularity: int = 0) -> None:
        self.pending[name] = Pending(name, deque(invalidations), granularity=granularity)
        if name in {"SRTP", "TE", "QIE"}:
            self.file.pending.add(name)

    def _ending(self) -> list[Pending]:
        return [each for each in self.pending.values()
                if each.may_end and (each.name != "QIE" or self.waits.idle)]

    def finish(self, pending: Pending) -> None:
        """It has ended."""
        pending.finish(self.file)
        self.pending.pop(pending.name, None)

    def finish_all(self) -> None:
        """The unit has had time enough for everything."""
        for each in self._ending():
            self.finish(each)
        for each in self.pending.values():
            self._complain(f"{each.name} has never ended")

    def takes(self, invalidation: InvalidationView) -> bool:
        """An invalidation has begun: is it one that a register asked for?"""
        for each in self.pending.values():
            if each.invalidations and not each.begun and each.invalidations[0] == invalidation:
                each.invalidations.popleft()
                each.begun += 1
                return True
        return False

    def completes(self) -> bool:
        """What has begun is complete: was there one that a register asked for?"""
        found = [each for each in self.pending.values() if each.begun]
        for each in found:
            each.begun = 0
        return bool(found)

    # --- waits and messages ---

    def wait_completed(self, cycle: int) -> None:
        """A wait with IF has completed: an event, unless IWC was set; which is not always known."""
        if self.completion_open:
            self.completion_open = False
            self.file.set("ICS", "IWC", 1)
            self.messages.may_come(cycle, MessageKind.INVALIDATION_EVENT)
        else:
            self.file.wait_completed()
            self.messages.collect(cycle, late=True)

    def message(self, kind: MessageKind, address: int, data: int) -> bool:
        """A MESSAGE event: is it one that is owed?"""
        if kind is MessageKind.INVALIDATION_EVENT and not self.messages.is_owed(kind):
            self.waits.complete_due()    # if a wait may have completed, this shows that it has
        return self.messages.take(kind, address, data)
