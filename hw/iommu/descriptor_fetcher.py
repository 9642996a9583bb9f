"""Read the invalidation queue, descriptor by descriptor, up to the tail.

::

    next_unit, tail --> OrderedReads --> first, second --> check --> descriptors
                        (many ahead)                         |
                                                             +--> head
"""
from amaranth import *
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out, flipped
from amaranth.utils import ceil_log2

from hw.iommu.descriptor_check import descriptor_error, queue_units, tail_error
from hw.iommu.messages import EventPort
from hw.iommu.ordered_reads import OrderedReads
from hw.lib.stream import connect_stream
from hw.spec.events import EventKind, QueueTrouble
from hw.spec.invalidation import QueueError, TranslationTableMode
from hw.spec.memory import QUANTUM_BITS, QUANTUM_BYTES, MemoryRequest, memory_reply_layout
from hw.spec.tables import PAGE_BITS

__all__ = ["DescriptorFetcher"]

_UNIT_LOG2 = ceil_log2(QUANTUM_BYTES)   # head and tail count units of 16 bytes: one quantum of memory each


class DescriptorFetcher(wiring.Component):
    """Fetch descriptors, many at a time, and check them in order; pass on what is legal, stand still at what is not.

    Parameters
    ----------
    word_bits : int
        Width of a memory word, 128 or 512.
    depth : int
        Descriptors that are fetched and not executed yet, at most; a power of two, 2 to 256. Of wide ones, about half as
        many are read at a time.

    Members
    -------
    enabled, held, tail, base, size_log2, wide, table_mode
        As in QueuePort. `tail` counts as it stands in the cycle in which a fetch starts, `table_mode` as it stands in
        the cycle of the check.
    max_address_mask
        CAP.MAMV.
    delay
        Knob: cycles before each fetch.
    barred
        Nothing may start, whatever `held` says.
    reserved
        Somebody else reports trouble in this cycle: no `error`, it waits.
    waiting
        Descriptors that were passed on and are not executed yet.
    empty
        There is none of these, and nothing of them is left. While it is so, `enabled` is low and nothing is being fetched,
        the head returns to 0.
    descriptors
        First 16 bytes of each legal descriptor. Nothing starts for which there would be no room.
    head
        The descriptor that is checked next.
    fetching
        A fetch has started, and its descriptor is not passed on yet, or is being thrown away.
    starting
        A fetch may start in this cycle, or is only kept from it by `delay` or by memory.
    error, error_cause
        One cycle: the tail or the descriptor at the head is not legal. `held` must be high in the next cycle.
    memory_requests, memory_replies
        Reads of 16 bytes, two for a wide descriptor, in the order of the queue; replies in any order.
    events
        0: DESCRIPTOR, in the cycle in which a descriptor is passed on: its end advances the head. 1: QUEUE_ERROR, in
        the cycle of `error`.

    Timing
    ------
    With a delay of 0, memory that takes a read at once and replies n cycles later, and a taker that is ready: a descriptor
    is passed on n + 3 cycles after its fetch started, a wide one n + 4. There is one fetch per cycle, or in two cycles if
    wide, up to `depth`. The delay starts anew after each start, and whenever something else keeps a fetch from starting.
    A misplaced tail is an error when a fetch would start and everything that started before has been passed on.

    Races
    -----
    What has started is finished and passed on, though `held` rises or `enabled` falls meanwhile; unless a descriptor
    before it is not legal: then what has been read behind the head is thrown away, and nothing starts until it is.

    Source: VT-d 4.1, 6.5.2, 11.4.9 (head, tail, errors).
    """

    def __init__(self, *, word_bits=128, depth=16):
        self._word_bits = word_bits
        self._depth = depth
        super().__init__({
            "enabled": In(1), "held": In(1), "tail": In(15), "base": In(40), "size_log2": In(3), "wide": In(1),
            "table_mode": In(TranslationTableMode),
            "max_address_mask": In(6),
            "delay": In(12),
            "barred": In(1),
            "reserved": In(1),
            "waiting": In(range(depth + 1)),
            "empty": In(1),
            "descriptors": Out(stream.Signature(QUANTUM_BITS)),
            "head": Out(15),
            "fetching": Out(1),
            "starting": Out(1),
            "error": Out(1),
            "error_cause": Out(QueueError),
            "memory_requests": Out(stream.Signature(MemoryRequest)),
            "memory_replies": In(stream.Signature(memory_reply_layout(word_bits))),
            "events": Out(EventPort()).array(2),
        })

    def elaborate(self, platform):
        m = Module()
        m.submodules.reads = reads = OrderedReads(word_bits=self._word_bits, depth=self._depth)
        connect_stream(m, src=reads.memory_requests, dst=flipped(self).memory_requests)
        connect_stream(m, src=flipped(self).memory_replies, dst=reads.memory_replies)
        self._next_unit = Signal.like(self.head)     # of the fetch that starts next
        self._in_second_half = Signal()              # of a fetch that has started
        self._halves = Signal(range(3))              # that have been read of the descriptor at the head
        self._discarding = Signal()
        first, second, refused = Signal(QUANTUM_BITS), Signal(QUANTUM_BITS), Signal()
        advance = Signal()
        m.d.comb += [
            self.fetching.eq((reads.level != 0) | self._halves.any() | self._discarding),
            self.descriptors.payload.eq(first),
        ]
        misplaced = tail_error(m, tail=self.tail, size_log2=self.size_log2, wide=self.wide)
        illegal = descriptor_error(
            m, descriptor=first, second_half=second, memory_error=refused, wide=self.wide,
            table_mode=self.table_mode, max_address_mask=self.max_address_mask)

        out_of_place = self._start(m, reads, misplaced)
        whole = self._collect(m, reads, first, second, refused, advance)
        legal = illegal == QueueError.NONE
        m.d.comb += [
            self.descriptors.valid.eq(whole & legal),
            advance.eq(self.descriptors.valid & self.descriptors.ready),
            self.error.eq((whole & ~legal | out_of_place) & ~self.reserved),
            self.error_cause.eq(Mux(whole, illegal, misplaced)),
        ]
        with m.If(advance):
            m.d.sync += self.head.eq(self._after(self.head))
        with m.If(whole & self.error):
            m.d.sync += [self._halves.eq(0), self._discarding.eq(1)]
        with m.If(self._discarding & (reads.level == 0) & ~self._in_second_half):
            m.d.sync += [self._discarding.eq(0), self._next_unit.eq(self.head)]
        with m.If(~self.enabled & self.empty & ~self.fetching):
            m.d.sync += [self.head.eq(0), self._next_unit.eq(0)]

        passed, error = self.events
        m.d.comb += [
            passed.valid.eq(advance),
            passed.payload.kind.eq(EventKind.DESCRIPTOR),
            passed.payload.hpa.eq((self.base << PAGE_BITS) + (self.head << _UNIT_LOG2)),
            passed.payload.tag.eq(self.wide),
            passed.payload.detail.eq(first),
            error.valid.eq(self.error),
            error.payload.kind.eq(EventKind.QUEUE_ERROR),
            error.payload.tag.eq(QueueTrouble.QUEUE_ERROR),
            error.payload.detail.eq(self.error_cause),
        ]
        return m

    def _after(self, unit):
        """The descriptor behind that one."""
        return (unit + Mux(self.wide, 2, 1)) & (queue_units(self.size_log2) - 1)

    def _start(self, m, reads, misplaced):
        """Ask for one descriptor after the other. Returns whether the tail forbids it, and nothing before it is left."""
        waited = Signal.like(self.delay)
        begins, taken, due = Signal(), Signal(), Signal()
        unit = Cat(self._next_unit[0] | self._in_second_half, self._next_unit[1:])
        ahead = self.waiting + reads.level + self._halves.any()     # halves count as whole ones
        m.d.comb += [
            self.starting.eq(self.enabled & ~self.held & ~self.barred & ~self._discarding & ~self._in_second_half
                             & (ahead < self._depth) & (self._next_unit != self.tail)),
            due.eq(self.starting & (waited >= self.delay)),
            begins.eq(due & (misplaced == QueueError.NONE)),
            reads.addresses.valid.eq(begins | self._in_second_half),
            reads.addresses.payload.eq((self.base << PAGE_BITS) + (unit << _UNIT_LOG2)),
            taken.eq(reads.addresses.valid & reads.addresses.ready),
        ]
        with m.If(taken):
            m.d.sync += self._in_second_half.eq(self.wide & ~self._in_second_half)
            with m.If(~self.wide | self._in_second_half):
                m.d.sync += self._next_unit.eq(self._after(self._next_unit))
        with m.If(~self.starting | taken):
            m.d.sync += waited.eq(0)
        with m.Elif(~due):
            m.d.sync += waited.eq(waited + 1)
        return due & (misplaced != QueueError.NONE) & ~self.fetching

    def _collect(self, m, reads, first, second, refused, advance):
        """Put the halves of a descriptor together. Returns whether it is whole."""
        quantum = reads.quanta.payload
        whole = self._halves == Mux(self.wide, 2, 1)
        begins = (self._halves == 0) | advance
        m.d.comb += reads.quanta.ready.eq(self._discarding | ~whole | advance)
        with m.If(reads.quanta.valid & reads.quanta.ready & ~self._discarding):
            with m.If(begins):
                m.d.sync += [first.eq(quantum.data), second.eq(0), refused.eq(quantum.refused), self._halves.eq(1)]
            with m.Else():
                m.d.sync += [second.eq(quantum.data), refused.eq(refused | quantum.refused), self._halves.eq(2)]
        with m.Elif(advance):
            m.d.sync += self._halves.eq(0)
        return whole
