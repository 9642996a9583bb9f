"""What others measure on the same device, to stand beside ours. Ours; where each figure comes from is in docs/fpga.md."""
from typing import NamedTuple

__all__ = ["PEERS", "Peer"]


class Peer(NamedTuple):
    """One design as somebody built it."""

    name: str
    commit: str        # and its date where known
    lut4: int
    flip_flops: int
    megahertz: float | None
    mark: str          # M: measured here, from its sources; P: published by its authors
    remark: str


PEERS = (
    Peer("zero-day-labs/riscv-iommu, IOTLB 4, DDTC 8", "18ad30a, 2024-08-20", 10364, 4431, 25.7, "M",
         "frequency estimated after placement; routing had not converged after 25 minutes"),
    Peer("zero-day-labs/riscv-iommu, IOTLB 16, DDTC 8", "18ad30a, 2024-08-20", 16040, 6411, None, "M",
         "placement not finished in 280 s"),
    Peer("BrendanJamesLynskey/RISCV_IOMMU, Sv32, IOTLB 16, 8 contexts", "db1d7c0", 1664, 1126, 77.4, "M", "routed"),
    Peer("the same on Artix-7, Vivado 2025.2", "db1d7c0", 1005, 1089, 104.0, "P", "another device, LUT6; its README"),
)
"""ECP5, speed grade 6, except where the remark says otherwise."""
