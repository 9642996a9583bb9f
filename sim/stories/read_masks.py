"""Which bits of a recorded register read the unit need not give, and why.

The driver reads to learn what there is, to wait, and to take faults. What decides its way is compared; an entry here names
bits that do not, because the recorded machine was another one, or because its unit did what VT-d leaves open.
"""
from typing import NamedTuple

from hw.spec.registers import FRCD_STRIDE, REGISTERS, Register, register_offset
from sw.registers import RegisterValue

__all__ = ["POLLED", "READ_MASKS", "ReadMask", "RegisterMap"]


class ReadMask(NamedTuple):
    """Bits of a register that are not compared."""

    register: str
    fields: tuple[str, ...]
    reason: str


READ_MASKS = (
    ReadMask("VER", ("MIN", "MAX"), "the recorded unit is of architecture 1.0; the driver prints the version and no more"),
    ReadMask("ECAP", ("C",), "the unit's table reads snoop; the driver then flushes no cache lines, which no trace shows"),
    ReadMask("ECAP", ("ADMS",), "the unit can abort all DMA; the recorded driver does not know of it"),
    ReadMask("FSTS", ("PFO",), "the recorded unit collapses equal faults, here the second of a pair overflows; the driver "
                               "clears the bit either way"),
    ReadMask("FRCD", ("PV",), "without PP there is no PASID: the recorded unit shows ones there"),
)
"""Everything else is compared."""

POLLED = ("GSTS", "FSTS")
"""Registers that are read again, within a bound, until they are as recorded: the unit changes them in its own time."""


class RegisterMap:
    """Which register an access of the trace is to.

    Parameters
    ----------
    cap, ecap : RegisterValue
        They tell where the fault records and the invalidation registers are.
    """

    def __init__(self, cap: RegisterValue, ecap: RegisterValue) -> None:
        self._places: list[tuple[int, Register]] = []
        for name, row in REGISTERS.items():
            count = cap["NFR"] + 1 if name == "FRCD" else 1
            offset = register_offset(name, fro=cap["FRO"], iro=ecap["IRO"])
            self._places += [(offset + FRCD_STRIDE * index, row) for index in range(count)]

    def name(self, offset: int) -> str:
        """Of the register there. Raises KeyError if there is none."""
        return self._find(offset)[1].name

    def ignored(self, offset: int, width: int) -> dict[ReadMask, int]:
        """Bits of an access that are not compared, by the entry that says so."""
        start, row = self._find(offset)
        found = {}
        for entry in READ_MASKS:
            if entry.register == row.name:
                fields = sum(int(row.field(name).mask) for name in entry.fields)
                if bits := fields >> 8 * (offset - start) & ((1 << 8 * width) - 1):
                    found[entry] = bits
        return found

    def _find(self, offset: int) -> tuple[int, Register]:
        for start, row in self._places:
            if start <= offset < start + row.width // 8:
                return start, row
        raise KeyError(f"no register at {offset:#x}")
