"""Two kernels, one after the other, on tables that a real Linux wrote; the machine's caches forget nothing in between.

What devices reach is checked against the capture's probes: answers of an independent implementation.
"""

import pytest

from hw.spec.bench import Phase
from hw.spec.faults import FaultReason
from hw.spec.tables import PAGE_BYTES
from sw.new_kernel import ARENA_BASE
from sw.old_kernel import ARENA_BASE as OLD_ARENA_BASE
from sw.old_kernel import ARENA_BYTES as OLD_ARENA_BYTES
from tests.sw.kernels import (
    GCMD,
    GCMD_QIE,
    GCMD_TE,
    OFFSET,
    PHASE_REGISTER,
    RTADDR,
    SMALL_DEVICE,
    SMALL_DOMAIN,
    comparable,
    expected,
    new_kernel,
    old_kernel,
    reaches,
)


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
    writes = [(place, value) for kind, place, value in machine.transport.log if kind == "register"]
    assert RTADDR not in [place for place, _ in writes]
    # Only its queue takes the place of the old one.
    assert [value for place, value in writes if place == GCMD] == [GCMD_TE, GCMD_TE | GCMD_QIE]


def test_queue_changes_hands_before_anything_that_needs_it():
    _, machine, _ = old_kernel(preserved=[SMALL_DEVICE])   # so that the others are zapped
    queue = machine.device.registers.get("IQA", "IQA") << 12
    assert queue in range(OLD_ARENA_BASE, OLD_ARENA_BASE + OLD_ARENA_BYTES)
    report = new_kernel(machine)
    assert report["queue_pages_let_go"] == [queue]
    log = machine.transport.log
    assert log.index(("register", GCMD, GCMD_TE | GCMD_QIE)) < [kind for kind, _, _ in log].index("store64")


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
