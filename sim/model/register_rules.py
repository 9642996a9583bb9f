"""What software may not do with the registers: each rule a sentence, and whether the write is obeyed all the same.

Source: VT-d 4.1, 6.5.2 (queue on and off), 11.4.4 (one change at a time), 11.4.6 to 11.4.9; counting them is ours.
"""
from typing import NamedTuple, Protocol

from hw.spec.capabilities import MAX_HOST_ADDRESS_WIDTH
from hw.spec.registers import REGISTERS
from hw.spec.tables import PAGE_BITS

__all__ = ["BrokenRule", "RegisterState", "broken_rule"]

_INVALIDATION_REGISTERS = ("CCMD", "IVA", "IOTLB")
_GCMD = REGISTERS["GCMD"]
_KNOWN = ("TE", "SRTP", "QIE")
_FOREIGN = sum(field.mask for field in _GCMD.fields if field.name not in _KNOWN)
_PAGE_NUMBER_BITS = MAX_HOST_ADDRESS_WIDTH - PAGE_BITS


class BrokenRule(NamedTuple):
    """A protocol error."""

    sentence: str
    obeyed: bool = False


class RegisterState(Protocol):
    """What the rules look at: a RegisterFile."""

    pending: set[str]
    commanded: dict[str, int]

    def get(self, name: str, field: str) -> int:
        """A field, by name."""
        ...

    @property
    def invalidation_pending(self) -> bool:
        """An invalidation by registers is under way."""
        ...


def broken_rule(registers: RegisterState, name: str | None, value: int) -> BrokenRule | None:
    """The rule that a write of `value` to a register breaks, if it breaks one."""
    queue_on = bool(registers.commanded["QIE"] or registers.get("GSTS", "QIES"))
    if name in _INVALIDATION_REGISTERS:
        if registers.invalidation_pending:
            return BrokenRule(f"{name} written while an invalidation is pending")
        return BrokenRule(f"{name} written while the invalidation queue is on") if queue_on else None
    if name == "IQA":
        return BrokenRule("IQA written while the invalidation queue is on") if queue_on else None
    return _global_command(registers, value) if name == "GCMD" else None


def _global_command(registers: RegisterState, value: int) -> BrokenRule | None:
    written = {name: int(value & _GCMD.field(name).mask != 0) for name in _KNOWN}
    changes = [name for name in _KNOWN if written[name] != registers.commanded.get(name, 0)]
    if value & _FOREIGN or len(changes) > 1 or (changes and registers.pending):
        return BrokenRule(f"GCMD written with {value:#x}: one known change at a time")
    if changes == ["QIE"]:
        return _queue_on(registers) if written["QIE"] else _queue_off(registers)
    return None


def _queue_on(registers: RegisterState) -> BrokenRule | None:
    page = registers.get("IQA", "IQA")
    if registers.get("IQT", "QT"):
        return BrokenRule("queue turned on with IQT not zero")
    if registers.invalidation_pending:
        return BrokenRule("queue turned on while an invalidation by registers is pending")
    if page + (1 << registers.get("IQA", "QS")) > 1 << _PAGE_NUMBER_BITS:
        return BrokenRule(f"queue turned on at page {page:#x}: out of reach")
    return None


def _queue_off(registers: RegisterState) -> BrokenRule | None:
    """Always obeyed: what has been fetched is executed, the rest never."""
    held = registers.get("FSTS", "IQE") or registers.get("FSTS", "ITE")
    if not held and registers.get("IQH", "QH") != registers.get("IQT", "QT"):
        return BrokenRule("queue turned off with descriptors in it", obeyed=True)
    return None
