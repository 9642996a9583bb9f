"""Drivers in processes of their own, for test_serve.py: `python serving_drivers.py NAME ADDRESS`."""
import asyncio
import os
import signal
import sys
import time

from hw.spec.host_link import Opcode
from sw.transport.link import Frame, encode_frame
from sw.transport.socket import SocketTransport, open_socket

TABLE = 0x9000


async def works(address):
    with SocketTransport(address) as transport:
        await transport.write_memory(TABLE, bytes(range(16)))
        await transport.pause(50)
        await transport.compare_exchange128(TABLE, int.from_bytes(bytes(range(16)), "little"), 1 << 100)
        assert await transport.read_register(0x10, 8) > 50


async def thinks_long(address):
    """As `works`, but its process is slow: the machine must not notice."""
    with SocketTransport(address) as transport:
        await transport.write_memory(TABLE, bytes(range(16)))
        time.sleep(0.5)
        await transport.pause(50)
        await transport.compare_exchange128(TABLE, int.from_bytes(bytes(range(16)), "little"), 1 << 100)
        time.sleep(0.5)
        assert await transport.read_register(0x10, 8) > 50


async def is_killed_inside_a_frame(address):
    connection = open_socket(address, seconds=10)
    frame = encode_frame(Frame(opcode=Opcode.WRITE_MEMORY, sequence=1, address=TABLE, payload=bytes(64)))
    connection.sendall(frame[:-10])
    os.kill(os.getpid(), signal.SIGKILL)


async def ends_the_machine(address):
    with SocketTransport(address) as transport:
        assert await transport.read_memory(TABLE, 16) == (1 << 100).to_bytes(16, "little")
        await transport.shutdown()


if __name__ == "__main__":
    asyncio.run(globals()[sys.argv[1]](sys.argv[2]))
