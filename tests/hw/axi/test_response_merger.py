# amaranth: UnusedElaboratable=no
"""What the first piece of a burst has met reaches the burst's response, whenever the next piece gets its slot."""
import pytest

from hw.axi.response_merger import ResponseMerger
from hw.spec.axi import AxiResponse
from tests.hw.axi.bench import ID_BITS, drain
from tests.hw.iommu.bench import run, wait

FIRST, SECOND = 0, 1   # slots of the two pieces
OKAY, SLVERR, DECERR = AxiResponse.OKAY, AxiResponse.SLVERR, AxiResponse.DECERR


def joined(first, second, *, taken_after):
    """The response of a burst whose second piece gets its slot so many cycles after the first one's end."""
    dut, responses = ResponseMerger(slots=2, id_bits=ID_BITS), []

    async def bench(ctx):
        for name, value in (("last", 1 << SECOND), ("asked", 0b11), ("owned", 1), ("owner", FIRST)):
            ctx.set(getattr(dut, name), value)
        for cycle in range(-3, 8):
            ctx.set(dut.taken.valid, cycle == taken_after)
            ctx.set(dut.taken.slot, SECOND)
            ctx.set(dut.followers, (taken_after < cycle) << SECOND)
            ctx.set(dut.owner, FIRST if cycle <= 0 else SECOND)
            ctx.set(dut.memory_responses.valid, cycle in {0, 6})
            ctx.set(dut.memory_responses.payload, dict(id=0, resp=first if cycle == 0 else second))
            await ctx.tick()
        ctx.set(dut.memory_responses.valid, 0)
        await wait(ctx, 3)
    run(dut, bench, background=[drain(dut.responses, responses), drain(dut.retires, [])])
    response, = responses
    return response.resp


@pytest.mark.parametrize("taken_after", [-2, -1, 0, 1, 2])
@pytest.mark.parametrize(("first", "second", "worst"), [
    (OKAY, OKAY, OKAY), (SLVERR, OKAY, SLVERR), (OKAY, DECERR, DECERR), (DECERR, SLVERR, DECERR)])
def test_the_response_is_the_worst_of_both(first, second, worst, taken_after):
    assert joined(first, second, taken_after=taken_after) == worst


def test_what_one_burst_met_is_not_held_against_the_next_one():
    dut, responses = ResponseMerger(slots=2, id_bits=ID_BITS), []

    async def bench(ctx):
        for name, value in (("last", 0b11), ("asked", 0b11), ("owned", 1)):
            ctx.set(getattr(dut, name), value)
        for slot, resp in ((FIRST, DECERR), (SECOND, OKAY), (FIRST, OKAY)):
            ctx.set(dut.taken.valid, 1)
            ctx.set(dut.taken.slot, slot)
            await ctx.tick()
            ctx.set(dut.taken.valid, 0)
            ctx.set(dut.owner, slot)
            ctx.set(dut.memory_responses.payload, dict(id=0, resp=resp))
            ctx.set(dut.memory_responses.valid, 1)
            await ctx.tick()
            ctx.set(dut.memory_responses.valid, 0)
        await wait(ctx, 3)
    run(dut, bench, background=[drain(dut.responses, responses), drain(dut.retires, [])])
    assert [response.resp for response in responses] == [DECERR, OKAY, OKAY]
