# amaranth: UnusedElaboratable=no
"""Address sequences: worked by hand, and the hardware against its Python twin."""
from collections import Counter as Tally
from itertools import islice

import pytest
from amaranth.sim import Simulator
from hypothesis import given, settings
from hypothesis import strategies as st

from hw.lib.lfsr import words
from hw.spec.bench import DeviceConfig, Pattern
from hw.spec.codec import decode, encode
from hw.traffic.pattern import AddressPattern, PatternState, Visit, first_word, visits


def config_of(**fields):
    return decode(DeviceConfig, encode(DeviceConfig, **fields))


def pages(count, **fields):
    return [visit.page for visit in islice(visits(config_of(**fields), 1), count)]


@pytest.mark.parametrize(("fields", "expected"), [
    ({"pattern": Pattern.SEQUENTIAL, "first_page": 10, "page_count": 3}, [10, 11, 12, 10, 11]),
    ({"pattern": Pattern.SEQUENTIAL, "first_page": 0, "page_count": 1}, [0, 0, 0]),
    ({"pattern": Pattern.SEQUENTIAL, "page_count": 2, "burst_log2": 1}, [0, 0, 1, 1, 0, 0]),
    ({"pattern": Pattern.STRIDED, "first_page": 5, "page_count": 7, "stride": 3}, [5, 8, 11, 7, 10, 6, 9, 5]),
    ({"pattern": Pattern.STRIDED, "page_count": 4, "stride": 4}, [0, 0, 0]),
    ({"pattern": Pattern.STRIDED, "page_count": 4, "stride": 0}, [0, 0, 0]),
    ({"pattern": Pattern.STRIDED, "page_count": 3, "stride": 40}, [0, 0, 0]),
])
def test_sequences_worked_by_hand(fields, expected):
    assert pages(len(expected), **fields) == expected


def test_a_random_device_takes_the_page_from_the_top_of_the_word():
    # The words are 1, 0x0004_2021, 0x0408_0601. The first page is the slice's first; then each word's upper half, as a
    # fraction of 65,536, of 8,191 pages: 0, 4 * 8191 / 65536 = 0.5, 1032 * 8191 / 65536 = 128.98.
    assert list(islice(words(1), 1, 3)) == [0x00042021, 0x04080601]
    assert pages(4, pattern=Pattern.RANDOM, page_count=8191) == [0, 0, 0, 128]


@pytest.mark.parametrize(("fields", "expected"), [
    ({"page_count": 1}, [(0, 0), (0, 1), (0, 2), (0, 3)]),
    ({"page_count": 1, "burst_log2": 1}, [(0, 0), (0, 0), (0, 1), (0, 1), (0, 2)]),
    ({"page_count": 2}, [(0, 0), (1, 0), (0, 1), (1, 1), (0, 2)]),
    ({"page_count": 7, "pattern": Pattern.STRIDED, "stride": 3},
     [(0, 0), (3, 0), (6, 0), (2, 1), (5, 1), (1, 2), (4, 2), (0, 3)]),
    ({"page_count": 3, "pattern": Pattern.STRIDED, "stride": 40}, [(0, 0), (0, 1), (0, 2)]),
    ({"page_count": 1, "pattern": Pattern.RANDOM}, [(0, 0), (0, 1), (0, 0x042021), (0, 0x080601)]),
    ({"page_count": 1, "pattern": Pattern.RANDOM, "burst_log2": 1}, [(0, 0), (0, 0), (0, 0x042021), (0, 0x042021)]),
])
def test_pages_of_spans_worked_by_hand(fields, expected):
    # In rounds through the slice, or, at random, the low 22 bits of the words 1, 0x0004_2021, 0x0408_0601.
    assert [(visit.page, visit.number) for visit in islice(visits(config_of(**fields), 1), len(expected))] == expected


def test_a_random_device_finds_each_part_of_a_span_equally_often():
    numbers = [visit.number for visit in islice(visits(config_of(page_count=1, pattern=Pattern.RANDOM), 77), 40_000)]
    for log2 in (3, 18, 22):
        places = Tally(number % (1 << log2) >> log2 - 3 for number in numbers)
        assert all(abs(places[eighth] / 40_000 - 1 / 8) < 0.01 for eighth in range(8))


@pytest.mark.parametrize(("fields", "expected"), [
    ({"burst_log2": 6}, [*range(64), *range(64)]),
    ({"burst_log2": 7}, [*range(64), *range(64)]),
    ({"burst_log2": 2, "pattern": Pattern.STRIDED, "stride": 1}, [0, 1, 2, 3, 0, 1, 2, 3]),
    ({"burst_log2": 0}, [0x00, 0x00, 0x18]),                                 # from the word: see below
    ({"burst_log2": 3, "pattern": Pattern.RANDOM}, [0x00, 0x00, 0x18]),
])
def test_a_burst_goes_line_by_line_unless_it_is_random(fields, expected):
    sequence = islice(visits(config_of(page_count=3, **fields), 1), len(expected))
    assert [visit.line for visit in sequence] == expected


def test_a_random_device_visits_every_page_and_no_other():
    assert set(pages(300, pattern=Pattern.RANDOM, first_page=20, page_count=16)) == set(range(20, 36))


def test_the_place_in_the_page_and_the_choice_to_write_come_from_the_word():
    # 0x0004_2021: bits 11:6 are 0, bits 15:12 are 2; 0x0408_0601: 0x18, and 0.
    sequence = list(islice(visits(config_of(page_count=1, writes=2), 0x00042021), 2))
    assert sequence == [Visit(0, 0, 0x00, 0), Visit(0, 1, 0x18, 1)]


@pytest.mark.parametrize("writes", [0, 4, 15])
def test_writes_of_sixteen_are_writes(writes):
    sequence = islice(visits(config_of(page_count=1, writes=writes), 99), 4000)
    assert abs(sum(visit.write for visit in sequence) / 4000 - writes / 16) < 0.03


def test_no_device_begins_with_the_word_of_another_or_with_zero():
    for seed in (0, 1, 0xFFFFFFFF):
        begins = {first_word(seed, device) for device in range(32)}
        assert len(begins) == 32
        assert 0 not in begins


def test_the_number_of_the_round_starts_over_at_the_longest_span():
    dut = AddressPattern()

    async def testbench(ctx):
        ctx.set(dut.config, config_of(page_count=1))
        ctx.set(dut.state, decode(PatternState, encode(PatternState, random=1, number=(1 << 22) - 1)))
        await ctx.delay(0)
        assert ctx.get(dut.number) == (1 << 22) - 1
        assert ctx.get(dut.next_state).number == 0

    simulator = Simulator(dut)
    simulator.add_testbench(testbench)
    simulator.run()


@settings(max_examples=40, deadline=None)
@given(fields=st.fixed_dictionaries({
    "first_page": st.integers(0, 4095), "page_count": st.integers(1, 4096),
    "pattern": st.sampled_from([Pattern.SEQUENTIAL, Pattern.RANDOM, Pattern.STRIDED]),
    "stride": st.integers(0, 63), "writes": st.integers(0, 15), "burst_log2": st.integers(0, 7),
}), word=st.integers(1, (1 << 32) - 1))
def test_the_hardware_makes_the_visits_of_its_twin(fields, word):
    dut = AddressPattern()
    config = config_of(**fields)

    async def testbench(ctx):
        ctx.set(dut.config, config)
        ctx.set(dut.state, decode(PatternState, encode(PatternState, random=word)))
        for expected in islice(visits(config, word), 150):
            await ctx.delay(0)
            assert Visit(ctx.get(dut.page), ctx.get(dut.number), ctx.get(dut.line), ctx.get(dut.write)) == expected
            ctx.set(dut.state, ctx.get(dut.next_state))

    simulator = Simulator(dut)
    simulator.add_testbench(testbench)
    simulator.run()
