"""Pseudo-random words: a 32-bit linear feedback shift register in Marsaglia's xorshift form.

One step mixes the whole word, so that every step gives 32 fresh bits; all 2**32 - 1 nonzero words are visited before
one comes again. `next_word` is the one definition: hardware and Python take the same expression.

Source: G. Marsaglia, "Xorshift RNGs", Journal of Statistical Software 8 (2003); triple (13, 17, 5).
"""
from amaranth import *
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

__all__ = ["LFSR_BITS", "Lfsr", "next_word", "words"]

LFSR_BITS = 32
_MASK = (1 << LFSR_BITS) - 1


def next_word(word):
    """The word after `word`, an integer or a hardware value. Zero is followed by zero: never start there."""
    word = word ^ ((word << 13) & _MASK)
    word = word ^ (word >> 17)
    return word ^ ((word << 5) & _MASK)


def words(seed):
    """The sequence that an `Lfsr` of this seed shows, from the seed on, for ever."""
    word = seed
    while True:
        yield word
        word = next_word(word)


class Lfsr(wiring.Component):
    """A free-standing source of pseudo-random words.

    Parameters
    ----------
    seed : int
        First word, 1 to 2**32 - 1.

    Members
    -------
    step
        Go on to the next word.
    word
        The present word.

    Timing
    ------
    `word` changes in the cycle after `step`.
    """

    def __init__(self, *, seed=1):
        if not 0 < seed <= _MASK:
            raise ValueError(f"seed must be between 1 and {_MASK:#x}, not {seed!r}")
        self._seed = seed
        super().__init__({"step": In(1), "word": Out(LFSR_BITS, init=seed)})

    def elaborate(self, platform):
        m = Module()
        with m.If(self.step):
            m.d.sync += self.word.eq(next_word(self.word))
        return m
