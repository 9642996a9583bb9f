"""What experiments declare, and what the event log proves: against hand-made logs and the captures' own words."""
from pathlib import Path

import numpy as np
import pytest

from hw.spec.codec import encode
from hw.spec.dma import Status
from hw.spec.events import EventKind, ReplyDetail
from hw.spec.invalidation import Granularity, Invalidation, InvalidationKind
from hw.spec.memory import CLIENT_TAG_BITS, MemoryClient, MemoryOperation
from sim.events import EVENT_DTYPE
from sim.stories.departures import Departures
from sim.stories.evidence import blocked_windows, stores_into_entries
from sim.stories.experiment import Experiment, data_page
from sw.capture import Capture

CAPTURES = Path(__file__).parents[1] / "data" / "real-tables"
SOURCE_ID = 0x38
HIT = encode(ReplyDetail, status=Status.OK, hit=1)
MISS = encode(ReplyDetail, status=Status.OK)
REFUSED = encode(ReplyDetail, status=Status.BLOCKED)
FORGET_CONTEXT = encode(Invalidation, kind=InvalidationKind.CONTEXT_CACHE)
FORGET_PAGES = encode(Invalidation, kind=InvalidationKind.IOTLB)


@pytest.fixture(scope="module")
def experiment():
    return Experiment.of(Capture.load(CAPTURES / "hwpt48"))


@pytest.fixture(scope="module")
def entry(experiment):
    (device,) = experiment.devices
    return device.entry_hpa


def log(*rows):
    """Events from (cycle, kind, fields)."""
    events = np.zeros(len(rows), dtype=EVENT_DTYPE)
    for event, (cycle, kind, fields) in zip(events, rows, strict=True):
        event["cycle"], event["kind"] = cycle, kind.value
        for name, value in ({"source_id": SOURCE_ID} | fields).items():
            if name == "detail":
                event["detail_lo"], event["detail_hi"] = value % (1 << 64), value >> 64
            else:
                event[name] = value
    return events


def exchange(entry, cycle, *, present=1):
    return [(cycle, EventKind.MEMORY, {"hpa": entry, "tag": MemoryClient.UPDATE_PORT << CLIENT_TAG_BITS,
                                       "detail": MemoryOperation.COMPARE_EXCHANGE.value}),
            (cycle + 20, EventKind.UPDATE, {"hpa": entry, "tag": 1, "detail": present})]


def test_the_commit_is_the_cycle_in_which_memory_took_the_store(experiment, entry):
    (store,) = stores_into_entries(log(*exchange(entry, 100)), experiment)
    assert (store["commit_cycle"], store["exchange"], store["present"]) == (100, True, True)


def test_a_store_that_did_not_swap_is_none(experiment, entry):
    events = log(*exchange(entry, 100))
    events["tag"] = 0
    assert stores_into_entries(events, experiment) == []


@pytest.mark.parametrize(("begun", "ended", "expected"), [
    (90, 110, 1), (90, None, 1), (80, 90, 0), (101, 120, 0), (100, 120, 0), (90, 100, 0)])
def test_a_walk_is_in_flight_only_if_both_its_ends_lie_outside(experiment, entry, begun, ended, expected):
    rows = [(begun, EventKind.WALK, {"tag": 7}), *exchange(entry, 100)]
    if ended is not None:
        rows.append((ended, EventKind.WALK_RESULT, {"tag": 7}))
    (store,) = stores_into_entries(log(*sorted(rows, key=lambda row: row[0])), experiment)
    assert store["walks_in_flight"] == expected


@pytest.mark.parametrize(("detail", "source_id", "expected"), [(HIT, SOURCE_ID, 1), (MISS, SOURCE_ID, 0), (HIT, 0x18, 0)])
def test_only_a_hit_of_the_device_itself_counts_as_a_hit_in_flight(experiment, entry, detail, source_id, expected):
    rows = [(95, EventKind.REPLY, {"tag": 3, "detail": detail, "source_id": source_id}), *exchange(entry, 100),
            (125, EventKind.DONE, {"tag": 3, "source_id": source_id})]
    (store,) = stores_into_entries(log(*rows), experiment)
    assert store["hits_in_flight"] == expected


def forgets(cycle, domain_id, detail=FORGET_PAGES):
    """The beginning of an invalidation."""
    return cycle, EventKind.INVALIDATION_BEGIN, {"domain_id": domain_id, "detail": detail}


def complete(cycle):
    return cycle, EventKind.INVALIDATION_END, {}


def test_only_an_iotlb_invalidation_of_the_old_domain_that_begins_later_counts_and_all_that_have_begun_end_at_once(
        experiment, entry):
    (device,) = experiment.devices
    old = device.old_domain_id
    rows = [forgets(90, old), *exchange(entry, 100), complete(130), forgets(140, old, FORGET_CONTEXT), complete(150),
            forgets(155, old + 1), complete(160), forgets(165, old), forgets(166, old + 1), complete(170), complete(180)]
    (store,) = stores_into_entries(log(*sorted(rows, key=lambda row: row[0])), experiment)
    assert store["invalidated_cycle"] == 170
    (store,) = stores_into_entries(log(*exchange(entry, 100), forgets(130, old)), experiment)
    assert store["invalidated_cycle"] is None


def test_a_device_has_left_its_old_domain_when_what_was_begun_after_its_store_has_ended(experiment):
    (device,) = experiment.devices
    old = device.old_domain_id

    def left(*begun):
        departures = Departures(experiment.devices)
        for detail, domain_id, stored in begun:
            (event,) = log(forgets(1, domain_id, detail))
            departures.begin(event, stored)
        gone = departures.end()
        assert departures.end() == []
        return gone == [device]

    domain = encode(Invalidation, kind=InvalidationKind.IOTLB, granularity=Granularity.DOMAIN_SELECTIVE)
    whole = encode(Invalidation, kind=InvalidationKind.IOTLB, granularity=Granularity.GLOBAL)
    pages = encode(Invalidation, kind=InvalidationKind.IOTLB, granularity=Granularity.SELECTIVE)
    stored = {device.source_id}
    assert left((domain, old, stored), (domain, old + 1, stored))
    assert left((whole, 0, stored))
    assert not left((domain, old, set()))
    assert not left((domain, old + 1, stored), (pages, old, stored), (FORGET_CONTEXT, old, stored))


def test_a_blocked_window_is_told_with_what_bounds_it(experiment, entry):
    rows = [*exchange(entry, 100, present=0),
            (130, EventKind.INVALIDATION_BEGIN, {"detail": FORGET_CONTEXT}),
            (140, EventKind.MEMORY, {"hpa": entry, "detail": MemoryOperation.READ.value}),
            (165, EventKind.REPLY, {"tag": 1, "detail": REFUSED}), (190, EventKind.REPLY, {"tag": 2, "detail": REFUSED}),
            *exchange(entry, 200),
            (230, EventKind.CONTEXT_RESULT, {"tag": 3, "detail": 0})]
    (window,) = blocked_windows(log(*rows), experiment)
    assert window == {"source_id": SOURCE_ID, "blocked": 2, "first_blocked": 165, "last_blocked": 190,
                      "blocked_window_cycles": 26, "break_cycle": 100, "first_read": 140, "forgotten_cycle": 130,
                      "make_cycle": 200, "fetched_cycle": 230}


def test_every_device_with_live_translations_visits_just_those():
    capture = Capture.load(CAPTURES / "legacy48")
    experiment = Experiment.of(capture)
    assert {device.source_id for device in experiment.devices} == {row.source_id for row in capture.live}
    visited = {(device.source_id, page.iova) for device in experiment.devices for page in device.pages}
    assert {(row.source_id, row.iova) for row in capture.live} <= visited


def test_a_relocated_devices_whole_domain_moves_and_its_dma_only_reads():
    experiment = Experiment.of(Capture.load(CAPTURES / "legacy48"), relocate={0x40: 1 << 38})
    moved = {device.source_id for device in experiment.devices if any(page.old_hpa != page.new_hpa for page in device.pages)}
    assert moved == {0x40}
    assert {device.source_id for device in experiment.devices if device.writes == 0} == {0x40}


def test_new_tags_are_fresh_and_one_for_each_domain():
    experiment = Experiment.of(Capture.load(CAPTURES / "legacy48"))
    new = [domain.new_domain_id for domain in experiment.domains]
    assert len(set(new)) == len(experiment.domains)
    assert not set(new) & {domain.old_domain_id for domain in experiment.domains}


def test_a_device_without_live_translations_cannot_be_named():
    with pytest.raises(ValueError, match="device 0x0048 holds no live translation in legacy48; these do: 0x0018"):
        Experiment.of(Capture.load(CAPTURES / "legacy48"), dropped=[0x48])


def test_a_data_page_carries_its_own_number_in_every_quantum():
    page = data_page(0x12345)
    assert {page[start:start + 16] for start in range(0, 4096, 16)} == {bytes(8) + (0x516E_0000_0001_2345).to_bytes(8, "little")}
