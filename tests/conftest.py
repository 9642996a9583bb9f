"""Fixtures and the report of a test run."""
import json
import re
import time
from pathlib import Path

import pytest

from tests.deferred import DEFERRED, deferred

OUTCOMES = ("passed", "failed", "error", "skipped")


def pytest_addoption(parser):
    parser.addoption("--report", type=Path, help="write counts and seconds of the run to this file, as JSON")


def pytest_configure(config):
    config.stash[_STARTED] = time.monotonic()


_STARTED = pytest.StashKey[float]()


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(config, items):
    """Mark what tests/deferred.py names, before marks are selected. A row that names nothing any more is an error."""
    left = deferred([item.nodeid for item in items])
    for item in items:
        if item.nodeid in left:
            item.add_marker(pytest.mark.regress)
    if config.args == config.getini("testpaths"):
        idle = [pattern for pattern in DEFERRED if not any(re.search(pattern, item.nodeid) for item in items)]
        if idle:
            raise pytest.UsageError(f"tests/deferred.py: there is no such test: {', '.join(idle)}")


@pytest.fixture
def formal(request):
    """Bounded checks of this test, in a folder of its own."""
    from tests.formal.harness import FormalCheck  # only where it is used: Amaranth takes its time to start
    name = re.sub(r"\W+", "-", request.node.name).strip("-")
    return FormalCheck(request.config.rootpath / "build" / "formal" / f"{request.node.path.stem}-{name}")


def pytest_terminal_summary(terminalreporter, config):
    """With --report: one line for each folder of tests, and the report."""
    path = config.getoption("--report")
    if path is None:
        return
    folders = {}
    for outcome, reports in terminalreporter.stats.items():
        for report in reports:
            if isinstance(report, pytest.TestReport):  # of a call, or, with no outcome, of what came before and after it
                name = Path(report.nodeid.split("::")[0]).parent.as_posix()
                folder = folders.setdefault(name, dict.fromkeys((*OUTCOMES, "seconds"), 0))
                folder["seconds"] = round(folder["seconds"] + report.duration, 3)
                if outcome in OUTCOMES:
                    folder[outcome] += 1
    totals = {outcome: sum(folder[outcome] for folder in folders.values()) for outcome in OUTCOMES}
    seconds = time.monotonic() - config.stash[_STARTED]
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(totals | {"seconds": round(seconds, 1), "folders": folders}, indent=2))
    terminalreporter.section("tests")
    for name, folder in sorted(folders.items()):
        counts = ", ".join(f"{folder[outcome]} {outcome}" for outcome in OUTCOMES if folder[outcome])
        terminalreporter.write_line(f"{name:20} {counts:30} {folder['seconds']:6.1f} s")
    terminalreporter.write_line(f"report: {path}")
