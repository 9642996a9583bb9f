"""The driver and the unit's own queue, run in the simulator by test_driver.py: batches, errors, and a kernel that comes later."""
import cocotb

from hw.spec.bench import MONITOR_BASE
from hw.spec.capabilities import STRAPS_DEFAULT
from hw.spec.codec import encode
from hw.spec.dma import Status
from hw.spec.invalidation import DescriptorType, Granularity
from hw.spec.monitor import DeviceTlbAnswer, MonitorRegister, QueueKnobs
from sim.bench import Bench, give_result
from sim.player import DmaPlayer, PlayedRequest
from sim.transport import CosimTransport
from sw import descriptors as make
from sw.driver import Iommu
from sw.errors import DriverError
from sw.faults import QueueFailure
from sw.memory import PageAllocator
from sw.strategies import AtomicSwap

ARENA, HEIR_ARENA, ARENA_BYTES = 0x1000_0000, 0x2000_0000, 0x10_0000
DEVICE, IOVA, OLD_HPA, NEW_HPA, PAGE = 0x0018, 0x5000, 0x9000, 0xA000, 0x1000
SLOW = dict(fetch_delay=20, execute_delay=200, device_tlb_delay=50)
BAD = 0xF
GLOBAL = make.iotlb(Granularity.GLOBAL)
EVENT_HPA, EVENT_DATA = 0x3000, 0xFEE7


class Machine:
    """A unit that was reset, a driver that has enabled it, and a device. Made by `start`."""

    def __init__(self, bench, transport, iommu):
        self.bench, self.transport, self.iommu = bench, transport, iommu
        self._player = DmaPlayer(bench)

    @classmethod
    async def start(cls, bench, **knobs):
        """With a device that is attached, and one page mapped."""
        bench.memory.reset()
        bench.memory.set_timing(latency=10)
        await bench.reset(straps=STRAPS_DEFAULT, chunk_delay=0, caches_off=0, queue_knobs=encode(QueueKnobs, **knobs))
        transport = CosimTransport(bench)
        iommu = await Iommu.open(transport, PageAllocator(transport, base=ARENA, size=ARENA_BYTES))
        await iommu.enable(fault_events=(EVENT_HPA, EVENT_DATA))
        machine = cls(bench, transport, iommu)
        await iommu.attach(DEVICE, await machine.domain(OLD_HPA))
        return machine

    async def domain(self, hpa):
        """A new one that maps IOVA to this page."""
        domain = await self.iommu.new_domain(1)
        await self.iommu.map(domain, IOVA, hpa, PAGE)
        return domain

    async def lands(self):
        """Where a read of the device lands, or the reason why it does not."""
        reply, = await self._player.play([PlayedRequest(DEVICE, IOVA)], poll_cycles=10)
        return reply.hpa if reply.status is Status.OK else reply.fault_reason.value

    async def refusal(self, *descriptors, retry=True):
        """What the driver says of a batch."""
        try:
            await self.iommu.invalidation.batch(*descriptors, retry=retry)
        except DriverError as error:
            return f"{type(error).__name__}: {error}"
        return "done"

    async def count(self, place):
        """A counter of the unit's monitor."""
        return await self.transport.read_register(MONITOR_BASE + place, 8)

    async def executed(self):
        """Descriptors executed, by type."""
        counts = {kind.name: await self.count(MonitorRegister.DESCRIPTORS + 8 * kind.value) for kind in DescriptorType
                  if 0 < kind.value < 6}
        return {name: count for name, count in counts.items() if count}

    async def finished(self):
        """What must be clean at the end."""
        failure = await QueueFailure.read(self.iommu.registers)
        return {"protocol_errors": await self.count(MonitorRegister.PROTOCOL_ERRORS), "failure": str(failure)}


async def lifetime(bench):
    """Use, replace and unmap, with everything cached and a queue that takes its time."""
    machine = await Machine.start(bench, **SLOW)
    old = machine.iommu.domain_of(DEVICE)
    landed = [await machine.lands(), await machine.lands()]
    new = await machine.domain(NEW_HPA)
    await machine.iommu.replace(DEVICE, new, AtomicSwap())
    landed.append(await machine.lands())
    await machine.iommu.release(old)
    await machine.iommu.unmap(new, IOVA, PAGE)
    landed.append(await machine.lands())
    await bench.pause(100)
    event = int.from_bytes(bench.memory.read(EVENT_HPA, 4), "little")
    return {"landed": landed, "event": event, "executed": await machine.executed(), **await machine.finished()}


async def around_the_ring(bench):
    """More descriptors than the queue holds, in one batch."""
    machine = await Machine.start(bench)
    before = await machine.executed()
    await machine.iommu.invalidation.batch(*[GLOBAL] * 600)
    after = await machine.executed()
    return {"executed": {name: count - before.get(name, 0) for name, count in after.items()}, **await machine.finished()}


async def errors(bench):
    """One after the other; the queue runs on after each."""
    machine = await Machine.start(bench, device_tlb_delay=50)
    result = {"refused": await machine.refusal(GLOBAL, BAD, GLOBAL), "after refused": await machine.refusal(GLOBAL)}
    for answer in (DeviceTlbAnswer.ERROR, DeviceTlbAnswer.TIME_OUT, DeviceTlbAnswer.DONE):
        bench.set_port("queue_knobs", encode(QueueKnobs, device_tlb_delay=50, device_tlb_answer=answer))
        result[answer.name] = await machine.refusal(GLOBAL, make.device_tlb(DEVICE))
    abandoned = await machine.count(MonitorRegister.WAITS_ABANDONED)
    return result | {"abandoned": abandoned, **await machine.finished()}


async def next_kernel(bench, *, frozen=False):
    """A kernel whose descriptors are still under way is gone; the next one adopts, takes charge, frees the old queue."""
    machine = await Machine.start(bench, **SLOW)
    landed = [await machine.lands()]
    registers = machine.iommu.registers
    old_page, tail = (await registers.read("IQA"))["IQA"] << 12, (await registers.read("IQT"))["QT"]
    left = (BAD if frozen else GLOBAL, GLOBAL, make.wait(EVENT_HPA, 1))
    bench.memory.write(old_page + 16 * tail, b"".join(descriptor.to_bytes(16, "little") for descriptor in left))
    await registers.write("IQT", QT=tail + len(left))
    before = await machine.executed()
    allocator = PageAllocator(machine.transport, base=HEIR_ARENA, size=ARENA_BYTES)
    machine.iommu = heir = await Iommu.open(machine.transport, allocator)
    await heir.adopt()
    adopted = (await registers.read("IQA"))["IQA"] << 12 == old_page
    pages = await heir.take_charge()
    after = await machine.executed()
    allocator.reserve(pages)
    for page in pages:
        await allocator.free(page)
    landed.append(await machine.lands())
    domain = heir.domain_of(DEVICE)
    allocator.reserve(domain.table_pages)
    await heir.unmap(domain, IOVA, PAGE)
    landed.append(await machine.lands())
    return {"landed": landed, "untouched by adopt": adopted, "pages": list(pages) == [old_page],
            "done": {name: count - before.get(name, 0) for name, count in after.items() if count != before.get(name, 0)},
            "poison": bench.memory.read(old_page, PAGE) == b"\xdb" * PAGE, **await machine.finished()}


@cocotb.test()
async def everything(dut):
    """All of it; every story begins with a reset."""
    bench = Bench(dut, deadline_cycles=400_000)
    give_result({
        "lifetime": await lifetime(bench), "around the ring": await around_the_ring(bench), "errors": await errors(bench),
        "next kernel": await next_kernel(bench), "next kernel, frozen": await next_kernel(bench, frozen=True),
    })
