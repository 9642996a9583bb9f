"""A driver's way to the golden model: no simulator, no gateware, milliseconds. Ours."""
from sim.model.device import ModelDevice
from sim.model.memory import AccessError
from sim.model.register_file import RegisterError
from sw.transport import MemoryRefused, RegisterRefused

__all__ = ["ModelTransport"]


class ModelTransport:
    """A Transport whose machine is a ModelDevice.

    Parameters
    ----------
    device : ModelDevice
        The machine. A test reaches past the transport to ask it for DMA.
    """

    def __init__(self, device: ModelDevice) -> None:
        self.device = device

    async def read_register(self, offset: int, width: int) -> int:
        """Read `width` bytes (4 or 8) at a host address. Raises RegisterRefused."""
        try:
            return self.device.read_register(offset, width)
        except RegisterError as error:
            raise RegisterRefused(str(error)) from error

    async def write_register(self, offset: int, width: int, value: int) -> None:
        """Write `width` bytes (4 or 8) at a host address. Raises RegisterRefused."""
        try:
            self.device.write_register(offset, width, value)
        except RegisterError as error:
            raise RegisterRefused(str(error)) from error

    async def store64(self, hpa: int, value: int) -> None:
        """Store 8 bytes at one instant. Raises MemoryRefused."""
        try:
            self.device.memory.store64(hpa, value)
        except (AccessError, ValueError) as error:
            raise MemoryRefused(str(error)) from error

    async def compare_exchange128(self, hpa: int, expected: int, desired: int) -> int:
        """Exchange 16 bytes at one instant if they are `expected`; what was there before. Raises MemoryRefused."""
        try:
            return self.device.memory.compare_exchange128(hpa, expected, desired)
        except (AccessError, ValueError) as error:
            raise MemoryRefused(str(error)) from error

    async def read_memory(self, hpa: int, length: int) -> bytes:
        """Read a block of memory. Raises MemoryRefused."""
        try:
            return self.device.memory.read(hpa, length)
        except AccessError as error:
            raise MemoryRefused(str(error)) from error

    async def write_memory(self, hpa: int, data: bytes) -> None:
        """Write a block of memory. Raises MemoryRefused."""
        try:
            self.device.memory.write(hpa, data)
        except AccessError as error:
            raise MemoryRefused(str(error)) from error

    async def pause(self, cycles: int) -> None:
        """Let the model's time pass."""
        self.device.pause(cycles)
