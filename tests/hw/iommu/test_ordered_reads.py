# amaranth: UnusedElaboratable=no
"""Many reads at a time, whose words leave in the order of the addresses."""

import random

import pytest

from hw.iommu.ordered_reads import OrderedReads
from tests.hw.iommu.bench import Listener, run
from tests.hw.iommu.memory_mock import MemoryMock

DEPTH = 8


def words(memory, addresses):
    """Store a different word at each address."""
    for address in addresses:
        memory.store(address, address * 0x1_0000_0001 + 1, 16)


def read_all(addresses, memory, *, word_bits=128, depth=DEPTH, ready_percent=100, seed=0):
    """Read addresses as fast as they are taken; the block, and a listener to its quanta."""
    dut = OrderedReads(word_bits=word_bits, depth=depth)
    quanta, taken = Listener(dut.quanta), Listener(dut.addresses)
    generator = random.Random(seed)

    async def bench(ctx):
        left, under_way = list(addresses), 0
        while len(quanta) < len(addresses):
            ctx.set(dut.addresses.valid, bool(left))
            if left:
                ctx.set(dut.addresses.payload, left[0])
            ctx.set(dut.quanta.ready, generator.randrange(100) < ready_percent)
            assert ctx.get(dut.level) == under_way <= depth
            _, _, gone, given = await ctx.tick().sample(
                dut.addresses.valid & dut.addresses.ready, dut.quanta.valid & dut.quanta.ready)
            under_way += gone - given
            left = left[gone:]
        ctx.set(dut.addresses.valid, 0)
        await ctx.tick()
        assert ctx.get(dut.level) == 0

    replies = memory.process(dut.memory_requests, dut.memory_replies)
    run(dut, bench, background=(replies, quanta.process, taken.process), cycles=5_000)
    return quanta, taken


@pytest.mark.parametrize("word_bits", [128, 512])
@pytest.mark.parametrize("seed", range(4))
def test_words_leave_in_the_order_of_the_addresses_whatever_the_order_of_the_replies(seed, word_bits):
    addresses = [16 * number for number in random.Random(seed).sample(range(1000), 60)]
    memory = MemoryMock(word_bits=word_bits, latency=(1, 20), reorder=True, ready_percent=70, seed=seed)
    words(memory, addresses)
    memory.refuse(addresses[7])
    quanta, _ = read_all(addresses, memory, word_bits=word_bits, ready_percent=60, seed=seed)
    assert [quantum.refused for quantum in quanta.payloads] == [number == 7 for number in range(60)]
    kept = [quantum.data for quantum in quanta.payloads]
    assert kept[:7] + kept[8:] == [memory.load(address, 16) for address in addresses[:7] + addresses[8:]]


def test_there_is_one_read_per_cycle_and_a_word_leaves_in_the_cycle_after_its_reply():
    memory = MemoryMock(latency=(5, 5))
    quanta, taken = read_all([16 * number for number in range(20)], memory, depth=8)
    assert taken.cycles == [*range(20)]
    assert quanta.cycles == [number + 1 + 5 + 1 for number in range(20)]


def test_no_more_are_read_than_there_are_slots():
    memory = MemoryMock(latency=(20, 20))
    _, taken = read_all([16 * number for number in range(6)], memory, depth=4)
    assert taken.cycles[:4] == [0, 1, 2, 3]
    assert taken.cycles[4] > 20


@pytest.mark.parametrize("depth", [0, 1, 6, 512])
def test_impossible_depths_are_refused(depth):
    with pytest.raises(ValueError, match=f"depth must be a power of two between 2 and 256, not {depth}"):
        OrderedReads(word_bits=128, depth=depth)
