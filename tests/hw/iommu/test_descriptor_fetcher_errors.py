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
        assert len(bench.memory.accesses) == 1
        (event,) = bench.events[1].payloads
        assert (event.kind, event.tag, event.detail) == (EventKind.QUEUE_ERROR, QueueTrouble.QUEUE_ERROR, cause)

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


@pytest.mark.parametrize(("wide", "refused", "reads"), [(0, 0, 1), (1, 0, 1), (1, 16, 2)])
def test_a_descriptor_that_memory_refuses_is_a_fetch_error(wide, refused, reads):
    bench = Bench(wide=wide)
    bench.store(context_cache(1), context_cache(1))
    bench.memory.refuse(BASE + refused)

    async def testbench(bench):
        bench.set(tail=2 * bench.units)
        await wait(bench.ctx, 40)
        assert (bench.head, bench.errors) == (0, [QueueError.FETCH])
        assert len(bench.memory.accesses) == reads
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
