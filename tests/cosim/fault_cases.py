"""Every case by its sentence. Reasons and their order are worked by hand from VT-d 4.1, 7.2; entries from 9.1, 9.3, 9.8.

A fault is played as a read with cold caches, then as a read, a write and an atomic with whatever the first one left in
the caches; each of the four must be blocked and, unless its context hides it, recorded.
"""
from hw.spec.dma import RequestKind, Status
from tests.cosim.tables import (
    ATOMIC,
    EVERY_ACCESS,
    IOVA,
    READ,
    SIZES,
    WRITE,
    Expected,
    Tables,
    at,
    blocked,
    case,
    fault,
    passed,
    untranslated,
)

__all__ = ["CASES", "KEPT", "REPAIRS"]

WINDOW, WINDOW_END = 0xFEE0_0000, 0xFEF0_0000
NARROW = dict(host_address_width=40, domain_id_width_code=2)   # HPA bits 39:0, domain IDs of 8 bits
CACHING = dict(caching_mode=1)
BEYOND_40 = 1 << 40 - 12                                       # a page number with HPA bit 40

FAULTS = {
    # 01, 08, 0A: the root entry
    "01: the root entry is not present": fault(0x01, root=dict(present=0)),
    "08: the root table cannot be read": fault(0x08, unreadable=("root",)),
    "0A: bit 1 of the root entry is reserved": fault(0x0A, root=dict(_reserved_11_1=1)),
    "0A: bit 11 of the root entry is reserved": fault(0x0A, root=dict(_reserved_11_1=1 << 10)),
    "0A: bit 64 of the root entry is reserved": fault(0x0A, root=dict(_reserved_127_64=1)),
    "0A: bit 127 of the root entry is reserved": fault(0x0A, root=dict(_reserved_127_64=1 << 63)),
    "0A: the context table lies beyond 52 bits": fault(0x0A, root=dict(context_table_pointer=1 << 40)),
    "0A: the context table lies beyond the host width":
        fault(0x0A, root=dict(context_table_pointer=BEYOND_40), straps=NARROW),
    # 02, 09, 0B, 03: the context entry
    "02: the context entry is not present": fault(0x02, context=dict(present=0)),
    "09: the context table cannot be read": fault(0x09, unreadable=("context",)),
    "0B: bit 4 of the context entry is reserved": fault(0x0B, context=dict(_reserved_11_4=1)),
    "0B: bit 11 of the context entry is reserved": fault(0x0B, context=dict(_reserved_11_4=1 << 7)),
    "0B: bit 71 of the context entry is reserved": fault(0x0B, context=dict(_reserved_71=1)),
    "0B: bit 88 of the context entry is reserved": fault(0x0B, context=dict(_reserved_127_88=1)),
    "0B: bit 127 of the context entry is reserved": fault(0x0B, context=dict(_reserved_127_88=1 << 39)),
    "0B: the top table lies beyond the host width":
        fault(0x0B, context=dict(second_stage_pointer=BEYOND_40), straps=NARROW),
    "0B: the domain ID lies beyond 8 bits": fault(0x0B, context=dict(domain_id=0x1B5), straps=NARROW),
    "0B: the domain ID lies beyond 4 bits": fault(0x0B, straps=dict(domain_id_width_code=0)),
    "03: translation type 3": fault(0x03, context=dict(translation_type=3)),
    "03: translation type 1 without a device-TLB": fault(0x03, context=dict(translation_type=1)),
    "03: pass-through without the capability": fault(0x03, context=dict(translation_type=2), straps=dict(pass_through=0)),
    "03: address width 0": fault(0x03, context=dict(address_width=0)),
    "03: address width 4": fault(0x03, context=dict(address_width=4)),
    "03: an address width that SAGAW does not have": fault(0x03, levels=5, straps=dict(sagaw=0b00110)),
    "03: pass-through with such an address width":
        fault(0x03, levels=5, context=dict(translation_type=2), straps=dict(sagaw=0b00110)),
    "03: a top table of 3 levels that cannot be read": fault(0x03, levels=3, unreadable=(3,)),
    "03: a top table of 4 levels that cannot be read": fault(0x03, levels=4, unreadable=(4,)),
    "03: a top table of 5 levels that cannot be read": fault(0x03, levels=5, unreadable=(5,)),
    # 04: the address
    "04: an address beyond 39 bits of AW": fault(0x04, levels=3, request=at(1 << 39)),
    "04: an address beyond 48 bits of AW": fault(0x04, levels=4, request=at(1 << 48)),
    "04: an address beyond 57 bits of AW": fault(0x04, levels=5, request=at(1 << 57)),
    "04: an address with its highest bit set": fault(0x04, levels=5, request=at(1 << 63 | IOVA[5])),
    "04: an address beyond MGAW": fault(0x04, levels=4, request=at(1 << 39), straps=dict(mgaw=38)),
    "04: pass-through beyond the host width":
        fault(0x04, context=dict(translation_type=2), request=at(1 << 40), straps=NARROW),
    "04: pass-through beyond 52 bits": fault(0x04, context=dict(translation_type=2), request=at(1 << 52)),
    "04: translation is off and the address is beyond the host width":
        fault(0x04, enabled=False, request=at(1 << 40), straps=NARROW),
    "04: a read or an atomic in the interrupt window":
        fault(0x04, accesses=(READ, ATOMIC, READ), request=at(WINDOW)),
    "04: a write of 8 bytes in the interrupt window":
        fault(0x04, accesses=(WRITE, WRITE), request=at(WINDOW_END - 8) | dict(length_bytes=8)),
    "04: a translated write in the interrupt window":
        fault(0x04, accesses=(WRITE, WRITE), request=at(WINDOW) | dict(kind=RequestKind.TRANSLATED)),
    # 07: a table below the top
    "07: a table of level 1 that cannot be read": fault(0x07, unreadable=(1,)),
    "07: a table of level 2 that cannot be read": fault(0x07, unreadable=(2,)),
    "07: a table of level 3 that cannot be read": fault(0x07, unreadable=(3,)),
    "07: a table of level 4 of 5 that cannot be read": fault(0x07, levels=5, unreadable=(4,)),
    "07: a table that the memory does not reach to":
        fault(0x07, entries={3: dict(address=1 << 28)}, memory_end=1 << 40),
    # 0C: reserved bits of second-stage entries
    "0C: bit 11 of a leaf, without snoop control": fault(0x0C, entries={1: dict(snoop=1)}),
    "0C: bit 11 of a table's entry, without snoop control": fault(0x0C, entries={3: dict(snoop=1)}),
    "0C: bit 62 of a leaf": fault(0x0C, entries={1: dict(transient_mapping=1)}),
    "0C: bit 62 of the top table's entry": fault(0x0C, entries={4: dict(transient_mapping=1)}),
    "0C: bit 62 in spite of snoop control": fault(0x0C, entries={1: dict(transient_mapping=1)}, straps=dict(snoop_control=1)),
    "0C: a page beyond the host width": fault(0x0C, entries={1: dict(address=BEYOND_40)}, straps=NARROW),
    "0C: a table beyond the host width": fault(0x0C, entries={2: dict(address=BEYOND_40)}, straps=NARROW),
    "0C: a 2 MiB page beyond the host width": fault(0x0C, leaf=2, entries={2: dict(address=BEYOND_40)}, straps=NARROW),
    "0C: bit 12 of a 2 MiB page": fault(0x0C, leaf=2, entries={2: dict(address=0x98601)}),
    "0C: bit 20 of a 2 MiB page": fault(0x0C, leaf=2, entries={2: dict(address=0x98700)}),
    "0C: bit 12 of a 1 GiB page": fault(0x0C, leaf=3, entries={3: dict(address=0x80001)}),
    "0C: bit 29 of a 1 GiB page": fault(0x0C, leaf=3, entries={3: dict(address=0xA0000)}),
    "0C: page size at level 4 of 4": fault(0x0C, entries={4: dict(page_size=1)}),
    "0C: page size at level 4 of 5": fault(0x0C, levels=5, entries={4: dict(page_size=1)}),
    "0C: page size at level 5": fault(0x0C, levels=5, entries={5: dict(page_size=1)}),
    "0C: a 2 MiB page without the capability": fault(0x0C, leaf=2, straps=dict(superpages=0b10)),
    "0C: a 1 GiB page without the capability": fault(0x0C, leaf=3, straps=dict(superpages=0b01)),
    # 0D, 0E, 31: the request's type, the output, a PASID
    "0D: a translation request": fault(0x0D, request=dict(kind=RequestKind.TRANSLATION_REQUEST)),
    "0D: a translated request": fault(0x0D, request=dict(kind=RequestKind.TRANSLATED)),
    "0D: a translation request under pass-through":
        fault(0x0D, context=dict(translation_type=2), request=dict(kind=RequestKind.TRANSLATION_REQUEST)),
    "0D: a translated request under pass-through":
        fault(0x0D, context=dict(translation_type=2), request=dict(kind=RequestKind.TRANSLATED)),
    "0E: a page at the beginning of the interrupt window": fault(0x0E, entries={1: dict(address=0xFEE00)}),
    "0E: a page at the end of the interrupt window": fault(0x0E, entries={1: dict(address=0xFEEFF)}),
    "0E: a 2 MiB page whose first half is the interrupt window": fault(0x0E, leaf=2, entries={2: dict(address=0xFEE00)}),
    "0E: a 1 GiB page that holds the interrupt window":
        fault(0x0E, leaf=3, iova=0x3EE0_0010, entries={3: dict(address=0xC0000)}),
    "30: the root table was latched in scalable mode": fault(0x30, mode=1),
    "30: the root table was latched in the reserved mode": fault(0x30, mode=2),
    "FF: the root table was latched in the mode that aborts DMA": fault(0xFF, recorded=False, mode=3),
    "31: a PASID in legacy mode": fault(0x31, request=dict(pasid_present=True)),
}
"""Every reason of legacy mode, by each of its causes."""


def permissions():
    """05 and 06 at each level, and what is permitted all the same: the page is present, and its first walk has cached it."""
    neither = dict(readable=0, writable=0)
    for level in (1, 2, 3, 4):
        yield f"05: a write where level {level} permits reads only", case([
            (dict(access=WRITE), blocked(0x05)), (dict(access=WRITE), blocked(0x05)),
            (dict(access=ATOMIC), blocked(0x05)), (dict(access=READ), passed(hit=True)),
        ], tables=Tables(entries={level: dict(writable=0)}))
        yield f"06: a read where level {level} permits writes only", case([
            (dict(access=READ), blocked(0x06)), (dict(access=READ), blocked(0x06)),
            (dict(access=ATOMIC), blocked(0x06)), (dict(access=WRITE), passed(hit=True)),
        ], tables=Tables(entries={level: dict(readable=0)}))
        yield f"05, 06: level {level} is not present", case([
            (dict(access=READ), blocked(0x06)), (dict(access=READ), blocked(0x06)), (dict(access=WRITE), blocked(0x05)),
        ], tables=Tables(entries={level: neither}))
    yield "06: execute permission alone is none", case(
        [(dict(access=READ), blocked(0x06))] * 2, tables=Tables(entries={1: neither | dict(executable=1)}))
    yield "05: a read-only 2 MiB page", case(
        [(dict(access=WRITE), blocked(0x05))] * 2, tables=Tables(leaf=2, entries={2: dict(writable=0)}))
    yield "05: a read-only 1 GiB page", case(
        [(dict(access=WRITE), blocked(0x05))] * 2, tables=Tables(leaf=3, entries={3: dict(writable=0)}))
    yield "05: a write to a page that is cached for reads", case([
        (dict(access=READ), passed(hit=False)), (dict(access=READ), passed(hit=True)),
        (dict(access=WRITE), blocked(0x05)), (dict(access=ATOMIC), blocked(0x05)), (dict(access=READ), passed(hit=True)),
    ], tables=Tables(entries={1: dict(writable=0)}))
    yield "0E: the window blocks half of a 2 MiB page", case([
        (dict(iova=0x20_0000), blocked(0x0E)), (dict(iova=0x2F_FFFC), blocked(0x0E)),
        (dict(iova=0x30_0000), passed(2, hit=True, hpa=WINDOW_END)),
    ], tables=Tables(leaf=2, iova=0x20_0000, entries={2: dict(address=0xFEE00)}))


PERMISSIONS = dict(permissions())
"""What depends on the access, or on the part of a page."""

HIDDEN_CONTEXT = dict(fault_processing_disable=1)


def hidden(reason, *, context=(), **how):
    """A fault of a device whose context hides qualified faults."""
    return fault(reason, context=HIDDEN_CONTEXT | dict(context), **how)


HIDDEN = {
    # qualified: blocked, and no record
    "02 is hidden, for its bit counts in an entry that is not present":
        hidden(0x02, recorded=False, context=dict(present=0)),
    "03 is hidden, a translation type": hidden(0x03, recorded=False, context=dict(translation_type=3)),
    "03 is hidden, a top table": hidden(0x03, recorded=False, unreadable=(4,)),
    "04 is hidden": hidden(0x04, recorded=False, request=at(1 << 48)),
    "05 is hidden": hidden(0x05, recorded=False, entries={1: dict(writable=0)}, accesses=(WRITE, WRITE)),
    "06 is hidden": hidden(0x06, recorded=False, entries={1: dict(readable=0)}, accesses=(READ, READ)),
    "07 is hidden": hidden(0x07, recorded=False, unreadable=(1,)),
    "0B is hidden": hidden(0x0B, recorded=False, context=dict(_reserved_71=1)),
    "0C is hidden": hidden(0x0C, recorded=False, entries={1: dict(snoop=1)}),
    "0D is hidden": hidden(0x0D, recorded=False, request=dict(kind=RequestKind.TRANSLATED)),
    "0E is hidden": hidden(0x0E, recorded=False, entries={1: dict(address=0xFEE00)}),
    # not qualified, or not of a known context: recorded all the same
    "01 is not hidden": hidden(0x01, root=dict(present=0)),
    "08 is not hidden": hidden(0x08, unreadable=("root",)),
    "09 is not hidden": hidden(0x09, unreadable=("context",)),
    "0A is not hidden": hidden(0x0A, root=dict(_reserved_127_64=1)),
    "30 is not hidden": hidden(0x30, mode=1),
    "31 is not hidden": hidden(0x31, request=dict(pasid_present=True)),
    "04 in the interrupt window is not hidden, for no context is looked up":
        hidden(0x04, accesses=(READ, READ), request=at(WINDOW)),
    "what is permitted is not touched": case(
        [(dict(access=READ), passed(hit=False)), (dict(access=WRITE), passed(hit=True))],
        tables=Tables(context=HIDDEN_CONTEXT)),
}
"""Devices with fault_processing_disable."""

ORDER = {
    "31 before 04 for a dword in the window": fault(0x31, accesses=(WRITE, WRITE), request=dict(pasid_present=True) | at(WINDOW)),
    "06 before 0C in an entry that is not present":
        fault(0x06, accesses=(READ, READ), entries={1: dict(readable=0, writable=0, snoop=1)}),
    "05 before 0C in an entry that is not present":
        fault(0x05, accesses=(WRITE, ATOMIC), entries={1: dict(readable=0, writable=0, snoop=1)}),
    "03, a top table, before its page size": fault(0x03, unreadable=(4,), entries={4: dict(page_size=1)}),
}
"""What the pairs of fault_pairs leave over."""


def good():
    """What must go through, the second time from the caches."""
    for levels in (3, 4, 5):
        for leaf, size in SIZES.items():
            yield f"{levels} levels, {size.name}", case([
                (dict(access=READ), passed(leaf, hit=False)), (dict(access=READ), passed(leaf, hit=True)),
                (dict(access=WRITE), passed(leaf, hit=True)), (dict(access=ATOMIC), passed(leaf, hit=True)),
            ], tables=Tables(levels=levels, leaf=leaf))
            yield f"{levels} levels, {size.name}, a write first", case([
                (dict(access=WRITE), passed(leaf, hit=False)), (dict(access=READ), passed(leaf, hit=True)),
            ], tables=Tables(levels=levels, leaf=leaf))
    for levels, last in {3: (1 << 39) - 4, 4: (1 << 48) - 4, 5: (1 << 57) - 4}.items():
        yield f"the last address of {levels} levels", case([
            (dict(), passed(hit=False, hpa=0x9876_5FFC)), (dict(), passed(hit=True, hpa=0x9876_5FFC)),
        ], tables=Tables(levels=levels, iova=last))
    whole = dict(context=dict(translation_type=2, second_stage_pointer=0))
    for access in (READ, WRITE, ATOMIC):
        yield f"pass-through, {access.name.lower()}", case(
            [(dict(access=access), untranslated(IOVA[4]))] * 2, tables=Tables(**whole))
    yield "pass-through up to the host width", case(
        [(dict(iova=(1 << 40) - 4), untranslated((1 << 40) - 4))] * 2, tables=Tables(**whole), **NARROW)
    yield "translation is off", case(
        [(dict(access=access), untranslated(IOVA[4])) for access in EVERY_ACCESS],
        tables=Tables(root=dict(present=0)), enabled=False)
    interrupt = Expected(Status.INTERRUPT, hpa=WINDOW)
    yield "a write of 4 bytes in the interrupt window is an interrupt", case(
        [(dict(access=WRITE, iova=WINDOW), interrupt)] * 2, tables=Tables())
    yield "an interrupt needs no tables", case(
        [(dict(access=WRITE, iova=WINDOW), interrupt)] * 2, tables=Tables(unreadable=("root",)))
    for mode in (1, 2, 3):
        yield f"an interrupt passes where table mode {mode} blocks every DMA", case(
            [(dict(access=WRITE, iova=WINDOW), interrupt)] * 2, tables=Tables(), mode=mode)
    for name, iova in {"below": WINDOW - 4, "above": WINDOW_END}.items():
        hpa = 0x9876_5000 | iova & 0xFFF
        yield f"just {name} the interrupt window is memory", case([
            (dict(access=WRITE), passed(hit=False, hpa=hpa)), (dict(access=WRITE), passed(hit=True, hpa=hpa)),
        ], tables=Tables(iova=iova))
    ignored = dict(executable=1, _ignored_6_3=0xF, accessed=1, dirty=1, _ignored_10=1, _ignored_61_52=0x3FF, _ignored_63=1)
    twice = [(dict(), passed(hit=False)), (dict(), passed(hit=True))]
    yield "ignored bits of every entry", case(twice, tables=Tables(context=dict(_ignored_70_67=0xF), entries={
        1: ignored | dict(page_size=1), 2: ignored, 3: ignored, 4: ignored}))
    yield "the highest domain ID", case(twice, tables=Tables(context=dict(domain_id=0xFFFF)))
    yield "bit 11 with snoop control", case(
        twice, tables=Tables(entries={1: dict(snoop=1), 3: dict(snoop=1)}), snoop_control=1)


GOOD = dict(good())
"""What is not blocked."""

CASES = {f"{group}: {name}": case for group, cases in {
    "fault": FAULTS, "permission": PERMISSIONS, "hidden": HIDDEN, "order": ORDER, "good": GOOD}.items()
    for name, case in cases.items()}
"""All of them."""

_NEVER_CACHED = {0x01, 0x02, 0x03, 0x07, 0x08, 0x09, 0x0A, 0x0B, 0x0C}   # entries not present, erroneous or unreadable

REPAIRS = [f"fault: {name}" for name, case in FAULTS.items()
           if case.expected[0].fault_reason in _NEVER_CACHED and case.tables != case.tables.repaired
           and "sagaw" not in case.strap_changes and "does not reach" not in name]
REPAIRS += [f"permission: 05, 06: level {level} is not present" for level in (1, 2, 3, 4)]
REPAIRS += [f"fault: 0E: a page at the {place} of the interrupt window" for place in ("beginning", "end")]
"""Those in which nothing is wrong but tables, in a way that no cache keeps: VT-d 4.1, 6.2 without caching mode; a 4 KiB page
of the interrupt window is not cached either (ours), whereas a superpage around it is, and stays blocked until invalidated.
An entry that is legal, and names a table beyond the memory, may be kept by a paging-structure cache."""

_WRONG_CONTEXTS = {
    "02: not present": fault(0x02, context=dict(present=0), straps=CACHING),
    "02: not present, hidden": fault(0x02, recorded=False, context=HIDDEN_CONTEXT | dict(present=0), straps=CACHING),
    "03: translation type 3": fault(0x03, context=dict(translation_type=3), straps=CACHING),
    "0B: a reserved bit": fault(0x0B, context=dict(_reserved_71=1), straps=CACHING),
}
_MISSING_PAGES = {
    f"05, 06: level {level} is not present": case([
        (dict(access=READ), blocked(0x06)), (dict(access=READ), blocked(0x06)),
        (dict(access=WRITE), blocked(0x05)), (dict(access=ATOMIC), blocked(0x05)),
    ], tables=Tables(entries={level: dict(readable=0, writable=0)}), **CACHING) for level in (1, 2, 3, 4)
}
_NOT_KEPT_BY_CACHING_MODE = {
    "01: the root entry": fault(0x01, root=dict(present=0), straps=CACHING),
    "09: the context table cannot be read": fault(0x09, unreadable=("context",), straps=CACHING),
    "03: the top table cannot be read": fault(0x03, unreadable=(4,), straps=CACHING),
    "07: a table of level 1 cannot be read": fault(0x07, unreadable=(1,), straps=CACHING),
    "0C: bit 62 of a leaf": fault(0x0C, entries={1: dict(transient_mapping=1)}, straps=CACHING),
}
CACHING_MODE = {f"caching mode: {name}": case for cases in (_WRONG_CONTEXTS, _MISSING_PAGES, _NOT_KEPT_BY_CACHING_MODE)
                for name, case in cases.items()}
"""What a unit with CAP.CM answers: as any other, until tables are repaired without an invalidation."""

CASES |= CACHING_MODE

REPAIRS += [f"caching mode: {name}" for name in _NOT_KEPT_BY_CACHING_MODE]
KEPT = [f"caching mode: {name}" for name in (*_WRONG_CONTEXTS, *_MISSING_PAGES)]
"""Those that stay blocked when their tables are repaired without an invalidation (VT-d 4.1, 6.1)."""
