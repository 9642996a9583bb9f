# amaranth: UnusedElaboratable=no
"""What the tests of the whole unit share: its simulator, built once for all workers, and what the fault bench gave."""
from pathlib import Path

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


_PLAYED_ONCE = ("observed", "demo", "stories", "peers", "atomic_swap", "report", "played")
"""Fixtures that are a whole simulation, looked at by many tests."""


@pytest.hookimpl(tryfirst=True)   # before the groups are read
def pytest_collection_modifyitems(items):
    """Send tests that look at one simulation to one worker, so that it is played once."""
    here = Path(__file__).parent
    for item in items:
        for fixture in set(_PLAYED_ONCE) & set(getattr(item, "fixturenames", ())):
            if item.path.parent == here:
                parameters = getattr(getattr(item, "callspec", None), "params", {})
                item.add_marker(pytest.mark.xdist_group(f"{item.path.stem} {fixture} {parameters.get(fixture, '')}"))
