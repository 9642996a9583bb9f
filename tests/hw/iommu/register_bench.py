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
from tests.hw.iommu.bench import Listener, receive, run, send

VER, CAP, ECAP, GCMD, GSTS, RTADDR, CCMD = 0x00, 0x08, 0x10, 0x18, 0x1C, 0x20, 0x28
FSTS, FECTL, FEDATA, FEADDR, FEUADDR = 0x34, 0x38, 0x3C, 0x40, 0x44
IQH, IQT, IQA, ICS, IECTL, IEDATA, IEADDR, IEUADDR, IQERCD = 0x80, 0x88, 0x90, 0x9C, 0xA0, 0xA4, 0xA8, 0xAC, 0xB0
IVA, IOTLB, FRCD = 0xF0, 0xF8, 0x220          # IRO and FRO of the default straps
TE, SRTP, QIE = 1 << 31, 1 << 30, 1 << 26     # GCMD; TES, RTPS and QIES in GSTS
START = 1 << 63                               # ICC, IVT


def access_of(address, *, width=4, write=None):
    """A host access as a payload."""
    return decode(HostRequest, encode(
        HostRequest, write=write is not None, wide=width == 8, address=address, data=write or 0))


class Bench:
    """Software's hand, the invalidator's, the queue's, and the device that faults."""

    def __init__(self, ctx, dut, recorder, violations, accesses):
        self.ctx, self.dut, self.recorder, self.violations, self.accesses = ctx, dut, recorder, violations, accesses

    async def access(self, address, width, *, write=None):
        """One access of `width` bytes; returns (data, error)."""
        await send(self.ctx, self.dut.accesses, access_of(address, width=width, write=write))
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
        return len(self.violations)

    async def take(self):
        """Accept the invalidation that is offered, and the fence behind it."""
        step = await receive(self.ctx, self.dut.invalidations)
        assert step.fence == 0
        assert (await receive(self.ctx, self.dut.invalidations)).fence == 1
        return step.invalidation

    async def complete(self):
        """Say that it has completed, and give the registers time to show it."""
        await self.pulse(self.dut.invalidation_done)
        await self.ctx.tick().repeat(2)

    async def nothing_offered(self, cycles=20):
        """Let cycles pass in which no invalidation is offered."""
        for _ in range(cycles):
            assert self.ctx.get(self.dut.invalidations.valid) == 0
            await self.ctx.tick()

    async def pulse(self, signal):
        """One cycle of a signal."""
        self.ctx.set(signal, 1)
        await self.ctx.tick()
        self.ctx.set(signal, 0)

    async def queue_error(self, cause):
        """The queue stops at a descriptor."""
        self.ctx.set(self.dut.queue.queue_error_cause, cause)
        await self.pulse(self.dut.queue.queue_error)

    async def time_out(self, source_id):
        """A device does not answer."""
        self.ctx.set(self.dut.queue.timed_out_source, source_id)
        await self.pulse(self.dut.queue.timed_out)

    async def completion_error(self, source_id):
        """A device answers with an error."""
        self.ctx.set(self.dut.queue.completion_error_source, source_id)
        await self.pulse(self.dut.queue.completion_error)

    async def fault(self, **request):
        """A device is blocked; one cycle later the registers show it."""
        await send(self.ctx, self.recorder.faults, decode(FaultReport, encode(
            FaultReport, request=encode(DmaRequest, **request), fault_reason=FaultReason.READ_PERMISSION)))

    async def during_write(self, address, value, happening):
        """A 4-byte write, and in the very cycle in which it is accepted what `happening` does in its first cycle."""
        self.ctx.set(self.dut.accesses.payload, access_of(address, write=value))
        self.ctx.set(self.dut.accesses.valid, 1)
        assert self.ctx.get(self.dut.accesses.ready) == 1
        await happening()
        self.ctx.set(self.dut.accesses.valid, 0)
        await receive(self.ctx, self.dut.replies)

    async def message(self, port=None):
        """Take the fault message that is offered, or the one of `port`: (address, data)."""
        payload = await receive(self.ctx, self.dut.fault_messages if port is None else port)
        return payload.address, payload.data

    async def no_message(self, cycles=20):
        """Let cycles pass in which no message is offered."""
        for _ in range(cycles):
            assert self.ctx.get(self.dut.fault_messages.valid | self.dut.invalidation_messages.valid) == 0
            await self.ctx.tick()


class _Strobe:
    """A one-bit output as a port that a Listener can follow."""

    def __init__(self, signal):
        self.valid = self.payload = signal
        self.signature = type("Members", (), {"members": ()})


def run_registers(testbench, **strapped):
    """Run a testbench against a register block with a fault recorder; straps by name change the default ones."""
    config = IommuConfig()
    straps = describe_straps(STRAPS_DEFAULT) | strapped
    m = Module()
    m.submodules.block = block = RegisterBlock(config)
    m.submodules.recorder = recorder = FaultRecorder(config)
    wiring.connect(m, block.faults, recorder.registers)
    violations, accesses = Listener(_Strobe(block.protocol_error)), Listener(block.events[1])

    async def bench(ctx):
        for part in (block, recorder):
            ctx.set(part.straps, decode(Straps, encode(Straps, **straps)))
        ctx.set(block.queue.drained, 1)
        await testbench(Bench(ctx, block, recorder, violations, accesses))
    run(m, bench, background=[violations.process, accesses.process])
