"""A small TaggedCache of its own kind of line, and what its tests do with it, one thing at a time."""

from amaranth.hdl import Mux
from amaranth.lib import data

from hw.iommu.tagged_cache import TaggedCache
from hw.spec.invalidation import Granularity, InvalidationKind
from tests.hw.iommu.request_path import begin, invalidation, put

__all__ = ["SETS", "WAYS", "Tag", "cache", "drive_fill", "fill", "invalidate", "look_up", "of_domain", "of_numbers"]

SETS, WAYS = 4, 2


class Tag(data.Struct):
    """A number, whose lowest bits say which set, and a domain."""

    number: 12
    domain_id: 8


def cache(*, sets=SETS, ways=WAYS, key_decides=True):
    """A cache of 16-bit contents; an invalidation of the IOTLB removes all, or what is of its domain, or numbers of it.

    The domain is part of the key, unless `key_decides` is false.
    """
    index_bits = sets.bit_length() - 1

    def same_key(left, right):
        return (left.number == right.number) & (~key_decides | (left.domain_id == right.domain_id))

    def covers(invalidation, tag):
        in_range = (invalidation.page >> invalidation.address_mask) == (tag.number >> invalidation.address_mask)
        return (invalidation.granularity == Granularity.GLOBAL) | (invalidation.domain_id == tag.domain_id) & (
            (invalidation.granularity == Granularity.DOMAIN_SELECTIVE) | in_range
        )

    def sets_of(invalidation):
        differing = ((1 << invalidation.address_mask) - 1)[:index_bits]
        return invalidation.page[:index_bits], Mux(invalidation.granularity == Granularity.SELECTIVE, differing, -1)

    return TaggedCache(
        Tag, 16, sets=sets, ways=ways, kind=InvalidationKind.IOTLB, set_of=lambda tag: tag.number[:index_bits],
        same_key=same_key, covers=covers, key_decides=key_decides, sets_of=sets_of,
    )  # fmt: skip


def of_domain(domain_id):
    """The invalidation of one domain."""
    return invalidation("IOTLB", Granularity.DOMAIN_SELECTIVE, domain_id=domain_id)


def of_numbers(first, mask, *, domain_id=5):
    """The invalidation of 2**mask numbers of a domain."""
    return invalidation("IOTLB", Granularity.SELECTIVE, domain_id=domain_id, page=first, address_mask=mask)


def drive_fill(ctx, dut, number, content=1, *, domain_id=5, valid=1):
    """Offer a fill in this cycle, or none."""
    ctx.set(dut.fill.valid, valid)
    put(ctx, dut.fill.payload.tag, Tag.const({"number": number, "domain_id": domain_id}))
    ctx.set(dut.fill.payload.content, content)


async def fill(ctx, dut, number, content=1, **more):
    """Put one line in, and wait until a lookup that begins sees it. Returns the way."""
    drive_fill(ctx, dut, number, content, **more)
    await ctx.tick()
    ctx.set(dut.fill.valid, 0)
    way = ctx.get(dut.filled_way)
    await ctx.tick()
    return way


async def look_up(ctx, dut, number, *, domain_id=5, looked_up=1):
    """Look one number up: its content, or None. The lookup is over in the cycle in which this returns, but not yet used."""
    ctx.set(dut.set_index, number % (1 << len(dut.set_index)))
    await ctx.tick()
    put(ctx, dut.wanted, Tag.const({"number": number, "domain_id": domain_id}))
    matched = ctx.get(dut.matched)
    assert matched & (matched - 1) == 0
    content = ctx.get(dut.contents[matched.bit_length() - 1]) if matched else None
    ctx.set(dut.looked_up, looked_up)
    await ctx.tick()
    ctx.set(dut.looked_up, 0)
    return content


async def invalidate(ctx, dut, value):
    """One invalidation, from begin to the end of its scan."""
    await begin(ctx, dut.invalidation, value)
    while ctx.get(dut.busy):
        await ctx.tick()
    await ctx.tick().repeat(2)
