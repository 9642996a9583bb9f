"""One request through the tables of legacy mode, as the specification's numbered steps.

::

    request --> 1-3 --> 4 root --> 5 context --> 6 programming --> 7 type --> 8 address --> 9 walk --> 10 output
                 |      08 01 0A    09 02 0B          03             0D          04       03 07 05 06 0C    0E
                 +--> untranslated, interrupt, aborted, 30 31 04

Each exit names its reason. Values are plain integers; what they mean is in entries.py.

Source: VT-d 4.1, 3.4 (legacy mode), 3.7 (second stage), 3.9 (pass-through), 3.14 (interrupt window), 7.2 (reasons).
"""
from typing import NamedTuple

from hw.spec.dma import INTERRUPT_WINDOW_PAGES, Access, RequestKind, Status
from hw.spec.faults import UNRECORDED_FAULT_REASONS, FaultReason, is_qualified
from hw.spec.invalidation import TranslationTableMode
from hw.spec.tables import ENTRY_BYTES, PAGE_BITS, PageSize, address_bits, level_shift, table_index, top_level
from sim.model.entries import (
    READABLE,
    WRITABLE,
    ContextView,
    Limits,
    check_context,
    check_root,
    context_table,
    examine_entry,
    hides_faults,
    limits,
    next_page,
)
from sim.model.memory import AccessError, Reader

__all__ = ["NEEDS", "PAGE_SIZES", "Request", "Result", "Start", "Step", "answer", "blocked", "check_early", "check_request",
           "fetch_context", "in_interrupt_window", "is_beyond", "translate", "walk"]

PAGE_SIZES = {1: PageSize.SIZE_4K, 2: PageSize.SIZE_2M, 3: PageSize.SIZE_1G}
"""Page size of a leaf, by its level."""

NEEDS = {Access.READ: READABLE, Access.WRITE: WRITABLE, Access.ATOMIC: READABLE | WRITABLE}
"""The permission bits of a second-stage entry that an access needs."""
_DWORD = 4
_MODE_LEGACY, _MODE_ABORT = TranslationTableMode.LEGACY.value, TranslationTableMode.ABORT_DMA.value


class Request(NamedTuple):
    """What a device asks for."""

    source_id: int
    iova: int
    access: Access = Access.READ
    length_bytes: int = 4
    kind: RequestKind = RequestKind.UNTRANSLATED
    pasid_present: bool = False


class Step(NamedTuple):
    """One entry as read: what it is ("root", "context" or its level), where it stands, its value (None: refused)."""

    structure: str
    hpa: int
    value: int | None


class Result(NamedTuple):
    """How a request is answered, and everything that led there."""

    status: Status
    hpa: int = 0                        # byte address, if OK
    page_size: PageSize = PageSize.UNTRANSLATED
    fault_reason: FaultReason = FaultReason.NONE
    recorded: bool = False              # blocked, and fault_processing_disable does not suppress the record
    domain_id: int = 0
    table_pointer: int = 0              # page number
    readable: bool = False              # ANDed over the levels
    writable: bool = False
    steps: tuple[Step, ...] = ()


def in_interrupt_window(address: int) -> bool:
    """True for 0xFEE0_0000 to 0xFEEF_FFFF (VT-d 3.14)."""
    return INTERRUPT_WINDOW_PAGES[0] <= address >> PAGE_BITS <= INTERRUPT_WINDOW_PAGES[1]


def is_beyond(limit: Limits, root_table: int) -> bool:
    """True if a root table's page number is none of the host's: reason 30 (VT-d 7.2)."""
    return root_table << PAGE_BITS >= limit.hpa_limit


def translate(memory: Reader, *, root_table: int, straps: int, request: Request, translation_enabled: bool = True,
              translation_table_mode: int = _MODE_LEGACY) -> Result:
    """Answer one request.

    Parameters
    ----------
    memory
        Where the tables are.
    root_table : int
        Page number of the root table, as latched by SRTP: all 52 bits of it.
    straps : int
        An encoded `Straps`.
    request
        What the device asks for.
    translation_enabled, translation_table_mode
        GSTS.TES, and RTADDR.TTM as latched.
    """
    limit = limits(straps)
    # 1. Translation is off: addresses go through, if they fit the host's (04, the code is ours).
    if not translation_enabled:
        if request.iova >= limit.hpa_limit:
            return blocked(FaultReason.ADDRESS_BEYOND_WIDTH, [])
        return Result(Status.OK, hpa=request.iova, readable=True, writable=True)
    # 2. and 3. need no table.
    early = check_early(limit, request, root_table, translation_table_mode)
    if early is not None:
        return early
    # 4. and 5. Root entry and context entry.
    steps: list[Step] = []
    context, reason, hidden = fetch_context(memory, limit, root_table, request.source_id, steps)
    if context is None:
        return blocked(reason, steps, hidden=hidden)
    return answer(memory, limit, context, request, steps)


class Start(NamedTuple):
    """Where a walk begins, if not at the context's top table: what a paging-structure cache knows of the way."""

    level: int
    table: int          # page number
    permissions: int    # ANDed over the levels above


def answer(memory: Reader, limit: Limits, context: ContextView, request: Request, steps: list[Step],
           start: Start | None = None) -> Result:
    """Steps 7 to 10: what a legal context makes of a request that passed steps 2 and 3."""
    # 7. and 8. What the context entry says of the request.
    reason = check_request(limit, context, request)
    if reason:
        return blocked(reason, steps, context=context)
    if context.pass_through:
        return Result(Status.OK, hpa=request.iova, domain_id=context.domain_id, readable=True, writable=True,
                      steps=tuple(steps))
    # 9. and 10. Second-stage tables.
    return walk(memory, limit, context, request, steps, start)


def check_early(limit: Limits, request: Request, root_table: int, translation_table_mode: int) -> Result | None:
    """Steps 2 and 3: what is decided before any table is read. None: go on."""
    # 2. An untranslated DWORD write without PASID to the interrupt window is an interrupt, in every mode (VT-d 3.14).
    in_window = in_interrupt_window(request.iova)
    untranslated = request.kind is RequestKind.UNTRANSLATED and not request.pasid_present
    if in_window and untranslated and request.access is Access.WRITE and request.length_bytes == _DWORD:
        return Result(Status.INTERRUPT, hpa=request.iova)
    # 3. Abort mode blocks every DMA and records nothing; any mode but legacy is none of this unit's, and a root table
    #    beyond the host's addresses is nobody's (30); a PASID means nothing in legacy mode (31); what else goes to the
    #    interrupt window is refused (04).
    if translation_table_mode == _MODE_ABORT:
        return blocked(FaultReason.DMA_ABORTED, [])
    if translation_table_mode != _MODE_LEGACY or is_beyond(limit, root_table):
        return blocked(FaultReason.ROOT_POINTER_INVALID, [])
    if request.pasid_present:
        return blocked(FaultReason.PASID_IN_LEGACY_MODE, [])
    return blocked(FaultReason.ADDRESS_BEYOND_WIDTH, []) if in_window else None


def fetch_context(memory: Reader, limit: Limits, root_table: int, source_id: int, steps: list[Step],
                  ) -> tuple[ContextView | None, FaultReason, bool]:
    """Steps 4 to 6: a legal context, or None with the reason and whether the entry hides qualified faults."""
    # 4. Root entry: access (08), presence (01), reserved bits (0A).
    root = _read(memory, "root", (root_table << PAGE_BITS) + (source_id >> 8) * ENTRY_BYTES, steps)
    reason = check_root(limit, root)
    if root is None or reason:
        return None, reason, False
    # 5. and 6. Context entry: access (09), presence (02), reserved bits (0B), programming (03).
    entry = _read(memory, "context", (context_table(root) << PAGE_BITS) + (source_id & 0xFF) * ENTRY_BYTES, steps)
    reason = check_context(limit, entry)
    if entry is None:
        return None, reason, False
    if reason:
        return None, reason, hides_faults(entry)
    return ContextView.of(entry), FaultReason.NONE, False


def check_request(limit: Limits, context: ContextView, request: Request) -> FaultReason:
    """Steps 7 and 8: reason for which this context blocks this request before any second-stage read."""
    # 7. Only untranslated requests are served without a device-TLB (0D).
    if request.kind is not RequestKind.UNTRANSLATED:
        return FaultReason.REQUEST_TYPE_BLOCKED
    # 8. The address must be within what the context and the machine can express (04).
    width = 1 << address_bits(context.address_width)
    highest = limit.hpa_limit if context.pass_through else min(limit.iova_limit, width)
    return FaultReason.NONE if request.iova < highest else FaultReason.ADDRESS_BEYOND_WIDTH


def walk(memory: Reader, limit: Limits, context: ContextView, request: Request, steps: list[Step],
         start: Start | None = None) -> Result:
    """Steps 9 and 10: the second-stage walk, from its start on."""
    iova, need = request.iova, NEEDS[request.access]
    top = top_level(context.address_width)
    level, table, permissions = start or Start(top, context.table_pointer, READABLE | WRITABLE)
    while True:
        # 9. One entry per level: access (03 at the top, else 07), permission (05, 06), reserved bits (0C).
        entry = _read(memory, f"level {level}", (table << PAGE_BITS) + table_index(iova, level) * 8, steps)
        if entry is None:
            access = FaultReason.CONTEXT_INVALID if level == top else FaultReason.SECOND_STAGE_ACCESS
            return blocked(access, steps, context=context)
        reason, leaf = examine_entry(limit, level, entry, need)
        if reason:
            return blocked(reason, steps, context=context)
        permissions &= entry
        table = next_page(entry)
        if leaf:
            break
        level -= 1
    # 10. The page may not lie in the interrupt window (0E).
    hpa = table << PAGE_BITS | iova & ((1 << level_shift(level)) - 1)
    if in_interrupt_window(hpa):
        return blocked(FaultReason.OUTPUT_IN_INTERRUPT_WINDOW, steps, context=context)
    return Result(Status.OK, hpa, PAGE_SIZES[level], domain_id=context.domain_id, table_pointer=context.table_pointer,
                  readable=bool(permissions & READABLE), writable=bool(permissions & WRITABLE), steps=tuple(steps))


def _read(memory: Reader, structure: str, hpa: int, steps: list[Step]) -> int | None:
    try:
        value = memory.read128(hpa) if structure in {"root", "context"} else memory.read64(hpa)
    except AccessError:
        steps.append(Step(structure, hpa, None))
        return None
    steps.append(Step(structure, hpa, value))
    return value


def blocked(reason: FaultReason, steps: list[Step], *, context: ContextView | None = None,
             hidden: bool = False) -> Result:
    """A blocked request; `hidden`, or the context's own bit, suppresses the record of a qualified reason."""
    hidden = hidden or (context is not None and context.fault_processing_disable)
    recorded = reason not in UNRECORDED_FAULT_REASONS and not (hidden and is_qualified(reason))
    return Result(Status.BLOCKED, fault_reason=reason, recorded=recorded,
                  domain_id=context.domain_id if context else 0, table_pointer=context.table_pointer if context else 0,
                  steps=tuple(steps))
