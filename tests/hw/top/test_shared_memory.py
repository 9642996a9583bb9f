# amaranth: UnusedElaboratable=no
"""One memory behind two ports: each sees what the other stored, each gets its own replies in its own order."""

import random

from hw.spec.memory import MemoryOperation
from hw.top.shared_memory import SharedMemory
from tests.hw.iommu.bench import Listener, receive, run, send, wait
from tests.hw.top.test_table_memory import access

READ, WRITE, EXCHANGE = MemoryOperation.READ, MemoryOperation.WRITE, MemoryOperation.COMPARE_EXCHANGE


def play(*scripts, pauses=(0, 0), init=()):
    """Each port sends its requests back to back and takes the replies, pausing after each."""
    dut = SharedMemory(ports=len(scripts), depth_words=4, init=init)
    requests, replies = ([Listener(port) for port in ports] for ports in (dut.requests, dut.replies))

    def giver(port):
        async def give(ctx):
            for request in scripts[port]:
                await send(ctx, dut.requests[port], request)

        return give

    def taker(port):
        async def take(ctx):
            for _ in scripts[port]:
                await receive(ctx, dut.replies[port])
                await wait(ctx, pauses[port])

        return take

    numbers = range(len(scripts))
    run(dut, *map(giver, numbers), *map(taker, numbers), background=[each.process for each in (*requests, *replies)])
    return requests, replies


def test_ports_that_keep_asking_take_turns_and_no_cycle_is_lost():
    requests, _ = play([access(READ, 0)] * 8, [access(READ, 0)] * 8)
    cycles = sorted(requests[0].cycles + requests[1].cycles)
    assert cycles == list(range(cycles[0], cycles[0] + 16))
    assert {later - earlier for earlier, later in zip(requests[0].cycles, requests[0].cycles[1:], strict=False)} == {2}


def test_the_first_words_are_there_from_the_start():
    _, replies = play([access(READ, 0x10)], [access(READ, 0)], init=[3, 4])
    assert (replies[0].payloads[0].data, replies[1].payloads[0].data) == (4, 3)


def test_random_accesses_of_both_ports_are_those_of_a_list_in_the_order_of_acceptance():
    generator = random.Random(2)
    scripts = [
        [
            access(generator.choice([READ, WRITE, EXCHANGE]), 16 * generator.randrange(2), tag=64 * port + number,
                   data=generator.randrange(3), expected=generator.randrange(3))
            for number in range(40)
        ]
        for port in range(2)
    ]  # fmt: skip
    requests, replies = play(*scripts, pauses=(1, 4))
    words, expected = [0] * 4, {}
    accepted = sorted(zip(requests[0].cycles + requests[1].cycles, scripts[0] + scripts[1], strict=True), key=lambda pair: pair[0])
    for _cycle, request in accepted:
        word = request["hpa"] // 16
        expected[request["tag"]] = words[word]
        if request["operation"] == WRITE or (request["operation"] == EXCHANGE and words[word] == request["expected"]):
            words[word] = request["data"]
    for port, listener in enumerate(replies):
        assert [reply.tag for reply in listener.payloads] == [request["tag"] for request in scripts[port]]
        assert {reply.tag: reply.data for reply in listener.payloads} == {
            tag: data for tag, data in expected.items() if tag // 64 == port
        }
