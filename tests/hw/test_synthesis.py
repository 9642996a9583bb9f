# amaranth: UnusedElaboratable=no
"""The unit in its small configuration, mapped to the cells of an ECP5: it can be built, it fits, its memories are memories."""

import pytest

from hw.fpga.report import measure
from hw.iommu.config import CONFIGS

LIMIT_LUT4 = 14_000  # of the small configuration, as it is; it may only fall


@pytest.fixture(scope="module")
def cells(request):
    """Cells of the small configuration; kept between runs by what they were made from."""
    return measure(CONFIGS["small"], seeds=(), cache=request.config.rootpath / "build" / "fpga-cache", by_block=False)["cells"]


def test_the_small_unit_fits(cells):
    assert 1_000 < cells["LUT4"] <= LIMIT_LUT4


def test_small_memories_are_in_lut_ram_and_not_in_flip_flops(cells):
    assert cells["DPR16X4"] > 50
    assert cells["FF"] < cells["LUT4"]
