"""Fill, look up and invalidate an Iotlb, one at a time: what the tests of it share."""

from hw.spec.tables import PageSize
from tests.hw.iommu.request_path import begin, put

__all__ = ["SIZES", "SPAN", "fill", "invalidate", "look_up"]

SIZES = (PageSize.SIZE_4K, PageSize.SIZE_2M, PageSize.SIZE_1G)
SPAN = {PageSize.SIZE_4K: 1, PageSize.SIZE_2M: 512, PageSize.SIZE_1G: 512 * 512}
"""4 KiB pages in a page."""


async def fill(ctx, dut, value):
    """Put one line in, and wait until lookups see it."""
    put(ctx, dut.fill.payload, value)
    ctx.set(dut.fill.valid, 1)
    await ctx.tick()
    ctx.set(dut.fill.valid, 0)
    await ctx.tick()


async def look_up(ctx, dut, iova_page, *, domain_id=5, read=1, write=0):
    """Look one page up; the Translation, or None."""
    ctx.set(dut.iova_page, iova_page)
    await ctx.tick()
    ctx.set(dut.compared.domain_id, domain_id)
    ctx.set(dut.compared.needs_read, read)
    ctx.set(dut.compared.needs_write, write)
    ctx.set(dut.looked_up, 1)
    await ctx.tick()
    ctx.set(dut.looked_up, 0)
    return ctx.get(dut.line) if ctx.get(dut.hit) else None


async def invalidate(ctx, dut, value):
    """One invalidation, from begin to the end of its scan."""
    await begin(ctx, dut.invalidation, value)
    while ctx.get(dut.busy):
        await ctx.tick()
    await ctx.tick()
