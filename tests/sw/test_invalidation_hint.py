"""The hint that only leaves have changed (IH): the driver gives it when no table went, over caches that keep every upper level."""
from hw.spec.faults import FaultReason
from sw.domain import Stale
from tests.sw.machine import drive
from tests.sw.test_driver import DEVICE, IOVA, NEW_HPA, OLD_HPA, PAGE, iotlb_of, lands, running


def test_tables_that_are_freed_are_not_hinted_away_and_are_not_walked_again():
    machine, iommu, domain = running()
    drive(iommu.map(domain, IOVA + PAGE, NEW_HPA, PAGE))
    assert lands(machine, DEVICE) == OLD_HPA
    drive(iommu.unmap(domain, IOVA + PAGE, PAGE))
    assert machine.changes()[-1] == iotlb_of(domain.domain_id, page=IOVA + PAGE | 1 << 6)
    drive(iommu.unmap(domain, IOVA, PAGE))
    assert iotlb_of(domain.domain_id, page=IOVA) in machine.changes()
    assert lands(machine, DEVICE) is FaultReason.READ_PERMISSION


def test_driver_that_hints_though_it_frees_a_table_is_caught(monkeypatch):
    monkeypatch.setattr(Stale, "only_leaves", True)
    machine, iommu, domain = running()
    assert lands(machine, DEVICE) == OLD_HPA
    drive(iommu.unmap(domain, IOVA, PAGE))
    assert lands(machine, DEVICE) is not FaultReason.READ_PERMISSION    # it has walked a freed table, which is poisoned
