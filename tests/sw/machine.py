"""What the driver's tests share: a machine without a simulator, and a transport that writes down what is done to it."""
from collections.abc import Coroutine
from typing import Any, TypeVar

from hw.spec.capabilities import STRAPS_DEFAULT
from hw.spec.tables import PAGE_BYTES
from sim.model.device import ModelDevice
from sim.transport_model import ModelTransport
from sw.memory import PageAllocator

__all__ = ["ARENA", "ARENA_BYTES", "Machine", "Recorder", "drive"]

ARENA = 0x10_0000_0000
ARENA_BYTES = 0x40_0000
IQT, WAIT = 0x88, 5   # the doorbell; type of a wait

_Answer = TypeVar("_Answer")


def drive(coroutine: Coroutine[Any, Any, _Answer]) -> _Answer:
    """Run driver code with no event loop: it may await nothing but its transport, and this one never waits."""
    try:
        coroutine.send(None)
    except StopIteration as done:
        return done.value
    coroutine.close()
    raise AssertionError("driver code waited for something that is not its transport")


class Recorder(ModelTransport):
    """A transport that writes down every change: (kind, place, value)."""

    def __init__(self, device: ModelDevice) -> None:
        super().__init__(device)
        self.log: list[tuple[str, int, Any]] = []

    async def write_register(self, offset: int, width: int, value: int) -> None:
        self.log.append(("register", offset, value))
        await super().write_register(offset, width, value)

    async def store64(self, hpa: int, value: int) -> None:
        self.log.append(("store64", hpa, value))
        await super().store64(hpa, value)

    async def compare_exchange128(self, hpa: int, expected: int, desired: int) -> int:
        self.log.append(("exchange", hpa, desired))
        return await super().compare_exchange128(hpa, expected, desired)

    async def write_memory(self, hpa: int, data: bytes) -> None:
        self.log.append(("memory", hpa, data))
        await super().write_memory(hpa, data)

    def kinds(self) -> list[str]:
        """The kinds of changes, in order."""
        return [kind for kind, _, _ in self.log]


class Machine:
    """A model device whose caches keep what they know for ever, and whose commands take their time."""

    def __init__(self, *, straps: int = STRAPS_DEFAULT, stale: bool = True, command_cycles: int = 40,
                 queue_cycles: int = 40) -> None:
        self.device = ModelDevice(straps=straps, stale=stale, command_cycles=command_cycles, queue_cycles=queue_cycles)
        self.memory = self.device.memory
        self.transport = Recorder(self.device)
        self.allocator = PageAllocator(self.transport, base=ARENA, size=ARENA_BYTES)

    def changes(self) -> list[tuple[str, int, Any]]:
        """What was done to the machine, in short: descriptors are ("queued", 0, value); no waits, no doorbells."""
        queue = self.device.registers.get("IQA", "IQA") * PAGE_BYTES
        result: list[tuple[str, int, Any]] = []
        for kind, place, value in self.transport.log:
            if kind == "memory" and queue <= place < queue + PAGE_BYTES:
                descriptors = [int.from_bytes(value[at:at + 16], "little") for at in range(0, len(value), 16)]
                result += [("queued", 0, descriptor) for descriptor in descriptors if descriptor % 16 != WAIT]
            elif (kind, place) != ("register", IQT):
                result.append((kind, place, value))
        return result
