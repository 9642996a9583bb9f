# amaranth: UnusedElaboratable=no
"""The unit as a whole: every size it can be built in elaborates, and impossible ones are refused with a sentence."""
import pytest
from amaranth.back import rtlil

from hw.iommu.config import IommuConfig
from hw.iommu.unit import IommuUnit, unit_events

SMALL = {"iotlb_sets": 2, "iotlb_ways": 1, "superpage_sets": 2, "superpage_ways": 1, "context_sets": 2, "context_ways": 1,
         "walk_slots": 1, "context_slots": 1, "waiters": 2, "fault_records": 1}


@pytest.mark.parametrize(("changes", "chunk_bits"), [
    ({}, 128), ({"memory_word_bits": 512}, 128), ({}, 64), ({"memory_word_bits": 512}, 64),
    ({"walk_slots": 3, "context_slots": 2, "iotlb_ways": 3, "fault_records": 5}, 128)])
def test_every_kind_of_build_elaborates(changes, chunk_bits):
    text = rtlil.convert(IommuUnit(IommuConfig(**SMALL | changes), chunk_bits=chunk_bits), name="unit", emit_src=False)
    assert f"events__{len(unit_events(IommuConfig(**SMALL | changes))) - 1}__payload" in text


@pytest.mark.parametrize(("changes", "message"), [
    ({"iotlb_sets": 3}, "iotlb_sets must be a power of two and at least 2, not 3"),
    ({"context_sets": 1}, "context_sets must be a power of two and at least 2, not 1"),
    ({"iotlb_ways": 0}, "iotlb_ways must be at least 1, not 0"),
    ({"waiters": 1}, "waiters must be between 2 and 512, not 1"),
    ({"walk_slots": 65}, "walk_slots must be between 1 and 64, not 65"),
    ({"fault_records": 0}, "fault_records must be between 1 and 256, not 0"),
    ({"memory_word_bits": 256}, r"memory_word_bits must be one of \(128, 512\), not 256"),
])
def test_impossible_sizes_are_refused(changes, message):
    with pytest.raises(ValueError, match=message):
        IommuConfig(**changes)
