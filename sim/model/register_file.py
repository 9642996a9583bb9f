"""The VT-d register window as values: who may change which field, the fault records, and the events. No time, no device.

::

    software --read, write--> values --> commands (GCMD, CCMD, IOTLB), rules (register_rules)
    faults, queue ----------> values --> messages, unless masked

Source: VT-d 4.1, 7.3 (recording), 7.4 and 6.5.2.8 (events), 11.4 (registers).
"""
from typing import NamedTuple

from hw.spec.capabilities import Straps, cap_value, describe_straps, ecap_value
from hw.spec.codec import decode, encode
from hw.spec.dma import Access as DmaAccess
from hw.spec.events import MessageKind
from hw.spec.faults import FaultRecord, FaultType
from hw.spec.invalidation import QueueError
from hw.spec.registers import REGISTER_WINDOW_BYTES, REGISTERS, Access, Base, register_offset
from hw.spec.tables import PAGE_BITS
from sim.model.register_rules import broken_rule
from sim.model.translate import Request, Result

__all__ = ["EVENT_CAUSES", "Message", "RegisterError", "RegisterFile"]

_DWORD_BITS = 32
_STORED = (Access.RW, Access.WO)
_FAULT_TYPES = {DmaAccess.READ: FaultType.READ, DmaAccess.WRITE: FaultType.WRITE, DmaAccess.ATOMIC: FaultType.ATOMIC}
_FAULT = REGISTERS["FRCD"].field("F").mask
EVENT_CAUSES = {"FECTL": ("FSTS", ("PFO", "PPF", "IQE", "ICE", "ITE")), "IECTL": ("ICS", ("IWC",))}
"""By control register: the status register, and the bits of it that stand for its event."""
_MESSAGES = {"FECTL": ("FE", MessageKind.FAULT_EVENT), "IECTL": ("IE", MessageKind.INVALIDATION_EVENT)}


class RegisterError(Exception):
    """The access is not one that the window permits."""


class Message(NamedTuple):
    """A store of four bytes by the unit itself."""

    kind: MessageKind
    address: int
    data: int


class RegisterFile:
    """Registers by specification name, and by offset as software sees them.

    Parameters
    ----------
    straps : int
        An encoded `Straps`: capabilities, and where the fault and invalidation registers stand.

    Members
    -------
    messages : list of Message
        Event messages that have been sent; whoever stores them takes them out.
    protocol_errors : list of str
        Writes that broke a rule.
    pending : set of str
        Changes of GCMD that have been obeyed and not ended: "TE", "SRTP", "QIE". Kept by the device.
    commanded : dict
        TE and QIE as last commanded; GSTS follows.
    """

    def __init__(self, straps: int) -> None:
        self.strap = describe_straps(straps)
        constant = decode(Straps, straps)
        self._values: dict[tuple[str, int], int] = {}
        self._places: dict[int, tuple[str, int, int]] = {}   # byte offset of a dword: register, index, which dword
        self._next_record = 0
        self._record_count = self.strap["fault_records"] + 1
        self.messages: list[Message] = []
        self.protocol_errors: list[str] = []
        self.pending: set[str] = set()
        self.commanded = {"TE": 0, "QIE": 0}
        for name, row in REGISTERS.items():
            for index in range(self._record_count if row.base is Base.FRO else 1):
                self._values[name, index] = row.reset
                offset = register_offset(name, fro=self.strap["fault_record_offset"],
                                         iro=self.strap["invalidation_offset"], index=index)
                for dword in range(row.width // _DWORD_BITS):
                    self._places[offset + 4 * dword] = name, index, dword
        self._values["CAP", 0] = int(cap_value(constant))
        self._values["ECAP", 0] = int(ecap_value(constant))

    # --- the hardware's side ---

    def get(self, name: str, field: str) -> int:
        """A field, by name, as the hardware sees it."""
        row = REGISTERS[name].field(field)
        return int((self._values[name, 0] & row.mask) >> row.low)

    def set(self, name: str, field: str, value: int) -> None:
        """Change a field from the hardware's side."""
        row = REGISTERS[name].field(field)
        self._values[name, 0] = self._values[name, 0] & ~row.mask | value << row.low

    @property
    def invalidation_pending(self) -> bool:
        """An invalidation by registers is under way, SRTP's and TE's included."""
        return bool(self.get("CCMD", "ICC") or self.get("IOTLB", "IVT") or self.pending & {"TE", "SRTP"})

    # --- software's side ---

    def read(self, offset: int, width: int) -> int:
        """What software reads, 4 or 8 bytes wide. Raises RegisterError; an empty place reads zero."""
        self._check(offset, width)
        result = 0
        for dword in range(width // 4):
            place = self._places.get(offset + 4 * dword)
            if place is not None:
                name, index, part = place
                hidden = sum(f.mask for f in REGISTERS[name].fields if f.access in {Access.WO, Access.ONE_SHOT})
                value = (self._values[name, index] & ~hidden) >> _DWORD_BITS * part & (1 << _DWORD_BITS) - 1
                result |= value << _DWORD_BITS * dword
        return result

    def write(self, offset: int, width: int, value: int) -> list[str]:
        """What software writes. Returns the registers whose command this write carries. Raises RegisterError.

        A write that breaks a rule is noted in `protocol_errors`; it does nothing, unless the rule says that it is obeyed
        all the same.
        """
        self._check(offset, width)
        rule = broken_rule(self, self.name_at(offset), value)
        if rule is not None:
            self.protocol_errors.append(rule.sentence)
            if not rule.obeyed:
                return []
        commands = []
        for dword in range(width // 4):
            place = self._places.get(offset + 4 * dword)
            if place is not None:
                name, index, part = place
                content = value >> _DWORD_BITS * dword & (1 << _DWORD_BITS) - 1
                if self._write_dword(name, index, part, content << _DWORD_BITS * part):
                    commands.append(name)
        self._settle()
        return commands

    def name_at(self, offset: int) -> str | None:
        """The register that stands there."""
        place = self._places.get(offset & ~3)
        return place[0] if place else None

    def _check(self, offset: int, width: int) -> None:
        narrow = any(REGISTERS[self._places[dword][0]].width == _DWORD_BITS
                     for dword in (offset, offset + 4) if dword in self._places)
        if width not in {4, 8} or offset % width or offset >= REGISTER_WINDOW_BYTES or (width == 8 and narrow):
            raise RegisterError(f"no access of {width} bytes at offset {offset:#x} of the register window")

    def _write_dword(self, name: str, index: int, part: int, content: int) -> bool:
        lanes = (1 << _DWORD_BITS) - 1 << _DWORD_BITS * part
        current, command = self._values[name, index], name == "GCMD"
        for row in REGISTERS[name].fields:
            bits = row.mask & lanes
            if row.access in _STORED or (row.access is Access.ONE_SHOT and bits):
                current = current & ~bits | content & bits
            elif row.access is Access.RW1C:
                current &= ~(content & bits)
            elif row.access is Access.TRIGGER and content & bits:
                current |= bits
                command = True
        self._values[name, index] = current
        return command

    # --- what happens ---

    def record_fault(self, request: Request, result: Result) -> None:
        """Keep one blocked request, unless its record is suppressed or there is no room (VT-d 7.3)."""
        if self.get("FSTS", "PFO") or not result.recorded:
            return
        had_cause = self._has_cause("FECTL")
        place = "FRCD", self._next_record
        if self._values[place] & _FAULT:
            self.set("FSTS", "PFO", 1)
        else:
            kind = _FAULT_TYPES[request.access].value
            self._values[place] = encode(
                FaultRecord, fault_info=request.iova >> PAGE_BITS, source_id=request.source_id, type_2=kind & 1,
                type_1=kind >> 1, pasid_present=int(request.pasid_present), fault_reason=result.fault_reason,
                address_type=request.kind.value, fault=1)
            if not self.get("FSTS", "PPF"):
                self.set("FSTS", "FRI", self._next_record)
            self._next_record = (self._next_record + 1) % self._record_count
            self.set("FSTS", "PPF", 1)
        self._raise("FECTL", had_cause)

    def queue_error(self, cause: QueueError) -> None:
        """The queue stands still at what it cannot fetch or execute: FSTS.IQE (VT-d 11.4.9.9)."""
        self._trouble("IQE", "IQEI", cause.value)

    def timed_out(self, source_id: int) -> None:
        """A device did not answer the invalidation of its TLB: FSTS.ITE."""
        self._trouble("ITE", "ITESID", source_id)

    def completion_error(self, source_id: int) -> None:
        """A device answered the invalidation of its TLB with an error: FSTS.ICE."""
        self._trouble("ICE", "ICESID", source_id)

    def wait_completed(self) -> None:
        """A wait with IF has completed: ICS.IWC."""
        had_cause = self._has_cause("IECTL")
        self.set("ICS", "IWC", 1)
        self._raise("IECTL", had_cause)

    def _trouble(self, bit: str, detail: str, value: int) -> None:
        """What sets a bit of FSTS says so in IQERCD; what finds it set leaves no trace."""
        if self.get("FSTS", bit):
            return
        had_cause = self._has_cause("FECTL")
        self.set("FSTS", bit, 1)
        self.set("IQERCD", detail, value)
        self._raise("FECTL", had_cause)

    def _raise(self, control: str, had_cause: bool) -> None:
        """An event is due if there was no cause before."""
        if not had_cause:
            self.set(control, "IP", 1)
        self._settle()

    def _settle(self) -> None:
        """PPF is the OR of all F, IQERCD goes with its bit; a pending event is sent if unmasked, or goes with its last cause."""
        pending = any(self._values["FRCD", index] & _FAULT for index in range(self._record_count))
        self.set("FSTS", "PPF", int(pending))
        for bit, detail in (("IQE", "IQEI"), ("ITE", "ITESID"), ("ICE", "ICESID")):
            if not self.get("FSTS", bit):
                self.set("IQERCD", detail, 0)
        for control, (prefix, kind) in _MESSAGES.items():
            if not self._has_cause(control):
                self.set(control, "IP", 0)
            elif self.get(control, "IP") and not self.get(control, "IM"):
                self.set(control, "IP", 0)
                address = self._values[f"{prefix}UADDR", 0] << _DWORD_BITS | self._values[f"{prefix}ADDR", 0]
                self.messages.append(Message(kind, address, self._values[f"{prefix}DATA", 0]))

    def _has_cause(self, control: str) -> bool:
        status, fields = EVENT_CAUSES[control]
        return any(self.get(status, field) for field in fields)
