"""The page allocator: what it hands out, what it takes back, what it refuses."""
import pytest

from sw.errors import BadRange, DoubleFree, OutOfPages, PageInUse
from sw.memory import PageAllocator
from tests.sw.machine import ARENA, Machine, drive

PAGE = 0x1000


def small_arena(pages):
    machine = Machine()
    return machine, PageAllocator(machine.transport, base=ARENA, size=pages * PAGE)


def test_allocated_page_is_zeroed_whatever_stood_there():
    machine, allocator = small_arena(1)
    machine.memory.write(ARENA, b"\xff" * PAGE)
    assert drive(allocator.allocate()) == ARENA
    assert machine.memory.read(ARENA, PAGE) == bytes(PAGE)


def test_freed_page_is_full_of_poison():
    machine, allocator = small_arena(1)
    page = drive(allocator.allocate())
    drive(allocator.free(page))
    assert machine.memory.read(page, PAGE) == b"\xdb" * PAGE


def test_page_that_hardware_never_saw_is_given_back_without_poison():
    machine, allocator = small_arena(1)
    allocator.give_back(drive(allocator.allocate()))
    assert machine.memory.read(ARENA, PAGE) == bytes(PAGE)


def test_exhausted_arena_says_how_many_pages_are_in_use():
    _, allocator = small_arena(2)
    pages = {allocator.take(), allocator.take()}
    assert pages == {ARENA, ARENA + PAGE}
    with pytest.raises(OutOfPages, match="2 pages are in use"):
        allocator.take()


def test_freed_pages_come_back_oldest_first_and_only_when_the_arena_is_used_up():
    _, allocator = small_arena(3)
    first, second = allocator.take(), allocator.take()
    drive(allocator.free(second))
    drive(allocator.free(first))
    assert [allocator.take() for _ in range(3)] == [ARENA + 2 * PAGE, second, first]


def test_double_free_is_refused_and_named():
    _, allocator = small_arena(2)
    page = allocator.take()
    drive(allocator.free(page))
    with pytest.raises(DoubleFree, match=f"{page:#x}"):
        drive(allocator.free(page))


def test_page_that_is_being_poisoned_cannot_be_freed_again_nor_handed_out():
    machine, allocator = small_arena(1)
    page = allocator.take()
    seen = []

    async def write_memory(hpa, data):
        with pytest.raises(DoubleFree):
            await allocator.free(page)
        with pytest.raises(OutOfPages):
            allocator.take()
        seen.append(hpa)

    machine.transport.write_memory = write_memory
    drive(allocator.free(page))
    assert seen == [page]
    assert allocator.take() == page


def test_page_never_allocated_cannot_be_freed():
    _, allocator = small_arena(2)
    with pytest.raises(DoubleFree, match="never allocated or reserved"):
        drive(allocator.free(ARENA + PAGE))


def test_reserved_pages_are_never_handed_out():
    _, allocator = small_arena(3)
    allocator.reserve([ARENA, ARENA + 2 * PAGE])
    assert allocator.take() == ARENA + PAGE
    with pytest.raises(OutOfPages):
        allocator.take()


def test_reserved_page_that_was_freed_is_handed_out_once():
    _, allocator = small_arena(2)
    allocator.reserve([ARENA + PAGE])
    drive(allocator.free(ARENA + PAGE))
    assert {allocator.take(), allocator.take()} == {ARENA, ARENA + PAGE}
    with pytest.raises(OutOfPages):
        allocator.take()


def test_reserved_page_outside_the_arena_is_poisoned_when_freed_but_never_handed_out():
    machine, allocator = small_arena(1)
    allocator.reserve([0x5000])
    drive(allocator.free(0x5000))
    assert machine.memory.read(0x5000, 16) == b"\xdb" * 16
    assert allocator.take() == ARENA
    with pytest.raises(OutOfPages):
        allocator.take()


def test_page_cannot_be_reserved_twice_and_then_nothing_is():
    _, allocator = small_arena(2)
    allocator.reserve([0x5000])
    with pytest.raises(PageInUse, match="0x5000"):
        allocator.reserve([0x6000, 0x5000])
    assert allocator.in_use == {0x5000}


def test_unaligned_arena_and_page_are_refused():
    machine, allocator = small_arena(1)
    with pytest.raises(BadRange, match="arena base 0x10"):
        PageAllocator(machine.transport, base=0x10, size=PAGE)
    with pytest.raises(BadRange, match="page 0x5010"):
        allocator.reserve([0x5010])


def test_block_is_aligned_to_its_size_zeroed_and_leaves_the_pages_before_it_usable():
    machine, allocator = small_arena(12)
    first = allocator.take()
    machine.memory.write(ARENA + 4 * PAGE, b"\xff" * PAGE)
    assert drive(allocator.allocate_block(2)) == [ARENA + page * PAGE for page in range(4, 8)]
    assert machine.memory.read(ARENA + 4 * PAGE, 4 * PAGE) == bytes(4 * PAGE)
    others = {allocator.take() for _ in range(7)}
    assert others | {first} == {ARENA + page * PAGE for page in (0, 1, 2, 3, 8, 9, 10, 11)}


def test_block_stays_clear_of_reserved_pages():
    _, allocator = small_arena(8)
    allocator.reserve([ARENA + PAGE])
    assert drive(allocator.allocate_block(1)) == [ARENA + 2 * PAGE, ARENA + 3 * PAGE]
    assert ARENA + PAGE not in {allocator.take() for _ in range(5)}


def test_block_that_fits_nowhere_changes_nothing():
    _, allocator = small_arena(7)
    allocator.take()
    with pytest.raises(OutOfPages, match="1 pages are in use"):
        drive(allocator.allocate_block(3))
    assert len({allocator.take() for _ in range(6)}) == 6
