# amaranth: UnusedElaboratable=no
"""An invalidator, and by hand what it listens to."""

from hw.iommu.invalidator import Invalidator
from hw.iommu.messages import InvalidationStep
from hw.spec.codec import decode, encode
from hw.spec.invalidation import Granularity, Invalidation, InvalidationKind
from tests.hw.iommu.bench import run

__all__ = ["LISTENERS", "QUEUE", "REGISTERS", "Bench", "context_invalidation", "iotlb_invalidation", "run_invalidator"]

LISTENERS = 3
DEADLINE_CYCLES = 20_000
REGISTERS, QUEUE = 0, 1
FENCE = encode(InvalidationStep, fence=1)


def context_invalidation(**fields):
    """A context-cache invalidation, as an integer."""
    return encode(Invalidation, kind=InvalidationKind.CONTEXT_CACHE, granularity=Granularity.GLOBAL, **fields)


def iotlb_invalidation(*, drain, **fields):
    """An IOTLB invalidation, as an integer."""
    return encode(
        Invalidation, kind=InvalidationKind.IOTLB, granularity=Granularity.DOMAIN_SELECTIVE, drain=drain, **fields
    )


class Bench:
    """An invalidator, and by hand what it listens to. Steps come from the queue unless it is said otherwise."""

    def __init__(self, ctx, dut):
        self.ctx, self.dut = ctx, dut

    def offer(self, invalidation, source=QUEUE):
        """Offer an invalidation from this cycle on."""
        self._offer(encode(InvalidationStep, invalidation=invalidation), source)

    def offer_fence(self, source=QUEUE):
        """Offer a fence from this cycle on."""
        self._offer(FENCE, source)

    def _offer(self, step, source):
        self.ctx.set(self.dut.requests[source].payload, decode(InvalidationStep, step))
        self.ctx.set(self.dut.requests[source].valid, 1)

    def count(self, *, translating=None, accessing=None):
        """Set counters, {colour: count}."""
        for port, values in ((self.dut.translating, translating or {}), (self.dut.accessing, accessing or {})):
            for colour, value in values.items():
                self.ctx.set(port[colour], value)

    def taken(self, source=QUEUE):
        """Whether a step of this source is taken in this cycle."""
        request = self.dut.requests[source]
        return self.ctx.get(request.valid & request.ready)

    def seen(self, source=QUEUE):
        """(begin, done) of this cycle; nobody else's fence is done."""
        assert self.ctx.get(self.dut.done[1 - source]) == 0
        return self.ctx.get(self.dut.port.begin), self.ctx.get(self.dut.done[source])

    def colour(self):
        """The colour that lookups take in this cycle."""
        return self.ctx.get(self.dut.port.colour)

    async def tick(self, cycles=1):
        """Let cycles pass; a step that was taken is withdrawn."""
        for _ in range(cycles):
            taken = [self.taken(source) for source in (REGISTERS, QUEUE)]
            await self.ctx.tick()
            for request, gone in zip(self.dut.requests, taken, strict=True):
                if gone:
                    self.ctx.set(request.valid, 0)

    async def take(self, source=QUEUE):
        """Let the cycle pass in which the offered step is taken: afterwards it is the first cycle after it."""
        while not self.taken(source):
            await self.tick()
        await self.tick()

    async def begin(self, invalidation, source=QUEUE):
        """Offer an invalidation, and let the cycle of its `begin` pass."""
        self.offer(invalidation, source)
        await self.take(source)

    async def fence(self, source=QUEUE):
        """Offer a fence, and let the cycle pass in which it is taken."""
        self.offer_fence(source)
        await self.take(source)

    async def quiet(self, cycles):
        """Let cycles pass in which nothing may begin or complete."""
        for _ in range(cycles):
            assert self.seen() == (0, 0)
            await self.tick()

    async def complete_one(self):
        """A whole invalidation with its fence: colours change places."""
        await self.begin(context_invalidation())
        await self.fence()
        await self.tick(3)


def run_invalidator(testbench):
    """Run a testbench against an invalidator."""
    dut = Invalidator(listeners=LISTENERS)

    async def bench(ctx):
        await testbench(Bench(ctx, dut))

    run(dut, bench, cycles=DEADLINE_CYCLES)
