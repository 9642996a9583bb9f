"""Events: the messages by which the unit says that a fault was recorded, or that a wait has completed.

A kernel that comes masks them first: what they name is its predecessor's memory.

Source: VT-d 4.1, 7.3 and 11.4.11 to 11.4.16.
"""
from hw.spec.registers import register
from sw.errors import BadRange
from sw.registers import RegisterFile

__all__ = ["mask_events", "send_fault_events"]

_MESSAGE_BYTES = 4


async def mask_events(registers: RegisterFile) -> None:
    """Let no event be stored to memory any more. Writes nothing where events are masked already."""
    for name in ("FECTL", "IECTL"):
        if not (await registers.read(name))["IM"]:
            await registers.write(name, IM=1)


async def send_fault_events(registers: RegisterFile, *, hpa: int, data: int) -> None:
    """Have the unit store `data`, 4 bytes, at `hpa` when a fault is pending; one that is pending now is sent at once.

    Raises
    ------
    BadRange
        If the address is not a multiple of 4.
    """
    if hpa % _MESSAGE_BYTES:
        raise BadRange("event address", hpa, f"must be a multiple of {_MESSAGE_BYTES}")
    await registers.write("FECTL", IM=1)
    await registers.write("FEDATA", IMD=data)
    upper, lower = divmod(hpa, 1 << register("FEADDR").width)
    await registers.write("FEADDR", MA=lower // _MESSAGE_BYTES)
    await registers.write("FEUADDR", MUA=upper)
    await registers.write("FECTL", IM=0)
