"""Finds devices that read on, and has the lines walked that they will come to. Ours.

::

                cycle 0                          cycle 1
    touched --> compare with every stream -----> advance one, or take one --> prefetches
                     ^                                |
                     \\---- streams <-----------------/
"""
from amaranth import *
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import ceil_log2

from hw.iommu.messages import Context, FillPort, InvalidationPort, Touch, WalkRequest
from hw.lib.match import first_one, fold, one_hot_select
from hw.spec.dma import Access, RequestKind
from hw.spec.prefetch import PrefetchKnobs
from hw.spec.tables import MAX_LEVEL, PAGE_BITS, PageSize, level_shift

__all__ = ["Prefetcher"]

_REGION_BITS = level_shift(PageSize.SIZE_1G.value + 1)   # a stream stays in one naturally aligned GiB
_IOVA_BITS = level_shift(MAX_LEVEL + 1)
_KEY_BITS = 10


class Prefetcher(wiring.Component):
    """Follows sequential streams of lines, and asks for the walks of the lines ahead of them.

    A line is the pages whose entries one memory word holds. A stream is the line that it has come to, and how many lines
    beyond it have been asked for. A touch of the line behind that one advances the stream; one that misses, of a line that
    no stream has come to or comes to next, begins a new stream. A stream is active once it had to advance to a line that
    was neither asked for nor cached, and is no longer when it advances to one that was cached all the same: what fits in
    the IOTLB is not fetched again. Each touch of an active stream asks for one more line, until `prefetch_lines` are
    ahead. Lines that descend, or are visited at random, never make a stream active.

    Streams are tagged by a hash of domain ID and GiB: where two fall together, a walk more is made and nothing else
    happens, for the context and the GiB of a prefetch are always those of the request that caused it.

    Parameters
    ----------
    config : IommuConfig
        `prefetch_streams`, of which 0 makes nothing at all; `prefetch_lines`; `entries_per_word`.

    Members
    -------
    touched
        Lookups, at most one per cycle.
    prefetches
        Walks of lines ahead, one waiting at most: a one-byte read of the line's first byte, under the context of the
        request that caused it and with its source ID; everything else of the request is zero. Nobody waits for it.
    knobs
        As they stand; obeyed in the next cycle.
    invalidation
        What waits at `begin` is dropped.
    used
        One cycle: a stream has advanced to a line that it had asked for, and the IOTLB had it.
    dropped
        One cycle: a prefetch was dropped before it was taken.

    Timing
    ------
    A prefetch is offered in the second cycle after its touch. Touches of consecutive cycles see what the one before has
    changed. While one waits that is not taken in this cycle, a touch asks for nothing, and the next one does instead.

    Races
    -----
    Nothing is offered in the cycle of `begin`. A touch that is marked, or comes in the cycle of `begin` or in the one before,
    asks for nothing: its context may have been removed. Everything of a stream but its prefetches survives an invalidation.

    Replacement: in turn, with a second chance for a stream that has been touched since its last turn, so that devices
    that read at random do not take the streams of those that read on.
    """

    def __init__(self, config):
        self._streams = config.prefetch_streams
        self._lines_ahead = config.prefetch_lines
        self._line_shift = PAGE_BITS + ceil_log2(config.entries_per_word)
        super().__init__({
            "touched": In(FillPort(Touch)),
            "prefetches": Out(stream.Signature(WalkRequest)),
            "knobs": In(PrefetchKnobs),
            "invalidation": In(InvalidationPort()),
            "used": Out(1),
            "dropped": Out(1),
        })

    def elaborate(self, platform):
        m = Module()
        if not self._streams:
            return m
        line_bits = _REGION_BITS - self._line_shift
        place = data.StructLayout({          # of a touch
            "key": _KEY_BITS,
            "line": line_bits,               # in its GiB
            "next_line": line_bits + 1,      # 2**line_bits: there is none in this GiB
        })
        state = data.StructLayout({          # of a stream
            "key": _KEY_BITS,
            "next_line": line_bits + 1,
            "ahead": range(self._lines_ahead + 1),
            "active": 1,
            "recent": 1,                     # touched since its turn to be replaced
        })
        nowhere = {"next_line": (1 << line_bits) + 1}
        streams = [Signal(state, init=nowhere, name=f"stream_{index}") for index in range(self._streams)]

        # Cycle 0: the touch beside every stream, and beside the touch before it, whose line a stream is about to have.
        touch = self.touched.payload
        request, context = touch.walk.transaction.request, touch.walk.context
        here, before = Signal(place), Signal(place)
        target = Signal(self._streams)       # stream that the touch before advances or takes
        same, following = Signal(self._streams), Signal(self._streams)
        m.d.comb += [
            here.key.eq(fold(Cat(context.domain_id, request.iova[_REGION_BITS:_IOVA_BITS]), _KEY_BITS, groups=5)),
            here.line.eq(request.iova[self._line_shift:_REGION_BITS]),
            here.next_line.eq(here.line + 1),
        ]

        def compared(other):
            """Is this touch of the line that `other` has come to; is it of the next?"""
            same_key = here.key == other.key
            return same_key & (here.next_line == other.next_line), same_key & (here.line == other.next_line)

        same_as_before, following_before = Signal(), Signal()
        m.d.comb += Cat(same_as_before, following_before).eq(Cat(*compared(before)))
        for index, known in enumerate(streams):
            same_line, next_line = compared(known)
            m.d.sync += [
                same[index].eq(Mux(target[index], same_as_before, same_line)),
                following[index].eq(Mux(target[index], following_before, next_line)),
            ]
        touching, hit, barred = Signal(), Signal(), Signal()
        source_id, region = Signal.like(request.source_id), Signal(_IOVA_BITS - _REGION_BITS)
        of_touch = Signal(Context)
        m.d.sync += [
            touching.eq(self.touched.valid),
            hit.eq(touch.hit),
            barred.eq(touch.walk.transaction.marked | self.invalidation.begin),
            before.eq(here),
            source_id.eq(request.source_id),
            region.eq(request.iova[_REGION_BITS:_IOVA_BITS]),
            of_touch.eq(context),
        ]

        # Cycle 1: which stream it is.
        in_turn = Signal(self._streams, init=1)
        unknown, taken = Signal(), Signal()
        mine = Mux(same.any(), first_one(same), first_one(following))
        spared = (Cat(known.recent for known in streams) & in_turn).any()
        m.d.comb += [
            unknown.eq(touching & ~hit & ~(same | following).any()),
            taken.eq(unknown & ~spared),
            target.eq(Mux(touching, mine, 0) | Mux(taken, in_turn, 0)),
        ]
        with m.If(unknown):
            m.d.sync += in_turn.eq(in_turn.rotate_left(1))

        # What becomes of it.
        advanced, arrived, active = Signal(), Signal(), Signal()
        known_ahead = one_hot_select(target, [known.ahead for known in streams])
        known_active = one_hot_select(target, [known.active for known in streams])
        left = Signal.like(known_ahead)
        m.d.comb += [
            advanced.eq(~same.any() & following.any()),
            arrived.eq(advanced & (known_ahead != 0)),       # at a line that had been asked for
            left.eq(Mux(taken, 0, known_ahead - arrived)),
            active.eq(~taken & Mux(advanced & ~arrived, ~hit, known_active)),
            self.used.eq(touching & arrived & hit),
        ]

        # The prefetch, if there is room for one.
        offered = self.prefetches
        held = Signal()
        wanted = Signal(line_bits + 2)
        fetched = Signal()
        m.d.comb += [
            wanted.eq(before.next_line + left),
            fetched.eq(target.any() & active & (left != self._lines_ahead) & (wanted[line_bits:] == 0)
                       & ~barred & ~self.invalidation.begin & ~self.knobs.off & (~held | offered.ready)),
        ]
        for index, known in enumerate(streams):
            with m.If(target[index]):
                m.d.sync += [
                    known.key.eq(before.key), known.next_line.eq(before.next_line),
                    known.ahead.eq(left + fetched), known.active.eq(active), known.recent.eq(~taken),
                ]
            with m.Elif(unknown & in_turn[index]):
                m.d.sync += known.recent.eq(0)

        iova, origin, offered_context = Signal(_IOVA_BITS), Signal.like(source_id), Signal(Context)
        with m.If(offered.ready | self.invalidation.begin):
            m.d.sync += held.eq(0)
        with m.If(fetched):
            m.d.sync += [
                held.eq(1),
                iova.eq(Cat(Const(0, self._line_shift), wanted[:line_bits], region)),
                origin.eq(source_id),
                offered_context.eq(of_touch),
            ]
        m.d.comb += [
            self.dropped.eq(held & self.invalidation.begin),
            offered.valid.eq(held & ~self.invalidation.begin),
            offered.payload.context.eq(offered_context),
            offered.payload.transaction.request.source_id.eq(origin),
            offered.payload.transaction.request.iova.eq(iova),
            offered.payload.transaction.request.kind.eq(RequestKind.UNTRANSLATED),
            offered.payload.transaction.request.access.eq(Access.READ),
            offered.payload.transaction.request.length_bytes.eq(1),
        ]
        return m
