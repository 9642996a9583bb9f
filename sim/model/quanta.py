"""Memory by the quantum, with everything that ever stood there. Ours.

::

    cycle          10            20             30
    quantum   A ----|------ B ----|------ C ------->      versions: A until 10, B from 10 to 20, C from 20 on

Every access of the machine is one quantum or less and takes place whole in one cycle. A version counts in both cycles at
its ends: of a store in a cycle, what stood before and what came after may both have been read.
"""
from collections.abc import Iterator
from typing import NamedTuple

from hw.spec.memory import QUANTUM_BYTES
from hw.spec.tables import PAGE_BITS
from sim.model.memory import AccessError

__all__ = ["FOREVER", "Quanta", "Version"]

FOREVER = 1 << 62            # end of what still stands
_BEFORE = -1                 # begin of what has always stood there
_LOW_WORD = (1 << 64) - 1
_QUANTA_BITS = 4             # log2 of QUANTUM_BYTES


class Version(NamedTuple):
    """What a word was, from one cycle to another, both included. `value` is None where memory refuses."""

    begin: int
    end: int
    value: int | None

    def meets(self, since: int, until: int) -> bool:
        """True if it stood at some instant of the window."""
        return self.begin <= until and self.end >= since


_REFUSED = [Version(_BEFORE, FOREVER, None)]
_EMPTY = [Version(_BEFORE, FOREVER, 0)]


class Quanta:
    """Memory that remembers.

    Parameters
    ----------
    limit : int
        First byte address that is refused.
    errors : set of int
        Page numbers that are refused.
    """

    def __init__(self, *, limit: int = 1 << 52, errors: frozenset[int] = frozenset()) -> None:
        self._limit = limit
        self._errors = errors
        self._now: dict[int, int] = {}
        self._past: dict[int, list[tuple[int, int]]] = {}   # until which cycle, what: oldest first
        self._of_page: dict[int, set[int]] = {}

    def refuses(self, hpa: int) -> bool:
        """True if every access there is answered with an error."""
        return hpa >= self._limit or hpa >> PAGE_BITS in self._errors

    def write(self, cycle: int, hpa: int, content: bytes) -> None:
        """Bytes are stored in `cycle`, as far as memory does not refuse."""
        while content:
            quantum, offset = hpa >> _QUANTA_BITS, hpa % QUANTUM_BYTES
            part, content = content[:QUANTUM_BYTES - offset], content[QUANTUM_BYTES - offset:]
            if not self.refuses(hpa):
                self._replace(cycle, quantum, 8 * offset, part)
            hpa += len(part)

    def preset(self, hpa: int, content: bytes) -> None:
        """These bytes have always stood there, whether memory gives them out or not."""
        self.write(_BEFORE, hpa, content)

    def _replace(self, cycle: int, quantum: int, shift: int, part: bytes) -> None:
        before = self._now.get(quantum, 0)
        mask = (1 << 8 * len(part)) - 1 << shift
        after = before & ~mask | int.from_bytes(part, "little") << shift
        if after == before:
            return
        if cycle > _BEFORE:
            self._past.setdefault(quantum, []).append((cycle, before))
        self._now[quantum] = after
        self._of_page.setdefault(quantum >> PAGE_BITS - _QUANTA_BITS, set()).add(quantum)

    def read64(self, hpa: int) -> int:
        """Eight aligned bytes as they stand now. Raises AccessError where memory refuses."""
        return self.read128(hpa) >> 8 * (hpa & 8) & _LOW_WORD

    def read128(self, hpa: int) -> int:
        """The quantum around `hpa`, likewise."""
        if self.refuses(hpa):
            raise AccessError(hpa)
        return self._now.get(hpa >> _QUANTA_BITS, 0)

    def versions128(self, hpa: int) -> list[Version]:
        """Everything that the quantum ever was, newest first."""
        if self.refuses(hpa):
            return _REFUSED
        quantum = hpa >> _QUANTA_BITS
        past = self._past.get(quantum)
        if past is None:
            now = self._now.get(quantum)
            return _EMPTY if now is None else [Version(_BEFORE, FOREVER, now)]
        begins = [_BEFORE, *(cycle for cycle, _ in past)]
        ends = [*(cycle for cycle, _ in past), FOREVER]
        values = [*(value for _, value in past), self._now[quantum]]
        return [Version(*each) for each in zip(begins, ends, values, strict=True)][::-1]

    def versions64(self, hpa: int) -> list[Version]:
        """Everything that these eight aligned bytes ever were, newest first."""
        shift = 8 * (hpa & 8)
        return [version if version.value is None else version._replace(value=version.value >> shift & _LOW_WORD)
                for version in self.versions128(hpa)]

    def was128(self, hpa: int, cycle: int) -> list[int | None]:
        """What an access of this cycle may have read: more than one value if there was a store in it."""
        return [version.value for version in self.versions128(hpa) if version.meets(cycle, cycle)]

    def written_in(self, page: int) -> Iterator[int]:
        """Byte addresses of the quanta of this page that ever were anything but zero."""
        return (quantum << _QUANTA_BITS for quantum in self._of_page.get(page, ()))
