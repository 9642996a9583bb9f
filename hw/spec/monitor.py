"""What the unit counts for the host at MONITOR_BASE, and the knobs of its invalidation queue. Ours."""
from amaranth.lib import data, enum

__all__ = ["DeviceTlbAnswer", "MonitorRegister", "QueueKnobs"]


class MonitorRegister(enum.IntEnum, shape=8):
    """Offsets in the monitor window. 32-bit counters since reset, in 64-bit registers; they stand still at their largest value."""
    PROTOCOL_ERRORS = 0x00        # register accesses that broke a rule of the programming interface
    FAULT_MESSAGES = 0x08         # fault events stored to memory
    INVALIDATION_MESSAGES = 0x10  # invalidation events stored to memory
    WAITS_COMPLETED = 0x18
    WAITS_ABANDONED = 0x20
    REFUSED_MESSAGES = 0x28       # stores of status or events that the memory refused
    DESCRIPTORS = 0x40            # executed, by type: at DESCRIPTORS + 8 * DescriptorType, types 1 to 9


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
