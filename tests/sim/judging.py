"""A judge that knows a small machine, and events for it, by hand."""
from hw.spec.bench import POISON_BYTE
from hw.spec.codec import encode
from hw.spec.dma import Access, Status
from hw.spec.events import (
    ControlDetail,
    DoneDetail,
    EventKind,
    FillDetail,
    MessageKind,
    ReplyDetail,
    StructureDetail,
    Verdict,
)
from hw.spec.faults import FaultReason
from hw.spec.invalidation import Granularity, Invalidation, InvalidationKind, QueueError, TranslationTableMode
from hw.spec.memory import CLIENT_TAG_BITS, MemoryClient, MemoryOperation
from hw.spec.tables import PageSize, TranslationType
from sim.model.judge import Judge
from sim.model.logged_event import LoggedEvent
from sim.model.translations import Interval, Translations
from tests.sim.machine import CONTEXT, ROOT, context_entry, entry, root_entry, stores_of_path, straps

# Two devices, a table each. Both tables map IOVA 0x1000, to other pages; A also has a read-only page at 0x2000.
A, B, STRANGER, PASSING = 0x18, 0x20, 0x28, 0x30
DOMAIN_A, DOMAIN_B, DOMAIN_NEW, DOMAIN_PASS = 5, 6, 7, 8
TABLE_A, TABLE_B, TABLE_NEW = 0x200, 0x300, 0x400     # the tables below stand in the pages after
PAGE_A, PAGE_A_READ_ONLY, PAGE_B, PAGE_NEW = 0x9000, 0x9001, 0xA000, 0xB000
LEAF_A = (TABLE_A + 3 << 12) + 8                      # of IOVA 0x1000
ENTRY_A, ENTRY_B = ((CONTEXT << 12) + 16 * source_id for source_id in (A, B))

READ_ONLY_AT_2000 = Interval(0x2000, PAGE_A_READ_ONLY << 12, 0x1000, True, False)
TRANSLATIONS_A = Translations([Interval(0x1000, PAGE_A << 12, 0x1000), READ_ONLY_AT_2000])
TRANSLATIONS_B = Translations([Interval(0x1000, PAGE_B << 12, 0x1000)])


def tables():
    """(address, bytes) of every store that makes the machine."""
    quanta = {(ROOT << 12): root_entry(), ENTRY_A: context_entry(TABLE_A, DOMAIN_A), ENTRY_B: context_entry(TABLE_B, DOMAIN_B),
              (CONTEXT << 12) + 16 * PASSING: context_entry(
                  0, DOMAIN_PASS, translation_type=TranslationType.PASS_THROUGH)}
    words = dict([*stores_of_path(TABLE_A, 0x1000, entry(PAGE_A)), *stores_of_path(TABLE_B, 0x1000, entry(PAGE_B)),
                  *stores_of_path(TABLE_A, 0x2000, entry(PAGE_A_READ_ONLY, writable=0))])
    return [(hpa, value.to_bytes(16, "little")) for hpa, value in quanta.items()] + [
        (hpa, value.to_bytes(8, "little")) for hpa, value in words.items()]


def judge_of(*, declared=True, strap=None, **options):
    """A judge that knows the machine, with translation on."""
    judge = Judge(strap or straps(), **({"root_table": ROOT} | options))
    for hpa, content in tables():
        judge.memory_written(None, hpa, content)
    if declared:
        judge.declare(DOMAIN_A, TRANSLATIONS_A)
        judge.declare(DOMAIN_B, TRANSLATIONS_B)
        judge.live([A, B])
    return judge


# --- events by hand ---

def request(cycle, tag=1, source_id=A, iova=0x1000, access=Access.READ):
    return LoggedEvent(cycle, EventKind.REQUEST, source_id=source_id, tag=tag, iova=iova, detail=access.value)


def reply(cycle, tag=1, source_id=A, iova=0x1000, page=PAGE_A, domain_id=DOMAIN_A, table=TABLE_A, hit=0, status=Status.OK,
          reason=FaultReason.NONE, page_size=PageSize.SIZE_4K):
    detail = encode(ReplyDetail, status=status, page_size=page_size, fault_reason=reason, hit=hit, table_pointer=table)
    return LoggedEvent(cycle, EventKind.REPLY, source_id=source_id, domain_id=domain_id, tag=tag, iova=iova,
                       hpa=page << 12 | iova & 0xFFF, detail=detail)


def done(cycle, tag=1, source_id=A, iova=0x1000, page=PAGE_A, domain_id=DOMAIN_A, verdict=Verdict.OLD):
    return LoggedEvent(cycle, EventKind.DONE, source_id=source_id, domain_id=domain_id, tag=tag, iova=iova,
                       hpa=page << 12 | iova & 0xFFF, detail=encode(DoneDetail, verdict=verdict))


def dma(cycle, tag=1, source_id=A, iova=0x1000, access=Access.READ, verdict=Verdict.OLD, **answer):
    """Request, reply five cycles later, done ten cycles later."""
    landed = {name: value for name, value in answer.items() if name in {"page", "domain_id"}}
    return [request(cycle, tag, source_id, iova, access), reply(cycle + 5, tag, source_id, iova, **answer),
            done(cycle + 10, tag, source_id, iova, verdict=verdict, **landed)]


def blocked(cycle, tag=1, source_id=A, iova=0x1000, reason=FaultReason.READ_PERMISSION, access=Access.READ):
    return dma(cycle, tag, source_id, iova, access, verdict=Verdict.BLOCKED, status=Status.BLOCKED, reason=reason)


def fault(cycle, source_id=A, reason=FaultReason.READ_PERMISSION):
    return LoggedEvent(cycle, EventKind.FAULT, source_id=source_id, iova=0x1000, detail=reason)


def fill(cycle, page=PAGE_A, domain_id=DOMAIN_A, iova=0x1000, table=TABLE_A, readable=1, writable=1, way=0,
         page_size=PageSize.SIZE_4K):
    detail = encode(FillDetail, page_size=page_size, readable=readable, writable=writable, set_index=1, way=way,
                    table_pointer=table)
    return LoggedEvent(cycle, EventKind.IOTLB_FILL, domain_id=domain_id, iova=iova, hpa=page << 12, detail=detail)


def structure_fill(cycle, level=2, names=TABLE_A + 3, domain_id=DOMAIN_A, iova=0, table=TABLE_A, readable=1, writable=1):
    """The entry of `level` that covers `iova` is put in a paging-structure cache: it names the table at page `names`."""
    detail = encode(StructureDetail, level=level, readable=readable, writable=writable, table_pointer=table)
    return LoggedEvent(cycle, EventKind.STRUCTURE_FILL, domain_id=domain_id, iova=iova, hpa=names << 12, detail=detail)


def invalidation(begin, end, kind=InvalidationKind.IOTLB, granularity=Granularity.DOMAIN_SELECTIVE, domain_id=DOMAIN_A, **rest):
    detail = encode(Invalidation, kind=kind, granularity=granularity, domain_id=domain_id, **rest)
    return [LoggedEvent(begin, EventKind.INVALIDATION_BEGIN, domain_id=domain_id, detail=detail),
            LoggedEvent(end, EventKind.INVALIDATION_END, domain_id=domain_id, detail=detail)]


def context_invalidation(begin, end, domain_id=DOMAIN_A, source_id=A):
    return invalidation(begin, end, InvalidationKind.CONTEXT_CACHE, Granularity.SELECTIVE, domain_id, source_id=source_id)


def page_invalidation(begin, end, page=1, **rest):
    """Page-selective, in domain A."""
    return invalidation(begin, end, granularity=Granularity.SELECTIVE, page=page, **rest)


def memory_read(cycle, hpa, client=MemoryClient.PAGE_WALKER):
    return LoggedEvent(cycle, EventKind.MEMORY, hpa=hpa, tag=client << CLIENT_TAG_BITS, detail=MemoryOperation.READ.value)


def message(cycle, hpa, data, kind=MessageKind.STATUS):
    """A store by the unit itself: as memory sees it, and as what it is."""
    return [LoggedEvent(cycle, EventKind.MEMORY, hpa=hpa & -16, tag=MemoryClient.MESSAGE_WRITER << CLIENT_TAG_BITS,
                        detail=MemoryOperation.WRITE.value),
            LoggedEvent(cycle, EventKind.MESSAGE, hpa=hpa, tag=kind, detail=data)]


def descriptor(cycle, low, hpa=0x70_0000):
    return LoggedEvent(cycle, EventKind.DESCRIPTOR, hpa=hpa, detail=low)


def trouble(cycle, which, cause=QueueError.NONE):
    return LoggedEvent(cycle, EventKind.QUEUE_ERROR, source_id=A, tag=which, detail=cause)


def abandoned(cycle, low):
    return LoggedEvent(cycle, EventKind.WAIT_ABANDONED, detail=low)


def exchange(cycle, hpa, desired, *, latency=4, operation=MemoryOperation.COMPARE_EXCHANGE, swapped=1):
    """A store through the update port: done in `cycle`, reported `latency` cycles later."""
    return [LoggedEvent(cycle, EventKind.MEMORY, hpa=hpa, tag=MemoryClient.UPDATE_PORT << CLIENT_TAG_BITS,
                        detail=operation.value),
            LoggedEvent(cycle + latency, EventKind.UPDATE, hpa=hpa, tag=swapped, detail=desired)]


def store64(cycle, hpa, value):
    return exchange(cycle, hpa, value, operation=MemoryOperation.WRITE)


def control(cycle, *, enabled=1, root=ROOT, mode=TranslationTableMode.LEGACY, latched=0, root_invalid=0):
    return LoggedEvent(cycle, EventKind.CONTROL, hpa=root << 12, detail=encode(
        ControlDetail, translation_enabled=enabled, latched=latched, translation_table_mode=mode, root_invalid=root_invalid))


def broken(judge, *parts):
    """The laws that a run breaks. `parts` are events and lists of them, in any order."""
    judge.consume(sorted(_events_of(parts), key=lambda event: event.cycle))
    verdict = judge.verdict()
    return {law for law, says in verdict.items() if says["status"] == "fail"}


def _events_of(parts):
    for part in parts:
        yield from [part] if isinstance(part, LoggedEvent) else _events_of(part)


def poisoned(cycle, page):
    return cycle, page << 12, bytes([POISON_BYTE]) * 4096
