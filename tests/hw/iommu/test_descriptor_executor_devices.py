# amaranth: UnusedElaboratable=no
"""What a device answers, or does not: waits behind it complete later, or never."""

import pytest

from hw.spec.events import EventKind, QueueTrouble
from hw.spec.invalidation import DescriptorType
from hw.spec.monitor import DeviceTlbAnswer
from tests.hw.iommu import descriptors as forms
from tests.hw.iommu.descriptor_executor_bench import Bench


@pytest.mark.parametrize("delay", [0, 1, 40])
@pytest.mark.parametrize("answer", [DeviceTlbAnswer.DONE, DeviceTlbAnswer.ERROR])
def test_a_wait_waits_for_the_answer_of_a_device(answer, delay):
    bench = Bench(device_tlb_delay=delay, device_tlb_answer=answer)
    bench.run(forms.device_tlb(0x0308), forms.wait(address=0x1000, interrupt=1))
    sent = next(cycle for cycle, what, which in bench.log if which == DescriptorType.DEVICE_TLB)
    assert bench.cycle_of("status") >= sent + delay + 2
    assert len(bench.of("completed")) == 1
    errors = [(sent + delay + 1, "error", 0x0308)] if answer == DeviceTlbAnswer.ERROR else []
    assert [entry for entry in bench.log if entry[1] in ("late", "error")] == errors


def test_other_descriptors_do_not_wait_for_a_device_but_the_next_for_a_device_does():
    bench = Bench(device_tlb_delay=50)
    bench.run(forms.device_tlb(1), forms.iotlb(1), forms.context_cache(1), forms.device_tlb(2), forms.iotlb(2))
    assert [which for _, which in bench.of("executed")] == [
        DescriptorType.DEVICE_TLB,
        DescriptorType.IOTLB,
        DescriptorType.CONTEXT_CACHE,
        DescriptorType.DEVICE_TLB,
        DescriptorType.IOTLB,
    ]
    cycles = [cycle for cycle, what, _ in bench.log if what == "executed"]
    assert cycles == [0, 1, 2, 50 + 2, 50 + 3]


def test_trouble_with_a_device_is_an_event_that_names_it():
    bench = Bench(device_tlb_answer=DeviceTlbAnswer.TIME_OUT)
    bench.run(forms.device_tlb(0x0308))
    (event,) = bench.events[0].payloads
    assert (event.kind, event.source_id) == (EventKind.QUEUE_ERROR, 0x0308)
    assert (event.tag, event.detail) == (QueueTrouble.TIME_OUT, 0)
    assert bench.of("late") == [("late", 0x0308)]
    bench = Bench(device_tlb_answer=DeviceTlbAnswer.ERROR)
    bench.run(forms.device_tlb(0xFFFF))
    (event,) = bench.events[0].payloads
    assert (event.source_id, event.tag) == (0xFFFF, QueueTrouble.COMPLETION_ERROR)


@pytest.mark.parametrize("delay", range(14))
def test_after_a_time_out_the_wait_and_every_other_that_was_fetched_is_abandoned_and_the_rest_executed(delay):
    bench = Bench(device_tlb_delay=delay, device_tlb_answer=DeviceTlbAnswer.TIME_OUT)
    waits = [forms.wait(address=0x1000 + 4 * number, data=number, interrupt=1) for number in range(3)]
    bench.run(forms.device_tlb(0x11), waits[0], forms.iotlb(2, domain_id=1), waits[1], forms.context_cache(1), waits[2])
    assert bench.of("status", "completed") == []
    assert bench.of("late") == [("late", 0x11)]
    assert [which for _, which in bench.of("executed")] == [
        DescriptorType.DEVICE_TLB,
        DescriptorType.IOTLB,
        DescriptorType.CONTEXT_CACHE,
    ]
    assert len(bench.of("abandoned")) == 3
    abandoned = bench.events[1].payloads
    assert [event.kind for event in abandoned] == [EventKind.WAIT_ABANDONED] * 3
    assert [event.detail for event in abandoned] == waits
    assert len(bench.of("fence")) == len(bench.of("done"))


@pytest.mark.parametrize("gap", range(20))
def test_a_wait_that_is_being_fetched_at_the_time_out_is_abandoned_and_the_next_one_is_not(gap):
    async def testbench(bench):
        while not bench.of("late"):
            bench.ctx.set(bench.dut.fetching, 1)
            await bench.step()
        for _ in range(gap):
            assert bench.ctx.get(bench.dut.abandoning) == 1
            await bench.step()
        bench.waiting.append(forms.wait(address=0x1000))
        bench.ctx.set(bench.dut.fetching, 0)
        while bench.ctx.get(bench.dut.abandoning):
            await bench.step()
        assert bench.of("abandoned", "status") == [("abandoned", None)]
        bench.waiting.append(forms.wait(address=0x2000))
        await bench.settle()
        ((_, message),) = bench.of("status")
        assert message.address == 0x2000

    Bench(device_tlb_answer=DeviceTlbAnswer.TIME_OUT, device_tlb_delay=5).run(
        forms.device_tlb(0x11), testbench=testbench
    )


def test_the_answer_is_chosen_when_the_descriptor_is_executed():
    async def testbench(bench):
        await bench.pass_cycles(4)
        bench.turn({"device_tlb_answer": DeviceTlbAnswer.TIME_OUT, "device_tlb_delay": 0})
        await bench.settle()
        assert bench.of("late", "error") == [("late", 2)]
        assert len(bench.of("status")) == 1

    Bench(device_tlb_delay=30).run(
        forms.device_tlb(1), forms.wait(address=0x1000), forms.device_tlb(2), testbench=testbench
    )
