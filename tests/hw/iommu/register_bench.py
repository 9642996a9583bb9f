# amaranth: UnusedElaboratable=no
"""Software's view of the register file, for the tests of it: offsets and bits written out by hand, and a bench."""
from amaranth import Module
from amaranth.lib import wiring

from hw.iommu.config import IommuConfig
from hw.iommu.fault_recorder import FaultRecorder
from hw.iommu.messages import FaultReport
from hw.iommu.register_block import RegisterBlock
from hw.spec.bench import HostRequest
from hw.spec.capabilities import STRAPS_DEFAULT, Straps, describe_straps
from hw.spec.codec import decode, encode
from hw.spec.dma import DmaRequest
from hw.spec.faults import FaultReason
from tests.hw.iommu.bench import receive, run, send

VER, CAP, ECAP, GCMD, GSTS, RTADDR, CCMD = 0x00, 0x08, 0x10, 0x18, 0x1C, 0x20, 0x28
FSTS, FECTL, FEDATA, FEADDR, FEUADDR = 0x34, 0x38, 0x3C, 0x40, 0x44
IVA, IOTLB, FRCD = 0xF0, 0xF8, 0x220          # IRO and FRO of the default straps
TE, SRTP = 1 << 31, 1 << 30                   # GCMD; TES and RTPS in GSTS
START = 1 << 63                               # ICC, IVT


class Bench:
    """Software's hand, the invalidator's, and the device that faults."""

    def __init__(self, ctx, dut, recorder):
        self.ctx, self.dut, self.recorder = ctx, dut, recorder

    async def access(self, address, width, *, write=None):
        """One access of `width` bytes; returns (data, error)."""
        await send(self.ctx, self.dut.accesses, decode(HostRequest, encode(
            HostRequest, write=write is not None, wide=width == 8, address=address, data=write or 0)))
        reply = await receive(self.ctx, self.dut.replies)
        return reply.data, reply.error

    async def read(self, address, width=4):
        """A read that must be permitted."""
        value, error = await self.access(address, width)
        assert error == 0
        return value

    async def write(self, address, value, width=4):
        """A write that must be permitted."""
        assert await self.access(address, width, write=value) == (0, 0)

    def errors(self):
        """Protocol errors so far."""
        return self.ctx.get(self.dut.protocol_errors)

    async def take(self):
        """Accept the invalidation that is offered."""
        return await receive(self.ctx, self.dut.invalidations)

    async def complete(self):
        """Say that it has completed, and give the registers time to show it."""
        self.ctx.set(self.dut.invalidation_done, 1)
        await self.ctx.tick()
        self.ctx.set(self.dut.invalidation_done, 0)
        await self.ctx.tick().repeat(2)

    async def nothing_offered(self, cycles=20):
        """Let cycles pass in which no invalidation is offered."""
        for _ in range(cycles):
            assert self.ctx.get(self.dut.invalidations.valid) == 0
            await self.ctx.tick()

    async def fault(self, **request):
        """A device is blocked; one cycle later the registers show it."""
        await send(self.ctx, self.recorder.faults, decode(FaultReport, encode(
            FaultReport, request=encode(DmaRequest, **request), fault_reason=FaultReason.READ_PERMISSION)))

    async def message(self):
        """Take the message that is offered: (address, data)."""
        payload = await receive(self.ctx, self.dut.messages)
        return payload.address, payload.data

    async def no_message(self, cycles=20):
        """Let cycles pass in which no message is offered."""
        for _ in range(cycles):
            assert self.ctx.get(self.dut.messages.valid) == 0
            await self.ctx.tick()


def run_registers(testbench, **strapped):
    """Run a testbench against a register block with a fault recorder; straps by name change the default ones."""
    config = IommuConfig()
    straps = describe_straps(STRAPS_DEFAULT) | strapped
    m = Module()
    m.submodules.block = block = RegisterBlock(config)
    m.submodules.recorder = recorder = FaultRecorder(config)
    wiring.connect(m, block.faults, recorder.registers)

    async def bench(ctx):
        for part in (block, recorder):
            ctx.set(part.straps, decode(Straps, encode(Straps, **straps)))
        await testbench(Bench(ctx, block, recorder))
    run(m, bench)
