"""The judge of W8 and W9 on logs written by hand: every kind of trouble is found, and only that."""
import numpy as np
import pytest

from hw.spec.codec import encode
from hw.spec.dma import Status
from hw.spec.events import DoneDetail, EventKind, MessageKind, RegisterAccess, ReplyDetail, Verdict
from hw.spec.memory import CLIENT_TAG_BITS, MemoryClient, MemoryOperation
from sim.events import no_events
from sim.measure.sweep_log import doorbells, race_outcome, swap_outcome

PAGE, OLD, NEW = 0x4000, (1, 0xA000), (2, 0xB000)
WRITE = int(encode(RegisterAccess, write=1, wide=1))
CHANGED, DOORBELL, FENCE = 105, 110, 140


def log(*rows):
    """Events of (cycle, kind, fields), in the order of their cycles."""
    events = np.concatenate([no_events(), np.zeros(len(rows), dtype=no_events().dtype)])
    for event, (cycle, kind, fields) in zip(events, sorted(rows, key=lambda row: row[0]), strict=True):
        event["cycle"], event["kind"] = cycle, kind.value
        for name, value in fields.items():
            event[name] = int(value)
    return events


def answer(request, reply, where, *, retire=None, status=Status.OK):
    """The events of one request for the page."""
    domain_id, hpa = where
    return [(request, EventKind.REQUEST, dict(iova=PAGE + 0x10)),
            (reply, EventKind.REPLY, dict(iova=PAGE + 0x10, domain_id=domain_id, hpa=hpa + 0x10,
                                          detail_lo=encode(ReplyDetail, status=status))),
            (reply + 1 if retire is None else retire, EventKind.RETIRE, {})]


def wait_done(cycle=FENCE):
    return [(cycle, EventKind.MESSAGE, dict(tag=MessageKind.STATUS))]


GOOD = [*answer(100, 130, OLD), *answer(120, 133, NEW), *answer(145, 148, NEW)]


def race(*rows):
    return race_outcome(log(*rows), iova=PAGE, old=OLD, new=NEW, changed=CHANGED, doorbell=DOORBELL)


def test_a_placement_in_order_shows_nothing():
    outcome = race(*GOOD, *wait_done())
    assert (outcome.offset, outcome.hang, outcome.stale, outcome.faults, outcome.wrong, outcome.probes) == (
        10, False, 0, 0, 0, 1)


def test_an_old_translation_whose_access_is_over_in_time_is_not_stale():
    assert race(*answer(100, 130, OLD, retire=FENCE), *wait_done()).stale == 0


@pytest.mark.parametrize("rows", [
    answer(100, 130, OLD, retire=FENCE + 1),     # its access is under way
    answer(145, 148, OLD),                       # it was accepted afterwards
    [row for row in answer(100, 130, OLD) if row[1] is not EventKind.RETIRE],   # its access never ends
])
def test_an_old_translation_in_use_after_the_wait_is_stale(rows):
    outcome = race(*rows, *wait_done())
    assert (outcome.stale, outcome.wrong, outcome.faults) == (1, 0, 0)


@pytest.mark.parametrize("rows", [
    GOOD,                                                                       # no status
    [*GOOD, *wait_done(), (150, EventKind.REQUEST, dict(iova=PAGE))],           # no reply
    [*GOOD, *wait_done(DOORBELL - 1)],                                          # a status of something before
])
def test_what_does_not_come_is_a_hang(rows):
    assert race(*rows).hang


@pytest.mark.parametrize("row", [
    answer(100, 130, (1, 0xB000)), answer(100, 130, (2, 0xA000)), answer(100, 130, (1, 0xC000)),
    answer(95, CHANGED - 1, NEW)])
def test_what_is_neither_old_nor_new_is_wrong(row):
    outcome = race(*row, *wait_done())
    assert (outcome.wrong, outcome.stale, outcome.faults) == (1, 0, 0)


def test_a_blocked_request_and_a_fault_are_faults():
    outcome = race(*answer(100, 130, (0, 0), status=Status.BLOCKED), (129, EventKind.FAULT, {}), *wait_done())
    assert (outcome.faults, outcome.wrong) == (2, 0)


def test_other_pages_do_not_count_but_their_retires_do():
    """The neighbour's retire comes first, so the page's own is the second one, too late."""
    neighbour = [(99, EventKind.REQUEST, dict(iova=0x9000)), (103, EventKind.REPLY, dict(iova=0x9000, hpa=1)),
                 (104, EventKind.RETIRE, {})]
    assert race(*neighbour, *answer(100, 130, OLD, retire=FENCE + 1), *wait_done()).stale == 1


@pytest.mark.parametrize(("end", "stale"), [(FENCE, 0), (FENCE + 1, 1)])
def test_where_somebody_says_done_that_counts_by_tag(end, stale):
    """Another DMA with the same tag ended before, and one with another tag ends after the status."""
    done = [(cycle, EventKind.DONE, dict(tag=tag)) for cycle, tag in ((90, 0), (end, 0), (FENCE + 9, 1))]
    assert race(*answer(100, 130, OLD, retire=FENCE + 5), *done, *wait_done()).stale == stale


def test_what_waits_when_the_doorbell_rings_is_counted():
    walk = [(104, EventKind.WALK, {}), (125, EventKind.WALK_RESULT, {})]
    assert race(*GOOD, *walk, *wait_done()).joined == 1
    assert race(*GOOD, (104, EventKind.WALK, {}), (109, EventKind.WALK_RESULT, {}), *wait_done()).joined == 0


def test_the_doorbell_is_a_write_of_its_register():
    events = log((5, EventKind.REGISTER, dict(hpa=0x88, tag=WRITE)), (7, EventKind.REGISTER, dict(hpa=0x88, tag=2)),
                 (9, EventKind.REGISTER, dict(hpa=0x80, tag=WRITE)))
    assert doorbells(events, 0x88).tolist() == [5]


# --- a swap ---

DEVICE, OTHER = 0x10, 0x11
PAGES = {1: (PAGE, 0xA000), 2: (PAGE, 0xB000)}
CAS, COMPLETE, END = 200, 240, 300


def dma(reply, end, where, verdict, *, source_id=DEVICE, status=Status.OK):
    """Reply and end of one DMA."""
    domain_id, hpa = where
    return [(reply, EventKind.REPLY, dict(source_id=source_id, domain_id=domain_id, iova=PAGE + 8, hpa=hpa + 8,
                                          detail_lo=encode(ReplyDetail, status=status))),
            (end, EventKind.DONE, dict(source_id=source_id, detail_lo=encode(DoneDetail, verdict=verdict)))]


FRAME = [(CAS, EventKind.MEMORY, dict(tag=MemoryClient.UPDATE_PORT << CLIENT_TAG_BITS,
                                      detail_lo=MemoryOperation.COMPARE_EXCHANGE.value)),
         (CAS - 1, EventKind.MEMORY, dict(tag=MemoryClient.PAGE_WALKER << CLIENT_TAG_BITS)),
         (END, EventKind.RETIRE, {})]
SWAP = [*dma(190, 195, OLD, Verdict.OLD), *dma(210, 215, OLD, Verdict.OLD), *dma(250, 255, NEW, Verdict.NEW)]
DONE = wait_done(COMPLETE)


def swap(*rows):
    return swap_outcome(log(*FRAME, *rows), source_id=DEVICE, old=Verdict.OLD, new=Verdict.NEW, old_domain_id=1, pages=PAGES)


def test_a_swap_in_order_gives_its_times():
    outcome = swap(*SWAP, *DONE)
    assert (outcome.first_new, outcome.last_old, outcome.complete, outcome.longest_gap) == (50, 15, 40, 45)
    assert (outcome.hang, outcome.old_after, outcome.faults, outcome.wrong) == (False, 0, 0, 0)


def test_the_gap_after_the_last_dma_counts_and_the_ones_before_the_exchange_do_not():
    early = dma(20, 25, OLD, Verdict.OLD)
    assert swap(*early, *SWAP, *DONE).longest_gap == 45
    assert swap(*early, *SWAP[:-2], *dma(218, 219, NEW, Verdict.NEW), *DONE).longest_gap == END - 219


def test_without_any_dma_the_gap_is_as_long_as_what_was_watched():
    outcome = swap(*DONE)
    assert (outcome.longest_gap, outcome.hang) == (END - CAS, True)


def test_a_dma_by_the_old_tables_that_is_not_over_when_the_swap_is_complete_is_found():
    assert swap(*SWAP, *dma(235, COMPLETE + 1, OLD, Verdict.OLD), *DONE).old_after == 1
    assert swap(*SWAP, *dma(235, COMPLETE, OLD, Verdict.OLD), *DONE).old_after == 0
    assert swap(*SWAP, *dma(COMPLETE + 1, COMPLETE + 5, OLD, Verdict.OLD), *DONE).old_after == 2   # its reply, too


@pytest.mark.parametrize("rows", [SWAP, [*SWAP[:-2], *DONE]])
def test_no_status_or_no_new_dma_is_a_hang(rows):
    assert swap(*rows).hang


@pytest.mark.parametrize("rows", [
    dma(260, 265, (2, 0xC000), Verdict.NEW),                    # the reply is elsewhere
    dma(260, 265, NEW, Verdict.WRONG), dma(260, 265, NEW, Verdict.ERROR),
    dma(191, 260, NEW, Verdict.NEW),                            # before the exchange
    dma(260, 265, (5, 0), Verdict.WRONG, source_id=OTHER)])
def test_a_dma_elsewhere_is_wrong(rows):
    outcome = swap(*SWAP, *rows, *DONE)
    assert (outcome.wrong, outcome.faults) == (1, 0)


def test_a_blocked_dma_is_a_fault():
    outcome = swap(*SWAP, *dma(260, 265, (0, 0), Verdict.BLOCKED, status=Status.BLOCKED), *DONE)
    assert (outcome.faults, outcome.wrong) == (2, 0)            # its reply, and what the engine says of it


def test_others_are_counted_in_windows_of_the_same_length():
    """100 cycles before the exchange and 100 from it on."""
    ends = [99, 100, 150, 199, 200, 299, 300]
    others = [row for end in ends for row in dma(end - 5, end, (5, 0), Verdict.OLD, source_id=OTHER)]
    outcome = swap(*SWAP, *others, *DONE)
    assert (outcome.before, outcome.beside, outcome.wrong) == (3, 2, 0)


def test_without_an_exchange_nothing_is_judged():
    with pytest.raises(AssertionError, match="there are 0 compare-exchanges"):
        swap_outcome(log(*SWAP), source_id=DEVICE, old=Verdict.OLD, new=Verdict.NEW, old_domain_id=1, pages=PAGES)
