"""Copy data pages while devices write to them: the bench's pages, whose words say which page they are in. Ours."""
from collections.abc import Sequence

import numpy as np
from amaranth.lib import data

from hw.spec.bench import DataWord, page_signature
from hw.spec.tables import PAGE_BITS, PAGE_BYTES
from sw.errors import BadRange
from sw.intervals import Interval
from sw.transport import Transport

__all__ = ["MAX_COPY_BYTES", "copy_pages", "pages_of"]

MAX_COPY_BYTES = 16 << 20
_WORDS = data.Layout.cast(DataWord).size // 64                     # of 64 bits, in a DataWord
_SIGNATURE = data.Layout.cast(DataWord)["signature"].offset // 64  # which of them


def pages_of(intervals: Sequence[Interval]) -> list[int]:
    """Every page (HPA) that these intervals reach, once. Raises BadRange if that is more than anybody should copy."""
    size = sum(interval.size for interval in intervals)
    if size > MAX_COPY_BYTES:
        raise BadRange("relocated bytes", size, f"the kernel copies at most {MAX_COPY_BYTES:#x}; copy them yourself and "
                                                f"say --pages-copied")
    return sorted({hpa for interval in intervals
                   for hpa in range(interval.hpa, interval.hpa + interval.size, PAGE_BYTES)})


async def copy_pages(transport: Transport, pages: Sequence[int], offset: int) -> None:
    """Copy these pages `offset` bytes further up, signing the words anew that carried their page's signature."""
    for page in pages:
        words = np.frombuffer(await transport.read_memory(page, PAGE_BYTES), dtype="<u8").copy()
        signature = words.reshape(-1, _WORDS)[:, _SIGNATURE]
        signature[signature == page_signature(page >> PAGE_BITS)] = page_signature((page + offset) >> PAGE_BITS)
        await transport.write_memory(page + offset, words.tobytes())
