# amaranth: UnusedElaboratable=no
"""Whose turn it is: order, patience, and what stays offered."""

import pytest

from hw.lib.merge import Merge, Turn
from tests.hw.iommu.bench import run


def turns(ports, script):
    """What `Turn` chooses in each cycle of a script of (waiting, served)."""
    dut, chosen = Turn(ports=ports), []

    async def bench(ctx):
        for waiting, served in script:
            ctx.set(dut.waiting, waiting)
            ctx.set(dut.served, served)
            chosen.append(ctx.get(dut.chosen))
            await ctx.tick()

    run(dut, bench)
    return chosen


def test_those_that_wait_are_served_in_turn():
    assert turns(3, [(0b111, 1)] * 6) == [0b010, 0b100, 0b001] * 2


def test_nobody_is_chosen_when_nobody_waits_and_the_order_is_kept():
    assert turns(3, [(0b010, 1), (0, 1), (0, 0), (0b111, 1)]) == [0b010, 0, 0, 0b100]


def test_a_choice_stands_until_it_is_served_whoever_comes():
    assert turns(4, [(0b0001, 0), (0b1111, 0), (0b1111, 1), (0b1111, 1)]) == [0b0001, 0b0001, 0b0001, 0b0010]


def test_those_that_do_not_wait_are_passed_over():
    assert turns(4, [(0b1001, 1), (0b1001, 1), (0b1001, 1)]) == [0b1000, 0b0001, 0b1000]


@pytest.mark.parametrize("ports", [1, 2, 5, 8])
def test_one_alone_is_served_in_every_cycle(ports):
    assert turns(ports, [(1 << ports - 1, 1)] * 3) == [1 << ports - 1] * 3


def test_a_merge_gives_the_payload_of_the_chosen_and_readiness_to_nobody_else():
    dut = Merge(8, ports=3)
    seen = []

    async def bench(ctx):
        for index, port in enumerate(dut.i):
            ctx.set(port.payload, 0x11 << index)
        ctx.set(dut.i[0].valid, 1)
        ctx.set(dut.i[2].valid, 1)
        ctx.set(dut.o.ready, 1)
        for _ in range(2):
            seen.append((ctx.get(dut.o.payload), [ctx.get(port.ready) for port in dut.i]))
            await ctx.tick()

    run(dut, bench)
    assert seen == [(0x44, [0, 0, 1]), (0x11, [1, 0, 0])]


@pytest.mark.parametrize("block", [Turn, lambda ports: Merge(8, ports=ports)])
def test_no_port_at_all_is_refused(block):
    with pytest.raises(ValueError, match="ports must be at least 1, not 0"):
        block(ports=0)
