"""Read, clear and explain fault records, with the entries as they stand in memory.

Source: VT-d 4.1, 7.3 (recording), 11.4.10 (FSTS), 11.4.9.9 (IQERCD) and 11.4.14 (FRCD).
"""
from dataclasses import dataclass

from hw.spec.codec import decode
from hw.spec.faults import FaultReason, FaultRecord, FaultType
from hw.spec.invalidation import QueueError
from hw.spec.tables import ENTRY_BYTES, PAGE_BITS, ContextEntry, RootEntry, TranslationType, table_index, top_level
from sw.registers import RegisterFile
from sw.table_format import ENTRY_BYTES as SECOND_STAGE_ENTRY_BYTES
from sw.table_format import TableFormat
from sw.transport import Transport

__all__ = ["Fault", "FaultLog", "QueueFailure"]

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


@dataclass(frozen=True)
class QueueFailure:
    """What FSTS and IQERCD say of the invalidation queue. False if all is well."""

    cause: QueueError = QueueError.NONE   # FSTS.IQE: the queue stands still
    silent_source: int | None = None      # FSTS.ITE: this device did not answer
    failing_source: int | None = None     # FSTS.ICE: this one answered with an error

    @classmethod
    async def read(cls, registers: RegisterFile) -> "QueueFailure":
        """Look; change nothing."""
        status = await registers.read("FSTS")
        if not (status["IQE"] or status["ITE"] or status["ICE"]):
            return cls()
        record = await registers.read("IQERCD")
        return cls(QueueError(record["IQEI"]) if status["IQE"] else QueueError.NONE,
                   record["ITESID"] if status["ITE"] else None, record["ICESID"] if status["ICE"] else None)

    async def clear(self, registers: RegisterFile) -> None:
        """Clear the bits of FSTS that were seen: the unit fetches again, from where its head stands."""
        if self:
            await registers.write("FSTS", IQE=int(self.cause is not QueueError.NONE),
                                  ITE=int(self.silent_source is not None), ICE=int(self.failing_source is not None))

    def __bool__(self) -> bool:
        return self != QueueFailure()

    def __str__(self) -> str:
        parts = [] if self.cause is QueueError.NONE else [f"the queue stands still: {self.cause.name}"]
        if self.silent_source is not None:
            parts.append(f"device {self.silent_source:#06x} did not answer the invalidation of its TLB")
        if self.failing_source is not None:
            parts.append(f"device {self.failing_source:#06x} answered the invalidation of its TLB with an error")
        return "; ".join(parts) or "no failure"


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

    async def queue_failure(self, *, clear: bool = False) -> QueueFailure:
        """What stopped the invalidation queue, if anything did. Who clears it without repair may see it again."""
        failure = await QueueFailure.read(self._registers)
        if clear:
            await failure.clear(self._registers)
        return failure

    async def take(self) -> tuple[list[Fault], bool]:
        """Read and clear the pending records, oldest first, then the overflow. Returns both.

        The record before the bit that says so: what faults in between is seen next time.
        """
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
