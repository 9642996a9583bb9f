"""The codec refuses what a layout cannot hold, and says which field of which layout."""
import pytest
from amaranth.lib import data, enum

from hw.spec.codec import decode, encode, field_width


class Colour(enum.Enum, shape=2):
    """An enumeration to encode."""
    RED = 0
    BLUE = 2


class Sample(data.Struct):
    """Sixteen bits of fields."""
    low: 4
    colour: Colour
    high: 10


def test_fields_are_placed_from_bit_0_up():
    assert encode(Sample, low=0x5, colour=Colour.BLUE, high=0x3FF) == 0b11_1111_1111_10_0101


def test_absent_fields_are_zero():
    assert encode(Sample) == 0
    assert encode(Sample, high=1) == 1 << 6


def test_what_was_encoded_reads_back_by_name():
    sample = decode(Sample, encode(Sample, low=9, colour=Colour.BLUE, high=0x155))
    assert sample.low == 9
    assert sample.colour == Colour.BLUE
    assert sample.high == 0x155


def test_the_largest_value_fits_and_the_next_does_not():
    assert encode(Sample, low=0xF) == 0xF
    with pytest.raises(ValueError, match=r"^Sample\.low: 0x10 does not fit in 4 bits$"):
        encode(Sample, low=0x10)


def test_a_negative_value_is_refused():
    with pytest.raises(ValueError, match=r"^Sample\.high: -0x1 does not fit in 10 bits$"):
        encode(Sample, high=-1)


def test_an_unknown_field_is_named_with_those_that_exist():
    with pytest.raises(ValueError, match=r"^Sample has no field 'middle'; it has low, colour, high$"):
        encode(Sample, middle=1)


def test_a_value_wider_than_its_layout_is_refused():
    with pytest.raises(ValueError, match=r"^Sample: 0x10000 does not fit in 16 bits$"):
        decode(Sample, 1 << 16)
    with pytest.raises(ValueError, match=r"^Sample: -0x1 does not fit in 16 bits$"):
        decode(Sample, -1)


def test_field_widths_are_those_of_the_layout():
    assert field_width(Sample, "low") == 4
    assert field_width(Sample, "colour") == 2
