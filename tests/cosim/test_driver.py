# amaranth: UnusedElaboratable=no
"""The driver on the unit itself: its queue works, stops, is set going again, and changes hands."""
import pytest

from sim.runner import run
from tests.cosim.driver_bench import EVENT_DATA, NEW_HPA, OLD_HPA

READ_PERMISSION = 0x06
CLEAN = {"protocol_errors": 0, "failure": "no failure"}


@pytest.fixture(scope="module")
def stories(player):
    """What came of each."""
    return run(player, "tests.cosim.driver_bench", seconds=120).value


@pytest.mark.parametrize("name", ["lifetime", "around the ring", "errors", "next kernel", "next kernel, frozen"])
def test_driver_breaks_no_rule_and_leaves_no_error_behind(stories, name):
    assert {key: stories[name][key] for key in CLEAN} == CLEAN


def test_device_lands_in_what_the_driver_says_as_soon_as_its_call_returns(stories):
    assert stories["lifetime"]["landed"] == [OLD_HPA, OLD_HPA, NEW_HPA, READ_PERMISSION]


def test_every_invalidation_of_a_lifetime_is_one_descriptor_and_one_wait(stories):
    """Enable: 1 + 1. Attach and replace: the IOTLB of a new ID each. Replace: 1 + 1. Release, unmap: one IOTLB each."""
    assert stories["lifetime"]["executed"] == {"CONTEXT_CACHE": 2, "IOTLB": 6, "WAIT": 8}


def test_fault_is_told_by_a_message_in_memory(stories):
    assert stories["lifetime"]["event"] == EVENT_DATA


def test_batch_longer_than_the_ring_is_executed_to_the_last(stories):
    assert stories["around the ring"]["executed"] == {"CONTEXT_CACHE": 0, "IOTLB": 600, "WAIT": 1}


def test_refused_descriptor_is_named_and_the_queue_runs_on(stories):
    assert stories["errors"]["refused"].startswith("DescriptorRefused: the unit refuses the descriptor in slot ")
    assert "(BAD_TYPE): RESERVED_15" in stories["errors"]["refused"]
    assert stories["errors"]["after refused"] == "done"


def test_device_that_fails_or_does_not_answer_is_named(stories):
    assert "DeviceTlbFailed: device 0x0018 answered" in stories["errors"]["ERROR"]
    assert "was aborted: device 0x0018 did not answer" in stories["errors"]["TIME_OUT"]
    assert stories["errors"]["DONE"] == "done"
    assert stories["errors"]["abandoned"] == 2   # once, and once more


@pytest.mark.parametrize("name", ["next kernel", "next kernel, frozen"])
def test_queue_changes_hands_and_dma_does_not_notice(stories, name):
    story = stories[name]
    assert story["landed"] == [OLD_HPA, OLD_HPA, READ_PERMISSION]
    assert story["untouched by adopt"]
    assert story["pages"]
    assert story["poison"]   # the old queue's page stays as it was freed


def test_what_the_old_kernel_had_queued_is_done_first(stories):
    assert stories["next kernel"]["done"] == {"IOTLB": 2, "WAIT": 1}


def test_what_an_error_kept_from_being_done_is_made_good_by_invalidating_everything(stories):
    assert stories["next kernel, frozen"]["done"] == {"CONTEXT_CACHE": 1, "IOTLB": 1, "WAIT": 1}
