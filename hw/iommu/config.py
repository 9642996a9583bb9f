"""Sizes of one build of the unit. What differs from machine to machine at run time is a strap, not a parameter."""
from dataclasses import dataclass

from amaranth.hdl import Shape

from hw.spec.memory import CLIENT_TAG_BITS, MEMORY_WORD_BITS
from hw.spec.tables import SecondStageEntry

__all__ = ["IommuConfig"]


@dataclass(frozen=True)
class IommuConfig:
    """Sizes of caches, queues and walkers. Impossible ones are refused at construction.

    Parameters
    ----------
    iotlb_sets, iotlb_ways : int
        Lines of 4 KiB translations: sets (power of two) times ways. A line holds what one memory word holds:
        `entries_per_word` neighbouring entries.
    superpage_sets, superpage_ways : int
        The same for 2 MiB and for 1 GiB translations, each.
    structure_sets, structure_ways : int
        Paging-structure cache: lines of level-2 entries, each of which names a table of 4 KiB leaves.
    upper_structure_sets, upper_structure_ways : int
        The same for the levels 3, 4 and 5, each.
    context_sets, context_ways : int
        Context cache.
    walk_slots, context_slots : int
        Page walks and context fetches in flight, 1 to 64.
    waiters : int
        Requests that can wait for page walks, and as many for context fetches, 2 to 512.
    prefetch_streams : int
        Sequential streams that are recognised at a time; 0: no prefetch.
    prefetch_lines : int
        Lines that a stream is fetched ahead, 1 to 15.
    fault_records : int
        FRCD registers built, 1 to 256; the straps may show fewer.
    memory_word_bits : int
        Width of a table read, 128 or 512.
    """

    iotlb_sets: int = 64
    iotlb_ways: int = 4
    superpage_sets: int = 8
    superpage_ways: int = 2
    structure_sets: int = 16
    structure_ways: int = 4
    upper_structure_sets: int = 8
    upper_structure_ways: int = 2
    context_sets: int = 16
    context_ways: int = 4
    walk_slots: int = 16
    context_slots: int = 4
    waiters: int = 64
    prefetch_streams: int = 4
    prefetch_lines: int = 4
    fault_records: int = 8
    memory_word_bits: int = 128

    def __post_init__(self):
        for name in ("iotlb_sets", "superpage_sets", "structure_sets", "upper_structure_sets", "context_sets"):
            value = getattr(self, name)
            if value < 2 or value & (value - 1):
                raise ValueError(f"{name} must be a power of two and at least 2, not {value!r}")
        for name in ("iotlb_ways", "superpage_ways", "structure_ways", "upper_structure_ways", "context_ways"):
            value = getattr(self, name)
            if value < 1:
                raise ValueError(f"{name} must be at least 1, not {value!r}")
        for name, least, most in (("walk_slots", 1, 64), ("context_slots", 1, 64), ("fault_records", 1, 256),
                                  ("waiters", 2, 512), ("prefetch_streams", 0, 16), ("prefetch_lines", 1, 15)):
            value = getattr(self, name)
            if not least <= value <= most:
                raise ValueError(f"{name} must be between {least} and {most}, not {value!r}")
        if self.memory_word_bits not in MEMORY_WORD_BITS:
            raise ValueError(f"memory_word_bits must be one of {MEMORY_WORD_BITS}, not {self.memory_word_bits!r}")
        assert self.walk_slots <= 1 << CLIENT_TAG_BITS

    @property
    def entries_per_word(self):
        """Paging entries in a memory word: 2 or 8."""
        return self.memory_word_bits // Shape.cast(SecondStageEntry).width
