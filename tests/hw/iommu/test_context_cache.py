# amaranth: UnusedElaboratable=no
"""The context cache: its key, what an invalidation takes out and leaves, and lookups in every cycle while it scans."""

import pytest

from hw.iommu.context_cache import ContextCache
from hw.spec.codec import decode
from hw.spec.events import ContextDetail, EventKind
from hw.spec.faults import FaultReason
from hw.spec.invalidation import Granularity
from hw.spec.tables import TranslationType
from tests.hw.iommu.request_path import SMALL, begin, context, context_fill, invalidation, put, simulate


async def fill(ctx, dut, **fields):
    """Put one context in, and wait until lookups see it."""
    put(ctx, dut.fill.payload, context_fill(**fields))
    ctx.set(dut.fill.valid, 1)
    await ctx.tick()
    ctx.set(dut.fill.valid, 0)
    await ctx.tick()


async def look_up(ctx, dut, source_id, *, pasid_present=0, pasid=0):
    """Look one device up; its context, or None."""
    ctx.set(dut.key.source_id, source_id)
    ctx.set(dut.key.pasid_present, pasid_present)
    ctx.set(dut.key.pasid, pasid)
    await ctx.tick()
    ctx.set(dut.looked_up, 1)
    found = ctx.get(dut.context) if ctx.get(dut.hit) else None
    await ctx.tick()
    ctx.set(dut.looked_up, 0)
    return found


async def invalidate(ctx, dut, value):
    """One invalidation, from begin to the end of its scan."""
    await begin(ctx, dut.invalidation, value)
    while ctx.get(dut.busy):
        await ctx.tick()


def test_a_device_finds_its_own_context_and_no_other():
    dut = ContextCache(SMALL)
    devices = [0x0000, 0x0001, 0x0100, 0xFFFF]  # two for each set

    async def bench(ctx):
        for source_id in devices:
            assert await look_up(ctx, dut, source_id) is None
            await fill(ctx, dut, source_id=source_id, domain_id=source_id ^ 0x5A5A, table_pointer=source_id + 1)
        for source_id in devices:
            found = await look_up(ctx, dut, source_id)
            assert found == context(domain_id=source_id ^ 0x5A5A, table_pointer=source_id + 1)
        assert await look_up(ctx, dut, 0x8000) is None

    simulate(dut, bench)


def test_the_pasid_is_part_of_the_key():
    dut = ContextCache(SMALL)

    async def bench(ctx):
        await fill(ctx, dut, source_id=7, pasid_present=1, pasid=0, domain_id=0x11)
        assert await look_up(ctx, dut, 7) is None
        await fill(ctx, dut, source_id=7, domain_id=0x22)
        assert (await look_up(ctx, dut, 7)).domain_id == 0x22
        assert (await look_up(ctx, dut, 7, pasid_present=1)).domain_id == 0x11
        assert await look_up(ctx, dut, 7, pasid_present=1, pasid=0x80000) is None

    simulate(dut, bench)


def test_a_new_context_of_a_device_replaces_the_old_one():
    dut = ContextCache(SMALL)

    async def bench(ctx):
        for domain_id in (3, 4):
            await fill(ctx, dut, source_id=7, domain_id=domain_id)
            assert (await look_up(ctx, dut, 7)).domain_id == domain_id
        await invalidate(ctx, dut, invalidation("CONTEXT_CACHE", Granularity.DOMAIN_SELECTIVE, domain_id=3))
        assert (await look_up(ctx, dut, 7)).domain_id == 4

    simulate(dut, bench)


def test_a_device_that_is_looked_up_stays_where_one_that_is_not_goes():
    dut = ContextCache(SMALL)
    devices = [0x0000, 0x0003, 0x0005]  # of one set of two ways

    async def bench(ctx):
        for source_id in devices[:2]:
            await fill(ctx, dut, source_id=source_id)
        await look_up(ctx, dut, devices[0])
        await ctx.tick()
        await fill(ctx, dut, source_id=devices[2])
        assert [each for each in devices if await look_up(ctx, dut, each) is not None] == [devices[0], devices[2]]

    simulate(dut, bench)


def test_a_fill_is_an_event():
    dut = ContextCache(SMALL)

    async def bench(ctx):
        known = {"domain_id": 0x77, "table_pointer": 0x1234, "translation_type": TranslationType.PASS_THROUGH}
        put(ctx, dut.fill.payload, context_fill(source_id=0x0815, address_width=3, **known))
        ctx.set(dut.fill.valid, 1)
        await ctx.tick()
        ctx.set(dut.fill.valid, 0)
        assert ctx.get(dut.events[0].valid) == 1
        event = ctx.get(dut.events[0].payload)
        detail = decode(ContextDetail, event.detail)
        assert (event.kind, event.source_id, event.domain_id) == (EventKind.CONTEXT_FILL, 0x0815, 0x77)
        assert event.hpa == 0x1234 << 12
        assert (detail.translation_type, detail.address_width) == (TranslationType.PASS_THROUGH, 3)
        assert (detail.fault_reason, detail.marked) == (0, 0)
        await ctx.tick()
        assert ctx.get(dut.events[0].valid) == 0

    simulate(dut, bench)


def test_what_is_wrong_with_a_context_is_kept_under_domain_0_and_told_by_its_event():
    dut = ContextCache(SMALL)
    wrong = {
        "domain_id": 0,
        "table_pointer": 0,
        "address_width": 0,
        "fault_reason": 0x0B,
        "fault_processing_disable": 1,
    }

    async def bench(ctx):
        put(ctx, dut.fill.payload, context_fill(source_id=0x0123, **wrong))
        ctx.set(dut.fill.valid, 1)
        await ctx.tick()
        ctx.set(dut.fill.valid, 0)
        event = ctx.get(dut.events[0].payload)
        assert (event.kind, event.source_id, event.domain_id, event.hpa) == (EventKind.CONTEXT_FILL, 0x0123, 0, 0)
        assert decode(ContextDetail, event.detail).fault_reason == FaultReason.CONTEXT_RESERVED
        await ctx.tick()
        await invalidate(ctx, dut, invalidation("CONTEXT_CACHE", Granularity.DOMAIN_SELECTIVE, domain_id=5))
        found = await look_up(ctx, dut, 0x0123)
        assert (found.fault_reason, found.fault_processing_disable) == (FaultReason.CONTEXT_RESERVED, 1)
        await invalidate(ctx, dut, invalidation("CONTEXT_CACHE", Granularity.SELECTIVE, domain_id=0, source_id=0x0123))
        assert await look_up(ctx, dut, 0x0123) is None

    simulate(dut, bench)


@pytest.mark.parametrize(
    ("granularity", "fields", "removed"),
    [
        (Granularity.GLOBAL, {"domain_id": 99, "source_id": 99}, True),
        (Granularity.DOMAIN_SELECTIVE, {"domain_id": 5}, True),
        (Granularity.DOMAIN_SELECTIVE, {"domain_id": 6, "source_id": 0x0123}, False),
        (Granularity.SELECTIVE, {"domain_id": 5, "source_id": 0x0123}, True),
        (Granularity.SELECTIVE, {"domain_id": 6, "source_id": 0x0123}, False),  # the wrong domain leaves the entry
        (Granularity.SELECTIVE, {"domain_id": 5, "source_id": 0x0122}, False),
        (Granularity.SELECTIVE, {"domain_id": 5, "source_id": 0x0127, "function_mask": 1}, True),
        (Granularity.SELECTIVE, {"domain_id": 5, "source_id": 0x0121, "function_mask": 1}, False),
        (Granularity.SELECTIVE, {"domain_id": 5, "source_id": 0x0125, "function_mask": 2}, True),
        (Granularity.SELECTIVE, {"domain_id": 5, "source_id": 0x0122, "function_mask": 2}, False),
        (Granularity.SELECTIVE, {"domain_id": 5, "source_id": 0x0124, "function_mask": 3}, True),
        (Granularity.SELECTIVE, {"domain_id": 5, "source_id": 0x012B, "function_mask": 3}, False),
        (Granularity.SELECTIVE, {"domain_id": 6, "source_id": 0x0124, "function_mask": 3}, False),
    ],
)
def test_an_invalidation_removes_what_it_names_and_nothing_else(granularity, fields, removed):
    dut = ContextCache(SMALL)

    async def bench(ctx):
        await fill(ctx, dut, source_id=0x0123, domain_id=5)
        await invalidate(ctx, dut, invalidation("CONTEXT_CACHE", granularity, **fields))
        assert (await look_up(ctx, dut, 0x0123) is None) == removed

    simulate(dut, bench)


def test_an_invalidation_of_the_iotlb_leaves_contexts_alone():
    dut = ContextCache(SMALL)

    async def bench(ctx):
        await fill(ctx, dut, source_id=1)
        await begin(ctx, dut.invalidation, invalidation("IOTLB"))
        assert ctx.get(dut.busy) == 0
        await ctx.tick().repeat(8)
        assert await look_up(ctx, dut, 1) is not None

    simulate(dut, bench)


@pytest.mark.parametrize("device", [0, 1])
def test_from_the_cycle_after_begin_a_removed_context_is_gone_and_another_is_never_missed(device):
    """`device` is removed, the other one of the two stays; the removed one is looked up in every cycle."""
    dut = ContextCache(SMALL)

    async def bench(ctx):
        for source_id in (0, 1):
            await fill(ctx, dut, source_id=source_id, domain_id=5)
        value = invalidation("CONTEXT_CACHE", Granularity.SELECTIVE, domain_id=5, source_id=device)
        put(ctx, dut.invalidation.payload, value)
        for looked_up in (device, 1 - device):
            ctx.set(dut.key.source_id, looked_up)
            await ctx.tick()
            for cycle in range(-2, 10):
                ctx.set(dut.invalidation.begin, cycle == 0 and looked_up == device)
                found = ctx.get(dut.hit) == 1
                assert found == (looked_up != device or cycle <= 0)
                await ctx.tick()

    simulate(dut, bench)


def test_a_context_that_stays_is_found_in_every_cycle_of_the_scan():
    dut = ContextCache(SMALL)

    async def bench(ctx):
        await fill(ctx, dut, source_id=0, domain_id=5)
        await fill(ctx, dut, source_id=3, domain_id=6)  # the other way of the set, or the other set
        ctx.set(dut.key.source_id, 3)
        await ctx.tick()
        await begin(ctx, dut.invalidation, invalidation("CONTEXT_CACHE", Granularity.DOMAIN_SELECTIVE, domain_id=5))
        for _ in range(10):
            assert ctx.get(dut.hit) == 1
            await ctx.tick()
        assert await look_up(ctx, dut, 0) is None

    simulate(dut, bench)
