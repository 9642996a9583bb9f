"""Atomic stores through the machine's update port, by its register window: one place for every transport. Ours.

A store or an exchange that the driver asks for is made by the hardware port that the design is about, never by a
short cut into the memory.
"""
from typing import Protocol

from hw.spec.bench import UPDATE_BASE, UpdateCommand, UpdateOperation, UpdateRegister, UpdateRequest, UpdateStatus
from hw.spec.codec import decode, encode, field_width
from sw.transport import MemoryRefused, TransportError

__all__ = ["POLLS", "Registers", "UpdateStuck", "compare_exchange128", "store64"]

POLLS = 4096  # looks at STATUS before the port is taken for dead

_BYTES = 8
_HPA_BITS = field_width(UpdateRequest, "hpa")
_WORD_MASK = (1 << 64) - 1


class UpdateStuck(TransportError):
    """The update port stays busy."""


class Registers(Protocol):
    """The part of a transport that the window needs."""

    async def read_register(self, offset: int, width: int) -> int:
        """As Transport."""

    async def write_register(self, offset: int, width: int, value: int) -> None:
        """As Transport."""


async def store64(registers: Registers, hpa: int, value: int) -> None:
    """Store 8 bytes at one instant.

    Raises
    ------
    ValueError
        If the address or the value cannot be one of an aligned 8-byte store.
    MemoryRefused
        If the memory refused the address.
    UpdateStuck
        If the port does not finish.
    """
    _check_place(hpa, 8)
    _check_value("value", value, 64)
    await _write(registers, UpdateRegister.ADDRESS, hpa)
    await _write(registers, UpdateRegister.DESIRED_LOW, value)
    await _start(registers, UpdateOperation.STORE_64, hpa)


async def compare_exchange128(registers: Registers, hpa: int, expected: int, desired: int) -> int:
    """Exchange 16 bytes at one instant if they are `expected`; returns what was there before.

    Raises as `store64`.
    """
    _check_place(hpa, 16)
    _check_value("expected", expected, 128)
    _check_value("desired", desired, 128)
    await _write(registers, UpdateRegister.ADDRESS, hpa)
    await _write(registers, UpdateRegister.EXPECTED_LOW, expected & _WORD_MASK)
    await _write(registers, UpdateRegister.EXPECTED_HIGH, expected >> 64)
    await _write(registers, UpdateRegister.DESIRED_LOW, desired & _WORD_MASK)
    await _write(registers, UpdateRegister.DESIRED_HIGH, desired >> 64)
    await _start(registers, UpdateOperation.COMPARE_EXCHANGE_128, hpa)
    low = await _read(registers, UpdateRegister.OBSERVED_LOW)
    high = await _read(registers, UpdateRegister.OBSERVED_HIGH)
    return high << 64 | low


async def _start(registers: Registers, operation: UpdateOperation, hpa: int) -> None:
    await _write(registers, UpdateRegister.COMMAND, encode(UpdateCommand, operation=operation))
    for _ in range(POLLS):
        status = decode(UpdateStatus, await _read(registers, UpdateRegister.STATUS))
        if not status.busy:
            break
    else:
        raise UpdateStuck(f"the update port is still busy with {operation.name} at {hpa:#x} after {POLLS} looks")
    if status.error:
        raise MemoryRefused(f"{operation.name} at {hpa:#x}: the memory refused the address; nothing was stored")


async def _read(registers: Registers, register: UpdateRegister) -> int:
    return await registers.read_register(UPDATE_BASE + register.value, _BYTES)


async def _write(registers: Registers, register: UpdateRegister, value: int) -> None:
    await registers.write_register(UPDATE_BASE + register.value, _BYTES, value)


def _check_place(hpa: int, size: int) -> None:
    if hpa % size or not 0 <= hpa < 1 << _HPA_BITS:
        raise ValueError(f"`hpa` must be a multiple of {size} below 2**{_HPA_BITS}, not {hpa:#x}")


def _check_value(name: str, value: int, bits: int) -> None:
    if not 0 <= value < 1 << bits:
        raise ValueError(f"`{name}` must fit in {bits} bits, not {value:#x}")
