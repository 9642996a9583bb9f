"""Running an Amaranth bench of several testbenches, the two ends of a stream, and a listener on events and fills."""

from amaranth.sim import Simulator

__all__ = ["Listener", "begin", "receive", "run", "send", "wait"]


def run(dut, *testbenches, background=(), cycles=5000):
    """Run testbenches side by side until all have ended; a hang is a failure after `cycles`."""

    async def watchdog(ctx):
        await ctx.delay(cycles * 1e-6)
        raise TimeoutError(f"the bench did not end within {cycles} cycles")

    simulator = Simulator(dut)
    simulator.add_clock(1e-6)
    for testbench in testbenches:
        simulator.add_testbench(testbench)
    for testbench in (*background, watchdog):
        simulator.add_testbench(testbench, background=True)
    simulator.run()


async def send(ctx, port, payload):
    """Offer one payload until it is taken."""
    ctx.set(port.payload, payload)
    ctx.set(port.valid, 1)
    async for _, _, ready in ctx.tick().sample(port.ready):  # `until` is noisy when a hang abandons it
        if ready:
            break
    ctx.set(port.valid, 0)


async def receive(ctx, port):
    """Take one payload."""
    ctx.set(port.ready, 1)
    async for _, _, valid, payload in ctx.tick().sample(port.valid, port.payload):
        if valid:
            ctx.set(port.ready, 0)
            return payload


async def wait(ctx, cycles):
    """Let cycles pass."""
    for _ in range(cycles):
        await ctx.tick()


async def begin(ctx, port, invalidation):
    """Spend one cycle in which an invalidation begins."""
    ctx.set(port.payload, invalidation)
    ctx.set(port.begin, 1)
    await ctx.tick()
    ctx.set(port.begin, 0)


class Listener:
    """What an event or fill port said, and in which cycle; `port` may also be a stream, then what was taken there."""

    def __init__(self, port):
        self.port = port
        self.cycles = []
        self.payloads = []

    def __len__(self):
        return len(self.payloads)

    async def process(self, ctx):
        """The background testbench that listens."""
        cycle = 0
        happened = self.port.valid & self.port.ready if "ready" in self.port.signature.members else self.port.valid
        async for _, _, valid, payload in ctx.tick().sample(happened, self.port.payload):
            if valid:
                self.cycles.append(cycle)
                self.payloads.append(payload)
            cycle += 1
