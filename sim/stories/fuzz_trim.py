"""Makes a case smaller that hypothesis has made small: whole operations, requests and words of memory go, the finding stays. Ours.

Hypothesis shrinks the bytes that a case was drawn from, and cannot see what of the case matters; here it is plain.
"""
import re
import time
from dataclasses import replace
from typing import Any

from hw.spec.events import EventKind
from sim.events import of_kind
from sim.stories.fuzz_case import Case
from sim.stories.fuzz_check import check

__all__ = ["kind_of", "trim"]

_SECONDS = 60.0
_Item = tuple[list[Any], list[list[int]]]     # an operation, or one request


def kind_of(sentence: str) -> str:
    """What a finding is about, without its numbers: a case that is made smaller must go on to show the same."""
    return re.sub(r"0x[0-9a-f]+|\d+", "#", sentence)[:60]


def trim(simulation: Any, case: Case, found: list[str]) -> tuple[Case, list[str]]:
    """The smallest case found, and its findings. What it does not show again stays as it is.

    `simulation` has a method `play` like that of Simulation.
    """
    until = time.monotonic() + _SECONDS

    def findings(other: Case) -> list[str]:
        others = check(other, simulation.play(other))[0]
        return others if others and kind_of(others[0]) == kind_of(found[0]) else []

    if not findings(case):
        return case, found
    # Parts of the program, in halves, quarters, ... and one by one, from the end.
    items = _items(case)
    size = len(items)
    while size := size // 2:
        start = len(items)
        while start > 0 and time.monotonic() < until:
            start = max(0, start - size)
            fewer = items[:start] + items[start + size:]
            smaller = _assemble(case, fewer)
            if now := findings(smaller):
                case, items, found = smaller, fewer, now
    # Memory that nothing read.
    events = simulation.play(case).events
    if events is not None:
        read = {int(hpa) >> 4 for hpa in of_kind(events, EventKind.MEMORY)["hpa"]}
        smaller = replace(case, image=[word for word in case.image if word[0] >> 4 in read])
        if now := findings(smaller):
            case, found = smaller, now
    return case, found


def _items(case: Case) -> list[_Item]:
    items: list[_Item] = []
    following = 0
    for operation in case.program:
        if operation[0] != "dma":
            items.append((operation, []))
            continue
        items += [(["dma", 1], [request]) for request in case.requests[following:following + operation[1]]]
        following += operation[1]
    return items


def _assemble(case: Case, items: list[_Item]) -> Case:
    """The case with this program; requests that follow each other are one operation again."""
    program: list[list[Any]] = []
    requests: list[list[int]] = []
    for operation, its in items:
        if its and program and program[-1][0] == "dma":
            program[-1] = ["dma", program[-1][1] + 1]
        else:
            program.append(operation)
        requests += its
    return replace(case, program=program, requests=requests)
