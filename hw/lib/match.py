"""Comparing and choosing among several things at once. Ours."""
from functools import reduce
from operator import or_, xor

from amaranth import *
from amaranth.hdl import ShapeCastable

__all__ = ["beyond", "equal_except", "first_one", "fold", "low_mask", "one_hot_number", "one_hot_select"]


def low_mask(count, width):
    """`width` bits of which the lowest `count` are set; `count` may be a hardware value.

    One comparison with a constant for each bit, which synthesis makes a small gate of if it is told to (hw/fpga/tools.py).
    """
    if isinstance(count, int):
        return Const((1 << min(count, width)) - 1, width)
    return Cat(count > bit for bit in range(width))


def beyond(value, bits):
    """True if `value` has a bit set at or above bit `bits`, which may be a hardware value."""
    value = Value.cast(value)
    return (value & ~low_mask(bits, len(value))).any()


def equal_except(left, right, ignored):
    """True if two values agree in every bit that `ignored` does not name."""
    return ((left ^ right) & ~ignored) == 0


def first_one(bits):
    """One-hot: the lowest set bit of `bits`; zero if there is none."""
    bits = Value.cast(bits)
    return Cat(bit & ~bits[:position].any() for position, bit in enumerate(bits))


def one_hot_number(chosen):
    """The number of the one bit that is set in `chosen`, or 0."""
    chosen = Value.cast(chosen)
    return Cat(reduce(or_, [chosen[number] for number in range(len(chosen)) if number >> bit & 1], Const(0, 1))
               for bit in range(max(1, (len(chosen) - 1).bit_length())))


def one_hot_select(chosen, values):
    """The one of `values` whose bit in `chosen` is set, or zero; `chosen` must have one bit set at most.

    All values must have the same shape, which the result has too.
    """
    values = list(values)
    shape = values[0].shape()
    plain = [Value.cast(value) for value in values]
    selected = reduce(or_, (Mux(bit, value, 0) for bit, value in zip(Value.cast(chosen), plain, strict=True)))
    selected = selected[:Shape.cast(shape).width]
    return shape(selected) if isinstance(shape, ShapeCastable) else selected


def fold(value, width, *, groups=3):
    """A `width`-bit hash: exclusive or of the lowest `groups` groups of `width` bits.

    Neighbouring values give different results as long as they differ in the lowest group only.
    """
    value = Value.cast(value)
    parts = [value[width * group:width * (group + 1)] for group in range(groups) if width * group < len(value)]
    return reduce(xor, parts)[:width]
