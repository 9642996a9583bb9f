"""What `make test` leaves out is a sample by rule and a table by name, and the rest is all there."""
from tests.deferred import deferred

BLOCK, ELSEWHERE = "tests/hw/test_a.py::test_b", "tests/sim/test_a.py::test_b"


def sets(function, count):
    return [f"{function}[{number}]" for number in range(count)]


def test_of_many_parameter_sets_of_a_block_every_fourth_is_kept():
    ids = sets(BLOCK, 9)
    assert deferred(ids) == set(ids) - {ids[0], ids[4], ids[8]}


def test_of_few_all_are_kept_and_so_is_what_has_none_and_what_is_no_block():
    ids = [*sets(BLOCK, 3), "tests/hw/test_a.py::test_c", *sets(ELSEWHERE, 9)]
    assert deferred(ids) == set()


def test_what_the_table_names_is_left_out_wherever_it_is():
    named = "tests/formal/test_stream.py::test_broken_queue_is_refuted[doubles]"
    assert deferred([named, named.replace("doubles", "loses")]) == {named}
