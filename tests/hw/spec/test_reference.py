"""The register reference: it is what the tables say now, and it says everything."""
import pytest

from hw.spec.events import MessageKind
from hw.spec.faults import FaultReason
from hw.spec.invalidation import DESCRIPTOR_LAYOUTS, QueueError
from hw.spec.reference import REFERENCE, reference, remarks
from hw.spec.registers import REGISTERS


def test_the_committed_reference_is_what_the_tables_say():
    assert REFERENCE.read_text() == reference(), "make docs writes it anew"


@pytest.mark.parametrize("row", [
    "| 0x018 | [GCMD](#gcmd) | 32 | Global command; one change at a time |",
    "| IRO + 0x8 | [IOTLB](#iotlb) | 64 | IOTLB invalidate |",
    "| 31 | IM | RW | 0x1 | event masked |",
    "| 33:24 | FRO | RO | 0x22 | fault records at 16*FRO |",
    "| 17:8 | IRO | RO | 0xf | IVA and IOTLB at 16*IRO |",
    "| 63 | ICC | TRIGGER | 0x0 | invalidate the context cache |",
    "| 69:64 | address_mask | at most CAP.MAMV if page-selective; ignored otherwise |",
    "| 5:4 | granularity | 1 GLOBAL, 2 DOMAIN_SELECTIVE, 3 SELECTIVE |",
    "| 6 | MISALIGNED_TAIL | IQT bit 4 with descriptors of 32 bytes |",
    "| 0x04 | ADDRESS_BEYOND_WIDTH | yes | beyond MGAW or AW |",
    "| 0x30 | ROOT_POINTER_INVALID | no |  |",
])
def test_the_reference_has_the_row(row):
    assert row in reference().splitlines()


def test_everything_has_its_place_in_the_reference():
    lines = reference().splitlines()
    for name in [*REGISTERS, *(layout.__name__ for layout in DESCRIPTOR_LAYOUTS.values())]:
        assert f"## {name}" in lines
    for error in QueueError:
        assert any(line.startswith(f"| {error.value} | {error.name} |") for line in lines)
    for reason in FaultReason:
        recorded = reason not in (FaultReason.NONE, FaultReason.DMA_ABORTED)
        assert any(line.startswith(f"| {reason.value:#04x} | {reason.name} |") for line in lines) == recorded


def test_every_field_says_what_it_means():
    assert [f"{row.name}.{field.name}" for row in REGISTERS.values() for field in row.fields if not field.doc] == []


def test_a_remark_is_the_comment_beside_a_member():
    assert remarks(MessageKind) == {"STATUS": "status data of a wait descriptor", "FAULT_EVENT": "FEDATA at FEADDR",
                                    "INVALIDATION_EVENT": "IEDATA at IEADDR"}
