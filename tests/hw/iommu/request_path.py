"""What the tests of the request path share: messages by keyword, a simulation with a deadline, and pauses.

Every value is built from the layouts of hw.spec and hw.iommu.messages; nothing here knows how a block works.
"""

import itertools
import random

from amaranth import Value
from amaranth.sim import Simulator

from hw.iommu.config import IommuConfig
from hw.iommu.messages import Context, ContextFill, IotlbFill
from hw.spec.capabilities import STRAPS_DEFAULT, Straps, describe_straps
from hw.spec.codec import decode, encode
from hw.spec.dma import Access, DmaRequest, RequestKind
from hw.spec.invalidation import Granularity, Invalidation, InvalidationKind
from hw.spec.tables import PageSize, TranslationType

__all__ = [
    "PAUSES",
    "SMALL",
    "STRAPS_DEFAULT",
    "begin",
    "context",
    "context_fill",
    "invalidation",
    "iotlb_fill",
    "put",
    "request",
    "simulate",
    "straps",
]

SMALL = IommuConfig(
    iotlb_sets=4,
    iotlb_ways=2,
    superpage_sets=2,
    superpage_ways=2,
    context_sets=2,
    context_ways=2,
    walk_slots=2,
    context_slots=2,
    miss_queue_depth=3,
)


def _random_pauses():
    generator = random.Random(7)
    while True:
        yield generator.random() < 0.4


PAUSES = {
    "none": lambda: itertools.repeat(True),
    "alternating": lambda: itertools.cycle((False, True)),
    "random": _random_pauses,
}
"""By name: makes an endless iterator that says, cycle by cycle, whether a sink is ready."""


def simulate(dut, testbench, *, cycles=5000):
    """Run one testbench; a hang is a failure after `cycles`."""

    async def watchdog(ctx):
        await ctx.delay(cycles * 1e-6)
        raise TimeoutError(f"the bench did not end within {cycles} cycles")

    simulator = Simulator(dut)
    simulator.add_clock(1e-6)
    simulator.add_testbench(testbench)
    simulator.add_testbench(watchdog, background=True)
    simulator.run()


def put(ctx, port, value):
    """Drive a port of any layout with an integer or a constant."""
    ctx.set(Value.cast(port), value if isinstance(value, int) else value.as_bits())


def straps(**changes):
    """The default machine's straps, with some changed."""
    return encode(Straps, **(describe_straps(STRAPS_DEFAULT) | changes))


def request(
    *, source_id=0x0100, iova=0, access=Access.READ, kind=RequestKind.UNTRANSLATED, length_bytes=64, tag=0, **more
):
    """A DMA request, as a constant."""
    fields = dict(source_id=source_id, iova=iova, access=access, kind=kind, length_bytes=length_bytes, tag=tag, **more)
    return decode(DmaRequest, encode(DmaRequest, **fields))


def context(*, domain_id=5, table_pointer=0x777, address_width=2, translation_type=TranslationType.MULTI_LEVEL, **more):
    """A cached context, as a constant."""
    fields = dict(
        domain_id=domain_id,
        table_pointer=table_pointer,
        address_width=address_width,
        translation_type=translation_type,
        **more,
    )
    return decode(Context, encode(Context, **fields))


def context_fill(*, source_id=0x0100, pasid_present=0, pasid=0, **more):
    """A context cache fill; what is not its key goes to `context`."""
    inner = context(**more).as_bits()
    return decode(
        ContextFill, encode(ContextFill, source_id=source_id, pasid_present=pasid_present, pasid=pasid, context=inner)
    )


def iotlb_fill(
    *, domain_id=5, iova_page=0, page=0x1000, page_size=PageSize.SIZE_4K, readable=1, writable=1, table_pointer=0x777
):
    """An IOTLB fill, as a constant."""
    fields = {
        "domain_id": domain_id,
        "iova_page": iova_page,
        "page": page,
        "page_size": page_size,
        "readable": readable,
        "writable": writable,
        "table_pointer": table_pointer,
    }
    return decode(IotlbFill, encode(IotlbFill, **fields))


def invalidation(kind, granularity=Granularity.GLOBAL, **fields):
    """An invalidation, as a constant."""
    kind, granularity = InvalidationKind[kind], Granularity(granularity)
    return decode(Invalidation, encode(Invalidation, kind=kind, granularity=granularity, **fields))


async def begin(ctx, port, value):
    """Spend one cycle in which an invalidation begins. The colour stays: only a fence changes it."""
    put(ctx, port.payload, value)
    ctx.set(port.begin, 1)
    await ctx.tick()
    ctx.set(port.begin, 0)
