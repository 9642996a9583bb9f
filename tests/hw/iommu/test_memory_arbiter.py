# amaranth: UnusedElaboratable=no
"""Sharing the memory port: fairness, order, and whose reply it is."""

import pytest

from hw.iommu.memory_arbiter import MemoryArbiter
from hw.spec.events import EventKind
from hw.spec.memory import MemoryOperation
from tests.hw.iommu.bench import Listener, receive, run, send, wait
from tests.hw.iommu.memory_mock import MemoryMock


def read(hpa, tag):
    """A read request."""
    return {"operation": MemoryOperation.READ, "hpa": hpa, "data": 0, "expected": 0, "write_mask": 0, "tag": tag}


class Bench:
    """An arbiter with a memory, and clients that keep asking."""

    def __init__(self, *, clients=3, word_bits=128, **memory):
        self.dut = MemoryArbiter(clients=clients, word_bits=word_bits)
        self.memory = MemoryMock(word_bits=word_bits, **memory)
        self.accepted = Listener(self.dut.memory_request)
        self.events = Listener(self.dut.events[0])
        self.replies = [Listener(port) for port in self.dut.replies]

    def run(self, counts, *, pause=0):
        """Client n sends `counts[n]` reads, then all wait for their replies, pausing after each."""

        def giver(client, count):
            async def give(ctx):
                for index in range(count):
                    await send(ctx, self.dut.requests[client], read(4096 * client + 16 * index, index))

            return give

        def taker(client, count):
            async def take(ctx):
                for _ in range(count):
                    await receive(ctx, self.dut.replies[client])
                    await wait(ctx, pause)

            return take

        run(
            self.dut,
            *(make(*each) for make in (giver, taker) for each in enumerate(counts)),
            background=(
                self.memory.process(self.dut.memory_request, self.dut.memory_reply),
                self.accepted.process,
                self.events.process,
                *(listener.process for listener in self.replies),
            ),
        )

    def order(self):
        """Client of each accepted request."""
        return [request.hpa // 4096 for request in self.accepted.payloads]


@pytest.mark.parametrize("word_bits", [128, 512])
@pytest.mark.parametrize("clients", [1, 3, 8])
def test_every_client_gets_its_own_replies_with_its_own_tags(clients, word_bits):
    bench = Bench(clients=clients, word_bits=word_bits, latency=(1, 20), reorder=True, ready_percent=50, seed=clients)
    for client in range(clients):
        for index in range(64):
            bench.memory.store(4096 * client + 16 * index, 1000 * client + index, 16)
    bench.run([20] * clients, pause=1)
    for client, listener in enumerate(bench.replies):
        quanta = word_bits // 128
        values = {reply.tag: reply.data >> 128 * (reply.tag % quanta) & (1 << 128) - 1 for reply in listener.payloads}
        assert len(listener) == 20
        assert values == {index: 1000 * client + index for index in range(20)}


def test_clients_that_keep_asking_are_served_in_turn():
    bench = Bench()
    bench.run([10, 10, 10])
    assert bench.order() == [0, 1, 2] * 10 or bench.order() == [1, 2, 0] * 10


def test_one_client_alone_uses_every_cycle():
    bench = Bench()
    bench.run([0, 30, 0])
    assert bench.accepted.cycles[-1] - bench.accepted.cycles[0] == 29


def test_a_busy_client_does_not_starve_a_modest_one():
    bench = Bench(ready_percent=40, seed=5)
    bench.run([60, 3, 60])
    positions = [position for position, client in enumerate(bench.order()) if client == 1]
    assert positions[-1] < 9


def test_an_offered_request_stays_offered_until_memory_takes_it():
    dut = MemoryArbiter(clients=3)
    offered = []

    async def clients(ctx):
        ctx.set(dut.requests[1].payload, read(0x1000, 1))
        ctx.set(dut.requests[1].valid, 1)
        for port in (0, 2, None):
            await ctx.tick()
            offered.append(ctx.get(dut.memory_request.payload.hpa))
            if port is not None:
                ctx.set(dut.requests[port].payload, read(0x1000 * port, 1))
                ctx.set(dut.requests[port].valid, 1)

    run(dut, clients)
    assert offered == [0x1000] * 3


def test_an_event_stands_in_the_cycle_in_which_memory_accepts():
    bench = Bench(ready_percent=30, seed=3)
    bench.run([5, 5, 5])
    assert bench.events.cycles == bench.accepted.cycles
    assert [cycle for cycle, *_ in bench.memory.accesses] == bench.accepted.cycles
    for event, request in zip(bench.events.payloads, bench.accepted.payloads, strict=True):
        assert event.kind == EventKind.MEMORY
        assert (event.hpa, event.tag, event.detail) == (request.hpa, request.tag, MemoryOperation.READ.value)
        assert event.tag >> 8 == request.hpa // 4096


@pytest.mark.parametrize("clients", [0, 9])
def test_more_clients_than_tags_can_tell_apart_are_refused(clients):
    with pytest.raises(ValueError, match=f"clients must be between 1 and 8, not {clients}"):
        MemoryArbiter(clients=clients)


def test_wide_fields_come_from_writers_and_the_expected_value_from_the_exchanger_alone():
    dut = MemoryArbiter(clients=3, writers=(1, 2), exchanger=2)
    seen = []
    full = {"operation": MemoryOperation.WRITE, "hpa": 0x40, "data": 7, "expected": 9, "write_mask": 3, "tag": 5}

    async def clients(ctx):
        for client in range(3):
            ctx.set(dut.requests[client].payload, full)
        ctx.set(dut.requests[2].payload.expected, 11)
        for client in range(3):
            ctx.set(dut.requests[client].valid, 1)
            access = ctx.get(dut.memory_request.payload)
            seen.append((access.operation, access.hpa, access.data, access.write_mask, access.expected, access.tag))
            ctx.set(dut.memory_request.ready, 1)
            await ctx.tick()
            ctx.set(dut.requests[client].valid, 0)

    run(dut, clients)
    read, write = MemoryOperation.READ, MemoryOperation.WRITE
    assert seen == [(read, 0x40, 0, 0, 11, 5), (write, 0x40, 7, 3, 11, 0x105), (write, 0x40, 7, 3, 11, 0x205)]


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        (dict(writers=(0, 3)), r"writers must be clients, 0 to 2, not \[0, 3\]"),
        (dict(writers=(0, 1), exchanger=2), r"exchanger must be one of the writers \[0, 1\], not 2"),
    ],
)
def test_impossible_writers_are_refused(parameters, message):
    with pytest.raises(ValueError, match=message):
        MemoryArbiter(clients=3, **parameters)
