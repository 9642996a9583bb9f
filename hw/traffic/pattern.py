"""In which order a device visits its pages, and what it does there: the hardware and its Python twin.

Each device owns the slice [first_page, first_page + page_count) of the page list. It begins with the first page of the
slice, makes 2**burst_log2 DMAs there, and then goes on to the next page of its pattern. One random word per DMA gives
the place in the page, the choice between read and write, and the page that RANDOM takes next. A device's sequence
depends on its row, its CONFIG and the seed alone, never on time or on other devices.

Source: ours.
"""
from collections import namedtuple

from amaranth import *
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from hw.lib.lfsr import LFSR_BITS, next_word
from hw.spec.bench import DMA_BYTES, MAX_DEVICES, DeviceConfig, Pattern
from hw.spec.codec import decode, field_width
from hw.spec.tables import PAGE_BYTES

__all__ = ["LINE_BITS", "AddressPattern", "Draw", "PatternState", "Visit", "first_word", "visits"]

LINE_BITS = (PAGE_BYTES // DMA_BYTES - 1).bit_length()  # which DMA_BYTES of the page
_INDEX_BITS = field_width(DeviceConfig, "page_count")
_BURST_BITS = (1 << field_width(DeviceConfig, "burst_log2")) - 1
_DEVICE_BITS = (MAX_DEVICES - 1).bit_length()


class Draw(data.Struct):
    """One random word, cut up."""

    _unused_5_0: 6
    line: LINE_BITS
    write: 4                # a write if below DeviceConfig.writes
    fraction: 16            # of the slice: the page that RANDOM takes next


class PatternState(data.Struct):
    """Where a device stands in its sequence."""

    index: _INDEX_BITS      # page in the slice
    burst: _BURST_BITS      # DMAs made on it
    random: LFSR_BITS       # the word of the next DMA


def first_word(seed, device):
    """The random word a device begins with, for integers and hardware values: never zero, another for each device."""
    return ((seed << (_DEVICE_BITS + 1)) | (device << 1) | 1) & ((1 << LFSR_BITS) - 1)


class AddressPattern(wiring.Component):
    """One step of a device's sequence.

    Members
    -------
    config, state
        Of the device.
    page
        Index in the page list.
    line
        Which DMA_BYTES of the page.
    write
        The device would like to write.
    next_state
        The device's state after this DMA.

    Timing
    ------
    Combinational.
    """

    config: In(DeviceConfig)
    state: In(PatternState)
    page: Out(_INDEX_BITS)
    line: Out(LINE_BITS)
    write: Out(1)
    next_state: Out(PatternState)

    def elaborate(self, platform):
        m = Module()
        config, state, following = self.config, self.state, self.next_state
        draw = data.View(Draw, state.random)
        m.d.comb += [
            self.page.eq(config.first_page + state.index),
            self.line.eq(draw.line),
            self.write.eq(draw.write < config.writes),
        ]

        # The page after this one: a step that leaves the slice wraps once, a longer one than the slice starts over.
        ahead = Signal(_INDEX_BITS + 1)
        wrapped = Signal(_INDEX_BITS + 1)
        next_index = Signal(_INDEX_BITS)
        m.d.comb += [
            ahead.eq(state.index + Mux(config.pattern == Pattern.STRIDED, config.stride, 1)),
            wrapped.eq(ahead - config.page_count),
        ]
        with m.If(config.pattern == Pattern.RANDOM):
            m.d.comb += next_index.eq((draw.fraction * config.page_count) >> len(draw.fraction))
        with m.Elif(ahead < config.page_count):
            m.d.comb += next_index.eq(ahead)
        with m.Elif(wrapped < config.page_count):
            m.d.comb += next_index.eq(wrapped)

        m.d.comb += following.random.eq(next_word(state.random))
        with m.If(state.burst + 1 == 1 << config.burst_log2):
            m.d.comb += [following.index.eq(next_index), following.burst.eq(0)]
        with m.Else():
            m.d.comb += [following.index.eq(state.index), following.burst.eq(state.burst + 1)]
        return m


Visit = namedtuple("Visit", "page line write")
"""One DMA of a sequence: index in the page list, place in the page, whether the device would like to write."""


def visits(config, word):
    """The Python twin: the Visits of a device with this DeviceConfig constant and first random word, for ever."""
    index = 0
    while True:
        for _ in range(1 << config.burst_log2):
            draw = decode(Draw, word)
            yield Visit(config.first_page + index, draw.line, int(draw.write < config.writes))
            word = next_word(word)
        if config.pattern == Pattern.RANDOM:
            index = draw.fraction * config.page_count >> field_width(Draw, "fraction")
        else:
            ahead = index + (config.stride if config.pattern == Pattern.STRIDED else 1)
            index = next((step for step in (ahead, ahead - config.page_count) if step < config.page_count), 0)
