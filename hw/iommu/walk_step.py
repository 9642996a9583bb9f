"""What one table entry means: the checks of each step of a walk, in the order of the specification, as pure functions.

Each takes the module for its statements, and an entry as read; each returns signals. Within one step a memory error
comes first, then presence and permission, then reserved bits, then what the fields say. What an entry says and what a
request may do are apart, since several requests wait for one walk.

Source: VT-d 4.1, 9.1, 9.3 and 9.8 (entries), 7.2 (reasons).
"""
from amaranth import *
from amaranth.lib import data
from amaranth.utils import ceil_log2

from hw.lib.match import beyond
from hw.spec.dma import Access
from hw.spec.faults import FaultReason
from hw.spec.tables import (
    ENTRY_BYTES,
    LEVEL_BITS,
    MAX_LEVEL,
    PAGE_BITS,
    PageSize,
    SecondStageEntry,
    TranslationType,
    level_shift,
)

__all__ = ["Permissions", "root_entry_address", "context_entry_address", "second_stage_entry_address",
           "second_stage_entries", "select_second_stage_entry", "root_fault", "context_fault", "permission_fault",
           "permissions_after", "second_stage_step"]

_SECOND_STAGE_ENTRY_BITS = SecondStageEntry.as_shape().size
_SECOND_STAGE_ENTRY_LOG2 = (_SECOND_STAGE_ENTRY_BITS // 8).bit_length() - 1  # log2 of its bytes
_ENTRY_LOG2 = ENTRY_BYTES.bit_length() - 1
_ADDRESS_WIDTHS = range(1, MAX_LEVEL - 1)   # AW encodings that exist


def _index(iova, level):
    """Index into the table of `level`, 1 to 5."""
    shifts = [level_shift(each) for each in range(1, MAX_LEVEL + 1)]
    return Array(iova[shift:shift + LEVEL_BITS] for shift in shifts)[level - 1]


def _reserved_bits(entry):
    """All fields of an entry that are reserved for every machine."""
    return Cat(entry[name] for name, _ in data.Layout.cast(entry.shape()) if name.startswith("_reserved"))


def _beyond_host_width(page, straps):
    """True if a page number has bits at and above the host address width."""
    return beyond(page, straps.host_address_width - PAGE_BITS)


def root_entry_address(*, source_id, table):
    """Byte address of the root entry of a device's bus, in the root table that stands in page `table`."""
    return Cat(Const(0, _ENTRY_LOG2), source_id[8:], table)


def context_entry_address(*, source_id, table):
    """Byte address of a device's context entry, in the context table that stands in page `table`."""
    return Cat(Const(0, _ENTRY_LOG2), source_id[:8], table)


def second_stage_entry_address(*, iova, level, table):
    """Byte address of the entry for `iova` in the table of `level` that stands in page `table`."""
    return Cat(Const(0, _SECOND_STAGE_ENTRY_LOG2), _index(iova, level), table)


def select_second_stage_entry(word, *, iova, level):
    """The entry for `iova` out of the memory word that holds it."""
    position = _index(iova, level)[:ceil_log2(len(word) // _SECOND_STAGE_ENTRY_BITS)]
    return SecondStageEntry(word.word_select(position, _SECOND_STAGE_ENTRY_BITS))


def second_stage_entries(word):
    """All entries in a memory word, the lowest index first."""
    return [SecondStageEntry(word.word_select(position, _SECOND_STAGE_ENTRY_BITS))
            for position in range(len(word) // _SECOND_STAGE_ENTRY_BITS)]


def root_fault(m, *, entry, error, straps):
    """Fault reason of a root entry as read."""
    fault = Signal(FaultReason, name="root_fault")
    with m.If(error):
        m.d.comb += fault.eq(FaultReason.ROOT_ACCESS)
    with m.Elif(~entry.present):
        m.d.comb += fault.eq(FaultReason.ROOT_NOT_PRESENT)
    with m.Elif(_reserved_bits(entry).any() | _beyond_host_width(entry.context_table_pointer, straps)):
        m.d.comb += fault.eq(FaultReason.ROOT_RESERVED)
    return fault


def context_fault(m, *, entry, error, straps):
    """Fault reason of a context entry as read; does not look at the request."""
    fault = Signal(FaultReason, name="context_fault")
    domain_id_width = 4 + 2 * straps.domain_id_width_code
    reserved = (_reserved_bits(entry).any() | _beyond_host_width(entry.second_stage_pointer, straps)
                | beyond(entry.domain_id, domain_id_width))

    type_legal = Signal()
    with m.Switch(entry.translation_type):
        with m.Case(TranslationType.MULTI_LEVEL):
            m.d.comb += type_legal.eq(1)
        with m.Case(TranslationType.PASS_THROUGH):
            m.d.comb += type_legal.eq(straps.pass_through)
        # MULTI_LEVEL_DEVICE_TLB needs a device-TLB, which this unit does not have.
    width_legal = Signal()
    with m.Switch(entry.address_width):
        for address_width in _ADDRESS_WIDTHS:
            with m.Case(address_width):
                m.d.comb += width_legal.eq(straps.sagaw[address_width])

    with m.If(error):
        m.d.comb += fault.eq(FaultReason.CONTEXT_ACCESS)
    with m.Elif(~entry.present):
        m.d.comb += fault.eq(FaultReason.CONTEXT_NOT_PRESENT)
    with m.Elif(reserved):
        m.d.comb += fault.eq(FaultReason.CONTEXT_RESERVED)
    with m.Elif(~type_legal | ~width_legal):
        m.d.comb += fault.eq(FaultReason.CONTEXT_INVALID)
    return fault


def second_stage_step(m, *, entry, level, straps):
    """What a second-stage entry says, whoever asks.

    Parameters
    ----------
    entry
        As read from memory.
    level
        Of its table.

    Returns
    -------
    leaf, reserved
        It maps a page, if nothing is wrong with it. Something is: a bit that must be zero is set.
    """
    leaf = Signal(name="leaf")
    reserved = Signal(name="reserved")
    size_supported = Signal(name="size_supported")
    misaligned = Signal(name="misaligned")
    with m.Switch(level):
        for size in (PageSize.SIZE_2M, PageSize.SIZE_1G):
            with m.Case(size.value + 1):
                m.d.comb += [
                    size_supported.eq(straps.superpages[size.value - 1]),
                    misaligned.eq(entry.address[:LEVEL_BITS * size.value].any()),
                ]
    large = Signal(name="large")
    m.d.comb += [
        large.eq(entry.page_size & (level != 1)),
        leaf.eq(large | (level == 1)),
        reserved.eq((entry.snoop & ~straps.snoop_control) | entry.transient_mapping
                    | _beyond_host_width(entry.address, straps) | (large & (~size_supported | misaligned))),
    ]
    return leaf, reserved


class Permissions(data.Struct):
    """What the entries of a walk permit so far, ANDed.

    `read_went_first` decides between two reasons for the access that needs both: reading was lost at a level at which
    writing was not. Until one of the two is lost it is zero.
    """
    readable: 1
    writable: 1
    read_went_first: 1


def permissions_after(above, entry):
    """Permissions below an entry: a dict of values for a Permissions."""
    went_first = above.readable & above.writable & ~entry.readable & entry.writable
    return {
        "readable": above.readable & entry.readable,
        "writable": above.writable & entry.writable,
        "read_went_first": above.read_went_first | went_first,
    }


def permission_fault(m, *, access, permissions):
    """Fault reason of an access that needs what is not permitted; NONE if it is.

    Each level of a walk checks writing before reading, and the first level at which something is missing decides.
    """
    fault = Signal(FaultReason, name="permission_fault")
    lacks_write = (access != Access.READ) & ~permissions.writable
    lacks_read = (access != Access.WRITE) & ~permissions.readable
    with m.If(lacks_write & ~(lacks_read & permissions.read_went_first)):
        m.d.comb += fault.eq(FaultReason.WRITE_PERMISSION)
    with m.Elif(lacks_read):
        m.d.comb += fault.eq(FaultReason.READ_PERMISSION)
    return fault
