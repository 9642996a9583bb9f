# amaranth: UnusedElaboratable=no
"""Contexts that block. Expected results are worked by hand from VT-d 4.1, 7.2, 9.1 and 9.3."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hw.spec.codec import encode
from hw.spec.dma import RequestKind
from hw.spec.faults import FaultReason
from hw.spec.tables import ContextEntry, RootEntry
from tests.hw.iommu.context_bench import (
    CONTEXT,
    CONTEXT_HPA,
    CONTEXT_PAGE,
    PASS_THROUGH,
    ROOT,
    ROOT_HPA,
    ROOT_PAGE,
    SOURCE_ID,
    ContextBench,
    transaction,
)
from tests.hw.iommu.memory_mock import MemoryMock

NARROW = dict(host_address_width=39, domain_id_width_code=2)  # HPA bits 38:0, domain IDs of 8 bits

FAULTS = {  # root, context, straps, request, reason
    "an empty root entry": (dict(), CONTEXT, {}, {}, 0x01),
    "root: low reserved bits": (ROOT | dict(_reserved_11_1=1), CONTEXT, {}, {}, 0x0A),
    "root: bit 11": (ROOT | dict(_reserved_11_1=1 << 10), CONTEXT, {}, {}, 0x0A),
    "root: bit 64": (ROOT | dict(_reserved_127_64=1), CONTEXT, {}, {}, 0x0A),
    "root: bit 127": (ROOT | dict(_reserved_127_64=1 << 63), CONTEXT, {}, {}, 0x0A),
    "root: pointer beyond 52 bits": (ROOT | dict(context_table_pointer=1 << 40), CONTEXT, {}, {}, 0x0A),
    "root: pointer beyond the host width": (ROOT | dict(context_table_pointer=1 << 27), CONTEXT, NARROW, {}, 0x0A),
    "an empty context entry": (ROOT, dict(), {}, {}, 0x02),
    "context: bit 4": (ROOT, CONTEXT | dict(_reserved_11_4=1), {}, {}, 0x0B),
    "context: bit 11": (ROOT, CONTEXT | dict(_reserved_11_4=1 << 7), {}, {}, 0x0B),
    "context: bit 71": (ROOT, CONTEXT | dict(_reserved_71=1), {}, {}, 0x0B),
    "context: bit 88": (ROOT, CONTEXT | dict(_reserved_127_88=1), {}, {}, 0x0B),
    "context: bit 127": (ROOT, CONTEXT | dict(_reserved_127_88=1 << 39), {}, {}, 0x0B),
    "context: pointer beyond 52 bits": (ROOT, CONTEXT | dict(second_stage_pointer=1 << 40), {}, {}, 0x0B),
    "context: pointer beyond the host width": (ROOT, CONTEXT | dict(second_stage_pointer=1 << 27), NARROW, {}, 0x0B),
    "pass-through: pointer beyond the host width": (
        ROOT,
        PASS_THROUGH | dict(second_stage_pointer=1 << 27),
        NARROW,
        {},
        0x0B,
    ),
    "context: domain ID beyond ND": (ROOT, CONTEXT | dict(domain_id=0x100), NARROW, {}, 0x0B),
    "translation type 3": (ROOT, CONTEXT | dict(translation_type=3), {}, {}, 0x03),
    "a device-TLB, which there is not": (ROOT, CONTEXT | dict(translation_type=1), {}, {}, 0x03),
    "pass-through without the capability": (ROOT, PASS_THROUGH, dict(pass_through=0), {}, 0x03),
    "address width 0": (ROOT, CONTEXT | dict(address_width=0), dict(sagaw=0b11111), {}, 0x03),
    "address width 4": (ROOT, CONTEXT | dict(address_width=4), dict(sagaw=0b11111), {}, 0x03),
    "an address width that is not in SAGAW": (ROOT, CONTEXT | dict(address_width=3), dict(sagaw=0b00110), {}, 0x03),
    "pass-through with such a width": (ROOT, PASS_THROUGH | dict(address_width=3), dict(sagaw=0b00110), {}, 0x03),
    "an IOVA beyond AW": (ROOT, CONTEXT, {}, dict(iova=1 << 48), 0x04),
    "an IOVA beyond MGAW": (ROOT, CONTEXT, dict(mgaw=38), dict(iova=1 << 39), 0x04),
    "a translated request": (ROOT, CONTEXT, {}, dict(kind=RequestKind.TRANSLATED), 0x0D),
    # Precedence: the first step that fails decides, and within a step the order of the specification.
    "root: presence before reserved bits": (dict(_reserved_11_1=1), CONTEXT, {}, {}, 0x01),
    "root: reserved bits before the context entry": (ROOT | dict(_reserved_127_64=1), dict(), {}, {}, 0x0A),
    "context: presence before reserved bits": (ROOT, dict(_reserved_71=1, translation_type=3), {}, {}, 0x02),
    "context: reserved bits before type and width": (
        ROOT,
        CONTEXT | dict(_reserved_71=1, translation_type=3, address_width=0),
        {},
        {},
        0x0B,
    ),
    "context: type before the request": (
        ROOT,
        CONTEXT | dict(translation_type=3),
        {},
        dict(iova=1 << 60, kind=RequestKind.TRANSLATED),
        0x03,
    ),
    "context: reserved bits before the request": (ROOT, CONTEXT | dict(_reserved_71=1), {}, dict(iova=1 << 60), 0x0B),
}


@pytest.mark.parametrize("case", FAULTS)
def test_each_fault_has_its_reason(case):
    root, context, straps, of_request, reason = FAULTS[case]
    bench = ContextBench(root=root, context=context, **straps)
    assert bench.reason(**of_request) == reason
    assert len(bench.fills) == int(reason in (0x04, 0x0D))  # the context itself is legal there
    assert len(bench.walks) == 0


@pytest.mark.parametrize(
    ("case", "widest"),
    [
        ("root: pointer beyond the host width", dict(root=ROOT | dict(context_table_pointer=(1 << 26) | CONTEXT_PAGE))),
        ("context: pointer beyond the host width", dict(context=CONTEXT | dict(second_stage_pointer=1 << 26))),
        ("context: domain ID beyond ND", dict(context=CONTEXT | dict(domain_id=0xFF))),
    ],
)
def test_the_widest_value_that_fits_is_legal(case, widest):
    assert FAULTS[case][2] is NARROW
    memory = MemoryMock()
    memory.store((1 << 38) | CONTEXT_HPA, encode(ContextEntry, **CONTEXT), 16)
    assert ContextBench(memory=memory, **widest, **NARROW).reason() == FaultReason.NONE


@pytest.mark.parametrize(("hpa", "reason", "reads"), [(ROOT_HPA, 0x08, 1), (CONTEXT_HPA, 0x09, 2)])
@pytest.mark.parametrize("entry", ["sound", "empty"])
def test_an_unreadable_entry_has_its_own_reason_whatever_the_data_seem_to_say(hpa, reason, reads, entry):
    sound = entry == "sound" or hpa == CONTEXT_HPA
    bench = ContextBench(root=ROOT if sound else {}, context=CONTEXT if entry == "sound" else {})
    bench.memory.refuse(hpa)
    assert bench.reason() == reason
    assert len(bench.reads) == reads
    assert bench.answers.payloads[0].context.as_bits() == 0


@pytest.mark.parametrize(
    ("root", "context", "known"),
    [
        (ROOT, dict(fault_processing_disable=1), 1),
        (ROOT, dict(), 0),
        (ROOT, CONTEXT | dict(fault_processing_disable=1, _reserved_71=1), 1),
        (ROOT, CONTEXT | dict(fault_processing_disable=1, translation_type=3), 1),
        (dict(), CONTEXT | dict(fault_processing_disable=1), 0),
    ],
)
def test_fault_processing_disable_is_known_once_the_context_entry_was_read(root, context, known):
    bench = ContextBench(root=root, context=context).look_up(transaction())
    (answer,) = bench.answers.payloads
    assert answer.context.fault_processing_disable == known
    assert (answer.context.domain_id, answer.context.table_pointer) == (0, 0)


WRONG = {  # entries that caching mode keeps, and why
    "not present": (dict(present=0, domain_id=5, second_stage_pointer=0x777), 0x02),
    "a translation type": (CONTEXT | dict(translation_type=3), 0x03),
    "an address width": (CONTEXT | dict(address_width=4), 0x03),
    "a reserved bit": (CONTEXT | dict(_reserved_71=1), 0x0B),
}


@pytest.mark.parametrize("caching_mode", [0, 1])
@pytest.mark.parametrize("hidden", [0, 1])
@pytest.mark.parametrize("case", WRONG)
def test_in_caching_mode_alone_what_is_wrong_with_a_context_entry_is_filled_under_domain_0(case, hidden, caching_mode):
    entry, reason = WRONG[case]
    bench = ContextBench(context=entry | dict(fault_processing_disable=hidden), caching_mode=caching_mode)
    assert bench.reason() == reason
    assert len(bench.fills) == caching_mode
    for fill in bench.fills.payloads:
        assert (fill.source_id, fill.context.domain_id, fill.context.table_pointer) == (SOURCE_ID, 0, 0)
        assert (fill.context.fault_reason, fill.context.fault_processing_disable) == (reason, hidden)


@pytest.mark.parametrize(
    ("refused", "root", "reason"),
    [(ROOT_HPA, ROOT, 0x08), (CONTEXT_HPA, ROOT, 0x09), (None, {}, 0x01), (None, ROOT | dict(_reserved_11_1=1), 0x0A)],
)
def test_in_caching_mode_neither_a_memory_error_nor_a_root_entry_fills_anything(refused, root, reason):
    bench = ContextBench(root=root, context=dict(fault_processing_disable=1), caching_mode=1)
    if refused is not None:
        bench.memory.refuse(refused)
    assert bench.reason() == reason
    assert len(bench.fills) == 0


def test_in_caching_mode_a_legal_context_is_filled_as_ever():
    bench = ContextBench(caching_mode=1)
    assert bench.reason() == FaultReason.NONE
    assert [(fill.context.domain_id, fill.context.fault_reason) for fill in bench.fills.payloads] == [(5, 0)]


def test_in_caching_mode_a_marked_fetch_fills_nothing():
    bench = ContextBench(context={}, caching_mode=1).look_up(transaction(marked=1))
    assert len(bench.answers) == 1
    assert len(bench.fills) == 0


def test_a_blocked_request_to_a_legal_context_carries_that_context():
    bench = ContextBench(context=CONTEXT | dict(fault_processing_disable=1)).look_up(transaction(iova=1 << 48))
    (answer,) = bench.answers.payloads
    assert (answer.context.domain_id, answer.context.fault_processing_disable) == (5, 1)


# --- random entries against another reading of the rules


def expected_reason(root, context, straps):
    """VT-d's rules once more, on raw integers; the request itself is fine."""
    above_width = ((1 << 64) - 1) & ~((1 << straps["host_address_width"]) - 1)
    if not root & 1:
        return 0x01
    if root >> 64 or root & 0xFFE or root & above_width:
        return 0x0A
    if not context & 1:
        return 0x02
    domain_id = context >> 72 & 0xFFFF
    if context & 0xFF0 or context & above_width or context >> 71 & 1 or context >> 88:
        return 0x0B
    if domain_id >> (4 + 2 * straps["domain_id_width_code"]):
        return 0x0B
    translation_type, address_width = context >> 2 & 3, context >> 64 & 7
    if translation_type not in ((0, 2) if straps["pass_through"] else (0,)):
        return 0x03
    if address_width not in (1, 2, 3) or not straps["sagaw"] >> address_width & 1:
        return 0x03
    return 0x00


BLEMISHES = st.one_of(st.just(0), st.just(0), st.integers(0, 127).map(lambda bit: 1 << bit))
ENTRIES = st.tuples(
    BLEMISHES,
    st.builds(
        lambda blemish, address_width, translation_type, domain_id: (
            blemish
            ^ encode(
                ContextEntry,
                present=1,
                second_stage_pointer=0x777,
                address_width=address_width,
                translation_type=translation_type,
                domain_id=domain_id,
            )
        ),
        BLEMISHES,
        st.sampled_from([1, 2, 3, 3, 4]),
        st.sampled_from([0, 0, 0, 2, 2, 1]),
        st.sampled_from([5, 0x3FF]),
    ),
)
STRAPS = st.fixed_dictionaries(
    {
        "host_address_width": st.sampled_from([39, 48, 52]),
        "domain_id_width_code": st.sampled_from([2, 4, 6]),
        "sagaw": st.sampled_from([0b00010, 0b00110, 0b01110]),
        "pass_through": st.sampled_from([0, 1]),
    }
)


@settings(max_examples=12, deadline=None)
@given(entries=st.lists(ENTRIES, min_size=10, max_size=10), straps=STRAPS)
def test_random_entries_agree_with_another_reading_of_the_rules(entries, straps):
    bench = ContextBench(**straps)
    roots = {}
    for bus, (blemish, context) in enumerate(entries):
        roots[bus] = blemish ^ encode(RootEntry, present=1, context_table_pointer=0x5000 + 0x111 * bus)
        bench.memory.store(ROOT_PAGE * 4096 + 16 * bus, roots[bus], 16)
        bench.memory.store(roots[bus] & 0x000F_FFFF_FFFF_F000 | 16 * 0xA5, context, 16)
    bench.look_up(*(transaction(source_id=bus << 8 | 0xA5, tag=bus) for bus in roots))
    reasons = {walk.transaction.request.tag: 0 for walk in bench.walks.payloads}
    reasons |= {answer.transaction.request.tag: answer.fault_reason for answer in bench.answers.payloads}
    for bus, root in roots.items():
        context = bench.memory.load(root & 0x000F_FFFF_FFFF_F000 | 16 * 0xA5, 16)
        assert reasons[bus] == expected_reason(root, context, bench.straps)
