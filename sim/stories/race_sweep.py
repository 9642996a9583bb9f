"""W8: an invalidation against a miss, at many offsets from it, cold and warm. sim.stories.race_machine plays the placements."""
import random
from typing import Any

from sim.bench import Bench
from sim.measure.case import Case
from sim.stories.race_machine import PLAYS, RaceMachine

__all__ = ["OFFSETS", "race_context", "race_iotlb", "sweep"]

OFFSETS = range(-60, 160)         # of the doorbell, from the first request


async def sweep(machine: RaceMachine, form: str, offsets: list[int], *, exact: bool = True) -> dict[str, Any]:
    """Play a form at these offsets, in every way; what was found by name, each as the placements that show it.

    Raises
    ------
    AssertionError
        If a placement is not where it should be, or shows nothing because no request came after its end.
    """
    play = {"iotlb": machine.page_changes, "context": machine.context_changes}[form]
    observed: dict[str, Any] = {"placements": 0, "under_way": 0, "hangs": [], "stale": [], "faults": [], "wrong": []}
    for offset in offsets:
        for kind in PLAYS:
            outcome = await play(offset, kind)
            observed["placements"] += 1
            observed["under_way"] += outcome.joined > 0
            if exact and outcome.offset != offset:
                raise AssertionError(f"the doorbell was to ring at {offset:+}, and rang at {outcome.offset:+}")
            for name, count in (("hangs", outcome.hang), ("stale", outcome.stale), ("faults", outcome.faults),
                                ("wrong", outcome.wrong)):
                if count:
                    observed[name].append([outcome.offset, kind.warm, kind.lone])
            if not outcome.hang and not outcome.probes:
                raise AssertionError(f"at {offset:+} no request came after the invalidation was complete")
    return observed


async def _case(bench: Bench, case: Case, form: str) -> dict[str, Any]:
    """As many offsets as `requests` says, at random; all if it says more than there are. `option`: delay of the queue."""
    machine = await RaceMachine.start(bench, latency=case.latency, fetch_delay=case.option)
    count = min(case.requests, len(OFFSETS))
    chosen = sorted(random.Random(f"{case.text} {form}").sample(OFFSETS, count))
    return await sweep(machine, form, chosen)


async def race_iotlb(bench: Bench, case: Case) -> dict[str, Any]:
    """The change of a page against a miss of it."""
    return await _case(bench, case, "iotlb")


async def race_context(bench: Bench, case: Case) -> dict[str, Any]:
    """The change of a context entry against a miss of it."""
    return await _case(bench, case, "context")
