"""What `make bench` leaves: rows with all that was asked for, peers where the contract is the same, tables and plots."""
import io
import json
import math

import pytest
from rich.console import Console

from sim.measure.case import Case
from sim.measure.peers import PEERS, peer_figures
from sim.measure.plots import draw
from sim.measure.result import REQUIRED, Better, Result, missed, read_report, write_report
from sim.measure.table import tables_of


def result(name="W1 hit_throughput", **fields):
    return Result(**{"name": name, "latency": 20, "word_bits": 128, "slots": 16, "levels": 4, "seed": 7, "value": 0.5,
                     "unit": "requests/cycle", "better": Better.HIGHER, "bound": 1.0, "target": 0.4, "command": "make bench",
                     **fields})


def test_a_row_has_everything_that_was_asked_for(tmp_path):
    write_report(tmp_path / "report.json", [result()])
    row, = read_report(tmp_path / "report.json")
    assert set(REQUIRED) == {"name", "latency", "word_bits", "value", "bound", "ratio", "unit", "target", "met"}
    expected = {"name": "W1 hit_throughput", "latency": 20, "word_bits": 128, "value": 0.5, "bound": 1.0, "ratio": 0.5,
                "unit": "requests/cycle", "target": 0.4, "met": True, "seed": 7, "slots": 16, "levels": 4,
                "command": "make bench", "workload": "W1", "variant": "", "better": "higher"}
    assert {key: row[key] for key in expected} == expected


@pytest.mark.parametrize(("fields", "ratio", "met"), [
    ({"value": 0.3}, 0.3, False),
    ({"value": 28, "bound": 21, "target": 28, "better": Better.LOWER}, 0.75, True),
    ({"value": 29, "bound": 21, "target": 28, "better": Better.LOWER}, 21 / 29, False),
    ({"value": 0, "bound": 0, "target": 0, "better": Better.LOWER}, None, True),
    ({"value": 9, "bound": None, "target": None}, None, True),
])
def test_a_ratio_is_one_at_the_bound_whichever_way_is_better(fields, ratio, met):
    subject = result(**fields)
    assert subject.ratio == (None if ratio is None else pytest.approx(ratio))
    assert subject.met is met
    assert missed([subject]) == ([] if met else [subject])


@pytest.mark.parametrize("number", [math.nan, math.inf])
def test_what_is_no_number_is_no_figure(number):
    with pytest.raises(ValueError, match="`value` must be a finite number"):
        result(value=number)


@pytest.mark.parametrize(("change", "message"), [
    ({"met": False}, "says met=False"), ({"unit": None}, None), ({"target": 0.6}, "says met=True")])
def test_a_report_that_contradicts_itself_is_refused(tmp_path, change, message):
    place = tmp_path / "report.json"
    place.write_text(json.dumps([result().as_row() | change]))
    if message is None:
        row, = json.loads(place.read_text())
        del row["unit"]
        place.write_text(json.dumps([row]))
        message = "has no unit"
    with pytest.raises(ValueError, match=message):
        read_report(place)


def test_a_peer_stands_beside_the_same_workload_at_the_same_latency():
    assert [str(each) for each in peer_figures("W5 victim_rate", 20, "p = 10 %")] == ["ZDL 8.91"]
    assert peer_figures("W5 victim_rate", 100, "p = 10 %") == ()
    assert [each.value for each in peer_figures("W2 warm_walk", 100, "3 levels")] == [306]
    assert peer_figures("W2 warm_walk", 20, "4 levels") == ()
    assert {str(each) for each in peer_figures("W1 hit_throughput", 400, "")} == {"ZDL 0.333", "BJL 0.111"}


def test_every_figure_of_a_peer_says_which_commit_and_when():
    assert all(each.peer.commit and len(each.peer.date) == 10 and each.mark == "M" for each in PEERS)


def test_the_table_shows_what_is_missed_and_what_others_reach():
    console = Console(width=150, file=io.StringIO())
    for table in tables_of([result(value=0.3), result("W2 warm_walk", latency=400)]):
        console.print(table)
    text = console.file.getvalue()
    assert "hit_throughput" in text
    assert "NO" in text
    assert "ZDL 0.333, BJL 0.111" in text
    assert "W2" in text


# --- plots ---

def case(bench, **fields):
    return Case(bench=bench, **{"latency": 20, "word_bits": 128, **fields})


def test_every_plot_is_drawn_as_a_picture_and_as_a_drawing(tmp_path):
    results = [result("W3 random_4k", slots=slots, latency=latency, value=0.4, bound=0.5)
               for slots in (8, 16) for latency in (20, 100)]
    samples = [[cycle, cycle] for cycle in range(0, 1000, 50)]
    observed = {
        case("replacement", option=0): {"samples": samples, "commit": 400, "end": 600, "verdicts": {"blocked": 0}},
        case("replacement", option=1): {"samples": samples, "commit": 400, "end": 700, "verdicts": {"blocked": 9}},
        case("hit_throughput"): {"histogram": [0, 0, 0, 10]},
        case("victim", option=5): {"all": {}, "victim": {"histogram": [0, 0, 0, 10, 1]}},
    }
    names = ("throughput-slots", "throughput-latency", "throughput-replacement", "latency-distribution")
    assert [path.name for path in draw(results, observed, tmp_path)] == [
        f"{name}{suffix}" for name in names for suffix in (".png", ".svg")]
    assert all(path.stat().st_size > 5_000 for path in tmp_path.iterdir())


def test_what_there_are_no_figures_for_is_not_drawn(tmp_path):
    assert draw([result()], {}, tmp_path) == []
    assert draw([result("W3 random_4k")], {}, tmp_path) == []
