"""The unit's invalidation queue by hand: descriptors in one page, and a doorbell that rings in a known cycle.

The driver's queue (sw.invalidation_queue) waits for what it has asked for; a sweep wants to do other things meanwhile.
"""
from hw.spec.bench import UNIT_BASE
from hw.spec.invalidation import DESCRIPTOR_BYTES
from hw.spec.registers import register_offset
from hw.spec.tables import PAGE_BITS, PAGE_BYTES
from sim.bench import Bench
from sw import descriptors as make
from sw.registers import RegisterFile

__all__ = ["Doorbell"]

_SLOTS = PAGE_BYTES // DESCRIPTOR_BYTES[0]


class Doorbell:
    """Batches of descriptors with a wait behind each.

    Parameters
    ----------
    bench : Bench
        The machine.
    registers : RegisterFile
        Of the unit, whose queue takes descriptors of 16 bytes and has one page.
    queue_hpa, tail : int
        Where the queue is, and its first free slot: it is empty.
    status_hpa : int
        Of the word that the waits store to.

    Members
    -------
    place
        Offset of the tail register in the unit's window.
    """

    def __init__(self, bench: Bench, registers: RegisterFile, *, queue_hpa: int, tail: int, status_hpa: int) -> None:
        self._bench = bench
        self._queue_hpa, self._tail, self._status_hpa = queue_hpa, tail, status_hpa
        self._number = 0
        self.place = register_offset("IQT", fro=registers.cap["FRO"], iro=registers.ecap["IRO"])

    @classmethod
    async def take_over(cls, bench: Bench, registers: RegisterFile, *, status_hpa: int) -> "Doorbell":
        """The queue as the registers describe it."""
        queue = (await registers.read("IQA"))["IQA"] << PAGE_BITS
        return cls(bench, registers, queue_hpa=queue, tail=(await registers.read("IQT"))["QT"], status_hpa=status_hpa)

    def prepare(self, *descriptors: int) -> None:
        """Put a batch into the queue; the unit is not told."""
        self._number += 1
        self.put(*descriptors, make.wait(self._status_hpa, self._number))

    def put(self, *descriptors: int) -> None:
        """Put descriptors into the queue that nobody waits for; the unit is not told."""
        for descriptor in descriptors:
            self._bench.memory.write(self._queue_hpa + DESCRIPTOR_BYTES[0] * self._tail,
                                     descriptor.to_bytes(DESCRIPTOR_BYTES[0], "little"))
            self._tail = (self._tail + 1) % _SLOTS

    async def ring(self) -> None:
        """Tell it, of everything that was prepared."""
        await self._bench.access(write=True, wide=True, address=UNIT_BASE + self.place, value=self._tail << 4)

    @property
    def answered(self) -> bool:
        """The status of the last batch is in memory."""
        return self._bench.memory.read(self._status_hpa, 4) == self._number.to_bytes(4, "little")

    async def answer(self, *, limit_cycles: int, poll_cycles: int = 8) -> bool:
        """Wait for the last batch's status; false if it does not come within so many cycles."""
        end = self._bench.cycle + limit_cycles
        while not self.answered:
            if self._bench.cycle >= end:
                return False
            await self._bench.pause(poll_cycles)
        return True
