"""The sparse memory: as bytes from Python, and as a memory of the machine behind its ports."""
import ctypes
import os
import subprocess
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sim.memory import PAGE_BYTES, Memory
from sim.runner import ROOT
from tests.sim.stand_in import in_simulator

TOP = 1 << 52


@pytest.fixture(scope="module")
def library(tmp_path_factory):
    """The memory without a simulator around it, as C++."""
    library = tmp_path_factory.mktemp("memory") / "memory.so"
    subprocess.run(["g++", "-O1", "-shared", "-fPIC", "-std=c++20", "-o", library, ROOT / "sim" / "sparse_memory.cpp"],
                   check=True)
    return ctypes.CDLL(os.fspath(library))


@pytest.fixture(scope="module")
def memory(library):
    """The same as Python."""
    return Memory(library)


# --- as bytes ----------------------------------------------------------------------------------------------------------

def test_memory_never_written_reads_as_zero(memory):
    memory.reset()
    assert memory.read(0x1234_5678_9ABC, 5000) == bytes(5000)
    assert memory.pages == 0


@given(st.lists(st.tuples(st.integers(0, 3 * PAGE_BYTES), st.binary(min_size=1, max_size=300)), max_size=10))
def test_blocks_read_back_as_written_across_pages(memory, writes):
    memory.reset()
    base = TOP - 4 * PAGE_BYTES
    expected = bytearray(4 * PAGE_BYTES)
    for offset, data in writes:
        memory.write(base + offset, data)
        expected[offset:offset + len(data)] = data
    assert memory.read(base, len(expected)) == expected


def test_fill_covers_exactly_its_block(memory):
    memory.reset()
    memory.fill(0xFF0, 2 * PAGE_BYTES + 0x20, 0xDB)
    assert memory.read(0xFE0, 0x10) == bytes(0x10)
    assert memory.read(0xFF0, 2 * PAGE_BYTES + 0x20) == b"\xDB" * (2 * PAGE_BYTES + 0x20)
    assert memory.read(0xFF0 + 2 * PAGE_BYTES + 0x20, 0x10) == bytes(0x10)
    assert memory.pages == 4


def test_two_megabytes_load_at_once(memory):
    memory.reset()
    data = os.urandom(2 << 20)
    started = time.perf_counter()
    memory.write(0x10_0000_0000, data)
    assert time.perf_counter() - started < 0.5
    assert memory.read(0x10_0000_0000, len(data)) == data


def test_the_tables_of_300_000_pages_load_in_a_moment(memory):
    memory.reset()
    data = os.urandom(8 * 300_000)
    started = time.perf_counter()
    for offset in range(0, len(data), PAGE_BYTES):  # as the driver does: page by page, wherever they are
        memory.write(0x10_0000_0000 + 7 * offset, data[offset:offset + PAGE_BYTES])
    assert time.perf_counter() - started < 1


def test_what_was_never_written_in_signed_pages_is_the_data_word_of_its_page(memory):
    memory.reset()
    memory.set_signed_pages(range(0x4000, 0x4000 + (1 << 22)))
    for page, signed in ((0x3FFF, False), (0x4000, True), (0x12_3456, True), (0x40_3FFF, True), (0x40_4000, False)):
        word = (bytes(8) + (0x516E << 48 | page).to_bytes(8, "little")) if signed else bytes(16)
        assert memory.read(page * PAGE_BYTES, PAGE_BYTES) == word * 256
    assert memory.pages == 0


def test_writes_to_signed_pages_change_what_they_cover_and_cost_no_page_until_it_is_whole(memory):
    memory.reset()
    memory.set_signed_pages(range(0x10, 0x20))
    word = bytes(8) + (0x516E << 48 | 0x11).to_bytes(8, "little")
    page = bytearray(word * 256)
    for offset, data in ((3, b"abc"), (0x20, bytes(range(48))), (0xFF8, b"12345678")):
        memory.write(0x11_000 + offset, data)
        page[offset:offset + len(data)] = data
    assert memory.read(0x11_000, PAGE_BYTES) == page
    assert memory.pages == 0
    memory.fill(0x11_000, PAGE_BYTES, 0xDB)
    memory.write(0x11_010, b"x")
    assert memory.read(0x11_000, 0x20) == b"\xDB" * 0x10 + b"x" + b"\xDB" * 0xF
    assert memory.pages == 1


def test_the_ports_write_to_signed_pages_as_to_any_other(memory, library):
    memory.reset()
    memory.set_signed_pages(range(0x10, 0x20))
    signature = (0x516E << 48 | 0x11).to_bytes(8, "little")
    at = [ctypes.c_int(0), ctypes.c_uint64(1), ctypes.c_int(0), ctypes.c_uint64(0x11_018), ctypes.c_ubyte(0)]
    stamp = b"stamped." + bytes(8)
    library.sparse_memory_begin(0)
    library.sparse_memory_write(*at, stamp, 0x00FF)
    assert memory.read(0x11_000, 0x30) == bytes(8) + signature + b"stamped." + signature + bytes(8) + signature
    library.sparse_memory_compare_exchange(*at, stamp, b"never here......")
    library.sparse_memory_compare_exchange(*at, stamp[:8] + signature, b"exchanged.......")
    assert memory.read(0x11_010, 0x20) == b"exchanged......." + bytes(8) + signature
    assert memory.pages == 0
    replies = []
    for _ in range(3):
        data = ctypes.create_string_buffer(64)
        assert library.sparse_memory_reply(0, ctypes.c_uint64(9), ctypes.byref(ctypes.c_int()),
                                           ctypes.byref(ctypes.c_ubyte()), data) & 0xFF
        replies.append(data.raw[:16])
    assert replies == [bytes(8) + signature, b"stamped." + signature, b"stamped." + signature]
    memory.fill(0x11_000, PAGE_BYTES, 0xDB)  # freed: kept whole from now on
    library.sparse_memory_write(*at, stamp, 0x00FF)
    assert memory.read(0x11_010, 0x10) == b"stamped." + b"\xDB" * 8


@given(st.lists(st.tuples(st.integers(0, 4 * PAGE_BYTES - 300), st.binary(min_size=1, max_size=300)), max_size=10))
def test_blocks_read_back_as_written_across_signed_pages_and_others(memory, writes):
    memory.reset()
    base = 0x7_0000
    memory.set_signed_pages(range(0x71, 0x73))
    expected = bytearray(4 * PAGE_BYTES)
    for page in (1, 2):
        word = bytes(8) + (0x516E << 48 | 0x70 + page).to_bytes(8, "little")
        expected[page * PAGE_BYTES:(page + 1) * PAGE_BYTES] = word * 256
    for offset, data in writes:
        memory.write(base + offset, data)
        expected[offset:offset + len(data)] = data
        assert memory.read(base + offset, len(data)) == data
    assert memory.read(base, len(expected)) == expected


def test_another_range_of_signed_pages_leaves_what_was_written(memory):
    memory.reset()
    memory.write(0x20_000, b"before")
    memory.set_signed_pages(range(0x10, 0x30))
    assert memory.read(0x20_000, 0x20) == b"before" + bytes(0x1A)
    memory.write(0x11_000, b"during")
    during = memory.read(0x11_000, PAGE_BYTES)
    memory.set_signed_pages(range(0))
    assert memory.read(0x11_000, PAGE_BYTES) == during
    assert memory.read(0x12_000, 0x20) == bytes(0x20)
    memory.set_signed_pages(range(0x10, 0x30))
    memory.reset()
    assert memory.read(0x11_000, 0x20) == bytes(0x20)


@pytest.mark.parametrize(("call", "objection"), [
    (lambda memory: memory.set_signed_pages(range(0, 8, 2)), "`pages` must have a step of 1, not 2"),
    (lambda memory: memory.set_signed_pages(range(1 << 40, (1 << 40) + 1)), "not within"),
    (lambda memory: memory.set_signed_pages(range(-1, 1)), "not within"),
    (lambda memory: memory.read(TOP - 8, 16), "not within"),
    (lambda memory: memory.write(-1, b"x"), "not within"),
    (lambda memory: memory.fill(0, 1, 256), "`byte` must be between 0 and 255, not 256"),
    (lambda memory: memory.set_timing(latency=0), "`latency` must be between 1 and .*, not 0"),
    (lambda memory: memory.set_timing(jitter=-1), "`jitter` must be between 0"),
    (lambda memory: memory.set_timing(interval=0), "`interval` must be between 1"),
    (lambda memory: memory.set_limit(TOP + 1), "`length` must be between"),
    (lambda memory: memory.mark_error(TOP), "not within"),
])
def test_what_makes_no_sense_is_refused(memory, call, objection):
    with pytest.raises(ValueError, match=objection):
        call(memory)


# --- behind ports ------------------------------------------------------------------------------------------------------

KNOBS = {
    "plain": {"latency": 5},
    "jitter": {"latency": 5, "jitter": 9},
    "reorder": {"latency": 5, "jitter": 9, "reorder": True},
    "reorder again": {"latency": 5, "jitter": 9, "reorder": True},
    "other seed": {"latency": 5, "jitter": 9, "reorder": True, "seed": 2},
    "interval": {"latency": 1, "interval": 4},
}


@pytest.fixture(scope="module")
def seen():
    """What the stand-in's ports saw."""
    return in_simulator(
        "latency_is_what_was_set", "timing_knobs", "words_come_from_both_ports", "errors_are_answered",
        "an_access_takes_effect_when_it_is_accepted", config={"knobs": KNOBS}).values


def test_every_reply_comes_after_exactly_the_latency(seen):
    for burst in seen["latency_is_what_was_set"]:
        assert burst["delays"] == [burst["latency"]]
        assert burst["tags"] == list(range(40))


def test_a_port_takes_one_request_a_cycle(seen):
    for burst in seen["latency_is_what_was_set"]:
        assert burst["request_gaps"] == [1]


def test_jitter_delays_but_keeps_the_order(seen):
    burst = seen["timing_knobs"]["jitter"]
    assert burst["tags"] == list(range(60))
    assert min(burst["delays"]) >= 5
    assert len(set(burst["delays"])) > 3


def test_reordered_replies_are_all_there_and_the_same_for_the_same_seed(seen):
    knobs = seen["timing_knobs"]
    assert knobs["reorder"]["tags"] != list(range(60))
    assert sorted(knobs["reorder"]["tags"]) == list(range(60))
    assert min(knobs["reorder"]["delays"]) >= 5
    assert knobs["reorder"] == knobs["reorder again"]
    assert knobs["reorder"]["tags"] != knobs["other seed"]["tags"]


def test_interval_limits_the_bandwidth(seen):
    knobs = seen["timing_knobs"]
    assert set(knobs["interval"]["gaps"]) == {4}
    assert set(knobs["plain"]["gaps"]) == {1}


def test_wide_and_narrow_words_come_from_one_memory(seen):
    words = seen["words_come_from_both_ports"]

    def quantum(first):
        return "".join(f"{byte:02x}" for byte in reversed(range(first, first + 16)))
    zero = "0" * 32
    assert words["data"] == [quantum(16 * index) for index in range(16)] + [zero]
    assert words["table"] == [quantum(64 * index) for index in range(4)] + [zero]
    assert words["inside"] == [quantum(0)]  # a wide word begins at a multiple of 64


def test_errors_from_the_limit_on_and_in_bad_pages_only(seen):
    assert seen["errors_are_answered"] == {
        "0x2ff0": [0], "0x3000": [1], "0x3ff0": [1], "0x4000": [0], "0xfff0": [0], "0x10000": [1],
        "0xffffffffffff0": [1], "unmarked": [0]}


def test_an_access_takes_effect_when_it_is_accepted_not_when_it_is_answered(seen):
    in_flight, data, in_flight_after, accepted = seen["an_access_takes_effect_when_it_is_accepted"]
    assert in_flight == 1
    assert data == "11" * 8
    assert in_flight_after == 0
    assert accepted == 1


