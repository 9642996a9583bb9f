"""Captures: what is read, and what is refused with the file and the rule."""
import gzip
import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from sw.capture import Capture, PageKind, Probe
from sw.errors import CaptureMalformed, CaptureUnsupported
from sw.intervals import Interval, Permission

CAPTURES = Path(__file__).parents[1] / "data" / "real-tables"


@pytest.fixture
def folder(tmp_path):
    """A copy of the smallest capture, to be spoilt."""
    return Path(shutil.copytree(CAPTURES / "hwpt48", tmp_path / "hwpt48"))


def edit_json(folder, change):
    path = folder / "capture.json"
    content = json.loads(path.read_text())
    change(content)
    path.write_text(json.dumps(content))


def edit_tables(folder, change):
    path = folder / "tables.npz"
    with np.load(path) as archive:
        arrays = dict(archive)
    change(arrays)
    np.savez(path, **arrays)


def edit_lines(folder, file, change):
    path = folder / file
    lines = gzip.decompress(path.read_bytes()).decode().splitlines()
    change(lines)
    path.write_bytes(gzip.compress("\n".join(lines).encode()))


def test_capture_is_what_its_files_say():
    capture = Capture.load(CAPTURES / "legacy48")
    assert (capture.name, capture.epoch_count) == ("legacy48", 1)
    assert capture.cap.value == 0x00D2008C222F0606
    assert capture.ecap.value == 0xF42
    assert capture.rtaddr["RTA"] == 0x106F77
    assert len(capture.pages) == 300
    assert sum(kind is PageKind.CONTEXT for kind in capture.kinds.values()) == 6
    assert (len(capture.devices), len(capture.domains)) == (21, 17)
    assert capture.devices[0x0018].domain_id == 3
    assert sum(domain.leaf_count for domain in capture.domains) == 9000
    assert capture.probes[0] == Probe(0x0038, 0x603D5AF8, False, "ok", 0x10A3E5AF8, 0x1000, None)
    assert capture.live[0][:4] == (0x0018, 0xFFFFC000, 0x10A869000, 0x1000)
    assert capture.mappings[0].interval == Interval(0xFFEFD000, 0x1000, 0x10A99B000, Permission.READ_WRITE)


def test_walked_pages_leave_the_invalidation_queue_out():
    capture = Capture.load(CAPTURES / "legacy48")
    assert len(capture.table_pages()) == 299
    assert capture.rtaddr["RTA"] << 12 in capture.table_pages()


def test_pass_through_devices_have_no_domain():
    capture = Capture.load(CAPTURES / "hwpt48")
    assert capture.devices[0x0018].translation_type == 2
    assert capture.devices[0x0018].domain is None
    assert capture.devices[0x0038].domain == 0


def test_later_snapshot_is_the_first_with_the_changes_since():
    first, last = Capture.load(CAPTURES / "legacy39seq"), Capture.load(CAPTURES / "legacy39seq", epoch=7)
    changed = [hpa for hpa, page in last.pages.items() if first.pages.get(hpa) != page]
    with np.load(CAPTURES / "legacy39seq" / "tables.npz") as archive:
        newest = dict(zip(archive["e7_addr"].tolist(), archive["e7_data"], strict=True))
        touched = {hpa for step in range(1, 8) for hpa in archive[f"e{step}_addr"].tolist()}
    assert all(last.pages[hpa] == page.tobytes() for hpa, page in newest.items())
    assert changed
    assert set(changed) <= touched
    assert last.mappings != first.mappings
    assert last.probes == ()


def test_scalable_mode_is_refused_with_a_sentence(folder):
    def change(content):
        words = content["epochs"][0]["regs"]
        words["0x020"] = f"{int(words['0x020'], 16) | 1 << 10:#x}"
    edit_json(folder, change)
    with pytest.raises(CaptureUnsupported, match=r"hwpt48: its machine ran in translation table mode 1 \(1 is scalable"):
        Capture.load(folder)


@pytest.mark.parametrize("file", ["capture.json", "tables.npz", "mappings.csv.gz", "live.csv.gz", "probes.csv.gz"])
def test_missing_file_is_named(folder, file):
    (folder / file).unlink()
    with pytest.raises(CaptureMalformed, match=f"^{file}: must be there and complete"):
        Capture.load(folder)


@pytest.mark.parametrize("file", ["capture.json", "tables.npz", "mappings.csv.gz", "live.csv.gz", "probes.csv.gz"])
@pytest.mark.parametrize("keep", [0.0, 0.5, 0.95])
def test_file_cut_short_is_named(folder, file, keep):
    whole = (folder / file).read_bytes()
    (folder / file).write_bytes(whole[:int(len(whole) * keep)])
    with pytest.raises(CaptureMalformed, match=f"^{file}: "):
        Capture.load(folder)


@pytest.mark.parametrize(("change", "message"), [
    (lambda c: c.update(epochs=[]), "capture.json: epochs must be a list of at least one"),
    (lambda c: c.pop("epochs"), "capture.json: must have the key or column 'epochs'"),
    (lambda c: c["epochs"][0]["regs"].pop("0x00c"), "capture.json: must have the key or column '0x00c'"),
    (lambda c: c["epochs"][0].pop("domains"), "capture.json: must have the key or column 'domains'"),
    (lambda c: c["epochs"][0]["domains"][0].update(sltptr="0x777000"),
     "tables.npz: the LEVEL_4 page at 0x777000, named in capture.json, must be among the pages"),
    (lambda c: c["epochs"][0]["domains"][0].update(levels=3), "is of kind LEVEL_4, by capture.json it is LEVEL_3"),
    (lambda c: c["epochs"][0]["domains"].pop(), "mappings.csv.gz: line 2: domain 0 is not in capture.json"),
], ids=["no epochs", "no epochs key", "no CAP", "no domains", "top table missing", "wrong levels", "unknown domain"])
def test_description_that_contradicts_itself_is_refused(folder, change, message):
    edit_json(folder, change)
    with pytest.raises(CaptureMalformed, match=message):
        Capture.load(folder)


@pytest.mark.parametrize(("change", "message"), [
    (lambda a: a.update(data=a["data"][:-1]), "must have 4096 bytes per page"),
    (lambda a: a.update(data=a["data"][:, :-8]), "must have 4096 bytes per page"),
    (lambda a: a.update(addr=a["addr"] + np.uint64(8)), "must be a multiple of 0x1000"),
    (lambda a: a.update(kind=a["kind"] + np.uint8(20)), "is not a valid PageKind"),
    (lambda a: a.pop("kind"), "'kind"),
], ids=["a page less", "short pages", "unaligned", "unknown kind", "no kinds"])
def test_tables_that_break_a_rule_are_refused(folder, change, message):
    edit_tables(folder, change)
    with pytest.raises(CaptureMalformed, match=f"^tables.npz: .*{message}"):
        Capture.load(folder)


@pytest.mark.parametrize(("file", "line", "text", "message"), [
    ("mappings.csv.gz", 2, "0,0,zz,1000,RW,1000,1", "line 2: .*invalid literal"),
    ("mappings.csv.gz", 3, "0,0,1000", "line 3: "),
    ("live.csv.gz", 2, "0,0018,1000,2000,fff,perhaps", "line 2: state must be ok or inflight, not 'perhaps'"),
    ("probes.csv.gz", 4, "0018,1000,0,maybe,,,", "line 4: result must be ok, pass or fault, not 'maybe'"),
    ("probes.csv.gz", 4, "0018,1000,0,ok,,,", "line 4: a request with result ok must have an hpa"),
    ("probes.csv.gz", 1, "sid,where", "line 2: must have the key or column"),
])
def test_line_that_breaks_a_rule_is_named(folder, file, line, text, message):
    edit_lines(folder, file, lambda lines: lines.__setitem__(line - 1, text))
    with pytest.raises(CaptureMalformed, match=f"^{file}: {message}"):
        Capture.load(folder)


def test_snapshot_that_is_not_there_is_refused():
    with pytest.raises(CaptureMalformed, match=r"capture.json: epoch 3 was asked for, there are 1"):
        Capture.load(CAPTURES / "hwpt48", epoch=3)
