"""The README's experiment: is one 128-bit exchange hitless for a device of a real machine, while it does DMA?"""
from pathlib import Path
from typing import Any

import cocotb

from sim.stories.lab import Lab
from sw.strategies import AtomicSwap


@cocotb.test()
async def swap_under_dma(dut: Any) -> None:
    """Replace the domain of a VFIO device and look at every DMA it made."""
    lab = await Lab.open(dut, Path(__file__).parents[2] / "tests/data/real-tables/hwpt48")
    iommu = await lab.boot()
    device = lab.experiment.devices[0]
    new = await lab.rebuild(iommu, device)
    await lab.run(3000)
    await iommu.replace(device.source_id, new, AtomicSwap(armed=True))
    await lab.run(3000)
    outcome = await lab.finish()
    assert outcome.total("old") > 100
    assert outcome.total("new") > 100
    assert outcome.total("blocked") == 0
    assert outcome.broken_laws == set()
    assert outcome.unfinished == set()
