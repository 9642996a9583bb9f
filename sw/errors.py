"""What can go wrong in the driver: one class per cause, carrying the numbers and saying what would be right."""
from dataclasses import dataclass

__all__ = [
    "AdoptionRefused",
    "AlreadyAttached",
    "AlreadyMapped",
    "BadRange",
    "CaptureMalformed",
    "CaptureUnsupported",
    "DescriptorRefused",
    "DescriptorUnreadable",
    "DeviceTlbFailed",
    "DomainIdUnavailable",
    "DoubleFree",
    "DriverError",
    "EntryChanged",
    "IntervalsDiffer",
    "InvalidationRefused",
    "NotAttached",
    "NotHitless",
    "NotMapped",
    "OutOfPages",
    "PageInUse",
    "PrewalkRefused",
    "QueueIsOn",
    "QueueTailRefused",
    "RegisterTimeout",
    "StoreRefused",
    "TableMalformed",
    "UpdateRefused",
    "WaitAborted",
    "WaitTimeout",
]


class DriverError(Exception):
    """Anything that the driver refuses or cannot finish."""


@dataclass(eq=False)
class RegisterTimeout(DriverError):
    """Hardware did not show the awaited state in time."""

    register: str
    awaited: str
    value: str
    cycles: int

    def __str__(self) -> str:
        return f"{self.register} did not become {self.awaited} within {self.cycles} cycles; it reads {self.value}"


@dataclass(eq=False)
class InvalidationRefused(DriverError):
    """The unit did less than it was asked to."""

    register: str
    requested: str
    performed: str

    def __str__(self) -> str:
        return (f"{self.register}: requested a {self.requested} invalidation, the unit performed {self.performed}; "
                f"only the same or a coarser one will do")


@dataclass(eq=False)
class QueueIsOn(DriverError):
    """An invalidation through a register, of a unit whose invalidation queue is on."""

    register: str

    def __str__(self) -> str:
        return f"{self.register}: the unit ignores it while its invalidation queue is on; queue a descriptor instead"


@dataclass(eq=False)
class DescriptorRefused(DriverError):
    """The unit takes a descriptor for none that it knows."""

    place: str
    descriptor: str
    cause: str

    def __str__(self) -> str:
        return (f"the unit refuses the descriptor in {self.place} ({self.cause}): {self.descriptor}; a wait stands in "
                f"its place now, and the queue runs on")


@dataclass(eq=False)
class DescriptorUnreadable(DriverError):
    """The memory refused the unit a descriptor."""

    place: str

    def __str__(self) -> str:
        return f"the memory refuses to be read at {self.place}; the unit stops there until something more is queued"


@dataclass(eq=False)
class QueueTailRefused(DriverError):
    """IQT pointed to no slot of the queue."""

    cause: str
    right: int

    def __str__(self) -> str:
        return (f"the unit refused what somebody else wrote to IQT ({self.cause}); IQT.QT is {self.right:#x} again, and "
                f"the queue runs on")


@dataclass(eq=False)
class WaitTimeout(DriverError):
    """A wait descriptor has not completed in time."""

    wait: str
    head: int
    tail: int
    cycles: int

    def __str__(self) -> str:
        fetched = "all is fetched" if self.head == self.tail else f"IQH {self.head:#x} and IQT {self.tail:#x} differ"
        return f"{self.wait} did not complete within {self.cycles} cycles; {fetched}"


@dataclass(eq=False)
class WaitAborted(DriverError):
    """A device did not answer the invalidation of its TLB; the waits behind it never complete."""

    wait: str
    source_id: int

    def __str__(self) -> str:
        return f"{self.wait} was aborted: device {self.source_id:#06x} did not answer the invalidation of its TLB"


@dataclass(eq=False)
class DeviceTlbFailed(DriverError):
    """A device answered the invalidation of its TLB with an error. What was queued is complete all the same."""

    wait: str
    source_id: int

    def __str__(self) -> str:
        return f"device {self.source_id:#06x} answered the invalidation of its TLB with an error, before {self.wait}"


@dataclass(eq=False)
class OutOfPages(DriverError):
    """The arena is exhausted."""

    base: int
    size: int
    in_use: int

    def __str__(self) -> str:
        return (f"no free page in the arena {self.base:#x}..{self.base + self.size:#x}: {self.in_use} pages are in "
                f"use; give the kernel a larger arena")


@dataclass(eq=False)
class DoubleFree(DriverError):
    """A page is freed that nobody holds."""

    page: int

    def __str__(self) -> str:
        return f"page {self.page:#x} is not in use: it was freed before, or never allocated or reserved here"


@dataclass(eq=False)
class PageInUse(DriverError):
    """A page is reserved that somebody holds already."""

    page: int

    def __str__(self) -> str:
        return f"page {self.page:#x} is in use already; a page may be reserved once"


@dataclass(eq=False)
class BadRange(DriverError):
    """An address, a length or a permission that no table can express."""

    what: str
    value: int
    rule: str

    def __str__(self) -> str:
        return f"{self.what} {self.value:#x}: {self.rule}"


@dataclass(eq=False)
class AlreadyMapped(DriverError):
    """A map over something that is mapped."""

    iova: int

    def __str__(self) -> str:
        return f"iova {self.iova:#x} is mapped already; unmap it first"


@dataclass(eq=False)
class NotMapped(DriverError):
    """An unmap of something that is not mapped."""

    iova: int

    def __str__(self) -> str:
        return f"iova {self.iova:#x} is not mapped; nothing was changed"


@dataclass(eq=False)
class TableMalformed(DriverError):
    """A table in memory that the unit would not accept."""

    entry_hpa: int
    entry: int
    rule: str

    def __str__(self) -> str:
        return f"entry at {self.entry_hpa:#x} reads {self.entry:#x}: {self.rule}"


@dataclass(eq=False)
class EntryChanged(DriverError):
    """A compare-exchange found another value than the plan was made for: nothing was stored."""

    entry_hpa: int
    expected: int
    observed: int

    def __str__(self) -> str:
        return (f"entry at {self.entry_hpa:#x} was expected to read {self.expected:#034x} but reads "
                f"{self.observed:#034x}; nothing was stored, make a new plan")


@dataclass(eq=False)
class UpdateRefused(DriverError):
    """The update port refused a store, or never came to it."""

    entry_hpa: int
    reason: str

    def __str__(self) -> str:
        return f"update of the entry at {self.entry_hpa:#x}: {self.reason}"


@dataclass(eq=False)
class PrewalkRefused(DriverError):
    """A page that no device could translate under the context entry of a pre-walk."""

    iova: int
    entry: int

    def __str__(self) -> str:
        return (f"no device could translate {self.iova:#x} under context entry {self.entry:#034x}: the entry must be present, "
                f"legal and of the multi-level type, and the address within its width and outside the interrupt window")


@dataclass(eq=False)
class NotHitless(DriverError):
    """A hitless change was asked for where there is none."""

    reason: str

    def __str__(self) -> str:
        return f"no hitless change exists: {self.reason}; use break_before_make"


@dataclass(eq=False)
class AlreadyAttached(DriverError):
    """An attach of a device that has a domain."""

    source_id: int
    domain_id: int

    def __str__(self) -> str:
        return f"device {self.source_id:#06x} is attached to domain {self.domain_id}; use replace, or detach it first"


@dataclass(eq=False)
class NotAttached(DriverError):
    """A device that has no domain."""

    source_id: int

    def __str__(self) -> str:
        return f"device {self.source_id:#06x} is not attached to a domain; attach it first"


@dataclass(eq=False)
class DomainIdUnavailable(DriverError):
    """A domain ID that cannot be had."""

    domain_id: int
    reason: str

    def __str__(self) -> str:
        return f"domain ID {self.domain_id}: {self.reason}"


@dataclass(eq=False)
class AdoptionRefused(DriverError):
    """The machine is not in the state that the persisted records promise; nothing was changed."""

    rule: str

    def __str__(self) -> str:
        return f"adoption refused: {self.rule}"


@dataclass(eq=False)
class IntervalsDiffer(DriverError):
    """Two tables do not give the same translations."""

    iova: int
    was: str
    now: str

    def __str__(self) -> str:
        return f"at iova {self.iova:#x} the old tables give {self.was}, the new ones {self.now}"


@dataclass(eq=False)
class CaptureMalformed(DriverError):
    """A capture folder that breaks a rule of its format."""

    file: str
    rule: str

    def __str__(self) -> str:
        return f"{self.file}: {self.rule}"


@dataclass(eq=False)
class CaptureUnsupported(DriverError):
    """A sound capture of something that the unit does not do."""

    capture: str
    sentence: str

    def __str__(self) -> str:
        return f"capture {self.capture}: {self.sentence}"


@dataclass(eq=False)
class StoreRefused(DriverError):
    """Persisted data that does not verify. Devices may still be writing: stop here, touch nothing."""

    record: str
    rule: str

    def __str__(self) -> str:
        return f"persisted record {self.record}: {self.rule}"
