"""A page walker with a memory, and second-stage tables to put there."""

from hw.iommu.config import IommuConfig
from hw.iommu.messages import Transaction, WalkRequest
from hw.iommu.page_walker import PageWalker
from hw.spec.capabilities import STRAPS_DEFAULT, Straps, describe_straps
from hw.spec.codec import decode, encode
from hw.spec.dma import Access
from hw.spec.tables import SecondStageEntry, table_index
from tests.hw.iommu.bench import Listener, receive, run, send
from tests.hw.iommu.memory_mock import MemoryMock
from tests.hw.iommu.request_path import context, request

__all__ = ["IOVA", "READ_WRITE", "WalkBench", "filled", "many_walks", "map_many", "map_path", "path", "walk_request"]

IOVA = 0x0000_7654_3211_0ABC  # indices 0xEC, 0x150, 0x190, 0x110 at levels 4 to 1
READ_WRITE = dict(readable=1, writable=1)
SIZES = dict(waiters=32, structure_sets=2, structure_ways=2, upper_structure_sets=2, upper_structure_ways=1)  # quick to elaborate


def walk_request(*, iova=IOVA, access=Access.READ, tag=1, source_id=0x0310, marked=0, **of_context):
    """A walk request, as a constant."""
    wanted = request(source_id=source_id, iova=iova, access=access, tag=tag).as_bits()
    transaction = encode(Transaction, request=wanted, marked=marked)
    return decode(WalkRequest, encode(WalkRequest, transaction=transaction, context=context(**of_context).as_bits()))


def map_path(memory, entries, *, iova=IOVA, top_page=0x777):
    """Put one entry per level into memory, top first: a dict of fields each. Returns their addresses.

    The entry of level n points to page 0x1000 * n + 1, unless it says otherwise.
    """
    addresses = []
    table = top_page
    for level, fields in entries:
        fields = {"address": 0x1000 * level + 1} | fields
        addresses.append(table * 4096 + 8 * table_index(iova, level))
        memory.store(addresses[-1], encode(SecondStageEntry, **fields), 8)
        table = fields["address"]
    return addresses


def path(top_level, leaf_level=1, **leaf):
    """Plain entries from the top level to a leaf; `leaf` changes the leaf."""
    tables = [(level, READ_WRITE) for level in range(top_level, leaf_level, -1)]
    return [*tables, (leaf_level, READ_WRITE | ({"page_size": 1} if leaf_level > 1 else {}) | leaf)]


class WalkBench:
    """A walker with a memory, straps, and ears on everything it says."""

    def __init__(self, *, memory=None, word_bits=128, slots=2, sizes=None, **straps):
        self.dut = PageWalker(IommuConfig(walk_slots=slots, memory_word_bits=word_bits, **SIZES | (sizes or {})))
        self.memory = memory or MemoryMock(word_bits=word_bits)
        self.straps = describe_straps(STRAPS_DEFAULT) | straps
        self.fills = Listener(self.dut.fill)
        self.answers = Listener(self.dut.answers)
        self.reads = Listener(self.dut.memory_requests)
        self.begins, self.ends, self.prefetches, *self.structures = (Listener(port) for port in self.dut.events)

    def run(self, *testbenches, cycles=5000):
        """Run testbenches with the memory."""

        async def strap(ctx):
            ctx.set(self.dut.straps, decode(Straps, encode(Straps, **self.straps)))

        listeners = (self.fills, self.answers, self.reads, self.begins, self.ends, self.prefetches, *self.structures)
        run(
            self.dut,
            strap,
            *testbenches,
            cycles=cycles,
            background=(
                self.memory.process(self.dut.memory_requests, self.dut.memory_replies),
                *(listener.process for listener in listeners),
            ),
        )

    def walk(self, wanted, *, port=0):
        """Walk once; the answer."""

        async def testbench(ctx):
            await send(ctx, self.dut.requests[port], wanted)
            await receive(ctx, self.dut.answers)

        self.run(testbench)
        return self.answers.payloads[0]


def filled(fill):
    """A line for the IOTLB: its first page, and the entries that may be used: position, page, readable, writable."""
    entries = [(position, entry.page, entry.readable, entry.writable)
               for position, entry in enumerate(fill.entries) if entry.valid]
    line = len(fill.entries) << 9 * fill.page_size.value
    return fill.iova_page // line * line, entries


def many_walks(count):
    """As many walks, each of its own domain, tables and page."""
    return [walk_request(iova=tag << 21, tag=tag, domain_id=tag, table_pointer=0x10_0000 + tag) for tag in range(count)]


def map_many(memory, count):
    """Their tables; walk n ends at page 0x9000 + n."""
    for tag in range(count):
        entries = [
            (4, READ_WRITE | {"address": 0x20_0000 + tag}),
            (3, READ_WRITE | {"address": 0x30_0000 + tag}),
            (2, READ_WRITE | {"address": 0x40_0000 + tag}),
            (1, READ_WRITE | {"address": 0x9000 + tag}),
        ]
        map_path(memory, entries, iova=tag << 21, top_page=0x10_0000 + tag)
