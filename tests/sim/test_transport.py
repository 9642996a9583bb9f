"""The in-process transport: what it does to the machine, what it costs, what the judge sees of it."""
import pytest

from tests.sim.stand_in import in_simulator


@pytest.fixture(scope="module")
def seen():
    return in_simulator("the_transport_does_what_it_says", "the_judge_sees_memory_before_it_changes",
                        "costs_are_the_same_every_time").values


def test_stores_go_through_the_update_port(seen):
    assert seen["the_transport_does_what_it_says"]["operations"] == [
        ["COMPARE_EXCHANGE", 0x12345010], ["COMPARE_EXCHANGE", 0x12345010], ["WRITE", 0x12345028]]


def test_an_exchange_happens_only_on_the_expected_value_and_tells_what_was_there(seen):
    told = seen["the_transport_does_what_it_says"]
    assert told["observed"] == "1f1e1d1c1b1a19181716151413121110"
    assert told["observed_after"] == "ab" + "00" * 14 + "cd"  # the second, which expected 0, changed nothing
    expected = bytearray(range(64))
    expected[16:32] = b"\xcd" + bytes(14) + b"\xab"
    expected[40:48] = bytes.fromhex("8877665544332211")
    assert told["memory"] == expected.hex()


def test_memory_never_written_exchanges_as_zero(seen):
    assert seen["the_transport_does_what_it_says"]["fresh"] == [0, 5]


@pytest.mark.parametrize(("index", "refusal"), [
    (0, "RegisterRefused: a 8-byte read at 0x100"), (1, "RegisterRefused: a 8-byte write at 0x100"),
    (2, "ValueError: `offset` must be a multiple of 8"), (3, "ValueError: `width` must be 4 or 8 bytes, not 2"),
    (4, "ValueError: `value` must fit in 4 bytes, not 0x100000000"),
    (5, "MemoryRefused: STORE_64 at 0x7000"), (6, "ValueError: `hpa` must be a multiple of 8"),
    (7, "MemoryRefused: 0x10 bytes at hpa 0xffffffffffff8"),
])
def test_what_cannot_be_done_is_refused_by_name(seen, index, refusal):
    assert seen["the_transport_does_what_it_says"]["refusals"][index].startswith(refusal)


def test_the_judge_has_all_events_and_the_old_memory_before_a_write(seen):
    assert seen["the_judge_sees_memory_before_it_changes"] == [
        "read_register 0x0 width 8", "event REQUEST",  # drained before the next operation is told
        "write_memory 0x100 length 2", "0000 to 0102",
        "write_memory 0x100 length 2", "0102 to 0304",
        "pause 5"]


def test_every_operation_costs_the_same_cycles_each_time(seen):
    costs = seen["costs_are_the_same_every_time"]
    first, second = costs[:7], costs[7:]
    assert first == second
    assert first[:6] == [3, 3, 1, 1, 1, 17]  # a block of memory costs one cycle whatever its length
