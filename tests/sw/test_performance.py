"""The unit's counters as the driver reads them."""
import pytest

from hw.spec.invalidation import DescriptorType
from hw.spec.monitor import MonitorRegister as Register
from hw.spec.monitor import descriptor_counter
from sw.performance import PerformanceCounters
from tests.sw.machine import Machine, Recorder, drive

MONITOR = 0x1_8000
CONTROL = ("register", MONITOR + 0x38)
CLEAR, STOP = 1, 2
OFFSETS = [*range(0x00, 0x38, 8), *range(0x48, 0x140, 8)]


class Shown(Recorder):
    """A machine whose counters show what a test says, and grow by 1 at each look unless they are stopped."""

    def __init__(self, device, **values):
        super().__init__(device)
        self.values = {MONITOR + int(Register[name]): value for name, value in values.items()}
        self.looks = 0

    async def read_register(self, offset, width):
        if offset == CONTROL[1] or not MONITOR <= offset < MONITOR + 0x140:
            return await super().read_register(offset, width)
        assert width == 8
        stopped = await super().read_register(CONTROL[1], 8)
        self.looks += not stopped
        return self.values.get(offset, 0) + self.looks


def counters(**values):
    transport = Shown(Machine().device, **values)
    return transport, PerformanceCounters(transport)


def test_every_counter_is_read_at_its_place():
    transport, performance = counters()
    transport.values = {MONITOR + offset: offset + 1000 for offset in OFFSETS}
    counts = drive(performance.read())
    assert counts.by_offset == {offset: offset + 1000 for offset in counts.by_offset}
    assert sorted(counts.by_offset) == OFFSETS
    assert counts[Register.REQUESTS] == 1000 + 0x90
    assert counts[descriptor_counter(DescriptorType.WAIT)] == 1000 + 0x68
    assert counts.by_name()["STALLS_BY_LIMIT"] == 1000 + 0xF8
    assert counts.by_name()["DESCRIPTORS_IOTLB"] == 1000 + 0x50


def test_counting_stops_while_they_are_read_and_goes_on_as_before():
    transport, performance = counters()
    assert set(drive(performance.read()).by_offset.values()) == {0}
    assert transport.log == [(*CONTROL, STOP), (*CONTROL, 0)]
    drive(performance.stop())
    drive(performance.read())
    assert transport.log[2:] == [(*CONTROL, STOP), (*CONTROL, STOP), (*CONTROL, STOP)]
    drive(performance.go_on())
    assert transport.log[-1] == (*CONTROL, 0)


def test_clear_counts_from_zero_on():
    transport, performance = counters()
    drive(performance.clear())
    assert transport.log == [(*CONTROL, CLEAR)]


def test_a_difference_is_what_was_counted_in_between():
    transport, performance = counters(REQUESTS=100, HITS=90)
    before = drive(performance.read())
    transport.values[MONITOR + Register.REQUESTS] = 300
    transport.values[MONITOR + Register.HITS] = 140
    between = drive(performance.read()) - before
    assert (between[Register.REQUESTS], between[Register.HITS], between[Register.WALKS]) == (200, 50, 0)
    assert between.hit_ratio == 0.25


def test_figures_follow_from_the_counts():
    _, performance = counters(
        REQUESTS=800, HITS=600, CYCLES=1000, WALKS=40, WALKS_AGAIN=2, WALKS_JOINED=60, PREFETCHES=50, PREFETCHES_USED=45,
        PREWALKS=8, WALK_READS=110, CONTEXT_MISSES=4, STALLS_BY_WALKS=30, STALLS_BY_LIMIT=5)
    counts = drive(performance.read())
    assert counts.hit_ratio == 0.75
    assert counts.requests_per_cycle == 0.8
    assert counts.walks == 100
    assert counts.reads_per_walk == pytest.approx(1.1)
    assert counts.joined_ratio == 0.6
    assert counts.context_miss_ratio == 0.005
    assert counts.prefetches_wasted == 5
    assert counts.stalled() == {Register.STALLS_BY_WALKS: 0.03, Register.STALLS_BY_CONTEXTS: 0,
                                Register.STALLS_BY_ANSWERS: 0, Register.STALLS_BY_LIMIT: 0.005}


def test_where_nothing_was_counted_there_is_no_figure():
    _, performance = counters(PREFETCHES_USED=3)
    counts = drive(performance.read())
    assert (counts.hit_ratio, counts.requests_per_cycle, counts.reads_per_walk, counts.joined_ratio) == (None,) * 4
    assert (counts.context_miss_ratio, counts.prefetches_wasted, set(counts.stalled().values())) == (None, 0, {None})


def test_a_machine_with_no_gateware_counts_what_it_can():
    machine = Machine()
    performance = PerformanceCounters(machine.transport)
    drive(machine.transport.write_register(0x18, 4, 1 << 25))      # a command that there is not: a protocol error, or nothing
    counts = drive(performance.read())
    assert counts[Register.PROTOCOL_ERRORS] == len(machine.device.protocol_errors)
    drive(performance.clear())
    assert drive(performance.read())[Register.PROTOCOL_ERRORS] == 0
