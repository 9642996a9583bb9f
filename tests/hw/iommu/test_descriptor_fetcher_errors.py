# amaranth: UnusedElaboratable=no
"""What is not legal stops the queue, and the head stands on it."""

import pytest

from hw.spec.events import EventKind, QueueTrouble
from hw.spec.invalidation import QueueError, TranslationTableMode
from tests.hw.iommu.bench import wait
from tests.hw.iommu.descriptor_fetcher_bench import BASE, Bench
from tests.hw.iommu.descriptors import context_cache, iotlb, typed


@pytest.mark.parametrize(
    ("descriptor", "mode", "cause"),
    [
        (typed(0), TranslationTableMode.LEGACY, QueueError.BAD_TYPE),
        (typed(6), TranslationTableMode.LEGACY, QueueError.BAD_TYPE),
        (context_cache(0), TranslationTableMode.LEGACY, QueueError.RESERVED_FIELD),
        (iotlb(3, address_mask=19), TranslationTableMode.LEGACY, QueueError.RESERVED_FIELD),
        (context_cache(1), TranslationTableMode.SCALABLE, QueueError.BAD_WIDTH),
        (context_cache(1), TranslationTableMode.ABORT_DMA, QueueError.BAD_WIDTH),
    ],
)
def test_the_head_stands_still_at_an_illegal_descriptor(descriptor, mode, cause):
    bench = Bench(mode=mode)
    bench.store(descriptor, context_cache(1))

    async def testbench(bench):
        bench.set(tail=2)
        await wait(bench.ctx, 60)
        assert bench.head == 0
        assert bench.errors == [cause]
        assert len(bench.passed) == 0
        assert len(bench.memory.accesses) == 2  # what was read behind it is thrown away
        (event,) = bench.events[1].payloads
        assert (event.kind, event.tag, event.detail) == (EventKind.QUEUE_ERROR, QueueTrouble.QUEUE_ERROR, cause)

    bench.run(testbench)


@pytest.mark.parametrize("wide", [0, 1])
@pytest.mark.parametrize("cleared_after", range(12))
def test_what_was_read_behind_an_illegal_descriptor_is_read_again(cleared_after, wide):
    """However early the error is cleared: software has mended it, and what stands behind it, by then."""
    bench = Bench(wide=wide, latency=(1, 9), reorder=True, seed=cleared_after)
    bench.store(context_cache(1, domain_id=9), typed(0), *[context_cache(1, domain_id=1)] * 6)

    async def testbench(bench):
        bench.set(tail=8 * bench.units)
        while not bench.errors:
            await bench.ctx.tick()
        assert (bench.head, bench.errors) == (1, [QueueError.BAD_TYPE])
        await wait(bench.ctx, cleared_after)
        bench.store(*[context_cache(1, domain_id=number) for number in range(2, 9)], at=1)
        bench.set(held=0)
        await wait(bench.ctx, 80)
        assert bench.head == 8
        expected = [context_cache(1, domain_id=number) for number in (9, *range(2, 9))]
        assert bench.passed.payloads == expected

    bench.run(testbench)


def test_a_tail_that_is_misplaced_later_is_an_error_behind_all_that_was_fetched_before():
    bench = Bench(latency=(9, 9))
    bench.store(*[context_cache(1)] * 4)

    async def testbench(bench):
        bench.set(tail=4)
        await wait(bench.ctx, 3)
        bench.set(tail=256)
        await wait(bench.ctx, 60)
        assert (bench.head, bench.errors) == (3, [QueueError.BAD_TAIL])
        assert len(bench.passed) == 3

    bench.run(testbench)


@pytest.mark.parametrize("bit", [0, 64, 127])
def test_the_second_half_of_a_wide_descriptor_is_looked_at(bit):
    bench = Bench(wide=1)
    bench.store(context_cache(1), context_cache(1) | 1 << 128 + bit, context_cache(1))

    async def testbench(bench):
        bench.set(tail=6)
        await wait(bench.ctx, 60)
        assert (bench.head, bench.errors) == (1, [QueueError.RESERVED_FIELD])

    bench.run(testbench)


def test_after_an_error_has_been_cleared_fetching_resumes_at_the_head():
    bench = Bench()
    bench.store(context_cache(1, domain_id=1), typed(0), context_cache(1, domain_id=3))

    async def testbench(bench):
        bench.set(tail=3)
        await wait(bench.ctx, 40)
        assert (bench.head, bench.errors) == (1, [QueueError.BAD_TYPE])
        bench.set(held=0)  # nothing was mended
        await wait(bench.ctx, 40)
        assert (bench.head, bench.errors) == (1, [QueueError.BAD_TYPE] * 2)
        bench.store(context_cache(1, domain_id=2), at=1)
        bench.set(held=0)
        await wait(bench.ctx, 40)
        assert bench.head == 3
        assert bench.passed.payloads == [context_cache(1, domain_id=number) for number in (1, 2, 3)]

    bench.run(testbench)


@pytest.mark.parametrize(
    ("wide", "tail", "cause"),
    [(0, 256, QueueError.BAD_TAIL), (1, 257, QueueError.BAD_TAIL), (1, 3, QueueError.MISALIGNED_TAIL)],
)
def test_a_misplaced_tail_is_an_error_before_anything_is_read(wide, tail, cause):
    bench = Bench(wide=wide)
    bench.store(*[context_cache(1)] * 4)

    async def testbench(bench):
        bench.set(tail=tail)
        await wait(bench.ctx, 40)
        assert (bench.head, bench.errors) == (0, [cause])
        assert bench.memory.accesses == []
        bench.set(tail=bench.units, held=0)
        await wait(bench.ctx, 40)
        assert (bench.head, bench.errors) == (1, [cause])

    bench.run(testbench)


@pytest.mark.parametrize(("wide", "refused"), [(0, 0), (1, 0), (1, 16)])
def test_a_descriptor_that_memory_refuses_is_a_fetch_error(wide, refused):
    bench = Bench(wide=wide)
    bench.store(context_cache(1), context_cache(1))
    bench.memory.refuse(BASE + refused)

    async def testbench(bench):
        bench.set(tail=2 * bench.units)
        await wait(bench.ctx, 40)
        assert (bench.head, bench.errors) == (0, [QueueError.FETCH])
        bench.memory.refused.clear()
        bench.set(held=0)
        await wait(bench.ctx, 40)
        assert (bench.head, bench.errors) == (2, [QueueError.FETCH])

    bench.run(testbench)


@pytest.mark.parametrize(
    ("descriptor", "tail", "cause"),
    [(typed(0), 1, QueueError.BAD_TYPE), (context_cache(1), 256, QueueError.BAD_TAIL)],
)
def test_an_error_waits_while_somebody_else_reports_trouble(descriptor, tail, cause):
    bench = Bench()
    bench.store(descriptor)

    async def testbench(bench):
        bench.set(tail=tail, reserved=1)
        await wait(bench.ctx, 20)
        assert bench.errors == []
        bench.set(reserved=0)
        await wait(bench.ctx, 20)
        assert bench.errors == [cause]

    bench.run(testbench)
