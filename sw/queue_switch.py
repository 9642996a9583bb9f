"""Turning the invalidation queue on, and off when a predecessor has left it on.

::

    a predecessor's queue --(fetch what is left)--> IQH == IQT --(QIE := 0)--> off
                      '--(frozen by an error)-----------------'
    off --(no command pending, IQT := 0, IQA, QIE := 1)--> ours

Translation and DMA go on all the while. Source: VT-d 4.1, 6.5.2 and 11.4.4.
"""
from typing import NamedTuple

from hw.spec.invalidation import QueueError
from hw.spec.tables import PAGE_BITS, PAGE_BYTES
from sw.errors import RegisterTimeout
from sw.faults import QueueFailure
from sw.queue_ring import QueueRing
from sw.registers import POLL_CYCLES, RegisterFile

__all__ = ["Predecessor", "start_queue", "stop_queue"]


class Predecessor(NamedTuple):
    """What the queue that was on before has left."""

    pages: tuple[int, ...] = ()   # its pages (HPA); the unit reads none of them any more
    unfinished: bool = False      # some of its descriptors were never executed, or nobody knows


async def stop_queue(registers: RegisterFile, *, timeout_cycles: int) -> Predecessor:
    """Turn a queue off that is on: when the unit has fetched everything, or an error has stopped it for good.

    Raises
    ------
    RegisterTimeout
        If it neither comes to its end nor says why.
    """
    if not (await registers.read("GSTS"))["QIES"]:
        return Predecessor()
    unfinished, waited = False, 0
    while (head := await registers.read("IQH"))["QH"] != (tail := await registers.read("IQT"))["QT"]:
        failure = await QueueFailure.read(registers)
        unfinished |= bool(failure)
        if failure.cause is not QueueError.NONE:
            break                          # the head stands on what caused it; it will never be executed
        await failure.clear(registers)     # the unit fetches on
        if waited >= timeout_cycles:
            raise RegisterTimeout("IQH", f"equal to IQT ({tail['QT']:#x})", str(head), waited)
        await registers.pause(POLL_CYCLES)
        waited += POLL_CYCLES
    await registers.command(command="QIE", status="QIES", value=0)
    failure = await QueueFailure.read(registers)
    await failure.clear(registers)
    address = await registers.read("IQA")
    first = address["IQA"] << PAGE_BITS
    pages = tuple(range(first, first + (PAGE_BYTES << address["QS"]), PAGE_BYTES))
    return Predecessor(pages, unfinished or bool(failure))


async def start_queue(registers: RegisterFile, ring: QueueRing, *, timeout_cycles: int) -> None:
    """Turn a queue on, empty. It is off, and an invalidation through a register that is under way is waited for.

    Raises
    ------
    RegisterTimeout
        If such an invalidation does not end, or the unit refuses the queue.
    """
    await registers.wait("CCMD", lambda seen: not seen["ICC"], "ICC=0", cycles=timeout_cycles)
    await registers.wait("IOTLB", lambda seen: not seen["IVT"], "IVT=0", cycles=timeout_cycles)
    await registers.write("IQT")
    await registers.write("IQA", **ring.address_fields)
    await registers.command(command="QIE", status="QIES", cycles=timeout_cycles)
