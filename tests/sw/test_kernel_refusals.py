"""What the kernels refuse, and that what they refuse leaves the machine and its devices as they were."""

import pytest

from hw.spec.tables import PAGE_BYTES
from sw.capture import Capture
from sw.errors import (
    AdoptionRefused,
    BadRange,
    DomainIdUnavailable,
    IntervalsDiffer,
    NotAttached,
    OutOfPages,
    StoreRefused,
)
from sw.new_kernel import ARENA_BASE, NewKernelPlan, run_new_kernel
from sw.old_kernel import run_old_kernel
from sw.persist.store import STORE_BASE, MemoryStore
from tests.sw.kernels import (
    CAPTURES,
    GCMD,
    KEY,
    OFFSET,
    RTADDR,
    SMALL_DEVICE,
    comparable,
    expected,
    machine_of,
    new_kernel,
    old_kernel,
    reaches,
)
from tests.sw.machine import Machine, drive


def refused(machine, error, message, **plan):
    """The new kernel refuses and has changed nothing: no register, no byte."""
    machine.transport.log.clear()
    with pytest.raises(error, match=message):
        new_kernel(machine, **plan)
    assert machine.transport.log == []


def test_other_key_is_refused_before_anything_is_touched():
    _, machine, _ = old_kernel("hwpt48")
    machine.transport.log.clear()
    with pytest.raises(StoreRefused, match="record seal"):
        drive(run_new_kernel(machine.transport, NewKernelPlan(bytes(16)), say=lambda _: None))
    assert machine.transport.log == []


def test_machine_without_a_store_is_refused():
    refused(Machine(), StoreRefused, "names no store")


def test_store_serves_one_kernel():
    _, machine, _ = old_kernel("hwpt48")
    new_kernel(machine)
    refused(machine, StoreRefused, "names no store")


def test_tampered_store_is_refused():
    _, machine, _ = old_kernel("hwpt48")
    place = STORE_BASE + 0x1000 + 50
    machine.memory.write(place, bytes([machine.memory.read(place, 1)[0] ^ 1]))
    refused(machine, StoreRefused, "checksum does not fit")


def test_store_of_another_unit_is_refused():
    _, machine, _ = old_kernel("hwpt48")
    other = machine_of(Capture.load(CAPTURES / "legacy39seq"))
    other.memory.write(STORE_BASE, machine.memory.read(STORE_BASE, 0x10000))
    refused(other, AdoptionRefused, "the records are of a unit with CAP 0xd2008c222f0606")


def test_moved_root_table_is_refused():
    capture, machine, _ = old_kernel("hwpt48")
    root = capture.rtaddr["RTA"] << 12
    machine.memory.write(0x70_0000_0000, machine.memory.read(root, PAGE_BYTES))
    drive(machine.transport.write_register(RTADDR, 8, 0x70_0000_0000))
    refused(machine, AdoptionRefused, f"the unit's root table is at 0x7000000000, recorded was {root:#x}")


def test_context_entry_that_was_changed_since_is_refused():
    capture, machine, _ = old_kernel("hwpt48")
    root = capture.rtaddr["RTA"] << 12
    place = (machine.memory.read64(root) & ~0xFFF) + 16 * 0x38
    machine.memory.store64(place + 8, machine.memory.read64(place + 8) + (1 << 8))
    refused(machine, AdoptionRefused, "device 0x0038 uses domain 4")


def test_preserved_device_without_a_context_entry_is_refused():
    capture, machine, _ = old_kernel("hwpt48")
    root = capture.rtaddr["RTA"] << 12
    machine.memory.store64((machine.memory.read64(root) & ~0xFFF) + 16 * 0x38, 0)
    refused(machine, NotAttached, "0x0038")


def test_table_page_that_was_not_preserved_is_refused():
    capture, machine, _ = old_kernel("hwpt48")
    top = capture.domains[0].top
    index = next(n for n in range(512) if not machine.memory.read64(top + 8 * n))
    machine.memory.store64(top + 8 * index, 0x60_0000_0003)
    refused(machine, AdoptionRefused, "domain/3: the unit walks the page 0x6000000000, which was not preserved")


def test_context_table_that_was_not_preserved_is_refused():
    capture, machine, _ = old_kernel("hwpt48")
    machine.memory.store64((capture.rtaddr["RTA"] << 12) + 16 * 0x80, 0x60_0000_0001)
    refused(machine, AdoptionRefused, "unit: the unit walks the page 0x6000000000")


@pytest.mark.parametrize(("plan", "message"), [
    ({"assign": {77: 100}}, "assigned domain ID 0x4d: is not preserved"),
    ({"armed": frozenset({0x0999})}, "armed device 0x999: is not preserved"),
    ({"relocate": {0x0999: OFFSET}}, "relocated device 0x999: is not preserved"),
    ({"relocate": {SMALL_DEVICE: 0x10}}, "must be a multiple of 0x1000"),
])
def test_plan_that_does_not_fit_the_records_is_refused_before_anything_is_touched(plan, message):
    _, machine, _ = old_kernel()
    refused(machine, BadRange, message, **plan)


def test_devices_of_one_domain_cannot_move_apart():
    capture, machine, _ = old_kernel("legacy39seq")
    first, second = next(domain.source_ids for domain in capture.domains if len(domain.source_ids) > 1)[:2]
    refused(machine, BadRange, f"moves by {OFFSET:#x} already", relocate={first: OFFSET, second: 2 * OFFSET})


@pytest.mark.parametrize(("plan", "error", "message"), [
    ({"assign": {3: 4}}, DomainIdUnavailable, "domain ID 4: is taken"),
    ({"assign": {3: 0}}, DomainIdUnavailable, "must be between 1 and 65535"),
    ({"assign": {3: 100, 4: 100}}, DomainIdUnavailable, "domain ID 100: is taken"),
    ({"relocate": {SMALL_DEVICE: ARENA_BASE - 0x10_0000_0000}, "arena_base": 0, "arena_bytes": 0x80_0000_0000},
     BadRange, "falls on this kernel's own memory"),
    ({"relocate": {SMALL_DEVICE: -0x260_C000}}, BadRange, "relocated page 0x106f77000: falls on a table"),
    ({"relocate": {SMALL_DEVICE: 0x1000}}, BadRange, "falls on a page of domain"),
    ({"arena_bytes": 0x4000}, OutOfPages, "give the kernel a larger arena"),
])
def test_plan_that_cannot_be_built_leaves_every_device_on_its_old_tables(plan, error, message):
    capture, machine, _ = old_kernel()
    with pytest.raises(error, match=message):
        new_kernel(machine, **plan)
    assert "exchange" not in machine.transport.kinds()
    assert all(reaches(machine, probe) == expected(probe) for probe in comparable(capture))


def test_new_table_that_memory_holds_otherwise_is_found_before_any_device_uses_it():
    capture, machine, _ = old_kernel()
    write_memory = machine.transport.write_memory

    async def forgetful(hpa, data):
        """Loses one bit of one address, of the first leaf of the first table page that begins with one."""
        words = int.from_bytes(data[:8], "little")
        if hpa >= ARENA_BASE and words & 0x83 == 0x03 and not words >> 40:
            machine.transport.write_memory = write_memory
            data = (words ^ 1 << 13).to_bytes(8, "little") + data[8:]
        await write_memory(hpa, data)

    machine.transport.write_memory = forgetful
    with pytest.raises(IntervalsDiffer, match=r"at iova 0x[0-9a-f]+ the old tables give 0x[0-9a-f]+ ..?, the new ones"):
        new_kernel(machine)
    assert "exchange" not in machine.transport.kinds()
    assert all(reaches(machine, probe) == expected(probe) for probe in comparable(capture))


def test_pass_through_device_cannot_be_relocated_and_too_much_cannot_be_copied():
    _, machine, _ = old_kernel("hwpt48")
    with pytest.raises(BadRange, match="is pass-through: it has no tables"):
        new_kernel(machine, relocate={0x0018: OFFSET})
    capture, machine, _ = old_kernel("legacy48")
    with pytest.raises(BadRange, match="the kernel copies at most"):
        new_kernel(machine, relocate={0x0038: OFFSET})
    assert "exchange" not in machine.transport.kinds()
    assert all(reaches(machine, probe) == expected(probe) for probe in comparable(capture))


def test_device_that_has_no_domain_cannot_be_preserved():
    capture = Capture.load(CAPTURES / "hwpt48")
    machine = machine_of(capture)
    with pytest.raises(NotAttached, match="0x0999"):
        drive(run_old_kernel(machine.transport, capture, key=KEY, cycles=0, preserved=[0x0999], say=lambda _: None))
    with pytest.raises(StoreRefused):
        drive(MemoryStore(machine.transport, KEY).verify())


def test_capture_that_the_unit_cannot_walk_is_refused_before_translation_is_on():
    capture = Capture.load(CAPTURES / "legacy48")
    machine = machine_of(Capture.load(CAPTURES / "legacy39seq"))
    with pytest.raises(BadRange, match=r"address_width 0x2: not in CAP\.SAGAW"):
        drive(run_old_kernel(machine.transport, capture, key=KEY, cycles=0, preserved=None, say=lambda _: None))
    assert GCMD not in {place for kind, place, _ in machine.transport.log if kind == "register"}


@pytest.mark.parametrize(("changes", "message"), [
    ({"strategy": "hope"}, "strategy must be atomic_swap or break_before_make, not 'hope'"),
    ({"strategy": "break_before_make", "armed": frozenset({1})}, "only the store of atomic_swap can be armed"),
])
def test_plan_that_makes_no_sense_is_refused(changes, message):
    with pytest.raises(ValueError, match=message):
        NewKernelPlan(KEY, **changes)


