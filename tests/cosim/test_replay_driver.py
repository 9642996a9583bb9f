"""What a recorded Linux driver did is done again: the unit lets it pass, and a recording that lies is found out."""
import gzip
import shutil
from collections import Counter
from functools import cache
from pathlib import Path

import pytest

from sim.runner import ROOT
from sim.stories.replay_driver import PLAYS, replay_driver
from tests.cosim.test_replay import rows

CAPTURES = ROOT / "tests" / "data" / "real-tables"
NAMES = ("hwpt48", "ident39", "legacy39seq", "legacy48")


def letters(name, play):
    """How many events of each kind a trace has."""
    with gzip.open(CAPTURES / name / f"trace_{play}.txt.gz", "rt") as stream:
        return Counter(line[0] for line in stream)


@cache
def replayed(name):
    """Both plays of one capture."""
    return replay_driver(CAPTURES / name)


@pytest.fixture(params=NAMES)
def played(request):
    """Both plays of each capture."""
    return replayed(request.param)


def test_the_unit_lets_the_recorded_driver_pass(played):
    """Every access, descriptor, wait, fault, record and message of the trace; nothing is blocked that was not to be."""
    assert [each["differences"] for each in played["plays"].values()] == [[], []]
    for play in PLAYS:
        seen, found = letters(played["capture"], play), played["plays"][play]
        assert found["register_accesses"] == seen["R"] + seen["W"]
        assert found["descriptors"] == seen["I"]
        assert found["waits"] == seen["S"]
        assert found["faults"] == seen["F"]
        assert found["records"] == seen["N"]
        assert found["messages"] == seen["M"]
        assert found["protocol_errors"] == found["unexpected_faults"] == 0
        assert found["dma"] > 500
        assert sum(found["left_out"].values()) < seen["T"]
    assert played["mismatches"] == 0


def test_what_the_machine_held_at_each_snapshot_is_in_use(played):
    live = [row for row in rows(CAPTURES / played["capture"], "live.csv.gz") if row["state"] == "ok"]
    assert played["plays"]["run"]["live"] == len(live)
    assert played["plays"]["init"]["untranslated"] > 0   # DMA ran before translation was enabled


def test_what_was_in_flight_at_a_snapshot_is_old_and_blocked_after_its_invalidation():
    """Of three translations the last one's invalidation is beyond the trace."""
    run = replayed("legacy39seq")["plays"]["run"]
    assert (run["in_flight_old"], run["in_flight_blocked"], run["in_flight_gone"]) == (3, 0, 2)
    assert run["pages_changed"] > 0
    assert run["left_out"]["in flight at the last snapshot: the trace ends before the invalidation"] == 1


# --- recordings that lie ---

@pytest.fixture
def copied(tmp_path):
    """A capture to spoil; only its init trace is more than a word."""
    folder = Path(shutil.copytree(CAPTURES / "hwpt48", tmp_path / "hwpt48"))
    write(folder, "run", ["E 0"])
    return folder


def write(folder, play, lines):
    """A trace of these lines."""
    with gzip.open(folder / f"trace_{play}.txt.gz", "wt") as stream:
        stream.writelines(line + "\n" for line in lines)


def spoil(folder, **changes):
    """Change the first line of the init trace that is `old`, for each (old, new)."""
    with gzip.open(folder / "trace_init.txt.gz", "rt") as stream:
        lines = stream.read().splitlines()
    for old, new in changes.values():
        place = lines.index(old)
        lines[place:place + 1] = [new] if isinstance(new, str) else new
    write(folder, "init", lines)


def test_each_lie_of_a_recording_is_found(copied):
    """A read, a wait's data, a record, a message."""
    spoil(copied, read=("R 038 4 0", "R 038 4 80000000"),
          status=("S 140965c0c 2", "S 140965c0c 3"),
          record=("N 70001000 40ffff0600000038", "N 70002000 40ffff0600000038"),
          message=("M fee01004 21", "M fee01004 22"))
    init = replay_driver(copied)["plays"]["init"]
    assert init["mismatches"] == len(init["differences"])
    sentences = (r"FECTL at 0x38 reads 0x0, the driver read 0x80000000", "status is 0x3 at 0x140965c0c does not complete",
                 "the recorded one", "no message 0x22 at 0xfee01004")
    for sentence in sentences:
        assert [each for each in init["differences"] if sentence in each], sentence
    assert len(init["differences"]) == len(sentences) + 1   # and the wait that was completed all the same


def test_an_access_that_breaks_a_rule_is_a_protocol_error(copied):
    """CCMD while the queue is enabled."""
    spoil(copied, access=("W 018 4 84000000", ["W 028 8 a000000000000000", "W 018 4 84000000"]))
    report = replay_driver(copied)
    assert report["protocol_errors"] == 1
    assert report["mismatches"] == 1


def test_a_descriptor_that_is_none_leaves_its_wait_and_those_behind_it_incomplete(copied):
    """Granularity 0, in the second of nine doorbells."""
    spoil(copied, descriptor=("I d2 0", "I c2 0"))
    report = replay_driver(copied)
    assert report["waits"] == 1
    assert report["mismatches"] >= 8
