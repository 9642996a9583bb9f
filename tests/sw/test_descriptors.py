"""Descriptors of the invalidation queue: every bit worked out by hand from VT-d 4.1, 6.5.2."""
import pytest

from hw.spec.invalidation import DescriptorType, Granularity
from sw import descriptors as make
from sw.errors import BadRange

HIGH = 64  # second word


@pytest.mark.parametrize(("descriptor", "expected"), [
    (make.context_cache(Granularity.GLOBAL), 0x1 | 1 << 4),
    (make.context_cache(Granularity.DOMAIN_SELECTIVE, domain_id=5), 0x1 | 2 << 4 | 5 << 16),
    (make.context_cache(Granularity.SELECTIVE, domain_id=5, source_id=0x18, function_mask=3),
     0x1 | 3 << 4 | 5 << 16 | 0x18 << 32 | 3 << 48),
    (make.iotlb(Granularity.GLOBAL), 0x2 | 1 << 4 | 3 << 6),
    (make.iotlb(Granularity.DOMAIN_SELECTIVE, domain_id=0xFFFF), 0x2 | 2 << 4 | 3 << 6 | 0xFFFF << 16),
    (make.iotlb(Granularity.SELECTIVE, domain_id=5, page=0x12340, address_mask=4, hint=1),
     0x2 | 3 << 4 | 3 << 6 | 5 << 16 | (4 | 1 << 6 | 0x12340 << 12) << HIGH),
    (make.interrupt_entry_cache(), 0x4),
    (make.wait(0x1_2345_6784, 0xDEADBEEF), 0x5 | 1 << 5 | 1 << 6 | 0xDEADBEEF << 32 | 0x1_2345_6784 << HIGH),
    (make.wait(0x1000, 1, interrupt=True), 0x5 | 1 << 4 | 1 << 5 | 1 << 6 | 1 << 32 | 0x1000 << HIGH),
])
def test_descriptor_is_the_one_worked_out_by_hand(descriptor, expected):
    assert hex(descriptor) == hex(expected)


@pytest.mark.parametrize(("address_mask", "address"), [
    (0, 0x40000),             # S clear: one page
    (1, 0x40001),             # S set, bit 12 zero: two pages
    (2, 0x41001), (3, 0x43001),
])
def test_size_of_a_device_tlb_invalidation_is_told_by_its_lowest_zero_bit(address_mask, address):
    assert make.device_tlb(0x18, page=0x40, address_mask=address_mask) == 0x3 | 0x18 << 32 | address << HIGH


def test_device_tlb_invalidation_of_pages_that_are_not_aligned_is_refused():
    with pytest.raises(BadRange, match=r"page 0x41: must be a multiple of 0x2"):
        make.device_tlb(0x18, page=0x41, address_mask=1)


def test_status_address_that_is_no_word_is_refused():
    with pytest.raises(BadRange, match=r"status address 0x1002: must be a multiple of 4"):
        make.wait(0x1002, 1)


def test_field_that_does_not_fit_is_refused():
    with pytest.raises(ValueError, match=r"domain_id: 0x10000 does not fit in 16 bits"):
        make.iotlb(Granularity.DOMAIN_SELECTIVE, domain_id=0x10000)


def test_description_names_type_fields_and_the_whole():
    assert make.describe(0x2 | 3 << 4 | 5 << 16 | 0x40000 << HIGH) == (
        "IOTLB granularity=SELECTIVE domain_id=0x5 page=0x40 [0x00000000000400000000000000050032]")


def test_description_shows_reserved_bits_and_types_that_are_none():
    assert "type_high=0x1" in make.describe(0x5 | 1 << 9)
    assert "_reserved_31_12=0x1" in make.describe(0x5 | 1 << 12)
    assert make.describe(0xF).startswith("RESERVED_15 [0x")


def test_type_is_read_from_the_lowest_bits():
    assert make.type_of(make.wait(0x1000, 0xFFFFFFFF)) is DescriptorType.WAIT
    assert make.type_of(0xA | 0xFFF << 4) is DescriptorType.RESERVED_10
