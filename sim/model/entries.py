"""Table entries as plain integers: what a machine reserves, and the checks that each entry must pass. Ours.

Within one entry the order is: it can be read, it is present and permits, no reserved bit, its fields are legal.

Source: VT-d 4.1, 9.1 (root), 9.3 (context), 9.8 (second stage), 7.2 (reasons).
"""
from dataclasses import dataclass
from functools import lru_cache
from typing import NamedTuple

from hw.spec.capabilities import describe_straps
from hw.spec.faults import FaultReason
from hw.spec.tables import MAX_LEVEL, ContextEntry, RootEntry, SecondStageEntry, TranslationType, level_shift
from sim.model.fields import field, reserved_mask

__all__ = ["READABLE", "WRITABLE", "ContextView", "Limits", "check_context", "check_root", "context_table",
           "examine_entry", "hides_faults", "limits", "next_page"]

READABLE = field(SecondStageEntry, "readable").mask
WRITABLE = field(SecondStageEntry, "writable").mask

_ROOT_PRESENT = field(RootEntry, "present").mask
_ROOT_POINTER = field(RootEntry, "context_table_pointer")
_CONTEXT_PRESENT = field(ContextEntry, "present").mask
_CONTEXT_FPD = field(ContextEntry, "fault_processing_disable")
_CONTEXT_TYPE = field(ContextEntry, "translation_type")
_CONTEXT_POINTER = field(ContextEntry, "second_stage_pointer")
_CONTEXT_WIDTH = field(ContextEntry, "address_width")
_CONTEXT_DOMAIN = field(ContextEntry, "domain_id")
_PAGE_SIZE = field(SecondStageEntry, "page_size").mask
_SNOOP = field(SecondStageEntry, "snoop").mask
_TRANSIENT = field(SecondStageEntry, "transient_mapping").mask
_ADDRESS = field(SecondStageEntry, "address")
_ADDRESS_SHIFT, _ADDRESS_MASK = _ADDRESS
_SUPERPAGE_LEVELS = (2, 3)
_WALKED_TYPES = (TranslationType.MULTI_LEVEL.value,)   # with a device-TLB, type 1 would be here too; there is none


@dataclass(frozen=True, slots=True)
class Limits:
    """What one machine's straps make of the entries: reserved bits in place, widths as exclusive limits."""

    root_reserved: int
    context_reserved: int
    table_reserved: tuple[int, ...]    # by level: an entry that points to a table
    leaf_reserved: tuple[int, ...]     # by level: an entry with page_size, or of level 1
    address_widths: frozenset[int]     # AW encodings that SAGAW allows
    iova_limit: int                    # 2**(MGAW + 1)
    hpa_limit: int                     # 2**HAW
    pass_through: bool


@lru_cache(maxsize=64)
def limits(straps: int) -> Limits:
    """The limits of a machine with these straps (an encoded `Straps`)."""
    strap = describe_straps(straps)
    width = strap["host_address_width"]
    beyond = ~((1 << width) - 1)
    always = _ADDRESS.mask & beyond | _TRANSIENT | (0 if strap["snoop_control"] else _SNOOP)
    tables, leaves = [0], [0]
    for level in range(1, MAX_LEVEL + 1):
        supported = level in _SUPERPAGE_LEVELS and strap["superpages"] >> (level - 2) & 1
        low_address = _ADDRESS.mask & ((1 << level_shift(level)) - 1)
        tables.append(always)
        leaves.append(always if level == 1 else always | low_address | (0 if supported else _PAGE_SIZE))
    domain_bits = 4 + 2 * strap["domain_id_width_code"]
    beyond_domain = _CONTEXT_DOMAIN.mask & (-1 << (_CONTEXT_DOMAIN.shift + domain_bits))
    return Limits(
        root_reserved=reserved_mask(RootEntry) | _ROOT_POINTER.mask & beyond,
        context_reserved=reserved_mask(ContextEntry) | _CONTEXT_POINTER.mask & beyond | beyond_domain,
        table_reserved=tuple(tables),
        leaf_reserved=tuple(leaves),
        address_widths=frozenset(width for width in range(1, MAX_LEVEL - 1) if strap["sagaw"] >> width & 1),
        iova_limit=1 << (strap["mgaw"] + 1),
        hpa_limit=1 << width,
        pass_through=bool(strap["pass_through"]),
    )


class ContextView(NamedTuple):
    """The fields of a context entry, as integers."""

    translation_type: int
    address_width: int
    domain_id: int
    table_pointer: int                  # page number of the top table
    fault_processing_disable: bool

    @classmethod
    def of(cls, entry: int) -> "ContextView":
        """The fields of an encoded entry."""
        return cls(_CONTEXT_TYPE.get(entry), _CONTEXT_WIDTH.get(entry), _CONTEXT_DOMAIN.get(entry),
                   _CONTEXT_POINTER.get(entry), bool(_CONTEXT_FPD.get(entry)))

    @property
    def pass_through(self) -> bool:
        """True if addresses go through unchanged."""
        return self.translation_type == TranslationType.PASS_THROUGH.value


def check_root(limit: Limits, entry: int | None) -> FaultReason:
    """Reason for which a root entry blocks (None: it could not be read)."""
    if entry is None:
        return FaultReason.ROOT_ACCESS
    if not entry & _ROOT_PRESENT:
        return FaultReason.ROOT_NOT_PRESENT
    return FaultReason.ROOT_RESERVED if entry & limit.root_reserved else FaultReason.NONE


def check_context(limit: Limits, entry: int | None) -> FaultReason:
    """Reason for which a context entry blocks every request (None: it could not be read)."""
    if entry is None:
        return FaultReason.CONTEXT_ACCESS
    if not entry & _CONTEXT_PRESENT:
        return FaultReason.CONTEXT_NOT_PRESENT
    if entry & limit.context_reserved:
        return FaultReason.CONTEXT_RESERVED
    translation_type = _CONTEXT_TYPE.get(entry)
    passes = translation_type == TranslationType.PASS_THROUGH.value and limit.pass_through
    if not passes and translation_type not in _WALKED_TYPES:
        return FaultReason.CONTEXT_INVALID
    if _CONTEXT_WIDTH.get(entry) not in limit.address_widths:
        return FaultReason.CONTEXT_INVALID
    return FaultReason.NONE


def examine_entry(limit: Limits, level: int, entry: int, need: int) -> tuple[FaultReason, bool]:
    """Reason for which a second-stage entry blocks, and whether it is a leaf.

    `need` holds the permission bits that the access needs; 0 asks for presence only (readable or writable).
    """
    if need:
        if missing := need & ~entry:
            return (FaultReason.WRITE_PERMISSION if missing & WRITABLE else FaultReason.READ_PERMISSION), False
    elif not entry & (READABLE | WRITABLE):
        return FaultReason.READ_PERMISSION, False
    leaf = level == 1 or bool(entry & _PAGE_SIZE)
    if entry & (limit.leaf_reserved if leaf else limit.table_reserved)[level]:
        return FaultReason.SECOND_STAGE_RESERVED, leaf
    return FaultReason.NONE, leaf


def hides_faults(entry: int) -> bool:
    """True if a context entry, present or not, suppresses the record of qualified faults."""
    return bool(_CONTEXT_FPD.get(entry))


def context_table(root_entry: int) -> int:
    """Page number of the context table that a root entry names."""
    return _ROOT_POINTER.get(root_entry)


def next_page(entry: int) -> int:
    """Page number that a second-stage entry names."""
    return entry >> _ADDRESS_SHIFT & _ADDRESS_MASK
