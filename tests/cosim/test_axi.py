# amaranth: UnusedElaboratable=no
"""The wrapped unit, between the masters and memories of cocotbext-axi."""
import pytest

from hw.axi.axi_unit import AxiUnit
from hw.iommu.config import IommuConfig
from sim.axi import axi_attachment
from sim.runner import build, run

BUSES = ("s_dma", "m_dma", "m_table", "s_reg")
SLVERR = 2


@pytest.fixture(scope="module")
def stories():
    """What came of each."""
    unit = AxiUnit(IommuConfig(iotlb_sets=4, iotlb_ways=2, context_sets=2, context_ways=2, walk_slots=4, context_slots=2),
                   slots=8, id_bits=3)
    simulator = build(unit, "axi_unit", attachments=[axi_attachment(unit, BUSES)])
    return {**run(simulator, "tests.cosim.axi_bench", seconds=300).values}


@pytest.mark.parametrize("name", ["free", "with pauses"])
def test_random_dma_lands_where_the_tables_say_and_nothing_else_changes(stories, name):
    story = stories["random_traffic"][name]
    assert story["wrong"] == []
    assert story["memory as it must be"]
    assert min(story["reads"], story["writes"], story["blocked"]) > 20
