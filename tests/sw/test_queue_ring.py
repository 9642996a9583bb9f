"""The queue as memory: slots, free space, the way around the end."""
import pytest

from sw.queue_ring import QueueRing
from tests.sw.machine import ARENA, Machine, drive


def a_ring(*, size_log2=0, wide=False):
    machine = Machine()
    return machine, QueueRing(machine.transport, ARENA, size_log2=size_log2, wide=wide)


@pytest.mark.parametrize(("size_log2", "wide", "slots"), [(0, False, 256), (0, True, 128), (1, True, 256), (3, False, 2048)])
def test_queue_of_so_many_pages_holds_so_many_descriptors(size_log2, wide, slots):
    _, ring = a_ring(size_log2=size_log2, wide=wide)
    assert ring.slot_count == slots
    assert ring.address_fields == {"IQA": ARENA >> 12, "QS": size_log2, "DW": wide}


def test_one_slot_of_an_empty_queue_stays_free():
    _, ring = a_ring()
    assert (ring.room(0), ring.unfetched(0)) == (255, 0)


def test_queue_is_full_when_the_slot_behind_the_tail_is_the_head():
    _, ring = a_ring()
    drive(ring.append([1] * 255))
    assert (ring.tail, ring.room(0), ring.unfetched(0)) == (255, 0, 255)
    assert (ring.room(3), ring.unfetched(3)) == (3, 252)


def test_descriptors_go_around_the_end():
    machine, ring = a_ring()
    drive(ring.append([1] * 254))
    drive(ring.append([2, 3, 4]))
    assert ring.tail == 1
    assert ring.room(254) == 252
    assert machine.memory.read(ARENA + 254 * 16, 32) == (2).to_bytes(16, "little") + (3).to_bytes(16, "little")
    assert machine.memory.read(ARENA, 32) == (4).to_bytes(16, "little") + (1).to_bytes(16, "little")


def test_second_half_of_a_wide_descriptor_is_written_as_zero():
    machine, ring = a_ring(wide=True)
    machine.memory.write(ARENA, b"\xff" * 64)
    drive(ring.append([(1 << 128) - 2]))
    assert machine.memory.read(ARENA, 64) == b"\xfe" + b"\xff" * 15 + bytes(16) + b"\xff" * 32


@pytest.mark.parametrize(("wide", "slot", "pointer"), [(False, 7, 7), (True, 7, 14), (True, 0, 0)])
def test_pointers_count_units_of_16_bytes_whatever_the_width(wide, slot, pointer):
    _, ring = a_ring(wide=wide)
    assert ring.pointer_to(slot) == pointer
    assert ring.slot_at(pointer) == slot


def test_slot_is_read_back_and_overwritten():
    _, ring = a_ring(wide=True)
    drive(ring.append([10, 11, 12]))
    drive(ring.overwrite(1, 99))
    assert [drive(ring.read(slot)) for slot in range(3)] == [10, 99, 12]
