# amaranth: UnusedElaboratable=no
"""Checked connections, and the queue."""
import pytest
from amaranth import *
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from hw.lib.stream import Queue, connect_stream
from tests.hw.iommu.bench import receive, run, send, wait


class Apples(data.Struct):
    count: 8


class Pears(data.Struct):
    weight: 8


def port(shape, flow):
    return wiring.PureInterface(wiring.Signature({"port": flow(stream.Signature(shape))}), path=()).port


def test_streams_of_the_same_payload_connect():
    m = Module()
    connect_stream(m, src=port(Apples, Out), dst=port(Apples, In))


def test_payloads_of_equal_width_and_different_layout_are_refused():
    with pytest.raises(TypeError, match=r"cannot connect .*Apples.* to .*Pears"):
        connect_stream(Module(), src=port(Apples, Out), dst=port(Pears, In))


def test_a_queue_gives_back_in_order_what_it_took_however_slowly_it_is_emptied():
    queue = Queue(8, depth=3)
    taken = []

    async def source(ctx):
        for value in range(20):
            await send(ctx, queue.i, value)

    async def sink(ctx):
        for number in range(20):
            await wait(ctx, number % 4)
            taken.append(await receive(ctx, queue.o))

    run(queue, source, sink)
    assert taken == list(range(20))


def test_a_full_queue_takes_nothing_and_says_how_much_it_holds():
    queue = Queue(8, depth=2)

    async def testbench(ctx):
        await send(ctx, queue.i, 1)
        await send(ctx, queue.i, 2)
        assert (ctx.get(queue.i.ready), ctx.get(queue.level)) == (0, 2)

    run(queue, testbench)


def test_a_queue_without_a_place_is_refused():
    with pytest.raises(ValueError, match="depth must be at least 1, not 0"):
        Queue(8, depth=0)
