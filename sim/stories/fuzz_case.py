"""What a case of random testing is: a machine, its memory, and a program; drawn from few bytes, kept as JSON. Ours.

::

    bytes (hypothesis) --> Draw --+--> straps, knobs
                                  +--> image: root, context and second-stage entries, mostly valid, some corrupted
                                  +--> program: Step after Step --> explicit operations

A byte that is missing is zero, and zero means the plainest choice: cases shrink by losing bytes. What a case holds is
explicit, so that it can be replayed though the drawing has changed.

Operations, by their first word:

    write offset bytes value    read offset bytes          of the register window
    poll offset bytes mask value                           read until it is so, a few times
    store hpa value             poke hpa hex               8 bytes by the update port; any by the host, at one instant
    dma count                                              the next requests, while the program goes on
    barrier                     pause cycles               every request is answered; time passes
    device answer delay                                    how devices answer the invalidation of their TLB
"""
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from hw.spec.capabilities import STRAPS_DEFAULT, Straps, describe_straps
from hw.spec.codec import encode
from hw.spec.dma import Access, RequestKind
from hw.spec.registers import register_offset
from sim.model.translate import Request

__all__ = ["Case", "Draw", "request_of"]


class Draw:
    """Choices out of bytes, one after the other; zero when there are no more."""

    def __init__(self, content: bytes) -> None:
        self._content = content
        self._next = 0

    def byte(self) -> int:
        """The next byte."""
        self._next += 1
        return self._content[self._next - 1] if self._next <= len(self._content) else 0

    def number(self, size: int) -> int:
        """The next `size` bytes."""
        return sum(self.byte() << 8 * index for index in range(size))

    def of(self, choices: Any) -> Any:
        """One of them; the first is the plainest."""
        return choices[self.byte() % len(choices)]

    def chance(self, of_256: int) -> bool:
        """True that often; never without bytes."""
        return self.byte() >= 256 - of_256


def request_of(row: Sequence[int]) -> Request:
    """A request out of a row of `Case.requests`."""
    source_id, iova, access, kind, length_bytes, pasid_present = row
    return Request(source_id, iova, Access(access), length_bytes, RequestKind(kind), bool(pasid_present))


@dataclass
class Case:
    """One case.

    Members
    -------
    straps, knobs : dict
        By name. Knobs: latency, jitter, interval, reorder, seed, outstanding, retire_delay, fetch_delay, execute_delay;
        context_cache_off, iotlb_off, caches_off_source_id. There is none for chunk_delay, which changes nothing in a unit
        that fetches a context entry as one chunk.
    memory_limit : int
        Where memory ends.
    unreadable : list of int
        Page numbers.
    image : list of [hpa, 64-bit word]
        Memory at the reset.
    program : list of operations
        See above.
    requests : list of [source ID, IOVA, access, kind, length, PASID present]
    """

    straps: dict[str, int] = field(default_factory=lambda: describe_straps(STRAPS_DEFAULT))
    knobs: dict[str, int] = field(default_factory=dict)
    memory_limit: int = 1 << 52
    unreadable: list[int] = field(default_factory=list)
    image: list[list[int]] = field(default_factory=list)
    program: list[list[Any]] = field(default_factory=list)
    requests: list[list[int]] = field(default_factory=list)

    @property
    def encoded_straps(self) -> int:
        """An encoded `Straps`."""
        return int(encode(Straps, **self.straps))

    def offset(self, name: str, index: int = 0) -> int:
        """Offset of a register of this machine."""
        return int(register_offset(name, fro=self.straps["fault_record_offset"],
                                   iro=self.straps["invalidation_offset"], index=index))

    def request(self, number: int) -> Request:
        """One of the requests."""
        return request_of(self.requests[number])

    def to_json(self) -> str:
        """As text; addresses are decimal, as JSON has no others."""
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, text: str) -> "Case":
        """From text."""
        return cls(**json.loads(text))

    def explain(self) -> str:
        """For a person."""
        default = describe_straps(STRAPS_DEFAULT)
        lines = [f"straps: {({name: value for name, value in self.straps.items() if value != default[name]}) or 'as usual'}",
                 f"knobs: {({name: value for name, value in self.knobs.items() if value}) or 'none'}"]
        if self.unreadable or self.memory_limit != 1 << 52:
            lines.append(f"memory ends at {self.memory_limit:#x}; unreadable pages: {[hex(page) for page in self.unreadable]}")
        lines += [f"  {hpa:#x}: {word:#018x}" for hpa, word in self.image]
        following = 0
        for operation in self.program:
            lines.append("  ".join(hex(each) if isinstance(each, int) and each > 9 else str(each) for each in operation))
            if operation[0] == "dma":
                for number in range(following, min(following + operation[1], len(self.requests))):
                    request = self.request(number)
                    lines.append(f"    {number}: {request.access.name} of {request.iova:#x} by {request.source_id:#06x}, "
                                 f"{request.length_bytes} bytes, {request.kind.name}"
                                 + (", with PASID" if request.pasid_present else ""))
                following += operation[1]
        return "\n".join(lines)
