"""A 128-bit compare-exchange that waits, in hardware, for its moment; and when the update port last stored. Ours."""
from typing import NamedTuple

from hw.spec.bench import UPDATE_BASE, UpdateCommand, UpdateOperation, UpdateRegister, UpdateStatus
from hw.spec.codec import decode, encode
from sw.errors import EntryChanged, UpdateRefused
from sw.registers import POLL_CYCLES, TIMEOUT_CYCLES
from sw.transport import Transport

__all__ = ["ArmedUpdate", "Arming", "Exchanged"]

_WORD_BYTES = 8
_WORD_END = 1 << 64


class Arming(NamedTuple):
    """When an armed store takes place: a walk and a hit of this device in flight together, and so many cycles more."""

    source_id: int
    offset_cycles: int = 0


class Exchanged(NamedTuple):
    """A compare-exchange that took place."""

    commit_cycle: int
    triggered: bool  # by the armed condition


class ArmedUpdate:
    """Armed stores through the update port, and when it last stored something.

    Parameters
    ----------
    transport : Transport
        The way to the machine.
    timeout_cycles : int
        How long an armed store may wait for its moment.
    """

    def __init__(self, transport: Transport, *, timeout_cycles: int = TIMEOUT_CYCLES) -> None:
        self._transport = transport
        self._timeout_cycles = timeout_cycles

    async def exchange(self, hpa: int, *, expected: int, desired: int, arming: Arming) -> Exchanged:
        """Compare-exchange one aligned 16-byte entry, armed.

        Raises
        ------
        EntryChanged
            If memory held another value than `expected`; nothing was stored.
        UpdateRefused
            If the memory refused the address, or the awaited moment did not come.
        """
        await self._write(UpdateRegister.ADDRESS, hpa)
        await self._write(UpdateRegister.EXPECTED_LOW, expected % _WORD_END)
        await self._write(UpdateRegister.EXPECTED_HIGH, expected // _WORD_END)
        await self._write(UpdateRegister.DESIRED_LOW, desired % _WORD_END)
        await self._write(UpdateRegister.DESIRED_HIGH, desired // _WORD_END)
        await self._write(UpdateRegister.COMMAND, encode(
            UpdateCommand, operation=UpdateOperation.COMPARE_EXCHANGE_128, armed=1, source_id=arming.source_id,
            offset_cycles=arming.offset_cycles))
        waited = 0
        status = decode(UpdateStatus, await self._read(UpdateRegister.STATUS))
        while status.busy:
            if waited >= self._timeout_cycles:
                raise UpdateRefused(hpa, f"no walk and hit of device {arming.source_id:#06x} were in flight together "
                                         f"within {waited} cycles; the store is still armed, do not reuse its entry")
            await self._transport.pause(POLL_CYCLES)
            waited += POLL_CYCLES
            status = decode(UpdateStatus, await self._read(UpdateRegister.STATUS))
        if status.error:
            raise UpdateRefused(hpa, "the memory refused the address, or it is not a multiple of 16")
        if not status.swapped:
            observed = (await self._read(UpdateRegister.OBSERVED_HIGH) * _WORD_END
                        + await self._read(UpdateRegister.OBSERVED_LOW))
            raise EntryChanged(hpa, expected, observed)
        return Exchanged(await self.commit_cycle(), bool(status.triggered))

    async def commit_cycle(self) -> int:
        """The cycle in which memory took the port's last store, armed or not."""
        return await self._read(UpdateRegister.COMMIT_CYCLE)

    async def _read(self, register: UpdateRegister) -> int:
        return await self._transport.read_register(UPDATE_BASE + int(register), _WORD_BYTES)

    async def _write(self, register: UpdateRegister, value: int) -> None:
        await self._transport.write_register(UPDATE_BASE + int(register), _WORD_BYTES, value)
