"""The memory port: what the unit's table reads, the update port and the traffic engine's data accesses speak. Ours.

One request is accepted per cycle; replies come by tag, in any order, at least one cycle later. An access is executed
whole at one instant: no reader ever sees half of a 128-bit write.
"""
from amaranth.lib import data, enum

__all__ = ["QUANTUM_BITS", "QUANTUM_BYTES", "CLIENT_TAG_BITS", "MEMORY_TAG_BITS", "MEMORY_WORD_BITS",
           "MemoryClient", "MemoryOperation", "MemoryRequest", "memory_reply_layout"]

QUANTUM_BITS = 128        # indivisible unit of every access
QUANTUM_BYTES = 16
CLIENT_TAG_BITS = 8       # a client's own tag
MEMORY_TAG_BITS = 11      # the arbiter puts the client's number (3 bits) above the client's tag
MEMORY_WORD_BITS = (128, 512)  # permitted read widths


class MemoryClient(enum.IntEnum, shape=3):
    """Who of the unit accesses table memory: the number above the client's own tag."""
    CONTEXT_WALKER = 0
    PAGE_WALKER = 1
    UPDATE_PORT = 2        # a CPU's store
    INVALIDATION_QUEUE = 3 # reads descriptors
    MESSAGE_WRITER = 4     # status data of waits, event messages


class MemoryOperation(enum.Enum, shape=2):
    """What to do with the addressed quantum. Every operation replies with the word *as it stood before*."""
    READ = 0
    WRITE = 1              # bytes selected by write_mask
    COMPARE_EXCHANGE = 2   # the whole quantum becomes `data` if it equals `expected`
    RESERVED_3 = 3


class MemoryRequest(data.Struct):
    """One access."""
    operation: MemoryOperation
    hpa: 52                # byte address, 16-byte aligned (the low four bits are ignored)
    data: QUANTUM_BITS     # WRITE: the bytes; COMPARE_EXCHANGE: the desired value
    expected: QUANTUM_BITS # COMPARE_EXCHANGE only
    write_mask: QUANTUM_BYTES  # WRITE only: one bit per byte
    tag: MEMORY_TAG_BITS


def memory_reply_layout(word_bits):
    """Reply of a memory whose words are `word_bits` wide (128 or 512).

    A 512-bit word holds the aligned 64 bytes around the request's hpa, quantum at hpa[5:4]; for WRITE and
    COMPARE_EXCHANGE only the addressed quantum is meaningful.

    Raises
    ------
    ValueError
        If the width is not permitted.
    """
    if word_bits not in MEMORY_WORD_BITS:
        raise ValueError(f"memory_word_bits must be one of {MEMORY_WORD_BITS}, not {word_bits!r}")
    return data.StructLayout({
        "tag": MEMORY_TAG_BITS,
        "error": 1,            # the memory refused the address; `data` is meaningless
        "data": word_bits,     # little-endian
    })
