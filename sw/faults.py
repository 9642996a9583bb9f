"""Read, clear and explain fault records, with the entries as they stand in memory.

Source: VT-d 4.1, 7.3 (recording), 11.4.10 (FSTS) and 11.4.14 (FRCD).
"""
from dataclasses import dataclass

from hw.spec.codec import decode
from hw.spec.faults import FaultReason, FaultRecord, FaultType
from hw.spec.tables import ENTRY_BYTES, PAGE_BITS, ContextEntry, RootEntry, TranslationType, table_index, top_level
from sw.registers import RegisterFile
from sw.table_format import ENTRY_BYTES as SECOND_STAGE_ENTRY_BYTES
from sw.table_format import TableFormat
from sw.transport import Transport

__all__ = ["Fault", "FaultLog"]

_FUNCTION_COUNT = 256


@dataclass(frozen=True)
class Fault:
    """One fault record."""

    source_id: int
    iova: int  # of the page
    reason: FaultReason
    kind: FaultType

    @classmethod
    def from_record(cls, value: int) -> "Fault":
        """Decode an FRCD register."""
        record = decode(FaultRecord, value)
        return cls(record.source_id, record.fault_info << PAGE_BITS, FaultReason(record.fault_reason),
                   FaultType(2 * record.type_1 + record.type_2))

    def __str__(self) -> str:
        bus, function = divmod(self.source_id, _FUNCTION_COUNT)
        return (f"{bus:02x}:{function >> 3:02x}.{function & 7} {self.kind.name.lower()} of iova {self.iova:#x} "
                f"blocked: {self.reason.name} ({self.reason.value:#04x})")


class FaultLog:
    """The fault records of a unit.

    Parameters
    ----------
    transport : Transport
        The way to memory, to show the entries behind a fault.
    registers : RegisterFile
        The unit.
    """

    def __init__(self, transport: Transport, registers: RegisterFile) -> None:
        self._transport = transport
        self._registers = registers

    async def take(self) -> tuple[list[Fault], bool]:
        """Read and clear the pending records, oldest first, then the overflow. Returns both."""
        faults = []
        status = await self._registers.read("FSTS")
        count = self._registers.cap["NFR"] + 1
        if status["PPF"]:
            for step in range(count):
                index = (status["FRI"] + step) % count
                record = await self._registers.read("FRCD", index)
                if not record["F"]:
                    break
                faults.append(Fault.from_record(record.value))
                await self._registers.clear_fault_record(index)
        overflowed = bool(status["PFO"])
        if overflowed:
            await self._registers.write("FSTS", PFO=1)
        return faults, overflowed

    async def explain(self, fault: Fault) -> str:
        """The fault in words, and every entry of its walk as memory holds it now."""
        root_table = (await self._registers.read("RTADDR"))["RTA"] << PAGE_BITS
        bus, function = divmod(fault.source_id, _FUNCTION_COUNT)
        lines = [str(fault)]
        root = decode(RootEntry, await self._entry(lines, "root entry", root_table + ENTRY_BYTES * bus, ENTRY_BYTES))
        if not root.present:
            return "\n".join(lines)
        place = (root.context_table_pointer << PAGE_BITS) + ENTRY_BYTES * function
        context = decode(ContextEntry, await self._entry(lines, "context entry", place, ENTRY_BYTES))
        if not context.present or context.translation_type == TranslationType.PASS_THROUGH:
            return "\n".join(lines)
        table = context.second_stage_pointer << PAGE_BITS
        for level in range(int(top_level(context.address_width)), 0, -1):
            place = table + SECOND_STAGE_ENTRY_BYTES * int(table_index(fault.iova, level))
            entry = await self._entry(lines, f"level {level} entry", place, SECOND_STAGE_ENTRY_BYTES)
            if not TableFormat.is_present(entry) or TableFormat.is_leaf(entry, level):
                break
            table = TableFormat.target(entry)
        return "\n".join(lines)

    async def _entry(self, lines: list[str], name: str, hpa: int, size: int) -> int:
        value = int.from_bytes(await self._transport.read_memory(hpa, size), "little")
        lines.append(f"  {name} at {hpa:#x}: {value:#0{2 + 2 * size}x}")
        return value
