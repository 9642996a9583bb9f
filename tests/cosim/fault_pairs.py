"""Every two causes of a fault in one request: the one that is checked first is reported.

The order is that of the walk, worked by hand from VT-d 4.1, 3.4, 3.7, 3.14, 7.2 and 11.4.5: what needs no table, root
entry, context entry, kind and address of the request, then the second-stage entries from the top down, then the page.
Of one structure that is access, then presence or permission, then reserved bits.
"""
from collections.abc import Mapping
from dataclasses import dataclass, field
from itertools import combinations

from hw.spec.dma import RequestKind
from tests.cosim.tables import ATOMIC, IOVA, READ, WRITE, Case, Tables, blocked, case

__all__ = ["ALONE", "CAUSES", "IMPOSSIBLE", "PAIRS", "Cause", "Contradiction", "both", "name_of_pair"]

_LEVELS = 4
_WINDOW = 0xFEE0_0000
_TOO_HIGH = 1 << 52 | IOVA[_LEVELS]   # a walk that begins all the same meets the entries of the IOVA
_UNRECORDED = 0xFF


@dataclass(frozen=True)
class Cause:
    """A way to have a request blocked.

    Members
    -------
    name
        The reason in hexadecimal, and where several have it which one.
    changes
        What differs from good tables and a plain request: (what of, field) to value.
    accesses
        Whom it blocks.
    """

    name: str
    changes: Mapping = field(default_factory=dict)
    accesses: tuple = (READ, WRITE, ATOMIC)

    @property
    def reason(self):
        """Its number."""
        return int(self.name[:2], 16)


class Contradiction(ValueError):
    """Two causes need the same field with different values."""


def _unreadable(structure):
    return {("unreadable", structure): True}


def _of_level(level):
    """The causes in a second-stage table, in the order of its checks."""
    yield Cause(f"0{'3' if level == _LEVELS else '7'} at level {level}", _unreadable(level))
    yield Cause(f"05 at level {level}", {(level, "writable"): 0}, (WRITE, ATOMIC))
    yield Cause(f"06 at level {level}", {(level, "readable"): 0}, (READ, ATOMIC))
    yield Cause(f"0C at level {level}", {(level, "transient_mapping"): 1})


CAUSES = (
    # what needs no table
    Cause("04 with translation off", {("machine", "enabled"): False, ("tables", "iova"): IOVA[_LEVELS],
                                      ("request", "iova"): _TOO_HIGH}),
    Cause("FF", {("machine", "mode"): 3}),
    Cause("30", {("machine", "mode"): 1}),
    Cause("31", {("request", "pasid_present"): True}),
    Cause("04 in the interrupt window", {("tables", "iova"): _WINDOW, ("request", "length_bytes"): 8}),
    # root entry
    Cause("08", _unreadable("root")),
    Cause("01", {("root", "present"): 0}),
    Cause("0A", {("root", "_reserved_127_64"): 1}),
    # context entry
    Cause("09", _unreadable("context")),
    Cause("02", {("context", "present"): 0}),
    Cause("0B", {("context", "_reserved_71"): 1}),
    Cause("03 by translation type", {("context", "translation_type"): 3}),
    Cause("03 by address width", {("context", "address_width"): 0}),
    # kind and address of the request
    Cause("0D", {("request", "kind"): RequestKind.TRANSLATED}),
    Cause("0D for a translation request", {("request", "kind"): RequestKind.TRANSLATION_REQUEST}),
    Cause("04 beyond the width", {("tables", "iova"): IOVA[_LEVELS], ("request", "iova"): _TOO_HIGH}),
    # second-stage entries, and the page
    *(cause for level in range(_LEVELS, 0, -1) for cause in _of_level(level)),
    Cause("0E", {(1, "address"): 0xFEE00}),
)
"""In the order in which they are checked."""

IMPOSSIBLE = {
    "FF before 30": "the root table is latched in one mode",
    "04 with translation off before 04 in the interrupt window": "a request has one address",
    "04 in the interrupt window before 04 beyond the width": "a request has one address",
    "0D before 0D for a translation request": "a request is of one kind",
}
"""Pairs that cannot be in one request, and why."""


def both(*causes):
    """One request, or one for each access that all of these block, with all of these causes; the first must be reported.

    Raises
    ------
    Contradiction
        If that cannot be.
    """
    changes = {}
    for cause in causes:
        for place, value in cause.changes.items():
            if changes.setdefault(place, value) != value:
                raise Contradiction(f"{place}: {changes[place]} and {value}")

    def of(group):
        return {name: value for (where, name), value in changes.items() if where == group}

    first = causes[0].reason
    outcome = blocked(first, recorded=first != _UNRECORDED)
    accesses = [access for access in causes[0].accesses if all(access in cause.accesses for cause in causes)]
    tables = Tables(root=of("root"), context=of("context"), unreadable=tuple(of("unreadable")),
                    entries={level: of(level) for level in range(1, _LEVELS + 1)}, **of("tables"))
    return case([(dict(access=access) | of("request"), outcome) for access in accesses], tables=tables, **of("machine"))


def name_of_pair(first, second):
    """As IMPOSSIBLE and PAIRS name it."""
    return f"{first.name} before {second.name}"


def _pairs():
    for first, second in combinations(CAUSES, 2):
        name = name_of_pair(first, second)
        if name not in IMPOSSIBLE:
            yield f"pair: {name}", both(first, second)


ALONE: dict[str, Case] = {f"cause: {cause.name}": both(cause) for cause in CAUSES}
"""Each cause by itself."""
PAIRS: dict[str, Case] = dict(_pairs())
"""Each with each that is checked later."""
