# amaranth: UnusedElaboratable=no
"""Second-stage walks that fail. Expected results are worked by hand from VT-d 4.1, 3.7, 7.2 and 9.8."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hw.spec.dma import Access
from hw.spec.faults import FaultReason
from hw.spec.tables import PageSize, table_index
from tests.hw.iommu.bench import receive, send
from tests.hw.iommu.memory_mock import MemoryMock
from tests.hw.iommu.walk_bench import IOVA, READ_WRITE, WalkBench, filled, map_path, path, walk_request


def leaf(**fields):
    """Changes to the leaf of a four-level walk."""
    return path(4, **fields)


def table(level, **fields):
    """Changes to the entry of a higher level."""
    return [(each, READ_WRITE | fields if each == level else entry) for each, entry in path(4)]


FAULTS = {
    "an empty leaf, read": (leaf(readable=0, writable=0), Access.READ, 0x06),
    "an empty leaf, written": (leaf(readable=0, writable=0), Access.WRITE, 0x05),
    "an empty table entry": (table(3, readable=0, writable=0), Access.READ, 0x06),
    "execute alone is not presence": (leaf(readable=0, writable=0, executable=1), Access.READ, 0x06),
    "a write to a read-only page": (leaf(writable=0), Access.WRITE, 0x05),
    "a read of a write-only page": (leaf(readable=0), Access.READ, 0x06),
    "a write below a read-only table": (table(2, writable=0), Access.WRITE, 0x05),
    "a read below a write-only top table entry": (table(4, readable=0), Access.READ, 0x06),
    "an atomic on a read-only page": (leaf(writable=0), Access.ATOMIC, 0x05),
    "an atomic on a write-only page": (leaf(readable=0), Access.ATOMIC, 0x06),
    "an atomic on an empty page": (leaf(readable=0, writable=0), Access.ATOMIC, 0x05),
    "snoop without snoop control": (leaf(snoop=1), Access.READ, 0x0C),
    "snoop in a table entry": (table(2, snoop=1), Access.READ, 0x0C),
    "transient mapping": (leaf(transient_mapping=1), Access.READ, 0x0C),
    "page size at level 4": (table(4, page_size=1), Access.READ, 0x0C),
    "a 2 MiB page with address bit 12": (path(4, 2, address=0x201), Access.READ, 0x0C),
    "a 2 MiB page with address bit 20": (path(4, 2, address=0x300), Access.READ, 0x0C),
    "a 1 GiB page with address bit 12": (path(4, 3, address=0x4_0001), Access.READ, 0x0C),
    "a 1 GiB page with address bit 29": (path(4, 3, address=0x6_0000), Access.READ, 0x0C),
}


@pytest.mark.parametrize("case", FAULTS)
def test_each_fault_has_its_reason_and_fills_nothing_that_would_permit_it(case):
    entries, access, reason = FAULTS[case]
    bench = WalkBench()
    map_path(bench.memory, entries)
    answer = bench.walk(walk_request(access=access))
    assert answer.fault_reason == reason
    assert not any(permits(fill, IOVA, access) for fill in bench.fills.payloads)


def test_what_a_blocked_request_may_not_do_is_cached_with_what_others_may():
    bench = WalkBench()
    map_path(bench.memory, table(2, writable=0))
    assert bench.walk(walk_request(access=Access.WRITE)).fault_reason == FaultReason.WRITE_PERMISSION
    (fill,) = bench.fills.payloads
    assert filled(fill) == (IOVA >> 12 & ~1, [(0, 0x1001, 1, 0)])


@pytest.mark.parametrize(
    ("entries", "straps"),
    [
        (path(4, 2, address=0x200), dict(superpages=0b10)),
        (path(4, 3, address=0x4_0000), dict(superpages=0b01)),
        (leaf(address=1 << 27), dict(host_address_width=39)),  # HPA bit 39
        (table(3, address=1 << 27), dict(host_address_width=39)),
        (path(5, 5), dict()),  # page size at level 5
    ],
)
def test_straps_decide_what_is_reserved(entries, straps):
    bench = WalkBench(**straps)
    map_path(bench.memory, entries)
    answer = bench.walk(walk_request(address_width=entries[0][0] - 2))
    assert answer.fault_reason == FaultReason.SECOND_STAGE_RESERVED


@pytest.mark.parametrize(
    ("entries", "straps"),
    [
        (path(4, 2, address=0x200), dict(superpages=0b01)),
        (path(4, 3, address=0x4_0000), dict(superpages=0b10)),
        (leaf(address=1 << 26), dict(host_address_width=39)),  # HPA bit 38
        (leaf(address=1 << 39), dict(host_address_width=52)),
        (leaf(snoop=1), dict(snoop_control=1)),
    ],
)
def test_straps_decide_what_is_permitted(entries, straps):
    bench = WalkBench(**straps)
    map_path(bench.memory, entries)
    assert bench.walk(walk_request()).fault_reason == FaultReason.NONE


@pytest.mark.parametrize(("refused", "reason"), [(0, 0x03), (1, 0x07), (2, 0x07), (3, 0x07)])
def test_an_unreadable_table_is_03_at_the_top_and_07_below(refused, reason):
    bench = WalkBench()
    bench.memory.refuse(map_path(bench.memory, path(4))[refused])
    answer = bench.walk(walk_request())
    assert answer.fault_reason == reason
    assert len(bench.reads) == refused + 1
    assert len(bench.fills) == 0


NOT_PRESENT = {  # the entries; the access; the reason in the answer
    "an empty leaf, read": (leaf(readable=0, writable=0), Access.READ, 0x06),
    "an empty leaf, written": (leaf(readable=0, writable=0), Access.WRITE, 0x05),
    "an empty leaf, an atomic": (leaf(readable=0, writable=0), Access.ATOMIC, 0x05),
    "an empty table entry": (table(3, readable=0, writable=0), Access.READ, 0x06),
    "an empty top entry": (table(4, readable=0, writable=0), Access.READ, 0x06),
    "an empty 2 MiB entry": (path(4, 2, readable=0, writable=0, address=0x201), Access.READ, 0x06),
    "execute alone": (leaf(readable=0, writable=0, executable=1), Access.READ, 0x06),
}


@pytest.mark.parametrize("caching_mode", [0, 1])
@pytest.mark.parametrize("case", NOT_PRESENT)
def test_in_caching_mode_alone_an_entry_that_is_not_present_fills_its_4_kib(case, caching_mode):
    entries, access, reason = NOT_PRESENT[case]
    bench = WalkBench(caching_mode=caching_mode)
    map_path(bench.memory, entries)
    assert bench.walk(walk_request(access=access, domain_id=5)).fault_reason == reason
    assert len(bench.fills) == caching_mode
    for fill in bench.fills.payloads:
        assert (fill.domain_id, fill.page_size, fill.table_pointer) == (5, PageSize.SIZE_4K, 0x777)
        first, missing = filled(fill)
        assert first == IOVA >> 12 & ~1
        assert missing == [(0, 0, 0, 0), (1, 0, 0, 0)]    # the neighbour is as empty: in its word, or under its table


def permits(fill, iova, access):
    """True if a line would answer this access."""
    first, entries = filled(fill)
    position = (iova >> 12) - first >> 9 * fill.page_size.value
    return any(at == position and (readable or access == Access.WRITE) and (writable or access == Access.READ)
               for at, _, readable, writable in entries)


def all_present(entries):
    """True if every entry is readable or writable."""
    return all(fields.get("readable") or fields.get("writable") for _, fields in entries)


@pytest.mark.parametrize("case", [name for name, (entries, *_) in FAULTS.items() if all_present(entries)])
def test_in_caching_mode_no_other_fault_fills_anything(case):
    entries, access, reason = FAULTS[case]
    bench = WalkBench(caching_mode=1)
    map_path(bench.memory, entries)
    assert bench.walk(walk_request(access=access)).fault_reason == reason
    lines = [filled(fill) for fill in bench.fills.payloads]
    assert all(readable or writable for first, line in lines for at, _, readable, writable in line if first + at == IOVA >> 12)
    assert not any(permits(fill, IOVA, access) for fill in bench.fills.payloads)


@pytest.mark.parametrize("refused", range(4))
def test_in_caching_mode_a_memory_error_fills_nothing_whatever_the_data_seem_to_say(refused):
    bench = WalkBench(caching_mode=1)
    entries = [(level, dict(READ_WRITE) if level != 4 - refused else {}) for level in (4, 3, 2, 1)]
    bench.memory.refuse(map_path(bench.memory, entries)[refused])
    assert bench.walk(walk_request()).fault_reason == (0x07 if refused else 0x03)
    assert len(bench.fills) == 0


def test_a_page_of_the_interrupt_window_is_answered_and_not_filled():
    for page, fills in {0xFEDFF: 1, 0xFEE00: 0, 0xFEEFF: 0, 0xFEF00: 1, 0x1_FEE00: 1}.items():
        bench = WalkBench()
        map_path(bench.memory, leaf(address=page))
        answer = bench.walk(walk_request())
        assert (answer.fault_reason, answer.page) == (FaultReason.NONE, page)
        assert len(bench.fills) == fills


@pytest.mark.parametrize(("leaf_level", "page"), [(2, 0xFEE00), (3, 0xC0000)])
def test_a_superpage_around_the_interrupt_window_is_filled(leaf_level, page):
    bench = WalkBench()
    map_path(bench.memory, path(4, leaf_level, address=page))
    assert bench.walk(walk_request()).fault_reason == FaultReason.NONE
    assert [entry[1] for fill in bench.fills.payloads for entry in filled(fill)[1]] == [page]


PRECEDENCE = {
    "permission before reserved bits": (leaf(readable=0, snoop=1), Access.READ, 0x06),
    "an empty entry has no reserved bits": (leaf(readable=0, writable=0, snoop=1), Access.WRITE, 0x05),
    "permission of a higher level before reserved bits of a lower": (
        [(4, READ_WRITE), (3, dict(readable=1)), (2, READ_WRITE | dict(snoop=1)), (1, READ_WRITE)],
        Access.WRITE,
        0x05,
    ),
    "reserved bits of a higher level before permission of a lower": (
        [(4, READ_WRITE), (3, READ_WRITE | dict(snoop=1)), (2, dict(readable=1)), (1, READ_WRITE)],
        Access.WRITE,
        0x0C,
    ),
    "write permission before read permission": (leaf(readable=0, writable=0), Access.ATOMIC, 0x05),
    "read permission of a higher level before write permission of a lower": (
        [(4, READ_WRITE), (3, dict(writable=1)), (2, dict(readable=1)), (1, READ_WRITE)],
        Access.ATOMIC,
        0x06,
    ),
    "permission before page size": (path(4, 4, readable=0), Access.READ, 0x06),
}


@pytest.mark.parametrize("case", PRECEDENCE)
def test_the_first_failing_check_decides(case):
    entries, access, reason = PRECEDENCE[case]
    bench = WalkBench()
    map_path(bench.memory, entries)
    assert bench.walk(walk_request(access=access)).fault_reason == reason


def test_a_memory_error_comes_before_what_the_data_seem_to_say():
    bench = WalkBench()
    addresses = map_path(bench.memory, leaf(readable=0, snoop=1))
    bench.memory.refuse(addresses[3])
    assert bench.walk(walk_request()).fault_reason == FaultReason.SECOND_STAGE_ACCESS


# --- random walks against another reading of the rules


def expected_result(entries, access, straps):
    """VT-d's rules once more: (reason, leaf level, page, readable, writable) of a walk along these raw entries."""
    writes, reads = access in (Access.WRITE, Access.ATOMIC), access in (Access.READ, Access.ATOMIC)
    readable = writable = 1
    host_mask = (1 << straps["host_address_width"]) - 1
    for level, raw in entries:
        if writes and not raw & 2:
            return 0x05, None, None, None, None
        if reads and not raw & 1:
            return 0x06, None, None, None, None
        address = raw & 0x000F_FFFF_FFFF_F000
        reserved = 1 << 62 | (0 if straps["snoop_control"] else 1 << 11)
        large = raw >> 7 & 1 if level > 1 else 0
        if large:
            supported = {2: straps["superpages"] & 1, 3: straps["superpages"] >> 1}.get(level, 0)
            reserved |= {2: 0x1F_F000, 3: 0x3FFF_F000}.get(level, 0)
            if not supported:
                return 0x0C, None, None, None, None
        if raw & reserved or address & ~host_mask:
            return 0x0C, None, None, None, None
        readable, writable = readable & raw, writable & raw >> 1
        if large or level == 1:
            return 0x00, level, address >> 12, readable, writable
    raise AssertionError("a walk ends at level 1")


def raw_entries(level):
    """Mostly sound entries with a few blemishes: random words would all fail at the top."""
    sound = st.builds(
        lambda page, ignored, large: 3 | (page << 12) & ~(0x3FFF_FFFF if large else 0) | ignored | large << 7,
        st.integers(0, (1 << 34) - 1),
        st.sampled_from([0, 4, 0x478, 1 << 8, 0xBFF << 52 & ~(1 << 62)]),
        st.sampled_from([0, 0, 0, 1] if level > 1 else [0, 1]),
    )
    blemish = st.sampled_from([0] * 12 + [1, 2, 3, 1 << 11, 1 << 62, 1 << 12, 1 << 29, 1 << 46, 1 << 51, 1 << 7])
    return st.builds(lambda raw, flip: (level, raw ^ flip), sound, blemish)


WALKS = st.integers(3, 5).flatmap(
    lambda top: st.tuples(
        st.tuples(*(raw_entries(level) for level in range(top, 0, -1))),
        st.integers(0, (1 << 9 * top + 12) - 1),
        st.sampled_from([Access.READ, Access.WRITE, Access.ATOMIC]),
    )
)
STRAPS = st.fixed_dictionaries(
    {
        "snoop_control": st.sampled_from([0, 1]),
        "superpages": st.integers(0, 3),
        "host_address_width": st.sampled_from([39, 46, 48, 52]),
    }
)


@settings(max_examples=10, deadline=None)
@given(walks=st.lists(WALKS, min_size=8, max_size=8), straps=STRAPS, seed=st.integers(0, 1000))
def test_random_walks_agree_with_another_reading_of_the_rules(walks, straps, seed):
    memory = MemoryMock(latency=(1, 12), reorder=True, ready_percent=70, seed=seed)
    bench = WalkBench(memory=memory, **straps)
    tops = [0x8_0000_0000 + tag for tag in range(len(walks))]  # above what the entries can point to
    for (entries, iova, _), table_page in zip(walks, tops, strict=True):
        for level, raw in entries:
            memory.store(table_page << 12 | 8 * table_index(iova, level), raw, 8)
            table_page = raw >> 12 & (1 << 40) - 1
    requests, expected = [], {}
    for tag, (entries, iova, access) in enumerate(walks):
        requests.append(
            walk_request(
                iova=iova,
                access=access,
                tag=tag,
                domain_id=tag,
                address_width=len(entries) - 2,
                table_pointer=tops[tag],
            )
        )
        table_page, seen = tops[tag], []
        for level, _ in entries:  # read back: two walks may have met in one entry
            seen.append((level, memory.load(table_page << 12 | 8 * table_index(iova, level), 8)))
            table_page = seen[-1][1] >> 12 & (1 << 40) - 1
        expected[tag] = expected_result(seen, access, bench.straps)

    async def giver(ctx):
        for each in requests:
            await send(ctx, bench.dut.requests[0], each)

    async def taker(ctx):
        for _ in requests:
            await receive(ctx, bench.dut.answers)

    bench.run(giver, taker)
    answers = {answer.transaction.request.tag: answer for answer in bench.answers.payloads}
    fills = {fill.domain_id: fill for fill in bench.fills.payloads}
    assert set(answers) == set(expected)
    for tag, (reason, level, page, readable, writable) in expected.items():
        iova, access = requests[tag].transaction.request.iova, walks[tag][2]
        assert answers[tag].fault_reason == reason
        assert (tag in fills and permits(fills[tag], iova, access)) == (reason == 0)
        if reason == 0:
            assert (answers[tag].page_size.value, answers[tag].page) == (level - 1, page)
            assert (page, readable, writable) in [entry[1:] for entry in filled(fills[tag])[1]]
