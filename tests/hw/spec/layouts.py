"""Compare a layout with rows of (field, highest bit, lowest bit), as the specification's figures give them."""
from amaranth.lib import data


def rows(layout):
    """The layout's own rows, from bit 0 up."""
    return [(name, field.offset + field.width - 1, field.offset) for name, field in data.Layout.cast(layout)]


def size(layout):
    """Bits of a layout."""
    return data.Layout.cast(layout).size
