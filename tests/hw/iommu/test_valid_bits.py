# amaranth: UnusedElaboratable=no
"""Valid bits with one side that sets and one that clears, against a set of places in Python."""

import random

import pytest

from hw.iommu.valid_bits import ValidBits
from tests.hw.iommu.request_path import simulate


@pytest.mark.parametrize(("sets", "ways"), [(2, 1), (4, 3)])
def test_bits_are_set_and_cleared_at_once_and_what_is_set_in_the_same_cycle_stays(sets, ways):
    dut = ValidBits(sets=sets, ways=ways)
    generator = random.Random(ways)

    async def bench(ctx):
        bits = [0] * sets
        for _ in range(500):
            filled_set, cleared_set = generator.randrange(sets), generator.randrange(sets)
            filled, cleared = generator.getrandbits(ways), generator.getrandbits(ways)
            ctx.set(dut.filled_set, filled_set)
            ctx.set(dut.filled, filled)
            ctx.set(dut.cleared_set, cleared_set)
            ctx.set(dut.cleared, cleared)
            for read_set in range(sets):
                for reader in range(2):
                    ctx.set(dut.read_set[reader], (read_set + reader) % sets)
                for reader in range(2):
                    assert ctx.get(dut.valid[reader]) == bits[(read_set + reader) % sets]
            bits[cleared_set] &= ~cleared
            bits[filled_set] |= filled
            await ctx.tick()

    simulate(dut, bench)
