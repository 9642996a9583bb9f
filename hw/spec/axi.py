"""AXI4 as the wrapper speaks it: encodings, user signals and port widths.

The user signals are ours. Everything else: Arm IHI 0022 (AXI and ACE protocol), issue H, parts A and B.
"""
from amaranth.lib import data, enum

__all__ = ["AXI_ADDRESS_BITS", "FIXED_BEATS_MOST", "MAX_BURST_BEATS", "WRAP_BEATS",
           "AxiBurst", "AxiResponse", "DmaUser", "MemoryUser", "TABLE_CACHE", "TABLE_PROT"]

AXI_ADDRESS_BITS = 64
MAX_BURST_BEATS = 256            # AxLEN is beats - 1
WRAP_BEATS = (2, 4, 8, 16)       # A3.4.1
FIXED_BEATS_MOST = 16            # A3.4.1


class AxiBurst(enum.Enum, shape=2):
    """AxBURST (A3.4.1)."""
    FIXED = 0                    # every beat at the first one's address
    INCR = 1
    WRAP = 2                     # wraps at a multiple of its own size
    RESERVED_3 = 3


class AxiResponse(enum.Enum, shape=2):
    """xRESP (A3.4.4). The bitwise OR of two is the worse of them, unless one is EXOKAY."""
    OKAY = 0
    EXOKAY = 1                   # an exclusive access succeeded
    SLVERR = 2
    DECERR = 3


class DmaUser(data.Struct):
    """AxUSER of a DMA that comes in: who makes it."""
    source_id: 16                # requester: bus 15:8, device 7:3, function 2:0
    pasid_present: 1
    pasid: 20                    # meaningful if pasid_present


class MemoryUser(data.Struct):
    """AxUSER of a DMA that goes out."""
    source_id: 16                # as it came in; who receives interrupts wants to know
    interrupt: 1                 # not a memory access: a message to the interrupt window, not translated


TABLE_CACHE = 0b1111             # AxCACHE of the unit's own accesses: write-back, and so coherent with CPUs (ECAP.C)
TABLE_PROT = 0b011               # AxPROT of them: privileged, non-secure, data
