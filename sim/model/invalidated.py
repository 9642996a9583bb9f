"""Since when caches can hold what they hold: the invalidations that have begun, and those that are complete. Ours.

Source: VT-d 4.1, 6.5 (what an invalidation guarantees, and to whom), 6.5.2.11 (order).
"""
from sim.model.caches import InvalidationView

__all__ = ["EVER", "Invalidated"]

EVER = -1     # begin of what no invalidation has ended


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
        return next((begin for begin, end, each in reversed(self._completed)
                     if end < accepted and each.covers_context(source_id, domain_id)), EVER)

    def context_before(self, source_id: int, domain_id: int, begun: int) -> int:
        """Begin of the last one of this context that began before an invalidation of lines did, and was completed.

        Invalidations of lines are executed after those of contexts before them: what these remove makes no line any more.
        """
        return next((begin for begin, _, each in reversed(self._completed)
                     if begin < begun and each.covers_context(source_id, domain_id)), EVER)

    def lines_since(self, domain_id: int, iova_page: int, page_size: int, accepted: int) -> int:
        """Begin of the last one of the line of this size around this page that was complete before a request was accepted."""
        return next((begin for begin, end, each in reversed(self._completed)
                     if end < accepted and each.covers_translation(domain_id, iova_page, page_size)), EVER)
