# amaranth: UnusedElaboratable=no
"""What the benches of AXI blocks share: fields of bursts, watched channels, and requesters and memories that take their time."""
import random

from hw.axi.bus import address_layout
from hw.spec.axi import AxiBurst, DmaUser
from hw.spec.codec import decode, encode
from hw.spec.dma import DmaReply, Status

__all__ = ["ID_BITS", "OK_PAGE", "burst_of", "drain", "feed", "reply_of", "watched"]

ID_BITS = 4
SOURCE_ID = 0x1234
OK_PAGE = 0x5_0000   # an IOVA page goes to this many pages further on


def burst_of(*, addr, beats=1, id=0, size=4, burst=AxiBurst.INCR, lock=0, prot=0, source_id=SOURCE_ID, pasid=None):
    """A burst on AR or AW of the DMA port."""
    user = encode(DmaUser, source_id=source_id, pasid_present=pasid is not None, pasid=pasid or 0)
    layout = address_layout(id_bits=ID_BITS, user=DmaUser)
    return decode(layout, encode(layout, id=id, addr=addr, len=beats - 1, size=size, burst=burst, lock=lock, prot=prot,
                                 user=user))


def reply_of(tag, *, status=Status.OK, hpa=0, colour=0):
    """The unit's answer."""
    return decode(DmaReply, encode(DmaReply, tag=tag, status=status, hpa=hpa, colour=colour))


def feed(port, payloads, *, percent=100, seed=0):
    """A testbench that offers these, one after the other; with a probability in percent in each cycle."""
    generator = random.Random(seed)

    async def source(ctx):
        for payload in payloads:
            while generator.randrange(100) >= percent:
                await ctx.tick()
            ctx.set(port.payload, payload)
            ctx.set(port.valid, 1)
            async for _, _, ready in ctx.tick().sample(port.ready):
                if ready:
                    break
            ctx.set(port.valid, 0)
    return source


def drain(port, taken, *, percent=100, seed=0):
    """A background testbench that takes what comes, with a probability in percent in each cycle, into a list."""
    generator = random.Random(seed)

    async def sink(ctx):
        ready = generator.randrange(100) < percent
        ctx.set(port.ready, ready)
        async for _, _, valid, payload in ctx.tick().sample(port.valid, port.payload):
            if valid and ready:
                taken.append(payload)
            ready = generator.randrange(100) < percent
            ctx.set(port.ready, ready)
    return sink


def watched(port, name="channel"):
    """A background testbench that fails if VALID falls, or the payload changes, before READY (Arm IHI 0022, A3.2.1)."""
    async def watch(ctx):
        offered = None
        async for _, _, valid, ready, payload in ctx.tick().sample(port.valid, port.ready, port.payload):
            if offered is not None and not valid:
                raise AssertionError(f"{name}: VALID fell before READY")
            if offered is not None and payload != offered:
                raise AssertionError(f"{name}: changed before READY")
            offered = payload if valid and not ready else None
    return watch
