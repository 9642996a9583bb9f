"""What the replacement of a device's domain did, for reports."""
from dataclasses import dataclass

__all__ = ["Replacement"]


@dataclass(frozen=True)
class Replacement:
    """What a replacement did."""

    source_id: int
    old_domain_id: int
    new_domain_id: int
    strategy: str
    plan: tuple[str, ...]
    triggered: bool      # an armed store met its moment
    commit_cycle: int    # in which memory took the first store
    done_cycle: int      # after the last step

    @property
    def swap_cycles(self) -> int:
        """From the first store to the end of the last invalidation or store."""
        return self.done_cycle - self.commit_cycle
