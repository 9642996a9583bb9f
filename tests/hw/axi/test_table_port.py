# amaranth: UnusedElaboratable=no
"""The unit's own accesses as AXI bursts of one beat, by tag, in any order."""
import pytest

from hw.axi.table_port import TablePort
from hw.spec.axi import AxiBurst, AxiResponse
from hw.spec.codec import decode, encode
from hw.spec.memory import MemoryOperation, MemoryRequest
from tests.hw.axi.bench import drain, watched
from tests.hw.iommu.bench import run, send, wait

READ, WRITE, EXCHANGE = MemoryOperation.READ, MemoryOperation.WRITE, MemoryOperation.COMPARE_EXCHANGE
WORD = 0xFEDC_BA98_7654_3210_0123_4567_89AB_CDEF


def request(operation, hpa, *, tag=0, data=0, write_mask=0):
    return decode(MemoryRequest, encode(MemoryRequest, operation=operation, hpa=hpa, tag=tag, data=data, write_mask=write_mask))


class Port:
    """The port with channels whose other ends a bench plays; what came of `ar`, `aw`, `w` and `replies`."""

    def __init__(self, word_bits=128, ready=("ar", "aw", "w")):
        self.dut = TablePort(word_bits=word_bits)
        self.taken = {name: [] for name in ("ar", "aw", "w", "replies")}
        self._ready = ready

    def run(self, testbench):
        channels = {name: getattr(self.dut, name) for name in self.taken}

        async def bench(ctx):
            await testbench(ctx)
            await wait(ctx, 5)
        run(self.dut, bench, background=[
            *(drain(channels[name], self.taken[name]) for name in (*self._ready, "replies")),
            *(watched(channels[name], name) for name in channels)], cycles=500)
        return self.taken


def test_a_read_is_one_beat_with_the_tag_as_id():
    port = Port()

    async def bench(ctx):
        await send(ctx, port.dut.requests, request(READ, 0x1234_5678, tag=0x5A5))
    burst, = port.run(bench)["ar"]
    assert (burst.id, burst.addr, burst.len, burst.size, burst.burst) == (0x5A5, 0x1234_5670, 0, 4, AxiBurst.INCR)
    assert (burst.cache, burst.prot) == (0b1111, 0b011)
    assert port.taken["aw"] == port.taken["w"] == []


def test_a_wide_read_brings_the_line_around_its_address():
    port = Port(word_bits=512)

    async def bench(ctx):
        await send(ctx, port.dut.requests, request(READ, 0x1234_5678, tag=3))
        await send(ctx, port.dut.r, dict(id=3, data=WORD << 384, resp=AxiResponse.OKAY, last=1))
    burst, = port.run(bench)["ar"]
    assert (burst.addr, burst.size) == (0x1234_5640, 6)
    assert [(reply.tag, reply.error, reply.data) for reply in port.taken["replies"]] == [(3, 0, WORD << 384)]


@pytest.mark.parametrize(("word_bits", "lane"), [(128, 0), (512, 2)])
def test_a_write_changes_the_bytes_of_its_quantum(word_bits, lane):
    port = Port(word_bits=word_bits)

    async def bench(ctx):
        await send(ctx, port.dut.requests, request(WRITE, 0x1064, tag=7, data=WORD, write_mask=0x00F0))
        await send(ctx, port.dut.b, dict(id=7, resp=AxiResponse.OKAY))
    port.run(bench)
    (burst,), (beat,) = port.taken["aw"], port.taken["w"]
    assert (burst.id, burst.addr, burst.len, burst.size) == (7, 0x1060, 0, 4)
    assert (beat.strb, beat.last) == (0x00F0 << 16 * lane, 1)
    assert beat.data >> 128 * lane & (1 << 128) - 1 == WORD
    assert [(reply.tag, reply.error) for reply in port.taken["replies"]] == [(7, 0)]


@pytest.mark.parametrize(("first", "second"), [("aw", "w"), ("w", "aw")])
def test_neither_half_of_a_write_waits_for_the_other_and_none_goes_twice(first, second):
    port = Port(ready=("ar", first))

    async def bench(ctx):
        ctx.set(port.dut.requests.payload, request(WRITE, 0x1000, tag=1, write_mask=1))
        ctx.set(port.dut.requests.valid, 1)
        await wait(ctx, 6)
        assert len(port.taken[first]) == 1
        assert ctx.get(port.dut.requests.ready) == 0
        ctx.set(getattr(port.dut, second).ready, 1)
        await ctx.tick()
        ctx.set(getattr(port.dut, second).ready, 0)
        ctx.set(port.dut.requests.payload, request(READ, 0x2000, tag=2))
        await ctx.tick()
        ctx.set(port.dut.requests.valid, 0)
    port.run(bench)
    assert [burst.id for burst in port.taken["ar"]] == [2]
    assert len(port.taken[first]) == 1


def test_writes_one_after_the_other_each_have_address_and_data():
    port = Port()

    async def bench(ctx):
        for tag in range(3):
            await send(ctx, port.dut.requests, request(WRITE, 0x1000 * tag, tag=tag, data=tag, write_mask=1))
    port.run(bench)
    assert [burst.id for burst in port.taken["aw"]] == [beat.data for beat in port.taken["w"]] == [0, 1, 2]


@pytest.mark.parametrize(("resp", "error"), [
    (AxiResponse.OKAY, 0), (AxiResponse.SLVERR, 1), (AxiResponse.DECERR, 1)])
def test_what_memory_refuses_is_an_error(resp, error):
    port = Port()

    async def bench(ctx):
        await send(ctx, port.dut.r, dict(id=4, data=WORD, resp=resp, last=1))
        await send(ctx, port.dut.b, dict(id=5, resp=resp))
    assert [(reply.tag, reply.error) for reply in port.run(bench)["replies"]] == [(4, error), (5, error)]


@pytest.mark.parametrize("operation", [EXCHANGE, MemoryOperation.RESERVED_3])
def test_what_axi_does_not_have_is_refused_and_never_leaves(operation):
    port = Port()

    async def bench(ctx):
        await send(ctx, port.dut.requests, request(operation, 0x1000, tag=9, write_mask=0xFFFF))
    port.run(bench)
    assert [(reply.tag, reply.error) for reply in port.taken["replies"]] == [(9, 1)]
    assert port.taken["ar"] == port.taken["aw"] == port.taken["w"] == []


def test_a_read_a_cycle_goes_out_and_replies_come_in_any_order():
    port = Port()

    async def bench(ctx):
        ctx.set(port.dut.requests.valid, 1)
        for tag in range(20):
            ctx.set(port.dut.requests.payload, request(READ, 16 * tag, tag=tag))
            await ctx.tick()
        ctx.set(port.dut.requests.valid, 0)
        for tag in reversed(range(20)):
            await send(ctx, port.dut.r, dict(id=tag, data=tag, resp=AxiResponse.OKAY, last=1))
    port.run(bench)
    assert [burst.id for burst in port.taken["ar"]] == list(range(20))
    assert [(reply.tag, reply.data) for reply in port.taken["replies"]] == [(tag, tag) for tag in reversed(range(20))]
