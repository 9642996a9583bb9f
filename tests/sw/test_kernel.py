"""Two kernels, one after the other, on tables that a real Linux wrote; the machine's caches forget nothing in between.

What devices reach is checked against the capture's probes: answers of an independent implementation.
"""
import asyncio
import json
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from typer.testing import CliRunner

from hw.spec.bench import Phase
from hw.spec.capabilities import straps_from_capabilities
from hw.spec.dma import Access, Status
from hw.spec.faults import FaultReason
from hw.spec.tables import PAGE_BYTES
from sim.serve import serve
from sw.capture import Capture
from sw.errors import AdoptionRefused, BadRange, DomainIdUnavailable, IntervalsDiffer, NotAttached, OutOfPages, StoreRefused
from sw.kernel import app
from sw.new_kernel import ARENA_BASE, NewKernelPlan, run_new_kernel
from sw.old_kernel import run_old_kernel
from sw.persist.store import STORE_BASE, MemoryStore
from sw.transport.socket import SocketTransport
from tests.sw.machine import Machine, drive

ROOT = Path(__file__).parents[2]
CAPTURES = ROOT / "tests" / "data" / "real-tables"
KEY = bytes(range(16))
PHASE_REGISTER, GCMD, RTADDR = 0x2_0008, 0x18, 0x20
SMALL_DEVICE, SMALL_DOMAIN = 0x0040, 8  # 14 pages
OFFSET = 0x20_0000_0000


def machine_of(capture):
    return Machine(straps=straps_from_capabilities(capture.cap.value, capture.ecap.value))


def old_kernel(name="legacy48", preserved=None):
    """A machine that an old kernel has left; every device has used what it has."""
    capture = Capture.load(CAPTURES / name)
    machine = machine_of(capture)
    report = drive(run_old_kernel(machine.transport, capture, key=KEY, cycles=100, preserved=preserved, say=lambda _: None))
    for probe in capture.probes:
        reaches(machine, probe)
    machine.transport.log.clear()
    return capture, machine, report


def new_kernel(machine, **plan):
    return drive(run_new_kernel(machine.transport, NewKernelPlan(KEY, **plan), say=lambda _: None))


def reaches(machine, probe):
    """Where a probe's request lands, or None."""
    result = machine.device.dma(probe.source_id, probe.iova, Access.WRITE if probe.write else Access.READ)
    return result.hpa if result.status is Status.OK else None


def expected(probe):
    return {"ok": probe.hpa, "pass": probe.iova, "fault": None}[probe.result]


def comparable(capture):
    """Probes whose outcome the specification and the independent implementation see alike."""
    return [probe for probe in capture.probes if probe.result != "pass" or probe.iova < 1 << capture.cap["MGAW"] + 1]


@pytest.mark.parametrize("name", ["legacy48", "legacy39seq", "hwpt48"])
@pytest.mark.parametrize("plan", [{}, {"strategy": "break_before_make"}, {"strategy": "break_before_make", "cold": True}],
                         ids=["atomic swap", "warm break", "cold break"])
def test_every_device_reaches_through_new_tables_what_it_reached_through_the_old(name, plan):
    capture, machine, old = old_kernel(name)
    assert all(reaches(machine, probe) == expected(probe) for probe in comparable(capture))
    report = new_kernel(machine, **plan)
    assert all(reaches(machine, probe) == expected(probe) for probe in comparable(capture))
    assert sorted(device["source_id"] for device in report["replaced_devices"]) == sorted(capture.devices)
    assert old["preserved_devices"] == sorted(capture.devices)
    assert machine.device.protocol_errors == []


def test_new_tables_stand_in_the_new_kernels_memory_and_the_old_ones_are_poison():
    capture, machine, old = old_kernel()
    report = new_kernel(machine)
    old_tables = [page for domain in report["domains"] for page in domain["old_tables"]]
    assert len(old_tables) == 292                      # of the capture's 300 pages: no root, no context, no queue
    assert old["preserved_pages"] == 299
    assert all(machine.memory.read(page, PAGE_BYTES) == b"\xdb" * PAGE_BYTES for page in old_tables)
    for domain in report["domains"]:
        assert all(ARENA_BASE <= page < ARENA_BASE + (64 << 20) for page in domain["new_tables"])
    leaves = sum(mapping.interval.size for mapping in capture.mappings)
    assert sum(domain["bytes"] for domain in report["domains"]) == leaves


def test_translation_is_never_touched_by_the_new_kernel():
    _, machine, _ = old_kernel()
    new_kernel(machine)
    assert not {GCMD, RTADDR} & {place for kind, place, _ in machine.transport.log if kind == "register"}


def test_new_kernel_walks_through_its_phases():
    _, machine, _ = old_kernel("hwpt48")
    new_kernel(machine)
    phases = [Phase(value) for kind, place, value in machine.transport.log if (kind, place) == ("register", PHASE_REGISTER)]
    assert phases[0] is Phase.ADOPT
    assert phases[1:4] == [Phase.SWAP, Phase.INVALIDATE, Phase.STEADY]
    assert phases[-2:] == [Phase.FREE, Phase.STEADY]
    assert phases.count(Phase.SWAP) == 10
    assert phases.count(Phase.FREE) == 2


def test_domain_ids_are_assigned_as_asked_and_others_are_free_ones():
    _, machine, old = old_kernel()
    report = new_kernel(machine, assign={3: 103, 8: 108})
    by_old = {domain["old_domain_id"]: domain["new_domain_id"] for domain in report["domains"]}
    assert (by_old[3], by_old[8]) == (103, 108)
    assert len(set(by_old.values()) | set(old["preserved_domains"])) == 2 * len(by_old)


def test_old_tables_of_a_domain_live_until_its_last_device_has_left():
    capture, machine, _ = old_kernel("legacy39seq")
    shared = next(domain for domain in capture.domains if len(domain.source_ids) > 1)
    new_kernel(machine)
    log = machine.transport.log
    poisoned = next(n for n, (kind, place, _) in enumerate(log) if (kind, place) == ("memory", shared.top))
    entries = [place for kind, place, _ in log[:poisoned] if kind == "exchange"]
    assert len(set(entries)) >= len(shared.source_ids)
    after = [place for kind, place, _ in log[poisoned:] if kind == "exchange"]
    table = capture.rtaddr["RTA"] << 12
    for source_id in shared.source_ids:
        context_table = machine.memory.read64(table + 16 * (source_id >> 8)) & ~0xFFF
        assert context_table + 16 * (source_id & 0xFF) in entries
        assert context_table + 16 * (source_id & 0xFF) not in after


def test_devices_that_are_not_preserved_are_blocked_even_from_warm_caches_and_the_others_are_not():
    kept = [0x0018, 0x0038]
    capture, machine, old = old_kernel(preserved=kept)
    assert old["preserved_domains"] == [3, 7]
    report = new_kernel(machine)
    assert report["zapped_devices"] == sorted(set(capture.devices) - set(kept))
    for probe in capture.probes:
        if probe.source_id in kept:
            assert reaches(machine, probe) == expected(probe)
    for source_id in report["zapped_devices"]:
        live = next((row.iova for row in capture.live if row.source_id == source_id), 0)
        result = machine.device.dma(source_id, live)
        assert FaultReason(result.fault_reason) is FaultReason.CONTEXT_NOT_PRESENT


def stamped_words(machine, page, *, stamp):
    """Fill a page as the bench does: 16-byte words of a stamp and the page's signature."""
    signature = 0x516E << 48 | page >> 12
    machine.memory.write(page, b"".join((stamp + n).to_bytes(8, "little") + signature.to_bytes(8, "little")
                                        for n in range(256)))


def test_relocated_device_lands_on_copies_that_carry_their_own_signature():
    capture, machine, _ = old_kernel()
    pages = [interval.hpa + step for mapping in capture.mappings for interval in [mapping.interval]
             for step in range(0, interval.size, PAGE_BYTES)
             if capture.domains[mapping.domain].domain_id == SMALL_DOMAIN]
    assert len(set(pages)) == 14
    stamped_words(machine, pages[0], stamp=0xABC00000000)
    machine.memory.write(pages[1], b"not a word of the bench")
    report = new_kernel(machine, relocate={SMALL_DEVICE: OFFSET})
    copy = machine.memory.read(pages[0] + OFFSET, PAGE_BYTES)
    assert int.from_bytes(copy[16:24], "little") == 0xABC00000001
    assert int.from_bytes(copy[24:32], "little") == 0x516E << 48 | (pages[0] + OFFSET) >> 12
    assert machine.memory.read(pages[1] + OFFSET, 23) == b"not a word of the bench"
    for probe in comparable(capture):
        moved = OFFSET if probe.source_id == SMALL_DEVICE and probe.result == "ok" else 0
        assert reaches(machine, probe) == (expected(probe) + moved if expected(probe) is not None else None)
    assert [domain["offset"] for domain in report["domains"] if domain["offset"]] == [OFFSET]


def test_pages_that_were_copied_already_are_not_copied_again():
    capture, machine, _ = old_kernel()
    page = next(mapping.interval.hpa for mapping in capture.mappings
                if capture.domains[mapping.domain].domain_id == SMALL_DOMAIN)
    machine.memory.write(page, b"old")
    machine.memory.write(page + OFFSET, b"made by the experiment")
    new_kernel(machine, relocate={SMALL_DEVICE: OFFSET}, pages_copied=True)
    assert machine.memory.read(page + OFFSET, 22) == b"made by the experiment"


def test_armed_devices_wait_for_their_moment_and_the_others_do_not():
    _, machine, _ = old_kernel("legacy39seq")
    report = new_kernel(machine, armed=frozenset({0x0018}))
    assert [row["source_id"] for row in report["replaced_devices"] if row["triggered"]] == [0x0018]
    done = next(row for row in report["replaced_devices"] if row["triggered"])
    assert done["swap_cycles"] == done["done_cycle"] - done["commit_cycle"] > 0


# --- refusals ---

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


# --- the process ---

@pytest.mark.parametrize(("arguments", "message"), [
    (["--key-hex", "00" * 16, "--assign", "3"], "'3' is not a pair such as 3:103"),
    (["--key-hex", "00" * 16, "--assign", "3:x"], "'x' is not a number such as 24 or 0x18"),
    (["--key-hex", "zz"], "the seal key must be hexadecimal"),
    ([], "give the seal key once"),
    (["--key-hex", "00" * 16, "--strategy", "hope"], "must be atomic_swap or break_before_make"),
])
def test_command_line_says_what_would_be_right(arguments, message):
    result = CliRunner().invoke(app, ["new", "--transport", "unix:nobody", *arguments], env={"COLUMNS": "200"})
    assert result.exit_code == 2
    assert message in result.output


def kernel_process(*arguments):
    return subprocess.run([sys.executable, "-m", "sw.kernel", *arguments], cwd=ROOT, capture_output=True, text=True,
                          timeout=100, check=False)


def test_two_processes_hand_over_a_machine_through_its_memory_alone(tmp_path):
    capture = Capture.load(CAPTURES / "hwpt48")
    machine = machine_of(capture)
    address = f"unix:{tmp_path / 'machine'}"
    sessions, came, gone = [], threading.Event(), []
    server = threading.Thread(target=lambda: sessions.extend(asyncio.run(
        serve(machine.transport, address, gap_cycles=10, idle_seconds=60, on_listen=lambda _: came.set(),
              on_disconnect=gone.append))))
    server.start()
    assert came.wait(60)
    key_file = tmp_path / "key"
    key_file.write_text(KEY.hex())
    old = kernel_process("old", "--transport", address, "--key-file", str(key_file), "--capture",
                         str(CAPTURES / "hwpt48"), "--preserve", "0x38,0x18", "--cycles", "50")
    assert old.returncode == 0, old.stderr
    assert json.loads(old.stdout)["preserved_devices"] == [0x18, 0x38]
    refusal = kernel_process("new", "--transport", address, "--key-hex", "00" * 16)
    assert (refusal.returncode, refusal.stdout) == (1, "")
    assert refusal.stderr.startswith("StoreRefused: persisted record seal")
    new = kernel_process("new", "--transport", address, "--key-hex", KEY.hex(), "--assign", "3:103", "--armed", "0x38")
    assert new.returncode == 0, new.stderr
    report = json.loads(new.stdout)
    assert [(row["source_id"], row["triggered"]) for row in report["replaced_devices"]] == [(0x18, False), (0x38, True)]
    assert report["domains"][1]["new_domain_id"] == 103
    with SocketTransport(address) as last:
        drive(last.shutdown())
    server.join(60)
    assert not server.is_alive()
    assert len(sessions) == 4
    for probe in comparable(capture):
        if probe.source_id == 0x38:
            assert reaches(machine, probe) == expected(probe)
