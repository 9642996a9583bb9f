"""Have pages walked for a domain before a device is given to it, so that its first DMA finds them translated. Ours."""
from collections.abc import Iterable
from typing import NamedTuple

from hw.spec.bench import PREWALK_BASE
from hw.spec.codec import decode, encode
from hw.spec.prewalk import PrewalkPage, PrewalkRegister, PrewalkSource, PrewalkStatus
from hw.spec.tables import PAGE_BITS
from sw.errors import PrewalkRefused, RegisterTimeout
from sw.registers import POLL_CYCLES, TIMEOUT_CYCLES
from sw.transport import RegisterRefused, Transport

__all__ = ["Prewalk", "prewalk"]

_BYTES = 8
_WORD_BITS = 64


class Prewalk(NamedTuple):
    """What became of it."""

    pages: int        # asked for
    disturbed: bool   # an invalidation began meanwhile: some of them may not have been loaded


async def prewalk(transport: Transport, entry: int, iovas: Iterable[int], *, source_id: int,
                  cycles: int = TIMEOUT_CYCLES) -> Prewalk:
    """Walk pages under a context entry that need not be in force yet; returns when every walk is over.

    A page that is not present is walked, and nothing is kept of it. The tables must be complete: from now on what they say
    of these pages may be cached, under the entry's domain ID, and a change of it needs an invalidation.

    Parameters
    ----------
    transport : Transport
        The way to the machine.
    entry : int
        The context entry as it will be written.
    iovas : iterable of int
        Addresses; each page is walked once.
    source_id : int
        The device that it is for, which the event log will name.
    cycles : int
        That one walk may wait to begin, and the last ones to be over.

    Raises
    ------
    PrewalkRefused
        If no device could translate an address under the entry. The pages before it are walked all the same.
    RegisterTimeout
        If the unit does not get on with it.
    """
    pages = list(dict.fromkeys(iova >> PAGE_BITS for iova in iovas))
    await _wait(transport, "waiting", cycles)
    await _write(transport, PrewalkRegister.CONTEXT_LOW, entry % (1 << _WORD_BITS))
    await _write(transport, PrewalkRegister.CONTEXT_HIGH, entry >> _WORD_BITS)
    await _write(transport, PrewalkRegister.SOURCE_ID, encode(PrewalkSource, source_id=source_id))
    await _write(transport, PrewalkRegister.STATUS, 0)
    for page in pages:
        value = encode(PrewalkPage, iova_page=page)
        try:
            await _write(transport, PrewalkRegister.PAGE, value)
        except RegisterRefused as error:
            raise PrewalkRefused(page << PAGE_BITS, entry) from error
        await _wait(transport, "waiting", cycles)
    status = await _wait(transport, "pending", cycles)
    return Prewalk(len(pages), bool(decode(PrewalkStatus, status).disturbed))


async def _wait(transport: Transport, name: str, cycles: int) -> int:
    """Read STATUS until a field of it is zero."""
    waited = 0
    while True:
        status = await transport.read_register(PREWALK_BASE + PrewalkRegister.STATUS, _BYTES)
        value = decode(PrewalkStatus, status)[name]
        if not value:
            return status
        if waited >= cycles:
            raise RegisterTimeout("STATUS of the pre-walk window", f"{name}=0", f"{name}={value}", waited)
        await transport.pause(POLL_CYCLES)
        waited += POLL_CYCLES


async def _write(transport: Transport, register: PrewalkRegister, value: int) -> None:
    await transport.write_register(PREWALK_BASE + register, _BYTES, value)
