"""Tables that a real Linux wrote: what an independent implementation answered is what the unit answers."""
import csv
import gzip
import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from hw.spec.tables import PAGE_BYTES
from sim.runner import ROOT
from sim.stories.replay import replay_capture
from sw.errors import CaptureUnsupported

CAPTURES = ROOT / "tests" / "data" / "real-tables"
NAMES = ("hwpt48", "ident39", "legacy39seq", "legacy48")
RTADDR = "0x020"       # its low word, in capture.json
SCALABLE = 1 << 10     # RTADDR.TTM = 1
MOVED, READ_ONLY = 0x5006_E000, 0x6030_1000   # pages of hwpt48's one domain, of device 00:07.0, each probed 3 times


def rows(folder, file):
    """Lines of a compressed table, as dictionaries."""
    with gzip.open(folder / file, "rt", newline="") as stream:
        return list(csv.DictReader(stream))


@pytest.mark.parametrize("name", NAMES)
def test_every_expectation_of_a_capture_is_played_and_agrees(name):
    """Each probe, and each translation that the machine held at any snapshot and was not just taking away."""
    live = [row for row in rows(CAPTURES / name, "live.csv.gz") if row["state"] == "ok"]
    report = replay_capture(CAPTURES / name)
    assert report["differences"] == []
    assert report["requests"] == len(rows(CAPTURES / name, "probes.csv.gz")) + len(live)
    assert report["agree"] == report["requests"]
    assert report["model_differs"] == 0
    assert 0 < report["hits"] < report["requests"]


@pytest.fixture
def copied(tmp_path):
    """A capture to spoil."""
    return Path(shutil.copytree(CAPTURES / "hwpt48", tmp_path / "hwpt48"))


def flip(folder, iova, bit):
    """Flip one bit of the leaf of `iova` in the one domain of the copied capture: 4 levels, 4 KiB pages."""
    table = int(json.loads((folder / "capture.json").read_text())["epochs"][0]["domains"][0]["sltptr"], 16)
    with np.load(folder / "tables.npz") as archive:
        arrays = dict(archive)
    rows_of = {address: row for row, address in enumerate(arrays["addr"].tolist())}
    for shift in (39, 30, 21, 12):
        entries = arrays["data"][rows_of[table]].view("<u8")
        index = iova >> shift & 511
        table = int(entries[index]) & ~0xFFF & (1 << 52) - 1
    entries[index] ^= np.uint64(1 << bit)
    np.savez_compressed(folder / "tables.npz", **arrays)


def test_one_flipped_bit_of_a_leaf_is_found_in_every_access_that_it_concerns(copied):
    """The address of one leaf, the permission of another: all probes of the one page, the writes of the other, no more."""
    flip(copied, MOVED, 12)
    flip(copied, READ_ONLY, 1)
    expected = []
    for probe in rows(copied, "probes.csv.gz"):
        iova = int(probe["iova"], 16)
        if probe["sid"] == "0038" and iova // PAGE_BYTES == MOVED // PAGE_BYTES:
            expected.append((iova, "OK", hex(int(probe["hpa"], 16) ^ PAGE_BYTES), "NONE"))
        if probe["sid"] == "0038" and iova // PAGE_BYTES == READ_ONLY // PAGE_BYTES and probe["write"] == "1":
            expected.append((iova, "BLOCKED", hex(0), "WRITE_PERMISSION"))
    differences = replay_capture(copied)["differences"]
    assert len(expected) == 5
    assert [(each["expected"]["iova"], *(each["got"][name] for name in ("status", "hpa", "fault_reason")))
            for each in differences] == expected
    assert all(each["walk"][-2].startswith("level 1 entry at ") for each in differences)


def test_a_capture_with_an_erroneous_entry_is_played_and_its_faults_are_differences(copied):
    """Bit 11 of a leaf is reserved: every probe of that page faults, whatever the recording says."""
    flip(copied, MOVED, 11)
    expected = [int(probe["iova"], 16) for probe in rows(copied, "probes.csv.gz")
                if probe["sid"] == "0038" and int(probe["iova"], 16) // PAGE_BYTES == MOVED // PAGE_BYTES]
    report = replay_capture(copied)
    assert [each["expected"]["iova"] for each in report["differences"]] == expected
    assert {each["got"]["fault_reason"] for each in report["differences"]} == {"SECOND_STAGE_RESERVED"}
    assert report["model_differs"] == 0


def test_a_capture_in_scalable_mode_is_refused_with_a_sentence(copied):
    description = json.loads((copied / "capture.json").read_text())
    registers = description["epochs"][0]["regs"]
    registers[RTADDR] = hex(int(registers[RTADDR], 16) | SCALABLE)
    (copied / "capture.json").write_text(json.dumps(description))
    with pytest.raises(CaptureUnsupported, match=r"translation table mode 1 .* the unit has legacy mode, 0, only"):
        replay_capture(copied)
