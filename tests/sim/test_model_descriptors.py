"""Which descriptors are legal, in the order in which they are looked at, and what they ask for."""
import pytest

from hw.spec.invalidation import Granularity, InvalidationKind, QueueError, TranslationTableMode
from sim.model.caches import InvalidationView
from sim.model.queue import check_descriptor, check_tail
from tests.sim.test_model_queue import context_cache, device_tlb, interrupt_entry, iotlb, wait


def check(low, *, mode=TranslationTableMode.LEGACY, wide=False, high=0, max_address_mask=18):
    return check_descriptor(max_address_mask=max_address_mask, table_mode=mode.value, wide=wide, low=low, high=high)


LEGAL = [context_cache(), iotlb(), device_tlb(), interrupt_entry(), wait()]


@pytest.mark.parametrize("wide", [False, True])
def test_legacy_mode_takes_types_1_to_5_in_both_widths(wide):
    assert [check(each, wide=wide) for each in LEGAL] == [QueueError.NONE] * 5
    assert {check(kind, wide=wide) for kind in (0, *range(6, 16))} == {QueueError.BAD_TYPE}


@pytest.mark.parametrize("mode", [TranslationTableMode.SCALABLE, TranslationTableMode.RESERVED_2])
@pytest.mark.parametrize("wide", [False, True])
def test_modes_that_the_unit_does_not_have_take_no_width(mode, wide):
    assert {check(each, mode=mode, wide=wide) for each in (*LEGAL, 0, 15)} == {QueueError.BAD_WIDTH}


def test_abort_mode_takes_wide_descriptors_of_types_1_to_9_only():
    abort = TranslationTableMode.ABORT_DMA
    assert {check(each, mode=abort) for each in LEGAL} == {QueueError.BAD_WIDTH}
    assert {check(each, mode=abort, wide=True) for each in LEGAL} == {QueueError.NONE}
    assert {check(kind | 1 << 127, mode=abort, wide=True) for kind in range(6, 10)} == {QueueError.NONE}
    assert {check(kind, mode=abort, wide=True) for kind in (0, *range(10, 16))} == {QueueError.BAD_TYPE}


def test_type_has_three_more_bits_that_must_be_zero():
    assert {check(each | 1 << bit) for each in LEGAL for bit in (9, 10, 11)} == {QueueError.BAD_TYPE}


@pytest.mark.parametrize(("good", "reserved"), [
    # Reserved bits of each type, from VT-d 6.5.2; bits 11:9 are type.
    (context_cache(), [*range(6, 9), *range(12, 16), *range(50, 128)]),
    (iotlb(), [8, *range(12, 16), *range(32, 64), *range(71, 76)]),
    (device_tlb(), [*range(4, 9), *range(21, 32), *range(48, 52), *range(65, 76)]),
    (interrupt_entry(), [*range(5, 9), *range(12, 27), *range(48, 128)]),
    (wait(), [7, 8, *range(12, 32), 64, 65]),
])
def test_reserved_bits_are_these_and_no_others(good, reserved):
    wrong = {bit for bit in range(12, 128) if check(good | 1 << bit) is QueueError.RESERVED_FIELD}
    wrong |= {bit for bit in range(4, 9) if check(good | 1 << bit) is QueueError.RESERVED_FIELD}
    assert wrong == set(reserved)


def test_second_half_of_a_wide_descriptor_is_reserved_in_every_type_but_the_page_group_response():
    abort = TranslationTableMode.ABORT_DMA
    assert {check(each, wide=True, high=1 << 127) for each in LEGAL} == {QueueError.RESERVED_FIELD}
    assert {check(each, mode=abort, wide=True, high=1) for each in (*LEGAL, 6, 7, 8)} == {QueueError.RESERVED_FIELD}
    assert check(9, mode=abort, wide=True, high=(1 << 128) - 1) is QueueError.NONE
    assert check(10, mode=abort, wide=True, high=1) is QueueError.BAD_TYPE


def test_granularity_zero_and_more_pages_than_the_machine_can_name_are_reserved():
    assert check(context_cache(Granularity.RESERVED_0)) is QueueError.RESERVED_FIELD
    assert check(iotlb(Granularity.RESERVED_0)) is QueueError.RESERVED_FIELD
    assert check(iotlb(Granularity.SELECTIVE, address_mask=4), max_address_mask=3) is QueueError.RESERVED_FIELD
    assert check(iotlb(Granularity.SELECTIVE, address_mask=3), max_address_mask=3) is QueueError.NONE
    assert check(iotlb(Granularity.DOMAIN_SELECTIVE, address_mask=4), max_address_mask=3) is QueueError.NONE


def test_width_is_looked_at_before_type_and_type_before_fields():
    assert check(0 | 1 << 12, mode=TranslationTableMode.SCALABLE) is QueueError.BAD_WIDTH
    assert check(context_cache() | 1 << 9 | 1 << 12) is QueueError.BAD_TYPE


def test_tail_must_lie_in_the_queue_and_on_a_descriptor():
    assert [check_tail(tail, 0, False) for tail in (0, 255, 256)] == [QueueError.NONE, QueueError.NONE, QueueError.BAD_TAIL]
    assert [check_tail(tail, 1, True) for tail in (510, 511, 513)] == [
        QueueError.NONE, QueueError.MISALIGNED_TAIL, QueueError.BAD_TAIL]
    assert check_tail(0x7FFF, 7, False) is QueueError.NONE
    assert check_tail(1, 0, False) is QueueError.NONE


def test_descriptor_says_what_it_invalidates_and_leaves_out_what_its_granularity_ignores():
    of, context, line = InvalidationView.of_descriptor, InvalidationKind.CONTEXT_CACHE.value, InvalidationKind.IOTLB.value
    assert of(context_cache(domain_id=5, source_id=6, function_mask=3)) == (context, 1, 0, 0, 0, 0, 0, 0, 0)
    assert of(context_cache(Granularity.DOMAIN_SELECTIVE, domain_id=5, source_id=6)) == (context, 2, 5, 0, 0, 0, 0, 0, 0)
    assert of(context_cache(Granularity.SELECTIVE, domain_id=5, source_id=6, function_mask=3)) == (context, 3, 5, 6, 3, 0, 0, 0, 0)
    assert of(iotlb(domain_id=5, page=7, drain_reads=1, hint=1)) == (line, 1, 0, 0, 0, 0, 0, 1, 0)
    assert of(iotlb(Granularity.DOMAIN_SELECTIVE, domain_id=5, hint=1)) == (line, 2, 5, 0, 0, 0, 0, 0, 0)
    assert of(iotlb(Granularity.SELECTIVE, domain_id=5, page=0x17, address_mask=3)) == (line, 3, 5, 0, 0, 0x10, 3, 0, 0)
    assert of(iotlb(Granularity.SELECTIVE, domain_id=5, page=0x17, hint=1)) == (line, 3, 5, 0, 0, 0x17, 0, 0, 1)
    assert [of(each) for each in (device_tlb(), interrupt_entry(), wait())] == [None] * 3
