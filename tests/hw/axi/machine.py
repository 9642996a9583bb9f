# amaranth: UnusedElaboratable=no
"""A unit and a memory in Python for the benches of the DMA paths. Seeded: a bench that failed fails again."""
import random

from hw.spec.axi import AxiBurst, AxiResponse
from hw.spec.dma import TAG_BITS, Status
from tests.hw.axi.bench import reply_of

__all__ = ["BLOCKED_BIT", "ERROR_BIT", "ReadMemory", "TranslatingUnit", "WriteMemory", "beat_addresses", "translated"]

BLOCKED_BIT = 1 << 40        # an IOVA with it is blocked
ERROR_BIT = 1 << 43          # memory refuses what it is translated to
_SHIFT = 0x7_0000_0000
PAGE = 4096


def translated(iova):
    """Where an IOVA goes, if it is not blocked: another page, and neighbours are no neighbours there."""
    page = iova // PAGE
    return _SHIFT + (page ^ 1) * PAGE + iova % PAGE


def beat_addresses(addr, beats, size, burst=AxiBurst.INCR):
    """Where each beat begins (A3.4.1)."""
    step, whole = 1 << size, beats << size
    if burst is AxiBurst.WRAP:
        base = addr // whole * whole
        return [base + (addr - base + step * beat) % whole for beat in range(beats)]
    return [addr if beat == 0 or burst is AxiBurst.FIXED else addr // step * step + step * beat for beat in range(beats)]


class TranslatingUnit:
    """Answers requests after a random time, in any order, with a colour at random, and counts the colours that come back.

    Parameters
    ----------
    path
        ReadPath or WritePath.
    latency : (int, int)
        Least and greatest cycles from request to reply.
    ready_percent : int
        How often it takes a request.
    """

    def __init__(self, path, *, latency=(3, 3), ready_percent=100, seed=0):
        self.requests, self.cycles = [], []
        self.owed = [0, 0]         # by colour, retires still to come
        self.free = True           # False: it keeps everything waiting
        self._path = path
        self._latency, self._ready_percent = latency, ready_percent
        self._random = random.Random(seed)

    def process(self):
        """The background testbenches."""
        return [self._serve, self._count]

    async def _serve(self, ctx):
        path, due, cycle = self._path, [], 0
        willing = self._random.randrange(100) < self._ready_percent
        ctx.set(path.requests.ready, willing)
        async for _, _, valid, request in ctx.tick().sample(path.requests.valid, path.requests.payload):
            cycle += 1
            if valid and willing:
                assert request.tag not in {tag for _, tag, _ in due}, "a tag was used twice"
                assert request.iova % PAGE + request.length_bytes <= PAGE
                self.requests.append(request)
                self.cycles.append(cycle)
                due.append((cycle + self._random.randint(*self._latency) - 1, request.tag, request.iova))
            ready = [entry for entry in due if entry[0] <= cycle] if self.free else []
            ctx.set(path.reply.valid, bool(ready))
            if ready:
                entry = self._random.choice(ready)
                due.remove(entry)
                _, tag, iova = entry
                colour = self._random.randrange(2)
                self.owed[colour] += 1
                status = Status.BLOCKED if iova & BLOCKED_BIT else Status.OK
                ctx.set(path.reply.payload, reply_of(tag, status=status, hpa=0 if iova & BLOCKED_BIT else translated(iova),
                                                     colour=colour))
            willing = self._random.randrange(100) < self._ready_percent
            ctx.set(path.requests.ready, willing)

    async def _count(self, ctx):
        ctx.set(self._path.retires.ready, 1)
        async for _, _, valid, retire in ctx.tick().sample(self._path.retires.valid, self._path.retires.payload):
            if valid:
                self.owed[retire.colour] -= 1
                assert self.owed[retire.colour] >= 0, "a colour came back that nobody had"

    def direction_of(self, index):
        """Top bit of a request's tag."""
        return self.requests[index].tag >> (TAG_BITS - 1)


class _Memory:
    def __init__(self, path, *, latency=(2, 2), percent=100, seed=0):
        self.bursts = []
        self._path = path
        self._latency, self._percent = latency, percent
        self._random = random.Random(seed)
        self._due = {}             # by ID, in order: (cycle, response payload)
        self._cycle = 0

    def _willing(self):
        return self._random.randrange(100) < self._percent

    def _owe(self, id, payloads):
        time = self._cycle + self._random.randint(*self._latency)
        self._due.setdefault(id, []).extend((time, payload) for payload in payloads)

    def _next(self):
        """Whatever is oldest of an ID whose time has come; IDs in any order, beat by beat."""
        ready = [id for id, entries in self._due.items() if entries and entries[0][0] <= self._cycle]
        if not ready or not self._willing():
            return None
        return self._due[self._random.choice(ready)].pop(0)[1]

    async def _respond(self, ctx, port):
        offered = None
        async for _, _, ready in ctx.tick().sample(port.ready):
            self._cycle += 1
            if offered is not None and ready:
                offered = None
            if offered is None:
                offered = self._next()
                ctx.set(port.valid, offered is not None)
                if offered is not None:
                    ctx.set(port.payload, offered)

    async def _take(self, ctx, port, act):
        willing = self._willing()
        ctx.set(port.ready, willing)
        async for _, _, valid, payload in ctx.tick().sample(port.valid, port.payload):
            if valid and willing:
                act(payload)
            willing = self._willing()
            ctx.set(port.ready, willing)


def _fields(burst):
    return dict(addr=burst.addr, beats=burst.len + 1, size=burst.size, burst=AxiBurst(burst.burst))


class ReadMemory(_Memory):
    """The data of a beat is its address."""

    def process(self):
        """The background testbenches."""
        async def accept(ctx):
            await self._take(ctx, self._path.memory_bursts, self._read)

        async def respond(ctx):
            await self._respond(ctx, self._path.memory_data)
        return [accept, respond]

    def _read(self, burst):
        self.bursts.append(burst)
        where = beat_addresses(**_fields(burst))
        resp = AxiResponse.DECERR if burst.addr & ERROR_BIT else AxiResponse.OKAY
        self._owe(burst.id, [dict(id=burst.id, data=address, resp=resp, last=address_number == len(where) - 1)
                             for address_number, address in enumerate(where)])


class WriteMemory(_Memory):
    """Remembers in `stored` each beat: (address, data, strobes)."""

    def __init__(self, path, **options):
        super().__init__(path, **options)
        self.stored = []
        self._open, self._beats = [], []

    def process(self):
        """The background testbenches."""
        async def accept(ctx):
            await self._take(ctx, self._path.memory_bursts, self._begin)

        async def data(ctx):
            await self._take(ctx, self._path.memory_data, self._beat)

        async def respond(ctx):
            await self._respond(ctx, self._path.memory_responses)
        return [accept, data, respond]

    def _begin(self, burst):
        self.bursts.append(burst)
        self._open.append(burst)
        self._match()

    def _beat(self, beat):
        self._beats.append(beat)
        self._match()

    def _match(self):
        """Data belongs to addresses in their order."""
        while self._open and len(self._beats) > self._open[0].len:
            burst = self._open.pop(0)
            beats, self._beats = self._beats[:burst.len + 1], self._beats[burst.len + 1:]
            assert [beat.last for beat in beats] == [*[0] * burst.len, 1]
            self.stored += [(address, beat.data, beat.strb)
                            for address, beat in zip(beat_addresses(**_fields(burst)), beats, strict=True)]
            resp = AxiResponse.DECERR if burst.addr & ERROR_BIT else AxiResponse.OKAY
            self._owe(burst.id, [dict(id=burst.id, resp=resp)])
