"""What a second-stage entry of this machine may look like: levels, page sizes, reserved bits. From the capabilities."""
from dataclasses import dataclass

import numpy as np
from amaranth.lib import data

from hw.spec.codec import encode
from hw.spec.tables import (
    MAX_LEVEL,
    PAGE_BITS,
    PAGE_BYTES,
    SecondStageEntry,
    address_bits,
    level_shift,
    top_level,
)
from sw.errors import BadRange
from sw.intervals import Addresses, Permission
from sw.registers import RegisterFile

__all__ = ["ENTRY_BYTES", "TableFormat", "field_mask", "field_values"]

ENTRY_BYTES = 8         # of a second-stage entry
_SUPERPAGE_LEVELS = (2, 3)


def field_mask(name: str) -> int:
    """The bits of a second-stage entry's field, in place."""
    field = data.Layout.cast(SecondStageEntry)[name]
    return int(((1 << field.width) - 1) << field.offset)


def field_values(words: Addresses, name: str) -> Addresses:
    """One field of many second-stage entries at once."""
    field = data.Layout.cast(SecondStageEntry)[name]
    return (words >> np.uint64(field.offset)) & np.uint64((1 << field.width) - 1)


_READABLE = field_mask("readable")
_WRITABLE = field_mask("writable")
_PAGE_SIZE = field_mask("page_size")
_ADDRESS_MASK = field_mask("address")
_TABLE_FLAGS = encode(SecondStageEntry, readable=1, writable=1)


@dataclass(frozen=True)
class TableFormat:
    """The tables of one address width.

    Parameters
    ----------
    address_width : int
        AW of the context entries that will point here: 1, 2 or 3.
    superpage_levels : tuple of int
        Levels above 1 that may hold leaves: a subset of 2 and 3.
    snoop_control : bool
        ECAP.SC: without it the snoop bit is reserved.
    host_address_bits : int
        Width of an HPA; higher address bits are reserved.
    """

    address_width: int
    superpage_levels: tuple[int, ...] = _SUPERPAGE_LEVELS
    snoop_control: bool = False
    host_address_bits: int = 52

    def __post_init__(self) -> None:
        if not 1 <= self.address_width <= MAX_LEVEL - 2:
            raise BadRange("address_width", self.address_width, "must be 1 (39-bit), 2 (48-bit) or 3 (57-bit)")

    @classmethod
    def of_unit(cls, registers: RegisterFile, address_width: int, *, host_address_bits: int = 52) -> "TableFormat":
        """The format of tables of this width on a unit, or BadRange if the unit has no such width."""
        if not registers.cap["SAGAW"] & (1 << address_width):
            raise BadRange("address_width", address_width, f"not in CAP.SAGAW = {registers.cap['SAGAW']:#b}")
        superpages = registers.cap["SSLPS"]
        levels = tuple(level for bit, level in enumerate(_SUPERPAGE_LEVELS) if superpages & (1 << bit))
        return cls(address_width, levels, bool(registers.ecap["SC"]), host_address_bits)

    @property
    def levels(self) -> int:
        """The level of the top table."""
        return int(top_level(self.address_width))

    @property
    def iova_end(self) -> int:
        """First address beyond the tables' reach."""
        return 1 << int(address_bits(self.address_width))

    @staticmethod
    def page_bytes(level: int) -> int:
        """What one entry of a table of this level covers."""
        return 1 << int(level_shift(level))

    def best_level(self, iova: int, hpa: int, size: int) -> int:
        """The level of the largest leaf that may begin a mapping of `size` bytes from `iova` to `hpa`."""
        best = 1
        for level in self.superpage_levels:
            if level <= self.levels and not (iova | hpa) % self.page_bytes(level) and size >= self.page_bytes(level):
                best = max(best, level)
        return best

    @staticmethod
    def is_present(entry: int) -> bool:
        """Second-stage entries have no present bit: one that permits something is present."""
        return TableFormat.permission(entry) != Permission.NONE

    @staticmethod
    def permission(entry: int) -> Permission:
        """What this entry alone permits."""
        return ((Permission.READ if entry & _READABLE else Permission.NONE)
                | (Permission.WRITE if entry & _WRITABLE else Permission.NONE))

    @staticmethod
    def is_leaf(entry: int, level: int) -> bool:
        """Whether a present entry maps a page, rather than naming a table."""
        return level == 1 or bool(entry & _PAGE_SIZE)

    @staticmethod
    def target(entry: int) -> int:
        """HPA of the table or the page that an entry names."""
        return entry & _ADDRESS_MASK

    @staticmethod
    def leaf(hpa: int, level: int, permission: Permission) -> int:
        """An entry that maps a page."""
        return int(encode(SecondStageEntry, readable=bool(permission & Permission.READ),
                          writable=bool(permission & Permission.WRITE), page_size=level > 1,
                          address=hpa >> PAGE_BITS))

    @staticmethod
    def table(hpa: int) -> int:
        """An entry that names a table; it permits everything, the leaves decide."""
        return int(_TABLE_FLAGS | encode(SecondStageEntry, address=hpa >> PAGE_BITS))

    def reserved_bits(self, level: int, *, leaf: bool) -> int:
        """Bits that must be zero in a present entry of this level (VT-d 4.1, 9.8)."""
        mask = field_mask("transient_mapping")
        if not self.snoop_control:
            mask |= field_mask("snoop")
        mask |= _ADDRESS_MASK & ~((1 << self.host_address_bits) - 1)
        if leaf and level > 1:
            mask |= self.page_bytes(level) - PAGE_BYTES
        if level > 1 and level not in self.superpage_levels:
            mask |= _PAGE_SIZE
        return mask
