"""The event log's vocabulary: numbers that logs already written depend on, and details that fit."""
import pytest

from hw.spec.bench import Counter
from hw.spec.codec import field_width
from hw.spec.events import (
    EVENT_DETAILS,
    ControlDetail,
    Event,
    EventKind,
    FaultDisposition,
    MessageKind,
    QueueTrouble,
    RegisterAccess,
    Verdict,
)
from hw.spec.invalidation import IotlbDescriptor
from tests.hw.spec.layouts import rows, size


def test_event_kinds_keep_their_numbers():
    assert [kind.name for kind in sorted(EventKind)] == [
        "NONE", "REQUEST", "REPLY", "RETIRE", "CONTEXT_FETCH", "CONTEXT_RESULT", "CONTEXT_FILL", "WALK", "WALK_RESULT",
        "IOTLB_FILL", "MEMORY", "UPDATE", "INVALIDATION_BEGIN", "INVALIDATION_END", "FAULT", "PHASE", "DONE", "CONTROL",
        "DESCRIPTOR", "MESSAGE", "QUEUE_ERROR", "REGISTER", "WAIT_ABANDONED", "STRUCTURE_FILL", "PREFETCH"]
    assert [kind.value for kind in sorted(EventKind)] == list(range(25))


def test_an_event_is_five_words_and_a_kind():
    assert rows(Event) == [
        ("kind", 4, 0), ("source_id", 20, 5), ("domain_id", 36, 21), ("tag", 52, 37), ("iova", 116, 53), ("hpa", 180, 117),
        ("detail", 308, 181)]


@pytest.mark.parametrize("kind", EVENT_DETAILS, ids=lambda kind: kind.name)
def test_every_detail_fits_its_field(kind):
    assert size(EVENT_DETAILS[kind]) <= field_width(Event, "detail")


def test_a_register_access_and_a_descriptor_fit_the_fields_that_carry_them():
    assert size(RegisterAccess) <= field_width(Event, "tag")
    assert size(IotlbDescriptor) <= field_width(Event, "detail")


def test_messages_troubles_and_register_accesses_keep_their_numbers():
    assert [kind.name for kind in sorted(MessageKind)][:3] == ["STATUS", "FAULT_EVENT", "INVALIDATION_EVENT"]
    assert [trouble.name for trouble in sorted(QueueTrouble)] == ["QUEUE_ERROR", "TIME_OUT", "COMPLETION_ERROR"]
    assert rows(RegisterAccess) == [("write", 0, 0), ("wide", 1, 1), ("error", 2, 2), ("violation", 3, 3)]
    assert rows(ControlDetail) == [
        ("translation_enabled", 0, 0), ("latched", 1, 1), ("translation_table_mode", 3, 2), ("root_invalid", 4, 4)]


def test_verdicts_and_the_counters_of_the_engine_are_numbered_alike():
    assert {verdict.name: verdict.value for verdict in Verdict} == {
        counter.name: counter.value for counter in Counter if counter.name != "ISSUED"}


def test_a_fault_is_recorded_or_one_of_two_reasons_says_why_not():
    assert {disposition.name: disposition.value for disposition in FaultDisposition} == {
        "RECORDED": 0, "OVERFLOWED": 1, "SUPPRESSED": 2}
