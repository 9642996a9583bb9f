"""Read the invalidation queue, descriptor by descriptor, up to the tail."""
from amaranth import *
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import ceil_log2

from hw.iommu.descriptor_check import descriptor_error, queue_units, tail_error
from hw.iommu.messages import EventPort
from hw.spec.events import EventKind, QueueTrouble
from hw.spec.invalidation import QueueError, TranslationTableMode
from hw.spec.memory import QUANTUM_BITS, QUANTUM_BYTES, MemoryRequest, memory_reply_layout
from hw.spec.tables import PAGE_BITS

__all__ = ["DescriptorFetcher"]

_UNIT_LOG2 = ceil_log2(QUANTUM_BYTES)   # head and tail count units of 16 bytes: one quantum of memory each


class DescriptorFetcher(wiring.Component):
    """Fetch and check descriptors in order, one at a time; pass on what is legal, stand still at what is not.

    Parameters
    ----------
    word_bits : int
        Width of a memory word, 128 or 512.

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
    empty
        Nothing that was passed on is left to be executed. While it is so, `enabled` is low and nothing is being fetched,
        the head returns to 0.
    descriptors
        First 16 bytes of each legal descriptor.
    head
        The descriptor that is fetched next, or is being fetched.
    fetching
        A fetch has started, and its descriptor is not passed on yet.
    starting
        A fetch may start in this cycle, or is only kept from it by `delay`.
    error, error_cause
        One cycle: the tail or the descriptor at the head is not legal. `held` must be high in the next cycle.
    memory_requests, memory_replies
        One read at a time, two for a wide descriptor (none for its second half if the first was refused); the tag is 0.
    events
        0: DESCRIPTOR, in the cycle in which a descriptor is passed on: its end advances the head. 1: QUEUE_ERROR, in
        the cycle of `error`.

    Timing
    ------
    With a delay of 0, memory that takes a read at once and replies n cycles later, and a taker that is ready: a fetch
    takes n + 3 cycles, 2n + 4 of a wide descriptor. A fetch starts only if `descriptors` is ready. The delay starts anew
    whenever something else keeps a fetch from starting. A misplaced tail is an error in the cycle in which a fetch would start.

    Races
    -----
    What has started is finished and passed on, though `held` rises or `enabled` falls meanwhile.

    Source: VT-d 4.1, 6.5.2, 11.4.9 (head, tail, errors).
    """

    def __init__(self, *, word_bits=128):
        self._word_bits = word_bits
        super().__init__({
            "enabled": In(1), "held": In(1), "tail": In(15), "base": In(40), "size_log2": In(3), "wide": In(1),
            "table_mode": In(TranslationTableMode),
            "max_address_mask": In(6),
            "delay": In(12),
            "barred": In(1),
            "reserved": In(1),
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
        in_second_half = Signal()
        first, second = Signal(QUANTUM_BITS), Signal(QUANTUM_BITS)
        refused = Signal()
        waited = Signal.like(self.delay)
        address = Signal(PAGE_BITS + len(self.base))
        quantum = Signal(QUANTUM_BITS)
        advance = Signal()
        place = address[_UNIT_LOG2:][:ceil_log2(self._word_bits // QUANTUM_BITS)]  # of the quantum in its word
        last_unit = queue_units(self.size_log2) - 1
        m.d.comb += [
            address.eq((self.base << PAGE_BITS) + (Cat(self.head[0] | in_second_half, self.head[1:]) << _UNIT_LOG2)),
            self.memory_requests.payload.hpa.eq(address),
            quantum.eq(self.memory_replies.payload.data.word_select(place, QUANTUM_BITS)),
            self.descriptors.payload.eq(first),
            self.starting.eq(self.enabled & ~self.held & ~self.barred & self.descriptors.ready
                             & (self.head != self.tail)),
        ]
        misplaced = tail_error(m, tail=self.tail, size_log2=self.size_log2, wide=self.wide)
        illegal = descriptor_error(
            m, descriptor=first, second_half=second, memory_error=refused, wide=self.wide,
            table_mode=self.table_mode, max_address_mask=self.max_address_mask)

        m.d.sync += waited.eq(0)
        with m.FSM(name="descriptor_fetcher") as fsm:
            m.d.comb += self.fetching.eq(~fsm.ongoing("IDLE"))
            with m.State("IDLE"):
                with m.If(~self.enabled & self.empty):
                    m.d.sync += self.head.eq(0)
                m.d.sync += [in_second_half.eq(0), second.eq(0)]
                with m.If(self.starting & (waited < self.delay)):
                    m.d.sync += waited.eq(waited + 1)
                with m.Elif(self.starting & (misplaced == QueueError.NONE)):
                    m.next = "READ"
                with m.Elif(self.starting):
                    m.d.comb += [self.error.eq(~self.reserved), self.error_cause.eq(misplaced)]
            with m.State("READ"):
                m.d.comb += self.memory_requests.valid.eq(1)
                with m.If(self.memory_requests.ready):
                    m.next = "REPLY"
            with m.State("REPLY"):
                m.d.comb += self.memory_replies.ready.eq(1)
                with m.If(self.memory_replies.valid):
                    m.d.sync += [refused.eq(self.memory_replies.payload.error), in_second_half.eq(1)]
                    with m.If(in_second_half):
                        m.d.sync += second.eq(quantum)
                    with m.Else():
                        m.d.sync += first.eq(quantum)
                    with m.If(self.wide & ~in_second_half & ~self.memory_replies.payload.error):
                        m.next = "READ"
                    with m.Else():
                        m.next = "CHECK"
            with m.State("CHECK"):
                with m.If(illegal == QueueError.NONE):
                    m.d.comb += [self.descriptors.valid.eq(1), advance.eq(self.descriptors.ready)]
                    with m.If(advance):
                        m.d.sync += self.head.eq((self.head + Mux(self.wide, 2, 1)) & last_unit)
                        m.next = "IDLE"
                with m.Else():
                    m.d.comb += [self.error.eq(~self.reserved), self.error_cause.eq(illegal)]
                    with m.If(self.error):
                        m.next = "IDLE"

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
