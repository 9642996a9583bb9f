"""What the fault tests compare: replies, records and reads, as observed, as worked by hand, as the golden model has them."""
from types import SimpleNamespace

from hw.spec.codec import encode
from hw.spec.dma import Access, Status
from hw.spec.faults import FaultReason, FaultRecord
from hw.spec.tables import PAGE_BYTES, PageSize
from sim.model.memory import Memory
from sim.model.translate import Request, translate
from tests.cosim.tables import ROOT_PAGE

__all__ = ["FRI_SHIFT", "PFO", "PPF", "expected_reads", "is_hit", "meaning", "model_of", "model_of_case", "record_of", "replied",
           "shown"]

_TYPE_BITS = {Access.READ: (1, 0), Access.WRITE: (0, 0), Access.ATOMIC: (1, 1)}   # T1 and T2 of a record
_WRONG_CONTEXT = {0x02, 0x03, 0x0B}                                               # what caching mode keeps of contexts
PPF, PFO, FRI_SHIFT = 0x002, 0x001, 8                                             # of FSTS


def meaning(answer):
    """What counts of an answer, be it a reply, what must come by hand, or what the golden model says."""
    status = Status(answer.status)
    if status is Status.BLOCKED:
        return status, FaultReason(answer.fault_reason)
    if status is Status.OK:
        return status, hex(answer.hpa), PageSize(answer.page_size)
    return status, hex(answer.hpa)


def replied(one):
    """What counts of a reply of the bench."""
    return "no reply" if one is None else meaning(SimpleNamespace(**one))


def is_hit(one):
    """True if there was a reply, and from the IOTLB."""
    return one["reply"] is not None and one["reply"]["hit"]


def model_of(tables, *, straps, enabled=True, mode=0):
    """The golden model with these tables, as a function from a request to its result."""
    memory = Memory(limit=tables.memory_end)
    for hpa, content in tables.words.items():
        memory.write(hpa, content)
    for page in tables.unreadable_pages:
        memory.mark_error(page)

    def answer(request):
        asked = Request(request.source_id, request.iova, request.access, request.length_bytes, request.kind,
                        request.pasid_present)
        return translate(memory, root_table=ROOT_PAGE, straps=straps, request=asked, translation_enabled=enabled,
                         translation_table_mode=mode)

    return answer


def model_of_case(case):
    """The golden model in the place of a case's unit."""
    return model_of(case.tables, straps=case.straps, enabled=case.enabled, mode=case.mode)


def record_of(request, reason):
    """FRCD of a fault, worked by hand from VT-d 4.1, 11.4.14."""
    type_1, type_2 = _TYPE_BITS[request.access]
    return hex(encode(
        FaultRecord, fault_info=request.iova // PAGE_BYTES, source_id=request.source_id, fault_reason=reason,
        type_1=type_1, type_2=type_2, address_type=request.kind, pasid_present=request.pasid_present, fault=1))


def shown(one):
    """FSTS, and the record that it points to. FRI means nothing, and is left out, while no record is pending."""
    if one["record"] is None:
        return one["status"] & (PPF | PFO), None
    return one["status"], hex(one["record"])


def expected_reads(case, hits):
    """For each request of a case the addresses of the entries that it must read: what no cache can hold."""
    answer, context_cached = model_of_case(case), False
    for request, hit in zip(case.requests, hits, strict=True):
        result = answer(request)
        yield [] if hit else [step.hpa for step in result.steps[2 if context_cached else 0:]]
        context_cached |= result.domain_id != 0  # the model tells the domain ID of a legal context only
        if case.strap_changes.get("caching_mode"):
            context_cached |= result.fault_reason in _WRONG_CONTEXT
