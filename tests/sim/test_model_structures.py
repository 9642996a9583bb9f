"""The model's caches of upper levels: ways are kept until an invalidation that does not hint, and used where they permit enough."""
import pytest

from hw.spec.dma import Access, Status
from hw.spec.faults import FaultReason
from hw.spec.invalidation import Granularity
from tests.sim.machine import CONTEXT, context_entry, entry, stores_of_path
from tests.sim.test_model_device import ENTRY_A, IOVA, LEAF, NEW_TABLE, TABLE, A, B, machine

LEVEL_3, LEVEL_2 = TABLE + 1 << 12, TABLE + 2 << 12
OLD, NEW = 0x9000_000, 0xA000_000


def warm():
    """A machine that has walked to IOVA, and whose entry of level 2 then names other leaves."""
    device, host = machine(stale=True)
    assert device.dma(A, IOVA).hpa == OLD
    device.memory.store64(LEVEL_2, entry(NEW_TABLE + 3))
    return device, host


def invalidate(host, page=IOVA >> 12, *, hint=0, order=0):
    host.write("IVA", ADDR=page, IH=hint, AM=order)
    host.invalidate_iotlb(Granularity.SELECTIVE, DID=5)


def test_hint_keeps_the_way_and_removes_the_line():
    device, host = warm()
    device.memory.store64(LEAF, entry(0x9999))
    invalidate(host, hint=1)
    assert device.dma(A, IOVA).hpa == 0x9999_000
    invalidate(host)
    assert device.dma(A, IOVA).hpa == NEW


@pytest.mark.parametrize(("page", "order", "removed"), [(0x1FF, 0, True), (0x200, 0, False), (0x200, 10, True)])
def test_invalidation_of_any_page_below_an_entry_removes_it(page, order, removed):
    device, host = warm()
    device.memory.store64(LEAF + 8, entry(0x9001))
    device.memory.store64((NEW_TABLE + 3 << 12) + 16, entry(0xA001))
    invalidate(host, page, order=order)
    assert device.dma(A, IOVA + 0x1000).hpa == (0xA001_000 if removed else 0x9001_000)


def test_wider_invalidations_remove_every_way_of_the_domain():
    for granularity, fields in ((Granularity.GLOBAL, {}), (Granularity.DOMAIN_SELECTIVE, {"DID": 5})):
        device, host = warm()
        host.invalidate_iotlb(Granularity.DOMAIN_SELECTIVE, DID=6)
        assert device.dma(B, IOVA + 0x1000).fault_reason is FaultReason.READ_PERMISSION    # by the old way
        host.invalidate_iotlb(granularity, **fields)
        assert device.dma(A, IOVA).hpa == NEW


def test_way_that_permits_too_little_is_not_used_and_one_that_permits_less_above_counts():
    device, _ = machine(stale=True)
    device.memory.store64(LEVEL_3, entry(TABLE + 2, writable=0))
    assert device.dma(A, IOVA).status is Status.OK
    assert device.dma(A, IOVA, Access.WRITE).fault_reason is FaultReason.WRITE_PERMISSION
    device.memory.store64(LEVEL_3, entry(TABLE + 2))
    assert device.dma(A, IOVA, Access.WRITE).status is Status.OK
    device.memory.store64(LEVEL_3, entry(TABLE + 2, writable=0))
    assert device.dma(A, IOVA + 0x1000, Access.WRITE).fault_reason is FaultReason.WRITE_PERMISSION   # the page is missing
    device.memory.store64(LEAF + 8, entry(0x9001))
    assert device.dma(A, IOVA + 0x1000, Access.WRITE).hpa == 0x9001_000


def test_way_of_a_table_serves_every_table_of_its_domain():
    device, host = machine(stale=True)
    device.dma(B, IOVA)
    device.memory.store64(LEAF + 8, entry(0x9001))
    for hpa, value in stores_of_path(NEW_TABLE, IOVA + 0x1000, entry(0xA001)):
        device.memory.store64(hpa, value)
    device.memory.store64(ENTRY_A, NEW_TABLE << 12 | 1)
    assert device.dma(A, IOVA + 0x1000).hpa == 0x9001_000
    host.invalidate_iotlb(Granularity.DOMAIN_SELECTIVE, DID=5)
    assert device.dma(A, IOVA + 0x1000).hpa == 0xA001_000


def test_context_with_fewer_levels_begins_at_its_own_top():
    """Level 4 is cached; the other device has three levels, which begin below it."""
    device, _ = machine(stale=True)
    device.dma(A, IOVA)
    device.memory.write((CONTEXT << 12) + 16 * B, context_entry(0x700, 5, 1).to_bytes(16, "little"))
    beyond = IOVA | 1 << 30
    for hpa, value in stores_of_path(0x700, beyond, entry(0x8000), top=3):
        device.memory.store64(hpa, value)
    assert device.dma(B, beyond).hpa == 0x8000_000


def test_leaf_and_what_is_missing_are_no_ways():
    device, host = machine(stale=True)
    device.memory.store64(LEVEL_2 + 8, entry(0x40000, page_size=1))
    assert device.dma(A, 0x20_1000).hpa == 0x4000_1000
    assert device.dma(A, 0x40_1000).status is Status.BLOCKED
    for index in (1, 2):
        device.memory.store64(LEVEL_2 + 8 * index, entry(NEW_TABLE + 3))
    invalidate(host, 0x201, hint=1)
    assert {device.dma(A, iova).hpa for iova in (0x20_1000, 0x40_1000)} == {NEW}
