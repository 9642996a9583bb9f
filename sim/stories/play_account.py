"""What was done and seen in a play."""
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field

from sim.stories.read_masks import ReadMask

__all__ = ["PlayAccount"]


@dataclass
class PlayAccount:
    """Counts, and everything that was not as it must be.

    Members
    -------
    now
        Gives the cycle.
    counts
        By what was counted.
    differences
        In words.
    masks
        How often each entry of the mask table hid a difference.
    """

    now: Callable[[], int]
    counts: Counter[str] = field(default_factory=Counter)
    differences: list[str] = field(default_factory=list)
    masks: Counter[ReadMask] = field(default_factory=Counter)

    def differ(self, sentence: str) -> None:
        """Something is not as it must be."""
        self.counts["mismatches"] += 1
        self.differences.append(f"cycle {self.now()}: {sentence}")
