"""Recorded events: decoded as written by hand, read by name, shown in words, and in order as they come out of a machine."""
import json

import numpy as np
import pytest

from hw.spec.codec import encode
from hw.spec.dma import Access, Status
from hw.spec.events import (
    ControlDetail,
    Event,
    EventKind,
    MessageKind,
    PrefetchCause,
    QueueTrouble,
    RegisterAccess,
    ReplyDetail,
    StructureDetail,
    WalkDetail,
    WalkStart,
)
from hw.spec.faults import FaultReason
from hw.spec.invalidation import (
    DescriptorType,
    Granularity,
    IotlbDescriptor,
    QueueError,
    TranslationTableMode,
    WaitDescriptor,
)
from hw.spec.memory import MemoryClient, MemoryOperation
from hw.spec.tables import PageSize
from sim.events import (
    EVENT_DTYPE,
    decode_records,
    detail_column,
    detail_of,
    device_name,
    event_dict,
    format_event,
    no_events,
    of_kind,
    write_json_lines,
)
from tests.sim.stand_in import in_simulator

RECORD_WORDS = 13  # cycle 2, port 1, and 309 bits of payload


def record(cycle, port, payload):
    number = cycle | port << 64 | payload << 96
    return [number >> 32 * index & 0xFFFF_FFFF for index in range(RECORD_WORDS)]


def events(*rows):
    """Events of (cycle, kind, {field: value})."""
    return decode_records(np.array(
        [record(cycle, 0, encode(Event, kind=kind, **fields)) for cycle, kind, fields in rows], dtype="<u4"))


def reply(cycle, **fields):
    detail = encode(ReplyDetail, status=Status.BLOCKED, fault_reason=FaultReason.WRITE_PERMISSION, colour=1,
                    table_pointer=0x12_3456_789A)
    return cycle, EventKind.REPLY, {"source_id": 0x0010, "domain_id": 5, "tag": 3, "iova": 0xFEDC_BA98_7654_3210,
                                    "detail": detail, **fields}


def test_every_field_comes_from_its_bits():
    # Event from bit 0: kind 5, source_id 16, domain_id 16, tag 16, iova 64, hpa 64, detail 128 (hw/spec/events.py).
    payload = (10 | 0xBEEF << 5 | 0xCAFE << 21 | 0x1234 << 37 | 0xFEDC_BA98_7654_3210 << 53
               | 0x0123_4567_89AB_CDEF << 117 | 0xAAAA_BBBB_CCCC_DDDD << 181 | 0x9999_8888_7777_6666 << 245)
    decoded = decode_records(np.array([record(0x1_0000_0002, 7, payload)], dtype="<u4"))
    assert decoded[0].tolist() == (
        0x1_0000_0002, 7, 10, 0xBEEF, 0xCAFE, 0x1234, 0xFEDC_BA98_7654_3210, 0x0123_4567_89AB_CDEF,
        0xAAAA_BBBB_CCCC_DDDD, 0x9999_8888_7777_6666)


def test_nothing_recorded_is_an_empty_array():
    assert len(decode_records(np.empty((0, RECORD_WORDS), dtype="<u4"))) == 0
    assert no_events().dtype == EVENT_DTYPE


def test_detail_reads_by_name():
    log = events(reply(4), (5, EventKind.REQUEST, {"detail": 1}), (6, EventKind.RETIRE, {"detail": 1}),
                 (7, EventKind.MEMORY, {"detail": 2}), (8, EventKind.FAULT, {"detail": 5}))
    detail = detail_of(log[0])
    assert detail.status == Status.BLOCKED
    assert detail.fault_reason == FaultReason.WRITE_PERMISSION
    assert detail.table_pointer == 0x12_3456_789A
    assert [detail_of(row) for row in log[1:]] == [
        Access.WRITE, 1, MemoryOperation.COMPARE_EXCHANGE, FaultReason.WRITE_PERMISSION]


def test_detail_of_many_rows_is_a_column():
    pages = [0x1, 0xFF_FFFF_FFFF, 0xAB_CDEF_0123]
    log = events(*((cycle, EventKind.WALK_RESULT, {"detail": encode(WalkDetail, page=page, page_size=PageSize.SIZE_2M)})
                   for cycle, page in enumerate(pages)))
    assert detail_column(log, "page").tolist() == pages
    assert detail_column(log, "page_size").tolist() == [PageSize.SIZE_2M.value] * 3
    assert len(detail_column(no_events(), "page")) == 0


def test_a_column_of_mixed_or_unknown_details_is_refused():
    log = events(reply(1), (2, EventKind.WALK_RESULT, {}))
    with pytest.raises(ValueError, match="one detail layout, not of REPLY, WALK_RESULT"):
        detail_column(log, "page")
    with pytest.raises(ValueError, match="ReplyDetail has no field 'page'"):
        detail_column(log[:1], "page")


def test_kinds_are_picked():
    log = events(reply(1), (2, EventKind.RETIRE, {}), reply(3), (4, EventKind.WALK, {}))
    assert of_kind(log, EventKind.REPLY, EventKind.WALK)["cycle"].tolist() == [1, 3, 4]


def test_a_line_says_what_the_kind_says_in_words():
    line = format_event(events(reply(12))[0])
    assert line == ("        12 REPLY              domain_id=5 tag=3 iova=0xfedcba9876543210 hpa=0x0 device=00:02.0 "
                    "status=BLOCKED page_size=" + PageSize(0).name + " fault_reason=WRITE_PERMISSION colour=1 hit=0 "
                    "table_pointer=0x123456789a")


def test_every_kind_has_a_line_and_a_json_form():
    for kind in EventKind:
        row = events((1, kind, {"source_id": 0x1234}))[0]
        assert kind.name in format_event(row)
        assert json.loads(json.dumps(event_dict(row)))["kind"] == kind.name


def test_a_value_without_a_name_is_shown_as_a_number():
    assert event_dict(events((1, EventKind.FAULT, {"detail": 0xEE}))[0])["detail"] == {"fault_reason": 0xEE}


def wait(**fields):
    return encode(WaitDescriptor, type=DescriptorType.WAIT, status_write=1, status_data=0x600D,
                  status_address=0x1004 >> 2, **fields)


def said(kind, **fields):
    return {name: value for name, value in event_dict(events((1, kind, fields))[0]).items() if name not in {"cycle", "kind"}}


def test_descriptors_are_told_by_type_and_field():
    assert said(EventKind.DESCRIPTOR, hpa=0x2000, tag=1, detail=wait(interrupt=1)) == {"hpa": 0x2000, "wide": 1, "detail": {
        "type": "WAIT", "interrupt": 1, "status_write": 1, "fence": 0, "status_data": 0x600D, "status_address": 0x401}}
    iotlb = encode(IotlbDescriptor, type=DescriptorType.IOTLB, granularity=Granularity.DOMAIN_SELECTIVE, domain_id=5)
    detail = said(EventKind.DESCRIPTOR, detail=iotlb)["detail"]
    assert (detail["type"], detail["granularity"], detail["domain_id"]) == ("IOTLB", "DOMAIN_SELECTIVE", 5)
    assert said(EventKind.DESCRIPTOR, detail=6 | 0xFF << 32)["detail"] == {"type": "PASID_IOTLB"}
    assert said(EventKind.WAIT_ABANDONED, detail=wait())["detail"]["status_data"] == 0x600D


def test_messages_troubles_accesses_and_clients_are_told_in_words():
    assert said(EventKind.MESSAGE, hpa=0xFEE0_1004, tag=MessageKind.FAULT_EVENT, detail=0x42) == {
        "hpa": 0xFEE0_1004, "message": "FAULT_EVENT", "detail": 0x42}
    trouble = said(EventKind.QUEUE_ERROR, source_id=0x10, tag=QueueTrouble.QUEUE_ERROR, detail=QueueError.BAD_TAIL)
    assert (trouble["trouble"], trouble["detail"], trouble["device"]) == ("QUEUE_ERROR", {"cause": "BAD_TAIL"}, "00:02.0")
    access = encode(RegisterAccess, write=1, wide=1, violation=1)
    assert said(EventKind.REGISTER, hpa=0x90, tag=access, detail=0x1000) == {
        "hpa": 0x90, "detail": 0x1000, "access": "write", "bytes": 8, "violation": 1}
    assert said(EventKind.REGISTER, hpa=0x34, tag=0) == {"hpa": 0x34, "detail": 0, "access": "read", "bytes": 4}
    read = said(EventKind.MEMORY, hpa=0x2000, tag=MemoryClient.INVALIDATION_QUEUE << 8 | 5)
    assert read == {"hpa": 0x2000, "client": "INVALIDATION_QUEUE", "tag": 5, "detail": {"operation": "READ"}}
    control = encode(ControlDetail, translation_enabled=1, latched=1, translation_table_mode=TranslationTableMode.ABORT_DMA)
    assert said(EventKind.CONTROL, hpa=0x3000, detail=control) == {"hpa": 0x3000, "detail": {
        "translation_enabled": 1, "latched": 1, "translation_table_mode": 3, "root_invalid": 0}}


def test_walks_that_were_joined_fills_of_upper_levels_and_prefetches_are_told_by_name():
    where = {"domain_id": 5, "iova": 0x4020_0000, "hpa": 0x7000}
    assert said(EventKind.WALK, source_id=0x10, tag=3, detail=encode(WalkStart, joined=1))["detail"] == {"joined": 1}
    detail = encode(StructureDetail, level=2, readable=1, table_pointer=0x99)
    assert said(EventKind.STRUCTURE_FILL, source_id=0x10, **where, detail=detail) == where | {"detail": {
        "level": 2, "readable": 1, "writable": 0, "table_pointer": 0x99}}
    assert said(EventKind.PREFETCH, **where, tag=PrefetchCause.HOST) == where | {"cause": "HOST"}
    log = events((1, EventKind.STRUCTURE_FILL, {"detail": detail}), (2, EventKind.STRUCTURE_FILL, {"detail": 5}))
    assert detail_column(log, "level").tolist() == [2, 5]


def test_json_lines_hold_one_event_each(tmp_path):
    write_json_lines(tmp_path / "log.jsonl", events(reply(1), (2, EventKind.RETIRE, {"detail": 1})))
    lines = [json.loads(line) for line in (tmp_path / "log.jsonl").read_text().splitlines()]
    assert [line["kind"] for line in lines] == ["REPLY", "RETIRE"]
    assert lines[0]["detail"]["status"] == "BLOCKED"
    assert lines[1]["detail"] == 1


def test_devices_are_named_as_usual():
    assert device_name(0x00F9) == "00:1f.1"
    assert device_name(0xFFFF) == "ff:1f.7"


def test_events_of_a_machine_are_complete_and_in_order():
    seen = in_simulator("events_are_in_order_and_complete").values["events_are_in_order_and_complete"]
    assert seen["ordered"]
    assert seen["by_port"] == [200, 200, 200, 200, 2]  # 200 reads on each port, 2 accesses to start them
    assert seen["total"] == 802
    assert sum(seen["batches"]) == 802
    assert seen["operation"] == "READ"
    assert seen["first_access"] == [0xFFFF, 1, 0x20, 4]  # source_id, write, address, port
