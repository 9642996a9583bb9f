"""Read whole table entries of any size, in chunks, several at a time.

::

    requests --> slot 0 --+                  +--> slot 0 --+
                 slot 1 --+--> memory ports -+    slot 1 --+--> entries
                 ...      +                  +    ...      +

A chunk is what the unit reads at one instant. An entry of several chunks can therefore be read torn: how likely
is up to the order and the delay, which are parameters because the architecture promises nothing about them.
"""
from amaranth import *
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import ceil_log2

from hw.lib.merge import Merge
from hw.lib.stream import Queue, connect_stream
from hw.spec.memory import CLIENT_TAG_BITS, MemoryOperation, MemoryRequest, memory_reply_layout

__all__ = ["EntryFetcher"]

_HPA_BITS = data.Layout.cast(MemoryRequest)["hpa"].width
_CHUNK_BITS = (64, 128, 256, 512)
_ORDERS = ("ascending", "descending")


class EntryFetcher(wiring.Component):
    """Fetcher of table entries.

    Parameters
    ----------
    entry_bits : int
        Size of an entry, a multiple of `chunk_bits`.
    chunk_bits : int
        What is read at one instant: 64, 128, 256 or 512, at most `word_bits`. With 64, one word is read twice, at
        different times, and a half is taken of each.
    word_bits : int
        Width of a memory word, 128 or 512.
    slots : int
        Fetches in flight, 1 to 256.
    order : str
        "ascending" or "descending": the order in which the chunks of an entry are read.

    Members
    -------
    requests
        `hpa` (byte address of an entry, aligned to its size) and `tag`: the number of the slot, of the requester's choice.
    entries
        One for each request, in any order: `tag`, `data`, and `error` if memory refused a chunk (then `data` is
        meaningless, and the chunks after it have not been read). Its tag may be used again as soon as it is offered.
    memory_requests, memory_replies
        Table memory. The tag is the slot.
    chunk_delay
        Least cycles between a chunk's arrival and the request for the next.

    Timing
    ------
    A request is offered to memory in the cycle after its acceptance, an entry two cycles after its last chunk arrived.
    A request whose tag is in use waits. Replies are always taken.

    Source: ours. That an entry is fetched in several transactions: VT-d 4.1, 6.5.3.3 and chapter 9 (128-bit quantum).
    """

    def __init__(self, *, entry_bits=128, chunk_bits=128, word_bits=128, slots=4, order="ascending"):
        if chunk_bits not in _CHUNK_BITS or chunk_bits > word_bits:
            raise ValueError(f"chunk_bits must be one of {_CHUNK_BITS} and at most word_bits ({word_bits}), "
                             f"not {chunk_bits!r}")
        if entry_bits < chunk_bits or entry_bits % chunk_bits:
            raise ValueError(f"entry_bits must be a multiple of chunk_bits ({chunk_bits}), not {entry_bits!r}")
        if not 1 <= slots <= 1 << CLIENT_TAG_BITS:
            raise ValueError(f"slots must be between 1 and {1 << CLIENT_TAG_BITS}, not {slots!r}")
        if order not in _ORDERS:
            raise ValueError(f"order must be one of {_ORDERS}, not {order!r}")
        self._entry_bits = entry_bits
        self._chunk_bits = chunk_bits
        self._word_bits = word_bits
        self._slots = slots
        self._order = order
        self._tag_bits = max(1, ceil_log2(slots))
        self._entry = data.StructLayout({"tag": self._tag_bits, "data": entry_bits, "error": 1})
        super().__init__({
            "requests": In(stream.Signature(data.StructLayout({"hpa": _HPA_BITS, "tag": self._tag_bits}))),
            "entries": Out(stream.Signature(self._entry)),
            "memory_requests": Out(stream.Signature(MemoryRequest)),
            "memory_replies": In(stream.Signature(memory_reply_layout(word_bits))),
            "chunk_delay": In(16),
        })

    def elaborate(self, platform):
        m = Module()
        m.submodules.reads = reads = Merge(MemoryRequest, ports=self._slots)
        m.submodules.finished = finished = Merge(self._entry, ports=self._slots)
        m.submodules.offered = offered = Queue(self._entry, depth=2)
        connect_stream(m, src=reads.o, dst=self.memory_requests)
        connect_stream(m, src=finished.o, dst=offered.i)
        connect_stream(m, src=offered.o, dst=self.entries)
        m.d.comb += self.memory_replies.ready.eq(1)

        for tag in range(self._slots):
            m.submodules[f"slot_{tag}"] = slot = _Slot(
                entry_bits=self._entry_bits, chunk_bits=self._chunk_bits, word_bits=self._word_bits, order=self._order)
            mine = self.requests.payload.tag == tag
            m.d.comb += [
                slot.start.payload.eq(self.requests.payload.hpa),
                slot.start.valid.eq(self.requests.valid & mine),
                slot.chunk_delay.eq(self.chunk_delay),
                slot.arrived.eq(self.memory_replies.valid & (self.memory_replies.payload.tag == tag)),
                slot.word.eq(self.memory_replies.payload.data),
                slot.error.eq(self.memory_replies.payload.error),
                reads.i[tag].payload.operation.eq(MemoryOperation.READ),
                reads.i[tag].payload.hpa.eq(slot.reads.payload),
                reads.i[tag].payload.tag.eq(tag),
                reads.i[tag].valid.eq(slot.reads.valid),
                slot.reads.ready.eq(reads.i[tag].ready),
                finished.i[tag].payload.tag.eq(tag),
                finished.i[tag].payload.data.eq(slot.entry.payload.data),
                finished.i[tag].payload.error.eq(slot.entry.payload.error),
                finished.i[tag].valid.eq(slot.entry.valid),
                slot.entry.ready.eq(finished.i[tag].ready),
            ]
            with m.If(mine):
                m.d.comb += self.requests.ready.eq(slot.start.ready)
        return m


class _Slot(wiring.Component):
    """One fetch at a time, chunk after chunk. `arrived`, `word` and `error` are the reply to its read."""

    def __init__(self, *, entry_bits, chunk_bits, word_bits, order):
        self._chunk_bits = chunk_bits
        self._chunks = entry_bits // chunk_bits
        self._order = list(range(self._chunks))
        if order == "descending":
            self._order.reverse()
        super().__init__({
            "start": In(stream.Signature(_HPA_BITS)),
            "reads": Out(stream.Signature(_HPA_BITS)),
            "arrived": In(1),
            "word": In(word_bits),
            "error": In(1),
            "entry": Out(stream.Signature(data.StructLayout({"data": entry_bits, "error": 1}))),
            "chunk_delay": In(16),
        })

    def elaborate(self, platform):
        m = Module()
        chunk_bytes_log2 = ceil_log2(self._chunk_bits // 8)
        first, last = self._order[0], self._order[-1]
        entry_hpa = Signal(_HPA_BITS)
        chunk = Signal(range(self._chunks + 1))
        delay_left = Signal.like(self.chunk_delay)
        m.d.comb += self.reads.payload.eq(entry_hpa + (chunk << chunk_bytes_log2))

        chunks_per_word = len(self.word) // self._chunk_bits
        position = self.reads.payload[chunk_bytes_log2:][:ceil_log2(chunks_per_word)]

        with m.FSM(name="fetch"):
            with m.State("IDLE"):
                m.d.comb += self.start.ready.eq(1)
                with m.If(self.start.valid):
                    m.d.sync += [
                        entry_hpa.eq(self.start.payload), chunk.eq(first), self.entry.payload.error.eq(0),
                    ]
                    m.next = "READ"
            with m.State("READ"):
                m.d.comb += self.reads.valid.eq(1)
                with m.If(self.reads.ready):
                    m.next = "RECEIVE"
            with m.State("RECEIVE"):
                with m.If(self.arrived):
                    m.d.sync += [
                        self.entry.payload.data.word_select(chunk, self._chunk_bits).eq(
                            self.word.word_select(position, self._chunk_bits)),
                        self.entry.payload.error.eq(self.error),
                        delay_left.eq(self.chunk_delay),
                    ]
                    with m.If(self.error | (chunk == last)):
                        m.next = "OFFER"
                    with m.Else():
                        m.d.sync += chunk.eq(chunk + (1 if first <= last else -1))
                        m.next = "PAUSE"
            with m.State("PAUSE"):
                with m.If(delay_left == 0):
                    m.next = "READ"
                with m.Else():
                    m.d.sync += delay_left.eq(delay_left - 1)
            with m.State("OFFER"):
                m.d.comb += self.entry.valid.eq(1)
                with m.If(self.entry.ready):
                    m.next = "IDLE"
        return m
