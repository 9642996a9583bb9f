"""The host's address map and the layouts of data memory."""
import itertools

import pytest

from hw.spec import bench
from hw.spec.codec import decode, encode
from hw.spec.memory import QUANTUM_BITS, MemoryOperation, MemoryRequest, memory_reply_layout
from hw.spec.registers import REGISTER_WINDOW_BYTES, register_offset
from tests.hw.spec.layouts import rows, size


def test_the_windows_of_the_host_do_not_overlap():
    pages = 1 << 13  # as many as DeviceConfig.first_page can name
    windows = [
        (bench.UNIT_BASE, REGISTER_WINDOW_BYTES),
        (bench.UPDATE_BASE, 0x50),
        (bench.TRAFFIC_BASE, bench.DEVICE_BASE),
        (bench.TRAFFIC_BASE + bench.DEVICE_BASE, bench.MAX_DEVICES * bench.DEVICE_STRIDE),
        (bench.TRAFFIC_BASE + bench.COUNTER_BASE, bench.MAX_DEVICES * bench.DEVICE_STRIDE),
        (bench.TRAFFIC_BASE + bench.HISTOGRAM_BASE, 8 * bench.HISTOGRAM_BINS),
        (bench.PAGE_LIST_BASE, pages * bench.PAGE_ENTRY_BYTES),
        (1 << bench.HOST_ADDRESS_BITS, 0),
    ]
    for (base, length), (following, _) in itertools.pairwise(windows):
        assert base + length <= following


def test_every_place_that_the_capabilities_can_name_is_in_the_window_of_the_unit():
    furthest = register_offset("FRCD", fro=0x3FF, iro=0x3FF, index=255)
    assert furthest + 16 <= REGISTER_WINDOW_BYTES


@pytest.mark.parametrize("registers", [bench.UpdateRegister, bench.TrafficRegister, bench.DeviceField])
def test_our_registers_are_64_bits_wide_and_stand_apart(registers):
    offsets = sorted(register.value for register in registers)
    assert all(offset % 8 == 0 for offset in offsets)
    assert len(set(offsets)) == len(offsets)


@pytest.mark.parametrize("layout", [
    bench.UpdateCommand, bench.UpdateStatus, bench.TrafficControl, bench.DeviceConfig, bench.DeviceDomains,
    bench.LatencyWatch])
def test_what_a_register_holds_fits_its_64_bits(layout):
    assert size(layout) <= 64


def test_counters_of_a_device_fit_its_row():
    assert 8 * len(bench.Counter) <= bench.DEVICE_STRIDE


def test_a_page_entry_is_three_words():
    assert rows(bench.PageEntry) == [
        ("iova_page", 51, 0), ("readable", 52, 52), ("writable", 53, 53),
        ("span_log2", 58, 54), ("_reserved_63_59", 63, 59),
        ("old_page", 103, 64), ("_reserved_127_104", 127, 104), ("new_page", 167, 128), ("_reserved_191_168", 191, 168)]
    assert size(bench.PageEntry) <= 8 * bench.PAGE_ENTRY_BYTES


def test_a_span_of_the_page_list_can_hold_16_gib():
    assert 4096 << bench.SPAN_LOG2_MAX == 16 << 30
    assert encode(bench.PageEntry, span_log2=bench.SPAN_LOG2_MAX) == 22 << 54


def test_a_data_word_says_who_wrote_it_and_where_it_is():
    word = decode(bench.DataWord, 0x516E_0000_0012_3456 << 64 | 0x0018_0007_0000_0001)
    assert word.signature == bench.page_signature(0x12_3456)
    assert decode(bench.WriteStamp, word.stamp).source_id == 0x18
    assert decode(bench.WriteStamp, word.stamp).tag == 7
    assert decode(bench.WriteStamp, word.stamp).sequence == 1


def test_poison_is_no_signature_of_any_page():
    poisoned = int.from_bytes(bytes([bench.POISON_BYTE] * 8), "little")
    assert poisoned >> 48 != bench.SIGNATURE_MAGIC


def test_an_armed_store_names_its_device_and_its_delay():
    assert encode(bench.UpdateCommand, operation=bench.UpdateOperation.STORE_64, armed=1, source_id=0xABCD,
                  offset_cycles=0x1234) == 0x1234_ABCD_0003


def test_a_memory_request_carries_one_quantum_and_a_mask_of_its_bytes():
    assert QUANTUM_BITS == 128
    assert encode(MemoryRequest, operation=MemoryOperation.COMPARE_EXCHANGE, hpa=0x10) == 0x10 << 2 | 2
    assert size(MemoryRequest) == 2 + 52 + 128 + 128 + 16 + 11


@pytest.mark.parametrize("word_bits", [128, 512])
def test_a_memory_reply_carries_one_word(word_bits):
    assert rows(memory_reply_layout(word_bits)) == [("tag", 10, 0), ("error", 11, 11), ("data", word_bits + 11, 12)]


def test_a_word_of_another_width_is_refused():
    with pytest.raises(ValueError, match=r"memory_word_bits must be one of \(128, 512\), not 64"):
        memory_reply_layout(64)
