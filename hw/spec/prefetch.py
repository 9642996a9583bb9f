"""Knobs of the prefetcher. Ours."""
from amaranth.lib import data

__all__ = ["PrefetchKnobs"]


class PrefetchKnobs(data.Struct):
    """All zero: it prefetches."""
    off: 1                     # it asks for nothing; streams go on being followed
