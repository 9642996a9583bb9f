"""Root, context and second-stage entries: bit positions of VT-d 4.1, 9.1, 9.3 and 9.8, and entries that Linux wrote."""
import pytest

from hw.spec.codec import decode, encode
from hw.spec.tables import (
    ContextEntry,
    PageSize,
    RootEntry,
    SecondStageEntry,
    TranslationType,
    address_bits,
    level_shift,
    table_index,
    top_level,
)
from tests.hw.spec.layouts import rows, size


def test_root_entry_has_the_fields_of_the_specification():
    assert rows(RootEntry) == [
        ("present", 0, 0), ("_reserved_11_1", 11, 1), ("context_table_pointer", 63, 12), ("_reserved_127_64", 127, 64)]


def test_context_entry_has_the_fields_of_the_specification():
    assert rows(ContextEntry) == [
        ("present", 0, 0), ("fault_processing_disable", 1, 1), ("translation_type", 3, 2), ("_reserved_11_4", 11, 4),
        ("second_stage_pointer", 63, 12), ("address_width", 66, 64), ("_ignored_70_67", 70, 67), ("_reserved_71", 71, 71),
        ("domain_id", 87, 72), ("_reserved_127_88", 127, 88)]


def test_second_stage_entry_has_the_fields_of_the_specification():
    assert rows(SecondStageEntry) == [
        ("readable", 0, 0), ("writable", 1, 1), ("executable", 2, 2), ("_ignored_6_3", 6, 3), ("page_size", 7, 7),
        ("accessed", 8, 8), ("dirty", 9, 9), ("_ignored_10", 10, 10), ("snoop", 11, 11), ("address", 51, 12),
        ("_ignored_61_52", 61, 52), ("transient_mapping", 62, 62), ("_ignored_63", 63, 63)]


@pytest.mark.parametrize(("layout", "bits"), [(RootEntry, 128), (ContextEntry, 128), (SecondStageEntry, 64)])
def test_entries_have_the_size_of_the_specification(layout, bits):
    assert size(layout) == bits


def test_a_context_entry_of_a_48_bit_domain_reads_as_linux_meant_it():
    entry = decode(ContextEntry, 0x202 << 64 | 0x1_06F8_3001)
    assert entry.present == 1
    assert entry.fault_processing_disable == 0
    assert entry.translation_type == TranslationType.MULTI_LEVEL
    assert entry.second_stage_pointer == 0x10_6F83
    assert entry.address_width == 2
    assert entry.domain_id == 2
    assert entry["_reserved_127_88"] == 0


def test_a_context_entry_of_a_39_bit_domain_reads_as_linux_meant_it():
    entry = decode(ContextEntry, 0x201 << 64 | 0x1_474C_9001)
    assert entry.second_stage_pointer == 0x14_74C9
    assert entry.address_width == 1
    assert entry.domain_id == 2


def test_a_pass_through_context_entry_reads_as_linux_meant_it():
    entry = decode(ContextEntry, 0x202 << 64 | 0x9)
    assert entry.translation_type == TranslationType.PASS_THROUGH
    assert entry.second_stage_pointer == 0
    assert entry.address_width == 2


def test_a_context_entry_is_encoded_in_the_same_bits():
    assert encode(ContextEntry, present=1, second_stage_pointer=0x10_6F83, address_width=2, domain_id=2) == (
        0x202 << 64 | 0x1_06F8_3001)
    assert encode(ContextEntry, domain_id=0xFFFF) == 0x00FF_FF00 << 64
    assert encode(ContextEntry, translation_type=TranslationType.PASS_THROUGH, fault_processing_disable=1) == 0b1010


def test_a_superpage_entry_reads_as_the_specification_says():
    entry = decode(SecondStageEntry, 0x8000_0012_3460_0883)
    assert entry.readable == 1
    assert entry.writable == 1
    assert entry.page_size == 1
    assert entry.snoop == 1
    assert entry.address == 0x12_34600
    assert entry["_ignored_63"] == 1


@pytest.mark.parametrize(("address_width", "bits", "top"), [(1, 39, 3), (2, 48, 4), (3, 57, 5)])
def test_an_address_width_gives_the_bits_and_the_top_level(address_width, bits, top):
    assert address_bits(address_width) == bits
    assert top_level(address_width) == top


@pytest.mark.parametrize(("level", "shift"), [(1, 12), (2, 21), (3, 30), (4, 39), (5, 48)])
def test_a_level_is_indexed_by_the_nine_bits_above_its_shift(level, shift):
    assert level_shift(level) == shift
    assert table_index(0x155 << shift, level) == 0x155
    assert table_index((1 << shift) - 1, level) == 0
    assert table_index(1 << shift + 9, level) == 0


def test_page_sizes_are_numbered_as_level_less_one():
    assert [PageSize(level - 1) for level in (1, 2, 3)] == [PageSize.SIZE_4K, PageSize.SIZE_2M, PageSize.SIZE_1G]
