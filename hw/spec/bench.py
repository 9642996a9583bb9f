"""The host's address map of bench_top, and the registers that are ours: update window and traffic engine.

    0x0_0000  the unit's VT-d register window (hw.spec.registers)
    0x1_0000  update window: the update port, reachable from the host
    0x1_8000  monitor window: what the unit has counted, read only (hw.spec.monitor)
    0x1_C000  pre-walk window: pages to be walked before they are asked for (hw.spec.prewalk)
    0x2_0000  traffic engine: control, device table, verdict counters
    0x4_0000  traffic engine: page list

Every register is 64 bits wide here, at 8-byte offsets, little-endian; 4-byte accesses are for the unit's window only.
"""
from amaranth.lib import data, enum

__all__ = ["HOST_ADDRESS_BITS", "UNIT_BASE", "UPDATE_BASE", "MONITOR_BASE", "PREWALK_BASE", "TRAFFIC_BASE", "PAGE_LIST_BASE",
           "HostRequest", "HostReply",
           "UpdateOperation", "UpdateRequest", "UpdateReply", "UpdateRegister", "UpdateCommand", "UpdateStatus",
           "Phase", "Pattern", "TrafficRegister", "TrafficControl", "DeviceField", "DeviceConfig", "DeviceDomains",
           "DEVICE_BASE", "DEVICE_STRIDE", "COUNTER_BASE", "Counter", "PAGE_ENTRY_BYTES", "DMA_BYTES", "PageEntry",
           "LatencyWatch", "HISTOGRAM_BASE", "HISTOGRAM_BINS", "SPAN_LOG2_MAX",
           "MAX_DEVICES", "SIGNATURE_MAGIC", "POISON_BYTE", "page_signature", "DataWord"]

HOST_ADDRESS_BITS = 20
UNIT_BASE = 0x00000
UPDATE_BASE = 0x10000
MONITOR_BASE = 0x18000
PREWALK_BASE = 0x1C000
TRAFFIC_BASE = 0x20000
PAGE_LIST_BASE = 0x40000


class HostRequest(data.Struct):
    """One register access from the host."""
    write: 1
    wide: 1                    # 1: 8 bytes, 0: 4 bytes (data[31:0])
    address: HOST_ADDRESS_BITS  # byte address, naturally aligned
    data: 64


class HostReply(data.Struct):
    """Its answer, for reads and writes alike, in order."""
    data: 64
    error: 1                   # no such register, or the access is not allowed there


# --- update port -----------------------------------------------------------------------------------------------------

class UpdateOperation(enum.Enum, shape=1):
    """What the update port does to memory, at one instant."""
    COMPARE_EXCHANGE_128 = 0   # as a CPU's locked 16-byte compare-exchange
    STORE_64 = 1               # as a CPU's plain aligned 8-byte store: desired[63:0] at hpa


class UpdateRequest(data.Struct):
    """One store into table memory."""
    operation: UpdateOperation
    hpa: 52                    # 16-byte aligned; 8-byte aligned for STORE_64
    expected: 128
    desired: 128


class UpdateReply(data.Struct):
    """What it found."""
    swapped: 1                 # the store took place
    error: 1                   # the memory refused the address, or it was not aligned: nothing was stored
    observed: 128              # the quantum as it stood before


class UpdateRegister(enum.IntEnum, shape=8):
    """Offsets in the update window."""
    ADDRESS = 0x00
    EXPECTED_LOW = 0x08
    EXPECTED_HIGH = 0x10
    DESIRED_LOW = 0x18
    DESIRED_HIGH = 0x20
    COMMAND = 0x28             # UpdateCommand; writing it starts the store
    STATUS = 0x30              # UpdateStatus
    OBSERVED_LOW = 0x38
    OBSERVED_HIGH = 0x40
    COMMIT_CYCLE = 0x48        # value of the cycle counter when memory took the store


class UpdateCommand(data.Struct):
    """COMMAND. An armed store waits until a walk and a hit of `source_id` are in flight together, then `offset_cycles` more."""
    operation: UpdateOperation
    armed: 1
    _reserved_15_2: 14
    source_id: 16
    offset_cycles: 16


class UpdateStatus(data.Struct):
    """STATUS."""
    busy: 1                    # armed or under way
    swapped: 1
    error: 1
    triggered: 1               # the armed condition was met (0 while armed, and for unarmed stores)


# --- traffic engine ----------------------------------------------------------------------------------------------------

MAX_DEVICES = 32               # rows of the device table, at most


class Phase(enum.Enum, shape=4):
    """The ruler in the waveform: what the driver is doing. Changes nothing."""
    STEADY = 0
    FREEZE = 1
    KEXEC = 2
    ADOPT = 3
    BREAK = 4
    MAKE = 5
    SWAP = 6
    INVALIDATE = 7
    FREE = 8


class Pattern(enum.Enum, shape=2):
    """In which order a device visits its pages."""
    SEQUENTIAL = 0
    RANDOM = 1
    STRIDED = 2                # every stride-th entry of its list, wrapping
    RESERVED_3 = 3


class TrafficRegister(enum.IntEnum, shape=12):
    """Offsets in the engine's control block."""
    CONTROL = 0x000            # TrafficControl
    PHASE = 0x008              # Phase
    IN_FLIGHT = 0x010          # DMAs issued and not yet done; read only
    CYCLE = 0x018              # cycles since reset; read only
    SEED = 0x020               # of the random words, 26 bits; a device takes it when its CONFIG is written
    TOTAL = 0x028              # DMAs done since reset; read only
    STRAY = 0x030              # replies since reset that no DMA waited for; read only
    LATENCY = 0x038            # LatencyWatch; writing it clears the histogram and LATENCY_MAX
    LATENCY_MAX = 0x040        # longest latency in cycles that the histogram has counted, 0: none; read only


class TrafficControl(data.Struct):
    """CONTROL."""
    run: 1                     # 0: issue nothing new
    outstanding_limit: 11      # DMAs in flight, 1..2**TAG_BITS
    gap_cycles: 8              # least cycles between two issues


class LatencyWatch(data.Struct):
    """LATENCY: whose DMAs the histogram counts, of those that the unit accepts after the register was written."""
    device: 5                  # row of the device table
    single: 1                  # 0: every device, 1: that one


class DeviceField(enum.IntEnum, shape=6):
    """Offsets in one row of the device table."""
    CONFIG = 0x00              # DeviceConfig
    DOMAINS = 0x08             # DeviceDomains


class DeviceConfig(data.Struct):
    """CONFIG of one device. Writing it starts the device's sequence anew, at its first page."""
    source_id: 16
    first_page: 13             # index of its first entry in the page list
    page_count: 13             # entries that are its own, at least 1 if enabled
    pattern: Pattern
    stride: 6
    writes: 4                  # of 16 DMAs, how many are writes (to pages that are writable)
    burst_log2: 3              # DMAs to one page before the next: 2**burst_log2; line by line unless RANDOM
    bus_master: 1              # 0: it issues nothing
    enabled: 1
    limit: 4                   # of its DMAs in flight: 2**(limit - 1), 0: none of its own. Set while it has none


class DeviceDomains(data.Struct):
    """DOMAINS of one device: what the checker accepts. Written by the experiment, never by driver code.

    A DMA is judged by what was declared when the unit accepted it or is declared when it is judged.
    """
    old_domain_id: 16
    new_domain_id: 16
    old_permitted: 1           # an OLD verdict is fine; otherwise it is WRONG
    new_permitted: 1


DEVICE_BASE = 0x1000           # row n at DEVICE_BASE + DEVICE_STRIDE * n
DEVICE_STRIDE = 0x40
COUNTER_BASE = 0x2000          # counter c of device n at COUNTER_BASE + DEVICE_STRIDE * n + 8 * c; written: cleared


class Counter(enum.IntEnum, shape=3):
    """Per-device 32-bit counters; the first six are numbered as Verdict."""
    OLD = 0
    NEW = 1
    BLOCKED = 2
    WRONG = 3
    AFTER_FREE = 4
    ERROR = 5
    ISSUED = 6


HISTOGRAM_BASE = 0x4000        # bin n, 32 bits, at HISTOGRAM_BASE + 8 * n; read only
HISTOGRAM_BINS = 1024          # bin n: DMAs with a latency of n cycles; the last one: that many or more
SPAN_LOG2_MAX = 22             # 16 GiB


class PageEntry(data.Struct):
    """One entry of the page list, PAGE_ENTRY_BYTES at PAGE_LIST_BASE + 32*n: words 0..2; write only.

    An entry stands for a span of 2**span_log2 pages, one after the other in IOVA, in `old_page` and in `new_page`, which
    are all three aligned to the span. A visit goes to one page of it: Pattern.RANDOM takes any; otherwise the first, the
    next one when the device comes by again, and after the last one the first.

    A DMA is judged by the entry as it stood when the DMA was made: name a new page before any DMA can land there.
    """
    iova_page: 52
    readable: 1
    writable: 1
    span_log2: 5               # 0: the one page, at most SPAN_LOG2_MAX
    _reserved_63_59: 5
    old_page: 40               # HPA page that the old tables give
    _reserved_127_104: 24
    new_page: 40               # HPA page that the new tables give
    _reserved_191_168: 24


PAGE_ENTRY_BYTES = 32
DMA_BYTES = 64                 # of every DMA of the engine, aligned; its first 16 bytes stand for it in data memory

# --- data pages --------------------------------------------------------------------------------------------------------

SIGNATURE_MAGIC = 0x516E       # "Qn": bits 63:48 of a page's signature
POISON_BYTE = 0xDB             # a freed page is filled with it


def page_signature(page):
    """The 64-bit signature of an HPA page number; works on hardware values too."""
    return (SIGNATURE_MAGIC << 48) | page


class DataWord(data.Struct):
    """Every aligned 16 bytes of a data page. A DMA write replaces the stamp only; its reply shows the signature."""
    stamp: 64                  # who wrote last: device, tag, and a sequence number (0: nobody yet)
    signature: 64              # page_signature(HPA page number), put there by the experiment


class WriteStamp(data.Struct):
    """DataWord.stamp of a DMA write."""
    sequence: 32               # of the engine's DMAs, from 1
    tag: 16
    source_id: 16


__all__ += ["WriteStamp"]
