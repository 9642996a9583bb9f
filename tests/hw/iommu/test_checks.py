# amaranth: UnusedElaboratable=no
"""The checks that read no table, case by case. Expected reasons are worked by hand from VT-d 4.1, 3.14, 7.2 and 9.3."""

import pytest
from amaranth import Module, Signal
from amaranth.sim import Simulator

from hw.iommu.checks import request_fault, settled_without_context
from hw.iommu.messages import Context, UnitControl
from hw.spec.capabilities import Straps
from hw.spec.codec import encode
from hw.spec.dma import Access, DmaRequest, RequestKind
from hw.spec.faults import FaultReason
from hw.spec.invalidation import TranslationTableMode
from hw.spec.tables import TranslationType
from tests.hw.iommu.request_path import STRAPS_DEFAULT, context, request, straps

PASSED = (1, 0, FaultReason.NONE)
INTERRUPT = (1, 1, FaultReason.NONE)
LEFT_TO_THE_TABLES = (0, 0, FaultReason.NONE)


def evaluate(check, **inputs):
    """The fields of what a check says; inputs are (layout, integer or constant)."""
    module = Module()
    signals = {name: Signal(layout, name=name) for name, (layout, _) in inputs.items()}
    result = check(module, **signals)
    seen = []

    async def bench(ctx):
        for name, (layout, value) in inputs.items():
            ctx.set(signals[name], layout.from_bits(value) if isinstance(value, int) else value)
        seen.append(ctx.get(result))

    simulator = Simulator(module)
    simulator.add_testbench(bench)
    simulator.run()
    return seen[0]


def settled(asked, *, enabled=1, mode=0, root_invalid=0, machine=STRAPS_DEFAULT):
    control = encode(UnitControl, translation_enabled=enabled, translation_table_mode=mode, root_invalid=root_invalid)
    result = evaluate(
        settled_without_context, request=(DmaRequest, asked), control=(UnitControl, control), straps=(Straps, machine)
    )
    return result.settled, result.interrupt, FaultReason(result.fault_reason)


def blocked(reason):
    return (1, 0, reason)


def fault(asked, known, machine=STRAPS_DEFAULT):
    result = evaluate(request_fault, request=(DmaRequest, asked), context=(Context, known), straps=(Straps, machine))
    return FaultReason(result)


def test_an_ordinary_request_is_left_to_the_tables():
    assert settled(request(iova=0x1234_5000)) == LEFT_TO_THE_TABLES


@pytest.mark.parametrize("iova", [0, 0x1234_5678, 0xFEE0_0000])
def test_translation_off_passes_everything(iova):
    assert settled(request(iova=iova, pasid_present=1), enabled=0) == PASSED


@pytest.mark.parametrize(
    ("iova", "expected"), [((1 << 39) - 1, PASSED), (1 << 39, blocked(FaultReason.ADDRESS_BEYOND_WIDTH))]
)
def test_translation_off_does_not_wrap_an_address_that_does_not_exist(iova, expected):
    assert settled(request(iova=iova), enabled=0, machine=straps(host_address_width=39)) == expected


@pytest.mark.parametrize("iova", [0x1000, 0xFEE0_0000, 1 << 60])
@pytest.mark.parametrize("kind", [RequestKind.UNTRANSLATED, RequestKind.TRANSLATED])
def test_a_pasid_in_legacy_mode_is_blocked_in_the_interrupt_window_too(iova, kind):
    asked = request(iova=iova, kind=kind, access=Access.WRITE, length_bytes=4, pasid_present=1)
    assert settled(asked) == blocked(FaultReason.PASID_IN_LEGACY_MODE)


BLOCKING_MODES = {
    TranslationTableMode.SCALABLE: FaultReason.ROOT_POINTER_INVALID,
    TranslationTableMode.RESERVED_2: FaultReason.ROOT_POINTER_INVALID,
    TranslationTableMode.ABORT_DMA: FaultReason.DMA_ABORTED,
}


@pytest.mark.parametrize("mode", BLOCKING_MODES)
@pytest.mark.parametrize("pasid_present", [0, 1])
@pytest.mark.parametrize("iova", [0x1000, 0xFEE0_0000])
def test_a_root_table_of_another_mode_blocks_every_dma_whatever_else_is_wrong(iova, pasid_present, mode):
    asked = request(iova=iova, access=Access.WRITE, pasid_present=pasid_present)
    assert settled(asked, mode=mode) == blocked(BLOCKING_MODES[mode])


@pytest.mark.parametrize("pasid_present", [0, 1])
@pytest.mark.parametrize("iova", [0x1000, 0xFEE0_0000, 1 << 60])
@pytest.mark.parametrize("mode", TranslationTableMode)
def test_a_root_table_that_the_host_does_not_have_blocks_every_dma_unless_the_mode_aborts_it(mode, iova, pasid_present):
    asked = request(iova=iova, access=Access.WRITE, pasid_present=pasid_present)
    reason = BLOCKING_MODES.get(mode, FaultReason.ROOT_POINTER_INVALID)
    assert settled(asked, mode=mode, root_invalid=1) == blocked(reason)


def test_a_root_table_that_the_host_does_not_have_lets_interrupts_pass_and_means_nothing_while_translation_is_off():
    interrupt = request(iova=0xFEE0_0000, access=Access.WRITE, length_bytes=4)
    assert settled(interrupt, root_invalid=1) == INTERRUPT
    assert settled(request(iova=0x1000), root_invalid=1, enabled=0) == PASSED


@pytest.mark.parametrize("mode", TranslationTableMode)
@pytest.mark.parametrize("iova", [0xFEE0_0000, 0xFEE1_2344, 0xFEEF_FFFC])
def test_a_dword_write_to_the_interrupt_window_is_an_interrupt_in_every_mode(iova, mode):
    assert settled(request(iova=iova, access=Access.WRITE, length_bytes=4), mode=mode) == INTERRUPT


@pytest.mark.parametrize("iova", [0xFEDF_FFFC, 0xFEF0_0000, 0x1_FEE0_0000, 0xFEE0_0000 << 32])
def test_outside_the_interrupt_window_a_dword_write_is_memory(iova):
    assert settled(request(iova=iova, access=Access.WRITE, length_bytes=4)) == LEFT_TO_THE_TABLES


@pytest.mark.parametrize(
    "fields",
    [
        {"access": Access.READ, "length_bytes": 4},
        {"access": Access.ATOMIC, "length_bytes": 4},
        {"access": Access.WRITE, "length_bytes": 8},
        {"access": Access.WRITE, "length_bytes": 4, "kind": RequestKind.TRANSLATED},
        {"access": Access.WRITE, "length_bytes": 4, "kind": RequestKind.TRANSLATION_REQUEST},
    ],
)
def test_anything_else_in_the_interrupt_window_is_blocked(fields):
    assert settled(request(iova=0xFEE0_0000, **fields)) == blocked(FaultReason.ADDRESS_BEYOND_WIDTH)


@pytest.mark.parametrize("reason", [0x02, 0x03, 0x0B])
def test_what_is_wrong_with_a_context_comes_before_what_is_wrong_with_the_request(reason):
    known = context(domain_id=0, table_pointer=0, address_width=0, fault_reason=reason)
    assert fault(request(iova=1 << 60, kind=RequestKind.TRANSLATED), known) == reason


@pytest.mark.parametrize("kind", [RequestKind.TRANSLATED, RequestKind.TRANSLATION_REQUEST, RequestKind.RESERVED_3])
def test_multi_level_blocks_what_is_not_untranslated_even_beyond_the_width(kind):
    assert fault(request(iova=1 << 60, kind=kind), context()) == FaultReason.REQUEST_TYPE_BLOCKED


@pytest.mark.parametrize("kind", [RequestKind.TRANSLATED, RequestKind.TRANSLATION_REQUEST])
def test_pass_through_blocks_them_too(kind):
    known = context(translation_type=TranslationType.PASS_THROUGH)
    assert fault(request(kind=kind), known) == FaultReason.REQUEST_TYPE_BLOCKED


@pytest.mark.parametrize("kind", [RequestKind.TRANSLATED, RequestKind.TRANSLATION_REQUEST])
def test_multi_level_with_device_tlb_does_not_block_them(kind):
    known = context(translation_type=TranslationType.MULTI_LEVEL_DEVICE_TLB)
    assert fault(request(kind=kind), known) == FaultReason.NONE


@pytest.mark.parametrize(("address_width", "bits"), [(1, 39), (2, 48), (3, 57)])
def test_the_address_must_fit_the_context(address_width, bits):
    known = context(address_width=address_width)
    assert fault(request(iova=(1 << bits) - 1), known) == FaultReason.NONE
    assert fault(request(iova=1 << bits), known) == FaultReason.ADDRESS_BEYOND_WIDTH
    assert fault(request(iova=1 << 63), known) == FaultReason.ADDRESS_BEYOND_WIDTH


def test_the_address_must_fit_the_machine_where_that_is_narrower():
    machine = straps(mgaw=38)
    known = context(address_width=2)
    assert fault(request(iova=(1 << 39) - 1), known, machine) == FaultReason.NONE
    assert fault(request(iova=1 << 39), known, machine) == FaultReason.ADDRESS_BEYOND_WIDTH


def test_pass_through_is_limited_by_the_host_address_width_alone():
    machine = straps(host_address_width=46, mgaw=38)
    known = context(address_width=1, translation_type=TranslationType.PASS_THROUGH)
    assert fault(request(iova=(1 << 46) - 1), known, machine) == FaultReason.NONE
    assert fault(request(iova=1 << 46), known, machine) == FaultReason.ADDRESS_BEYOND_WIDTH
