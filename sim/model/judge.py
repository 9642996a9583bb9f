"""The judge: takes what the hardware says happened, and says which laws it broke. Ours.

::

    events of the hardware ---------+
    stores of the host -------------+--> Judge --> World (memory and its past, tags, invalidations)
    declarations of the experiment -+      |
                                           +--> Place (L1, L2), Answers (L6), Handover (L9)        --+--> verdict()
                                           +--> TagCoherence (L3), Freed (L4), Entry (L5, L7)      --+
                                           +--> Order (L8)                                         --+

What it is told
    Events in the order of cycles; within a cycle in the order of the hardware's ports. Stores and declarations carry a
    cycle (none: that of the last event) and may come any time before the events of that cycle. Declarations
    come from the experiment, never from driver code.

What it assumes
    * All events of a cycle happen together: a window includes both its ends, "after" means a later cycle. So the order
      of ports decides nothing, but that a reply comes before the DONE of the same cycle.
    * What is stored before the first event has always stood there.
    * An UPDATE takes place in the cycle of the MEMORY event of its exchange or write (without one, in its own cycle),
      and is reported later. What looks wrong is therefore put aside for `patience_cycles` before it counts.
    * A line of the IOTLB leaves when it is replaced, or when it is covered by an invalidation and was filled no later
      than the cycle in which that one began.
    * MEMORY says who: what the update port writes is a CPU's store; what anybody else reads or writes is a use by the unit.
      A MESSAGE is what the unit itself stored, in the cycle of the MEMORY event of that store.
    * An INVALIDATION_END completes everything that has begun.

Source: ours; the laws are listed in `world.LAWS`, each explained in the class that enforces it.
"""
import heapq
import math
from collections.abc import Callable, Iterable
from itertools import count
from typing import Any

import numpy as np

from sim.model.associations import Association
from sim.model.laws import Laws
from sim.model.logged_event import LoggedEvent, from_rows
from sim.model.translations import Translations
from sim.model.world import EVER, LAWS, World

__all__ = ["Judge"]

_NOT_CHECKED = {"L8": "no descriptor was fetched from an invalidation queue"}


class Judge:
    """Enforces the laws on one run.

    Parameters
    ----------
    straps : int
        An encoded `Straps`.
    root_table : int
        Page number of the root table, if translation is on before the first event. Otherwise CONTROL events tell.
    memory_limit, slack_cycles, patience_cycles
        See World.
    """

    def __init__(self, straps: int, *, root_table: int | None = None, memory_limit: int = 1 << 52,
                 slack_cycles: int = 2, patience_cycles: int = 4096) -> None:
        self._world = World(straps, memory_limit, slack_cycles, patience_cycles)
        self._laws = Laws(self._world, root_table)
        self._notes: list[tuple[int, int, Callable[[int], None]]] = []   # to be applied when their cycle has come
        self._note_numbers = count()

    # --- what the host did ---

    def memory_written(self, cycle: int | None, hpa: int, content: bytes) -> None:
        """The host wrote memory past the update port."""
        if content:
            self._note(cycle, lambda when: self._laws.store(when, hpa, content))

    def bus_mastering(self, source_id: int, enabled: bool, *, cycle: int | None = None) -> None:
        """A device's bus-master enable was written."""
        self._note(cycle, lambda when: self._laws.handover.bus_mastering(when, source_id, enabled))

    # --- what the experiment declares ---

    def declare(self, domain_id: int, translations: Translations | None = None, *, table_pointer: int | None = None,
                cycle: int | None = None) -> None:
        """A table may be cached under this tag from now on, beside those declared before.

        Either by what it says, wherever it stands, or by the page number of its top table, whatever it says, or both.
        """
        if translations is None and table_pointer is None:
            raise ValueError(f"domain {domain_id:#x}: declare translations, a table pointer or both")

        def apply(when: int) -> None:
            self._world.associations.declare(Association(domain_id, when, translations, table_pointer))
            self._world.rebind(when, domain_id)
        self._note(cycle, apply)

    def forbid(self, domain_id: int, *, keep_newest: bool = False, cycle: int | None = None) -> None:
        """No line may be filled under this tag any more; `keep_newest`: but from its newest declaration."""
        self._note(cycle, lambda when: self._world.associations.forbid(when, domain_id, keep_newest=keep_newest))

    def live(self, source_ids: Iterable[int], *, cycle: int | None = None) -> None:
        """L1: no DMA of these devices may be blocked from now on."""
        chosen = tuple(source_ids)
        self._note(cycle, lambda when: self._laws.place.live(when, chosen))

    def only_new(self, source_ids: Iterable[int], domain_id: int, *, cycle: int | None = None) -> None:
        """L2: the last invalidation of a replacement has completed; from now on only this tag and its newest table."""
        chosen = tuple(source_ids)
        self._note(cycle, lambda when: self._laws.place.only_new(when, chosen, domain_id))

    def preserve(self, source_ids: Iterable[int]) -> None:
        """L9: these devices survive the handover and must not notice it."""
        self._laws.handover.preserve(source_ids)

    def handover_begins(self, *, cycle: int | None = None) -> None:
        """L9: the old kernel stops."""
        self._note(cycle, lambda when: self._laws.handover.begins(when, self._laws.root_table))

    def handover_ends(self, *, cycle: int | None = None) -> None:
        """L9: adopted; what was not preserved is shut out from now on."""
        self._note(cycle, self._laws.handover.ends)

    def _note(self, cycle: int | None, apply: Callable[[int], None]) -> None:
        now = self._world.now
        if cycle is None or cycle <= now:
            apply(now if cycle is None else cycle)
        else:
            heapq.heappush(self._notes, (cycle, next(self._note_numbers), apply))

    # --- what the hardware says ---

    def consume(self, events: Iterable[LoggedEvent]) -> None:
        """The next events, in order."""
        world, handlers = self._world, self._laws.handlers
        for event in events:
            if event.cycle != world.now:
                self._advance(event.cycle)
            handler = handlers.get(event.kind)
            if handler is not None:
                handler(event)

    def consume_rows(self, rows: "np.ndarray[Any, np.dtype[np.void]]") -> None:
        """The next events, as rows of an event log (see `from_rows`)."""
        self.consume(from_rows(rows, self._laws.handlers.keys()))

    def _advance(self, cycle: int) -> None:
        """The cycle before is over; `cycle` begins."""
        world = self._world
        if cycle < world.now:
            raise ValueError(f"an event of cycle {cycle} after one of cycle {world.now}")
        self._laws.end_of_cycle()
        self._apply_notes(cycle)
        if world.now == EVER:
            world.begin(cycle)
        world.now = cycle
        world.settle()

    def _apply_notes(self, until: float) -> None:
        while self._notes and self._notes[0][0] <= until:
            when, _, apply = heapq.heappop(self._notes)
            apply(when)

    @property
    def free_pages(self) -> set[int]:
        """Page numbers that are poisoned, and so free, now."""
        return self._laws.freed.pages

    # --- the verdict ---

    def verdict(self, *, final: bool = True) -> dict[str, dict[str, Any]]:
        """By law: `title`, `status` (pass, fail, not_checked), `checks`, `violation_count`, `violations` (some).

        A law that had nothing to judge was not checked, and `note` says why; it has not passed. `final`: the run is
        over, so what is still doubtful is judged, and what is still under way will never end.
        """
        if final:
            self._laws.end_of_cycle()
            self._apply_notes(math.inf)
            self._laws.finish()
        ledger = self._world.ledger
        result: dict[str, dict[str, Any]] = {}
        for law, title in LAWS.items():
            checks, violations = ledger.checks[law], ledger.violation_count[law]
            status = "fail" if violations else "pass" if checks else "not_checked"
            result[law] = {"title": title, "status": status, "checks": checks, "violation_count": violations,
                           "violations": list(ledger.violations[law])}
            if status == "not_checked":
                result[law]["note"] = _NOT_CHECKED.get(law, "nothing happened that this law speaks of")
        result["L3"]["ambiguous"] = self._laws.tags.ambiguous
        return result
