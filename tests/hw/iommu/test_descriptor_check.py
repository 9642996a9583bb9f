# amaranth: UnusedElaboratable=no
"""Which tails and descriptors are legal: every rule once, from the layouts of VT-d 6.5.2 as written out by hand."""

import pytest
from amaranth import *
from amaranth.sim import Simulator

from hw.iommu.descriptor_check import descriptor_error, tail_error
from hw.spec.invalidation import QueueError, TranslationTableMode
from tests.hw.iommu.descriptors import (
    context_cache,
    device_tlb,
    interrupt_entry_cache,
    iotlb,
    typed,
    wait,
)

LEGACY, SCALABLE, RESERVED, ABORT = TranslationTableMode
MAMV = 18

LEGAL = {
    1: [context_cache(1), context_cache(2, domain_id=0xFFFF), context_cache(3, source_id=0xFFFF, function_mask=3)],
    2: [
        iotlb(1, drain_reads=1, drain_writes=1),
        iotlb(2, domain_id=0xFFFF, address_mask=63, hint=1, address=0xFFFF_FFFF_FFFF_F000),
        iotlb(3, address_mask=MAMV, hint=1, address=0xFFFF_FFFF_FFFF_F000),
        iotlb(3, address_mask=0, address=0x1000),
    ],
    3: [device_tlb(0xFFFF, size=1, address=0x7FFF_FFFF_FFFF_F000), typed(3, low=0xFFF << 52 | 0x1F << 16 | 0xF << 12)],
    4: [interrupt_entry_cache(), interrupt_entry_cache(granularity=1, index=0xFFFF, mask=31)],
    5: [wait(), wait(interrupt=1, fence=1), wait(address=0xFFFF_FFFF_FFFF_FFFC, data=0xFFFF_FFFF, fence=1)],
}
EVERY_TYPE = [LEGAL[number][0] if number in LEGAL else typed(number) for number in range(16)]
RESERVED_BITS = {
    1: [8, 7, 6, 15, 14, 13, 12, *range(50, 128)],
    2: [8, 15, 14, 13, 12, *range(32, 64), *range(71, 76)],
    3: [*range(4, 9), *range(21, 32), *range(48, 52), *range(65, 76)],
    4: [*range(5, 9), *range(12, 27), *range(48, 128)],
    5: [7, 8, *range(12, 32), 64, 65],
}
"""Places of reserved bits, by type."""


class Check:
    """Ask the functions many questions, without a clock."""

    def __init__(self):
        m = Module()
        self.descriptor, self.second_half = Signal(128), Signal(128)
        self.memory_error, self.wide = Signal(), Signal()
        self.table_mode = Signal(TranslationTableMode)
        self.tail, self.size_log2 = Signal(15), Signal(3)
        self.descriptor_error = descriptor_error(
            m,
            descriptor=self.descriptor,
            second_half=self.second_half,
            memory_error=self.memory_error,
            wide=self.wide,
            table_mode=self.table_mode,
            max_address_mask=Const(MAMV, 6),
        )
        self.tail_error = tail_error(m, tail=self.tail, size_log2=self.size_log2, wide=self.wide)
        self._module = m

    def ask(self, error, questions):
        """The error for each set of inputs."""
        answers = []

        async def testbench(ctx):
            for question in questions:
                for name in ("descriptor", "second_half", "memory_error", "wide", "tail", "size_log2"):
                    ctx.set(getattr(self, name), question.get(name, 0))
                ctx.set(self.table_mode, question.get("table_mode", LEGACY))
                answers.append(QueueError(ctx.get(error)))

        simulator = Simulator(self._module)
        simulator.add_testbench(testbench)
        simulator.run()
        return answers


def errors(*questions, **common):
    """QueueError of each descriptor (or dict of inputs), all under the same conditions."""
    questions = [question if isinstance(question, dict) else {"descriptor": question} for question in questions]
    check = Check()
    return check.ask(check.descriptor_error, [common | question for question in questions])


def tail_errors(*tails, **common):
    """QueueError of each tail."""
    check = Check()
    return check.ask(check.tail_error, [common | {"tail": tail} for tail in tails])


@pytest.mark.parametrize(("mode", "wide"), [(LEGACY, 0), (LEGACY, 1), (ABORT, 1)])
@pytest.mark.parametrize("number", LEGAL)
def test_legal_descriptors_are_legal(number, mode, wide):
    assert set(errors(*LEGAL[number], table_mode=mode, wide=wide)) == {QueueError.NONE}


@pytest.mark.parametrize("wide", [0, 1])
def test_in_legacy_mode_types_one_to_five_exist_in_either_width(wide):
    answers = errors(*EVERY_TYPE, wide=wide)
    expected = [QueueError.NONE if 1 <= number <= 5 else QueueError.BAD_TYPE for number in range(16)]
    assert answers == expected


def test_in_abort_mode_types_one_to_nine_exist():
    answers = errors(*EVERY_TYPE, wide=1, table_mode=ABORT)
    expected = [QueueError.NONE if 1 <= number <= 9 else QueueError.BAD_TYPE for number in range(16)]
    assert answers == expected


@pytest.mark.parametrize(("mode", "wide"), [(SCALABLE, 0), (SCALABLE, 1), (RESERVED, 0), (RESERVED, 1), (ABORT, 0)])
def test_where_a_width_does_not_exist_that_is_the_error_whatever_the_descriptor(mode, wide):
    answers = errors(*EVERY_TYPE, (1 << 128) - 1, table_mode=mode, wide=wide)
    assert set(answers) == {QueueError.BAD_WIDTH}


@pytest.mark.parametrize("bit", [9, 10, 11])
def test_the_upper_bits_of_the_type_must_be_zero(bit):
    assert set(errors(*(sample[0] | 1 << bit for sample in LEGAL.values()))) == {QueueError.BAD_TYPE}
    assert errors(typed(6, low=1 << bit), table_mode=ABORT, wide=1) == [QueueError.BAD_TYPE]


@pytest.mark.parametrize("number", RESERVED_BITS)
def test_each_reserved_bit_must_be_zero_and_no_other(number):
    sample = LEGAL[number][0]
    answers = errors(*(sample | 1 << bit for bit in RESERVED_BITS[number]))
    assert set(answers) == {QueueError.RESERVED_FIELD}
    others = set(range(12, 128)) - set(RESERVED_BITS[number])
    if number == 2:
        others -= set(range(64, 70))  # the address mask has a limit of its own
    assert set(errors(*(sample | 1 << bit for bit in sorted(others)))) <= {QueueError.NONE}


@pytest.mark.parametrize(
    ("number", "mode"), [*((number, LEGACY) for number in range(1, 6)), *((number, ABORT) for number in range(1, 9))]
)
def test_the_second_half_of_a_wide_descriptor_must_be_zero(number, mode):
    bits = [{"descriptor": EVERY_TYPE[number], "second_half": 1 << bit} for bit in range(128)]
    assert set(errors(*bits, wide=1, table_mode=mode)) == {QueueError.RESERVED_FIELD}
    assert errors(EVERY_TYPE[number], wide=1, table_mode=mode) == [QueueError.NONE]


@pytest.mark.parametrize("number", LEGAL)
def test_in_a_narrow_queue_there_is_no_second_half(number):
    assert errors({"descriptor": LEGAL[number][0], "second_half": 1}) == [QueueError.NONE]


@pytest.mark.parametrize("number", [6, 7, 8, 9])
def test_fields_of_types_without_effect_are_not_looked_at(number):
    ones = typed(number, low=0xFFFF_FFFF_FFFF_F1F0, high=(1 << 64) - 1)
    assert errors(ones, wide=1, table_mode=ABORT) == [QueueError.NONE]


def test_a_page_group_response_has_data_in_its_second_half():
    question = {"descriptor": typed(9), "second_half": (1 << 128) - 1}
    assert errors(question, wide=1, table_mode=ABORT) == [QueueError.NONE]


def test_granularity_zero_is_none():
    assert errors(context_cache(0), iotlb(0)) == [QueueError.RESERVED_FIELD] * 2


def test_a_page_range_beyond_mamv_is_illegal_only_if_pages_are_selected():
    beyond = [iotlb(granularity, address_mask=MAMV + 1) for granularity in (1, 2, 3)]
    assert errors(*beyond) == [QueueError.NONE, QueueError.NONE, QueueError.RESERVED_FIELD]


def test_of_several_causes_the_first_in_order_is_the_one():
    bad_field = context_cache(0)
    bad_type = typed(10, low=1 << 7)
    assert errors(bad_field, memory_error=1) == [QueueError.FETCH]
    assert errors(bad_type, memory_error=1, table_mode=SCALABLE) == [QueueError.FETCH]
    assert errors(bad_type, table_mode=SCALABLE) == [QueueError.BAD_WIDTH]
    assert errors(bad_type) == [QueueError.BAD_TYPE]
    assert errors(bad_field | 1 << 9) == [QueueError.BAD_TYPE]
    assert errors({"descriptor": bad_type, "second_half": 1}, wide=1) == [QueueError.BAD_TYPE]


@pytest.mark.parametrize("size_log2", range(8))
def test_a_tail_must_lie_in_the_queue(size_log2):
    units = 256 << size_log2  # of 16 bytes in 4096 << QS
    assert tail_errors(0, 1, units - 1, size_log2=size_log2) == [QueueError.NONE] * 3
    if size_log2 < 7:  # the largest queue takes every tail
        assert tail_errors(units, units + 1, 0x7FFF, size_log2=size_log2) == [QueueError.BAD_TAIL] * 3


def test_a_tail_in_the_middle_of_a_wide_descriptor_is_misaligned_unless_it_is_beyond_the_end():
    assert tail_errors(0, 1, 255, 256, 257, wide=1) == [
        QueueError.NONE,
        QueueError.MISALIGNED_TAIL,
        QueueError.MISALIGNED_TAIL,
        QueueError.BAD_TAIL,
        QueueError.BAD_TAIL,
    ]
