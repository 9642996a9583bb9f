"""Vectors of an independent implementation: the unit answers as recorded, save where that implementation is known to deviate."""
from functools import cache

import numpy as np
import pytest

from hw.spec.capabilities import STRAPS_DEFAULT
from hw.spec.codec import encode
from hw.spec.tables import ContextEntry, RootEntry
from sim.model.memory import Memory
from sim.runner import ROOT
from sim.stories.deviations import DEVIATIONS, Situation, deviation, rounds
from sim.stories.vector_file import Answer, Image, Vector, VectorFile
from sim.stories.vectors import replay_vectors
from sw.errors import CaptureMalformed, CaptureUnsupported

DATA = ROOT / "tests" / "data" / "real-tables"
WIDTHS = (39, 48)
TABLE_MODE, PASS_THROUGH, INTERRUPT, RESERVED = DEVIATIONS

# What the recording implementation answers otherwise, found by reading its tables, not by running anything.
DEVIANT_CASES = {
    "RTADDR TTM=01 without scalable support": (TABLE_MODE, 2),
    "RTADDR TTM=10": (TABLE_MODE, 2),
    "RTADDR TTM=11": (TABLE_MODE, 2),
    "context TT=2, iova beyond AW": (PASS_THROUGH, 2),
    "iova in interrupt range, mapped": (INTERRUPT, 2),
}


def directed(width):
    """Where the directed cases of one address width are."""
    return DATA / "directed" / f"directed_legacy_{width}.npz"


def random(width):
    """Where the random images of one address width are."""
    return DATA / "random" / f"random_legacy_{width}.npz"


def cases():
    """Every directed case there is, by width and name."""
    for width in WIDTHS:
        with np.load(directed(width), allow_pickle=False) as archive:
            yield from ((width, str(name)) for name in archive["name"])


@cache
def play(width):
    """The directed cases of one width, all in one simulation."""
    return replay_vectors(directed(width))


@pytest.fixture
def played(request):
    """What became of the directed cases of one width."""
    return play(request.param)


@pytest.mark.parametrize(("played", "name"), list(cases()), indirect=["played"])
def test_directed_case(played, name):
    """Address, page size, fault reason and record of a read and of a write."""
    kind, count = DEVIANT_CASES.get(name, (None, 0))
    case = played["cases"][name]
    assert [each for each in played["differences"] if each["image"] == name] == []
    assert case["deviate"] == count
    assert case["kinds"] == ([kind] if kind else [])
    assert case["agree"] == case["requests"] - count


@pytest.mark.parametrize(("width", "beyond_width"), [(39, 83), (48, 57)])
def test_random_images_agree(width, beyond_width):
    """The numbers of requests by which a pass-through device leaves the host's address width were counted in the files."""
    report = replay_vectors(random(width))
    assert report["differences"] == []
    assert report["requests"] == 12_000
    assert report["deviations"] == {PASS_THROUGH: beyond_width}
    assert report["agree"] == 12_000 - beyond_width
    assert report["model_differs"] == 0
    assert report["images"] == 40
    assert 0 < report["hits"] < report["requests"]


def spoiled(tmp_path, source, **changed):
    """A copy of a vector file with some of its arrays changed."""
    with np.load(source, allow_pickle=False) as archive:
        arrays = dict(archive)
    for name, change in changed.items():
        arrays[name] = change(arrays[name].copy())
    path = tmp_path / "spoiled.npz"
    np.savez_compressed(path, **arrays)
    return path


def test_one_wrong_answer_of_each_sort_is_found(tmp_path):
    """An address, a page size, a fault reason, a record that should not be, and one that is missing."""
    with np.load(directed(48), allow_pickle=False) as archive:
        first = {str(name): int(place) for name, place in zip(archive["name"], archive["first_probe"][:-1], strict=True)}
    wrong = {"good 4K RW": ("hpa", 0x801000), "2M page": ("mask", 0xFFF), "leaf not present": ("fault", 7),
             "FPD set, leaf not present": ("fault", 6), "root not present": ("fault", 0xFFFF)}

    def change(column):
        def changed(array):
            for name, (where, value) in wrong.items():
                if where == column:
                    array[first[name]] = value
            return array
        return changed

    path = spoiled(tmp_path, directed(48), **{column: change(column) for column in ("hpa", "mask", "fault")})
    report = replay_vectors(path)
    assert {each["image"] for each in report["differences"]} == set(wrong)
    assert report["differ"] == len(wrong)
    assert report["model_differs"] == 0


# --- the kinds of deviation, by hand ---

CONTEXT = dict(present=1, translation_type=0, address_width=2, second_stage_pointer=0x102, domain_id=1)
IOVA, INTERRUPT_IOVA, BEYOND = 0x1234_5000, 0xFEE0_1000, 1 << 57
ROOT_PAGE, CONTEXT_PAGE, SOURCE_ID = 0x100, 0x101, 0x18


def situation(context, vector, *, table_mode=0, reserved=0):
    """A machine with one device and no second-stage entry."""
    memory = Memory(limit=1 << 26)
    memory.write(ROOT_PAGE << 12, encode(RootEntry, present=1, context_table_pointer=CONTEXT_PAGE).to_bytes(16, "little"))
    entry = encode(ContextEntry, **context) | reserved
    memory.write((CONTEXT_PAGE << 12) + 16 * SOURCE_ID, entry.to_bytes(16, "little"))
    return Situation(STRAPS_DEFAULT, memory, Image("by hand", ROOT_PAGE << 12 | table_mode << 10, {}, (vector,)), vector)


def vector(iova, answer, *, hpa=0, fault_reason=None):
    """A read."""
    return Vector(SOURCE_ID, iova, False, answer, hpa, 0, fault_reason)


PASSING = CONTEXT | dict(translation_type=2)
HIDING = CONTEXT | dict(fault_processing_disable=1)


@pytest.mark.parametrize(("it", "kind"), [
    (situation(CONTEXT, vector(IOVA, Answer.BLOCKED, fault_reason=6), table_mode=3), TABLE_MODE),
    (situation(CONTEXT, vector(IOVA, Answer.BLOCKED, fault_reason=5), table_mode=3), None),
    (situation(CONTEXT, vector(IOVA, Answer.BLOCKED, fault_reason=6)), None),
    (situation(PASSING, vector(BEYOND, Answer.PASSED, hpa=BEYOND)), PASS_THROUGH),
    (situation(PASSING, vector(BEYOND, Answer.PASSED, hpa=BEYOND + 1)), None),
    (situation(CONTEXT, vector(BEYOND, Answer.PASSED, hpa=BEYOND)), None),
    (situation(CONTEXT, vector(INTERRUPT_IOVA, Answer.BLOCKED)), INTERRUPT),
    (situation(CONTEXT, vector(INTERRUPT_IOVA, Answer.BLOCKED, fault_reason=6)), None),
    (situation(CONTEXT, vector(IOVA, Answer.BLOCKED)), None),
    (situation(HIDING, vector(IOVA, Answer.BLOCKED, fault_reason=11), reserved=1 << 4), RESERVED),
    (situation(HIDING, vector(IOVA, Answer.BLOCKED, fault_reason=6)), None),
    (situation(HIDING, vector(IOVA, Answer.BLOCKED)), None),
])
def test_a_deviation_is_what_its_kind_says_and_nothing_near_it(it, kind):
    assert deviation(it) == kind


def test_a_domain_id_stands_for_one_set_of_tables_in_each_round():
    memory = Memory()
    memory.write(ROOT_PAGE << 12, encode(RootEntry, present=1, context_table_pointer=CONTEXT_PAGE).to_bytes(16, "little"))
    tables = {0x10: (1, 0x200), 0x11: (1, 0x201), 0x12: (1, 0x200), 0x13: (2, 0x201)}
    for source_id, (domain_id, pointer) in tables.items():
        entry = encode(ContextEntry, **CONTEXT | dict(domain_id=domain_id, second_stage_pointer=pointer))
        memory.write((CONTEXT_PAGE << 12) + 16 * source_id, entry.to_bytes(16, "little"))
    asked = [Vector(source_id, IOVA, False, Answer.BLOCKED, 0, 0, 6) for source_id in (0x10, 0x11, 0x12, 0x13, 0x20)]
    image = Image("by hand", ROOT_PAGE << 12, {}, tuple(asked))
    groups = rounds([Situation(STRAPS_DEFAULT, memory, image, each) for each in asked])
    assert [[it.vector.source_id for it in group] for group in groups] == [[0x10, 0x12, 0x13, 0x20], [0x11]]


# --- what is no vector file ---

def test_a_file_of_scalable_mode_is_refused_with_a_sentence(tmp_path):
    path = spoiled(tmp_path, directed(48), mode=lambda mode: np.array("scalable"))
    with pytest.raises(CaptureUnsupported, match="its machine ran in scalable mode; the unit has legacy mode only"):
        VectorFile.load(path)


@pytest.mark.parametrize(("column", "change", "rule"), [
    ("first_page", lambda places: places + 1, "first_page must ascend from 0 to 766"),
    ("first_probe", lambda places: places[:-1], "first_probe must ascend from 0 to 295"),
    ("iova", lambda rows: rows[:-1], "must be of one length"),
    ("page_data", lambda pages: pages[:, :-1], "page_data must have 4096 bytes"),
    ("result", lambda rows: rows + 7, "is not a valid Answer"),
])
def test_a_file_that_contradicts_itself_is_refused_with_the_rule(tmp_path, column, change, rule):
    with pytest.raises(CaptureMalformed, match=rule):
        VectorFile.load(spoiled(tmp_path, directed(48), **{column: change}))


def test_a_file_that_is_cut_short_is_refused(tmp_path):
    path = tmp_path / "short.npz"
    path.write_bytes(directed(48).read_bytes()[:1000])
    with pytest.raises(CaptureMalformed, match="must be a NumPy archive"):
        VectorFile.load(path)
