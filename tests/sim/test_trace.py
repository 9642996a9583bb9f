"""Traces of a driver: what is read, what is refused, and what a play is made of."""
import gzip
from collections import Counter
from pathlib import Path

import pytest

from hw.spec.capabilities import straps_from_capabilities
from hw.spec.dma import Access
from hw.spec.faults import FaultReason
from hw.spec.registers import register
from sim.model.translate import Request
from sim.stories.driver_plan import Check, Doorbell, ExpectedFault, Gone, Load, Tables, Traffic, plan
from sim.stories.read_masks import READ_MASKS, RegisterMap
from sw.capture import Capture
from sw.errors import CaptureMalformed
from sw.registers import RegisterValue
from sw.trace import (
    Descriptor,
    Fault,
    Message,
    RegisterRead,
    RegisterWrite,
    Snapshot,
    StatusWrite,
    TracedRecord,
    Translation,
    read_trace,
)

CAPTURES = Path(__file__).parents[1] / "data" / "real-tables"
QUEUE = 0x1_47A7_D000                     # hwpt48's
IQA = RegisterValue(register("IQA"), QUEUE)
DEVICE, MAPPED, UNMAPPED = 0x38, 0x5029_B000, 0x7000_1000   # of hwpt48, as its trace says
WAIT, GLOBAL = Descriptor(0x2_0000_0025, 0x1_4096_5C04), Descriptor(0xD2, 0)


def written(folder, *lines):
    """A trace of these lines."""
    path = folder / "trace_init.txt.gz"
    with gzip.open(path, "wt") as stream:
        stream.writelines(line + "\n" for line in lines)
    return path


def snapshots(name, *epochs):
    """Tables of a capture."""
    captures = [Capture.load(CAPTURES / name, epoch=epoch) for epoch in epochs]
    straps = straps_from_capabilities(captures[0].cap.value, captures[0].ecap.value)
    return [Tables(capture, straps) for capture in captures]


@pytest.fixture(scope="module")
def hwpt48():
    """The tables of hwpt48."""
    return snapshots("hwpt48", 0)


def planned(tables, *events):
    """A play of these events."""
    return plan(events, tables, iqa=IQA, iqt=0x120, file="trace")


# --- reading ---

@pytest.mark.parametrize(("line", "event"), [
    ("R 008 8 d2008c222f0606", RegisterRead(8, 8, 0xD2008C222F0606)),
    ("W 018 4 84000000", RegisterWrite(0x18, 4, 0x84000000)),
    ("I 200000025 140965c04", Descriptor(0x200000025, 0x140965C04)),
    ("S 140965c04 2", StatusWrite(0x140965C04, 2)),
    ("M fee01004 21", Message(0xFEE01004, 0x21)),
    ("T 0038 1010d000 148e80000 fff", Translation(0x38, 0x1010D000, 0x148E80000, 4096)),
    ("F 0038 10 70001000 1", Fault(0x38, 10, 0x70001000, True)),
    ("N 70001000 40ffff0600000038", TracedRecord(0x70001000, 0x40FFFF0600000038)),
    ("E 7", Snapshot(7)),
])
def test_each_kind_of_event_is_read(tmp_path, line, event):
    assert read_trace(written(tmp_path, line)) == [event]


@pytest.mark.parametrize("line", ["X 0", "R 008 8", "I 1", "F 0038 6 70001000 2", "R 00a 4 0", "W 018 4 100000000", "R 8 2 0"])
def test_a_line_that_is_none_is_refused_with_its_number(tmp_path, line):
    with pytest.raises(CaptureMalformed, match=r"^trace_init\.txt\.gz: line 2: "):
        read_trace(written(tmp_path, "E 0", line))


def test_a_trace_that_is_cut_short_is_refused(tmp_path):
    path = written(tmp_path, *["T 0038 0 148e93000 fff"] * 1000)
    path.write_bytes(path.read_bytes()[:-12])
    with pytest.raises(CaptureMalformed, match="must be there and complete"):
        read_trace(path)


@pytest.mark.parametrize(("name", "play", "counts"), [
    ("hwpt48", "init", (33, 30, 18, 9, 162, 8, 4)), ("hwpt48", "run", (33, 30, 18, 9, 162, 8, 4)),
    ("legacy48", "init", (13, 202, 378, 189, 3218, 0, 0)), ("legacy48", "run", (0, 151, 302, 151, 5396, 0, 0)),
    ("ident39", "init", (18, 24, 18, 9, 3927, 2, 1)), ("ident39", "run", (0, 0, 0, 0, 6000, 0, 0)),
    ("legacy39seq", "init", (18, 223, 416, 208, 3131, 2, 1)), ("legacy39seq", "run", (0, 2741, 5482, 2741, 20635, 0, 0)),
])
def test_every_recorded_event_is_read(name, play, counts):
    """The counts are of the first letters of the lines."""
    kinds = (RegisterRead, RegisterWrite, Descriptor, StatusWrite, Translation, Fault, TracedRecord)
    found = Counter(type(event) for event in read_trace(CAPTURES / name / f"trace_{play}.txt.gz"))
    assert tuple(found[kind] for kind in kinds) == counts


# --- planning ---

def test_descriptors_go_to_the_ring_behind_the_old_tail_before_the_doorbell(hwpt48):
    first, second = RegisterWrite(0x88, 4, 0x20), RegisterWrite(0x88, 4, 0x30)
    done = StatusWrite(0x1_4096_5C04, 2)
    made = planned(hwpt48, RegisterWrite(0x88, 4, 0), RegisterWrite(0x90, 8, QUEUE), first, GLOBAL, WAIT, done, second, GLOBAL)
    assert made.primed is None
    assert made.steps[2:] == [Doorbell(first, ((QUEUE, GLOBAL), (QUEUE + 0x10, WAIT)), (done,)),
                              Doorbell(second, ((QUEUE + 0x20, GLOBAL),), ())]


def test_a_trace_that_begins_in_the_middle_is_primed_up_to_its_first_doorbell(hwpt48):
    made = planned(hwpt48, RegisterWrite(0x88, 4, 0x10), GLOBAL, WAIT)
    assert made.primed == 0xFF0
    assert made.steps == [Doorbell(RegisterWrite(0x88, 4, 0x10), ((QUEUE + 0xFF0, GLOBAL), (QUEUE, WAIT)), ())]


def test_a_trace_without_a_doorbell_is_primed_up_to_the_tail_of_the_snapshot(hwpt48):
    assert planned(hwpt48, Snapshot(0)).primed == 0x120


def test_a_doorbell_over_more_descriptors_than_were_executed_is_refused(hwpt48):
    with pytest.raises(CaptureMalformed, match=r"from 0x0 to 0x20, over 2 descriptors, but 1 were executed"):
        planned(hwpt48, RegisterWrite(0x90, 8, QUEUE), RegisterWrite(0x88, 4, 0x20), GLOBAL)


def test_only_translations_that_the_tables_give_are_sent(hwpt48):
    made = planned(hwpt48, Translation(DEVICE, MAPPED, 0x1_4429_A000, 4096), Translation(DEVICE, UNMAPPED, 0, 4096))
    step, = made.steps
    assert isinstance(step, Traffic)
    assert step.requests == (Request(DEVICE, MAPPED, Access.READ),)
    assert [each.hpa for each in step.expected] == [0x1_4429_A000]
    assert made.left_out == {"translation: the tables in memory give READ_PERMISSION": 1}


def test_only_faults_that_the_tables_give_are_expected(hwpt48):
    record, message = TracedRecord(UNMAPPED, 0x40FFFF06_00000038), Message(0xFEE01004, 0x21)
    made = planned(hwpt48, Fault(DEVICE, 6, UNMAPPED, False), record, message, Fault(DEVICE, 6, UNMAPPED + 4, False),
                   Fault(DEVICE, 6, MAPPED, False), Fault(DEVICE, 7, UNMAPPED, False))
    assert made.steps == [
        ExpectedFault(Request(DEVICE, UNMAPPED), FaultReason.READ_PERMISSION, record, message),
        ExpectedFault(Request(DEVICE, UNMAPPED + 4), FaultReason.READ_PERMISSION, None, None)]
    assert made.left_out == {"fault 6: the tables in memory give a translation": 1,
                             "fault 7: the tables in memory give READ_PERMISSION": 1}


def test_the_next_tables_are_loaded_when_what_was_in_flight_is_invalidated():
    """Snapshot 0 of legacy39seq has one translation in flight: device 00:05.0, domain 5, page 0xFFEC_7000."""
    tables = snapshots("legacy39seq", 0, 1)
    other, own = Descriptor(0x500F2, 0xFFEC_8000), Descriptor(0x500F2, 0xFFEC_7000)
    made = planned(tables, Snapshot(0), RegisterWrite(0x88, 4, 0x10), other, RegisterWrite(0x88, 4, 0x20), own)
    kinds = [type(step) for step in made.steps]
    assert kinds == [Check, Doorbell, Doorbell, Gone, Load]
    assert [row.iova for row in made.steps[3].rows] == [0xFFEC_7000]


def test_the_next_tables_are_loaded_at_once_when_nothing_is_in_flight():
    """As at snapshot 2; at snapshot 1 page 0xFFE0_6000 of domain 9 is in flight."""
    first, second = Descriptor(0x500F2, 0xFFEC_7000), Descriptor(0x900F2, 0xFFE0_6000)
    made = planned(snapshots("legacy39seq", 0, 1, 2, 3), Snapshot(0), RegisterWrite(0x88, 4, 0x10), first,
                   Snapshot(1), RegisterWrite(0x88, 4, 0x20), second, Snapshot(2), Snapshot(3))
    assert [type(step) for step in made.steps] == [Check, Doorbell, Gone, Load, Check, Doorbell, Gone, Load, Check, Load, Check]
    assert [step.epoch for step in made.steps if isinstance(step, Load)] == [1, 2, 3]


def test_a_snapshot_before_the_invalidation_of_what_was_in_flight_is_refused():
    with pytest.raises(CaptureMalformed, match="snapshot 1 comes before the invalidation of what was in flight at snapshot 0"):
        planned(snapshots("legacy39seq", 0, 1), Snapshot(0), Snapshot(1))


# --- masks ---

@pytest.fixture
def places(hwpt48):
    """Where hwpt48's registers are."""
    return RegisterMap(hwpt48[0].capture.cap, hwpt48[0].capture.ecap)


@pytest.mark.parametrize(("offset", "width", "bits"), [
    (0x000, 4, 0xFF), (0x008, 8, 0), (0x010, 8, 1 << 52 | 1), (0x01C, 4, 0), (0x034, 4, 1),
    (0x220, 8, 0), (0x228, 4, 0), (0x22C, 4, 0x0FFF_FF00), (0x228, 8, 0x0FFF_FF00 << 32),
])
def test_what_is_not_compared_is_a_few_bits_of_few_registers(places, offset, width, bits):
    assert sum(places.ignored(offset, width).values()) == bits


def test_an_offset_without_a_register_has_no_name(places):
    with pytest.raises(KeyError, match="no register at 0x230"):
        places.name(0x230)


def test_every_mask_has_its_reason():
    assert all(len(entry.reason) > 20 for entry in READ_MASKS)
