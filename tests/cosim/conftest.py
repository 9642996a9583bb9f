# amaranth: UnusedElaboratable=no
"""What the tests of the whole unit share: its simulator, built once for all workers, and what the fault bench gave."""
import pytest

from hw.iommu.config import IommuConfig
from sim.player import PLAYER, PlayerTop
from sim.runner import build, run


@pytest.fixture(scope="session")
def player():
    """The simulator that table replay uses, too."""
    return build(PlayerTop(IommuConfig()), "player_top", attachments=[PLAYER])


@pytest.fixture(scope="session")
def observed(player):
    """What became of every case."""
    return run(player, "tests.cosim.faults_bench", seconds=300).value
