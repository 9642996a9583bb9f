"""A Bench that writes down what was done to the machine, so that a simulator without Python can do it again."""
from typing import Any

from hw.spec.bench import DataWord, HostRequest, page_signature
from hw.spec.codec import encode
from sim.bench import Bench
from sim.memory import Memory

__all__ = ["RecordedBench"]


class RecordedBench(Bench):
    """As Bench.

    Members
    -------
    script
        The commands of bare_loop.cpp, since the last reset and what memory was given before it.
    """

    def __init__(self, dut: Any, **options: Any) -> None:
        super().__init__(dut, **options)
        self.script: list[str] = []
        self.memory = _RecordedMemory(self.script)

    async def reset(self, **ports: int) -> None:
        """As Bench."""
        self.script.append("put rst 1")
        await super().reset(**ports)
        self.script.append("put rst 0")

    def set_port(self, name: str, value: int) -> None:
        """As Bench."""
        self.script.append(f"put {name} {value:x}")
        super().set_port(name, value)

    async def access(self, *, write: bool, wide: bool, address: int, value: int = 0) -> Any:
        """As Bench."""
        command = encode(HostRequest, write=write, wide=wide, address=address, data=value)
        self.script.append(f"access {command:x}")
        return await super().access(write=write, wide=wide, address=address, value=value)

    async def pause(self, cycles: int) -> None:
        """As Bench."""
        self.script.append(f"pause {cycles}")
        await super().pause(cycles)


class _RecordedMemory(Memory):
    def __init__(self, script: list[str]) -> None:
        super().__init__()
        self._script = script

    def reset(self) -> None:
        """As Memory; what was recorded is forgotten with it."""
        self._script.clear()
        super().reset()

    def write(self, hpa: int, data: bytes) -> None:
        """As Memory."""
        self._script.append(f"write {hpa} {data.hex()}")
        super().write(hpa, data)

    def fill(self, hpa: int, length: int, byte: int) -> None:
        """As Memory."""
        self._script.append(f"fill {hpa} {length} {byte}")
        super().fill(hpa, length, byte)

    def set_latency(self, cycles: int) -> None:
        """As Memory."""
        self._script.append(f"timing {cycles}")
        super().set_latency(cycles)

    def set_signed_pages(self, pages: range) -> None:
        """As Memory."""
        place = (encode(DataWord, signature=1).bit_length() - 1) // 8
        self._script.append(f"sign {pages.start} {len(pages)} {page_signature(0)} {place}")
        super().set_signed_pages(pages)
