# amaranth: UnusedElaboratable=no
"""A descriptor fetcher with a queue in memory, and registers that hold it after an error."""

from hw.iommu.descriptor_fetcher import DescriptorFetcher
from hw.spec.invalidation import QueueError, TranslationTableMode
from tests.hw.iommu.bench import Listener, run
from tests.hw.iommu.memory_mock import MemoryMock

__all__ = ["BASE", "Bench"]

BASE = 0x0008_0000  # aligned to the largest queue


class Bench:
    """A fetcher, its memory, and registers that hold it after an error."""

    def __init__(self, *, wide=0, size_log2=0, word_bits=128, mode=TranslationTableMode.LEGACY, **memory):
        self.dut = DescriptorFetcher(word_bits=word_bits)
        self.memory = MemoryMock(word_bits=word_bits, **memory)
        self.events = [Listener(event) for event in self.dut.events]
        self.passed = Listener(self.dut.descriptors)
        self.errors = []
        self._constant = {
            "wide": wide,
            "size_log2": size_log2,
            "table_mode": mode,
            "base": BASE >> 12,
            "max_address_mask": 18,
            "enabled": 1,
        }
        self.units = 2 if wide else 1

    def store(self, *descriptors, at=0):
        """Put descriptors in the queue from this one on; each an integer of 16 or 32 bytes."""
        for number, descriptor in enumerate(descriptors, at):
            self.memory.store(BASE + 16 * self.units * number, descriptor, 16 * self.units)

    def set(self, **inputs):
        """Change inputs by name."""
        for name, value in inputs.items():
            self.ctx.set(getattr(self.dut, name), value)

    @property
    def head(self):
        """The head, in descriptors."""
        units = self.ctx.get(self.dut.head)
        assert units % self.units == 0
        return units // self.units

    async def _registers(self, ctx):
        async for _, _, error, cause in ctx.tick().sample(self.dut.error, self.dut.error_cause):
            if error:
                self.errors.append(QueueError(cause))
                ctx.set(self.dut.held, 1)

    def run(self, testbench):
        """Run a testbench, which is given this bench."""

        async def bench(ctx):
            self.ctx = ctx
            self.set(**self._constant)
            ctx.set(self.dut.descriptors.ready, 1)
            await testbench(self)

        run(
            self.dut,
            bench,
            background=(
                self.memory.process(self.dut.memory_requests, self.dut.memory_replies),
                self._registers,
                self.passed.process,
                *(listener.process for listener in self.events),
            ),
            cycles=40_000,
        )
