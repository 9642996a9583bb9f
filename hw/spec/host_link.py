"""The frames between a driver and a machine in another process. Ours.

    FrameHeader | payload_length bytes of payload | FRAME_CHECKSUM_BYTES of CRC-32 over header and payload

Everything is little-endian. A request is answered by one frame with its sequence number: DONE with the result, or
ERROR with an ErrorKind in `argument` and a sentence (UTF-8) as payload. The next request is sent after the answer.

    request          address         argument         payload        DONE: argument   payload
    READ_REGISTER    host address    width in bytes   -              value            -
    WRITE_REGISTER   host address    width in bytes   the value      0                -
    READ_MEMORY      hpa             bytes            -              0                the bytes
    WRITE_MEMORY     hpa             0                the bytes      0                -
    PAUSE            0               cycles           -              0                -
    SHUTDOWN         0               0                -              0                -

The checksum is CRC-32 as in zlib, gzip and IEEE 802.3.
"""
from amaranth.lib import data, enum

__all__ = ["FRAME_CHECKSUM_BYTES", "FRAME_MAGIC", "MAX_PAYLOAD_BYTES", "ErrorKind", "FrameHeader", "Opcode"]

FRAME_MAGIC = 0x4C544948          # "HITL" as bytes
FRAME_CHECKSUM_BYTES = 4
MAX_PAYLOAD_BYTES = 1 << 20       # a longer block is sent in several frames


class Opcode(enum.IntEnum, shape=8):
    """What a frame asks or answers."""
    READ_REGISTER = 1
    WRITE_REGISTER = 2
    READ_MEMORY = 3
    WRITE_MEMORY = 4
    PAUSE = 5
    SHUTDOWN = 6              # the machine itself ends
    DONE = 0x80
    ERROR = 0x81


class ErrorKind(enum.IntEnum, shape=8):
    """ERROR.argument: who objects."""
    FRAME = 1                 # the frame is malformed, or asks for what makes no sense; nothing was done
    REGISTER = 2              # the register was refused
    MEMORY = 3                # the memory was refused


class FrameHeader(data.Struct):
    """The first 32 bytes of a frame."""
    magic: 32                 # FRAME_MAGIC
    sequence: 32              # chosen by the driver, counts up; the answer repeats it
    opcode: 8                 # Opcode
    _reserved_95_72: 24
    address: 64
    argument: 64
    payload_length: 32        # bytes, at most MAX_PAYLOAD_BYTES
