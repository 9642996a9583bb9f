"""Copy data pages while devices write to them: the bench's pages, whose words say which page they are in. Ours."""
from collections.abc import Sequence

import numpy as np
from amaranth.lib import data

from hw.spec.bench import DataWord, page_signature
from hw.spec.tables import PAGE_BITS, PAGE_BYTES
from sw.errors import BadRange
from sw.intervals import Interval
from sw.transport import Transport

__all__ = ["MAX_COPY_BYTES", "copy_pages"]

MAX_COPY_BYTES = 16 << 20
_WORD_BYTES = data.Layout.cast(DataWord).size // 8
_SIGNATURE = data.Layout.cast(DataWord)["signature"].offset // 64  # which half of a word


async def copy_pages(transport: Transport, intervals: Sequence[Interval], offset: int) -> int:
    """Copy every page of these intervals `offset` bytes further up, signing the words anew that carried its signature.

    Returns
    -------
    int
        Pages copied.

    Raises
    ------
    BadRange
        If that is too much, or a copy would land on a page that is copied.
    """
    pages = sorted({hpa for interval in intervals
                    for hpa in range(interval.hpa, interval.hpa + interval.size, PAGE_BYTES)}
                   if sum(interval.size for interval in intervals) <= MAX_COPY_BYTES else set())
    if not pages and intervals:
        raise BadRange("relocated bytes", sum(interval.size for interval in intervals),
                       f"the kernel copies at most {MAX_COPY_BYTES:#x}; copy them yourself and say --pages-copied")
    hit = set(pages) & {page + offset for page in pages}
    if offset % PAGE_BYTES or hit:
        raise BadRange("relocate offset", offset, f"must be a multiple of {PAGE_BYTES:#x} that leads off the pages")
    for page in pages:
        words = np.frombuffer(await transport.read_memory(page, PAGE_BYTES), dtype="<u8").copy().reshape(-1, 2)
        signature = words[:, _SIGNATURE]
        signature[signature == page_signature(page >> PAGE_BITS)] = page_signature((page + offset) >> PAGE_BITS)
        await transport.write_memory(page + offset, words.tobytes())
    return len(pages)
