# amaranth: UnusedElaboratable=no
"""Lists of waiters, one rule at a time. Expected order and flags are worked by hand."""

import pytest

from hw.iommu.waiter_lists import WaiterLists
from tests.hw.iommu.waiter_bench import WaiterBench


def play(*steps, lists=4, places=8):
    """Spend a cycle on each of the steps (inputs); what was current and what was selected in each, and one cycle later."""
    bench = WaiterBench(lists=lists, places=places)
    seen, selected, closing = [], [], []

    async def testbench(ctx):
        for inputs in (*steps, {}):
            bench.drive(ctx, **inputs)
            seen.append(bench.current(ctx))
            selected.append(bench.selected(ctx))
            closing.append(ctx.get(bench.dut.closing))
            await ctx.tick()

    bench.run(testbench)
    return seen, selected, closing


def begins(number, payload=None):
    return dict(append=(number, payload, 1))


def joins(number, payload):
    return dict(append=(number, payload, 0))


TAKE, BACK, NOTHING = dict(advance=1), dict(again=1), dict()


def test_a_list_that_is_finished_while_nothing_is_current_is_current_in_the_next_cycle():
    seen, selected, closing = play(begins(2, 7), dict(finish=2), NOTHING, TAKE)
    assert seen == [None, None, "list 2: 7 first fresh last", "list 2: 7 first fresh last", None]
    assert selected == [None, 2, None, None, None]
    assert closing == [0, 0, 0b100, 0b100, 0]


def test_waiters_of_one_list_follow_one_another_without_a_bubble():
    seen, selected, closing = play(begins(1, 7), joins(1, 8), joins(1, 9), dict(finish=1), TAKE, TAKE, TAKE)
    assert seen[4:] == ["list 1: 7 first fresh", "list 1: 8", "list 1: 9 last", None]
    assert selected == [None, None, None, 1, None, None, None, None]
    assert closing[4:] == [0, 0, 0b10, 0]


def test_finished_lists_follow_one_another_without_a_bubble_and_in_order():
    seen, selected, _ = play(
        begins(3, 7), begins(1, 8), begins(0, 9), begins(2, 10),
        dict(finish=1), dict(finish=3), dict(finish=0), TAKE, TAKE | dict(finish=2), TAKE, TAKE,
    )  # fmt: skip
    assert seen[5:] == [f"list {number}: {payload} first fresh last" for number, payload in
                        [(1, 8)] * 3 + [(3, 7), (0, 9), (2, 10)]] + [None]  # fmt: skip
    assert selected[4:] == [1, None, None, 3, 0, 2, None, None]


def test_a_finish_in_the_cycle_in_which_the_last_list_ends_is_selected_at_once():
    seen, selected, _ = play(begins(3, 7), begins(1, 8), dict(finish=3), TAKE | dict(finish=1))
    assert seen[3:] == ["list 3: 7 first fresh last", "list 1: 8 first fresh last"]
    assert selected[2:] == [3, 1, None]


@pytest.mark.parametrize("cycle", range(3))
def test_who_joins_around_the_finish_is_answered_with_the_list(cycle):
    steps = [NOTHING, dict(finish=0), NOTHING]
    steps[cycle] = steps[cycle] | joins(0, 9)
    seen, _, _ = play(begins(0, 7), joins(0, 6), *steps, TAKE, TAKE, TAKE)
    assert seen[5:] == ["list 0: 7 first fresh", "list 0: 6", "list 0: 9 last", None]


def test_who_joins_while_the_last_but_one_is_answered_comes_without_a_bubble():
    seen, _, closing = play(
        begins(0, 7), joins(0, 8), dict(finish=0), TAKE | joins(0, 9), TAKE | joins(0, 10), TAKE, TAKE
    )
    assert seen[3:] == ["list 0: 7 first fresh", "list 0: 8", "list 0: 9", "list 0: 10 last", None]
    assert closing[3:] == [0, 0, 0, 1, 0]


def test_a_list_that_is_sent_back_goes_on_from_the_current_waiter_and_all_are_fresh():
    seen, selected, _ = play(
        begins(0, 7), joins(0, 8), joins(0, 9), dict(finish=0), TAKE, BACK,
        joins(0, 10), dict(finish=0), TAKE, TAKE, TAKE,
    )  # fmt: skip
    assert seen[4:8] == ["list 0: 7 first fresh", "list 0: 8", None, None]
    assert seen[8:] == ["list 0: 8 first fresh", "list 0: 9 fresh", "list 0: 10 last", None]
    assert selected[7] == 0


def test_a_list_may_be_sent_back_again_and_again():
    seen, _, _ = play(
        begins(0, 7), joins(0, 8), joins(0, 9), dict(finish=0), BACK, dict(finish=0), TAKE, BACK, joins(0, 10),
        dict(finish=0), TAKE, BACK, dict(finish=0), TAKE, TAKE,
    )  # fmt: skip
    assert [line for line in seen if line is not None] == [
        "list 0: 7 first fresh",
        "list 0: 7 first fresh", "list 0: 8 fresh",
        "list 0: 8 first fresh", "list 0: 9 fresh",
        "list 0: 9 first fresh", "list 0: 10 fresh last",
    ]  # fmt: skip


def test_who_joins_in_the_cycle_of_again_is_not_fresh():
    seen, _, _ = play(begins(0, 7), joins(0, 8), dict(finish=0), BACK | joins(0, 9), dict(finish=0), TAKE, TAKE, TAKE)
    assert seen[5:] == ["list 0: 7 first fresh", "list 0: 8 fresh", "list 0: 9 last", None]


def test_after_again_the_next_finished_list_follows_without_a_bubble():
    seen, selected, _ = play(begins(0, 7), begins(1, 8), dict(finish=0), dict(finish=1), BACK, TAKE, dict(finish=0))
    assert seen[4:] == ["list 0: 7 first fresh last", "list 1: 8 first fresh last", None, "list 0: 7 first fresh last"]
    assert selected[4:] == [1, None, 0, None]


def test_nothing_is_answered_or_sent_back_while_nobody_is_current():
    seen, _, _ = play(
        begins(1, 6), begins(0, 7), joins(0, 8), BACK, TAKE, dict(finish=0), BACK, BACK | joins(0, 9), BACK,
        dict(finish=0), TAKE, TAKE, TAKE,
    )  # fmt: skip
    assert seen[6:10] == ["list 0: 7 first fresh", None, None, None]
    assert seen[10:] == ["list 0: 7 first fresh", "list 0: 8 fresh", "list 0: 9 last", None]


def test_being_sent_back_is_forgotten_when_the_list_begins_anew():
    seen, _, _ = play(
        begins(0, 7), joins(0, 8), dict(finish=0), BACK, dict(finish=0), TAKE, TAKE | begins(0, 9), joins(0, 10),
        dict(finish=0), TAKE, TAKE,
    )  # fmt: skip
    assert seen[9:] == ["list 0: 9 first fresh", "list 0: 10 last", None]


def test_a_lonely_list_has_one_turn_in_which_nobody_is_answered_and_nobody_may_join():
    seen, _, closing = play(begins(2), dict(finish=2), NOTHING, TAKE)
    assert seen[2:] == ["list 2: first last lonely"] * 2 + [None]
    assert closing[1:] == [0, 0b100, 0b100, 0]


def test_who_joins_a_lonely_list_is_not_fresh_and_the_list_is_lonely_no_more():
    seen, _, closing = play(begins(2), joins(2, 7), joins(2, 8), dict(finish=2), TAKE, TAKE)
    assert seen[4:] == ["list 2: 7 first", "list 2: 8 last", None]
    assert closing[4:] == [0, 0b100, 0]


def test_who_joins_a_lonely_list_in_the_cycle_of_its_finish_is_current_one_cycle_late():
    seen, selected, closing = play(begins(2), dict(finish=2) | joins(2, 7), joins(2, 8), TAKE, TAKE)
    assert seen[2:] == [None, "list 2: 7 first", "list 2: 8 last", None]
    assert selected == [None, 2, None, None, None, None]
    assert closing[2:] == [0, 0, 0b100, 0]


def test_another_finish_waits_while_a_lonely_list_is_late():
    seen, selected, _ = play(begins(2), begins(1, 9), dict(finish=2) | joins(2, 7), dict(finish=1), NOTHING, TAKE, TAKE)
    assert seen[3:] == [None] + ["list 2: 7 first last"] * 2 + ["list 1: 9 first fresh last", None]
    assert selected[2:] == [2, None, None, 1, None, None]


def test_a_lonely_list_that_is_sent_back_may_be_joined():
    seen, _, _ = play(begins(2), dict(finish=2), BACK, joins(2, 7), dict(finish=2), TAKE)
    assert seen[5:] == ["list 2: 7 first last", None]


def test_room_ends_with_the_last_place_and_returns_with_each_that_is_left():
    bench = WaiterBench(lists=2, places=3)
    room = []

    async def testbench(ctx):
        for step in (
            begins(0, 1), joins(0, 2), joins(0, 3), begins(1), dict(finish=0), TAKE, NOTHING, NOTHING,
            joins(0, 4), NOTHING,
        ):  # fmt: skip
            bench.drive(ctx, **step)
            room.append(ctx.get(bench.dut.room))
            await ctx.tick()

    bench.run(testbench)
    assert room == [1, 1, 1, 0, 0, 0, 0, 1, 1, 0]


def test_a_list_that_is_joined_as_fast_as_it_is_drained_closes_after_as_many_answers_as_there_are_places():
    places = 5
    bench = WaiterBench(lists=2, places=places)
    answers = []

    async def testbench(ctx):
        for step in (begins(0, 0), joins(0, 1), begins(1, 99), dict(finish=0), dict(finish=1)):
            await bench.step(ctx, **step)
        payload = 2
        while bench.current(ctx) is not None and len(answers) < 50:
            answers.append(ctx.get(bench.dut.current.payload))
            open_for_all = not ctx.get(bench.dut.closing) & 1 and ctx.get(bench.dut.room) and answers[-1] != 99
            await bench.step(ctx, advance=1, **(joins(0, payload) if open_for_all else {}))
            payload += open_for_all

    bench.run(testbench)
    assert answers == [*range(places + 2), 99]


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        (dict(lists=0, places=8), "lists must be between 1 and 64, not 0"),
        (dict(lists=65, places=8), "lists must be between 1 and 64, not 65"),
        (dict(lists=1, places=1), "places must be between 2 and 512, not 1"),
        (dict(lists=1, places=513), "places must be between 2 and 512, not 513"),
    ],
)
def test_impossible_sizes_are_refused(parameters, message):
    with pytest.raises(ValueError, match=message):
        WaiterLists(8, **parameters)
