"""Invalidations and the queue's descriptors, against the specification's figures and against what a real driver wrote."""
import pytest

from hw.spec.codec import decode, encode
from hw.spec.invalidation import (
    ABORT_MODE_DESCRIPTORS,
    DESCRIPTOR_LAYOUTS,
    FUNCTION_MASKS,
    LEGACY_DESCRIPTORS,
    ContextCacheDescriptor,
    DescriptorHeader,
    DescriptorType,
    DeviceTlbDescriptor,
    Granularity,
    InterruptEntryCacheDescriptor,
    IotlbDescriptor,
    QueueError,
    TranslationTableMode,
    WaitDescriptor,
)
from tests.hw.spec.layouts import rows, size

FIGURES = {  # named fields: highest bit, lowest bit of the 128
    ContextCacheDescriptor: {"type": (3, 0), "granularity": (5, 4), "type_high": (11, 9), "domain_id": (31, 16),
                             "source_id": (47, 32), "function_mask": (49, 48)},
    IotlbDescriptor: {"type": (3, 0), "granularity": (5, 4), "drain_writes": (6, 6), "drain_reads": (7, 7),
                      "type_high": (11, 9), "domain_id": (31, 16), "address_mask": (69, 64), "hint": (70, 70),
                      "page": (127, 76)},
    DeviceTlbDescriptor: {"type": (3, 0), "type_high": (11, 9), "pfsid_low": (15, 12),
                          "max_invalidations_pending": (20, 16), "source_id": (47, 32), "pfsid_high": (63, 52),
                          "size": (64, 64), "page": (127, 76)},
    InterruptEntryCacheDescriptor: {"type": (3, 0), "granularity": (4, 4), "type_high": (11, 9), "index_mask": (31, 27),
                                    "index": (47, 32)},
    WaitDescriptor: {"type": (3, 0), "interrupt": (4, 4), "status_write": (5, 5), "fence": (6, 6), "type_high": (11, 9),
                     "status_data": (63, 32), "status_address": (127, 66)},
}


@pytest.mark.parametrize("layout", FIGURES, ids=lambda layout: layout.__name__)
def test_a_descriptor_has_the_fields_of_its_figure_and_nothing_else(layout):
    assert {name: (high, low) for name, high, low in rows(layout) if not name.startswith("_")} == FIGURES[layout]
    assert size(layout) == 128


def test_the_header_is_what_every_descriptor_begins_with():
    assert rows(DescriptorHeader) == [("type", 3, 0), ("_other_8_4", 8, 4), ("type_high", 11, 9)]


def test_types_are_numbered_as_the_specification_numbers_them():
    assert [(kind.value, kind.name) for kind in DESCRIPTOR_LAYOUTS] == [
        (1, "CONTEXT_CACHE"), (2, "IOTLB"), (3, "DEVICE_TLB"), (4, "INTERRUPT_ENTRY_CACHE"), (5, "WAIT")]
    assert [DescriptorType(number).name for number in range(6, 10)] == [
        "PASID_IOTLB", "PASID_CACHE", "PASID_DEVICE_TLB", "PAGE_GROUP_RESPONSE"]


def test_legal_types_are_those_of_the_table_modes():
    assert [kind.value for kind in LEGACY_DESCRIPTORS] == [1, 2, 3, 4, 5]
    assert [kind.value for kind in ABORT_MODE_DESCRIPTORS] == [1, 2, 3, 4, 5, 6, 7, 8, 9]


def test_causes_granularities_modes_and_function_masks_have_their_numbers():
    assert [cause.name for cause in sorted(QueueError)] == [
        "NONE", "BAD_TAIL", "FETCH", "BAD_TYPE", "RESERVED_FIELD", "BAD_WIDTH", "MISALIGNED_TAIL"]
    assert [cause.value for cause in sorted(QueueError)] == list(range(7))
    assert [Granularity(number).name for number in (1, 2, 3)] == ["GLOBAL", "DOMAIN_SELECTIVE", "SELECTIVE"]
    assert [TranslationTableMode(number).name for number in (0, 1, 3)] == ["LEGACY", "SCALABLE", "ABORT_DMA"]
    assert FUNCTION_MASKS == (0, 0b100, 0b110, 0b111)


REAL = [  # as a Linux driver wrote them: low half, high half, what they say
    (0xF00F2, 0xFFFF_D000, IotlbDescriptor, dict(
        type=DescriptorType.IOTLB, granularity=Granularity.SELECTIVE, drain_writes=1, drain_reads=1, domain_id=0xF,
        address_mask=0, hint=0, page=0xF_FFFD)),
    (0x2_0000_0025, 0x1_0097_C404, WaitDescriptor, dict(
        type=DescriptorType.WAIT, interrupt=0, status_write=1, fence=0, status_data=2, status_address=0x1_0097_C404 >> 2)),
    (0x0038_0007_0031, 0, ContextCacheDescriptor, dict(
        type=DescriptorType.CONTEXT_CACHE, granularity=Granularity.SELECTIVE, domain_id=7, source_id=0x0038,
        function_mask=0)),
]


@pytest.mark.parametrize(("low", "high", "layout", "fields"), REAL)
def test_what_a_real_driver_wrote_reads_as_what_it_meant(low, high, layout, fields):
    descriptor = decode(layout, high << 64 | low)
    assert {name: getattr(descriptor, name) for name in fields} == fields
    assert encode(layout, **fields) == high << 64 | low


@pytest.mark.parametrize(("layout", "fields", "value"), [
    (DeviceTlbDescriptor, dict(type=3, pfsid_low=0xA, max_invalidations_pending=0x1F, source_id=0x1234, pfsid_high=0xBCD,
                               size=1, page=0x7_FFFF_FFFF_FFFF), 0x7FFF_FFFF_FFFF_F001_BCD0_1234_001F_A003),
    (InterruptEntryCacheDescriptor, dict(type=4, granularity=1, index_mask=0x15, index=0xBEEF), 0xBEEF_A800_0014),
    (WaitDescriptor, dict(type=5, interrupt=1, status_write=1, fence=1), 0x75),
    (IotlbDescriptor, dict(type=2, granularity=3, domain_id=0x55, address_mask=9, hint=1, page=0x200),
     0x20_0049 << 64 | 0x55_0032),
])
def test_a_descriptor_made_by_hand_has_its_bits_where_the_figures_put_them(layout, fields, value):
    assert encode(layout, **fields) == value
