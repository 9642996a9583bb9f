"""What a driver of a random case knows and does most: registers, the queue's tail, memory as it has left it. Ours."""
from collections.abc import Sequence
from typing import Any

from hw.spec.registers import REGISTERS
from hw.spec.tables import PAGE_BITS
from sim.model.memory import AccessError, Memory
from sim.stories.fuzz_case import Case, Draw

__all__ = ["CONTEXT_PAGES", "DOMAINS", "FUNCTIONS", "INDICES", "MASKED", "MESSAGE_HPA", "QIE", "ROOT_PAGES", "SRTP",
           "STATUS_HPA", "TABLES", "TE", "Host"]

ROOT_PAGES = (0x10, 0x11)
CONTEXT_PAGES = (0x12, 0x13)                    # of buses 0 and 1, in both root tables
FUNCTIONS = (0x00, 0x01, 0x04, 0x07, 0x18)      # that a bus has
TABLES = {5: (0x20, 0x21), 4: (0x22, 0x23), 3: (0x24, 0x25, 0x26), 2: (0x28, 0x29, 0x2A), 1: (0x2C, 0x2D, 0x2E, 0x2F)}
"""Page numbers of the second-stage tables, by level."""
INDICES = (0, 1, 0x0F7, 0x1FF)                  # that these have entries for
STATUS_HPA, MESSAGE_HPA = 0x50000, 0x51000
DOMAINS = 5
MASKED = 1 << 31
TE, SRTP, QIE = (REGISTERS["GCMD"].field(name).mask for name in ("TE", "SRTP", "QIE"))

_QUEUE_PAGES = (0x40, 0x40, 0x43)   # a queue of two pages may begin at an odd one
_STATUS = {name: REGISTERS["GSTS"].field(name).mask for name in ("TES", "RTPS", "QIES")}


class Host:
    """Writes `case.program`.

    Parameters
    ----------
    case : Case
        Its straps, its image and the requests that it may play are there.
    setup : Draw
        How the machine is started.
    """

    def __init__(self, case: Case, setup: Draw) -> None:
        self._case = case
        self._setup = setup
        self._coming = case.requests          # drawn, and not played yet
        case.requests = []
        self._memory = Memory(limit=case.memory_limit)
        for page in case.unreadable:
            self._memory.mark_error(page)
        for hpa, word in case.image:
            self._put_word(hpa, word.to_bytes(8, "little"))
        self._root_page = 0
        self._command = 0
        self._tail = 0
        self._page, self._size_log2, self._wide = _QUEUE_PAGES[0], 0, False
        self._bad_places: set[int] = set()
        self._status = self._mode = 0

    def _put_word(self, hpa: int, content: bytes) -> None:
        try:
            self._memory.write(hpa, content)
        except AccessError:
            return   # nobody will read it

    def _word(self, hpa: int) -> int:
        """Eight bytes of memory, as the host has left them."""
        try:
            return self._memory.read64(hpa)
        except AccessError:
            return 0

    def _play(self, requests: Sequence[list[int]]) -> None:
        self._case.requests += requests
        self._do("dma", len(requests))

    def _take(self, count: int) -> list[list[int]]:
        taken, self._coming = self._coming[:count], self._coming[count:]
        return taken

    def _do(self, *operation: Any) -> None:
        self._case.program.append(list(operation))

    def _write(self, name: str, value: int, index: int = 0) -> None:
        wide = REGISTERS[name].width == 64
        self._do("write", self._case.offset(name, index), 8 if wide else 4, value)

    def _read(self, name: str) -> None:
        self._do("read", self._case.offset(name), 8 if REGISTERS[name].width == 64 else 4)

    def _poll(self, name: str, mask: int, value: int) -> None:
        self._do("poll", self._case.offset(name), 4, mask, value)

    def _start(self) -> None:
        draw = self._setup
        if draw.chance(128):
            self._write("FEADDR", MESSAGE_HPA)
            self._write("FEDATA", 0xFA017)
            self._write("FECTL", 0)
        if draw.chance(128):
            self._write("IEADDR", MESSAGE_HPA + 0x10)
            self._write("IEDATA", 0x1217)
            self._write("IECTL", 0)
        self._root(draw, draw.of((0,) * 16 + (1, 2, 3, 3, 3)))
        if not draw.chance(12):
            self._global(self._command | TE, "TES", on=True)
        if draw.chance(180):
            self._enable_queue(draw)

    def _root(self, draw: Draw, mode: int) -> None:
        which = draw.byte()
        self._mode, self._root_page = mode, ROOT_PAGES[which >> 7]
        if which % 16 == 15:   # no address of the host; its low bits would be right
            self._root_page |= 1 << draw.of((self._case.straps["host_address_width"] - PAGE_BITS, 51))
        self._write("RTADDR", self._root_page << PAGE_BITS | mode << 10)
        self._global(self._command | SRTP, "RTPS", on=True)

    def _global(self, value: int, status: str, *, on: bool) -> None:
        self._write("GCMD", value)
        self._command = value & ~SRTP
        self._poll("GSTS", _STATUS[status], _STATUS[status] if on else 0)

    def _enable_queue(self, draw: Draw) -> None:
        self._page, self._size_log2 = draw.of(_QUEUE_PAGES), draw.of((0, 0, 1))
        self._wide = draw.chance(220 if self._mode == 3 else 128)
        self._write("IQT", 0)
        self._tail = 0
        self._bad_places.clear()
        self._write("IQA", self._page << PAGE_BITS | int(self._wide) << 11 | self._size_log2)
        self._global(self._command | QIE, "QIES", on=True)

    def _put(self, low: int, second: int = 0) -> None:
        content = low.to_bytes(16, "little") + (second.to_bytes(32, "little")[:16] if self._wide else b"")
        self._do("poke", (self._page << PAGE_BITS) + 16 * self._tail, content.hex())
        self._bad_places.add(self._tail)
        self._tail = (self._tail + (2 if self._wide else 1)) % (256 << self._size_log2)
