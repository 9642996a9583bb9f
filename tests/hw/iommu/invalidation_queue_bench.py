# amaranth: UnusedElaboratable=no
"""The invalidation queue, and around it registers, a memory, an invalidator and a message writer."""

from hw.iommu.config import IommuConfig
from hw.iommu.invalidation_queue import InvalidationQueue
from hw.spec.capabilities import STRAPS_DEFAULT, Straps
from hw.spec.codec import decode, encode
from hw.spec.monitor import QueueKnobs
from tests.hw.iommu.bench import Listener, run
from tests.hw.iommu.memory_mock import MemoryMock

__all__ = ["BASE", "STATUS", "Bench"]

BASE = 0x0008_0000
STATUS = 0x4000
PORT_PULSES = ("queue_error", "timed_out", "completion_error", "wait_completed")


class Bench:
    """A queue, its memory, registers that hold it after an error, an invalidator and a message writer at once.

    Attributes
    ----------
    log
        Pulses of QueuePort by name, "begin", "fence", "status", "abandoned", in order of their cycles.
    statuses
        (address, data) of each status.
    fence_cycles
        From taking a fence to its completion.
    """

    def __init__(self, *, wide=0, fence_cycles=2, word_bits=128, **memory):
        self.dut = InvalidationQueue(IommuConfig(memory_word_bits=word_bits))
        self.memory = MemoryMock(word_bits=word_bits, **memory)
        self.events = [Listener(event) for event in self.dut.events]
        self.units = 2 if wide else 1
        self.fence_cycles = fence_cycles
        self.log, self.statuses = [], []
        self.executed = []
        self._next = 0

    def put(self, *descriptors, length=256):
        """Store descriptors behind those that are in the queue; the tail that software then writes."""
        for descriptor in descriptors:
            self.memory.store(BASE + 16 * self.units * self._next, descriptor, 16 * self.units)
            self._next = (self._next + 1) % (length // self.units)
        return self._next * self.units

    def submit(self, *descriptors):
        """Store descriptors and move the tail."""
        self.set(tail=self.put(*descriptors))

    def set(self, **registers):
        """Set what the registers say, by name."""
        for name, value in registers.items():
            self.ctx.set(getattr(self.dut.registers, name), value)

    def turn(self, **knobs):
        """Set the knobs by name."""
        self.ctx.set(self.dut.knobs, decode(QueueKnobs, encode(QueueKnobs, **knobs)))

    def get(self, name):
        """What the queue tells the registers."""
        return self.ctx.get(getattr(self.dut.registers, name))

    @property
    def head(self):
        """The head, in descriptors."""
        return self.get("head") // self.units

    async def _surroundings(self, ctx):
        port, dut = self.dut.registers, self.dut
        fence_left = None
        sampled = ctx.tick().sample(
            dut.invalidations.valid & dut.invalidations.ready,
            dut.invalidations.payload.fence,
            dut.status.valid & dut.status.ready,
            dut.status.payload,
            dut.executed,
            dut.executed_type,
            dut.wait_abandoned,
            *(getattr(port, name) for name in PORT_PULSES),
        )
        async for _, _, step, fence, status, message, executed, executed_type, abandoned, *pulses in sampled:
            named = dict(zip(PORT_PULSES, pulses, strict=True))
            named |= {"fence": step & fence, "begin": step & ~fence & 1, "status": status, "abandoned": abandoned}
            self.log += [name for name, pulse in named.items() if pulse]
            assert named["queue_error"] + named["timed_out"] + named["completion_error"] <= 1
            if executed:
                self.executed.append(executed_type)
            if status:
                self.statuses.append((message.address, message.data))
            if named["queue_error"] or named["timed_out"]:
                ctx.set(port.held, 1)
            fence_left = self.fence_cycles if step and fence else None if fence_left in (0, None) else fence_left - 1
            ctx.set(dut.invalidation_done, fence_left == 0)
            ctx.set(dut.status_stored, status)

    async def pass_cycles(self, cycles):
        """Let cycles pass."""
        await self.ctx.tick().repeat(cycles)

    def run(self, testbench):
        """Run a testbench, which is given this bench, on a queue that has just been turned on."""

        async def bench(ctx):
            self.ctx = ctx
            ctx.set(self.dut.straps, decode(Straps, STRAPS_DEFAULT))
            ctx.set(self.dut.invalidations.ready, 1)
            ctx.set(self.dut.status.ready, 1)
            self.set(base=BASE >> 12, wide=self.units - 1, enabled=1)
            await testbench(self)

        run(
            self.dut,
            bench,
            background=(
                self.memory.process(self.dut.memory_requests, self.dut.memory_replies),
                self._surroundings,
                *(listener.process for listener in self.events),
            ),
            cycles=20_000,
        )
