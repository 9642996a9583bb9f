"""Checked encoding: a value that does not fit is an error, never a truncation. Ours.

``Struct.const()`` drops excess bits without a word; everything that leaves Python goes through `encode` instead.
"""
from amaranth.lib import data

__all__ = ["encode", "decode", "field_width"]


def field_width(layout, name):
    """Width in bits of one field of a layout."""
    return data.Layout.cast(layout)[name].width


def encode(layout, **fields):
    """Encode a layout as an integer; absent fields are zero.

    Raises
    ------
    ValueError
        If a value does not fit its field, or there is no such field.
    """
    members = data.Layout.cast(layout)
    names = dict(members)
    result = 0
    for name, value in fields.items():
        if name not in names:
            raise ValueError(f"{_name(layout)} has no field {name!r}; it has {', '.join(names)}")
        field = names[name]
        number = int(getattr(value, "value", value))
        if not 0 <= number < (1 << field.width):
            raise ValueError(f"{_name(layout)}.{name}: {number:#x} does not fit in {field.width} bits")
        result |= number << field.offset
    return result


def decode(layout, value):
    """The layout's constant for an integer, whose fields read by name. Raises ValueError if it does not fit."""
    size = data.Layout.cast(layout).size
    if not 0 <= value < (1 << size):
        raise ValueError(f"{_name(layout)}: {value:#x} does not fit in {size} bits")
    return layout.from_bits(value)


def _name(layout):
    return getattr(layout, "__name__", repr(layout))
