"""What the fault tests compare: replies, records and reads, as observed, as worked by hand, as the golden model has them."""
from dataclasses import replace
from types import SimpleNamespace

from hw.spec.codec import encode
from hw.spec.dma import Access, Status
from hw.spec.faults import FaultReason, FaultRecord
from hw.spec.tables import PAGE_BYTES, PageSize, level_shift
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


class Structures:
    """What walks read of second-stage tables, and what paging-structure caches keep of it. Ours, by hand from VT-d 4.1, 6.2.3.

    A walk goes on while it may end with a permission, be it the one that was asked for or the other. Each entry that led it
    on is kept; a later walk begins below the deepest one on its way that permits what it asks for.
    """

    def __init__(self):
        self._kept = {}   # (domain ID, level, region) -> the accesses that all levels down to it permit

    def reads(self, answer, request, domain_id):
        """Addresses of the entries that the walk of a request reads."""
        paths = {access: answer(replace(request, access=access)).steps[2:] for access in (Access.READ, Access.WRITE)}
        path, begin = max(paths.values(), key=len), 0
        for index, step in enumerate(path[:-1]):
            level = int(step.structure.removeprefix("level "))
            region = domain_id, level, request.iova >> level_shift(level)
            if self._kept.get(region, set()) >= (paths.keys() if request.access is Access.ATOMIC else {request.access}):
                begin = index + 1
            self._kept[region] = {access for access, steps in paths.items() if len(steps) > index + 1}
        return [step.hpa for step in path[begin:]]


def expected_reads(case, hits):
    """For each request of a case the addresses of the entries that it must read: what no cache can hold."""
    answer, context_cached, structures = model_of_case(case), False, Structures()
    for request, hit in zip(case.requests, hits, strict=True):
        result = answer(request)
        of_context = [] if context_cached else [step.hpa for step in result.steps[:2]]
        yield [] if hit else of_context + structures.reads(answer, request, result.domain_id)
        context_cached |= result.domain_id != 0  # the model tells the domain ID of a legal context only
        if case.strap_changes.get("caching_mode"):
            context_cached |= result.fault_reason in _WRONG_CONTEXT
