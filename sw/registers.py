"""Typed access to the unit's registers, generated from hw.spec.registers.

A register is read into a `RegisterValue`, whose fields read by name and whose text shows them all. Registers behind
CAP.FRO and ECAP.IRO are found there, so a unit may put them where it likes.
"""
from collections.abc import Callable
from dataclasses import dataclass

from hw.spec.bench import UNIT_BASE
from hw.spec.registers import GCMD_ONE_SHOT_MASK, Register, register, register_offset
from sw.errors import RegisterTimeout
from sw.transport import Transport

__all__ = ["POLL_CYCLES", "TIMEOUT_CYCLES", "RegisterFile", "RegisterValue", "compose"]

POLL_CYCLES = 32          # between two looks at a register that something is awaited of
TIMEOUT_CYCLES = 200_000  # after which the unit is taken for dead

_DWORD_BYTES = 4


@dataclass(frozen=True)
class RegisterValue:
    """What a register held when it was read."""

    row: Register
    value: int

    def __getitem__(self, name: str) -> int:
        field = self.row.field(name)
        return int((self.value & field.mask) >> field.low)

    def __str__(self) -> str:
        fields = " ".join(f"{field.name}={self[field.name]:#x}" for field in self.row.fields if self[field.name])
        return f"{self.row.name}={self.value:#x} ({fields or 'all fields 0'})"


def compose(name: str, **fields: int) -> int:
    """Value of a register whose other fields are zero.

    Raises
    ------
    ValueError
        If a value does not fit its field.
    """
    row = register(name)
    result = 0
    for field_name, number in fields.items():
        field = row.field(field_name)
        if not 0 <= number < (1 << field.width):
            raise ValueError(f"{name}.{field_name}: {number:#x} does not fit in {field.width} bits")
        result |= number << field.low
    return result


class RegisterFile:
    """The unit's registers. Make one with `RegisterFile.open`, which reads where they are.

    Parameters
    ----------
    transport : Transport
        The way to the machine.
    cap, ecap : int
        CAP and ECAP as the unit shows them.
    """

    def __init__(self, transport: Transport, *, cap: int, ecap: int) -> None:
        self._transport = transport
        self.cap = RegisterValue(register("CAP"), cap)
        self.ecap = RegisterValue(register("ECAP"), ecap)

    @classmethod
    async def open(cls, transport: Transport) -> "RegisterFile":
        """Read CAP and ECAP, and with them the place of everything else."""
        unplaced = cls(transport, cap=0, ecap=0)
        cap = await unplaced.read("CAP")
        ecap = await unplaced.read("ECAP")
        return cls(transport, cap=cap.value, ecap=ecap.value)

    def offset(self, name: str, index: int = 0) -> int:
        """Host address of a register; `index` counts fault records."""
        return int(UNIT_BASE + register_offset(name, fro=self.cap["FRO"], iro=self.ecap["IRO"], index=index))

    async def read(self, name: str, index: int = 0) -> RegisterValue:
        """Read a register: 32 and 64 bits in one access, a fault record in four, the one with F last."""
        row = register(name)
        offset = self.offset(name, index)
        if row.width <= 64:
            return RegisterValue(row, await self._transport.read_register(offset, row.width // 8))
        value = 0
        for place in range(0, row.width // 8, _DWORD_BYTES):
            value |= await self._transport.read_register(offset + place, _DWORD_BYTES) << (8 * place)
        return RegisterValue(row, value)

    async def write(self, name: str, **fields: int) -> None:
        """Write a 32- or 64-bit register in one access; absent fields are written as zero."""
        row = register(name)
        await self._transport.write_register(self.offset(name), row.width // 8, compose(name, **fields))

    async def clear_fault_record(self, index: int) -> None:
        """Write FRCD[index].F, in a 4-byte access to its dword, which has no other writable field."""
        field = register("FRCD").field("F")
        place = field.low // 8 // _DWORD_BYTES * _DWORD_BYTES
        bit = field.mask >> (8 * place)
        await self._transport.write_register(self.offset("FRCD", index) + place, _DWORD_BYTES, bit)

    async def pause(self, cycles: int) -> None:
        """Let time pass between two looks."""
        await self._transport.pause(cycles)

    async def command(self, *, command: str, status: str, value: int = 1, cycles: int = TIMEOUT_CYCLES) -> None:
        """One change through GCMD, the handshake of VT-d 11.4.4: one command at a time, ended by its status bit.

        Raises
        ------
        RegisterTimeout
            If the status bit does not follow within that many cycles.
        """
        status_now = await self.read("GSTS")
        levels = status_now.value & ~GCMD_ONE_SHOT_MASK & ~register("GCMD").field(command).mask
        word = levels | compose("GCMD", **{command: value})
        await self._transport.write_register(self.offset("GCMD"), _DWORD_BYTES, word)
        await self.wait("GSTS", lambda seen: seen[status] == value, f"{status}={value}", cycles=cycles)

    async def wait(self, name: str, reached: Callable[[RegisterValue], bool], awaited: str, *,
                   cycles: int = TIMEOUT_CYCLES) -> RegisterValue:
        """Read a register until `reached` says yes of it.

        Raises
        ------
        RegisterTimeout
            If it has not within that many cycles.
        """
        seen = await self.read(name)
        waited = 0
        while not reached(seen):
            if waited >= cycles:
                raise RegisterTimeout(name, awaited, str(seen), waited)
            await self._transport.pause(POLL_CYCLES)
            waited += POLL_CYCLES
            seen = await self.read(name)
        return seen
