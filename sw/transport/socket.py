"""A machine in another process, over a local or TCP socket.

The methods are coroutines because the protocol's are; they block, and need no event loop.
"""
import socket
import time
from dataclasses import replace
from typing import Self

from hw.spec.host_link import MAX_PAYLOAD_BYTES, ErrorKind, Opcode
from sw.transport import MemoryRefused, RegisterRefused, TransportError, update_window
from sw.transport.link import BadSequence, Frame, FrameDecoder, LinkError, encode_frame

__all__ = ["ConnectionLost", "SocketTransport", "open_socket", "parse_address"]

_PIECE_BYTES = 1 << 16
_CONNECT_RETRY_SECONDS = 0.02
_REFUSALS = {ErrorKind.REGISTER: RegisterRefused, ErrorKind.MEMORY: MemoryRefused, ErrorKind.FRAME: LinkError}


class ConnectionLost(TransportError):
    """The machine is not there, or went away."""


def parse_address(address: str) -> tuple[socket.AddressFamily, str | tuple[str, int]]:
    """Socket family and address of "unix:/path" or "tcp:host:port".

    Raises
    ------
    ValueError
        If it is neither.
    """
    scheme, _, rest = address.partition(":")
    if scheme == "unix" and rest:
        return socket.AF_UNIX, rest
    host, _, port = rest.rpartition(":")
    if scheme == "tcp" and host and port.isdecimal():
        return socket.AF_INET, (host, int(port))
    raise ValueError(f"`address` must be unix:/path or tcp:host:port, not {address!r}")


def open_socket(address: str, *, seconds: float) -> socket.socket:
    """Connect, waiting that long for the machine to listen.

    Raises
    ------
    ConnectionLost
        If nobody listens there in time.
    """
    family, place = parse_address(address)
    deadline = time.monotonic() + seconds
    while True:
        connection = socket.socket(family, socket.SOCK_STREAM)
        try:
            connection.connect(place)
            return connection
        except OSError as error:
            connection.close()
            if time.monotonic() >= deadline:
                raise ConnectionLost(f"nobody listens at {address} after {seconds} s: {error}") from error
            time.sleep(_CONNECT_RETRY_SECONDS)


class SocketTransport:
    """A Transport to a machine that serves at an address.

    Parameters
    ----------
    address : str
        "unix:/path" or "tcp:host:port".
    connect_seconds : float
        How long to wait for the machine to listen.
    answer_seconds : float
        How long to wait for an answer before the machine is taken for dead.
    """

    def __init__(self, address: str, *, connect_seconds: float = 10, answer_seconds: float = 120) -> None:
        self._address = address
        self._connection = open_socket(address, seconds=connect_seconds)
        self._connection.settimeout(answer_seconds)
        self._decoder = FrameDecoder()
        self._sequence = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Hang up. The machine runs on."""
        self._connection.close()

    async def read_register(self, offset: int, width: int) -> int:
        """As Transport."""
        return self._call(Opcode.READ_REGISTER, address=offset, argument=width).argument

    async def write_register(self, offset: int, width: int, value: int) -> None:
        """As Transport."""
        self._call(Opcode.WRITE_REGISTER, address=offset, argument=width, payload=value.to_bytes(width, "little"))

    async def store64(self, hpa: int, value: int) -> None:
        """As Transport."""
        await update_window.store64(self, hpa, value)

    async def compare_exchange128(self, hpa: int, expected: int, desired: int) -> int:
        """As Transport."""
        return await update_window.compare_exchange128(self, hpa, expected, desired)

    async def read_memory(self, hpa: int, length: int) -> bytes:
        """As Transport."""
        blocks = []
        for start in range(0, length, MAX_PAYLOAD_BYTES):
            size = min(MAX_PAYLOAD_BYTES, length - start)
            blocks.append(self._call(Opcode.READ_MEMORY, address=hpa + start, argument=size).payload)
        return b"".join(blocks)

    async def write_memory(self, hpa: int, data: bytes) -> None:
        """As Transport."""
        for start in range(0, len(data), MAX_PAYLOAD_BYTES):
            self._call(Opcode.WRITE_MEMORY, address=hpa + start, payload=data[start:start + MAX_PAYLOAD_BYTES])

    async def pause(self, cycles: int) -> None:
        """As Transport."""
        self._call(Opcode.PAUSE, argument=cycles)

    async def shutdown(self) -> None:
        """End the machine itself."""
        self._call(Opcode.SHUTDOWN)

    def _call(self, opcode: Opcode, *, address: int = 0, argument: int = 0, payload: bytes = b"") -> Frame:
        """Send one request and wait for its answer."""
        self._sequence += 1
        request = Frame(opcode=opcode, sequence=self._sequence, address=address, argument=argument,
                        payload=bytes(payload))
        try:
            self._connection.sendall(encode_frame(request))
            answer = self._receive()
        except OSError as error:
            raise ConnectionLost(f"{self._address}: {error} during {request}") from error
        if answer.opcode is Opcode.ERROR:
            raise _REFUSALS[ErrorKind(answer.argument)](answer.payload.decode())
        if answer.sequence != request.sequence or answer.opcode is not Opcode.DONE:
            raise BadSequence(f"expected the answer to {request}, got {replace(answer, payload=b'')}")
        return answer

    def _receive(self) -> Frame:
        while (frame := self._decoder.next()) is None:
            piece = self._connection.recv(_PIECE_BYTES)
            if not piece:
                self._decoder.finish()
                raise ConnectionLost(f"{self._address}: the machine closed the connection")
            self._decoder.feed(piece)
        return frame
