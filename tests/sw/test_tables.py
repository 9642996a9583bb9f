"""Second-stage tables: entries worked out by hand, walks by the golden model, edits against a shadow."""
import time
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hw.spec.dma import Access, Status
from sw.capture import Capture
from sw.domain import Domain
from sw.driver import Iommu
from sw.errors import AlreadyMapped, BadRange, NotMapped, OutOfPages, TableMalformed
from sw.intervals import Interval, Permission
from sw.memory import PageAllocator
from sw.table_format import TableFormat
from sw.tables import SecondStageTable
from tests.sw.machine import ARENA, Machine, drive

CAPTURES = Path(__file__).parents[1] / "data" / "real-tables"
R, W, RW = Permission.READ, Permission.WRITE, Permission.READ_WRITE
KIB4, MIB2, GIB1 = 1 << 12, 1 << 21, 1 << 30
DEVICE = 0x0018


def new_table(address_width=1, *, machine=None, pages=64, **changes):
    machine = machine or Machine()
    allocator = PageAllocator(machine.transport, base=ARENA, size=pages * KIB4)
    table = drive(SecondStageTable.create(machine.transport, allocator, TableFormat(address_width, **changes)))
    return machine, allocator, table


def words(machine, page):
    return [int.from_bytes(machine.memory.read(page + 8 * n, 8), "little") for n in range(512)]


def test_small_page_has_the_entries_worked_out_by_hand():
    machine, _, table = new_table()
    drive(table.map(0x40201000, 0x9000, KIB4))
    level_3 = words(machine, ARENA)
    assert level_3[1] == ARENA + KIB4 | 0b11      # 0x4020_1000: index 1 at every level
    assert sum(map(bool, level_3)) == 1
    level_2 = words(machine, ARENA + KIB4)
    assert level_2[1] == ARENA + 2 * KIB4 | 0b11
    assert sum(map(bool, level_2)) == 1
    level_1 = words(machine, ARENA + 2 * KIB4)
    assert level_1[1] == 0x9000 | 0b11
    assert sum(map(bool, level_1)) == 1


@pytest.mark.parametrize(("permission", "bits"), [(R, 0b01), (W, 0b10), (RW, 0b11)])
def test_superpage_carries_its_size_bit_and_permission(permission, bits):
    machine, _, table = new_table()
    drive(table.map(GIB1, 5 * GIB1, GIB1, permission))
    assert words(machine, ARENA)[1] == 5 * GIB1 | 1 << 7 | bits


@pytest.mark.parametrize(("address_width", "top"), [(1, 3), (2, 4), (3, 5)])
def test_tables_have_the_levels_of_their_width_and_reach_its_end(address_width, top):
    machine, _, table = new_table(address_width)
    last = (1 << (30 + 9 * address_width)) - KIB4
    drive(table.map(last, 0x9000, KIB4))
    assert len(table.pages) == top
    assert table.iova_to_hpa(last + 0xABC) == 0x9ABC
    assert words(machine, ARENA)[511] != 0
    with pytest.raises(BadRange, match="these tables reach up to"):
        drive(table.map(last + KIB4, 0x9000, KIB4))


def leaf_sizes(machine, page, level):
    sizes = []
    for entry in words(machine, page):
        if entry & 3 and (level == 1 or entry & 0x80):
            sizes.append(1 << (12 + 9 * (level - 1)))
        elif entry & 3:
            sizes += leaf_sizes(machine, entry & 0xF_FFFF_FFFF_F000, level - 1)
    return sizes


@pytest.mark.parametrize(("levels", "expected"), [
    ((2, 3), [MIB2, GIB1, MIB2, MIB2, KIB4]),
    ((2,), [MIB2] * 515 + [KIB4]),
], ids=["up to 1 GiB", "up to 2 MiB"])
def test_range_across_alignment_boundaries_gets_the_largest_pages_there_are(levels, expected):
    machine, _, table = new_table(superpage_levels=levels)
    start = GIB1 - MIB2
    drive(table.map(start, start, MIB2 + GIB1 + 2 * MIB2 + KIB4))
    assert leaf_sizes(machine, ARENA, 3) == expected


def test_page_sizes_follow_the_address_too():
    machine, _, table = new_table()
    drive(table.map(MIB2, KIB4, MIB2))
    assert leaf_sizes(machine, ARENA, 3) == [KIB4] * 512


def test_intervals_do_not_show_page_sizes():
    _, _, table = new_table()
    start = GIB1 - MIB2
    drive(table.map(start, start, MIB2 + GIB1 + KIB4))
    drive(table.map(start + MIB2 + GIB1 + KIB4, start + MIB2 + GIB1 + KIB4, KIB4, R))
    assert table.intervals() == [Interval(start, MIB2 + GIB1 + KIB4, start, RW),
                                 Interval(start + MIB2 + GIB1 + KIB4, KIB4, start + MIB2 + GIB1 + KIB4, R)]


def test_new_tables_are_complete_before_one_store_links_them():
    machine, _, table = new_table()
    machine.transport.log.clear()
    drive(table.map(0, 0x9000, KIB4))
    assert machine.transport.kinds() == ["memory", "memory", "store64"]
    (_, leaf_table, _), (_, middle_table, _), (_, place, entry) = machine.transport.log
    assert words(machine, leaf_table)[0] == 0x9003
    assert words(machine, middle_table)[0] == leaf_table | 3
    assert (place, entry) == (table.top, middle_table | 3)


def test_unmapping_part_of_a_superpage_splits_it_exactly_with_one_store():
    machine, _, table = new_table()
    drive(table.map(0, GIB1, MIB2, R))
    machine.transport.log.clear()
    assert drive(table.unmap(5 * KIB4, KIB4)) == []
    assert machine.transport.kinds() == ["memory", "store64"]
    assert table.intervals() == [Interval(0, 5 * KIB4, GIB1, R), Interval(6 * KIB4, MIB2 - 6 * KIB4, GIB1 + 6 * KIB4, R)]


def test_a_1_gib_page_splits_through_both_levels():
    _, _, table = new_table()
    drive(table.map(0, 2 * GIB1, GIB1))
    drive(table.unmap(GIB1 - KIB4, KIB4))
    assert table.intervals() == [Interval(0, GIB1 - KIB4, 2 * GIB1, RW)]
    assert len(table.pages) == 3


def test_split_is_refused_where_the_unit_has_no_page_of_that_size():
    machine, _, table = new_table(superpage_levels=(3,))
    drive(table.map(0, 2 * GIB1, GIB1))
    before = machine.memory.read(ARENA, 4 * KIB4)
    with pytest.raises(BadRange, match="cannot be split"):
        drive(table.unmap(0, KIB4))
    assert machine.memory.read(ARENA, 4 * KIB4) == before


def test_tables_that_become_empty_are_unlinked_and_returned_not_freed():
    machine, allocator, table = new_table()
    drive(table.map(0, 0x9000, KIB4))
    drive(table.map(GIB1, 0xA000, KIB4))
    in_use = allocator.in_use
    unlinked = drive(table.unmap(0, KIB4))
    assert len(unlinked) == 2
    assert allocator.in_use == in_use
    assert words(machine, ARENA)[0] == 0
    assert set(unlinked).isdisjoint(table.pages)
    assert table.intervals() == [Interval(GIB1, KIB4, 0xA000, RW)]


def test_map_over_something_mapped_is_refused_and_nothing_changes():
    machine, _, table = new_table()
    drive(table.map(0x5000, 0x9000, KIB4))
    machine.transport.log.clear()
    with pytest.raises(AlreadyMapped, match="iova 0x5000"):
        drive(table.map(0x3000, 0x20000, 4 * KIB4))
    assert machine.transport.log == []


def test_one_refused_range_of_many_undoes_them_all():
    machine, allocator, table = new_table()
    in_use = allocator.in_use
    machine.transport.log.clear()
    with pytest.raises(AlreadyMapped):
        drive(table.map_all([Interval(0, KIB4, 0x9000, RW), Interval(GIB1, KIB4, 0x9000, RW),
                             Interval(0, KIB4, 0xA000, RW)]))
    assert machine.transport.log == []
    assert allocator.in_use == in_use
    assert table.intervals() == []


def test_exhausted_arena_leaves_the_tables_as_they_were():
    machine, allocator, table = new_table(pages=4)
    drive(table.map(0, 0x9000, KIB4))
    machine.transport.log.clear()
    with pytest.raises(OutOfPages):
        drive(table.map(GIB1, 0xA000, KIB4))  # needs two tables, one page is left
    assert machine.transport.log == []
    assert len(allocator.in_use) == 3
    assert table.intervals() == [Interval(0, KIB4, 0x9000, RW)]
    drive(table.map(MIB2, 0xA000, KIB4))      # needs that one


def test_unmap_of_a_range_with_a_hole_names_the_hole_and_changes_nothing():
    machine, _, table = new_table()
    drive(table.map(0, 0x9000, KIB4))
    drive(table.map(2 * KIB4, 0x9000, KIB4))
    machine.transport.log.clear()
    with pytest.raises(NotMapped, match="iova 0x1000"):
        drive(table.unmap(0, 3 * KIB4))
    assert machine.transport.log == []


@pytest.mark.parametrize(("iova", "hpa", "size", "permission", "message"), [
    (0x10, 0, KIB4, RW, "iova 0x10"), (0, 0x10, KIB4, RW, "hpa 0x10"), (0, 0, 0, RW, "size 0x0"),
    (0, 0, 0x10, RW, "size 0x10"), (0, 1 << 52, KIB4, RW, "fit in 52 bits"), (0, 0, KIB4, Permission.NONE, "permission"),
    (-KIB4, 0, KIB4, RW, "reach up to"),
])
def test_what_no_table_can_express_is_refused(iova, hpa, size, permission, message):
    _, _, table = new_table()
    with pytest.raises(BadRange, match=message):
        drive(table.map(iova, hpa, size, permission))


def hand_made(entries_by_page, address_width=1, **changes):
    machine = Machine()
    for page, entries in entries_by_page.items():
        for index, entry in entries.items():
            machine.memory.write(page + 8 * index, entry.to_bytes(8, "little"))
    return drive(SecondStageTable.load(machine.transport, machine.allocator, TableFormat(address_width, **changes), 0x1000))


def test_permissions_are_anded_over_the_levels():
    table = hand_made({0x1000: {0: 0x2001, 1: 0x3003}, 0x2000: {0: 0x80 | 0x3 | 6 * MIB2}, 0x3000: {0: 0x80 | 0x2 | 8 * MIB2}})
    assert table.intervals() == [Interval(0, MIB2, 6 * MIB2, R), Interval(GIB1, MIB2, 8 * MIB2, W)]


def test_page_below_a_table_that_permits_less_is_refused():
    table = hand_made({0x1000: {0: 0x2001}})
    with pytest.raises(BadRange, match="permits only R-"):
        drive(table.map(0, 0x9000, KIB4, RW))


@pytest.mark.parametrize(("entries", "message"), [
    ({0x1000: {3: 0x2003 | 1 << 11}}, "entry at 0x1018 reads 0x2803: reserved bits 0x800 of level 3"),
    ({0x1000: {3: 0x2003 | 1 << 62}}, "entry at 0x1018"),
    ({0x1000: {3: 0x83 | GIB1 | 0x1000}}, "reserved bits 0x1000 of level 3"),
    ({0x1000: {3: 0x2003}, 0x2000: {5: 0x2003}}, "entry at 0x2028 .*reached a second time"),
    ({0x1000: {3: 0x2003, 4: 0x2003}}, "entry at 0x1020 .*reached a second time"),
], ids=["snoop", "transient", "address of a superpage", "a cycle", "a shared table"])
def test_table_that_the_unit_would_not_accept_is_refused_and_the_entry_named(entries, message):
    with pytest.raises(TableMalformed, match=message):
        hand_made(entries)


def test_snoop_bit_is_fine_on_a_unit_with_snoop_control_and_survives_a_split():
    table = hand_made({0x1000: {0: 0x2003}, 0x2000: {0: 0x80 | 0x3 | 6 * MIB2 | 1 << 11}}, snoop_control=True)
    drive(table.unmap(0, KIB4))
    assert table.lookup(KIB4).entry == 6 * MIB2 + KIB4 | 1 << 11 | 3


RANGES = st.tuples(st.integers(0, 1100), st.integers(1, 700), st.integers(0, 3), st.sampled_from([R, RW]))


@settings(max_examples=40, deadline=None)
@given(st.lists(st.tuples(st.booleans(), RANGES), min_size=1, max_size=12))
def test_random_maps_and_unmaps_equal_a_shadow_and_the_golden_models_walk(edits):
    """Shadow: a dictionary of pages. The model walks the same memory; it shares no code with the driver."""
    machine = Machine(stale=False, command_cycles=0)
    iommu = drive(Iommu.open(machine.transport, machine.allocator))
    drive(iommu.enable())
    domain = drive(iommu.new_domain(1))
    drive(iommu.attach(DEVICE, domain))
    shadow = {}
    for is_map, (first, count, group, permission) in edits:
        pages = range(first, first + count)
        arguments = (domain, first * KIB4, first * KIB4 + group * GIB1, count * KIB4, permission)
        taken = [page for page in pages if page in shadow]
        missing = [page for page in pages if page not in shadow]
        if is_map and taken:
            with pytest.raises(AlreadyMapped, match=f"iova {taken[0] * KIB4:#x} "):
                drive(iommu.map(*arguments))
        elif is_map:
            drive(iommu.map(*arguments))
            shadow |= {page: (page * KIB4 + group * GIB1, permission) for page in pages}
        elif missing:
            with pytest.raises(NotMapped, match=f"iova {missing[0] * KIB4:#x} "):
                drive(iommu.unmap(domain, first * KIB4, count * KIB4))
        else:
            drive(iommu.unmap(domain, first * KIB4, count * KIB4))
            for page in pages:
                del shadow[page]
    assert set(domain.table.pages) <= machine.allocator.in_use
    for page in {0, 1799, *(edge for _, (first, count, _, _) in edits for edge in
                            (first, first + 1, first + count // 2, first + count - 1, first + count))}:
        for access, needed in ((Access.READ, R), (Access.WRITE, W)):
            result = machine.device.dma(DEVICE, page * KIB4, access)
            allowed = page in shadow and bool(shadow[page][1] & needed)
            assert (result.status is Status.OK) == allowed
            if allowed:
                assert result.hpa == shadow[page][0]
    reread = drive(SecondStageTable.load(machine.transport, machine.allocator, domain.table.format, domain.table.top))
    assert reread.intervals() == domain.table.intervals()


@pytest.mark.parametrize("name", ["legacy48", "legacy39seq", "hwpt48", "ident39"])
def test_tables_of_a_real_linux_say_what_an_independent_walker_listed(name):
    capture = Capture.load(CAPTURES / name)
    machine = Machine()
    for hpa, page in capture.pages.items():
        machine.memory.write(hpa, page)
    for index, domain in enumerate(capture.domains):
        table = drive(SecondStageTable.load(machine.transport, machine.allocator, TableFormat(domain.levels - 2), domain.top))
        assert table.intervals() == capture.intervals(index)


def test_ten_thousand_leaves_are_read_in_less_than_a_second():
    machine, _, table = new_table(superpage_levels=())
    drive(table.map(0, GIB1, 10_000 * KIB4))
    begin = time.process_time()
    reread = drive(SecondStageTable.load(machine.transport, machine.allocator, table.format, table.top))
    intervals = reread.intervals()
    elapsed = time.process_time() - begin
    assert intervals == [Interval(0, 10_000 * KIB4, GIB1, RW)]
    assert elapsed < 1


def test_pass_through_domain_has_no_tables_to_change():
    domain = Domain(3, None, 2)
    assert domain.iova_to_hpa(0x1234) == 0x1234
    with pytest.raises(BadRange, match="pass-through"):
        drive(domain.map(0, 0, KIB4))
