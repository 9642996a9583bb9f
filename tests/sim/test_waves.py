"""Waveforms from events: bounded, in words, and true to the log before the window too."""
import pytest
from vcd.reader import TokenKind, tokenize

from hw.spec.bench import Phase
from hw.spec.codec import encode
from hw.spec.dma import Status
from hw.spec.events import (
    ContextDetail,
    ControlDetail,
    DoneDetail,
    EventKind,
    MessageKind,
    PrefetchCause,
    QueueTrouble,
    ReplyDetail,
    StructureDetail,
    Verdict,
    WalkDetail,
    WalkStart,
)
from hw.spec.faults import FaultReason
from hw.spec.invalidation import (
    DescriptorType,
    Granularity,
    Invalidation,
    InvalidationKind,
    IotlbDescriptor,
    QueueError,
    TranslationTableMode,
    WaitDescriptor,
)
from hw.spec.memory import MemoryClient, MemoryOperation
from sim.events import no_events
from sim.waves import MAX_WINDOW_CYCLES, write_waves
from tests.sim.test_events import events

DEVICE, OTHER = 0x0010, 0x0018


def replied(cycle, status, source_id=DEVICE, **detail):
    return cycle, EventKind.REPLY, {"source_id": source_id, "domain_id": 7,
                                    "detail": encode(ReplyDetail, status=status, **detail)}


def story():
    """A device with one walk before the window, a replacement inside it, and a blocked DMA of each device."""
    invalidation = encode(Invalidation, kind=InvalidationKind.CONTEXT_CACHE, granularity=Granularity.SELECTIVE)
    done = encode(DoneDetail, verdict=Verdict.NEW)
    return events(
        (5, EventKind.CONTROL, {"hpa": 0xABC000, "detail": 1}),
        (10, EventKind.PHASE, {"detail": Phase.STEADY}),
        (90, EventKind.REQUEST, {"source_id": DEVICE}),
        (91, EventKind.WALK, {"source_id": DEVICE}),
        (100, EventKind.PHASE, {"detail": Phase.SWAP}),
        (101, EventKind.UPDATE, {"hpa": 0x1000, "tag": 1}),
        (102, EventKind.INVALIDATION_BEGIN, {"domain_id": 7, "detail": invalidation}),
        (103, EventKind.WALK_RESULT, {"source_id": DEVICE, "detail": encode(WalkDetail, marked=1)}),
        replied(104, Status.OK, hit=0),
        (105, EventKind.INVALIDATION_END, {"domain_id": 7, "detail": invalidation}),
        (106, EventKind.CONTEXT_FILL, {"source_id": DEVICE, "domain_id": 9, "hpa": 0x5000,
                                       "detail": encode(ContextDetail)}),
        replied(107, Status.BLOCKED, fault_reason=FaultReason.CONTEXT_NOT_PRESENT),
        (107, EventKind.FAULT, {"source_id": DEVICE, "detail": FaultReason.CONTEXT_NOT_PRESENT}),
        replied(108, Status.BLOCKED, source_id=OTHER, fault_reason=FaultReason.CONTEXT_NOT_PRESENT),
        (109, EventKind.DONE, {"source_id": DEVICE, "detail": done}),
        (300, EventKind.PHASE, {"detail": Phase.FREE}),
    )


def queue_story():
    """Two invalidations and their wait, a time-out that abandons another, a queue error, and a fault event."""
    iotlb = encode(IotlbDescriptor, type=DescriptorType.IOTLB, granularity=Granularity.DOMAIN_SELECTIVE, domain_id=7)
    wait = encode(WaitDescriptor, type=DescriptorType.WAIT, status_write=1, status_data=5, status_address=0x2000 >> 2)
    begun = encode(Invalidation, kind=InvalidationKind.IOTLB, granularity=Granularity.DOMAIN_SELECTIVE, domain_id=7)
    abort = encode(ControlDetail, translation_enabled=1, translation_table_mode=TranslationTableMode.ABORT_DMA)
    return events(
        (10, EventKind.DESCRIPTOR, {"detail": iotlb}),
        (11, EventKind.DESCRIPTOR, {"detail": iotlb}),
        (12, EventKind.DESCRIPTOR, {"detail": wait}),
        (13, EventKind.MEMORY, {"hpa": 0x3000, "tag": MemoryClient.UPDATE_PORT << 8, "detail": MemoryOperation.WRITE.value}),
        (14, EventKind.INVALIDATION_BEGIN, {"domain_id": 7, "detail": begun}),
        (16, EventKind.INVALIDATION_BEGIN, {"domain_id": 7, "detail": begun}),
        (20, EventKind.INVALIDATION_END, {"domain_id": 7, "detail": begun}),
        (25, EventKind.MEMORY, {"hpa": 0x2000, "tag": MemoryClient.MESSAGE_WRITER << 8, "detail": MemoryOperation.WRITE.value}),
        (25, EventKind.MESSAGE, {"hpa": 0x2000, "tag": MessageKind.STATUS, "detail": 5}),
        (30, EventKind.DESCRIPTOR, {"detail": wait}),
        (35, EventKind.QUEUE_ERROR, {"source_id": DEVICE, "tag": QueueTrouble.TIME_OUT}),
        (36, EventKind.WAIT_ABANDONED, {"detail": wait}),
        (40, EventKind.QUEUE_ERROR, {"tag": QueueTrouble.QUEUE_ERROR, "detail": QueueError.BAD_TYPE}),
        (45, EventKind.MESSAGE, {"hpa": 0xFEE0_1000, "tag": MessageKind.FAULT_EVENT, "detail": 0x42}),
        (50, EventKind.CONTROL, {"detail": abort}),
        (55, EventKind.CONTROL, {"detail": encode(ControlDetail, translation_enabled=1, root_invalid=1)}),
    )


def test_queue_is_shown_in_words(tmp_path):
    path = tmp_path / "queue.vcd"
    write_waves(path, queue_story(), first=0, last=60, source_ids=[])
    assert changes(path, "machine.descriptor") == [
        (0, "-"), (10, "IOTLB,DOMAIN_SELECTIVE,did=7"), (12, "WAIT,data=5")]
    assert changes(path, "machine.waits_in_progress") == [(0, 0), (12, 1), (25, 0), (30, 1), (36, 0)]
    assert changes(path, "machine.wait_status") == [(0, "-"), (25, "data=0x5,hpa=0x2000"), (36, "abandoned")]
    assert changes(path, "machine.invalidations_in_progress") == [(0, 0), (14, 1), (16, 2), (20, 0)]
    assert changes(path, "machine.queue_error") == [(0, "-"), (35, "TIME_OUT,00:02.0"), (40, "QUEUE_ERROR,BAD_TYPE")]
    assert changes(path, "machine.message") == [(0, "-"), (45, "FAULT_EVENT,data=0x42,hpa=0xfee01000")]
    assert changes(path, "machine.update") == [(0, "-"), (13, "WRITE,hpa=0x3000")]
    assert changes(path, "machine.translation") == [(0, "off"), (50, "ABORT_DMA"), (55, "ROOT_INVALID")]


def test_caches_of_upper_levels_are_shown_and_a_walk_counts_for_everybody_who_waits_for_it(tmp_path):
    where = {"domain_id": 7, "iova": 0x4020_0000, "hpa": 0x9000}
    log = events(
        (10, EventKind.WALK, {"source_id": DEVICE, "tag": 1}),
        (12, EventKind.WALK, {"source_id": DEVICE, "tag": 2, "detail": encode(WalkStart, joined=1)}),
        (14, EventKind.PREFETCH, where | {"tag": PrefetchCause.STREAM}),
        (16, EventKind.STRUCTURE_FILL, where | {"detail": encode(StructureDetail, level=3)}),
        (18, EventKind.WALK_RESULT, {"source_id": DEVICE, "tag": 1}),
        (19, EventKind.WALK_RESULT, {"source_id": DEVICE, "tag": 2}))
    path = tmp_path / "caches.vcd"
    write_waves(path, log, first=0, last=30, source_ids=[DEVICE])
    assert changes(path, "machine.structure_fill") == [(0, "-"), (16, "level=3,did=7,iova=0x40200000,table=0x9000")]
    assert changes(path, "machine.prefetch") == [(0, "-"), (14, "STREAM,did=7,iova=0x40200000")]
    assert changes(path, "device_00_02_0.walks_in_flight") == [(0, 0), (10, 1), (12, 2), (18, 1), (19, 0)]


@pytest.fixture
def waves(tmp_path):
    write_waves(tmp_path / "swap.vcd", story(), first=95, last=120, source_ids=[DEVICE])
    return tmp_path / "swap.vcd"


def changes(path, signal):
    """What a signal shows, as (cycle, value)."""
    scopes, names, cycle, shown = [], {}, 0, []
    with path.open("rb") as file:
        for token in tokenize(file):
            if token.kind is TokenKind.SCOPE:
                scopes.append(token.scope.ident)
            elif token.kind is TokenKind.UPSCOPE:
                scopes.pop()
            elif token.kind is TokenKind.VAR:
                names[token.var.id_code] = ".".join([*scopes, token.var.reference])
            elif token.kind is TokenKind.CHANGE_TIME:
                cycle = token.time_change
            elif token.kind in {TokenKind.CHANGE_STRING, TokenKind.CHANGE_VECTOR} and names[token.data.id_code] == signal:
                shown.append((cycle, token.data.value))
    return shown


def test_the_window_begins_in_the_state_that_the_log_before_it_left(waves):
    assert changes(waves, "machine.phase")[0] == (95, "STEADY")
    assert changes(waves, "machine.translation")[0] == (95, "on")
    assert changes(waves, "machine.root_table")[0] == (95, 0xABC000)
    assert changes(waves, "device_00_02_0.walks_in_flight")[0] == (95, 1)
    assert changes(waves, "device_00_02_0.requests_in_flight")[0] == (95, 1)


def test_states_are_words_at_their_cycle(waves):
    assert changes(waves, "machine.phase") == [(95, "STEADY"), (100, "SWAP")]
    assert (101, "stored,hpa=0x1000") in changes(waves, "machine.update")
    assert changes(waves, "machine.invalidation") == [
        (95, "-"), (102, "CONTEXT_CACHE,SELECTIVE,did=7"), (105, "-")]
    assert changes(waves, "machine.invalidations_in_progress") == [(95, 0), (102, 1), (105, 0)]
    assert changes(waves, "device_00_02_0.last_reply") == [
        (95, "-"), (104, "OK,walked,did=7"), (107, "BLOCKED,CONTEXT_NOT_PRESENT,did=7")]
    assert changes(waves, "device_00_02_0.context_fill")[-1] == (106, "did=9,table=0x5000")
    assert changes(waves, "device_00_02_0.fault")[-1] == (107, "CONTEXT_NOT_PRESENT")
    assert changes(waves, "device_00_02_0.verdict")[-1] == (109, "NEW")


def test_walks_end(waves):
    assert changes(waves, "device_00_02_0.walks_in_flight") == [(95, 1), (103, 0)]


def test_blocked_dma_counts_for_its_device_and_for_the_machine(waves):
    assert changes(waves, "device_00_02_0.blocked_count") == [(95, 0), (107, 1)]
    assert changes(waves, "machine.blocked_count") == [(95, 0), (107, 1), (108, 2)]


def test_nothing_outside_the_window_and_of_other_devices_is_written(waves):
    text = waves.read_text()
    stamps = [int(line[1:]) for line in text.splitlines() if line.startswith("#")]
    assert min(stamps) == 95
    assert max(stamps) == 120
    assert "FREE" not in text
    assert "device_00_03_0" not in text


def test_the_view_shows_the_phase_first_and_every_signal(waves):
    view = waves.with_suffix(".gtkw").read_text()
    assert 'swap.vcd"' in view
    names = [line for line in view.splitlines() if "machine." in line or ("device_" in line and "." in line)]
    assert names[0].endswith("machine.phase")
    assert sum("device_00_02_0." in name for name in names) == 8


@pytest.mark.parametrize(("first", "last"), [(10, 9), (-1, 5), (0, MAX_WINDOW_CYCLES)])
def test_a_window_that_is_empty_or_too_long_is_refused(tmp_path, first, last):
    with pytest.raises(ValueError, match="the window must have"):
        write_waves(tmp_path / "x.vcd", no_events(), first=first, last=last, source_ids=[])
