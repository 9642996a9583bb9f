"""`make demo`, as a person runs it; and what it promises, checked by lying to it."""
import copy
import json
import subprocess
import sys

import pytest

from sim.runner import ROOT
from sim.stories.story_report import Story, failures_of


@pytest.fixture(scope="module")
def demo(tmp_path_factory):
    folder = tmp_path_factory.mktemp("demo")
    done = subprocess.run([sys.executable, "-m", "sim.stories.demo", "--folder", str(folder)], cwd=ROOT, text=True,
                          capture_output=True, check=False)
    return done, json.loads((folder / "report.json").read_text()), folder


def test_the_demo_holds_what_it_promises(demo):
    done, _, _ = demo
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("name", ["blocked", "faulted", "wrong", "after_free"])
def test_the_swap_counts_nothing_but_old_and_new(demo, name):
    _, report, _ = demo
    assert report["atomic_swap"][name] == 0


def test_the_swap_has_no_blocked_window(demo):
    _, report, _ = demo
    assert report["atomic_swap"]["blocked_window_cycles"] == {"min": 0, "median": 0, "max": 0}


def test_every_dma_of_the_swap_is_old_or_new(demo):
    _, report, _ = demo
    swap = report["atomic_swap"]
    assert swap["old"] + swap["new"] == swap["dma_total"]


@pytest.mark.parametrize("story", [["break_before_make"], ["break_before_make", "warm"]])
def test_the_control_shows_its_window(demo, story):
    _, report, _ = demo
    for name in story:
        report = report[name]
    assert report["blocked"] > 0
    assert report["blocked_window_cycles"]["min"] > 0


@pytest.mark.parametrize("strategy", ["atomic_swap", "break_before_make"])
@pytest.mark.parametrize("key", [
    "dma_total", "old", "new", "blocked", "faulted", "wrong", "after_free", "replaced_devices", "swap_cycles",
    "blocked_window_cycles", "laws", "cycles", "cycles_per_second"])
def test_the_report_has_what_readers_rely_on(demo, strategy, key):
    _, report, _ = demo
    assert key in report[strategy]


@pytest.mark.parametrize("name", ["atomic_swap", "break_before_make_cold", "break_before_make_warm"])
def test_a_bounded_waveform_and_its_view_are_written(demo, name):
    waveform = demo[2] / f"{name}.vcd"
    assert 500 < waveform.stat().st_size < 1_000_000
    assert f'"{name}.vcd"' in waveform.with_suffix(".gtkw").read_text()


# --- the promises object to lies ---------------------------------------------------------------------------------------

_LAWS = {f"L{number}": {"title": "t", "status": "pass", "checks": 1, "violation_count": 0, "violations": []}
         for number in range(1, 10)}
_DEVICE = {"source_id": 0x18, "preserved": True, "old": 5, "new": 5, "blocked": 0, "faulted": 0, "wrong": 0,
           "after_free": 0, "error": 0, "issued": 10}
_STORE = {"source_id": 0x18, "exchange": True, "present": True, "commit_cycle": 100, "invalidated_cycle": 200,
          "walks_in_flight": 1, "hits_in_flight": 1}


NEW_KERNEL = {"replaced_devices": [{}], "zapped_devices": [1], "domains": [{"old_tables": [0x10000]}]}


def hitless_story():
    value = {"gap_dma": 3, "free_pages": [0x10], "devices": [_DEVICE], "stores": [_STORE], "laws": _LAWS, "windows": [],
             "dropped": [{"source_id": 0x300, "tried": 2, "blocked": 2}]}
    return Story("atomic_swap", "atomic_swap", {}, NEW_KERNEL,
                 copy.deepcopy(value), ROOT)


def breaking_story():
    story = hitless_story()
    story.value["devices"][0] |= {"blocked": 2, "faulted": 2}
    story.value["laws"]["L1"]["status"] = "fail"
    story.value["windows"] = [{"source_id": 0x18, "first_read": 90, "forgotten_cycle": 95}]
    return Story("break_before_make_cold", "break_before_make", {}, story.new, story.value, ROOT)


@pytest.mark.parametrize("story", [hitless_story(), breaking_story()])
def test_a_story_that_held_has_no_failures(story):
    assert failures_of(story) == []


@pytest.mark.parametrize(("change", "sentence"), [
    (lambda value: value["devices"][0].update(blocked=1), "1 DMAs were blocked"),
    (lambda value: value["devices"][0].update(faulted=1), "1 faults were raised"),
    (lambda value: value["devices"][0].update(wrong=1), "wrong is 1"),
    (lambda value: value["devices"][0].update(error=1), "error is 1"),
    (lambda value: value["devices"][0].update(after_free=1), "after_free is 1"),
    (lambda value: value["devices"][0].update(new=0), "no DMA was translated by the new tables"),
    (lambda value: value["devices"][0].update(old=0), "no DMA was translated by the old tables"),
    (lambda value: value["stores"][0].update(walks_in_flight=0), "no walk was in flight"),
    (lambda value: value["stores"][0].update(hits_in_flight=0), "no hit was in flight"),
    (lambda value: value["stores"][0].update(exchange=False), "not one compare-exchange"),
    (lambda value: value["stores"][0].update(invalidated_cycle=None), "was never invalidated"),
    (lambda value: value["dropped"][0].update(blocked=1), "was not preserved; of 2 DMAs 1 blocked"),
    (lambda value: value["laws"]["L3"].update(status="fail"), "L3 t: fail"),
    (lambda value: value["laws"]["L3"].update(status="not_checked"), "L3 t: not_checked"),
    (lambda value: value.update(gap_dma=0), "no DMA was done while no kernel ran"),
    (lambda value: value.update(free_pages=[]), "not every page of the old tables was freed and poisoned"),
    (lambda value: value.update(dropped=[]), "no device that was not preserved was let loose"),
])
def test_a_swap_that_was_not_hitless_is_told(change, sentence):
    story = hitless_story()
    change(story.value)
    assert any(sentence in failure for failure in failures_of(story))


@pytest.mark.parametrize(("change", "sentence"), [
    (lambda value: value["devices"][0].update(blocked=0, faulted=0), "the control shows nothing"),
    (lambda value: value["laws"]["L1"].update(status="pass"), "L1 t: pass, expected fail"),
    (lambda value: value["laws"]["L5"].update(status="fail"), "L5 t: fail, expected pass"),
    (lambda value: value["windows"][0].update(first_read=99), "the missing entry was first read in cycle 99"),
    (lambda value: value["windows"][0].update(first_read=None), "the missing entry was first read in cycle None"),
    (lambda value: value["windows"].clear(), "not every preserved device has its blocked window"),
])
def test_a_control_that_does_not_control_is_told(change, sentence):
    story = breaking_story()
    change(story.value)
    assert any(sentence in failure for failure in failures_of(story))
