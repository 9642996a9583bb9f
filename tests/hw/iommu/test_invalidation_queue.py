# amaranth: UnusedElaboratable=no
"""The queue as a whole: how far the head is ahead of the execution, and how it stops, recovers and is turned off."""

import pytest

from hw.iommu.invalidation_queue import FETCHED_DEPTH
from hw.spec.events import EventKind, QueueTrouble
from hw.spec.invalidation import DescriptorType, QueueError
from hw.spec.monitor import DeviceTlbAnswer
from tests.hw.iommu.descriptors import context_cache, device_tlb, iotlb, typed, wait
from tests.hw.iommu.invalidation_queue_bench import BASE, STATUS, Bench


@pytest.mark.parametrize("word_bits", [128, 512])
@pytest.mark.parametrize("wide", [0, 1])
def test_what_software_submits_is_executed_and_the_wait_says_so(wide, word_bits):
    async def testbench(bench):
        bench.submit(context_cache(1), iotlb(1), wait(address=STATUS, data=7, interrupt=1))
        await bench.pass_cycles(60)
        assert bench.log == ["begin", "begin", "fence", "status", "wait_completed"]
        assert bench.statuses == [(STATUS, 7)]
        assert (bench.head, bench.get("drained")) == (3, 1)
        assert bench.executed == [DescriptorType.CONTEXT_CACHE, DescriptorType.IOTLB, DescriptorType.WAIT]

    Bench(wide=wide, word_bits=word_bits).run(testbench)


def test_the_head_says_fetched_and_not_executed():
    async def testbench(bench):
        bench.submit(wait(), wait(address=STATUS), iotlb(1))
        await bench.pass_cycles(60)
        assert (bench.head, bench.get("drained")) == (3, 0)
        assert bench.log == ["fence"]
        await bench.pass_cycles(500)
        assert bench.log == ["fence", "fence", "status", "begin"]
        assert bench.get("drained") == 1

    Bench(fence_cycles=100).run(testbench)


def test_the_head_runs_ahead_of_the_execution_only_so_far():
    async def testbench(bench):
        bench.submit(wait(), *[iotlb(1)] * 20)
        await bench.pass_cycles(150)  # nothing is read ahead of that either
        assert len(bench.memory.accesses) == FETCHED_DEPTH
        assert bench.head == FETCHED_DEPTH
        await bench.pass_cycles(300)
        assert bench.head == 21

    Bench(fence_cycles=200).run(testbench)


@pytest.mark.parametrize("wide", [0, 1])
def test_a_full_ring_is_executed_and_goes_round(wide):
    async def testbench(bench):
        length = 256 // bench.units
        for turn in range(2):
            bench.submit(*[iotlb(1)] * (length - 2), wait(address=STATUS, data=turn))
            await bench.pass_cycles(10 * length)
        assert bench.statuses == [(STATUS, 0), (STATUS, 1)]
        assert bench.head == length - 2

    Bench(wide=wide).run(testbench)


def test_an_error_does_not_stop_what_was_fetched_before_it():
    async def testbench(bench):
        bench.submit(iotlb(1), wait(address=STATUS), context_cache(0), iotlb(2))
        await bench.pass_cycles(80)
        assert bench.head == 2
        assert bench.get("drained") == 1
        assert sorted(bench.log) == ["begin", "fence", "queue_error", "status"]
        (trouble,) = bench.events[1].payloads
        assert (trouble.tag, trouble.detail) == (QueueTrouble.QUEUE_ERROR, QueueError.RESERVED_FIELD)
        bench.memory.store(BASE + 2 * 16, context_cache(1), 16)
        bench.set(held=0)
        await bench.pass_cycles(80)
        assert bench.head == 4
        assert bench.log.count("begin") == 3

    Bench().run(testbench)


def test_an_address_mask_is_limited_by_the_strap():
    async def testbench(bench):
        bench.submit(iotlb(3, address_mask=18), iotlb(3, address_mask=19))
        await bench.pass_cycles(60)
        assert (bench.head, sorted(bench.log)) == (1, ["begin", "queue_error"])

    Bench().run(testbench)


def test_the_table_mode_is_obeyed():
    async def testbench(bench):
        bench.set(table_mode=3)
        bench.submit(*(typed(number) for number in (4, 6, 7, 8, 9)), wait())
        await bench.pass_cycles(120)
        assert bench.executed == [DescriptorType(number) for number in (4, 6, 7, 8, 9, 5)]
        bench.set(table_mode=1)
        bench.submit(wait())
        await bench.pass_cycles(60)
        assert bench.log[-1] == "queue_error"

    Bench(wide=1).run(testbench)


@pytest.mark.parametrize("delay", range(0, 30, 3))
def test_after_a_time_out_fetching_resumes_when_it_is_cleared_and_all_that_was_fetched_is_finished(delay):
    async def testbench(bench):
        bench.turn(device_tlb_delay=delay, device_tlb_answer=DeviceTlbAnswer.TIME_OUT)
        bench.submit(device_tlb(0x0308), *[wait(address=STATUS + 4 * number) for number in range(12)])
        while not bench.get("held"):
            await bench.pass_cycles(1)
        bench.turn()
        await bench.pass_cycles(40)
        stood = bench.head
        await bench.pass_cycles(100)
        assert bench.head == stood
        lost = stood - 1  # every wait that was fetched
        assert bench.log.count("abandoned") == lost
        assert [event.kind for event in bench.events[2].payloads] == [EventKind.WAIT_ABANDONED] * lost
        assert bench.statuses == []
        assert bench.get("timed_out_source") == 0x0308
        bench.set(held=0)
        await bench.pass_cycles(400)
        assert bench.head == 13
        assert bench.statuses == [(STATUS + 4 * number, 0) for number in range(lost, 12)]

    Bench().run(testbench)


def test_an_early_clearing_of_a_time_out_does_not_mix_old_waits_with_new_ones():
    async def testbench(bench):
        bench.turn(execute_delay=50, device_tlb_answer=DeviceTlbAnswer.TIME_OUT)
        bench.submit(device_tlb(1), *[wait(address=STATUS)] * 20)
        while not bench.get("held"):
            await bench.pass_cycles(1)
        bench.set(held=0)
        fetched = bench.head
        assert 5 < fetched < 20
        while bench.log.count("abandoned") < fetched - 1:
            assert bench.head == fetched
            await bench.pass_cycles(1)
        await bench.pass_cycles(1500)
        assert (bench.head, len(bench.statuses)) == (21, 21 - fetched)

    Bench().run(testbench)


def test_one_descriptor_is_executed_per_cycle_while_memory_is_far_away():
    async def testbench(bench):
        bench.submit(*[iotlb(1)] * 64, wait(address=STATUS))
        await bench.pass_cycles(20 + 64 * (20 + 8) // FETCHED_DEPTH + 20)
        assert bench.statuses == [(STATUS, 0)]

    Bench(latency=(20, 20)).run(testbench)


def test_a_completion_error_is_reported_and_stops_nothing():
    async def testbench(bench):
        bench.turn(device_tlb_delay=20, device_tlb_answer=DeviceTlbAnswer.ERROR)
        bench.submit(device_tlb(0x77), wait(address=STATUS), iotlb(1))
        await bench.pass_cycles(100)
        assert bench.log == ["fence", "completion_error", "status", "begin"]
        assert bench.get("completion_error_source") == 0x77
        (trouble,) = bench.events[1].payloads
        assert (trouble.tag, trouble.source_id) == (QueueTrouble.COMPLETION_ERROR, 0x77)

    Bench().run(testbench)


@pytest.mark.parametrize("delay", range(6, 14))
def test_two_troubles_never_come_in_one_cycle(delay):
    async def testbench(bench):
        bench.turn(device_tlb_delay=delay, device_tlb_answer=DeviceTlbAnswer.ERROR)
        bench.submit(device_tlb(1), iotlb(1), iotlb(1), iotlb(1), typed(0))
        await bench.pass_cycles(80)
        assert sorted(set(bench.log)) == ["begin", "completion_error", "queue_error"]
        cycles = bench.events[1].cycles
        assert len(set(cycles)) == 2

    Bench().run(testbench)


@pytest.mark.parametrize("at", range(1, 40, 2))
def test_when_it_is_turned_off_what_was_fetched_is_executed_and_then_the_head_returns(at):
    async def testbench(bench):
        bench.turn(device_tlb_delay=30)
        bench.submit(device_tlb(1), *[wait(address=STATUS)] * 3, *[iotlb(1)] * 20)
        await bench.pass_cycles(at)
        bench.set(enabled=0)
        head = bench.head
        while not bench.get("drained"):
            head = bench.head
            await bench.pass_cycles(1)
        assert bench.head == head
        await bench.pass_cycles(1)
        assert (bench.head, bench.get("drained")) == (0, 1)
        assert len(bench.executed) == len(bench.events[0]) == head
        await bench.pass_cycles(50)
        assert len(bench.executed) == head

    Bench(latency=(2, 2)).run(testbench)


def test_drained_is_low_from_the_tail_on_until_the_last_device_has_answered():
    async def testbench(bench):
        bench.turn(device_tlb_delay=20, fetch_delay=10, execute_delay=10)
        assert bench.get("drained") == 1
        bench.submit(iotlb(1), device_tlb(1))
        while len(bench.executed) < 2:
            assert bench.get("drained") == 0
            await bench.pass_cycles(1)
        low = 0
        while not bench.get("drained"):
            low += 1
            await bench.pass_cycles(1)
        assert low >= 20

    Bench().run(testbench)
