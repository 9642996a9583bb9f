"""The model's caches in caching mode: what is not present is kept, and goes with its invalidation."""
import pytest

from hw.spec.dma import Access, Status
from hw.spec.faults import FaultReason
from hw.spec.invalidation import Granularity
from tests.sim.machine import CONTEXT, ROOT, context_entry, entry, root_entry, straps
from tests.sim.test_model_device import ENTRY_A, IOVA, LEAF, TABLE, A, B, machine


def test_without_caching_mode_nothing_that_is_not_present_is_kept():
    device, _ = machine(stale=True)
    device.memory.store64(LEAF, 0)
    device.memory.write(ENTRY_A, bytes(16))
    assert device.dma(A, IOVA).fault_reason is FaultReason.CONTEXT_NOT_PRESENT
    assert device.dma(B, IOVA).fault_reason is FaultReason.READ_PERMISSION
    device.memory.write(ENTRY_A, context_entry(TABLE, 5).to_bytes(16, "little"))
    device.memory.store64(LEAF, entry(0x9000))
    assert {device.dma(A, IOVA).status, device.dma(B, IOVA).status} == {Status.OK}


@pytest.mark.parametrize(("wrong", "reason"), [
    (0, FaultReason.CONTEXT_NOT_PRESENT), (context_entry(TABLE, 5) | 1 << 71, FaultReason.CONTEXT_RESERVED),
    (context_entry(TABLE, 5, 0), FaultReason.CONTEXT_INVALID),
])
def test_in_caching_mode_a_context_that_faults_is_kept_under_domain_0(wrong, reason):
    device, host = machine(stale=True, straps=straps(caching_mode=1))
    device.memory.write(ENTRY_A, wrong.to_bytes(16, "little"))
    assert device.dma(A, IOVA).fault_reason is reason
    device.memory.write(ENTRY_A, context_entry(TABLE, 5).to_bytes(16, "little"))
    host.invalidate_contexts(Granularity.SELECTIVE, DID=5, SID=A)
    assert device.dma(A, IOVA).fault_reason is reason
    host.invalidate_contexts(Granularity.SELECTIVE, DID=0, SID=A)
    assert device.dma(A, IOVA).status is Status.OK


def test_in_caching_mode_other_context_faults_are_not_kept():
    device, _ = machine(stale=True, straps=straps(caching_mode=1))
    device.memory.write(ROOT << 12, bytes(16))
    assert device.dma(A, IOVA).fault_reason is FaultReason.ROOT_NOT_PRESENT
    device.memory.write(ROOT << 12, root_entry().to_bytes(16, "little"))
    assert device.dma(A, IOVA).status is Status.OK


def test_in_caching_mode_a_page_that_permits_nothing_is_kept_under_its_domain():
    device, host = machine(stale=True, straps=straps(caching_mode=1))
    device.memory.store64((TABLE + 1 << 12), 0)   # a table that is missing is found missing page by page
    assert device.dma(A, IOVA, Access.WRITE).fault_reason is FaultReason.WRITE_PERMISSION
    device.memory.store64((TABLE + 1 << 12), entry(TABLE + 2))
    assert device.dma(B, IOVA).fault_reason is FaultReason.READ_PERMISSION
    assert device.dma(A, IOVA, Access.ATOMIC).fault_reason is FaultReason.WRITE_PERMISSION
    host.write("IVA", ADDR=IOVA >> 12)
    host.invalidate_iotlb(Granularity.SELECTIVE, DID=6)
    assert device.dma(A, IOVA).status is Status.BLOCKED
    host.write("IVA", ADDR=IOVA >> 12)
    host.invalidate_iotlb(Granularity.SELECTIVE, DID=5)
    assert device.dma(A, IOVA).status is Status.OK


def test_in_caching_mode_an_entry_that_permits_something_else_is_not_kept():
    device, _ = machine(stale=True, straps=straps(caching_mode=1))
    device.memory.store64(LEAF, entry(0x9000, writable=0))
    assert device.dma(A, IOVA, Access.WRITE).status is Status.BLOCKED
    device.memory.store64(LEAF, entry(0x9000))
    assert device.dma(A, IOVA, Access.WRITE).status is Status.OK


def test_answer_from_the_cache_hides_its_fault_as_the_context_says():
    device, host = machine(stale=True, straps=straps(caching_mode=1))
    device.memory.write(ENTRY_A, context_entry(TABLE, 5, fault_processing_disable=1).to_bytes(16, "little"))
    device.memory.store64(LEAF, 0)
    device.dma(A, IOVA)
    device.dma(A, IOVA)
    device.memory.write((CONTEXT << 12) + 16 * 0x28, context_entry(
        TABLE, 5, present=0, fault_processing_disable=1).to_bytes(16, "little"))
    device.dma(0x28, IOVA)
    device.dma(0x28, IOVA)
    assert host.read("FSTS", "PPF") == 0
    device.dma(B, IOVA)
    assert host.read("FSTS", "PPF") == 1
