# amaranth: UnusedElaboratable=no
"""Comparing and choosing, each against arithmetic on Python integers."""

import pytest
from amaranth import Const, Module, Signal
from amaranth.lib import data
from amaranth.sim import Simulator
from hypothesis import given
from hypothesis import strategies as st

from hw.lib.match import beyond, equal_except, first_one, fold, low_mask, one_hot_select


class Pair(data.Struct):
    left: 3
    right: 5


def evaluate(expression, **inputs):
    """The value of `expression(**signals)` for these inputs, each given as (value, width)."""
    module = Module()
    signals = {name: Signal(width, init=value, name=name) for name, (value, width) in inputs.items()}
    result = expression(**signals)
    seen = []

    async def read(ctx):
        seen.append(ctx.get(result))

    simulator = Simulator(module)
    simulator.add_testbench(read)
    simulator.run()
    return seen[0]


@given(st.integers(0, 15))
def test_low_mask_has_as_many_ones_as_asked_and_all_of_them_low(count):
    assert evaluate(lambda count: low_mask(count, 12), count=(count, 4)) == (1 << min(count, 12)) - 1


@given(st.integers(0, 0xFFFF), st.integers(0, 31))
def test_beyond_says_whether_a_number_needs_more_bits(number, bits):
    found = evaluate(lambda number, bits: beyond(number, bits), number=(number, 16), bits=(bits, 5))
    assert found == (number >= 1 << bits)


@given(st.integers(0, 255), st.integers(0, 255), st.integers(0, 255))
def test_equal_except_ignores_exactly_the_named_bits(left, right, ignored):
    found = evaluate(equal_except, left=(left, 8), right=(right, 8), ignored=(ignored, 8))
    assert found == ((left | ignored) == (right | ignored))


@given(st.integers(0, 255))
def test_first_one_keeps_the_lowest_set_bit_only(bits):
    assert evaluate(first_one, bits=(bits, 8)) == (bits & -bits)


@pytest.mark.parametrize(("chosen", "expected"), [(0b000, 0), (0b001, 11), (0b010, 22), (0b100, 33)])
def test_one_hot_select_gives_the_chosen_value_or_zero(chosen, expected):
    def select(chosen):
        return one_hot_select(chosen, [Const(11, 8), Const(22, 8), Const(33, 8)])

    assert evaluate(select, chosen=(chosen, 3)) == expected


def test_one_hot_select_keeps_the_layout_of_what_it_selects():
    def select(first, second):
        return one_hot_select(Const(0b10, 2), [Pair(first), Pair(second)]).right

    assert evaluate(select, first=(0xFF, 8), second=(0b10110_010, 8)) == 0b10110


@given(st.integers(0, (1 << 20) - 1))
def test_fold_is_the_exclusive_or_of_the_lowest_groups(number):
    expected = (number & 0xF) ^ (number >> 4 & 0xF) ^ (number >> 8 & 0xF)
    assert evaluate(lambda number: fold(number, 4), number=(number, 20)) == expected


def test_fold_gives_neighbours_different_results():
    results = {evaluate(lambda number: fold(number, 2), number=(0xAB4 + step, 12)) for step in range(4)}
    assert results == {0, 1, 2, 3}


def test_fold_of_a_value_narrower_than_its_groups_uses_what_is_there():
    assert evaluate(lambda number: fold(number, 4), number=(0b11_0101, 6)) == 0b0101 ^ 0b11
