# amaranth: UnusedElaboratable=no
"""The host's address map: who is asked, with which address, and whose answer comes back."""
import pytest

from hw.top.host_decoder import HostDecoder
from tests.hw.iommu.bench import receive, run, send, wait

BASES = (0x00000, 0x10000, 0x20000)


async def answer(ctx, dut, index, data):
    """Be one target: take an access, wait a little, answer."""
    access = await receive(ctx, dut.targets[index])
    await wait(ctx, 3)
    await send(ctx, dut.target_replies[index], {"data": data, "error": 0})
    return access


@pytest.mark.parametrize(("address", "target", "relative"), [
    (0x00000, 0, 0x00000), (0x0FFF8, 0, 0x0FFF8), (0x10000, 1, 0x00000), (0x10028, 1, 0x00028),
    (0x20000, 2, 0x00000), (0x4FFF8, 2, 0x2FFF8)])
def test_an_access_reaches_the_block_below_it_with_a_relative_address(address, target, relative):
    dut = HostDecoder(bases=BASES)
    seen = []

    async def host(ctx):
        await send(ctx, dut.accesses, {"write": 1, "wide": 1, "address": address, "data": 0x55})
        reply = await receive(ctx, dut.replies)
        assert reply.data == 0xA0 + target

    async def block(ctx):
        seen.append(await answer(ctx, dut, target, 0xA0 + target))

    run(dut, host, block)
    assert (seen[0].address, seen[0].write, seen[0].wide, seen[0].data) == (relative, 1, 1, 0x55)


def test_the_next_access_waits_for_the_answer_of_the_one_before():
    dut = HostDecoder(bases=BASES)
    order = []

    async def host(ctx):
        await send(ctx, dut.accesses, {"address": 0x10000})
        await send(ctx, dut.accesses, {"address": 0x20000})
        order.append("second taken")

    async def first(ctx):
        await answer(ctx, dut, 1, 1)
        order.append("first answered")

    async def second(ctx):
        await answer(ctx, dut, 2, 2)

    async def replies(ctx):
        assert (await receive(ctx, dut.replies)).data == 1
        assert (await receive(ctx, dut.replies)).data == 2

    run(dut, host, first, second, replies)
    assert order == ["first answered", "second taken"]


@pytest.mark.parametrize("bases", [(), (0x1000,), (0, 0), (0, 0x2000, 0x1000)])
def test_bases_that_do_not_ascend_from_zero_are_refused(bases):
    with pytest.raises(ValueError, match="bases must ascend from 0, not"):
        HostDecoder(bases=bases)
