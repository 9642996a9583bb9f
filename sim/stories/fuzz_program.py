"""Makes the program of a random case: what a driver does, and what no driver should. Ours.

A step is a few bytes: what to do, and how. The programmer keeps account of what a driver would know (the queue's tail, the
command register, the tables), so that most of what it asks for makes sense.
"""
from collections.abc import Sequence

from hw.spec.codec import encode
from hw.spec.invalidation import (
    ContextCacheDescriptor,
    DescriptorType,
    DeviceTlbDescriptor,
    InterruptEntryCacheDescriptor,
    IotlbDescriptor,
    WaitDescriptor,
)
from hw.spec.tables import PAGE_BITS
from sim.stories.fuzz_case import Case, Draw
from sim.stories.fuzz_change import Changer
from sim.stories.fuzz_host import (
    CONTEXT_PAGES,
    DOMAINS,
    FUNCTIONS,
    INDICES,
    MASKED,
    MESSAGE_HPA,
    QIE,
    SRTP,
    STATUS_HPA,
    TABLES,
    TE,
)

__all__ = ["MOST_STEPS", "Programmer"]

MOST_STEPS = 20

_QUIET = ("FSTS", "GSTS", "IQH", "ICS", "CCMD", "FECTL", "IECTL", "IQERCD", "IQT", "IQA", "RTADDR", "IOTLB", "VER", "GCMD",
          "CAP", "ECAP", "FEDATA", "AFLOG", "IEADDR")
_FILL = 100      # descriptors that go round a small queue in few steps


class Programmer(Changer):
    """Writes `case.program`, a step at a time. See Host."""

    def __init__(self, case: Case, setup: Draw) -> None:
        super().__init__(case, setup)
        self._kinds = (
            (44, self._dma), (72, self._change), (12, self._table), (44, self._queue), (8, self._by_registers), (14, self._look),
            (12, self._clear), (12, self._events), (10, self._control), (12, self._repair), (6, self._silly), (4, self._pause),
            (6, self._device))

    def run(self, steps: Sequence[bytes]) -> None:
        """The start, every step, and whatever requests are left."""
        self._start()
        if self._mode == 3 and self._command & QIE:
            self._queue(Draw(b""))      # what only this mode has
        for content in steps:
            draw = Draw(content)
            kind = draw.byte()
            for weight, step in self._kinds:
                if kind < weight:
                    step(draw)
                    break
                kind -= weight
        if self._coming:
            self._play(self._coming)
        self._do("barrier")

    def _dma(self, draw: Draw) -> None:
        taken = self._take(1 + draw.byte() % 48)
        if taken:
            self._play(taken)
        if draw.chance(64):
            self._do("barrier")

    def _descriptor(self, draw: Draw) -> int:
        kind, domain, what = draw.byte(), 1 + draw.byte() % DOMAINS, draw.byte()
        granularity = 1 + what % 3
        if kind < 70:
            return int(encode(ContextCacheDescriptor, type=DescriptorType.CONTEXT_CACHE, granularity=granularity,
                              domain_id=domain if what < 220 else 0, source_id=(what & 1) << 8 | draw.of(FUNCTIONS),
                              function_mask=(what >> 4) % 4))
        if kind < 140:
            order = draw.of((0, 0, 9, 1, 18, 40))
            return int(encode(IotlbDescriptor, type=DescriptorType.IOTLB, granularity=granularity, domain_id=domain,
                              drain_writes=what >> 3 & 1, drain_reads=what >> 4 & 1, hint=what >> 5 & 1,
                              address_mask=min(order, self._case.straps["max_address_mask"] + (order == 40)),
                              page=draw.of(INDICES) | draw.of(INDICES) << 9))
        if kind < 200:
            self._status += 4
            address = STATUS_HPA + self._status
            if what >= 250:
                address = draw.of(((TABLES[1][0] << PAGE_BITS) + 8, 0x30000, 1 << 60, (CONTEXT_PAGES[1] << PAGE_BITS) + 16))
            return int(encode(WaitDescriptor, type=DescriptorType.WAIT, interrupt=what & 1, status_write=what >> 1 & 1 or what < 64,
                              fence=what >> 2 & 1, status_data=draw.byte() | 0x100, status_address=address >> 2))
        if kind < 215:
            return int(encode(DeviceTlbDescriptor, type=DescriptorType.DEVICE_TLB, source_id=what, page=0))
        if kind < 225:
            return int(encode(InterruptEntryCacheDescriptor, type=DescriptorType.INTERRUPT_ENTRY_CACHE, granularity=what & 1))
        if kind < 240:
            return 6 + what % 4
        return self._descriptor(draw) ^ 1 << draw.byte() % 128

    def _queue(self, draw: Draw) -> None:
        """Some descriptors, then the doorbell."""
        if not self._command & QIE and not draw.chance(40):
            self._by_registers(draw)
            return
        count, misplaced, behind = 1 + draw.byte() % 3, draw.chance(48), draw.chance(128)
        fill = draw.chance(12) and self._case.knobs.get("fetch_delay", 0) <= 10 and self._case.knobs.get("latency", 1) <= 20
        if fill:
            for _ in range(_FILL):
                self._put(4)
        if self._mode == 3:
            for kind in range(6, 10):    # no descriptor of legacy mode
                self._put(kind)
        for _ in range(count):
            self._put(self._descriptor(draw), second=1 << draw.byte() if draw.chance(6) else 0)
        if behind:
            self._status += 4
            self._put(5 | 1 << 5 | (draw.byte() & 1) << 4 | 0x77 << 32 | (STATUS_HPA + self._status) << 64)
        tail = self._tail
        if misplaced:
            tail = draw.of((self._tail | 1, 0x7FFF, self._tail ^ 1, self._tail + 1, 0x200))
        self._write("IQT", tail << 4)

    def _by_registers(self, draw: Draw) -> None:
        granularity, domain, what = 1 + draw.byte() % 3, 1 + draw.byte() % DOMAINS, draw.byte()
        if what >= 250:
            granularity = 0
        if what & 1:
            source_id = (what >> 1 & 1) << 8 | draw.of(FUNCTIONS)
            self._write("CCMD", 1 << 63 | granularity << 61 | (what >> 2 & 3) << 32 | source_id << 16 | domain)
            self._do("poll", self._case.offset("CCMD") + 4, 4, 1 << 31, 0)
        else:
            order = draw.of((0, 0, 9, 1, 18, 63))
            page = draw.of(INDICES) | draw.of(INDICES) << 9
            self._write("IVA", page << PAGE_BITS | (what & 0x40) | order)
            self._write("IOTLB", 1 << 63 | granularity << 60 | (what >> 2 & 3) << 48 | domain << 32)
            if not draw.chance(40):
                self._do("poll", self._case.offset("IOTLB") + 4, 4, 1 << 31, 0)

    def _look(self, draw: Draw) -> None:
        for _ in range(1 + draw.byte() % 4):
            self._read(draw.of(_QUIET))
        if draw.chance(128):
            index = draw.byte() % (self._case.straps["fault_records"] + 1)
            for part in range(2):
                self._do("read", self._case.offset("FRCD", index) + 8 * part, 8)

    def _clear(self, draw: Draw) -> None:
        """As a driver does: each record's F, then FSTS."""
        self._read("FSTS")
        for index in range(self._case.straps["fault_records"] + 1):
            if not draw.chance(40):
                self._do("write", self._case.offset("FRCD", index) + 12, 4, MASKED)
        self._write("FSTS", draw.of((1, 1, 0, 0x71)))
        self._read("FSTS")

    def _events(self, draw: Draw) -> None:
        prefix = draw.of(("FE", "IE"))
        what = draw.byte()
        if what < 100:
            self._write(f"{prefix}CTL", MASKED * (what & 1))
        elif what < 160:
            self._write(f"{prefix}DATA", draw.number(4))
        elif what < 200:
            self._write(f"{prefix}ADDR", MESSAGE_HPA + 4 * (what & 15))
        elif what < 250:
            self._write("ICS", 1)
        else:
            self._write(f"{prefix}UADDR", draw.of((0, 0xF0, 1 << 30)))
        self._read(f"{prefix}CTL")

    def _control(self, draw: Draw) -> None:
        what = draw.byte()
        if what < 80:
            self._root(draw, 0)
        elif what < 130:
            self._global(self._command ^ TE, "TES", on=not self._command & TE)
        elif what < 180:
            self._root(draw, draw.of((3, 1, 2, 0)))
            self._dma(draw)
            if draw.chance(200):
                self._root(draw, 0)
        elif what < 230 and self._command & QIE:
            self._global(self._command & ~QIE, "QIES", on=False)
        elif what < 245:
            self._enable_queue(draw)
        else:
            self._write("GCMD", self._command ^ draw.of((TE | SRTP, 1 << 25, QIE, QIE | TE, 1 << 27)))

    def _repair(self, draw: Draw) -> None:
        """Waits in the place of everything that was ever queued; then the errors are cleared."""
        self._read("FSTS")
        self._read("IQERCD")
        self._read("IQH")
        wait = (5 | 1 << 5 | 0x99 << 32 | STATUS_HPA << 64).to_bytes(16, "little") + bytes(16 if self._wide else 0)
        if self._command & QIE and not draw.chance(40):
            for place in sorted(self._bad_places)[-24:]:
                self._do("poke", (self._page << PAGE_BITS) + 16 * place, wait.hex())
            self._write("IQT", self._tail << 4)
        self._write("FSTS", draw.of((0x70, 0x70, 0x10, 0x40, 0x20)))
        if draw.chance(64) and not self._command & QIE:
            self._enable_queue(draw)

    def _silly(self, draw: Draw) -> None:
        offset = draw.of((0, 4, 8, 12, 0x14, 2)) + draw.of((0x00, 0x20, 0x80, 0x90, 0xA0, 0xB0, 0xF0, 0x220, 0x500, 0x4FFC, 0x5000))
        size = draw.of((4, 8))
        guarded = offset in (0x18, 0x90, 0x94, 0x88, 0xA8, 0xAC, 0x40, 0x44)
        if draw.chance(128) and not guarded:
            self._do("write", offset, size, draw.number(8) & (1 << 8 * size) - 1)
        else:
            self._do("read", offset, size)

    def _pause(self, draw: Draw) -> None:
        self._do("pause", 1 + draw.byte() * 2)

    def _device(self, draw: Draw) -> None:
        self._do("device", draw.of((0, 1, 2)), draw.of((0, 5, 60)))
