"""The driver's way to the machine, with an experiment looking on. Ours."""
from typing import Protocol

from hw.spec.bench import UPDATE_BASE, UpdateRegister
from sw.transport import Transport

__all__ = ["Onlooker", "WatchedTransport"]


class Onlooker(Protocol):
    """Who looks on: it may use the machine before the operation goes through, and after."""

    async def store_is_due(self, hpa: int) -> None:
        """The next store goes to this address."""

    async def write_is_due(self, offset: int, value: int) -> None:
        """A register outside the update window is about to be written."""

    async def settle(self) -> None:
        """An operation has ended."""


class WatchedTransport:
    """The driver's transport, with somebody looking on: before a store is due, and after every operation."""

    def __init__(self, inner: Transport, onlooker: Onlooker) -> None:
        self._inner = inner
        self._onlooker = onlooker

    async def read_register(self, offset: int, width: int) -> int:
        """As Transport."""
        value = await self._inner.read_register(offset, width)
        await self._onlooker.settle()
        return value

    async def write_register(self, offset: int, width: int, value: int) -> None:
        """As Transport."""
        if offset == UPDATE_BASE + UpdateRegister.ADDRESS:
            await self._onlooker.store_is_due(value)
        else:
            await self._onlooker.write_is_due(offset, value)
        await self._inner.write_register(offset, width, value)
        await self._onlooker.settle()

    async def store64(self, hpa: int, value: int) -> None:
        """As Transport."""
        await self._onlooker.store_is_due(hpa)
        await self._inner.store64(hpa, value)
        await self._onlooker.settle()

    async def compare_exchange128(self, hpa: int, expected: int, desired: int) -> int:
        """As Transport."""
        await self._onlooker.store_is_due(hpa)
        observed = await self._inner.compare_exchange128(hpa, expected, desired)
        await self._onlooker.settle()
        return observed

    async def read_memory(self, hpa: int, length: int) -> bytes:
        """As Transport."""
        return await self._inner.read_memory(hpa, length)

    async def write_memory(self, hpa: int, data: bytes) -> None:
        """As Transport."""
        await self._inner.write_memory(hpa, data)
        await self._onlooker.settle()

    async def pause(self, cycles: int) -> None:
        """As Transport."""
        await self._inner.pause(cycles)
        await self._onlooker.settle()


