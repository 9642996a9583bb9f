"""The invalidation queue as memory: slots, and what the unit has not fetched of them yet.

::

    slot   0     1     2     3     4     5     6     7
                       |  fetched later    |
                       head (IQH)          tail (IQT): the next free slot

    head == tail: empty; tail + 1 == head: full, so one slot is always free

Source: VT-d 4.1, 6.5.2.
"""
from collections.abc import Sequence

from hw.spec.invalidation import DESCRIPTOR_BYTES
from hw.spec.tables import PAGE_BITS, PAGE_BYTES
from sw.transport import Transport

__all__ = ["QueueRing"]

_UNIT_BYTES = 16  # in which IQH.QH and IQT.QT count


class QueueRing:
    """2**size_log2 pages of slots.

    Parameters
    ----------
    transport : Transport
        The way to memory.
    hpa : int
        The first page, a multiple of the size.
    size_log2 : int
        IQA.QS.
    wide : bool
        IQA.DW: slots of 32 bytes.

    Members
    -------
    tail : int
        The next free slot.
    """

    def __init__(self, transport: Transport, hpa: int, *, size_log2: int, wide: bool) -> None:
        self._transport = transport
        self._slot_bytes = DESCRIPTOR_BYTES[wide]
        self.slot_count = (PAGE_BYTES << size_log2) // self._slot_bytes
        self.hpa = hpa
        self.address_fields = {"IQA": hpa >> PAGE_BITS, "QS": size_log2, "DW": int(wide)}
        self.tail = 0

    def room(self, head: int) -> int:
        """Slots that may be filled while the unit has fetched everything before `head`."""
        return (head - self.tail - 1) % self.slot_count

    def unfetched(self, head: int) -> int:
        """Descriptors that the unit has still to fetch."""
        return (self.tail - head) % self.slot_count

    def slot_at(self, pointer: int) -> int:
        """Slot number of a value of IQH.QH."""
        return pointer * _UNIT_BYTES // self._slot_bytes

    def pointer_to(self, slot: int) -> int:
        """Value of IQT.QT for a slot number."""
        return slot * self._slot_bytes // _UNIT_BYTES

    def place(self, slot: int) -> str:
        """A slot in words."""
        return f"slot {slot} of the queue at {self.hpa:#x}"

    async def read(self, slot: int) -> int:
        """The first 16 bytes of a slot, as memory holds them."""
        raw = await self._transport.read_memory(self.hpa + slot * self._slot_bytes, _UNIT_BYTES)
        return int.from_bytes(raw, "little")

    async def overwrite(self, slot: int, descriptor: int) -> None:
        """Put a descriptor where another stands."""
        await self._store(slot, [descriptor])

    async def append(self, descriptors: Sequence[int]) -> None:
        """Fill the next free slots, around the end of the queue if need be. There must be room; IQT is the caller's."""
        before_end = descriptors[:self.slot_count - self.tail]
        await self._store(self.tail, before_end)
        if len(before_end) < len(descriptors):
            await self._store(0, descriptors[len(before_end):])
        self.tail = (self.tail + len(descriptors)) % self.slot_count

    async def _store(self, slot: int, descriptors: Sequence[int]) -> None:
        raw = b"".join(descriptor.to_bytes(self._slot_bytes, "little") for descriptor in descriptors)
        await self._transport.write_memory(self.hpa + slot * self._slot_bytes, raw)
