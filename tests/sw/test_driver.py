"""Iommu over the golden model, whose caches forget nothing and whose commands take their time."""
import pytest

from hw.spec.bench import Phase
from hw.spec.dma import Access, Status
from hw.spec.faults import FaultReason
from sw.domain import DomainIds
from sw.driver import Iommu
from sw.errors import (
    AdoptionRefused,
    AlreadyAttached,
    BadRange,
    DomainIdUnavailable,
    EntryChanged,
    NotAttached,
    TableMalformed,
)
from sw.memory import PageAllocator
from sw.strategies import AtomicSwap, BreakBeforeMake
from tests.sw.machine import ARENA, Machine, drive
from tests.sw.test_registers import straps_with

DEVICE, OTHER, THIRD = 0x0018, 0x0100, 0x00F8
IOVA, OLD_HPA, NEW_HPA, PAGE = 0x5000, 0x9000, 0xA000, 0x1000


class Ruler:
    """Remembers the phases, and looks at something in each."""

    def __init__(self, look=lambda: None):
        self.seen = []
        self._look = look

    async def set_phase(self, phase):
        self.seen.append((phase, self._look()))

    async def cycle(self):
        return 0


def running(*, ruler=None, straps=None):
    """A machine on which DEVICE and OTHER use one domain that maps IOVA to OLD_HPA."""
    machine = Machine() if straps is None else Machine(straps=straps)
    iommu = drive(Iommu.open(machine.transport, machine.allocator, ruler=ruler))
    drive(iommu.enable())
    domain = drive(iommu.new_domain(1))
    drive(iommu.map(domain, IOVA, OLD_HPA, PAGE))
    for source_id in (DEVICE, OTHER):
        drive(iommu.attach(source_id, domain))
    return machine, iommu, domain


def new_domain(iommu, hpa=NEW_HPA):
    domain = drive(iommu.new_domain(1))
    drive(iommu.map(domain, IOVA, hpa, PAGE))
    return domain


def lands(machine, source_id, iova=IOVA):
    """Where a read lands, or why it is blocked."""
    result = machine.device.dma(source_id, iova, Access.READ)
    return result.hpa if result.status is Status.OK else FaultReason(result.fault_reason)


def context_of(source_id, domain_id):
    """As Machine.changes() shows the invalidation of a device's context."""
    return "queued", 0, 0x1 | 3 << 4 | domain_id << 16 | source_id << 32


def iotlb_of(domain_id, *, page=None):
    """The same for the IOTLB of a domain, or of a page of it: address, hint and mask. Both drain."""
    return "queued", 0, 0x2 | (2 if page is None else 3) << 4 | 3 << 6 | domain_id << 16 | (page or 0) << 64


def test_device_reaches_what_its_domain_maps_and_others_reach_nothing():
    machine, _, _ = running()
    assert lands(machine, DEVICE) == OLD_HPA
    assert lands(machine, DEVICE, 0x6000) is FaultReason.READ_PERMISSION
    assert lands(machine, 0x0020) is FaultReason.CONTEXT_NOT_PRESENT
    assert lands(machine, 0x0200) is FaultReason.ROOT_NOT_PRESENT
    assert machine.device.protocol_errors == []


def test_device_without_a_domain_is_blocked_from_the_start():
    machine = Machine()
    drive(drive(Iommu.open(machine.transport, machine.allocator)).enable())
    assert lands(machine, DEVICE) is FaultReason.ROOT_NOT_PRESENT


@pytest.mark.parametrize("strategy", [AtomicSwap(), AtomicSwap(armed=True), BreakBeforeMake(), BreakBeforeMake(cold=True)],
                         ids=["swap", "armed swap", "warm break", "cold break"])
def test_replaced_device_lands_in_the_new_domain_even_from_warm_caches(strategy):
    machine, iommu, old = running()
    assert lands(machine, DEVICE) == OLD_HPA   # cached from here on
    assert lands(machine, OTHER) == OLD_HPA
    new = new_domain(iommu)
    done = drive(iommu.replace(DEVICE, new, strategy))
    assert lands(machine, DEVICE) == NEW_HPA
    assert lands(machine, OTHER) == OLD_HPA
    assert (done.old_domain_id, done.new_domain_id, done.strategy) == (1, 2, strategy.name)
    assert (old.devices, new.devices) == ({OTHER}, {DEVICE})
    assert machine.device.protocol_errors == []


def probe_phases(strategy):
    """Replace while another pair of eyes does DMA in every phase."""
    landed = []
    ruler = Ruler(lambda: landed.append(lands(machine, DEVICE)) if iommu is not None else None)
    iommu = None
    machine, iommu, _ = running(ruler=ruler)
    lands(machine, DEVICE)
    new = new_domain(iommu)
    landed.clear()
    drive(iommu.replace(DEVICE, new, strategy))
    return [phase for phase, _ in ruler.seen], landed


def test_no_phase_of_an_atomic_swap_blocks_a_device():
    phases, landed = probe_phases(AtomicSwap())
    assert phases[-3:] == [Phase.SWAP, Phase.INVALIDATE, Phase.STEADY]
    assert landed == [OLD_HPA, OLD_HPA, NEW_HPA]  # after the store the cached context still serves, until invalidated


def test_break_before_make_does_block_it():
    phases, landed = probe_phases(BreakBeforeMake())
    assert phases[-4:] == [Phase.BREAK, Phase.INVALIDATE, Phase.MAKE, Phase.STEADY]
    assert landed == [OLD_HPA, OLD_HPA, FaultReason.CONTEXT_NOT_PRESENT, NEW_HPA]


def test_new_tag_is_recorded_before_the_store_and_the_old_one_dropped_after_the_invalidation():
    domains = []
    ruler = Ruler(lambda: [set(domain.devices) for domain in domains])
    _, iommu, old = running(ruler=ruler)
    domains += [old, new_domain(iommu)]
    drive(iommu.replace(DEVICE, domains[1], AtomicSwap()))
    both, only_new = [{DEVICE, OTHER}, {DEVICE}], [{OTHER}, {DEVICE}]
    assert ruler.seen == [(Phase.SWAP, both), (Phase.INVALIDATE, both), (Phase.STEADY, both)]
    assert [domain.devices for domain in domains] == only_new


def test_new_domain_id_is_invalidated_before_the_store_for_its_lines_may_be_anybodys():
    machine, iommu, _ = running()
    new = new_domain(iommu)
    machine.transport.log.clear()
    drive(iommu.replace(DEVICE, new, AtomicSwap()))
    done = machine.changes()
    assert done.index(iotlb_of(new.domain_id)) < [kind for kind, _, _ in done].index("exchange")


def test_lost_race_for_the_entry_leaves_the_device_on_its_old_domain():
    machine, iommu, old = running()
    new = new_domain(iommu)
    exchange = machine.transport.compare_exchange128

    async def beaten(hpa, expected, desired):
        machine.memory.store64(hpa, expected % (1 << 64) | 2)  # somebody sets fault_processing_disable just before
        return await exchange(hpa, expected, desired)

    machine.transport.compare_exchange128 = beaten
    with pytest.raises(EntryChanged):
        drive(iommu.replace(DEVICE, new, AtomicSwap()))
    assert (old.devices, new.devices) == ({DEVICE, OTHER}, set())
    assert iommu.domain_of(DEVICE) is old
    assert lands(machine, DEVICE) == OLD_HPA


def test_unmapped_page_is_gone_from_the_caches_when_unmap_returns():
    machine, iommu, domain = running()
    assert lands(machine, DEVICE) == OLD_HPA
    drive(iommu.unmap(domain, IOVA, PAGE))
    assert lands(machine, DEVICE) is FaultReason.READ_PERMISSION


def test_tables_that_an_unmap_empties_are_freed_after_the_invalidation():
    machine, iommu, domain = running()
    machine.transport.log.clear()
    drive(iommu.unmap(domain, IOVA, PAGE))
    done = machine.changes()
    poisoned = [n for n, (kind, _, value) in enumerate(done) if kind == "memory" and value == b"\xdb" * PAGE]
    assert len(poisoned) == 2
    assert done.index(iotlb_of(domain.domain_id, page=IOVA)) < min(poisoned)
    assert domain.table.pages == [domain.table.top]


def test_detached_device_is_blocked_even_from_warm_caches():
    machine, iommu, domain = running()
    assert lands(machine, DEVICE) == OLD_HPA
    drive(iommu.detach(DEVICE))
    assert lands(machine, DEVICE) is FaultReason.CONTEXT_NOT_PRESENT
    assert lands(machine, OTHER) == OLD_HPA
    assert domain.devices == {OTHER}
    with pytest.raises(NotAttached, match="0x0018"):
        drive(iommu.detach(DEVICE))


def test_attached_device_must_be_replaced_not_attached_again():
    _, iommu, domain = running()
    with pytest.raises(AlreadyAttached, match="use replace"):
        drive(iommu.attach(DEVICE, domain))
    with pytest.raises(AlreadyAttached):
        drive(iommu.replace(DEVICE, domain, AtomicSwap()))


def test_caching_mode_invalidates_what_was_not_present():
    machine, iommu, domain = running(straps=straps_with(caching_mode=1))
    machine.transport.log.clear()
    drive(iommu.attach(THIRD, domain))
    assert context_of(THIRD, 0) in machine.changes()
    machine.transport.log.clear()
    drive(iommu.map(domain, 0x7000, 0xB000, PAGE))
    assert machine.changes()[-1] == iotlb_of(domain.domain_id, page=0x7000 | 1 << 6)   # with the hint: no table went


def test_released_domain_is_poisoned_and_its_id_free_only_when_no_device_has_it():
    machine, iommu, old = running()
    pages = old.table.pages
    with pytest.raises(AlreadyAttached):
        drive(iommu.release(old))
    new = new_domain(iommu)
    for source_id in (DEVICE, OTHER):
        drive(iommu.replace(source_id, new, AtomicSwap()))
    drive(iommu.release(old))
    assert all(machine.memory.read(page, PAGE) == b"\xdb" * PAGE for page in pages)
    assert lands(machine, DEVICE) == NEW_HPA
    assert drive(iommu.new_domain(1)).domain_id == old.domain_id


def test_pass_through_domain_lets_addresses_through():
    machine, iommu, _ = running()
    drive(iommu.replace(DEVICE, drive(iommu.new_domain(3, pass_through=True)), AtomicSwap()))
    assert lands(machine, DEVICE, 0x123456) == 0x123456


def test_what_the_unit_cannot_do_is_refused():
    _, iommu, _ = running(straps=straps_with(pass_through=0, sagaw=0b0010))
    with pytest.raises(BadRange, match=r"address_width 0x2: not in CAP\.SAGAW = 0b10"):
        drive(iommu.new_domain(2))
    with pytest.raises(BadRange, match="no pass-through"):
        drive(iommu.new_domain(1, pass_through=True))


# --- adoption ---

def successor(machine):
    allocator = PageAllocator(machine.transport, base=ARENA + 0x1000_0000, size=0x10_0000)
    return drive(Iommu.open(machine.transport, allocator))


def test_adoption_finds_domains_and_devices_and_writes_nothing():
    machine, _, old = running()
    machine.transport.log.clear()
    heir = successor(machine)
    drive(heir.adopt())
    assert machine.transport.log == []
    assert set(heir.domains) == {old.domain_id}
    assert heir.domain_of(DEVICE).devices == {DEVICE, OTHER}
    assert heir.domain_of(DEVICE).table.intervals() == old.table.intervals()
    with pytest.raises(DomainIdUnavailable, match="is taken"):
        drive(heir.new_domain(1, domain_id=old.domain_id))


def test_adopted_device_can_be_replaced_and_its_old_domain_released():
    machine, _, _ = running()
    assert lands(machine, DEVICE) == OLD_HPA
    heir = successor(machine)
    drive(heir.adopt({DEVICE}))
    assert drive(heir.zap()) == [OTHER]
    assert lands(machine, OTHER) is FaultReason.CONTEXT_NOT_PRESENT
    old = heir.domain_of(DEVICE)
    heir.allocator.reserve(old.table.pages)
    drive(heir.replace(DEVICE, new_domain(heir), AtomicSwap()))
    drive(heir.release(old))
    assert lands(machine, DEVICE) == NEW_HPA


def test_zap_names_the_domain_id_that_stood_in_the_entry():
    machine, iommu, _ = running()
    stranger = new_domain(iommu)
    drive(iommu.attach(THIRD, stranger))
    assert lands(machine, THIRD) == NEW_HPA
    heir = successor(machine)
    drive(heir.adopt({DEVICE, OTHER}))
    drive(heir.take_charge())
    machine.transport.log.clear()
    assert drive(heir.zap()) == [THIRD]
    entry = iommu.contexts.entry_hpa(THIRD)
    top = stranger.table.top
    assert machine.changes() == [
        ("store64", entry, 0), context_of(THIRD, stranger.domain_id), iotlb_of(stranger.domain_id), ("store64", entry + 8, 0)]
    assert machine.memory.read64(top) != 0  # the tables were never ours: they are left alone
    assert lands(machine, THIRD) is FaultReason.CONTEXT_NOT_PRESENT


def test_tables_of_a_device_that_is_not_adopted_are_not_even_read():
    machine, iommu, _ = running()
    stranger = new_domain(iommu)
    drive(iommu.attach(THIRD, stranger))
    machine.memory.write(stranger.table.top, b"\xff" * PAGE)
    heir = successor(machine)
    drive(heir.adopt({DEVICE, OTHER}))
    with pytest.raises(TableMalformed):
        drive(successor(machine).adopt())


def test_unit_that_is_off_or_in_another_mode_is_not_adopted():
    machine = Machine()
    with pytest.raises(AdoptionRefused, match="translation is off"):
        drive(successor(machine).adopt())
    machine, _, _ = running()
    drive(machine.transport.write_register(0x20, 8, 1 << 10))
    with pytest.raises(AdoptionRefused, match="only legacy mode"):
        drive(successor(machine).adopt())


@pytest.mark.parametrize(("word", "bits", "error", "message"), [
    (1, 1 << 24, TableMalformed, "reserved bits of a context entry"),
    (0, 1 << 4, TableMalformed, "reserved bits of a context entry"),
    (0, 1 << 2, TableMalformed, "translation type"),
    (0, 1 << 20, AdoptionRefused, "stands for other tables too"),
    (1, 1 << 2, BadRange, "address_width"),
], ids=["high reserved", "low reserved", "device-TLB", "two tables under one ID", "width"])
def test_context_entry_that_makes_no_sense_is_not_adopted(word, bits, error, message):
    machine, iommu, _ = running()
    place = iommu.contexts.entry_hpa(DEVICE) + 8 * word  # the first that adoption reads
    if error is AdoptionRefused:
        place = iommu.contexts.entry_hpa(OTHER) + 8 * word
    machine.memory.store64(place, machine.memory.read64(place) | bits)
    with pytest.raises(error, match=message):
        drive(successor(machine).adopt())


def test_root_entry_with_reserved_bits_is_not_adopted():
    machine, iommu, _ = running()
    machine.memory.store64(iommu.contexts.root_table + 8, 1)
    with pytest.raises(TableMalformed, match="reserved bits of a root entry"):
        drive(successor(machine).adopt())


# --- domain IDs ---

def test_domain_ids_start_at_one_and_reserved_ones_are_skipped():
    ids = DomainIds(4)
    ids.reserve([1, 3])
    assert [ids.allocate(), ids.allocate()] == [2, 4]


def test_domain_ids_run_out_and_come_back():
    ids = DomainIds.of_code(0)
    for _ in range(15):
        ids.allocate()
    with pytest.raises(DomainIdUnavailable, match="all IDs from 1 to 15"):
        ids.allocate()
    ids.release(7)
    assert ids.allocate() == 7


@pytest.mark.parametrize(("wanted", "message"), [([0], "between 1 and 15"), ([16], "between 1 and 15"),
                                                 ([5, 2], "domain ID 2: is taken")])
def test_domain_id_that_cannot_be_had_is_refused_and_none_is_taken(wanted, message):
    ids = DomainIds(4)
    ids.reserve([2])
    with pytest.raises(DomainIdUnavailable, match=message):
        ids.reserve(wanted)
    ids.reserve([5])


def test_domain_id_that_is_not_taken_cannot_be_released():
    ids = DomainIds(4)
    with pytest.raises(DomainIdUnavailable, match="is not taken"):
        ids.release(3)
    with pytest.raises(DomainIdUnavailable):
        ids.release(0)


def test_released_domain_id_may_be_stale_again():
    ids = DomainIds(4)
    ids.reserve([3])
    assert ids.may_be_stale(3)
    ids.cleaned(3)
    assert not ids.may_be_stale(3)
    ids.release(3)
    assert ids.may_be_stale(3)
