"""The seam between driver and machine.

::

                          Transport (this protocol)
                                  |
          +-----------------------+------------------------+
          |                       |                        |
    CosimTransport          SocketTransport          (serial, later)
    in the simulator        frames of link.py over a byte stream
    (sim/transport.py)            |
          ^                       v
          +---- sim/serve.py, one frame at a time

The driver awaits nothing but its transport, and cannot tell which one it has. Time is `pause(cycles)`, so a timeout is
the same number of cycles everywhere. Register addresses are those of the host's map, hw.spec.bench.
"""
from typing import Protocol, runtime_checkable

__all__ = ["AccessRefused", "MemoryRefused", "RegisterRefused", "Transport", "TransportError"]


class TransportError(Exception):
    """The way to the machine failed, or the machine refused what was asked."""


class AccessRefused(TransportError):
    """The machine refused an access: nothing was changed. The connection is still good."""


class RegisterRefused(AccessRefused):
    """No such register, or the access is not allowed there."""


class MemoryRefused(AccessRefused):
    """No such memory, or it answered with an error."""


@runtime_checkable
class Transport(Protocol):
    """What a driver may do to a machine. Each call returns when the access has taken place."""

    async def read_register(self, offset: int, width: int) -> int:
        """Read `width` bytes (4 or 8) at a host address, in one access."""

    async def write_register(self, offset: int, width: int, value: int) -> None:
        """Write `width` bytes (4 or 8) at a host address, in one access."""

    async def store64(self, hpa: int, value: int) -> None:
        """Store 8 bytes at one instant, at an address that is a multiple of 8."""

    async def compare_exchange128(self, hpa: int, expected: int, desired: int) -> int:
        """Exchange 16 bytes at one instant if they are `expected`; returns what was there before."""

    async def read_memory(self, hpa: int, length: int) -> bytes:
        """Read a block of memory; no atomicity promised."""

    async def write_memory(self, hpa: int, data: bytes) -> None:
        """Write a block of memory; no atomicity promised."""

    async def pause(self, cycles: int) -> None:
        """Let the machine run for that many cycles."""
