"""In which order a device visits its pages, and what it does there: the hardware and its Python twin.

Each device owns the slice [first_page, first_page + page_count) of the page list. It begins with the first entry of the
slice, makes 2**burst_log2 DMAs there, and then goes on to the next entry of its pattern. One random word per DMA gives
the place in the page, the choice between read and write, and where RANDOM goes next. A device's sequence depends on its
row, its CONFIG and the seed alone, never on time or on other devices.

An entry can stand for a span of pages. SEQUENTIAL and STRIDED count the rounds through the slice, and visit the page of
the span with the number of the round; RANDOM draws a number for each visit. So no step has to wait for what the entry
says of its length: a span takes the low bits of the number that it needs. A single span is visited page after page; of
several spans in one slice, each has one visit in each round.

The place in the page is random, but a burst of SEQUENTIAL or STRIDED goes line by line from the first line on: 64 DMAs
(burst_log2 = 6) read a page from end to end, 128 read it twice.

Source: ours.
"""
from collections import namedtuple

from amaranth import *
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from hw.lib.lfsr import LFSR_BITS, next_word
from hw.spec.bench import DMA_BYTES, MAX_DEVICES, SPAN_LOG2_MAX, DeviceConfig, Pattern
from hw.spec.codec import decode, field_width
from hw.spec.tables import PAGE_BYTES

__all__ = ["LINE_BITS", "AddressPattern", "Draw", "PatternState", "Visit", "first_word", "random_number", "visits"]

LINE_BITS = (PAGE_BYTES // DMA_BYTES - 1).bit_length()  # which DMA_BYTES of the page
_INDEX_BITS = field_width(DeviceConfig, "page_count")
_BURST_BITS = (1 << field_width(DeviceConfig, "burst_log2")) - 1
_DEVICE_BITS = (MAX_DEVICES - 1).bit_length()


class Draw(data.Struct):
    """One random word, cut up."""

    _unused_5_0: 6
    line: LINE_BITS
    write: 4                # a write if below DeviceConfig.writes
    fraction: 16            # of the slice: the entry that RANDOM takes next, and `random_number` the page of its span


class PatternState(data.Struct):
    """Where a device stands in its sequence."""

    index: _INDEX_BITS      # entry in the slice
    number: SPAN_LOG2_MAX   # page in the entry's span, modulo its length
    burst: _BURST_BITS      # DMAs made on it
    random: LFSR_BITS       # the word of the next DMA


def first_word(seed, device):
    """The random word a device begins with, for integers and hardware values: never zero, another for each device."""
    return ((seed << (_DEVICE_BITS + 1)) | (device << 1) | 1) & ((1 << LFSR_BITS) - 1)


def random_number(word):
    """The page of a span that RANDOM takes next, for integers and hardware values: as many low bits as a span can need.

    They overlap the fields of Draw, but what is drawn for one DMA and where the next one goes need not be independent.
    """
    return word & ((1 << SPAN_LOG2_MAX) - 1)


class AddressPattern(wiring.Component):
    """One step of a device's sequence.

    Members
    -------
    config, state
        Of the device.
    page
        Index in the page list.
    number
        Which page of the entry's span, modulo its length.
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
    number: Out(SPAN_LOG2_MAX)
    line: Out(LINE_BITS)
    write: Out(1)
    next_state: Out(PatternState)

    def elaborate(self, platform):
        m = Module()
        config, state, following = self.config, self.state, self.next_state
        draw = data.View(Draw, state.random)
        at_random = config.pattern == Pattern.RANDOM
        m.d.comb += [
            self.page.eq(config.first_page + state.index),
            self.number.eq(state.number),
            self.line.eq(Mux(at_random | (config.burst_log2 == 0), draw.line, state.burst)),
            self.write.eq(draw.write < config.writes),
        ]

        # The entry after this one: a step that leaves the slice wraps once, a longer one than the slice starts over.
        ahead = Signal(_INDEX_BITS + 1)
        wrapped = Signal(_INDEX_BITS + 1)
        next_index = Signal(_INDEX_BITS)
        next_number = Signal(SPAN_LOG2_MAX)
        m.d.comb += [
            ahead.eq(state.index + Mux(config.pattern == Pattern.STRIDED, config.stride, 1)),
            wrapped.eq(ahead - config.page_count),
        ]
        m.d.comb += next_number.eq(state.number + (ahead >= config.page_count))
        with m.If(at_random):
            m.d.comb += [
                next_index.eq((draw.fraction * config.page_count) >> len(draw.fraction)),
                next_number.eq(random_number(state.random)),
            ]
        with m.Elif(ahead < config.page_count):
            m.d.comb += next_index.eq(ahead)
        with m.Elif(wrapped < config.page_count):
            m.d.comb += next_index.eq(wrapped)

        m.d.comb += following.random.eq(next_word(state.random))
        with m.If(state.burst + 1 == 1 << config.burst_log2):
            m.d.comb += [following.index.eq(next_index), following.number.eq(next_number), following.burst.eq(0)]
        with m.Else():
            m.d.comb += [
                following.index.eq(state.index), following.number.eq(state.number), following.burst.eq(state.burst + 1),
            ]
        return m


Visit = namedtuple("Visit", "page number line write")
"""One DMA of a sequence: index in the page list, page in its span (modulo the span's length), place in the page, whether
the device would like to write."""


def visits(config, word):
    """The Python twin: the Visits of a device with this DeviceConfig constant and first random word, for ever."""
    at_random = config.pattern == Pattern.RANDOM
    index = number = 0
    while True:
        for burst in range(1 << config.burst_log2):
            draw = decode(Draw, word)
            line = draw.line if at_random or config.burst_log2 == 0 else burst % (1 << LINE_BITS)
            yield Visit(config.first_page + index, number, line, int(draw.write < config.writes))
            word, last = next_word(word), word
        if at_random:
            index = draw.fraction * config.page_count >> field_width(Draw, "fraction")
            number = random_number(last)
        else:
            ahead = index + (config.stride if config.pattern == Pattern.STRIDED else 1)
            index = next((step for step in (ahead, ahead - config.page_count) if step < config.page_count), 0)
            number = (number + (ahead >= config.page_count)) % (1 << SPAN_LOG2_MAX)
