"""The simulated machine as a device that drivers in other processes connect to, one after the other.

Simulation and driver go in lock step: between two operations the machine stands still, and an operation takes the
cycles that it takes in the simulator, never the time that the driver's process needs to think. A story told over the
socket is therefore the same, cycle for cycle, in every run.

When a driver ends, or is killed at any byte, the machine runs on for `gap_cycles` with whatever traffic it has.
"""
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from hw.spec.host_link import MAX_PAYLOAD_BYTES, ErrorKind, Opcode
from sw.transport import MemoryRefused, RegisterRefused, Transport
from sw.transport.link import Frame, FrameDecoder, LinkError, TruncatedFrame, encode_frame
from sw.transport.socket import parse_address

__all__ = ["NobodyCame", "Session", "serve"]

_PIECE_BYTES = 1 << 16


class NobodyCame(TimeoutError):
    """No driver connected, or a connected one said nothing, for too long."""


@dataclass
class Session:
    """One driver, from its connection to its end.

    Members
    -------
    operations : int
        Frames answered with DONE.
    errors : int
        Frames answered with ERROR.
    torn : bool
        It ended inside a frame: killed, most likely. That frame was not executed.
    shutdown : bool
        It ended the machine.
    """

    operations: int = 0
    errors: int = 0
    torn: bool = False
    shutdown: bool = False


async def serve(transport: Transport, address: str, *, gap_cycles: int, idle_seconds: float = 120,
                on_listen: Callable[[str], None] | None = None, on_connect: Callable[[], None] | None = None,
                on_disconnect: Callable[[Session], None] | None = None) -> list[Session]:
    """Serve drivers until one of them sends SHUTDOWN.

    Parameters
    ----------
    transport : Transport
        The machine; its cost in cycles is the cost of the served operation.
    address : str
        "unix:/path" or "tcp:host:port" (port 0: any free one).
    gap_cycles : int
        How long the machine runs on its own after a driver has gone, before the next is accepted.
    idle_seconds : float
        Wall time to wait for a driver, or for its next operation.
    on_listen
        Called with the address when drivers can connect.
    on_connect, on_disconnect
        Called when a driver has come; and when it has gone, before the gap.

    Raises
    ------
    NobodyCame
        If no driver connects, or a connected one says nothing, for `idle_seconds`.
    """
    sessions: list[Session] = []
    with _listening(address) as (listener, bound):
        listener.settimeout(idle_seconds)
        if on_listen is not None:
            on_listen(bound)
        while not (sessions and sessions[-1].shutdown):
            try:
                connection, _ = listener.accept()
            except TimeoutError as error:
                raise NobodyCame(f"no driver connected to {bound} within {idle_seconds} s") from error
            session = Session()
            sessions.append(session)
            if on_connect is not None:
                on_connect()
            with connection:
                connection.settimeout(idle_seconds)
                try:
                    await _converse(transport, connection, session)
                except TimeoutError as error:
                    raise NobodyCame(f"the driver at {bound} said nothing for {idle_seconds} s") from error
                except ConnectionError:
                    session.torn = True  # killed before it took its answer
            if on_disconnect is not None:
                on_disconnect(session)
            if not session.shutdown:
                await transport.pause(gap_cycles)
    return sessions


async def _converse(transport: Transport, connection: socket.socket, session: Session) -> None:
    """Answer frames until the driver has gone."""
    decoder = FrameDecoder()
    while not session.shutdown:
        try:
            frame = decoder.next()
        except LinkError as error:
            session.errors += 1
            connection.sendall(encode_frame(_error(error.sequence, ErrorKind.FRAME, str(error))))
            continue
        if frame is not None:
            answer = await _execute(transport, frame)
            session.errors += answer.opcode is Opcode.ERROR
            session.operations += answer.opcode is Opcode.DONE
            session.shutdown = frame.opcode is Opcode.SHUTDOWN
            connection.sendall(encode_frame(answer))
        elif piece := connection.recv(_PIECE_BYTES):
            decoder.feed(piece)
        else:
            try:
                decoder.finish()
            except TruncatedFrame:
                session.torn = True
            return


async def _execute(transport: Transport, frame: Frame) -> Frame:
    """Do what a frame asks; the answer."""
    try:
        argument, payload = await _operate(transport, frame)
    except RegisterRefused as error:
        return _error(frame.sequence, ErrorKind.REGISTER, str(error))
    except MemoryRefused as error:
        return _error(frame.sequence, ErrorKind.MEMORY, str(error))
    except ValueError as error:
        return _error(frame.sequence, ErrorKind.FRAME, f"{frame}: {error}")
    return Frame(opcode=Opcode.DONE, sequence=frame.sequence, argument=argument, payload=payload)


async def _operate(transport: Transport, frame: Frame) -> tuple[int, bytes]:
    """Argument and payload of the answer. Raises ValueError if the frame asks for what makes no sense."""
    match frame.opcode:
        case Opcode.READ_REGISTER:
            return await transport.read_register(frame.address, frame.argument), b""
        case Opcode.WRITE_REGISTER:
            if len(frame.payload) != frame.argument:
                raise ValueError(f"a register of {frame.argument} bytes cannot take {len(frame.payload)}")
            value = int.from_bytes(frame.payload, "little")
            await transport.write_register(frame.address, frame.argument, value)
        case Opcode.READ_MEMORY:
            if frame.argument > MAX_PAYLOAD_BYTES:
                raise ValueError(f"a frame carries at most {MAX_PAYLOAD_BYTES} bytes, not {frame.argument}")
            return 0, await transport.read_memory(frame.address, frame.argument)
        case Opcode.WRITE_MEMORY:
            await transport.write_memory(frame.address, frame.payload)
        case Opcode.PAUSE:
            await transport.pause(frame.argument)
        case Opcode.SHUTDOWN:
            pass
        case _:
            raise ValueError(f"{frame.opcode.name} is an answer, not a request")
    return 0, b""


def _error(sequence: int, kind: ErrorKind, text: str) -> Frame:
    return Frame(opcode=Opcode.ERROR, sequence=sequence, argument=kind, payload=text.encode())


@contextmanager
def _listening(address: str) -> Iterator[tuple[socket.socket, str]]:
    """A listening socket and its address as it came to be; the file of a local one is removed before and after."""
    family, place = parse_address(address)
    with socket.socket(family, socket.SOCK_STREAM) as listener:
        if isinstance(place, str):
            Path(place).unlink(missing_ok=True)
        else:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(place)
        listener.listen()
        try:
            if isinstance(place, str):
                yield listener, address
            else:
                host, port = listener.getsockname()
                yield listener, f"tcp:{host}:{port}"
        finally:
            if isinstance(place, str):
                Path(place).unlink(missing_ok=True)
