# amaranth: UnusedElaboratable=no
"""The host inside the design: its list in order, its patience, what it shows."""

import pytest

from hw.top.built_in_host import BuiltInHost, Step, Watch
from tests.hw.iommu.bench import receive, run, wait


def play(steps, watches, answers):
    """The accesses that were made for these replies, (data, error), and what was shown after each: seen, refused, watching."""
    dut = BuiltInHost(steps=steps, watches=watches)
    accesses, shown = [], []

    async def port(ctx):
        for data, error in answers:
            request = await receive(ctx, dut.requests)
            accesses.append((request.write, request.wide, request.address, request.data))
            ctx.set(dut.replies.payload, {"data": data, "error": error})
            ctx.set(dut.replies.valid, 1)
            await ctx.tick().until(dut.replies.ready)
            ctx.set(dut.replies.valid, 0)
            await wait(ctx, 1)
            shown.append((ctx.get(dut.seen), ctx.get(dut.refused), ctx.get(dut.watching)))

    run(dut, port)
    return accesses, shown


def test_steps_are_played_in_order_and_then_the_watches_for_ever():
    steps = [Step(0x10, 0xABC), Step(0x14, 0x1, wide=False)]
    accesses, shown = play(steps, [Watch(0x100, 0x3), Watch(0x200, 0x4, wide=False)], [(0, 0)] * 6)
    assert accesses[:2] == [(1, 1, 0x10, 0xABC), (1, 0, 0x14, 0x1)]
    assert [access[:3] for access in accesses[2:]] == [(0, 1, 0x100), (0, 0, 0x200)] * 2
    assert [watching for _, _, watching in shown] == [0, 1, 1, 1, 1, 1]


def test_a_read_is_repeated_until_all_its_bits_are_set():
    accesses, _ = play([Step(0x1C, 0b110, write=False), Step(0x20, 1)], [Watch(0, 1)], [(0, 0), (0b100, 0), (0b111, 0), (0, 0)])
    assert [address for _, _, address, _ in accesses] == [0x1C, 0x1C, 0x1C, 0x20]


def test_a_watch_shows_its_last_read_and_only_the_bits_that_it_asks_for():
    _, shown = play([], [Watch(0, 0b010), Watch(8, 0b100)], [(0b101, 0), (0b100, 0), (0b010, 0), (0b011, 0)])
    assert [seen for seen, _, _ in shown] == [0b00, 0b10, 0b11, 0b01]


def test_an_error_is_never_forgotten():
    _, shown = play([Step(0, 0), Step(8, 0)], [Watch(0, 1)], [(0, 0), (0, 1), (0, 0)])
    assert [refused for _, refused, _ in shown] == [0, 1, 1]


def test_a_host_with_nothing_to_watch_is_refused():
    with pytest.raises(ValueError, match="watches must name at least one register, not none"):
        BuiltInHost(steps=[Step(0, 0)], watches=[])
