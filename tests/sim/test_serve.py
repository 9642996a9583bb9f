"""A simulation as a device: drivers come, fail, are killed and go, and the machine stays the same to the cycle."""
import asyncio
import os
import socket
import subprocess
import sys
import threading

import pytest

from hw.spec.host_link import MAX_PAYLOAD_BYTES, ErrorKind, Opcode
from sim.runner import ROOT
from sim.serve import NobodyCame, serve
from sw.transport import MemoryRefused, RegisterRefused
from sw.transport.link import Frame, FrameDecoder, encode_frame
from sw.transport.socket import open_socket
from tests.sim.stand_in import in_simulator


class Machine:
    """A transport that writes down what it is asked to do."""

    def __init__(self):
        self.done = []

    async def read_register(self, offset, width):
        if width not in {4, 8}:
            raise ValueError(f"`width` must be 4 or 8 bytes, not {width}")
        if offset == 0xBAD0:
            raise RegisterRefused("no such register")
        self.done.append(("read_register", offset, width))
        return 0x55

    async def write_register(self, offset, width, value):
        self.done.append(("write_register", offset, width, value))

    async def read_memory(self, hpa, length):
        if hpa == 0xBAD0:
            raise MemoryRefused("no such memory")
        self.done.append(("read_memory", hpa, length))
        return bytes(length)

    async def write_memory(self, hpa, data):
        self.done.append(("write_memory", hpa, data))

    async def pause(self, cycles):
        self.done.append(("pause", cycles))


class Serving:
    """A `Machine` that serves in a thread, and raw connections to it."""

    def __init__(self):
        self.machine, self.sessions, self.told = Machine(), None, []
        ready, found = threading.Event(), []

        def listening(address):
            found.append(address)
            ready.set()

        def work():
            self.sessions = asyncio.run(serve(
                self.machine, "tcp:127.0.0.1:0", gap_cycles=77, idle_seconds=20, on_listen=listening,
                on_connect=lambda: self.told.append("came"), on_disconnect=lambda session: self.told.append("went")))
        self.thread = threading.Thread(target=work)
        self.thread.start()
        ready.wait(10)
        self.address = found[0]

    def connect(self):
        return open_socket(self.address, seconds=5)

    def end(self):
        """Shut it down; the sessions before this one."""
        with self.connect() as connection:
            ask(connection, Frame(opcode=Opcode.SHUTDOWN, sequence=1))
        self.thread.join(20)
        return self.sessions[:-1]


def receive(connection):
    decoder = FrameDecoder()
    while (frame := decoder.next()) is None:
        piece = connection.recv(1 << 20)
        assert piece, "the machine hung up"
        decoder.feed(piece)
    return frame


def ask(connection, frame):
    connection.sendall(encode_frame(frame))
    return receive(connection)


@pytest.fixture
def serving():
    return Serving()


def test_operations_are_done_and_answered(serving):
    with serving.connect() as connection:
        answer = ask(connection, Frame(opcode=Opcode.READ_REGISTER, sequence=5, address=0x18, argument=8))
        assert answer == Frame(opcode=Opcode.DONE, sequence=5, argument=0x55)
        ask(connection, Frame(opcode=Opcode.WRITE_REGISTER, sequence=6, address=0x20, argument=4, payload=b"\x01\x02\0\0"))
        assert ask(connection, Frame(opcode=Opcode.READ_MEMORY, sequence=7, address=0x40, argument=3)).payload == bytes(3)
        ask(connection, Frame(opcode=Opcode.WRITE_MEMORY, sequence=8, address=0x80, payload=b"data"))
        ask(connection, Frame(opcode=Opcode.PAUSE, sequence=9, argument=12))
    [session] = serving.end()
    assert serving.machine.done == [
        ("read_register", 0x18, 8), ("write_register", 0x20, 4, 0x201), ("read_memory", 0x40, 3),
        ("write_memory", 0x80, b"data"), ("pause", 12), ("pause", 77)]  # the last is the gap
    assert session.operations == 5
    assert not session.torn


@pytest.mark.parametrize(("frame", "kind", "says"), [
    (Frame(opcode=Opcode.READ_REGISTER, sequence=3, address=0xBAD0, argument=8), ErrorKind.REGISTER, "no such register"),
    (Frame(opcode=Opcode.READ_MEMORY, sequence=3, address=0xBAD0, argument=8), ErrorKind.MEMORY, "no such memory"),
    (Frame(opcode=Opcode.READ_REGISTER, sequence=3, argument=3), ErrorKind.FRAME, "`width` must be 4 or 8"),
    (Frame(opcode=Opcode.WRITE_REGISTER, sequence=3, argument=8, payload=b"x"), ErrorKind.FRAME, "cannot take 1"),
    (Frame(opcode=Opcode.READ_MEMORY, sequence=3, argument=MAX_PAYLOAD_BYTES + 1), ErrorKind.FRAME, "carries at most"),
    (Frame(opcode=Opcode.DONE, sequence=3), ErrorKind.FRAME, "DONE is an answer, not a request"),
])
def test_what_cannot_be_done_is_answered_with_the_reason(serving, frame, kind, says):
    with serving.connect() as connection:
        answer = ask(connection, frame)
        assert (answer.opcode, answer.sequence, answer.argument) == (Opcode.ERROR, 3, kind)
        assert says in answer.payload.decode()
        assert ask(connection, Frame(opcode=Opcode.PAUSE, sequence=4, argument=1)).opcode is Opcode.DONE
    [session] = serving.end()
    assert (session.operations, session.errors) == (1, 1)


def test_a_malformed_frame_is_answered_and_does_not_end_the_service(serving):
    whole = encode_frame(Frame(opcode=Opcode.PAUSE, sequence=4, argument=1))
    damaged = whole[:-1] + bytes([whole[-1] ^ 1])
    with serving.connect() as connection:
        connection.sendall(damaged)
        answer = receive(connection)
        assert (answer.opcode, answer.sequence, answer.argument) == (Opcode.ERROR, 4, ErrorKind.FRAME)
        assert "carries checksum" in answer.payload.decode()
        connection.sendall(b"GET / HTTP/1.0\r\n")
        assert "must begin with" in receive(connection).payload.decode()
        assert ask(connection, Frame(opcode=Opcode.PAUSE, sequence=5, argument=2)).opcode is Opcode.DONE
    serving.end()
    assert serving.machine.done == [("pause", 2), ("pause", 77)]


def test_a_driver_may_vanish_at_any_byte_and_nothing_of_its_frame_is_done(serving):
    whole = encode_frame(Frame(opcode=Opcode.WRITE_MEMORY, sequence=1, address=0x40, payload=b"torn"))
    for end in range(len(whole)):
        with serving.connect() as connection:
            connection.sendall(whole[:end])
    sessions = serving.end()
    assert serving.machine.done == [("pause", 77)] * len(whole)
    assert [session.torn for session in sessions] == [False] + [True] * (len(whole) - 1)
    assert serving.told == ["came", "went"] * (len(whole) + 1)


def test_nobody_is_waited_for_forever(tmp_path):
    with pytest.raises(NobodyCame, match="no driver connected"):
        asyncio.run(serve(Machine(), f"unix:{tmp_path}/nobody", gap_cycles=1, idle_seconds=0.1))
    assert not (tmp_path / "nobody").exists()


def test_a_driver_that_says_nothing_is_not_waited_for_forever(tmp_path):
    with socket.socket(socket.AF_UNIX) as driver, pytest.raises(NobodyCame, match="said nothing"):
        asyncio.run(serve(Machine(), f"unix:{tmp_path}/silent", gap_cycles=1, idle_seconds=0.2,
                          on_listen=lambda address: driver.connect(address.removeprefix("unix:"))))


# --- in the simulator, with drivers in processes of their own ----------------------------------------------------------

def story(folder, *drivers):
    """Serve these drivers, one after the other, and then the one that ends the machine; what the simulation told."""
    address = f"unix:{folder}/machine"
    codes = []

    def drive():
        for driver in (*drivers, "ends_the_machine"):
            codes.append(subprocess.run(
                [sys.executable, ROOT / "tests" / "sim" / "serving_drivers.py", driver, address], check=False,
                env=os.environ | {"PYTHONPATH": str(ROOT)}).returncode)
    thread = threading.Thread(target=drive)
    thread.start()
    told = in_simulator("serves_drivers", config={"address": address}).values["serves_drivers"]
    thread.join()
    return told, codes


def test_the_same_story_takes_the_same_cycles_however_slow_the_driver(tmp_path):
    fast, codes = story(tmp_path, "works")
    slow, slow_codes = story(tmp_path, "thinks_long")
    assert codes == slow_codes == [0, 0]
    assert fast == slow


def test_time_passes_between_drivers_and_a_killed_one_leaves_no_trace(tmp_path):
    told, codes = story(tmp_path, "works", "is_killed_inside_a_frame")
    assert codes == [0, -9, 0]
    assert told["torn"] == [False, True, False]
    cycles = [int(line.split()[2]) for line in told["told"]]  # came, went, came, went, came, went
    assert cycles[2] - cycles[1] == 1000
    assert cycles[3] - cycles[2] == 0  # the torn frame cost nothing
    assert cycles[4] - cycles[3] == 1000
