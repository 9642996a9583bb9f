"""The traffic engine's registers: every field where the host's map says, worked out by hand."""
import pytest

from hw.spec.bench import Counter, Pattern, Phase
from sw.errors import BadRange, RegisterTimeout
from sw.intervals import Permission
from sw.traffic import TrafficEngine, TrafficPage, percentile
from tests.sw.machine import Machine, drive


def engine():
    machine = Machine()
    return machine.transport, TrafficEngine(machine.transport)


def test_device_row_is_one_register():
    transport, traffic = engine()
    drive(traffic.configure_device(3, source_id=0x0018, first_page=5, page_count=9, pattern=Pattern.RANDOM, stride=2,
                                   writes=4, burst_log2=1))
    value = 0x0018 | 5 << 16 | 9 << 29 | 1 << 42 | 2 << 44 | 4 << 50 | 1 << 54 | 1 << 57 | 1 << 58
    assert transport.log == [("register", 0x2_10C0, value)]


@pytest.mark.parametrize(("limit", "field"), [(None, 0), (1, 1), (64, 7), (1024, 11)])
def test_a_device_may_have_a_limit_of_its_own(limit, field):
    transport, traffic = engine()
    drive(traffic.configure_device(0, source_id=0, first_page=0, page_count=1, writes=0, outstanding_limit=limit))
    assert transport.log == [("register", 0x2_1000, 1 << 29 | 1 << 44 | 0b11 << 57 | field << 59)]


def test_checker_is_told_by_another_register():
    transport, traffic = engine()
    drive(traffic.expect(1, old_domain_id=3, new_domain_id=103, new_permitted=True))
    assert transport.log == [("register", 0x2_1048, 3 | 103 << 16 | 0b11 << 32)]


def test_page_list_entry_is_three_registers():
    transport, traffic = engine()
    drive(traffic.write_pages(2, [TrafficPage(0x5000, 0x9000, 0xA000, Permission.READ)]))
    assert transport.log == [("register", 0x4_0040, 5 | 1 << 52), ("register", 0x4_0048, 9), ("register", 0x4_0050, 10)]


def test_an_entry_may_stand_for_a_span_of_pages():
    transport, traffic = engine()
    drive(traffic.write_pages(0, [TrafficPage(3 << 30, 7 << 30, 9 << 30, Permission.READ_WRITE, span_log2=18)]))
    first = 3 << 18 | 0b11 << 52 | 18 << 54
    assert transport.log == [("register", 0x4_0000, first), ("register", 0x4_0008, 7 << 18), ("register", 0x4_0010, 9 << 18)]


def test_the_latency_histogram_is_watched_for_one_device_or_for_all():
    transport, traffic = engine()
    drive(traffic.watch_latency(5))
    drive(traffic.watch_latency(None))
    assert transport.log == [("register", 0x2_0038, 5 | 1 << 5), ("register", 0x2_0038, 0)]


def test_of_the_latency_histogram_only_what_is_not_empty_is_read():
    transport, traffic = engine()
    assert drive(traffic.latency_histogram()) == []
    for offset, value in ((0x0040, 4), (0x4018, 70), (0x4020, 2), (0x4028, 99)):
        drive(transport.write_register(0x2_0000 + offset, 8, value))
    assert drive(traffic.latency_histogram()) == [0, 0, 0, 70, 2]
    assert drive(traffic.latency_max()) == 4
    drive(transport.write_register(0x2_0040, 8, 5000))
    assert len(drive(traffic.latency_histogram())) == 1024


@pytest.mark.parametrize(("percent", "latency"), [(0.1, 3), (50, 3), (90, 3), (90.1, 4), (99, 4), (99.1, 7), (100, 7)])
def test_a_percentile_is_the_latency_that_so_many_do_not_exceed(percent, latency):
    assert percentile([0, 0, 0, 900, 90, 0, 0, 10], percent) == latency


@pytest.mark.parametrize(("histogram", "percent", "message"), [
    ([], 50, "counted something"), ([0, 0], 50, "counted something"), ([1], 0, "above 0"), ([1], 101, "at most 100"),
])
def test_a_percentile_of_nothing_is_refused(histogram, percent, message):
    with pytest.raises(BadRange, match=message):
        percentile(histogram, percent)


def test_counters_are_read_and_cleared_one_by_one():
    transport, traffic = engine()
    drive(transport.write_register(0x2_2048, 8, 77))
    assert drive(traffic.counters(1)) == {counter: 77 if counter is Counter.NEW else 0 for counter in Counter}
    drive(traffic.clear_counters(1))
    assert drive(traffic.counters(1))[Counter.NEW] == 0


def test_start_and_stop_leave_limit_and_gap_alone():
    transport, traffic = engine()
    drive(traffic.run(outstanding_limit=64, gap_cycles=3))
    drive(traffic.stop())
    drive(traffic.start())
    running = 1 | 64 << 1 | 3 << 12
    assert [value for _, _, value in transport.log] == [running, running & ~1, running]


def test_phase_seed_and_clock():
    transport, traffic = engine()
    drive(traffic.set_phase(Phase.SWAP))
    drive(traffic.set_seed(0x1234))
    assert transport.log == [("register", 0x2_0008, 6), ("register", 0x2_0020, 0x1234)]
    assert drive(traffic.phase()) is Phase.SWAP
    assert 0 < drive(traffic.cycle()) < drive(traffic.cycle())


def test_engine_that_never_empties_is_a_timeout():
    transport, traffic = engine()
    drive(traffic.wait_idle())
    drive(transport.write_register(0x2_0010, 8, 4))
    with pytest.raises(RegisterTimeout, match=r"IN_FLIGHT did not become 0 within .* it reads 4"):
        drive(traffic.wait_idle(cycles=100))


@pytest.mark.parametrize(("call", "message"), [
    (lambda t: t.counters(32), "device index 0x20: must be below 32"),
    (lambda t: t.configure_device(0, source_id=0, first_page=0, page_count=0), "page_count 0x0: must be at least 1"),
    (lambda t: t.watch_latency(32), "device index 0x20: must be below 32"),
    (lambda t: t.configure_device(0, source_id=0, first_page=0, page_count=1, outstanding_limit=3),
     "outstanding_limit 0x3: must be a power of two up to 1024"),
    (lambda t: t.write_pages(0, [TrafficPage(0, 0, 0, Permission.READ, 23)]), "span_log2 0x17: must be between 0 and 22"),
    (lambda t: t.write_pages(0, [TrafficPage(0, 0x2000, 0x1000, Permission.READ, 1)]),
     r"new_hpa 0x1000: must be aligned to its span of 2\*\*1 pages"),
    (lambda t: t.write_pages(8191, [TrafficPage(0, 0, 0, Permission.READ)] * 2), "beyond the list's 8192 entries"),
])
def test_what_does_not_exist_is_refused(call, message):
    _, traffic = engine()
    with pytest.raises(BadRange, match=message):
        drive(call(traffic))
