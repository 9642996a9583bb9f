"""A Lookup whose neighbours are Python, filled caches, and requests whose fate is known: what the tests of it share."""

import itertools

from hw.iommu.lookup import Lookup
from hw.spec.tables import PageSize, TranslationType
from tests.hw.iommu.request_path import SMALL, STRAPS_DEFAULT, context_fill, entry, iotlb_fill, iotlb_line, put, request

__all__ = [
    "DEVICES",
    "FILL_CYCLES",
    "HIT",
    "KNOWN",
    "LATENCY",
    "LINES",
    "MISS",
    "OTHER",
    "OUTPUTS",
    "PASSING",
    "STRANGER",
    "UNKNOWN",
    "Bench",
    "tagged",
]

OUTPUTS = ("answers", "walk_requests", "context_requests")
LATENCY = 3  # from the cycle of acceptance to that in which the answer is offered
FILL_CYCLES = 2  # from a fill to the first request, in its cycle of acceptance, that finds it

KNOWN, OTHER, PASSING, UNKNOWN = 0x0100, 0x0203, 0x0300, 0x0400  # devices
DEVICES = [
    context_fill(source_id=KNOWN, domain_id=5, table_pointer=0x555),
    context_fill(source_id=OTHER, domain_id=6, table_pointer=0x666, fault_processing_disable=1),
    context_fill(source_id=PASSING, domain_id=7, translation_type=TranslationType.PASS_THROUGH),
]
LINES = [
    iotlb_line(  # walked before the context changed
        [entry(0x1_0000), entry(0x1_0001, writable=0)], domain_id=5, iova_page=0x10, table_pointer=0x444
    ),
    iotlb_fill(domain_id=5, iova_page=0x600, page=0x8_0200, page_size=PageSize.SIZE_2M),
    iotlb_fill(domain_id=6, iova_page=0x12, page=0x6_0012),
    iotlb_fill(domain_id=7, iova_page=0x13, page=0x7_0013),
]

HIT = request(source_id=KNOWN, iova=0x10_000)
MISS = request(source_id=KNOWN, iova=0x99_000)
STRANGER = request(source_id=UNKNOWN)


def tagged(template, tag):
    """The same request under another tag."""
    fields = ("source_id", "iova", "access", "kind", "length_bytes")
    return request(**{name: template[name] for name in fields}, tag=tag)


class Bench:
    """A Lookup whose neighbours are Python: one `step` is one cycle."""

    def __init__(self, config=SMALL):
        self.dut = Lookup(config)
        self.cycle = 0
        self.waiting = []  # requests not yet accepted
        self.accepted = []  # (cycle, request)
        self.left = {name: [] for name in OUTPUTS}  # (cycle, payload)
        self.ready = {name: itertools.repeat(True) for name in OUTPUTS}
        self.offers = itertools.repeat(True)
        self.begins = {}  # cycle: invalidation
        self.flips = set()  # cycles from which on the colour is the other one
        self.fills = {}  # cycle: (port name, payload)
        self.touched = []  # (cycle, payload)
        self.counts = []  # of every cycle

    async def prepare(self, ctx, *, devices=DEVICES, lines=LINES):
        """Translation on, both caches filled, the pipeline idle."""
        put(ctx, self.dut.straps, STRAPS_DEFAULT)
        ctx.set(self.dut.control.translation_enabled, 1)
        for number, device in enumerate(devices):
            self.fills.setdefault(number, []).append(("context_fill", device))
        for number, line in enumerate(lines):
            self.fills.setdefault(number, []).append(("iotlb_fill", line))
        await self.run(ctx, max(len(devices), len(lines)) + FILL_CYCLES)

    async def step(self, ctx):
        dut = self.dut
        if self.cycle in self.flips:
            ctx.set(dut.invalidation.colour, 1 - ctx.get(dut.invalidation.colour))
        begun = self.begins.get(self.cycle)
        ctx.set(dut.invalidation.begin, begun is not None)
        if begun is not None:
            put(ctx, dut.invalidation.payload, begun)
        fills = dict(self.fills.get(self.cycle, []))
        for name in ("context_fill", "iotlb_fill"):
            ctx.set(getattr(dut, name).valid, name in fills)
            if name in fills:
                put(ctx, getattr(dut, name).payload, fills[name])
        offered = bool(self.waiting) and next(self.offers)
        ctx.set(dut.requests.valid, offered)
        if offered:
            put(ctx, dut.requests.payload, self.waiting[0])
        for name in OUTPUTS:
            ctx.set(getattr(dut, name).ready, next(self.ready[name]))
        for name in OUTPUTS:
            output = getattr(dut, name)
            if ctx.get(output.valid & output.ready):
                self.left[name].append((self.cycle, ctx.get(output.payload)))
        if ctx.get(dut.touched.valid):
            self.touched.append((self.cycle, ctx.get(dut.touched.payload)))
        self.counts.append(ctx.get(dut.counts))
        if ctx.get(dut.requests.valid & dut.requests.ready):
            self.accepted.append((self.cycle, self.waiting.pop(0)))
        await ctx.tick()
        self.cycle += 1

    async def run(self, ctx, cycles):
        for _ in range(cycles):
            await self.step(ctx)

    async def settle(self, ctx):
        """Run until every request has left, and has arrived somewhere."""
        while self.waiting or sum(map(len, self.left.values())) < len(self.accepted):
            await self.step(ctx)
