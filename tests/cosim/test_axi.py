# amaranth: UnusedElaboratable=no
"""The wrapped unit, between the masters and memories of cocotbext-axi."""
import pytest

from hw.spec.faults import FaultReason
from sim.axi import axi_attachment
from sim.runner import SimulationFailed, build, run
from tests.cosim.axi_top import BUSES, AxiBenchTop, Fickle

SLVERR = 2


@pytest.fixture(scope="module")
def simulator():
    """The unit between Python's ends."""
    top = AxiBenchTop()
    return build(top, "axi_bench_top", attachments=[axi_attachment(top, BUSES)])


@pytest.fixture(scope="module")
def stories(simulator):
    """What came of each."""
    return run(simulator, "tests.cosim.axi_bench", seconds=300).values


# --- random traffic ------------------------------------------------------------------------------------------------------

@pytest.mark.parametrize("name", ["free", "with pauses"])
def test_random_dma_lands_where_the_tables_say_and_nothing_else_changes(stories, name):
    story = stories["random_traffic"][name]
    assert story["wrong"] == []
    assert story["memory as it must be"]
    assert min(story["reads"], story["writes"], story["blocked"]) > 20


def test_blocked_dma_leaves_fault_records(stories):
    assert stories["random_traffic"]["faults pending"] == 1
    assert stories["random_traffic"]["fault record"] == 1


def test_a_lie_about_the_tables_is_found_in_what_is_read_and_in_memory(stories):
    assert stories["random_traffic"]["lie"]["wrong"] > 0
    assert not stories["random_traffic"]["lie"]["memory as it must be"]


def test_after_a_reset_under_traffic_everything_works_as_at_first(stories):
    story = stories["reset_under_traffic"]
    assert story["under way"]
    assert story["off"] == 0
    assert story["wrong"] == []
    assert story["memory as it must be"]
    assert story["reads"] + story["writes"] > 40


# --- kinds of bursts -----------------------------------------------------------------------------------------------------

@pytest.mark.parametrize("name", ["off", "wrap", "fixed", "wrapped write"])
def test_bursts_of_every_type_reach_what_they_name(stories, name):
    assert stories["kinds_of_bursts"][name]


def test_a_message_to_the_interrupt_window_goes_out_untranslated_and_says_whose_it_is(stories):
    assert stories["kinds_of_bursts"]["interrupt"] == {
        "resp": 0, "addr": 0xFEE0_1004, "interrupt": 1, "source_id": 0x0008, "data": "31400000"}


def test_what_is_no_dma_is_blocked_with_its_reason(stories):
    story = stories["kinds_of_bursts"]
    assert (story["read of the interrupt window"], story["pasid"]) == (SLVERR, SLVERR)
    assert story["reasons"] == [FaultReason.ADDRESS_BEYOND_WIDTH, FaultReason.PASID_IN_LEGACY_MODE]
    assert story["record's pasid"] == 0x54321


def test_registers_and_monitor_answer_and_nothing_else_does(stories):
    assert (stories["kinds_of_bursts"]["no register"], stories["kinds_of_bursts"]["monitor"]) == (SLVERR, 0)


def test_each_page_of_a_burst_across_pages_is_treated_by_its_own_permissions(stories):
    """8 beats, 4 in each page; the response is the worst of the two, reads tell it beat by beat."""
    story = stories["bursts_across_pages"]
    assert [case["permissions"] for case in story] == [
        [[1, 1], [1, 1]], [[1, 1], [1, 1]], [[1, 1], [1, 0]], [[1, 0], [0, 1]], [[0, 0], [1, 1]]]
    assert [case["response"] for case in story] == [0, 0, SLVERR, SLVERR, SLVERR]
    assert all(case["read"] and case["written"] for case in story)


# --- a replacement -------------------------------------------------------------------------------------------------------

def test_a_domain_changes_under_dma_with_no_error_and_no_access_to_the_old_page_after_the_wait(stories):
    """Reads and writes never stop; the old page is poisoned when the wait's status is in memory."""
    story = stories["domain_change"]
    assert story["responses"] == [0]
    assert story["values"] == [0x0A, 0x0B]
    assert story["mixed"] == []
    assert min(story["old ones"], story["new ones"]) > 20
    assert story["old after completion"] == 0
    assert story["old page untouched"]
    assert story["new page written"]


# --- the check of channels -----------------------------------------------------------------------------------------------

@pytest.mark.parametrize(("what", "sentence"), [
    (Fickle.VALID, "fickle_bvalid fell before fickle_bready"), (Fickle.PAYLOAD, "fickle_b changed before fickle_bready")])
def test_a_channel_that_does_not_stand_by_its_offer_ends_the_simulation(simulator, what, sentence):
    with pytest.raises(SimulationFailed, match=sentence):
        run(simulator, "tests.cosim.axi_channel_bench", config=what.value, seconds=60)


def test_a_channel_that_stands_by_its_offer_does_not(simulator):
    run(simulator, "tests.cosim.axi_channel_bench", config=Fickle.NOTHING.value, seconds=60)


def test_a_bus_that_the_component_does_not_have_is_refused():
    with pytest.raises(ValueError, match="the component has no bus s_other"):
        axi_attachment(AxiBenchTop(), ("s_dma", "s_other"))
