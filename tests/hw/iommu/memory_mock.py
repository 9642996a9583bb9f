"""A table memory in Python for Amaranth benches. It is seeded: a bench that failed fails again."""

import random

from hw.spec.memory import QUANTUM_BYTES, MemoryOperation

__all__ = ["MemoryMock"]


class MemoryMock:
    """Sparse memory that answers after a random latency, in any order. Every access is executed when it is accepted.

    Parameters
    ----------
    word_bits : int
        Width of a reply.
    latency : (int, int)
        Least and greatest cycles from acceptance to reply, at least 1.
    reorder : bool
        Replies that are due leave in random order; otherwise in the order of the requests.
    ready_percent : int
        How often it is willing to accept.
    seed : int

    Attributes
    ----------
    accesses
        (cycle, operation, hpa, client's tag) of each accepted request.
    refused
        Quanta (hpa // 16) that answer with an error.
    """

    def __init__(self, *, word_bits=128, latency=(1, 1), reorder=False, ready_percent=100, seed=0):
        self.accesses = []
        self.refused = set()
        self.cycle = 0
        self._bytes = {}
        self._word_bytes = word_bits // 8
        self._latency = latency
        self._reorder = reorder
        self._ready_percent = ready_percent
        self._random = random.Random(seed)

    def store(self, hpa, value, size_bytes):
        """Put a little-endian value at a byte address."""
        for offset, byte in enumerate(value.to_bytes(size_bytes, "little")):
            self._bytes[hpa + offset] = byte

    def load(self, hpa, size_bytes):
        """The little-endian value at a byte address; zero where nothing was stored."""
        return int.from_bytes(bytes(self._bytes.get(hpa + offset, 0) for offset in range(size_bytes)), "little")

    def refuse(self, hpa):
        """Answer accesses to this quantum with an error."""
        self.refused.add(hpa // QUANTUM_BYTES)

    def execute(self, request):
        """Carry out one request; its reply as a dict."""
        hpa = request.hpa & ~(QUANTUM_BYTES - 1)
        self.accesses.append((self.cycle, request.operation, request.hpa, request.tag))
        word = self.load(hpa & ~(self._word_bytes - 1), self._word_bytes)
        error = hpa // QUANTUM_BYTES in self.refused
        if not error and request.operation == MemoryOperation.WRITE:
            for offset in range(QUANTUM_BYTES):
                if request.write_mask >> offset & 1:
                    self._bytes[hpa + offset] = request.data >> 8 * offset & 0xFF
        if not error and request.operation == MemoryOperation.COMPARE_EXCHANGE:
            if self.load(hpa, QUANTUM_BYTES) == request.expected:
                self.store(hpa, request.data, QUANTUM_BYTES)
        return {"tag": request.tag, "error": int(error), "data": self._random.getrandbits(64) if error else word}

    def process(self, requests, replies):
        """The background testbench that serves this pair of streams (the block's memory request and reply)."""

        async def serve(ctx):
            due = []  # (cycle, reply)
            offered = None
            ctx.set(requests.ready, self._willing())
            sampled = ctx.tick().sample(requests.valid, requests.ready, requests.payload, replies.ready)
            async for _, _, valid, ready, payload, reply_ready in sampled:
                if valid and ready:
                    due.append((self.cycle + self._random.randint(*self._latency), self.execute(payload)))
                if offered is not None and reply_ready:
                    offered = None
                self.cycle += 1
                if offered is None:
                    offered = self._next(due)
                    ctx.set(replies.valid, offered is not None)
                    if offered is not None:
                        ctx.set(replies.payload, offered)
                ctx.set(requests.ready, self._willing())

        return serve

    def _willing(self):
        return self._random.randrange(100) < self._ready_percent

    def _next(self, due):
        choice = [entry for entry in (due if self._reorder else due[:1]) if entry[0] <= self.cycle]
        if not choice:
            return None
        entry = self._random.choice(choice)
        due.remove(entry)
        return entry[1]
