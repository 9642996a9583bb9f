# amaranth: UnusedElaboratable=no
"""The unit in its smallest size, with a memory: what the tests of it as a whole share."""
from hw.iommu.config import IommuConfig
from hw.iommu.unit import IommuUnit, unit_events
from hw.spec.capabilities import STRAPS_DEFAULT, Straps, describe_straps
from hw.spec.codec import decode, encode
from hw.spec.dma import DmaRequest
from tests.hw.iommu.bench import Listener, receive, run, send
from tests.hw.iommu.memory_mock import MemoryMock
from tests.hw.iommu.register_bench import GCMD, IQA, IQT, QIE, access_of

SMALL = IommuConfig(iotlb_sets=2, iotlb_ways=1, superpage_sets=2, superpage_ways=1, context_sets=2, context_ways=1,
                    structure_sets=2, structure_ways=1, upper_structure_sets=2, upper_structure_ways=1,
                    walk_slots=1, context_slots=1, waiters=2, fault_records=1)


class Machine:
    """The unit's registers, its monitor, its memory, and what its events said."""

    def __init__(self, ctx, dut, memory, log):
        self.ctx, self.dut, self.memory, self._log = ctx, dut, memory, log

    async def _access(self, window, address, width, write=None):
        accesses, replies = getattr(self.dut, f"{window}_accesses"), getattr(self.dut, f"{window}_replies")
        await send(self.ctx, accesses, access_of(address, width=width, write=write))
        reply = await receive(self.ctx, replies)
        assert reply.error == 0
        return reply.data

    async def read(self, address, width=4):
        """A register."""
        return await self._access("register", address, width)

    async def write(self, address, value, width=4):
        """A register."""
        await self._access("register", address, width, write=value)

    async def count(self, offset):
        """A counter of the monitor."""
        return await self._access("monitor", offset, 8)

    def events(self, name):
        """What the event ports of this name have said."""
        return [payload for each, port in self._log if each == name for payload in port.payloads]

    async def start_queue(self, hpa, *descriptors, size_log2=0):
        """Put descriptors, each as two words, in a queue there, switch it on and ring."""
        for index, (low, high) in enumerate(descriptors):
            self.memory.store(hpa + 16 * index, high << 64 | low, 16)
        await self.write(IQA, hpa | size_log2, 8)
        await self.write(GCMD, QIE)
        await self.write(IQT, 16 * len(descriptors))

    async def ask(self, **fields):
        """A DMA request is accepted."""
        await send(self.ctx, self.dut.dma_requests, decode(DmaRequest, encode(DmaRequest, **fields)))

    async def answer(self):
        """The next reply."""
        return await receive(self.ctx, self.dut.dma_replies)


def run_machine(testbench, *, latency=3, **strapped):
    """Run a testbench against a small unit with memory; straps by name change the default ones."""
    dut = IommuUnit(SMALL)
    memory = MemoryMock(latency=(latency, latency))
    straps = encode(Straps, **describe_straps(STRAPS_DEFAULT) | strapped)
    log = [(name, Listener(port)) for name, port in zip(unit_events(SMALL), dut.events, strict=True)]

    async def bench(ctx):
        ctx.set(dut.straps, decode(Straps, straps))
        await ctx.tick()
        await testbench(Machine(ctx, dut, memory, log))
    run(dut, bench, background=[memory.process(dut.table_requests, dut.table_replies), *(port.process for _, port in log)])
