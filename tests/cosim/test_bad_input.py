"""Captures that are broken: the replay command ends with status 1 and a sentence that names file and rule; nothing is built."""
import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner

from sim.runner import ROOT
from sim.stories import replay

CAPTURE = ROOT / "tests" / "data" / "real-tables" / "hwpt48"
FILES = ("capture.json", "tables.npz", "mappings.csv.gz", "live.csv.gz", "probes.csv.gz")


@pytest.fixture
def folder(tmp_path):
    """A capture to break."""
    return Path(shutil.copytree(CAPTURE, tmp_path / "capture"))


@pytest.fixture
def command(monkeypatch):
    """The replay command, in an installation that can build nothing and run nothing."""
    def refused(*_args, **_options):
        raise AssertionError("something was built or run")

    for name in ("build", "run"):
        monkeypatch.setattr(replay, name, refused)
    application = typer.Typer()
    application.command()(replay.main)
    return lambda tables: CliRunner().invoke(application, [str(tables)])


def describe(folder, change):
    """Change the capture's description of its first snapshot."""
    path = folder / "capture.json"
    description = json.loads(path.read_text())
    change(description["epochs"][0])
    path.write_text(json.dumps(description))


def assert_refused(result, sentence):
    """Status 1 by the command's own decision, and one line that says the sentence."""
    assert isinstance(result.exception, SystemExit)
    assert result.exit_code == 1
    lines = result.output.strip().splitlines()
    assert len(lines) == 1
    assert sentence in lines[0]


@pytest.mark.parametrize("file", FILES)
def test_a_missing_file_is_named(command, folder, file):
    (folder / file).unlink()
    assert_refused(command(folder), f"CaptureMalformed: {file}: must be there and complete")


@pytest.mark.parametrize("file", FILES)
@pytest.mark.parametrize("kept", [0.0, 0.5, 0.9])
def test_a_file_cut_short_is_named(command, folder, file, kept):
    content = (folder / file).read_bytes()
    (folder / file).write_bytes(content[:int(len(content) * kept)])
    assert_refused(command(folder), f"CaptureMalformed: {file}: ")


def test_a_folder_that_is_not_there_is_refused(command, tmp_path):
    assert_refused(command(tmp_path / "nowhere"), "CaptureMalformed: capture.json: must be there and complete")


@pytest.mark.parametrize(("change", "sentence"), [
    (lambda epoch: epoch.pop("regs"), "capture.json: must have the key or column 'regs'"),
    (lambda epoch: epoch["regs"].pop("0x020"), "capture.json: must have the key or column '0x020'"),
    (lambda epoch: epoch["regs"].update({"0x020": "0x0"}), "tables.npz: the ROOT page at 0x100000000"),
    (lambda epoch: epoch["regs"].update({"0x020": "0x47a7e400"}), "translation table mode 1 (1 is scalable mode)"),
    (lambda epoch: epoch["domains"][0].update(sltptr="0x1000"), "tables.npz: the LEVEL_4 page at 0x1000"),
])
def test_a_description_that_breaks_a_rule_is_refused_with_it(command, folder, change, sentence):
    describe(folder, change)
    assert_refused(command(folder), sentence)


def test_the_shell_sees_the_status_and_the_sentence(folder):
    (folder / "tables.npz").write_bytes(b"")
    done = subprocess.run([sys.executable, "-m", "sim.stories.replay", str(folder)], cwd=ROOT, text=True,
                          capture_output=True, check=False)
    assert done.returncode == 1
    assert "CaptureMalformed: tables.npz: " in done.stdout + done.stderr
    assert "Traceback" not in done.stdout + done.stderr


def test_a_whole_capture_would_be_built(command):
    """The control: what refuses here is the input, not the command."""
    result = command(CAPTURE)
    assert str(result.exception) == "something was built or run"
