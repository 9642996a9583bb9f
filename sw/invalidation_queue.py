"""Invalidations through the unit's queue: descriptors in memory, a doorbell, and a status word that is waited for.

::

    batch(...) --> slots of QueueRing --> IQT --> the unit fetches --> executes --> stores the wait's status data
                                                       IQH                                    |
    the caller goes on  <---------------- the status word holds this batch's number  <--------'

IQH tells what has been *fetched*, no more: it is read to find free slots and after errors, never to learn that
something is done.

Source: VT-d 4.1, 6.5.2; recovery after errors as real drivers do it.
"""
from collections.abc import Sequence
from dataclasses import dataclass

from hw.spec.invalidation import Granularity, QueueError
from sw import descriptors as make
from sw.errors import (
    DescriptorRefused,
    DescriptorUnreadable,
    DeviceTlbFailed,
    QueueTailRefused,
    WaitAborted,
    WaitTimeout,
)
from sw.faults import QueueFailure
from sw.invalidation import PageBlock
from sw.memory import PageAllocator
from sw.queue_ring import QueueRing
from sw.queue_switch import start_queue, stop_queue
from sw.registers import POLL_CYCLES, TIMEOUT_CYCLES, RegisterFile
from sw.transport import Transport

__all__ = ["QueuedInvalidation"]

_LAST_NUMBER = (1 << 32) - 1


@dataclass
class _Batch:
    """Descriptors before one wait, on their way."""

    number: int                         # the wait's status data
    wait: int
    name: str                           # of the wait, for errors
    todo: list[int]                     # not in the queue yet, the wait last
    silent_source: int | None = None    # a device that did not answer
    failing_source: int | None = None   # a device that answered with an error


class QueuedInvalidation:
    """Invalidations through the queue, each finished before the call returns. One caller at a time.

    Parameters
    ----------
    transport : Transport
        The way to memory.
    registers : RegisterFile
        The unit, with ECAP.QI.
    allocator : PageAllocator
        Gives 2**size_log2 pages for the queue, and one for the status word.
    size_log2 : int
        IQA.QS.
    wide : bool
        Descriptors of 32 bytes.
    timeout_cycles : int
        After which a wait is taken to hang.

    Members
    -------
    predecessor_pages : tuple of int
        HPA of the pages of the queue that was found on; the unit has let go of them when `start` returns.
    """

    def __init__(self, transport: Transport, registers: RegisterFile, allocator: PageAllocator, *, size_log2: int = 0,
                 wide: bool = False, timeout_cycles: int = TIMEOUT_CYCLES) -> None:
        self._transport = transport
        self._registers = registers
        self._allocator = allocator
        self._size_log2 = size_log2
        self._wide = wide
        self._timeout_cycles = timeout_cycles
        self._ring: QueueRing | None = None
        self._started = False
        self._status_hpa = 0
        self._head = 0     # as last read: the unit is there, or further
        self._number = 0
        self._stopped = QueueFailure()   # left in FSTS: the unit is to try again with the next batch
        self.predecessor_pages: tuple[int, ...] = ()

    async def start(self) -> None:
        """Turn the queue on, in the place of a predecessor's if there is one; does nothing the second time.

        Every invalidation does this first. What a predecessor's queue has left undone is made good by invalidating
        everything.

        Raises
        ------
        RegisterTimeout
            If the unit does not let go of what it is at, or refuses the queue.
        """
        if self._started:
            return
        if self._ring is None:
            first, *_ = await self._allocator.allocate_block(self._size_log2)
            self._status_hpa = await self._allocator.allocate()
            self._ring = QueueRing(self._transport, first, size_log2=self._size_log2, wide=self._wide)
        left = await stop_queue(self._registers, timeout_cycles=self._timeout_cycles)
        await start_queue(self._registers, self._ring, timeout_cycles=self._timeout_cycles)
        self.predecessor_pages = left.pages
        self._started = True
        if left.unfinished:
            await self.batch(make.context_cache(Granularity.GLOBAL), make.iotlb(Granularity.GLOBAL))

    # --- as Invalidations ---

    async def context_global(self) -> Granularity:
        """As Invalidations."""
        return await self._context(Granularity.GLOBAL)

    async def context_domain(self, domain_id: int) -> Granularity:
        """As Invalidations."""
        return await self._context(Granularity.DOMAIN_SELECTIVE, domain_id=domain_id)

    async def context_device(self, source_id: int, domain_id: int, *, function_mask: int = 0) -> Granularity:
        """As Invalidations."""
        return await self._context(Granularity.SELECTIVE, domain_id=domain_id, source_id=source_id,
                                   function_mask=function_mask)

    async def iotlb_global(self) -> Granularity:
        """As Invalidations."""
        return await self._iotlb(Granularity.GLOBAL)

    async def iotlb_domain(self, domain_id: int) -> Granularity:
        """As Invalidations."""
        return await self._iotlb(Granularity.DOMAIN_SELECTIVE, domain_id=domain_id)

    async def iotlb_pages(self, domain_id: int, iova: int, size: int, *, only_leaves: bool) -> Granularity:
        """As Invalidations."""
        block = PageBlock.around(iova, size)
        if not block.fits(self._registers.cap):
            return await self.iotlb_domain(domain_id)
        return await self._iotlb(Granularity.SELECTIVE, domain_id=domain_id, page=block.page,
                                 address_mask=block.address_mask, hint=int(only_leaves))

    async def _context(self, granularity: Granularity, **fields: int) -> Granularity:
        await self.batch(make.context_cache(granularity, **fields))
        return granularity

    async def _iotlb(self, granularity: Granularity, **fields: int) -> Granularity:
        await self.batch(make.iotlb(granularity, **fields))
        return granularity

    # --- the producer ---

    async def batch(self, *descriptors: int, retry: bool = True) -> None:
        """Queue descriptors (sw.descriptors) and one wait; return when the wait has completed.

        Parameters
        ----------
        descriptors : int
            Executed in this order. More than the queue holds is put there as it empties.
        retry : bool
            Try once more if a device does not answer.

        Raises
        ------
        DescriptorRefused, DescriptorUnreadable, QueueTailRefused
            If the queue stopped; it is going again, or will with the next batch. This one may be only partly done.
        WaitAborted
            If a device did not answer.
        DeviceTlbFailed
            If one answered with an error; all else is done.
        WaitTimeout
            If the status word does not change in time.
        """
        await self.start()
        try:
            await self._run(descriptors)
        except WaitAborted:
            if not retry:
                raise
            await self._run(descriptors)

    @property
    def _queue(self) -> QueueRing:
        assert self._ring is not None
        return self._ring

    async def _run(self, descriptors: Sequence[int]) -> None:
        await self._stopped.clear(self._registers)
        self._stopped = QueueFailure()
        self._number = self._number % _LAST_NUMBER + 1
        wait = make.wait(self._status_hpa, self._number)
        batch = _Batch(self._number, wait, f"wait {self._number} of {len(descriptors)} descriptors", [*descriptors, wait])
        waited = 0
        while True:
            progress = bool(batch.todo) and await self._put(batch)
            completed = not batch.todo and await self._status() == batch.number
            await self._look_for_trouble(batch)
            if completed:
                break
            if not progress:
                if waited >= self._timeout_cycles:
                    head = self._queue.slot_at((await self._registers.read("IQH"))["QH"])
                    raise WaitTimeout(batch.name, head, self._queue.tail, waited)
                await self._transport.pause(POLL_CYCLES)
                waited += POLL_CYCLES
        if batch.silent_source is not None:
            raise WaitAborted(batch.name, batch.silent_source)
        if batch.failing_source is not None:
            raise DeviceTlbFailed(batch.name, batch.failing_source)

    async def _put(self, batch: _Batch) -> bool:
        """Put as much into the queue as there is room for, and ring the doorbell. True if it was anything."""
        if self._queue.room(self._head) < len(batch.todo):
            self._head = self._queue.slot_at((await self._registers.read("IQH"))["QH"])
        count = min(self._queue.room(self._head), len(batch.todo))
        if count:
            await self._queue.append(batch.todo[:count])
            await self._registers.write("IQT", QT=self._queue.pointer_to(self._queue.tail))
            del batch.todo[:count]
        return count > 0

    async def _status(self) -> int:
        return int.from_bytes(await self._transport.read_memory(self._status_hpa, make.STATUS_BYTES), "little")

    # --- trouble ---

    async def _look_for_trouble(self, batch: _Batch) -> None:
        """What FSTS says of the queue: cleared, repaired, and raised where the batch cannot go on."""
        failure = await QueueFailure.read(self._registers)
        if not failure:
            return
        head = self._queue.slot_at((await self._registers.read("IQH"))["QH"])
        if failure.cause is QueueError.FETCH:   # cleared at once, it would be there again at once
            self._stopped = failure
            raise DescriptorUnreadable(self._queue.place(head))
        refusal = await self._repair(failure.cause, head, batch.wait)
        await failure.clear(self._registers)
        if refusal is not None:
            raise refusal
        if failure.silent_source is not None:
            batch.silent_source = failure.silent_source
            if not batch.todo and self._queue.unfetched(head) == 0:   # the wait had been fetched: it is abandoned
                raise WaitAborted(batch.name, failure.silent_source)
        if failure.failing_source is not None:
            batch.failing_source = failure.failing_source

    async def _repair(self, cause: QueueError, head: int,
                      wait: int) -> DescriptorRefused | QueueTailRefused | None:
        """Let the queue go on once FSTS.IQE is cleared. Returns the error to raise then."""
        if cause is QueueError.NONE:
            return None
        if cause in (QueueError.BAD_TAIL, QueueError.MISALIGNED_TAIL):
            right = self._queue.pointer_to(self._queue.tail)
            await self._registers.write("IQT", QT=right)
            return QueueTailRefused(cause.name, right)
        descriptor = await self._queue.read(head)
        await self._queue.overwrite(head, wait)
        return DescriptorRefused(self._queue.place(head), make.describe(descriptor), cause.name)
