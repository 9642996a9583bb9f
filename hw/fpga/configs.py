"""The three configurations that `make fpga-report` measures. Ours."""
from hw.iommu.config import IommuConfig

__all__ = ["CONFIGS"]

CONFIGS = {
    "small": IommuConfig(iotlb_sets=16, iotlb_ways=1, superpage_sets=2, superpage_ways=1, context_sets=4, context_ways=1,
                         walk_slots=2, context_slots=1, miss_queue_depth=4, fault_records=1),
    "default": IommuConfig(),
    "large": IommuConfig(iotlb_sets=256, iotlb_ways=4, superpage_sets=16, superpage_ways=4, context_sets=64, context_ways=4,
                         walk_slots=32, context_slots=8, miss_queue_depth=64, fault_records=16),
}
"""By name, from the smallest that is of use to one that no longer has to be small."""
