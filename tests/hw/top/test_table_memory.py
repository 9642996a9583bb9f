# amaranth: UnusedElaboratable=no
"""Block-RAM memory: every access at one instant, in order, after a constant latency."""

import random

import pytest

from hw.spec.memory import MemoryOperation
from hw.top.table_memory import TableMemory
from tests.hw.iommu.bench import Listener, receive, run, send, wait

READ, WRITE, EXCHANGE = MemoryOperation.READ, MemoryOperation.WRITE, MemoryOperation.COMPARE_EXCHANGE
ALL_BYTES = 0xFFFF


def access(operation, hpa, *, data=0, expected=0, write_mask=ALL_BYTES, tag=0):
    """A memory request, as a dict."""
    return dict(operation=operation, hpa=hpa, data=data, expected=expected, write_mask=write_mask, tag=tag)


class Bench:
    """The memory, given requests back to back."""

    def __init__(self, **parameters):
        self.dut = TableMemory(**parameters)
        self.requests = Listener(self.dut.requests)
        self.replies = Listener(self.dut.replies)

    def run(self, *requests, pause=0):
        async def giver(ctx):
            for request in requests:
                await send(ctx, self.dut.requests, request)

        async def taker(ctx):
            for _ in requests:
                await receive(ctx, self.dut.replies)
                await wait(ctx, pause)

        run(self.dut, giver, taker, background=(self.requests.process, self.replies.process))
        return [(reply.tag, reply.error, reply.data) for reply in self.replies.payloads]


@pytest.mark.parametrize("latency", [2, 3, 7])
def test_replies_come_after_the_latency_one_per_cycle(latency):
    bench = Bench(depth_words=4, latency=latency)
    replies = bench.run(*(access(READ, 0, tag=tag) for tag in range(12)))
    assert [tag for tag, _, _ in replies] == list(range(12))
    assert bench.requests.cycles == list(range(bench.requests.cycles[0], bench.requests.cycles[0] + 12))
    assert bench.replies.cycles == [cycle + latency for cycle in bench.requests.cycles]


def test_an_access_sees_the_one_before_it_back_to_back():
    replies = Bench(depth_words=4).run(
        access(WRITE, 0x10, data=5),
        access(READ, 0x10),
        access(EXCHANGE, 0x10, expected=5, data=6),
        access(EXCHANGE, 0x10, expected=6, data=7),
        access(EXCHANGE, 0x10, expected=6, data=8),
        access(READ, 0x10),
    )
    assert [data for _, _, data in replies] == [0, 5, 5, 6, 7, 7]


def test_only_masked_bytes_are_written():
    old, new = 0x1111_1111_1111_1111_1111_1111_1111_1111, 0x2222_2222_2222_2222_2222_2222_2222_2222
    replies = Bench(depth_words=4).run(
        access(WRITE, 0, data=old), access(WRITE, 0, data=new, write_mask=0xF001), access(READ, 0)
    )
    assert replies[2][2] == 0x2222_2222_1111_1111_1111_1111_1111_1122


@pytest.mark.parametrize("hpa", [0x40, 0x1000, 1 << 51])
def test_addresses_outside_are_errors_and_change_nothing(hpa):
    replies = Bench(depth_words=4).run(
        access(WRITE, hpa, data=9),
        access(EXCHANGE, hpa, expected=0, data=9),
        access(READ, hpa),
        *(access(READ, 16 * word) for word in range(4)),
    )
    assert [error for _, error, _ in replies] == [1, 1, 1, 0, 0, 0, 0]
    assert [data for _, _, data in replies[3:]] == [0, 0, 0, 0]


def test_a_reserved_operation_is_an_error():
    replies = Bench(depth_words=4).run(access(MemoryOperation.RESERVED_3, 0, data=9), access(READ, 0))
    assert [error for _, error, _ in replies] == [1, 0]
    assert replies[1][2] == 0


@pytest.mark.parametrize("pause", [0, 1, 5])
def test_random_accesses_behave_like_a_list_whatever_the_back_pressure(pause):
    generator = random.Random(pause)
    words, expected, requests = [0] * 4, [], []
    for tag in range(120):
        word, value, compare = generator.randrange(4), generator.randrange(3), generator.randrange(3)
        operation = generator.choice([READ, WRITE, EXCHANGE])
        requests.append(access(operation, 16 * word, data=value, expected=compare, tag=tag))
        expected.append((tag, 0, words[word]))
        if operation == WRITE or (operation == EXCHANGE and words[word] == compare):
            words[word] = value
    assert Bench(depth_words=4, latency=4).run(*requests, pause=pause) == expected


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        (dict(depth_words=0), "depth_words must be at least 1, not 0"),
        (dict(depth_words=4, latency=1), "latency must be at least 2, not 1"),
    ],
)
def test_impossible_sizes_are_refused(parameters, message):
    with pytest.raises(ValueError, match=message):
        TableMemory(**parameters)
