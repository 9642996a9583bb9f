# amaranth: UnusedElaboratable=no
"""What the prefetcher asks for, beside a cache that keeps everything that was walked. Lines are worked out by hand."""
import random
from itertools import count
from typing import NamedTuple

import pytest
from amaranth import Module, Signal

from hw.iommu.config import IommuConfig
from hw.iommu.messages import Context, Touch, Transaction, WalkRequest
from hw.iommu.prefetcher import Prefetcher
from hw.spec.codec import decode, encode
from hw.spec.dma import Access, DmaRequest, RequestKind
from tests.hw.iommu.bench import run

BASE = 0x12_3456_7000_0000            # a place in the middle of a GiB, first page of a line
PAGE = 0x1000
REGION = 1 << 30


class Device(NamedTuple):
    """Whose touches they are."""

    source_id: int = 0x0310
    domain_id: int = 7


DEVICE = Device()


def context(domain_id):
    """A context of four levels, as an integer."""
    return encode(Context, domain_id=domain_id, address_width=2, table_pointer=0x777)


def touch(iova, *, hit=0, device=DEVICE, marked=0):
    """A touch, as a constant."""
    asked = encode(DmaRequest, source_id=device.source_id, iova=iova, access=Access.WRITE, tag=5, length_bytes=64)
    transaction = encode(Transaction, request=asked, marked=marked, colour=1)
    walk = encode(WalkRequest, transaction=transaction, context=context(device.domain_id))
    return decode(Touch, encode(Touch, walk=walk, hit=hit))


class Played:
    """Touches played one per cycle (None: none) against a cache of lines, and what came of them.

    Members
    -------
    prefetched : list of (cycle, source ID, IOVA)
        In the order in which they were taken.
    missed : list of IOVA
        Touches that missed.
    used, dropped : int
        Strobes seen.
    """

    def __init__(self, touches, *, cached=(), latency=4, takes=None, begins=(), off=False, marked=(), drop=False, **sizes):
        self.prefetched, self.missed, self.walks = [], [], []
        self.used = self.dropped = 0
        config = IommuConfig(**sizes)
        self.dut = Prefetcher(config)
        self.line_bytes = PAGE * config.entries_per_word
        self.cached = {(domain, iova // self.line_bytes) for domain, iova in cached}
        self.arriving = []                # (cycle, line)
        takes = takes or (1 for _ in count())
        touches = list(touches)

        async def bench(ctx):
            dut = self.dut
            ctx.set(dut.knobs.off, off)
            for cycle in range(len(touches) + 10):
                self.cached |= {line for due, line in self.arriving if due <= cycle}
                asked = touches[cycle] if cycle < len(touches) else None
                if asked is not None:
                    device, iova = asked
                    line = (device.domain_id, iova // self.line_bytes)
                    hit = line in self.cached
                    ctx.set(dut.touched.payload, touch(iova, hit=hit, device=device, marked=cycle in marked))
                    if not hit:
                        self.missed.append(iova)
                        self.arriving.append((cycle + latency, line))
                ctx.set(dut.touched.valid, asked is not None)
                ctx.set(dut.prefetches.ready, next(takes))
                ctx.set(dut.invalidation.begin, cycle in begins)
                self.used += ctx.get(dut.used)
                self.dropped += ctx.get(dut.dropped)
                if ctx.get(dut.prefetches.valid & dut.prefetches.ready):
                    walk = ctx.get(dut.prefetches.payload)
                    iova = walk.transaction.request.iova
                    self.walks.append(walk)
                    self.prefetched.append((cycle, walk.transaction.request.source_id, iova))
                    if not drop:
                        self.arriving.append((cycle + latency, (walk.context.domain_id, iova // self.line_bytes)))
                await ctx.tick()
        m = Module()
        m.submodules.dut = self.dut
        m.d.sync += Signal().eq(1)        # a clock, even where there is nothing
        run(m, bench, cycles=len(touches) + 100)

    @property
    def lines(self):
        """IOVAs prefetched, in order."""
        return [iova for _, _, iova in self.prefetched]


def pages(number, *, first=BASE, step=PAGE, device=DEVICE):
    """Touches of so many pages."""
    return [(device, first + step * index) for index in range(number)]


def spread(touches, gap):
    """The same with empty cycles behind each."""
    return [each for one in touches for each in (one, *[None] * gap)]


# --- what is asked for ---

def test_a_prefetch_is_a_read_of_a_byte_under_the_context_of_its_cause():
    device = Device(source_id=0x1234, domain_id=0x4321)
    walk = Played(pages(3, step=2 * PAGE, device=device)).walks[0]
    asked = walk.transaction.request
    assert (asked.source_id, asked.iova) == (0x1234, BASE + 4 * PAGE)
    assert (asked.access, asked.kind) == (Access.READ, RequestKind.UNTRANSLATED)
    assert (asked.length_bytes, asked.pasid_present, asked.tag) == (1, 0, 0)
    assert (walk.transaction.marked, walk.transaction.colour) == (0, 0)
    assert walk.context.as_bits() == context(0x4321)


@pytest.mark.parametrize(("word_bits", "line"), [(128, 2 * PAGE), (512, 8 * PAGE)])
def test_one_request_per_page_is_prefetched_until_enough_lines_are_ahead(word_bits, line):
    # Line 0 and line 1 miss; from line 1 on one line per touch, until four are ahead; then one per line.
    played = Played(spread(pages(12 * line // PAGE), 8), memory_word_bits=word_bits)
    assert played.missed == [BASE, BASE + line]
    assert played.lines == [BASE + number * line for number in range(2, 16)]
    assert played.used == 10


def test_64_byte_requests_are_prefetched():
    played = Played(pages(64 * 2 * 6, step=64))
    assert {iova // (2 * PAGE) for iova in played.missed} == {BASE // (2 * PAGE), BASE // (2 * PAGE) + 1}
    assert played.lines == [BASE + number * 2 * PAGE for number in range(2, 10)]


@pytest.mark.parametrize("lines", [1, 4, 15])
def test_no_more_lines_are_ahead_than_configured(lines):
    touches = [*pages(2, step=2 * PAGE), *pages(40, first=BASE + 2 * PAGE, step=64)]   # and stays in line 1
    played = Played(touches, prefetch_lines=lines)
    assert played.lines == [BASE + (2 + number) * 2 * PAGE for number in range(lines)]


def test_at_one_page_a_cycle_every_line_is_asked_for_before_it_is_touched():
    played = Played(pages(200), latency=1)
    asked = {iova: cycle for cycle, _, iova in played.prefetched}
    late = [number for number in range(2, 100) if asked[BASE + number * 2 * PAGE] >= 2 * number]
    assert late == [2]                     # asked for in the second cycle behind the touch that begins its run
    assert len(asked) == len(played.lines)


def test_one_touch_per_line_keeps_one_line_ahead():
    played = Played(pages(100, step=2 * PAGE), latency=1)
    assert played.lines == [BASE + number * 2 * PAGE for number in range(2, 101)]


def test_four_interleaved_streams_are_prefetched_at_full_rate():
    devices = [Device(0x100 + number, 10 + number) for number in range(4)]
    runs = [pages(40, first=BASE + 0x40_0000 * number, device=device) for number, device in enumerate(devices)]
    played = Played([each for together in zip(*runs, strict=True) for each in together], latency=6)
    for number, device in enumerate(devices):
        mine = [iova for _, source_id, iova in played.prefetched if source_id == device.source_id]
        first = BASE + 0x40_0000 * number
        assert mine == [first + line * 2 * PAGE for line in range(2, 2 + len(mine))]
        assert len(mine) >= 20
        # Pages 0 to 3 come before line 0 and line 1 have been walked.
        assert [iova for iova in played.missed if first <= iova < first + 0x40_0000] == [first + page * PAGE for page in range(4)]


def test_devices_of_different_domains_with_the_same_addresses_are_kept_apart():
    devices = [Device(0x100 + number, 10 + number) for number in range(4)]
    runs = [pages(20, device=device) for device in devices]
    played = Played([each for together in zip(*runs, strict=True) for each in together])
    assert {walk.context.domain_id for walk in played.walks} == {10, 11, 12, 13}
    assert sorted(iova for _, source_id, iova in played.prefetched if source_id == 0x102) == [
        BASE + line * 2 * PAGE for line in range(2, 14)]


# --- what is not ---

def test_random_pages_ask_for_nothing():
    source = random.Random(9)
    touches = [(Device(0x100 + source.randrange(8), source.randrange(8)), BASE + PAGE * source.randrange(1 << 16))
               for _ in range(1500)]
    played = Played(touches, latency=20)
    assert len(played.missed) > 1200
    assert len(played.lines) <= 2


@pytest.mark.parametrize("step", [-PAGE, -2 * PAGE, 4 * PAGE, 0])
def test_descending_skipping_and_resting_ask_for_nothing(step):
    assert Played(pages(100, step=step)).lines == []


def test_a_loop_over_cached_pages_asks_for_nothing():
    loop = pages(32)
    assert Played(loop * 4, cached=[(7, iova) for _, iova in loop]).lines == []


def test_a_loop_with_one_page_that_is_not_cached_asks_for_nothing():
    loop = pages(32)
    cached = [(7, iova) for _, iova in loop if not BASE + 8 * PAGE <= iova < BASE + 10 * PAGE]
    played = Played(loop * 2, cached=cached)
    assert (len(played.missed) > 0, played.lines) == (True, [])


def test_a_stream_that_comes_to_cached_lines_rests():
    # Lines 0 and 1 miss, nothing that is asked for is ever walked, and the lines from 2 on are cached.
    cached = [(7, BASE + number * 2 * PAGE) for number in range(2, 40)]
    played = Played(pages(40, step=2 * PAGE), cached=cached, takes=iter([0] * 5 + [1] * 100), prefetch_lines=1)
    assert len(played.lines) <= 3


def test_nothing_is_asked_for_beyond_the_gib():
    last = (BASE // REGION + 1) * REGION
    played = Played(pages(8, first=last - 8 * PAGE))
    assert played.lines == [last - 4 * PAGE, last - 2 * PAGE]
    beyond = Played(pages(8, first=last - 4 * PAGE))
    assert [iova for iova in beyond.lines if iova < last] == []
    assert beyond.lines[0] >= last + 4 * PAGE


def test_off_it_asks_for_nothing():
    assert Played(pages(100), off=True).lines == []


def test_without_streams_nothing_is_offered():
    played = Played(pages(50), prefetch_streams=0)
    assert (played.lines, played.used, played.dropped) == ([], 0, 0)


# --- back-pressure, invalidations, replacement ---

@pytest.mark.parametrize("seed", [1, 2])
def test_a_prefetch_that_waits_stands_still_and_none_is_asked_for_twice(seed):
    source = random.Random(seed)
    played = Played(pages(150), takes=(source.getrandbits(1) & source.getrandbits(1) for _ in count()))
    assert len(set(played.lines)) == len(played.lines)
    assert played.lines == sorted(played.lines)
    assert len(played.lines) > 20


def test_what_waits_is_dropped_when_an_invalidation_begins_and_the_stream_goes_on():
    takes = iter([0] * 12 + [1] * 200)     # line 2 is offered from cycle 4 on, with the touch of line 1 in cycle 2
    played = Played(pages(30), takes=takes, begins=[8])
    assert played.dropped == 1
    assert BASE + 4 * PAGE not in played.lines
    assert len(played.lines) > 5


@pytest.mark.parametrize("cycle", range(2, 7))
def test_nothing_is_offered_in_the_cycle_of_begin(cycle):
    played = Played([*pages(3), *[None] * 10], begins=[cycle])
    # The touch of line 1 comes in cycle 2 and would ask in cycle 4.
    assert [when for when, _, _ in played.prefetched] == ([4] if cycle > 4 else [])
    assert played.dropped == (cycle == 4)


def test_a_marked_touch_asks_for_nothing_but_moves_the_stream():
    played = Played(spread(pages(4, step=2 * PAGE), 3), marked=[4])
    assert played.lines == [BASE + 6 * PAGE, BASE + 8 * PAGE]


def test_prefetches_that_were_never_walked_are_not_used():
    played = Played(spread(pages(20), 3), drop=True)
    assert (len(played.lines) > 5, played.used) == (True, 0)


def test_a_stream_that_is_touched_is_not_taken_by_random_misses():
    source = random.Random(3)
    other = Device(0x200, 99)
    reader = pages(60)
    touches = []
    for one in reader:
        touches += [one] * 4 + [(other, BASE + PAGE * source.randrange(1 << 16))]
    played = Played(touches)
    assert len([iova for iova in played.missed if BASE <= iova < BASE + 60 * PAGE]) <= 16
    assert len([1 for _, source_id, _ in played.prefetched if source_id == DEVICE.source_id]) >= 25


def test_a_stream_that_has_ended_gives_way():
    done = [each for number in range(4) for each in pages(8, first=BASE + 0x100_0000 * number)]
    first = BASE + 0x800_0000
    played = Played([*done, *pages(40, first=first)])
    # The four misses of lines 0 and 1 use up the second chances; line 2 takes a stream, and line 3 makes it active.
    mine = [iova for iova in played.lines if iova >= first]
    assert mine == [first + number * 2 * PAGE for number in range(4, 4 + len(mine))]
    assert len(mine) > 10
