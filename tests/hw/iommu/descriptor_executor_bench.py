# amaranth: UnusedElaboratable=no
"""A descriptor executor between what has been fetched, an invalidator, a memory and devices."""

from hw.iommu.descriptor_executor import DescriptorExecutor
from hw.spec.codec import decode, encode
from hw.spec.monitor import QueueKnobs
from tests.hw.iommu.bench import Listener, run

__all__ = ["Bench"]


class Bench:
    """An executor with the descriptors that have been fetched, an invalidator, and a memory for status data.

    Attributes
    ----------
    log
        What happened, as (cycle, what, which): "begin" and its invalidation, "fence", "done", "status" and its message,
        "stored", "executed" and its type, "completed", "abandoned", "late" and "error" with a source ID.
    fence_cycles, store_cycles
        From taking a fence to its completion; from taking a status to its acknowledgement.
    """

    def __init__(self, *, fence_cycles=2, store_cycles=3, **knobs):
        self.dut = DescriptorExecutor()
        self.fence_cycles, self.store_cycles = fence_cycles, store_cycles
        self.events = [Listener(event) for event in self.dut.events]
        self.log = []
        self.cycle = 0
        self.waiting = []
        self._knobs = knobs
        self._fence_left = self._store_left = None

    def of(self, *names):
        """(what, which) of these names, in order."""
        return [(what, which) for _, what, which in self.log if what in names]

    def cycle_of(self, name):
        """Cycle of the only thing of this name."""
        (cycle,) = [cycle for cycle, what, _ in self.log if what == name]
        return cycle

    def turn(self, knobs):
        """Set the knobs by name."""
        self.ctx.set(self.dut.knobs, decode(QueueKnobs, encode(QueueKnobs, **knobs)))

    async def step(self):
        ctx, dut = self.ctx, self.dut
        ctx.set(dut.descriptors.valid, bool(self.waiting))
        if self.waiting:
            ctx.set(dut.descriptors.payload, self.waiting[0])
        done, stored = self._fence_left == 0, self._store_left == 0
        ctx.set(dut.invalidation_done, done)
        ctx.set(dut.status_stored, stored)
        self._fence_left = None if self._fence_left in (0, None) else self._fence_left - 1
        self._store_left = None if self._store_left in (0, None) else self._store_left - 1

        def note(happened, what, which=None):
            if happened:
                self.log.append((self.cycle, what, which))

        note(done, "done")
        note(stored, "stored")
        if ctx.get(dut.invalidations.valid & dut.invalidations.ready):
            taken = ctx.get(dut.invalidations.payload)
            note(not taken.fence, "begin", taken.invalidation)
            note(taken.fence, "fence")
            if taken.fence:
                self._fence_left = self.fence_cycles - 1
        if ctx.get(dut.status.valid & dut.status.ready):
            note(True, "status", ctx.get(dut.status.payload))
            self._store_left = self.store_cycles - 1
        note(ctx.get(dut.timed_out), "late", ctx.get(dut.device_source))
        note(ctx.get(dut.completion_error), "error", ctx.get(dut.device_source))
        note(ctx.get(dut.wait_completed), "completed")
        note(ctx.get(dut.wait_abandoned), "abandoned")
        note(ctx.get(dut.executed), "executed", ctx.get(dut.executed_type))
        if ctx.get(dut.descriptors.valid & dut.descriptors.ready):
            assert ctx.get(dut.executed) != ctx.get(dut.wait_abandoned)
            self.waiting.pop(0)
        await ctx.tick()
        self.cycle += 1

    async def pass_cycles(self, cycles):
        """Let cycles pass."""
        for _ in range(cycles):
            await self.step()

    async def settle(self):
        """Run until everything has been dealt with."""
        while self.waiting or self.ctx.get(self.dut.outstanding):
            await self.step()
        await self.pass_cycles(3)

    def run(self, *waiting, testbench=None):
        """Execute these descriptors, or do what a testbench says with them."""

        async def bench(ctx):
            self.ctx = ctx
            self.waiting.extend(waiting)
            self.turn(self._knobs)
            ctx.set(self.dut.invalidations.ready, 1)
            ctx.set(self.dut.status.ready, 1)
            await (self.settle() if testbench is None else testbench(self))

        run(self.dut, bench, background=[listener.process for listener in self.events], cycles=20_000)
