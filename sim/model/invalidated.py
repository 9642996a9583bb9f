"""Since when caches can hold what they hold: the invalidations that have begun, and those that are complete. Ours.

Source: VT-d 4.1, 6.5 (what an invalidation guarantees, and to whom), 6.5.2.11 (order).
"""
from collections.abc import Callable

from sim.model.caches import InvalidationView

__all__ = ["EVER", "NEVER", "Invalidated"]

EVER = -1        # begin of what no invalidation has ended
NEVER = 1 << 62  # end of what none has removed


class Invalidated:
    """All invalidations of a machine. A question that none answers is answered EVER."""

    def __init__(self) -> None:
        self._begun: list[tuple[int, InvalidationView]] = []
        self._completed: list[tuple[int, int, InvalidationView]] = []   # begin, end, what

    def begin(self, cycle: int, invalidation: InvalidationView) -> None:
        """An invalidation begins."""
        self._begun.append((cycle, invalidation))

    def end(self, cycle: int) -> None:
        """Every one that has begun is complete."""
        self._completed += [(begin, cycle, invalidation) for begin, invalidation in self._begun]
        self._begun.clear()

    def context_since(self, source_id: int, domain_id: int, accepted: int) -> int:
        """Begin of the last one of this context that was complete before a request was accepted."""
        return self._since(accepted, lambda each: each.covers_context(source_id, domain_id))

    def context_removed(self, source_id: int, domain_id: int, replaced: int) -> int:
        """Begin of the first one of this context after memory has another, of those completed; NEVER if there is none.

        A cached context makes lines until then. Invalidations of lines are executed after those of contexts before them:
        what these remove makes no line any more that those do not.
        """
        return next((begin for begin, _, each in self._completed
                     if begin > replaced and each.covers_context(source_id, domain_id)), NEVER)

    def lines_since(self, domain_id: int, iova_page: int, page_size: int, accepted: int) -> int:
        """Begin of the last one of the line of this size around this page that was complete before a request was accepted."""
        return self._since(accepted, lambda each: each.covers_translation(domain_id, iova_page, page_size))

    def paths_since(self, domain_id: int, iova_page: int, page_size: int, accepted: int) -> int:
        """The same of the levels above that line: one that hints that only leaves have changed (IH) leaves them."""
        return self._since(accepted, lambda each: each.covers_path(domain_id, iova_page, page_size))

    def structures_since(self, domain_id: int, iova_page: int, level: int, accepted: int) -> int:
        """The same of the entry of this level on the way to this page, in a paging-structure cache."""
        return self._since(accepted, lambda each: each.covers_structure(domain_id, iova_page, level))

    def _since(self, accepted: int, covers: Callable[[InvalidationView], bool]) -> int:
        return next((begin for begin, end, each in reversed(self._completed) if end < accepted and covers(each)), EVER)
