"""Issues DMA requests: the devices in turn, each by its own pattern. Ours.

::

    device table --> AddressPattern --> page list --> dma_requests
     |   ^                |
     |   +-- its state <--+
     +--> DeviceLimits <-- done
"""
from amaranth import *
from amaranth.lib import data, stream, wiring
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out

from hw.lib.lfsr import LFSR_BITS
from hw.spec.bench import DMA_BYTES, SPAN_LOG2_MAX, DeviceConfig, PageEntry, TrafficControl
from hw.spec.codec import field_width
from hw.spec.dma import TAG_BITS, Access, DmaRequest
from hw.spec.tables import PAGE_BITS
from hw.traffic.limits import DeviceLimits
from hw.traffic.messages import Flight, PagePort, Strobe, TablePort
from hw.traffic.pattern import LINE_BITS, AddressPattern, PatternState, first_word

__all__ = ["PAGE_ENTRY_WORDS", "Generator"]

_WORD_BITS = 64
PAGE_ENTRY_WORDS = data.Layout.cast(PageEntry).size // _WORD_BITS


class Generator(wiring.Component):
    """Issues DMA requests.

    Parameters
    ----------
    devices, pages : int
        Rows of the device table and of the page list.

    Members
    -------
    control, seed
        Registers of the same name.
    hold
        Choose no DMA in this cycle.
    config, page_list
        The host's way to the two tables. A row of the device table that is written starts the device's sequence anew.
    tags, in_flight
        Free tags, and how many are not free.
    done
        A DMA of this device is done.
    dma_requests
        To the unit.
    accepted
        The unit takes the request in this cycle: its tag, and what is to be remembered (`declared` is the checker's).

    Timing
    ------
    A DMA is chosen in one cycle and offered from the next: one per cycle if gap_cycles is 0, otherwise gap_cycles
    cycles in between two. The devices that are enabled and bus masters take turns; one that has as many DMAs in flight
    as its own limit allows is passed over, at no cost to the others. A device that is stopped in the device table is
    chosen no more; a request that is already offered stays until accepted. A page that permits only one access gets that
    one, whatever the device would like; a page that permits neither gets a read, which is the unit's to block. Rows keep
    their contents over a reset, but no device issues before its row has been written.
    """

    def __init__(self, *, devices, pages):
        self._devices = devices
        self._pages = pages
        super().__init__({
            "control": In(TrafficControl),
            "seed": In(LFSR_BITS),
            "hold": In(1),
            "config": In(TablePort(DeviceConfig, rows=devices)),
            "page_list": In(PagePort(rows=pages, words=PAGE_ENTRY_WORDS)),
            "tags": In(stream.Signature(TAG_BITS)),
            "in_flight": In(TAG_BITS + 1),
            "done": In(Strobe(range(devices))),
            "dma_requests": Out(stream.Signature(DmaRequest)),
            "accepted": Out(Strobe(data.StructLayout({"tag": TAG_BITS, "flight": Flight}))),
        })

    def elaborate(self, platform):
        m = Module()
        m.submodules.pattern = pattern = AddressPattern()
        m.submodules.limits = limits = DeviceLimits(devices=self._devices)
        m.submodules.configs = configs = Memory(shape=DeviceConfig, depth=self._devices, init=[])
        m.submodules.states = states = Memory(shape=PatternState, depth=self._devices, init=[])
        word_list = data.ArrayLayout(_WORD_BITS, PAGE_ENTRY_WORDS)
        m.submodules.entries = entries = Memory(shape=word_list, depth=self._pages, init=[])

        # Whose turn it is. The one whose turn comes next is chosen beside the pattern, not before it.
        enabled = Signal(self._devices)
        active = Signal(self._devices)
        turn = Signal(range(self._devices))
        next_turn = Signal.like(turn)
        chosen = Signal()
        m.d.comb += active.eq(enabled & ~limits.full)
        for device in reversed(range(self._devices)):  # the nearest after this one, last, wins
            with m.If(active[device]):
                m.d.comb += next_turn.eq(device)
        for device in reversed(range(self._devices)):
            with m.If(active[device] & (device > turn)):
                m.d.comb += next_turn.eq(device)
        has_turn = active.bit_select(turn, 1)
        with m.If(chosen | ~has_turn):
            m.d.sync += turn.eq(next_turn)

        # May a DMA be chosen now?
        gap = Signal(field_width(TrafficControl, "gap_cycles"))
        offered = Signal()
        stalled = Signal()
        m.d.comb += [
            stalled.eq(offered & ~self.dma_requests.ready),
            self.tags.ready.eq(self.control.run & has_turn & (gap == 0) & ~stalled & ~self.hold & ~self.config.write
                               & (self.in_flight < self.control.outstanding_limit)),
            chosen.eq(self.tags.valid & self.tags.ready),
        ]
        with m.If(chosen):
            m.d.sync += gap.eq(self.control.gap_cycles)
        with m.Elif((gap != 0) & ~stalled):
            m.d.sync += gap.eq(gap - 1)

        # The device table.
        config = configs.read_port(domain="comb")
        config_host = configs.read_port(domain="comb")
        config_write = configs.write_port()
        m.d.comb += [
            config.addr.eq(turn),
            config_host.addr.eq(self.config.row),
            self.config.read_data.eq(config_host.data),
            config_write.addr.eq(self.config.row),
            config_write.data.eq(self.config.write_data),
            config_write.en.eq(self.config.write),
        ]
        with m.If(self.config.write):
            written = self.config.write_data
            m.d.sync += enabled.bit_select(self.config.row, 1).eq(
                written.enabled & written.bus_master & (written.page_count != 0))

        # Its own limit.
        m.d.comb += [
            limits.row.eq(Mux(self.config.write, self.config.row, turn)),
            limits.written.eq(self.config.write),
            limits.begins.eq(chosen),
            limits.limit.eq(config.data.limit),
            limits.done.eq(self.done.valid),
            limits.done_row.eq(self.done.payload),
        ]

        # Its progress.
        state = states.read_port(domain="comb")
        state_write = states.write_port()
        m.d.comb += [state.addr.eq(turn), pattern.config.eq(config.data), pattern.state.eq(state.data)]
        with m.If(self.config.write):
            m.d.comb += [
                state_write.addr.eq(self.config.row),
                state_write.data.random.eq(first_word(self.seed, self.config.row)),
                state_write.en.eq(1),
            ]
        with m.Else():
            m.d.comb += [
                state_write.addr.eq(turn),
                state_write.data.eq(pattern.next_state),
                state_write.en.eq(chosen),
            ]

        # The page list.
        entry_read = entries.read_port()
        entry_write = entries.write_port(granularity=1)
        m.d.comb += [
            entry_read.addr.eq(pattern.page),
            entry_read.en.eq(chosen),
            entry_write.addr.eq(self.page_list.row),
            entry_write.data.eq(Cat(self.page_list.write_data for _ in range(PAGE_ENTRY_WORDS))),
            entry_write.en.eq(self.page_list.write << self.page_list.word),
        ]

        # The offer.
        device = Signal.like(turn)
        source_id = Signal(field_width(DmaRequest, "source_id"))
        tag = Signal(TAG_BITS)
        number = Signal(SPAN_LOG2_MAX)
        line = Signal(LINE_BITS)
        would_write = Signal()
        with m.If(chosen):
            m.d.sync += [
                device.eq(turn), source_id.eq(config.data.source_id), tag.eq(self.tags.payload),
                number.eq(pattern.number), line.eq(pattern.line), would_write.eq(pattern.write), offered.eq(1),
            ]
        with m.Elif(self.dma_requests.ready):
            m.d.sync += offered.eq(0)

        entry = data.View(PageEntry, Value.cast(entry_read.data))
        request = self.dma_requests.payload
        within = Cat(bit & (entry.span_log2 > place) for place, bit in enumerate(number))
        writes = entry.writable & (would_write | ~entry.readable)
        m.d.comb += [
            self.dma_requests.valid.eq(offered),
            request.source_id.eq(source_id),
            request.access.eq(Mux(writes, Access.WRITE, Access.READ)),
            request.iova.eq(((entry.iova_page | within) << PAGE_BITS) | (line * DMA_BYTES)),
            request.length_bytes.eq(DMA_BYTES),
            request.tag.eq(tag),
        ]

        # And what is to be remembered.
        sequence = Signal(field_width(Flight, "sequence"), init=1)
        flight = self.accepted.payload.flight
        m.d.comb += [
            self.accepted.valid.eq(self.dma_requests.valid & self.dma_requests.ready),
            self.accepted.payload.tag.eq(tag),
            flight.device.eq(device),
            flight.source_id.eq(source_id),
            flight.access.eq(request.access),
            flight.iova.eq(request.iova),
            flight.sequence.eq(sequence),
            flight.old_page.eq(entry.old_page | within),
            flight.new_page.eq(entry.new_page | within),
        ]
        with m.If(self.accepted.valid):
            m.d.sync += sequence.eq(sequence + 1)
        return m
