"""Sizes of one build of the unit. What differs from machine to machine at run time is a strap, not a parameter."""
from dataclasses import dataclass

from hw.spec.memory import CLIENT_TAG_BITS, MEMORY_WORD_BITS

__all__ = ["IommuConfig"]


@dataclass(frozen=True)
class IommuConfig:
    """Sizes of caches, queues and walkers. Impossible ones are refused at construction.

    Parameters
    ----------
    iotlb_sets, iotlb_ways : int
        4 KiB lines: sets (power of two) times ways.
    superpage_sets, superpage_ways : int
        The same for 2 MiB and for 1 GiB lines, each.
    context_sets, context_ways : int
        Context cache.
    walk_slots, context_slots : int
        Page walks and context fetches in flight, 1 to 64.
    miss_queue_depth : int
        Requests that wait for a slot.
    fault_records : int
        FRCD registers built, 1 to 256; the straps may show fewer.
    memory_word_bits : int
        Width of a table read, 128 or 512.
    """

    iotlb_sets: int = 64
    iotlb_ways: int = 4
    superpage_sets: int = 8
    superpage_ways: int = 2
    context_sets: int = 16
    context_ways: int = 4
    walk_slots: int = 16
    context_slots: int = 4
    miss_queue_depth: int = 32
    fault_records: int = 8
    memory_word_bits: int = 128

    def __post_init__(self):
        for name in ("iotlb_sets", "superpage_sets", "context_sets"):
            value = getattr(self, name)
            if value < 2 or value & (value - 1):
                raise ValueError(f"{name} must be a power of two and at least 2, not {value!r}")
        for name in ("iotlb_ways", "superpage_ways", "context_ways", "miss_queue_depth"):
            value = getattr(self, name)
            if value < 1:
                raise ValueError(f"{name} must be at least 1, not {value!r}")
        for name, limit in (("walk_slots", 64), ("context_slots", 64), ("fault_records", 256)):
            value = getattr(self, name)
            if not 1 <= value <= limit:
                raise ValueError(f"{name} must be between 1 and {limit}, not {value!r}")
        if self.memory_word_bits not in MEMORY_WORD_BITS:
            raise ValueError(f"memory_word_bits must be one of {MEMORY_WORD_BITS}, not {self.memory_word_bits!r}")
        assert self.walk_slots <= 1 << CLIENT_TAG_BITS
