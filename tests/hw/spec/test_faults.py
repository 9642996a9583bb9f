"""Fault reasons and the fault record: numbers and bits of VT-d 4.1, 7.2, 7.3 and 11.4.14."""
import pytest

from hw.spec.codec import decode, encode
from hw.spec.faults import UNRECORDED_FAULT_REASONS, FaultReason, FaultRecord, FaultType, is_qualified
from tests.hw.spec.layouts import rows, size

NUMBERS = {
    "ROOT_NOT_PRESENT": 0x1, "CONTEXT_NOT_PRESENT": 0x2, "CONTEXT_INVALID": 0x3, "ADDRESS_BEYOND_WIDTH": 0x4,
    "WRITE_PERMISSION": 0x5, "READ_PERMISSION": 0x6, "SECOND_STAGE_ACCESS": 0x7, "ROOT_ACCESS": 0x8,
    "CONTEXT_ACCESS": 0x9, "ROOT_RESERVED": 0xA, "CONTEXT_RESERVED": 0xB, "SECOND_STAGE_RESERVED": 0xC,
    "REQUEST_TYPE_BLOCKED": 0xD, "OUTPUT_IN_INTERRUPT_WINDOW": 0xE, "ROOT_POINTER_INVALID": 0x30,
    "PASID_IN_LEGACY_MODE": 0x31,
}


def test_fault_reasons_are_numbered_as_in_the_specification():
    ours = {"NONE": 0, "DMA_ABORTED": 0xFF}
    assert {reason.name: reason.value for reason in FaultReason} == ours | NUMBERS


def test_of_an_aborted_dma_no_record_is_made():
    assert {FaultReason.DMA_ABORTED} == UNRECORDED_FAULT_REASONS


@pytest.mark.parametrize("number", [0x2, 0x3, 0x4, 0x5, 0x6, 0x7, 0xB, 0xC, 0xD, 0xE])
def test_what_lies_behind_a_readable_context_entry_is_qualified(number):
    assert is_qualified(number)


@pytest.mark.parametrize("number", [0x1, 0x8, 0x9, 0xA, 0x30, 0x31])
def test_what_comes_before_a_context_entry_is_recorded_whatever_it_says(number):
    assert not is_qualified(number)


def test_fault_record_has_the_fields_of_the_specification():
    assert size(FaultRecord) == 128
    assert rows(FaultRecord) == [
        ("_reserved_11_0", 11, 0), ("fault_info", 63, 12), ("source_id", 79, 64), ("_reserved_91_80", 91, 80),
        ("type_2", 92, 92), ("privileged", 93, 93), ("execute", 94, 94), ("pasid_present", 95, 95),
        ("fault_reason", 103, 96), ("pasid", 123, 104), ("address_type", 125, 124), ("type_1", 126, 126),
        ("fault", 127, 127)]


def test_a_recorded_read_fault_reads_field_by_field():
    record = decode(FaultRecord, 0xC000_0006_0000_0018 << 64 | 0xFFEF_F000)
    assert record.fault == 1
    assert record.type_1 == 1
    assert record.type_2 == 0
    assert record.fault_reason == 0x06
    assert record.source_id == 0x0018
    assert record.fault_info == 0xFFEFF


@pytest.mark.parametrize(("kind", "type_1", "type_2"), [
    (FaultType.WRITE, 0, 0), (FaultType.PAGE_REQUEST, 0, 1), (FaultType.READ, 1, 0), (FaultType.ATOMIC, 1, 1)])
def test_fault_types_are_the_two_type_bits_of_the_record(kind, type_1, type_2):
    assert kind.value == type_1 << 1 | type_2


def test_a_fault_record_is_encoded_in_the_same_bits():
    assert encode(FaultRecord, fault=1, type_1=1, fault_reason=FaultReason.READ_PERMISSION, source_id=0x18,
                  fault_info=0xFFEFF) == 0xC000_0006_0000_0018 << 64 | 0xFFEF_F000
