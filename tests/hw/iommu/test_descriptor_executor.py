# amaranth: UnusedElaboratable=no
"""Descriptors are executed in order, and a wait completes behind everything ahead of it."""

import pytest

from hw.spec.events import MessageKind
from hw.spec.invalidation import DescriptorType, Granularity, InvalidationKind
from tests.hw.iommu import descriptors as forms
from tests.hw.iommu.descriptor_executor_bench import Bench


def test_a_context_cache_descriptor_becomes_an_invalidation():
    bench = Bench()
    bench.run(forms.context_cache(3, domain_id=0x42, source_id=0x0308, function_mask=2))
    ((_, seen),) = bench.of("begin")
    assert (seen.kind, seen.granularity) == (InvalidationKind.CONTEXT_CACHE, Granularity.SELECTIVE)
    assert (seen.domain_id, seen.source_id, seen.function_mask) == (0x42, 0x0308, 2)
    assert (seen.drain, seen.page, seen.address_mask, seen.hint) == (0, 0, 0, 0)
    assert bench.of("executed") == [("executed", DescriptorType.CONTEXT_CACHE)]


@pytest.mark.parametrize("drain", [0b00, 0b01, 0b10, 0b11])
@pytest.mark.parametrize("granularity", [1, 2, 3])
def test_an_iotlb_descriptor_becomes_an_invalidation(granularity, drain):
    bench = Bench()
    bench.run(
        forms.iotlb(
            granularity,
            domain_id=0x777,
            drain_writes=drain & 1,
            drain_reads=drain >> 1,
            address=0x7F12_3457_7000,
            address_mask=5,
            hint=1,
        )
    )
    ((_, seen),) = bench.of("begin")
    pages = granularity == 3
    assert (seen.kind, seen.granularity.value) == (InvalidationKind.IOTLB, granularity)
    assert (seen.domain_id, seen.drain) == (0x777, int(drain > 0))
    assert seen.page == (0x7_F123_4560 if pages else 0)  # 2**5 pages, aligned
    assert (seen.address_mask, seen.hint) == ((5, 1) if pages else (0, 0))
    assert (seen.source_id, seen.function_mask) == (0, 0)
    assert bench.of("executed") == [("executed", DescriptorType.IOTLB)]


def test_descriptors_without_effect_are_only_counted():
    bench = Bench()
    bench.run(forms.interrupt_entry_cache(granularity=1), *(forms.typed(number, low=0xF0) for number in range(6, 10)))
    assert bench.log == [
        (place, "executed", DescriptorType(number)) for place, number in enumerate((4, 6, 7, 8, 9))
    ]


def test_a_wait_fences_then_stores_its_status_then_completes():
    bench = Bench()
    bench.run(forms.wait(address=0x000F_FFFF_FFFF_F00C, data=0xCAFE_F00D, interrupt=1))
    order = ["fence", "done", "status", "stored", "completed", "executed"]
    assert [what for _, what, _ in bench.log] == order
    ((_, message),) = bench.of("status")
    assert (message.kind, message.address, message.data) == (MessageKind.STATUS, 0x000F_FFFF_FFFF_F00C, 0xCAFE_F00D)
    assert bench.cycle_of("completed") == bench.cycle_of("executed")
    assert bench.of("executed") == [("executed", DescriptorType.WAIT)]


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({}, ["fence", "done", "executed"]),
        ({"fence": 1}, ["fence", "done", "executed"]),
        ({"interrupt": 1}, ["fence", "done", "completed", "executed"]),
        ({"address": 0x1000}, ["fence", "done", "status", "stored", "executed"]),
    ],
)
def test_a_wait_does_what_its_bits_say_and_always_fences(fields, expected):
    bench = Bench()
    bench.run(forms.wait(**fields))
    assert [what for _, what, _ in bench.log] == expected


@pytest.mark.parametrize(("fence_cycles", "store_cycles"), [(2, 1), (2, 9), (30, 3)])
def test_a_wait_takes_as_many_cycles_as_it_says(fence_cycles, store_cycles):
    bench = Bench(fence_cycles=fence_cycles, store_cycles=store_cycles)
    bench.run(forms.wait(), forms.wait(address=0x1000), forms.interrupt_entry_cache())
    ends = [cycle for cycle, what, _ in bench.log if what == "executed"]
    assert ends == [
        fence_cycles + 4 - 1,
        2 * (fence_cycles + 4) + store_cycles + 1 - 1,
        2 * (fence_cycles + 4) + store_cycles + 1 + 1 - 1,
    ]


def test_nothing_behind_a_wait_begins_before_it_has_completed():
    bench = Bench(fence_cycles=50, store_cycles=50)
    bench.run(forms.wait(address=0x1000), forms.iotlb(1))
    assert [what for _, what, _ in bench.log][-3:] == ["executed", "begin", "executed"]
    assert bench.log[0][1] == "fence"


def test_the_fence_is_offered_two_cycles_after_the_invalidation_before_it():
    bench = Bench()
    bench.run(forms.iotlb(1), forms.wait())
    assert bench.cycle_of("fence") == bench.cycle_of("begin") + 2


def test_an_offer_stands_until_it_is_taken():
    async def testbench(bench):
        ctx, dut = bench.ctx, bench.dut
        for port, others in ((dut.invalidations, 8), (dut.invalidations, 16), (dut.status, 16)):
            ctx.set(port.ready, 0)
            await bench.pass_cycles(others)
            offered = ctx.get(port.payload).as_bits()
            for _ in range(10):
                assert ctx.get(port.valid) == 1
                assert ctx.get(port.payload).as_bits() == offered
                await bench.step()
            ctx.set(port.ready, 1)
            await bench.step()
        await bench.settle()
        assert [what for what, _ in bench.of("begin", "fence", "status")] == ["begin", "fence", "status"]

    Bench().run(forms.iotlb(2, domain_id=5), forms.wait(address=0x1000, data=9), testbench=testbench)


def test_a_longer_delay_does_not_withdraw_what_has_begun():
    async def testbench(bench):
        ctx, dut = bench.ctx, bench.dut
        ctx.set(dut.invalidations.ready, 0)
        await bench.pass_cycles(2)
        assert ctx.get(dut.invalidations.valid) == 1
        bench.turn({"execute_delay": 50})
        await bench.pass_cycles(5)
        assert ctx.get(dut.invalidations.valid) == 1
        ctx.set(dut.invalidations.ready, 1)
        await bench.settle()
        assert [what for what, _ in bench.of("begin")] == ["begin"]

    Bench().run(forms.iotlb(1), testbench=testbench)


@pytest.mark.parametrize("delay", [1, 10, 100])
def test_the_execution_delay_comes_before_each_descriptor(delay):
    bench = Bench(execute_delay=delay)
    bench.run(*[forms.iotlb(1)] * 3)
    begins = [cycle for cycle, what, _ in bench.log if what == "begin"]
    assert begins == [delay, 2 * delay + 1, 3 * delay + 2]
