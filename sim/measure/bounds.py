"""What cannot be beaten: one function for each bound that a benchmark is held against. Ours.

All times are cycles, all rates are requests a cycle. Memory takes a read a cycle and its reply is valid `latency` cycles
after the handshake; the next read of the same walk can go out one cycle later. So a chain of dependent reads takes
``latency + 1`` cycles for each of them, and no unit whose requests leave a register is faster.

A unit has `slots` walks in flight at most. A walk of one read keeps its slot for ``latency + SLOT_OVERHEAD`` cycles: the
latency, and what it takes to allocate the slot, send, check, and answer. That allowance is part of the bound.
"""

__all__ = [
    "DMAS_PER_PAGE", "FULL_RATE", "HIT_LATENCY", "INVALIDATIONS", "SLOT_OVERHEAD", "cold_walk", "fair_share",
    "hit_rate", "missing_rate", "queue_batch", "reach_pages", "resident_share", "sequential_rate", "victim_cycles",
    "walk_read",
]

FULL_RATE = 1.0          # the unit's port takes one request a cycle
HIT_LATENCY = 3          # of the lookup pipeline: read, compare, select
SLOT_OVERHEAD = 8        # cycles of a slot beside the memory's latency
DMAS_PER_PAGE = 64       # of 64 bytes in 4 KiB
INVALIDATIONS = 64       # of W6


def hit_rate() -> float:
    """W1: one request a cycle, for there is one port."""
    return FULL_RATE


def cold_walk(latency: int, levels: int) -> int:
    """W2, nothing cached: root entry, context entry and `levels` paging entries, each read after the one before.

    (2 + levels) (L + 1)
    """
    return (2 + levels) * (latency + 1)


def walk_read(latency: int) -> int:
    """W2, upper levels cached: one read, whatever the depth.

    L + 1
    """
    return latency + 1


def resident_share(reach: int, working_set: int) -> float:
    """Share of a working set that a cache can hold, and so its best hit ratio under uniformly random accesses.

    min(1, reach / working set). Each access is independent of the past, so no replacement policy that does not know the
    future does better.
    """
    return min(1.0, reach / working_set)


def missing_rate(latency: int, slots: int, miss_ratio: float, second_read: float = 0.0) -> float:
    """W3 and 2 MiB pages: random requests, of which `miss_ratio` need a walk.

    min(1, slots / (m (L + 8 + r (L + 1)))): every miss takes a slot for one read, and for one read more in the share `r`
    of misses whose table is not in the structure caches (1 - `resident_share` of that cache).
    """
    if miss_ratio <= 0:
        return FULL_RATE
    return min(FULL_RATE, slots / (miss_ratio * (latency + SLOT_OVERHEAD + second_read * (latency + 1))))


def sequential_rate(latency: int, slots: int, entries_per_word: int, requests_per_page: int = 1) -> float:
    """W4: sequential pages; each read brings the entries of `entries_per_word` pages, and each page takes so many requests.

    min(1, slots n k / (L + 8))
    """
    return min(FULL_RATE, slots * entries_per_word * requests_per_page / (latency + SLOT_OVERHEAD))


def victim_cycles(latency: int, slots: int, miss_ratio: float) -> float:
    """W5: cycles per request while the share `miss_ratio` of all requests is walked for.

    max(1, p (L + 8) / slots)
    """
    return max(1.0, miss_ratio * (latency + SLOT_OVERHEAD) / slots)


def queue_batch(latency: int, descriptors: int) -> int:
    """W6: `descriptors` invalidations and a wait: the first is there after L + 1 cycles, then one is executed a cycle.

    L + 1 + n + 1. The drain is not in it: it depends on the memory of the DMA, not on the unit.
    """
    return latency + 1 + descriptors + 1


def fair_share(devices: int) -> float:
    """Fairness: the share of one of so many devices that all want the port all the time."""
    return FULL_RATE / devices


def reach_pages(lines: int, entries_per_word: int) -> int:
    """Pages, or tables, that a cache of so many lines holds, each of the entries of one memory word."""
    return lines * entries_per_word
