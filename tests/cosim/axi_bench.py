"""Stories of the wrapped unit, run in the simulator by test_axi.py."""
import random

import cocotb
from cocotbext.axi import AxiBurstType, AxiResp
from cocotbext.axi.axi_channels import AxiARTransaction, AxiAWTransaction, AxiWTransaction

from hw.spec.axi import MemoryUser
from hw.spec.codec import decode
from hw.spec.invalidation import Granularity
from sim.bench import give_result
from sw import descriptors as make
from tests.cosim.axi_machine import PAGE, Machine

DEVICES = {0x0008: 1, 0x0010: 2, 0x0310: 3}   # source ID: domain
STRANGER = 0x0420                               # has no context entry
FIRST_DATA_PAGE = 0x1000
PAGES = 12                                      # IOVA pages of each domain, from this one on
FIRST_PAGE = 0x40
HALF = PAGE // 2                                # of a page: what is read, and what is written


async def mapped(dut, **options):
    """A machine with its devices attached and pages of all kinds: mapped, read only, write only, missing."""
    machine = await Machine.start(dut, **options)
    generator = random.Random(11)
    data_pages = list(range(FIRST_DATA_PAGE, FIRST_DATA_PAGE + len(DEVICES) * PAGES))
    generator.shuffle(data_pages)
    for source_id, domain in DEVICES.items():
        machine.tables.attach(source_id, domain)
        for page in range(FIRST_PAGE, FIRST_PAGE + PAGES):
            readable, writable = {9: (1, 0), 10: (0, 1), 11: (0, 0)}.get(page - FIRST_PAGE, (1, 1))
            hpa_page = data_pages.pop()
            machine.memory.write(hpa_page * PAGE, generator.randbytes(PAGE))
            if readable or writable:
                machine.tables.map(domain, page, hpa_page, readable=readable, writable=writable)
    return machine


class Traffic:
    """Random reads and writes of every device, and what must come of them.

    Reads are of the first half of a page, writes go to the second half, each byte to be written once: so what a read must
    see and what memory must hold in the end do not depend on the order in which accesses are done.
    """

    def __init__(self, machine, seed):
        self._machine = machine
        self._random = random.Random(seed)
        self._written = {}                                   # by HPA page, bytes of the second half
        self.shadow = {}                                     # HPA: byte
        self.counts = {"reads": 0, "writes": 0, "blocked": 0}
        self.wrong = []

    async def run(self, count, *, ids, together=24):
        """So many of them, so many at once."""
        under_way = []
        for _ in range(count):
            under_way.append(cocotb.start_soon(self._one(self._random.choice(ids))))
            if len(under_way) >= together:
                await under_way.pop(self._random.randrange(len(under_way)))
        for task in under_way:
            await task

    async def _one(self, id):
        source_id = self._random.choice([*DEVICES, *DEVICES, STRANGER])
        page = FIRST_PAGE + self._random.randrange(PAGES)
        hpa_page, readable, writable = self._machine.tables.pages.get((DEVICES.get(source_id), page), (None, 0, 0))
        size = self._random.choice((4, 4, 4, 2, 0))
        length = self._random.randint(1, self._random.choice((8, 64, 64, 400)) if size else 40)
        options = dict(size=size, user=Machine.user(source_id))
        if self._random.randrange(2):
            offset = self._random.randrange(HALF - length)
            await self._read(page * PAGE + offset, length, hpa_page * PAGE + offset if readable else None, id, options)
        else:
            start = self._written.get(hpa_page, 0)
            if writable and start + length > HALF:
                return
            self._written[hpa_page] = start + length
            offset = HALF + start if writable else HALF
            await self._write(page * PAGE + offset, self._random.randbytes(length),
                              hpa_page * PAGE + offset if writable else None, id, options)

    async def _read(self, iova, length, hpa, id, options):
        reply = await self._machine.dma.read(iova, length, arid=id, **options)
        if reply is None:
            return   # lost in a reset
        blocked = hpa is None
        self.counts["reads"] += 1
        self.counts["blocked"] += blocked
        right = b"\xff" * length if blocked else bytes(self._machine.memory.read(hpa, length))
        if (reply.resp, bytes(reply.data)) != (AxiResp.SLVERR if blocked else AxiResp.OKAY, right):
            self.wrong.append(f"read of {iova:#x} for {options}: {reply.resp!r} {bytes(reply.data).hex()}, not {right.hex()}")

    async def _write(self, iova, content, hpa, id, options):
        reply = await self._machine.dma.write(iova, content, awid=id, **options)
        if reply is None:
            return
        blocked = hpa is None
        self.counts["writes"] += 1
        self.counts["blocked"] += blocked
        if not blocked:
            self.shadow.update(zip(range(hpa, hpa + len(content)), content, strict=True))
        if reply.resp != (AxiResp.SLVERR if blocked else AxiResp.OKAY):
            self.wrong.append(f"write to {iova:#x} for {options}: {reply.resp!r}")


def content(machine):
    """All data pages."""
    return bytes(machine.memory.read(FIRST_DATA_PAGE * PAGE, len(DEVICES) * PAGES * PAGE))


def with_writes(before, shadow):
    """What the data pages must hold."""
    result = bytearray(before)
    for hpa, byte in shadow.items():
        result[hpa - FIRST_DATA_PAGE * PAGE] = byte
    return bytes(result)


@cocotb.test(timeout_time=4, timeout_unit="ms")
async def random_traffic(dut):
    """Twice the same kind of traffic: freely, and with pauses everywhere."""
    machine = await mapped(dut)
    await machine.enable()
    result = {}
    for name, percent, count in (("free", 0, 250), ("with pauses", 40, 150)):
        machine.pause_everything(percent, seed=5)
        traffic, before = Traffic(machine, seed=percent), content(machine)
        await traffic.run(count, ids=range(8))
        result[name] = {**traffic.counts, "wrong": traffic.wrong[:5],
                        "memory as it must be": content(machine) == with_writes(before, traffic.shadow)}
    machine.pause_everything(0, seed=0)

    # The control: expectations that two pages have changed places are not met, by reads and by memory.
    pages, (left, right) = machine.tables.pages, ((1, FIRST_PAGE), (1, FIRST_PAGE + 1))
    pages[left], pages[right] = pages[right], pages[left]
    traffic, before = Traffic(machine, seed=1), content(machine)
    await traffic.run(80, ids=range(8))
    result["lie"] = {"wrong": len(traffic.wrong), "memory as it must be": content(machine) == with_writes(before, traffic.shadow)}

    monitor = await machine.read_register("FSTS")
    result["faults pending"] = monitor >> 1 & 1
    result["fault record"] = (await machine.read_register("FRCD")) >> 127 & 1
    give_result(result, name="random_traffic")


@cocotb.test(timeout_time=1, timeout_unit="ms")
async def kinds_of_bursts(dut):
    """One after the other: WRAP, FIXED, an interrupt, a PASID, a burst to nowhere; and off, before translation is on."""
    machine = await mapped(dut)
    source_id = next(iter(DEVICES))
    user = Machine.user(source_id)
    page, hpa_page = FIRST_PAGE, machine.tables.pages[DEVICES[source_id], FIRST_PAGE][0]
    untranslated = await machine.dma.read(hpa_page * PAGE, 64, user=user)
    await machine.enable()
    stored = bytes(machine.memory.read(hpa_page * PAGE, PAGE))
    result = {"off": bytes(untranslated.data) == stored[:64]}

    wrapped = await machine.dma.read(page * PAGE + 0x130, 64, burst=AxiBurstType.WRAP, user=user)
    result["wrap"] = bytes(wrapped.data) == stored[0x130:0x140] + stored[0x100:0x130]
    fixed = await machine.dma.read(page * PAGE + 0x40, 64, burst=AxiBurstType.FIXED, user=user)
    result["fixed"] = bytes(fixed.data) == stored[0x40:0x50] * 4
    await machine.dma.write(page * PAGE + 0x530, bytes(range(64)), burst=AxiBurstType.WRAP, user=user)
    after = bytes(machine.memory.read(hpa_page * PAGE + 0x500, 64))
    result["wrapped write"] = after == bytes(range(16, 64)) + bytes(range(16))

    interrupts = len(machine.writes_out)
    told = await machine.dma.write(0xFEE0_1004, b"\x31\x40\0\0", size=2, user=user)
    out, = machine.writes_out[interrupts:]
    out_user = decode(MemoryUser, int(out.awuser))
    result["interrupt"] = {"resp": int(told.resp), "addr": int(out.awaddr), "interrupt": out_user.interrupt,
                           "source_id": out_user.source_id, "data": bytes(machine.memory.read(0xFEE0_1004, 4)).hex()}
    no_interrupt = await machine.dma.read(0xFEE0_1004, 4, size=2, user=user)
    result["read of the interrupt window"] = int(no_interrupt.resp)
    with_pasid = await machine.dma.read(page * PAGE, 16, user=Machine.user(source_id, pasid=0x54321))
    result["pasid"] = int(with_pasid.resp)
    records = [await machine.read_register("FRCD", index) for index in range(2)]
    result["reasons"] = [record >> 96 & 0xFF for record in records]
    result["record's pasid"] = records[1] >> 104 & 0xFFFFF
    bad = await machine.host.read(0xF000, 8)
    result["no register"] = int(bad.resp)
    counted = await machine.host.read(0x18000, 8)
    result["monitor"] = int(counted.resp)
    give_result(result, name="kinds_of_bursts")


class RawMaster:
    """Bursts as they are given, across pages too: AxiMaster would cut them."""

    def __init__(self, machine):
        self._aw, self._w, self._b, self._ar, self._r = machine.channels

    async def read(self, iova, beats, *, id, user):
        """One burst: data and response of each beat; WLAST must be where it belongs."""
        await self._ar.send(AxiARTransaction(arid=id, araddr=iova, arlen=beats - 1, arsize=4, arburst=1, aruser=user))
        received = [await self._r.recv() for _ in range(beats)]
        assert [int(beat.rlast) for beat in received] == [*[0] * (beats - 1), 1]
        assert {int(vars(beat)["rid"]) for beat in received} == {id}
        return [(int(beat.rdata).to_bytes(16, "little"), int(beat.rresp)) for beat in received]

    async def write(self, iova, words, *, id, user):
        """One burst: its response."""
        await self._aw.send(AxiAWTransaction(awid=id, awaddr=iova, awlen=len(words) - 1, awsize=4, awburst=1, awuser=user))
        for number, word in enumerate(words):
            await self._w.send(AxiWTransaction(wdata=int.from_bytes(word, "little"), wstrb=0xFFFF,
                                               wlast=number == len(words) - 1))
        response = await self._b.recv()
        assert int(response.bid) == id
        return int(response.bresp)


@cocotb.test(timeout_time=1, timeout_unit="ms")
async def bursts_across_pages(dut):
    """Bursts of 8 beats, 4 in each of two pages: both mapped, and each of them not."""
    machine = await mapped(dut, devices=False)
    await machine.enable()
    raw, source_id, generator = RawMaster(machine), 0x0010, random.Random(4)
    user, domain = Machine.user(source_id), DEVICES[source_id]
    result = []
    for page in (FIRST_PAGE, FIRST_PAGE + 7, FIRST_PAGE + 8, FIRST_PAGE + 9, FIRST_PAGE - 1):
        iova, before = (page + 1) * PAGE - 64, content(machine)
        homes = [machine.tables.pages.get((domain, page + half), (0, 0, 0)) for half in range(2)]
        places = [(homes[0][0] + 1) * PAGE - 64 + 16 * beat if beat < 4 else homes[1][0] * PAGE + 16 * (beat - 4)
                  for beat in range(8)]
        beats = await raw.read(iova, 8, id=page % 8, user=user)
        right = [(bytes(machine.memory.read(place, 16)), 0) if homes[beat // 4][1] else (b"\xff" * 16, 2)
                 for beat, place in enumerate(places)]
        words = [generator.randbytes(16) for _ in range(8)]
        response = await raw.write(iova, words, id=page % 8, user=user)
        after = bytearray(before)
        for beat, place in enumerate(places):
            if homes[beat // 4][2]:
                first = place - FIRST_DATA_PAGE * PAGE
                after[first:first + 16] = words[beat]
        result.append({"permissions": [home[1:] for home in homes], "read": beats == right,
                       "written": content(machine) == bytes(after), "response": response})
    give_result(result, name="bursts_across_pages")


@cocotb.test(timeout_time=4, timeout_unit="ms")
async def domain_change(dut):
    """A device reads and writes all the time; its domain is replaced, invalidated by the queue, and the old page poisoned."""
    machine = await mapped(dut)
    source_id, old, new, queue_page = 0x0008, 1, 9, 0x800
    user, page, status = Machine.user(source_id), FIRST_PAGE, 0x801 * PAGE
    old_page, new_page = machine.tables.pages[old, page][0], 0x2000
    machine.memory.write(old_page * PAGE, b"\x0a" * PAGE)
    machine.memory.write(new_page * PAGE, b"\x0b" * PAGE)
    machine.memory.write(queue_page * PAGE, bytes(PAGE))
    machine.memory.write(status, bytes(4))
    machine.tables.map(new, page, new_page)
    await machine.enable(queue_page=queue_page)
    machine.pause_everything(30, seed=8)
    seen, responses, running = [], set(), [True]

    async def reads(id):
        while running:
            reply = await machine.dma.read(page * PAGE + 64 * id, 64, arid=id, user=user)
            responses.add(int(reply.resp))
            seen.append((bytes(reply.data)[0], len(set(bytes(reply.data)))))

    async def writes(id):
        while running:
            reply = await machine.dma.write(page * PAGE + HALF + 64 * id, b"\x77" * 64, awid=id, user=user)
            responses.add(int(reply.resp))
    tasks = [cocotb.start_soon(job(id)) for job in (reads, writes) for id in range(4)]
    await machine.cycles(600)

    machine.tables.attach(source_id, new)
    queue = (make.context_cache(Granularity.DOMAIN_SELECTIVE, domain_id=old),
             make.iotlb(Granularity.DOMAIN_SELECTIVE, domain_id=old), make.wait(status, 0x600D))
    machine.memory.write(queue_page * PAGE, b"".join(descriptor.to_bytes(16, "little") for descriptor in queue))
    await machine.write_register("IQT", QT=len(queue))
    while machine.memory.read_dword(status) != 0x600D:
        await machine.cycles(5)
    completed_with_old = sum(first == 0x0A for first, _ in seen)
    poison = b"\xdb" * PAGE
    machine.memory.write(old_page * PAGE, poison)
    machine.memory.write(new_page * PAGE + HALF, bytes(HALF))
    await machine.cycles(600)
    running.clear()
    for task in tasks:
        await task
    give_result({
        "responses": sorted(responses), "values": sorted({first for first, _ in seen}),
        "mixed": [kinds for _, kinds in seen if kinds != 1], "old ones": completed_with_old,
        "old after completion": sum(first == 0x0A for first, _ in seen) - completed_with_old,
        "new ones": sum(first == 0x0B for first, _ in seen),
        "old page untouched": bytes(machine.memory.read(old_page * PAGE, PAGE)) == poison,
        "new page written": bytes(machine.memory.read(new_page * PAGE + HALF, 64)) == b"\x77" * 64,
    }, name="domain_change")


@cocotb.test(timeout_time=2, timeout_unit="ms")
async def reset_under_traffic(dut):
    """A reset while reads and writes are under way everywhere; afterwards everything works as at first."""
    machine = await mapped(dut)
    await machine.enable()
    machine.pause_everything(30, seed=3)
    first = cocotb.start_soon(Traffic(machine, seed=1).run(200, ids=range(8)))
    await machine.cycles(400)
    under_way = not machine.dma.read_if.idle() or not machine.dma.write_if.idle()
    first.cancel()
    await machine.reset()
    off = await machine.read_register("GSTS")
    await machine.enable()
    traffic, before = Traffic(machine, seed=2), content(machine)
    await traffic.run(60, ids=range(8))
    give_result({"under way": under_way, "off": off, "wrong": traffic.wrong[:5], **traffic.counts,
                 "memory as it must be": content(machine) == with_writes(before, traffic.shadow)}, name="reset_under_traffic")
