# amaranth: UnusedElaboratable=no
"""Bursts are cut at pages, and at nothing else; what breaks a rule of AXI is refused."""
import random

import pytest

from hw.axi.burst_splitter import BurstSplitter
from hw.spec.axi import AxiBurst
from tests.hw.axi.bench import ID_BITS, burst_of, drain, feed, watched
from tests.hw.iommu.bench import run, wait

PAGE = 4096
FIELDS = ("addr", "beats", "iova", "bytes", "last", "refused")


def touched(burst):
    """The bytes that each beat of a burst touches, by the definition of the burst types (A3.4.1)."""
    step = 1 << burst["size"]
    aligned = burst["addr"] // step * step
    whole = step * burst["beats"]
    for beat in range(burst["beats"]):
        match burst.get("burst", AxiBurst.INCR):
            case AxiBurst.FIXED:
                first = burst["addr"]
            case AxiBurst.WRAP:
                base = burst["addr"] // whole * whole
                first = base + (burst["addr"] - base + beat * step) % whole
            case AxiBurst.INCR:
                first = burst["addr"] if beat == 0 else aligned + beat * step
        yield range(first, first // step * step + step)


def split(*bursts, data_bits=128, percent=100, ready_percent=100):
    """The pieces of these bursts: FIELDS of each."""
    dut = BurstSplitter(data_bits=data_bits, id_bits=ID_BITS)
    pieces = []

    async def finish(ctx):
        await feed(dut.bursts, [burst_of(**burst) for burst in bursts], percent=percent)(ctx)
        await wait(ctx, 1)
    run(dut, finish, background=[drain(dut.pieces, pieces, percent=ready_percent), watched(dut.pieces)], cycles=20_000)
    return [dict(zip(FIELDS, (piece.burst.addr, piece.burst.len + 1, piece.iova, piece.length_bytes, piece.last, piece.refused),
                     strict=True)) for piece in pieces]


def test_a_burst_in_one_page_is_one_piece():
    assert split(dict(addr=0x12340, beats=4)) == [
        dict(addr=0x12340, beats=4, iova=0x12340, bytes=64, last=1, refused=0)]


def test_a_burst_that_ends_at_the_end_of_a_page_is_one_piece():
    assert split(dict(addr=0x12F80, beats=8)) == [
        dict(addr=0x12F80, beats=8, iova=0x12F80, bytes=128, last=1, refused=0)]


def test_a_burst_across_a_page_is_cut_where_the_page_ends():
    assert split(dict(addr=0x12F84, beats=10)) == [
        dict(addr=0x12F84, beats=8, iova=0x12F84, bytes=124, last=0, refused=0),
        dict(addr=0x13000, beats=2, iova=0x13000, bytes=32, last=1, refused=0)]


def test_a_wide_burst_across_many_pages_is_cut_into_as_many():
    pieces = split(dict(addr=0x10F80, beats=256, size=7), data_bits=1024)
    assert [(piece["addr"], piece["beats"], piece["last"]) for piece in pieces] == [
        (0x10F80, 1, 0), *((0x11000 + PAGE * page, 32, 0) for page in range(7)), (0x18000, 31, 1)]


@pytest.mark.parametrize("data_bits", [32, 128, 1024])
def test_the_pieces_of_any_legal_burst_touch_what_it_touches_and_no_piece_leaves_its_page(data_bits):
    generator = random.Random(data_bits)
    bursts = []
    for _ in range(150):
        size = generator.randrange((data_bits // 8).bit_length())
        kind = generator.choice((AxiBurst.INCR, AxiBurst.INCR, AxiBurst.WRAP, AxiBurst.FIXED))
        beats = {AxiBurst.INCR: generator.choice((1, 2, 16, 256, generator.randint(1, 256))),
                 AxiBurst.WRAP: generator.choice((2, 4, 8, 16)), AxiBurst.FIXED: generator.randint(1, 16)}[kind]
        addr = PAGE * generator.randrange(1, 9) + generator.choice((-1, 1)) * generator.randrange(200)
        if kind is AxiBurst.WRAP:
            addr = addr >> size << size
        bursts.append(dict(addr=addr, beats=beats, size=size, burst=kind))
    pieces = iter(split(*bursts, data_bits=data_bits, percent=60, ready_percent=60))
    for burst in bursts:
        bytes_of_beats = list(touched(burst))
        while bytes_of_beats:
            piece = next(pieces)
            mine, bytes_of_beats = bytes_of_beats[:piece["beats"]], bytes_of_beats[piece["beats"]:]
            where = {address for beat in mine for address in beat}
            assert piece["addr"] == mine[0][0]
            assert (min(where), max(where) + 1) == (piece["iova"], piece["iova"] + piece["bytes"])
            assert min(where) // PAGE == max(where) // PAGE
            assert (piece["last"], piece["refused"]) == (not bytes_of_beats, 0)
    assert next(pieces, None) is None


@pytest.mark.parametrize("burst", [
    dict(addr=0x1000, burst=AxiBurst.RESERVED_3),
    dict(addr=0x1000, size=5),                                    # 32 bytes on a bus of 16
    dict(addr=0x1000, beats=3, burst=AxiBurst.WRAP),
    dict(addr=0x1008, beats=4, burst=AxiBurst.WRAP),
    dict(addr=0x1000, beats=17, burst=AxiBurst.FIXED),
    dict(addr=0x1FF0, beats=2, lock=1),
    dict(addr=2**64 - 16, beats=2),
])
def test_a_burst_that_breaks_a_rule_is_refused_in_one_piece(burst):
    piece, after = split(burst, dict(addr=0x1000))
    assert (piece["beats"], piece["last"], piece["refused"]) == (burst.get("beats", 1), 1, 1)
    assert after["refused"] == 0


@pytest.mark.parametrize("burst", [
    dict(addr=0x1010, beats=4, burst=AxiBurst.WRAP), dict(addr=0x1000, beats=16, burst=AxiBurst.FIXED),
    dict(addr=0x1FF0, beats=1, lock=1), dict(addr=2**64 - 32, beats=2), dict(addr=0x1FFF, beats=1, burst=AxiBurst.FIXED),
])
def test_a_burst_at_the_edge_of_a_rule_passes(burst):
    assert [piece["refused"] for piece in split(burst)] == [0]


def test_a_burst_a_cycle_is_cut_when_no_page_is_crossed():
    dut = BurstSplitter(data_bits=128, id_bits=ID_BITS)
    pieces = []

    async def source(ctx):
        ctx.set(dut.bursts.payload, burst_of(addr=0x1000, beats=4))
        ctx.set(dut.bursts.valid, 1)
        await wait(ctx, 20)
    run(dut, source, background=[drain(dut.pieces, pieces)])
    assert len(pieces) == 20
