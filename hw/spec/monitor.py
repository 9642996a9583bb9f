"""What the unit counts for the host at MONITOR_BASE, and the knobs of its invalidation queue. Ours."""
from amaranth.hdl import Shape
from amaranth.lib import data, enum

from hw.spec.invalidation import ABORT_MODE_DESCRIPTORS, DescriptorType

__all__ = ["COUNTED", "COUNTER_BITS", "MONITOR_COUNTERS", "DeviceTlbAnswer", "MonitorControl", "MonitorRegister", "QueueKnobs",
           "descriptor_counter"]

COUNTER_BITS = 48


class MonitorRegister(enum.IntEnum, shape=12):
    """Offsets in the monitor window. Counters of 48 bits, since reset or since they were cleared, in 64-bit registers.

    They stand still at their largest value. Read only, but for CONTROL. What they mean together: docs/performance.md.
    """
    PROTOCOL_ERRORS = 0x00        # register accesses that broke a rule of the programming interface
    FAULT_MESSAGES = 0x08         # fault events stored to memory
    INVALIDATION_MESSAGES = 0x10  # invalidation events stored to memory
    WAITS_COMPLETED = 0x18
    WAITS_ABANDONED = 0x20
    REFUSED_MESSAGES = 0x28       # stores of status or events that the memory refused
    CYCLES = 0x30                 # in which the counters counted
    CONTROL = 0x38                # MonitorControl: clears and stops all counters; no counter itself
    DESCRIPTORS = 0x40            # executed, by type: at DESCRIPTORS + 8 * DescriptorType, types 1 to 9
    REQUESTS = 0x90               # accepted
    HITS = 0x98                   # requests answered from the IOTLB
    WALK_REQUESTS = 0xA0          # requests that the IOTLB could not answer, with their context from the context cache
    WALKS = 0xA8                  # begun for a request; not those of prefetch and pre-walk
    WALKS_JOINED = 0xB0           # requests that wait for a walk which was under way
    WALKS_AGAIN = 0xB8            # walks begun anew, for requests that had joined and would be blocked
    WALK_READS = 0xC0             # reads of second-stage tables, whoever the walk is for
    CONTEXT_MISSES = 0xC8         # requests whose context is not cached
    CONTEXT_FETCHES = 0xD0        # begun
    CONTEXT_READS = 0xD8          # reads of root and context tables
    STALLS_BY_WALKS = 0xE0        # cycles in which a request waits because too many others wait for walks
    STALLS_BY_CONTEXTS = 0xE8     # ... because too many others wait for contexts
    STALLS_BY_ANSWERS = 0xF0      # ... because replies are not taken
    STALLS_BY_LIMIT = 0xF8        # ... because as many are in flight as can be counted
    PREFETCHES = 0x100            # walks begun because a stream reads on
    PREFETCHES_USED = 0x108       # lines that a stream had asked for and found cached when it came to them
    PREFETCHES_DROPPED = 0x110    # asked for, but never begun: overtaken by an invalidation, or no slot was to spare
    PREWALKS = 0x118              # walks begun because the host asked for them
    DRAINS = 0x120                # fences completed: everything invalidated before them is out of use
    BLOCKED = 0x128               # requests answered by a fault
    FILLS = 0x130                 # lines put in the IOTLB
    STRUCTURE_FILLS = 0x138       # lines put in a paging-structure cache


def descriptor_counter(kind: DescriptorType) -> int:
    """Offset of the counter of executed descriptors of a type."""
    return int(MonitorRegister.DESCRIPTORS + 8 * kind.value)


MONITOR_COUNTERS = {row.value: row.name for row in MonitorRegister if row.name not in {"CONTROL", "DESCRIPTORS"}} | {
    descriptor_counter(kind): f"DESCRIPTORS_{kind.name}" for kind in ABORT_MODE_DESCRIPTORS}
"""Every counter's name, by its offset."""

COUNTED = data.StructLayout({
    row.name.lower(): 1 for row in MonitorRegister
    if row.name not in {"CONTROL", "CYCLES", "DESCRIPTORS", "WAITS_COMPLETED"}} | {
    "descriptors": 1 << Shape.cast(DescriptorType).width})
"""One bit for each thing that is counted, high for one cycle each time it happens; named as its register, in small letters.
Bit n of `descriptors`: one of type n has been executed; a wait, that has completed, which is counted twice."""


class MonitorControl(data.Struct):
    """CONTROL. A write takes effect for what happens in the next cycle."""
    clear: 1                      # written as 1: all counters begin again at zero; reads 0
    stop: 1                       # nothing is counted, so that what is read one by one belongs together


class DeviceTlbAnswer(enum.Enum, shape=2):
    """Knob: how a device answers the invalidation of its TLB."""
    DONE = 0
    TIME_OUT = 1                  # not at all: FSTS.ITE
    ERROR = 2                     # FSTS.ICE
    RESERVED_3 = 3


class QueueKnobs(data.Struct):
    """Knobs of the invalidation queue. All zero is as fast as it goes. Ours."""
    fetch_delay: 12               # cycles before each fetch of a descriptor
    execute_delay: 12             # cycles between a descriptor's turn and its execution
    device_tlb_delay: 12          # cycles until a device answers, or is given up
    device_tlb_answer: DeviceTlbAnswer
