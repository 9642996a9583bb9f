"""The driver's transport inside the simulator. Registers go over the host stream, blocks of memory past it.

Costs are the same in every run: a register access takes what the machine takes to answer it, a block of memory one
cycle whatever its length (so that a driver that polls memory lets time pass), a pause what it says.
"""
from collections.abc import Callable

from hw.spec.bench import HOST_ADDRESS_BITS
from sim.bench import Bench
from sw.transport import MemoryRefused, RegisterRefused, update_window

__all__ = ["MEMORY_CYCLES", "CosimTransport"]

MEMORY_CYCLES = 1

_WIDE = {4: False, 8: True}


class CosimTransport:
    """A Transport (sw.transport) to a `Bench`.

    Parameters
    ----------
    bench : Bench
        The machine.

    Members
    -------
    on_operation
        Each is called with a description before an operation, when all events up to then have been drained.
    on_memory_write
        Each is called with (hpa, data) before a block is written, after `on_operation`: memory still is as it was.
    """

    def __init__(self, bench: Bench) -> None:
        self._bench = bench
        self.on_operation: list[Callable[[str], None]] = []
        self.on_memory_write: list[Callable[[int, bytes], None]] = []

    async def read_register(self, offset: int, width: int) -> int:
        """As Transport."""
        _check_register(offset, width)
        self._begin(f"read_register {offset:#x} width {width}")
        reply = await self._bench.access(write=False, wide=_WIDE[width], address=offset)
        if reply.error:
            raise RegisterRefused(f"a {width}-byte read at {offset:#x} was refused: no such register")
        return int(reply.data)

    async def write_register(self, offset: int, width: int, value: int) -> None:
        """As Transport."""
        _check_register(offset, width)
        if not 0 <= value < 1 << 8 * width:
            raise ValueError(f"`value` must fit in {width} bytes, not {value:#x}")
        self._begin(f"write_register {offset:#x} width {width} value {value:#x}")
        reply = await self._bench.access(write=True, wide=_WIDE[width], address=offset, value=value)
        if reply.error:
            raise RegisterRefused(f"a {width}-byte write at {offset:#x} was refused: no such register, or read only")

    async def store64(self, hpa: int, value: int) -> None:
        """As Transport."""
        await update_window.store64(self, hpa, value)

    async def compare_exchange128(self, hpa: int, expected: int, desired: int) -> int:
        """As Transport."""
        return await update_window.compare_exchange128(self, hpa, expected, desired)

    async def read_memory(self, hpa: int, length: int) -> bytes:
        """As Transport."""
        self._check_memory(hpa, length)
        self._begin(f"read_memory {hpa:#x} length {length}")
        await self._bench.pause(MEMORY_CYCLES)
        return self._bench.memory.read(hpa, length)

    async def write_memory(self, hpa: int, data: bytes) -> None:
        """As Transport."""
        self._check_memory(hpa, len(data))
        self._begin(f"write_memory {hpa:#x} length {len(data)}")
        for hook in self.on_memory_write:
            hook(hpa, data)
        self._bench.memory.write(hpa, data)
        await self._bench.pause(MEMORY_CYCLES)

    async def pause(self, cycles: int) -> None:
        """As Transport."""
        self._begin(f"pause {cycles}")
        await self._bench.pause(cycles)

    def _begin(self, description: str) -> None:
        self._bench.drain()
        for hook in self.on_operation:
            hook(description)

    def _check_memory(self, hpa: int, length: int) -> None:
        if hpa < 0 or hpa + length > self._bench.memory.limit:
            raise MemoryRefused(f"{length:#x} bytes at hpa {hpa:#x} are not within the memory, "
                                f"which ends at {self._bench.memory.limit:#x}")


def _check_register(offset: int, width: int) -> None:
    if width not in _WIDE:
        raise ValueError(f"`width` must be 4 or 8 bytes, not {width}")
    if offset % width or not 0 <= offset < 1 << HOST_ADDRESS_BITS:
        raise ValueError(f"`offset` must be a multiple of {width} below 2**{HOST_ADDRESS_BITS}, not {offset:#x}")
