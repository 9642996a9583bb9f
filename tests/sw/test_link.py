"""Frames on the wire, the socket transport, and the update window: what is sent, and what is said when it goes wrong."""
import socket
import struct
import threading
import zlib
from contextlib import contextmanager

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hw.spec.bench import UPDATE_BASE, UpdateCommand, UpdateOperation, UpdateRegister, UpdateStatus
from hw.spec.codec import encode
from hw.spec.host_link import MAX_PAYLOAD_BYTES, ErrorKind, Opcode
from sw.transport import MemoryRefused, RegisterRefused, Transport, update_window
from sw.transport.link import (
    BadChecksum,
    BadMagic,
    BadOpcode,
    BadSequence,
    Frame,
    FrameDecoder,
    LinkError,
    PayloadTooLong,
    TruncatedFrame,
    encode_frame,
)
from sw.transport.socket import ConnectionLost, SocketTransport, parse_address
from sw.transport.update_window import UpdateStuck


def handmade(*, magic=b"HITL", sequence=7, opcode=4, address=0x1000, argument=0, payload=b"abc", length=None):
    """A frame packed by hand: 4 magic, 4 sequence, 1 opcode, 3 zero, 8 address, 8 argument, 4 length, payload, CRC-32."""
    length = len(payload) if length is None else length
    body = magic + struct.pack("<IB3xQQI", sequence, opcode, address, argument, length) + payload
    return body + struct.pack("<I", zlib.crc32(body))


FRAME = Frame(opcode=Opcode.WRITE_MEMORY, sequence=7, address=0x1000, payload=b"abc")

frames = st.builds(
    Frame, opcode=st.sampled_from(list(Opcode)), sequence=st.integers(0, 2**32 - 1), address=st.integers(0, 2**64 - 1),
    argument=st.integers(0, 2**64 - 1), payload=st.binary(max_size=200))


# --- frames ------------------------------------------------------------------------------------------------------------

def test_a_frame_is_the_bytes_that_the_layout_says():
    assert encode_frame(FRAME) == handmade()
    assert FrameDecoder().feed(handmade()).next() == FRAME


@given(st.lists(frames, max_size=5), st.data())
def test_frames_survive_any_cutting_of_the_stream(sent, data):
    stream = b"".join(map(encode_frame, sent))
    decoder, received = FrameDecoder(), []
    while stream:
        size = data.draw(st.integers(1, len(stream)))
        decoder.feed(stream[:size])
        stream = stream[size:]
        while (frame := decoder.next()) is not None:
            received.append(frame)
    decoder.finish()
    assert received == sent


@given(frames, st.data())
def test_no_flipped_bit_goes_unseen(frame, data):
    damaged = bytearray(encode_frame(frame))
    bit = data.draw(st.integers(0, 8 * len(damaged) - 1))
    damaged[bit // 8] ^= 1 << bit % 8
    decoder = FrameDecoder().feed(bytes(damaged))
    try:
        seen = decoder.next()
    except LinkError:
        return
    assert seen is None  # a length that grew: the frame is not all there


@pytest.mark.parametrize(("bytes_", "error", "says"), [
    (handmade(magic=b"HITX"), BadMagic, "must begin with b'HITL', not with b'HITX'"),
    (handmade(opcode=0x55), BadOpcode, "frame #7 has opcode 0x55; known are 0x1, 0x2"),
    (handmade(length=MAX_PAYLOAD_BYTES + 1), PayloadTooLong, f"frame #7 has {MAX_PAYLOAD_BYTES + 1} bytes of payload"),
    (handmade()[:-1] + b"\x00", BadChecksum, "frame #7 carries checksum 0x00"),
], ids=["magic", "opcode", "length", "checksum"])
def test_a_bad_frame_is_named_and_the_next_one_is_read(bytes_, error, says):
    decoder = FrameDecoder().feed(bytes_ + handmade(sequence=8))
    with pytest.raises(error, match=says):
        decoder.next()
    assert decoder.next().sequence == 8


def test_noise_is_told_once_however_it_arrives():
    decoder, told = FrameDecoder(), 0
    for byte in b"no frame at all, HIT or miss" + handmade():
        decoder.feed(bytes([byte]))
        try:
            frame = decoder.next()
        except BadMagic:
            told += 1
    assert told == 1
    assert frame == FRAME


def test_a_stream_that_ends_in_a_frame_is_truncated():
    whole = handmade()
    for end in range(1, len(whole)):
        decoder = FrameDecoder().feed(whole[:end])
        assert decoder.next() is None
        with pytest.raises(TruncatedFrame, match=f"ended {end} bytes into a frame"):
            decoder.finish()
    FrameDecoder().finish()


@pytest.mark.parametrize(("frame", "error"), [
    (Frame(opcode=Opcode.PAUSE, sequence=1, argument=1 << 64), ValueError),
    (Frame(opcode=Opcode.PAUSE, sequence=1, address=-1), ValueError),
    (Frame(opcode=Opcode.WRITE_MEMORY, sequence=1, payload=bytes(MAX_PAYLOAD_BYTES + 1)), PayloadTooLong),
], ids=["argument", "address", "payload"])
def test_what_does_not_fit_is_not_sent(frame, error):
    with pytest.raises(error):
        encode_frame(frame)


# --- socket ------------------------------------------------------------------------------------------------------------

def now(coroutine):
    """The result of a coroutine that never really waits."""
    try:
        coroutine.send(None)
    except StopIteration as done:
        return done.value
    raise AssertionError("it waited")


@contextmanager
def machine(tmp_path, answer):
    """A transport to a machine that answers each frame with the bytes of `answer(frame)`; None hangs up."""
    address = f"unix:{tmp_path}/machine"
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(address.removeprefix("unix:"))
    listener.listen(1)

    def serve():
        connection, _ = listener.accept()
        decoder = FrameDecoder()
        with connection:
            while piece := connection.recv(1 << 20):
                decoder.feed(piece)
                while (frame := decoder.next()) is not None:
                    if (reply := answer(frame)) is None:
                        return
                    connection.sendall(reply)
    thread = threading.Thread(target=serve)
    thread.start()
    with SocketTransport(address, answer_seconds=5) as transport:
        yield transport
    thread.join()
    listener.close()


def done(frame, **fields):
    return encode_frame(Frame(opcode=Opcode.DONE, sequence=frame.sequence, **fields))


def test_requests_are_what_the_table_of_the_layout_says(tmp_path):
    seen = []

    def answer(frame):
        seen.append((frame.opcode.name, frame.sequence, frame.address, frame.argument, frame.payload))
        return done(frame, argument=0x1234, payload=b"block")
    with machine(tmp_path, answer) as transport:
        assert isinstance(transport, Transport)
        assert now(transport.read_register(0x18, 4)) == 0x1234
        now(transport.write_register(0x20, 8, 0xAB))
        assert now(transport.read_memory(0x1000, 5)) == b"block"
        now(transport.write_memory(0x2000, b"xyz"))
        now(transport.pause(99))
        now(transport.shutdown())
    assert seen == [
        ("READ_REGISTER", 1, 0x18, 4, b""), ("WRITE_REGISTER", 2, 0x20, 8, b"\xab" + bytes(7)),
        ("READ_MEMORY", 3, 0x1000, 5, b""), ("WRITE_MEMORY", 4, 0x2000, 0, b"xyz"), ("PAUSE", 5, 0, 99, b""),
        ("SHUTDOWN", 6, 0, 0, b"")]


def test_long_blocks_go_in_several_frames(tmp_path):
    memory = bytearray(3 * MAX_PAYLOAD_BYTES)

    def answer(frame):
        if frame.opcode is Opcode.WRITE_MEMORY:
            memory[frame.address:frame.address + len(frame.payload)] = frame.payload
            return done(frame)
        return done(frame, payload=bytes(memory[frame.address:frame.address + frame.argument]))
    block = bytes(range(251)) * 9000
    with machine(tmp_path, answer) as transport:
        now(transport.write_memory(5, block))
        assert now(transport.read_memory(5, len(block))) == block


@pytest.mark.parametrize(("kind", "error"), [
    (ErrorKind.REGISTER, RegisterRefused), (ErrorKind.MEMORY, MemoryRefused), (ErrorKind.FRAME, LinkError)])
def test_what_the_machine_refuses_is_raised_here(tmp_path, kind, error):
    def answer(frame):
        return encode_frame(Frame(opcode=Opcode.ERROR, sequence=frame.sequence, argument=kind, payload=b"not this"))
    with machine(tmp_path, answer) as transport, pytest.raises(error, match="not this"):
        now(transport.read_register(0, 8))


def test_an_answer_to_something_else_is_refused(tmp_path):
    def answer(frame):
        return encode_frame(Frame(opcode=Opcode.DONE, sequence=frame.sequence + 1))
    with machine(tmp_path, answer) as transport, pytest.raises(BadSequence, match="READ_REGISTER #1"):
        now(transport.read_register(0, 8))


def test_a_damaged_answer_is_refused(tmp_path):
    with machine(tmp_path, lambda frame: done(frame)[:-1] + b"\x00") as transport, pytest.raises(BadChecksum):
        now(transport.read_register(0, 8))


def test_a_machine_that_goes_away_is_told(tmp_path):
    with machine(tmp_path, lambda frame: None) as transport, pytest.raises(ConnectionLost, match="closed the connection"):
        now(transport.read_register(0, 8))


def test_a_machine_that_is_not_there_is_told(tmp_path):
    with pytest.raises(ConnectionLost, match="nobody listens"):
        SocketTransport(f"unix:{tmp_path}/nobody", connect_seconds=0.05)


@pytest.mark.parametrize("address", ["", "unix:", "tcp:host", "tcp:host:port", "serial:/dev/x", "/path"])
def test_an_address_of_another_kind_is_refused(address):
    with pytest.raises(ValueError, match="must be unix:/path or tcp:host:port"):
        parse_address(address)


# --- update window -----------------------------------------------------------------------------------------------------

class Window:
    """Registers of an update window: busy for some looks, then `status`; keeps what was written."""

    def __init__(self, *, busy=2, observed=0, **status):
        self.busy = busy
        self.status = encode(UpdateStatus, **status)
        self.observed = observed
        self.written = []

    async def write_register(self, offset, width, value):
        assert width == 8
        self.written.append((UpdateRegister(offset - UPDATE_BASE).name, value))

    async def read_register(self, offset, width):
        assert width == 8
        register = UpdateRegister(offset - UPDATE_BASE)
        if register is UpdateRegister.STATUS:
            self.busy -= 1
            return encode(UpdateStatus, busy=1) if self.busy >= 0 else self.status
        assert self.busy < 0, "looked at the result while busy"
        return {UpdateRegister.OBSERVED_LOW: self.observed & (1 << 64) - 1,
                UpdateRegister.OBSERVED_HIGH: self.observed >> 64}[register]


def test_an_exchange_is_written_whole_before_it_is_started():
    window = Window(observed=0xAA << 64 | 0xBB)
    observed = now(update_window.compare_exchange128(window, 0x5000, 0x11 << 64 | 0x22, 0x33 << 64 | 0x44))
    assert observed == 0xAA << 64 | 0xBB
    assert window.written == [
        ("ADDRESS", 0x5000), ("EXPECTED_LOW", 0x22), ("EXPECTED_HIGH", 0x11), ("DESIRED_LOW", 0x44),
        ("DESIRED_HIGH", 0x33), ("COMMAND", encode(UpdateCommand, operation=UpdateOperation.COMPARE_EXCHANGE_128))]


def test_a_store_is_started_last():
    window = Window()
    now(update_window.store64(window, 0x5008, 0x77))
    assert window.written == [("ADDRESS", 0x5008), ("DESIRED_LOW", 0x77),
                              ("COMMAND", encode(UpdateCommand, operation=UpdateOperation.STORE_64))]


def test_a_store_that_the_memory_refuses_is_told():
    with pytest.raises(MemoryRefused, match="STORE_64 at 0x5008"):
        now(update_window.store64(Window(error=1), 0x5008, 0x77))


def test_a_window_that_stays_busy_is_told():
    with pytest.raises(UpdateStuck, match="still busy with STORE_64 at 0x5008"):
        now(update_window.store64(Window(busy=1 << 20), 0x5008, 0x77))


@pytest.mark.parametrize(("call", "rule"), [
    (lambda: update_window.store64(Window(), 0x5004, 0), "`hpa` must be a multiple of 8"),
    (lambda: update_window.compare_exchange128(Window(), 0x5008, 0, 0), "`hpa` must be a multiple of 16"),
    (lambda: update_window.store64(Window(), 1 << 52, 0), "below 2\\*\\*52"),
    (lambda: update_window.store64(Window(), 0, 1 << 64), "`value` must fit in 64 bits"),
    (lambda: update_window.compare_exchange128(Window(), 0, 1 << 128, 0), "`expected` must fit in 128 bits"),
    (lambda: update_window.compare_exchange128(Window(), 0, 0, -1), "`desired` must fit in 128 bits"),
])
def test_a_store_that_cannot_be_is_refused_before_anything_is_written(call, rule):
    with pytest.raises(ValueError, match=rule):
        now(call())
