"""Layouts of hw.spec as plain integers: shifts and masks, worked out once. Ours.

`hw.spec.codec.decode` builds a constant for each value, which is too slow for millions of entries.
"""
from typing import Any, NamedTuple

from amaranth.lib import data

__all__ = ["Field", "field", "reserved_mask"]


class Field(NamedTuple):
    """One field of a layout: `get` reads it, `mask` covers it in place."""

    shift: int
    low_mask: int   # as many ones as the field is wide

    @property
    def mask(self) -> int:
        """The field's bits, in place."""
        return self.low_mask << self.shift

    def get(self, value: int) -> int:
        """The field of an encoded value."""
        return (value >> self.shift) & self.low_mask


def field(layout: Any, name: str) -> Field:
    """The field of that name. Raises KeyError if there is none."""
    member = data.Layout.cast(layout)[name]
    return Field(member.offset, (1 << member.width) - 1)


def reserved_mask(layout: Any) -> int:
    """Every bit of the fields whose name says that they are reserved."""
    mask = 0
    for name, _ in data.Layout.cast(layout):
        if str(name).startswith("_reserved"):
            mask |= field(layout, str(name)).mask
    return mask
