"""Frames over any byte stream: encoding, decoding, and what can be wrong with them. Layout: hw.spec.host_link.

Nothing here reads or writes; a socket, a serial line or a file hands over bytes and takes bytes. A frame that is damaged
is dropped whole and named in an error; the decoder then goes on at the next frame it can find.
"""
import zlib
from dataclasses import dataclass
from typing import Self

from amaranth.lib import data

from hw.spec.codec import decode, encode, field_width
from hw.spec.host_link import FRAME_CHECKSUM_BYTES, FRAME_MAGIC, MAX_PAYLOAD_BYTES, FrameHeader, Opcode
from sw.transport import TransportError

__all__ = ["BadChecksum", "BadMagic", "BadOpcode", "BadSequence", "Frame", "FrameDecoder", "LinkError",
           "PayloadTooLong", "TruncatedFrame", "encode_frame"]

_HEADER_BYTES = data.Layout.cast(FrameHeader).size // 8
_MAGIC_BYTES = field_width(FrameHeader, "magic") // 8
_MAGIC = FRAME_MAGIC.to_bytes(_MAGIC_BYTES, "little")


class LinkError(TransportError):
    """The bytes on the wire are not what they must be. `sequence` is that of the frame at fault, or 0."""

    def __init__(self, message: str, *, sequence: int = 0) -> None:
        super().__init__(message)
        self.sequence = sequence


class BadMagic(LinkError):
    """The bytes where a frame must begin are not a frame's."""


class BadChecksum(LinkError):
    """A frame was damaged on its way."""


class BadOpcode(LinkError):
    """A whole frame that asks for nothing known."""


class PayloadTooLong(LinkError):
    """More payload than a frame may carry."""


class TruncatedFrame(LinkError):
    """The stream ended inside a frame."""


class BadSequence(LinkError):
    """An answer to another request than the one that waits."""


@dataclass(frozen=True, kw_only=True)
class Frame:
    """One request or answer; see hw.spec.host_link for what the fields mean."""

    opcode: Opcode
    sequence: int
    address: int = 0
    argument: int = 0
    payload: bytes = b""

    def __str__(self) -> str:
        return (f"{self.opcode.name} #{self.sequence} address={self.address:#x} argument={self.argument:#x} "
                f"payload={len(self.payload)} bytes")


def encode_frame(frame: Frame) -> bytes:
    """The frame as bytes.

    Raises
    ------
    PayloadTooLong
        If the payload is longer than a frame may carry.
    ValueError
        If a number does not fit its field.
    """
    _check_length(len(frame.payload), frame.sequence)
    header = encode(FrameHeader, magic=FRAME_MAGIC, sequence=frame.sequence, opcode=frame.opcode,
                    address=frame.address, argument=frame.argument, payload_length=len(frame.payload))
    body = int(header).to_bytes(_HEADER_BYTES, "little") + frame.payload
    return body + zlib.crc32(body).to_bytes(FRAME_CHECKSUM_BYTES, "little")


class FrameDecoder:
    """Frames out of bytes that come in pieces of any size."""

    def __init__(self) -> None:
        self._bytes = bytearray()
        self._lost = False

    def feed(self, piece: bytes) -> Self:
        """Take over the bytes that arrived."""
        self._bytes += piece
        return self

    def next(self) -> Frame | None:
        """The next whole frame, or None if more bytes are needed.

        Raises
        ------
        LinkError
            If what comes next is no frame. It has been dropped; the decoder may be used on.
        """
        self._find_magic()
        if self._lost or len(self._bytes) < _HEADER_BYTES:
            return None
        header = decode(FrameHeader, int.from_bytes(self._bytes[:_HEADER_BYTES], "little"))
        length = header.payload_length
        try:
            _check_length(length, header.sequence)
        except PayloadTooLong:
            self._drop(_MAGIC_BYTES)  # the length is not to be trusted: look for a frame behind this magic
            self._lost = True
            raise
        end = _HEADER_BYTES + length
        if len(self._bytes) < end + FRAME_CHECKSUM_BYTES:
            return None
        body = self._drop(end)
        received = int.from_bytes(self._drop(FRAME_CHECKSUM_BYTES), "little")
        computed = zlib.crc32(body)
        if received != computed:
            raise BadChecksum(f"frame #{header.sequence} carries checksum {received:#010x}, its bytes have "
                              f"{computed:#010x}", sequence=header.sequence)
        opcodes = [opcode.value for opcode in Opcode]
        if header.opcode not in opcodes:
            raise BadOpcode(f"frame #{header.sequence} has opcode {header.opcode:#x}; known are "
                            f"{', '.join(map(hex, opcodes))}", sequence=header.sequence)
        return Frame(opcode=Opcode(header.opcode), sequence=header.sequence, address=header.address,
                     argument=header.argument, payload=body[_HEADER_BYTES:])

    def finish(self) -> None:
        """Say that the stream has ended.

        Raises
        ------
        TruncatedFrame
            If it ended inside a frame. What was there of it is dropped.
        """
        rest = len(self._bytes)
        self._drop(rest)
        self._lost = False
        if rest:
            raise TruncatedFrame(f"the stream ended {rest} bytes into a frame; nothing of it was done")

    def _drop(self, count: int) -> bytes:
        dropped = bytes(self._bytes[:count])
        del self._bytes[:count]
        return dropped

    def _find_magic(self) -> None:
        """Leave a (beginning of a) magic at the front. The first strange bytes raise, those behind them do not."""
        start = next((place for place in range(len(self._bytes))
                      if _MAGIC.startswith(self._bytes[place:place + _MAGIC_BYTES])), len(self._bytes))
        strange = self._drop(start)
        was_lost = self._lost
        self._lost = self._lost and len(self._bytes) < _MAGIC_BYTES
        if strange and not was_lost:
            self._lost = len(self._bytes) < _MAGIC_BYTES
            raise BadMagic(f"a frame must begin with {_MAGIC!r}, not with {strange[:_MAGIC_BYTES]!r}")


def _check_length(length: int, sequence: int) -> None:
    if length > MAX_PAYLOAD_BYTES:
        raise PayloadTooLong(f"frame #{sequence} has {length} bytes of payload; a frame carries at most "
                             f"{MAX_PAYLOAD_BYTES}", sequence=sequence)
