"""Waiter lists that are driven and seen one cycle at a time."""

from amaranth.sim import Simulator

from hw.iommu.waiter_lists import WaiterLists

__all__ = ["PAYLOAD_BITS", "WaiterBench"]

PAYLOAD_BITS = 20


class WaiterBench:
    """Waiter lists that are driven and seen one cycle at a time."""

    def __init__(self, *, lists=4, places=8):
        self.dut = WaiterLists(PAYLOAD_BITS, lists=lists, places=places)

    def run(self, testbench):
        simulator = Simulator(self.dut)
        simulator.add_clock(1e-6)
        simulator.add_testbench(testbench)
        simulator.run()

    def drive(self, ctx, *, append=None, finish=None, advance=0, again=0):
        """Inputs of this cycle. `append`: list, payload (None: lonely), begins."""
        dut = self.dut
        ctx.set(dut.append.valid, append is not None)
        if append is not None:
            number, payload, begins = append
            ctx.set(dut.append.list, number)
            ctx.set(dut.append.begins, begins)
            ctx.set(dut.append.lonely, payload is None)
            ctx.set(dut.append.payload, 0xFFFFF if payload is None else payload)
        ctx.set(dut.finish.valid, finish is not None)
        ctx.set(dut.finish.list, finish or 0)
        ctx.set(dut.advance, advance)
        ctx.set(dut.again, again)

    async def step(self, ctx, **inputs):
        """Spend one cycle with these inputs."""
        self.drive(ctx, **inputs)
        await ctx.tick()
        self.drive(ctx)

    def current(self, ctx):
        """Payload and flags of the current waiter, as text: ``7 first fresh last``; None if there is none."""
        port = self.dut.current
        if not ctx.get(port.valid):
            return None
        flags = [name for name in ("first", "fresh", "last", "lonely") if ctx.get(getattr(port, name))]
        payload = [] if "lonely" in flags else [str(ctx.get(port.payload))]
        return " ".join([f"list {ctx.get(port.list)}:", *payload, *flags])

    def selected(self, ctx):
        """List that is selected in this cycle."""
        return ctx.get(self.dut.selected.list) if ctx.get(self.dut.selected.valid) else None
