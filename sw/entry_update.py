"""Plan the change of a live table entry: which stores, and whether the unit may see each state in between.

The unit reads an entry in indivisible quanta, each at a moment of its own. What an entry *means* depends only on the
bits that its kind uses; the others may be written beforehand or afterwards. So:

1. write what only the new entry uses;
2. if bits that matter now differ in one quantum, write that one: the entry is old before and new after (`hitless`);
3. clear what only the old entry used.

If they differ in two quanta or more, no order of stores is safe: the entry must be made not present first
(`break_before_make`), and what is done in that time is blocked. With a quantum of 128 bits a context entry is one
quantum, so its change is always hitless: that is what the update port buys.

Source: VT-d 4.1, 6.5.3.3 (ownership handshake), 9.3 (context entry); the planning is ours, after the used-bits idea of
the drivers for entries of this kind.
"""
from dataclasses import dataclass
from enum import Enum

from amaranth.lib import data

from hw.spec.codec import decode
from hw.spec.memory import QUANTUM_BITS
from hw.spec.tables import ContextEntry, TranslationType

__all__ = ["STORE_BITS", "EntryPlan", "EntryWrite", "Outcome", "break_plan", "context_used_bits", "plan"]

STORE_BITS = 64  # a plain store of the CPU


class Outcome(Enum):
    """What a device with DMA in flight sees of a change."""

    HITLESS = "hitless"
    BREAK_BEFORE_MAKE = "break_before_make"


@dataclass(frozen=True)
class EntryWrite:
    """One quantum of the entry, written at one instant."""

    index: int     # of the quantum
    quantum: int   # bits
    before: int    # what the quantum must hold
    after: int
    why: str

    def apply(self, entry: int) -> int:
        """The whole entry after this write."""
        return _with_quantum(entry, self.index, self.quantum, self.after)

    def __str__(self) -> str:
        digits = self.quantum // 4
        return f"write quantum {self.index}: {self.before:0{digits}x} -> {self.after:0{digits}x} ({self.why})"


@dataclass(frozen=True)
class EntryPlan:
    """The writes that turn one entry into another."""

    outcome: Outcome
    reason: str
    writes: tuple[EntryWrite, ...]

    def states(self, entry: int) -> list[int]:
        """The entry after each write."""
        result = []
        for write in self.writes:
            entry = write.apply(entry)
            result.append(entry)
        return result

    def __str__(self) -> str:
        return "\n".join([f"{self.outcome.value}: {self.reason}", *(f"  {write}" for write in self.writes)])


def context_used_bits(entry: int) -> int:
    """The bits of a context entry that the unit looks at, given the entry's own kind. Reserved bits are looked at."""
    present = decode(ContextEntry, entry).present
    if not present:
        return _bits("present", "fault_processing_disable")
    unused = ["_ignored_70_67"]
    if decode(ContextEntry, entry).translation_type == TranslationType.PASS_THROUGH:
        unused.append("second_stage_pointer")
    return int(((1 << QUANTUM_BITS) - 1) & ~_bits(*unused))


def plan(old: int, new: int, *, quantum: int = QUANTUM_BITS) -> EntryPlan:
    """The shortest hitless plan for a context entry if there is one, otherwise break-before-make.

    Parameters
    ----------
    old, new : int
        The entry as it stands, and as it shall be.
    quantum : int
        Bits that are written indivisibly: 64 or 128.
    """
    if quantum not in (STORE_BITS, QUANTUM_BITS):
        raise ValueError(f"quantum must be {STORE_BITS} or {QUANTUM_BITS}, not {quantum!r}")
    used_by_old, used_by_new = context_used_bits(old), context_used_bits(new)
    indices = range(QUANTUM_BITS // quantum)
    preloaded = (old & used_by_old) | (new & ~used_by_old & used_by_new) | (old & ~used_by_old & ~used_by_new)
    critical = [n for n in indices if _quantum((preloaded ^ new) & used_by_new, n, quantum)]
    if len(critical) > 1:
        which = " and ".join(str(n) for n in critical)
        return break_plan(old, new, reason=f"bits in use differ in quanta {which} of {quantum} bits")
    # The critical quantum, and every other one whose used bits do not change, is written once, with its final value.
    writes: list[EntryWrite] = []
    entry = old
    for n in indices:
        early = preloaded if _quantum((preloaded ^ new) & used_by_old, n, quantum) else new
        if n not in critical:
            entry = _append(writes, entry, n, quantum, _quantum(early, n, quantum), "the old entry ignores it")
    for n in critical:
        entry = _append(writes, entry, n, quantum, _quantum(new, n, quantum), "the change itself")
    for n in indices:
        entry = _append(writes, entry, n, quantum, _quantum(new, n, quantum), "the new entry ignores it")
    reason = (f"bits in use differ only in quantum {critical[0]} of {quantum} bits" if critical
              else "no bit in use differs")
    return EntryPlan(Outcome.HITLESS, reason, tuple(writes))


def break_plan(old: int, new: int, *, reason: str = "asked for") -> EntryPlan:
    """The context entry made not present by one store, rewritten while it is, and made present by the last store.

    Between the first write and the second the caller invalidates, and waits: only then has the unit let go of it.
    """
    writes: list[EntryWrite] = []
    entry = _append(writes, old, 0, STORE_BITS, _quantum(old & ~_bits("present"), 0, STORE_BITS), "not present")
    for n in reversed(range(QUANTUM_BITS // STORE_BITS)):
        why = "while it is not present" if n else "present again"
        entry = _append(writes, entry, n, STORE_BITS, _quantum(new, n, STORE_BITS), why)
    return EntryPlan(Outcome.BREAK_BEFORE_MAKE, reason, tuple(writes))


def _append(writes: list[EntryWrite], entry: int, index: int, quantum: int, after: int, why: str) -> int:
    before = _quantum(entry, index, quantum)
    if before == after:
        return entry
    writes.append(EntryWrite(index, quantum, before, after, why))
    return writes[-1].apply(entry)


def _bits(*names: str) -> int:
    fields = [data.Layout.cast(ContextEntry)[name] for name in names]
    return sum(((1 << field.width) - 1) << field.offset for field in fields)


def _quantum(value: int, index: int, quantum: int) -> int:
    return (value >> (index * quantum)) % (1 << quantum)


def _with_quantum(value: int, index: int, quantum: int, replacement: int) -> int:
    return value ^ ((_quantum(value, index, quantum) ^ replacement) << (index * quantum))
