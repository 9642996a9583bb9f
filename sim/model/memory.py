"""Sparse memory: what has not been written reads as zero, what must not be touched is refused. Ours."""
from typing import Protocol

from hw.spec.memory import QUANTUM_BYTES
from hw.spec.tables import PAGE_BITS, PAGE_BYTES

__all__ = ["AccessError", "Memory", "Reader"]

_OFFSET = PAGE_BYTES - 1


class AccessError(Exception):
    """The memory refuses this address."""

    def __init__(self, hpa: int) -> None:
        super().__init__(f"memory refuses address {hpa:#x}")
        self.hpa = hpa


class Reader(Protocol):
    """What a walk needs of a memory. Both raise AccessError where it refuses."""

    def read64(self, hpa: int) -> int:
        """Eight bytes, little-endian, at one instant."""
        ...

    def read128(self, hpa: int) -> int:
        """Sixteen bytes, little-endian, at one instant."""
        ...


class Memory:
    """Bytes by host physical address.

    Parameters
    ----------
    limit : int
        First byte address that is refused; every access at or above it raises AccessError.
    """

    def __init__(self, *, limit: int = 1 << 52) -> None:
        self._limit = limit
        self._pages: dict[int, bytearray] = {}
        self._errors: set[int] = set()

    def mark_error(self, page: int, *, refused: bool = True) -> None:
        """Refuse every access to this page number from now on, or permit it again."""
        if refused:
            self._errors.add(page)
        else:
            self._errors.discard(page)

    def read64(self, hpa: int) -> int:
        """Eight aligned bytes. Raises AccessError where the memory refuses, ValueError if not aligned."""
        return self._read_word(hpa, 8)

    def read128(self, hpa: int) -> int:
        """Sixteen aligned bytes, likewise."""
        return self._read_word(hpa, QUANTUM_BYTES)

    def _read_word(self, hpa: int, size: int) -> int:
        if hpa & (size - 1):
            raise ValueError(f"an access of {size} bytes must be aligned to them, {hpa:#x} is not")
        self._permit(hpa)
        page = self._pages.get(hpa >> PAGE_BITS)
        if page is None:
            return 0
        offset = hpa & _OFFSET
        return int.from_bytes(page[offset:offset + size], "little")

    def read(self, hpa: int, length: int) -> bytes:
        """Any bytes, page by page. Raises AccessError where the memory refuses."""
        result = bytearray()
        while length:
            self._permit(hpa)
            offset = hpa & _OFFSET
            part = min(length, PAGE_BYTES - offset)
            page = self._pages.get(hpa >> PAGE_BITS)
            result += bytes(part) if page is None else page[offset:offset + part]
            hpa += part
            length -= part
        return bytes(result)

    def write(self, hpa: int, content: bytes) -> None:
        """Any bytes; nothing is written if any of them is refused. Raises AccessError."""
        for page in range(hpa >> PAGE_BITS, (hpa + max(len(content), 1) - 1 >> PAGE_BITS) + 1):
            self._permit(max(hpa, page << PAGE_BITS))
        done = 0
        while done < len(content):
            offset = (hpa + done) & _OFFSET
            part = min(len(content) - done, PAGE_BYTES - offset)
            page_bytes = self._pages.setdefault((hpa + done) >> PAGE_BITS, bytearray(PAGE_BYTES))
            page_bytes[offset:offset + part] = content[done:done + part]
            done += part

    def store64(self, hpa: int, value: int) -> None:
        """One aligned store of eight bytes."""
        self.read64(hpa)
        self.write(hpa, value.to_bytes(8, "little"))

    def compare_exchange128(self, hpa: int, expected: int, desired: int) -> int:
        """Store `desired` if the aligned sixteen bytes equal `expected`; what stood there before, either way."""
        observed = self.read128(hpa)
        if observed == expected:
            self.write(hpa, desired.to_bytes(QUANTUM_BYTES, "little"))
        return observed

    def _permit(self, hpa: int) -> None:
        if hpa >= self._limit or (self._errors and hpa >> PAGE_BITS in self._errors):
            raise AccessError(hpa)
