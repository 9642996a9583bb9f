# amaranth: UnusedElaboratable=no
"""Pseudo-random words: the published sequence, and the same in hardware."""
from itertools import islice

import pytest
from amaranth.sim import Simulator

from hw.lib.lfsr import LFSR_BITS, Lfsr, words


def test_one_is_followed_by_what_paper_and_pencil_give():
    # 1 ^ 1<<13 = 0x2001; >>17 adds nothing; 0x2001 ^ 0x2001<<5 = 0x42021
    assert list(islice(words(1), 2)) == [1, 0x42021]


def test_the_published_sequence():
    # Marsaglia's own seed, as in the paper's listing.
    assert list(islice(words(2463534242), 1, 4)) == [723471715, 2497366906, 2064144800]


@pytest.mark.parametrize("seed", [1, 2463534242, (1 << LFSR_BITS) - 1])
def test_the_hardware_shows_the_same_words_and_waits_for_step(seed):
    dut = Lfsr(seed=seed)

    async def testbench(ctx):
        for expected in islice(words(seed), 50):
            assert ctx.get(dut.word) == expected
            await ctx.tick().repeat(2)
            assert ctx.get(dut.word) == expected
            ctx.set(dut.step, 1)
            await ctx.tick()
            ctx.set(dut.step, 0)

    simulator = Simulator(dut)
    simulator.add_clock(1e-6)
    simulator.add_testbench(testbench)
    simulator.run()


@pytest.mark.parametrize("seed", [0, -1, 1 << LFSR_BITS])
def test_a_seed_that_would_stand_still_is_refused(seed):
    with pytest.raises(ValueError, match="seed must be between 1"):
        Lfsr(seed=seed)
