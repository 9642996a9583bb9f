"""Read whole table entries of any size, in chunks, several at a time.

::

    requests --> turns (slot numbers) --> memory ports --> replies ---- last chunk --> entries
                   ^                                         |                            ^
                   |                                         v                            |
                   +----------- delay <---------- any other chunk --> [ chunks so far ] --+

A chunk is what the unit reads at one instant. An entry of several chunks can therefore be read torn: how likely
is up to the order and the delay, which are parameters because the architecture promises nothing about them.
"""
from amaranth import *
from amaranth.lib import data, memory, stream, wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import ceil_log2

from hw.lib.merge import Merge
from hw.lib.stream import Queue
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
        `valid`, and as `payload` one entry for each request, in any order: `tag`, `data`, and `error` if memory refused a
        chunk (then `data` is meaningless, and the chunks after it have not been read). Taken in the cycle in which
        `valid` is high, always.
    memory_requests, memory_replies
        Table memory. The tag is the slot. Replies are always taken.
    chunk_delay
        Least cycles between a chunk's arrival and the request for the next.

    Timing
    ------
    A request is offered to memory in the cycle after its acceptance, if no other waits. An entry comes in the cycle in
    which its last chunk arrives: combinational from `memory_replies`. Between the arrival of another chunk and the offer of
    the next lie `chunk_delay` cycles and one. A request waits while its tag is in use, and for nothing else; it is in use no
    more in the cycle in which its entry comes, so that a walk loses no cycle between two entries.

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
        self._chunk_bits = chunk_bits
        self._chunk_log2 = ceil_log2(chunk_bits // 8)  # of its bytes
        self._chunks = entry_bits // chunk_bits
        self._chunks_per_word = word_bits // chunk_bits
        self._slots = slots
        self._first, self._last = (0, self._chunks - 1) if order == "ascending" else (self._chunks - 1, 0)
        self._tag_bits = max(1, ceil_log2(slots))
        self._entry = data.StructLayout({"tag": self._tag_bits, "data": entry_bits, "error": 1})
        super().__init__({
            "requests": In(stream.Signature(data.StructLayout({"hpa": _HPA_BITS, "tag": self._tag_bits}))),
            "entries": Out(wiring.Signature({"valid": Out(1), "payload": Out(self._entry)})),
            "memory_requests": Out(stream.Signature(MemoryRequest)),
            "memory_replies": In(stream.Signature(memory_reply_layout(word_bits))),
            "chunk_delay": In(16),
        })

    def elaborate(self, platform):
        m = Module()
        reply, entry = self.memory_replies, self.entries
        tag = reply.payload.tag[:self._tag_bits]
        chunks = Signal(data.ArrayLayout(range(max(2, self._chunks)), self._slots))  # the one that each slot reads
        chunk = chunks[tag]
        m.d.comb += [
            reply.ready.eq(1),
            entry.valid.eq(reply.valid & (reply.payload.error | (chunk == self._last))),
            entry.payload.tag.eq(tag),
            entry.payload.error.eq(reply.payload.error),
        ]

        # A request takes its slot; its turn to read comes before those of slots that go on with their next chunk.
        requests = self.requests
        busy = Signal(self._slots)
        ended = entry.valid & (tag == requests.payload.tag)
        starts = requests.valid & requests.ready
        m.d.comb += requests.ready.eq(~busy.bit_select(requests.payload.tag, 1) | ended)
        with m.If(entry.valid):
            m.d.sync += busy.bit_select(tag, 1).eq(0)
        with m.If(starts):
            m.d.sync += [
                busy.bit_select(requests.payload.tag, 1).eq(1),
                chunks[requests.payload.tag].eq(self._first),
            ]
        m.submodules.turns = turns = Queue(self._tag_bits, depth=self._slots)  # always has room: one turn per slot
        m.d.comb += [turns.i.valid.eq(starts), turns.i.payload.eq(requests.payload.tag)]
        if self._chunks > 1:
            self._go_on(m, starts=starts, turn=turns.i, chunks=chunks)

        # The address stays where it was put; what travels is the number of its slot.
        m.submodules.addresses = addresses = memory.Memory(shape=_HPA_BITS, depth=self._slots, init=[])
        address_write, address_read = addresses.write_port(), addresses.read_port(domain="comb")
        read = self.memory_requests
        hpa = address_read.data + (chunks[turns.o.payload] << self._chunk_log2)
        m.d.comb += [
            address_write.addr.eq(requests.payload.tag), address_write.data.eq(requests.payload.hpa),
            address_write.en.eq(starts),
            address_read.addr.eq(turns.o.payload),
            read.payload.operation.eq(MemoryOperation.READ),
            read.payload.hpa.eq(hpa),
            read.payload.tag.eq(turns.o.payload),
            read.valid.eq(turns.o.valid),
            turns.o.ready.eq(read.ready),
        ]

        # The chunk in its word, and the entry around it.
        arrived = reply.payload.data
        if self._chunks_per_word > 1:
            positions = Signal(data.ArrayLayout(range(self._chunks_per_word), self._slots))
            with m.If(read.valid):
                m.d.sync += positions[turns.o.payload].eq(hpa[self._chunk_log2:])
            arrived = arrived.word_select(positions[tag], self._chunk_bits)
        whole = entry.payload.data
        m.d.comb += whole.word_select(self._last, self._chunk_bits).eq(arrived)
        for number in range(self._chunks):
            if number != self._last:
                m.submodules[f"chunk_{number}"] = kept = memory.Memory(
                    shape=self._chunk_bits, depth=self._slots, init=[])
                kept_write, kept_read = kept.write_port(), kept.read_port(domain="comb")
                m.d.comb += [
                    kept_write.addr.eq(tag), kept_write.data.eq(arrived),
                    kept_write.en.eq(reply.valid & (chunk == number)),
                    kept_read.addr.eq(tag),
                    whole.word_select(number, self._chunk_bits).eq(kept_read.data),
                ]
        return m

    def _go_on(self, m, *, starts, turn, chunks):
        """After a chunk that is neither the last nor refused: after the delay, a turn for the next, if no request starts."""
        m.submodules.continued = continued = Merge(self._tag_bits, ports=self._slots)
        for slot in range(self._slots):
            delay_left = Signal.like(self.chunk_delay, name=f"delay_left_{slot}")
            pausing = Signal(name=f"pausing_{slot}")
            mine = self.memory_replies.valid & (self.memory_replies.payload.tag == slot)
            m.d.comb += [continued.i[slot].valid.eq(pausing & (delay_left == 0)), continued.i[slot].payload.eq(slot)]
            with m.If(mine & ~self.entries.valid):
                m.d.sync += [pausing.eq(1), delay_left.eq(self.chunk_delay)]
            with m.Elif(delay_left != 0):
                m.d.sync += delay_left.eq(delay_left - 1)
            with m.Elif(continued.i[slot].ready & pausing):
                step = 1 if self._first < self._last else -1
                m.d.sync += [pausing.eq(0), chunks[slot].eq(chunks[slot] + step)]
        m.d.comb += continued.o.ready.eq(~starts)
        with m.If(~starts):
            m.d.comb += [turn.valid.eq(continued.o.valid), turn.payload.eq(continued.o.payload)]
