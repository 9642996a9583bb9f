"""What the tests of the request path share: messages by keyword, a simulation with a deadline, and pauses.

Every value is built from the layouts of hw.spec and hw.iommu.messages; nothing here knows how a block works.
"""

import itertools
import random

from amaranth import Value
from amaranth.sim import Simulator

from hw.iommu.config import IommuConfig
from hw.iommu.messages import CachedEntry, Context, ContextFill, iotlb_fill_layout
from hw.spec.capabilities import STRAPS_DEFAULT, Straps, describe_straps
from hw.spec.codec import decode, encode
from hw.spec.dma import Access, DmaRequest, RequestKind
from hw.spec.invalidation import Granularity, Invalidation, InvalidationKind
from hw.spec.tables import PageSize, TranslationType

__all__ = [
    "ABSENT",
    "PAUSES",
    "SMALL",
    "STRAPS_DEFAULT",
    "begin",
    "context",
    "context_fill",
    "entry",
    "invalidation",
    "iotlb_fill",
    "iotlb_line",
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
    waiters=4,
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


def entry(page=0x1000, *, readable=1, writable=1, valid=1):
    """One entry of a line, as a constant."""
    return decode(CachedEntry, encode(CachedEntry, valid=valid, readable=readable, writable=writable, page=page))


ABSENT = entry(0, readable=0, writable=0, valid=0)
"""An entry of a line of which nothing is known."""


def iotlb_line(entries, *, domain_id=5, iova_page=0, page_size=PageSize.SIZE_4K, table_pointer=0x777):
    """A fill of the IOTLB with a whole line: all its entries, in order, as a constant."""
    layout = iotlb_fill_layout(len(entries))
    fields = {
        "domain_id": domain_id,
        "iova_page": iova_page,
        "page_size": page_size,
        "table_pointer": table_pointer,
        "entries": list(entries),
    }
    return layout.const(fields)


def iotlb_fill(*, page=0x1000, readable=1, writable=1, iova_page=0, page_size=PageSize.SIZE_4K, entries=2, **more):
    """A fill of the IOTLB of whose line only the page at `iova_page` is known, as a constant."""
    index = (iova_page >> 9 * page_size.value) % entries
    line = [ABSENT] * entries
    line[index] = entry(page, readable=readable, writable=writable)
    return iotlb_line(line, iova_page=iova_page, page_size=page_size, **more)


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
