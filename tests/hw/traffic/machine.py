"""What surrounds the traffic engine in its tests: a unit that translates as told, a memory, a host, endpoints."""
from collections import deque
from itertools import cycle, repeat
from random import Random

from amaranth.sim import Simulator

from hw.spec.bench import (
    COUNTER_BASE,
    DEVICE_BASE,
    DEVICE_STRIDE,
    PAGE_ENTRY_BYTES,
    PAGE_LIST_BASE,
    TRAFFIC_BASE,
    Counter,
    DataWord,
    DeviceConfig,
    DeviceDomains,
    DeviceField,
    HostRequest,
    PageEntry,
    TrafficControl,
    TrafficRegister,
    page_signature,
)
from hw.spec.codec import decode, encode
from hw.spec.dma import DmaReply, Status
from hw.spec.events import DoneDetail, Verdict
from hw.spec.memory import MemoryOperation, memory_reply_layout

CLOCK = 1e-6


def always():
    return repeat(1)


def alternating():
    return cycle((0, 1))


def at_random(seed=7):
    random = Random(seed)
    return (random.random() < 0.4 for _ in repeat(None))


RHYTHMS = {"always": always, "alternating": alternating, "random": at_random}


def simulate(dut, testbench, *, background=(), cycles=5000):
    """Run one testbench to its end; fail if that takes more than `cycles`."""
    async def deadline(ctx):
        await ctx.delay(cycles * CLOCK)
        raise AssertionError(f"not finished after {cycles} cycles")

    simulator = Simulator(dut)
    simulator.add_clock(CLOCK)
    for process in (deadline, *background):
        simulator.add_testbench(process, background=True)
    simulator.add_testbench(testbench)
    simulator.run()


async def offer(ctx, port, queue, rhythm):
    """Drive a stream from a deque; an item is offered until it is taken."""
    offered = False
    async for _, _, ready in ctx.tick().sample(port.ready):
        if offered and ready:
            offered = False
            ctx.set(port.valid, 0)
        if not offered and next(rhythm) and queue:
            ctx.set(port.payload, queue.popleft())
            ctx.set(port.valid, 1)
            offered = True


async def take(ctx, port, action, rhythm):
    """Give each payload of a stream to `action`; what is offered and not taken must stay."""
    held = None
    ctx.set(port.ready, next(rhythm))
    async for _, _, valid, ready, payload in ctx.tick().sample(port.valid, port.ready, port.payload):
        bits = payload.as_bits() if hasattr(payload, "as_bits") else payload
        if held is not None:
            assert valid, "an offer was withdrawn"
            assert bits == held, "an offer was changed"
        held = bits if valid and not ready else None
        if valid and ready:
            action(payload)
        ctx.set(port.ready, next(rhythm))


class Machine:
    """The engine's surroundings. Tests change `translate`, `memory` and `refused`, and read the lists.

    `translate(request)` gives the fields of a reply, or None to lose it.
    """

    def __init__(self, dut, *, rhythm=always, shuffle=None):
        self.dut = dut
        self.rhythm = rhythm
        self.shuffle = shuffle
        self.translate = lambda request: {"hpa": request.iova, "domain_id": 1}
        self.memory = {}             # 16-byte index: 128-bit word
        self.refused = set()         # HPA pages with memory errors
        self.requests, self.replied, self.retires, self.accesses, self.dones, self.phases = [], [], [], [], [], []
        self.flying = set()
        self.most_flying = 0
        self.watchers = []           # more processes
        self.unit_queue, self.memory_queue = deque(), deque()

    # --- the unit, the memory, the events -----------------------------------------------------------------------------

    def _request(self, request):
        assert request.tag not in self.flying, "a tag was used twice"
        self.flying.add(request.tag)
        self.most_flying = max(self.most_flying, len(self.flying))
        self.requests.append(request)
        fields = self.translate(request)
        if fields is not None:
            self.reply(request, **fields)

    def reply(self, request, **fields):
        """Let the unit answer."""
        fields = {"tag": request.tag, "source_id": request.source_id, "colour": len(self.replied) >> 1 & 1} | fields
        reply = decode(DmaReply, encode(DmaReply, **fields))
        self.replied.append(reply)
        self._enqueue(self.unit_queue, reply)

    def _enqueue(self, queue, item):
        queue.append(item)
        if self.shuffle:
            queue.rotate(self.shuffle.randrange(len(queue)))

    def _access(self, access):
        self.accesses.append(access)
        word = self.word(access.hpa)
        if access.operation == MemoryOperation.WRITE:
            mask = sum(0xFF << 8 * byte for byte in range(16) if access.write_mask >> byte & 1)
            self.memory[access.hpa >> 4] = word & ~mask | access.data & mask
        error = (access.hpa >> 12) in self.refused
        layout = memory_reply_layout(128)
        data = 0 if error else word
        self._enqueue(self.memory_queue, layout.const({"tag": access.tag, "error": error, "data": data}))

    def word(self, hpa):
        """The quantum there; pages that were never written hold their signature."""
        untouched = encode(DataWord, signature=page_signature(hpa >> 12))
        return self.memory.get(hpa >> 4, untouched)

    async def _watch(self, ctx):
        ports = self.dut.events
        async for _, _, done, event, phase, phase_event in ctx.tick().sample(
                ports[0].valid, ports[0].payload, ports[1].valid, ports[1].payload):
            if done:
                self.flying.remove(event.tag)
                self.dones.append((event, decode(DoneDetail, event.detail & (1 << 77) - 1)))
            if phase:
                self.phases.append(phase_event.detail)

    def run(self, testbench, *, cycles=5000):
        """Simulate with all of the surroundings."""
        dut = self.dut

        def process(endpoint, *arguments):
            async def body(ctx):
                await endpoint(ctx, *arguments, self.rhythm())
            return body

        simulate(dut, testbench, cycles=cycles, background=(
            self._watch, *self.watchers,
            process(take, dut.dma_requests, self._request),
            process(offer, dut.dma_replies, self.unit_queue),
            process(take, dut.dma_retires, self.retires.append),
            process(take, dut.data_requests, self._access),
            process(offer, dut.data_replies, self.memory_queue),
        ))

    # --- the host ----------------------------------------------------------------------------------------------------

    async def host(self, ctx, address, value=None, *, wide=1):
        """One access; returns (data, error)."""
        dut = self.dut
        ctx.set(dut.accesses.payload, decode(HostRequest, encode(
            HostRequest, write=value is not None, wide=wide, address=address, data=value or 0)))
        ctx.set(dut.accesses.valid, 1)
        await ctx.tick().until(dut.accesses.ready)
        ctx.set(dut.accesses.valid, 0)
        ctx.set(dut.replies.ready, 1)
        reply, = await ctx.tick().sample(dut.replies.payload).until(dut.replies.valid)
        ctx.set(dut.replies.ready, 0)
        return reply.data, reply.error

    async def write(self, ctx, address, value):
        """A write that must not be an error."""
        assert (await self.host(ctx, address, value))[1] == 0

    async def read(self, ctx, address):
        """A read that must not be an error."""
        data, error = await self.host(ctx, address)
        assert error == 0
        return data

    async def page(self, ctx, index, **fields):
        """Write an entry of the page list."""
        entry = encode(PageEntry, **{"readable": 1, "writable": 1} | fields)
        for word in range(3):
            await self.write(ctx, PAGE_LIST_BASE - TRAFFIC_BASE + PAGE_ENTRY_BYTES * index + 8 * word,
                             entry >> 64 * word & (1 << 64) - 1)

    async def device(self, ctx, row, **fields):
        """Write CONFIG of a device; enabled and a bus master unless said."""
        fields = {"enabled": 1, "bus_master": 1, "page_count": 1, "source_id": 0x100 + row} | fields
        config = encode(DeviceConfig, **fields)
        await self.write(ctx, DEVICE_BASE + DEVICE_STRIDE * row + DeviceField.CONFIG, config)

    async def declare(self, ctx, row, *, old=0, new=0, old_permitted=1, new_permitted=0):
        """Write DOMAINS of a device."""
        domains = encode(DeviceDomains, old_domain_id=old, new_domain_id=new,
                         old_permitted=old_permitted, new_permitted=new_permitted)
        await self.write(ctx, DEVICE_BASE + DEVICE_STRIDE * row + DeviceField.DOMAINS, domains)

    async def control(self, ctx, *, run, limit=64, gap=0):
        """Write CONTROL."""
        await self.write(ctx, TrafficRegister.CONTROL,
                         encode(TrafficControl, run=run, outstanding_limit=limit, gap_cycles=gap))

    async def counters(self, ctx, row):
        """The counters of a device that are not zero, by Verdict and "issued"."""
        values = {name: await self.read(ctx, COUNTER_BASE + DEVICE_STRIDE * row + 8 * name) for name in Counter}
        issued = values.pop(Counter.ISSUED)
        return {Verdict(name): value for name, value in values.items() if value} | {"issued": issued}

    async def stop(self, ctx, *, cycles=400):
        """Issue nothing more, and wait until nothing is in flight."""
        await self.control(ctx, run=0)
        for _ in range(cycles):
            if await self.read(ctx, TrafficRegister.IN_FLIGHT) == 0:
                return
        raise AssertionError("DMAs are still in flight")

    def blocked(self, _request):
        """For `translate`."""
        return {"status": Status.BLOCKED}


async def four_devices(machine, ctx, **fields):
    """Device n: domain n + 1, four pages from 0x1000 * (n + 1), identical in old and new tables."""
    for row in range(4):
        for index in range(4):
            page = 0x1000 * (row + 1) + index
            await machine.page(ctx, 4 * row + index, iova_page=page, old_page=page, new_page=page)
        await machine.declare(ctx, row, old=row + 1)
        await machine.device(ctx, row, first_page=4 * row, page_count=4, **fields)


def own_domain(request):
    """An honest unit for `four_devices`."""
    return {"hpa": request.iova, "domain_id": request.source_id - 0x100 + 1}
