"""A context walker with a memory that holds a root entry and a context entry."""

from hw.iommu.config import IommuConfig
from hw.iommu.context_walker import ContextWalker
from hw.iommu.messages import Transaction, UnitControl
from hw.spec.capabilities import STRAPS_DEFAULT, Straps, describe_straps
from hw.spec.codec import decode, encode
from hw.spec.faults import FaultReason
from hw.spec.tables import ContextEntry, RootEntry, TranslationType
from tests.hw.iommu.bench import Listener, run, send
from tests.hw.iommu.memory_mock import MemoryMock
from tests.hw.iommu.request_path import request

__all__ = [
    "CONTEXT",
    "CONTEXT_HPA",
    "CONTEXT_PAGE",
    "PASS_THROUGH",
    "ROOT",
    "ROOT_HPA",
    "ROOT_PAGE",
    "SOURCE_ID",
    "ContextBench",
    "transaction",
]

ROOT_PAGE, CONTEXT_PAGE = 0x111, 0x2222
SOURCE_ID = 0x03A5  # bus 0x03, index 0xA5 of its context table
ROOT_HPA = 0x11_1000 + 16 * 0x03
CONTEXT_HPA = 0x222_2000 + 16 * 0xA5
ROOT = dict(present=1, context_table_pointer=CONTEXT_PAGE)
CONTEXT = dict(present=1, second_stage_pointer=0x777, address_width=2, domain_id=5)
PASS_THROUGH = CONTEXT | dict(translation_type=TranslationType.PASS_THROUGH)


def transaction(*, source_id=SOURCE_ID, marked=0, colour=0, **of_request):
    """A transaction, as a constant."""
    fields = dict(request=request(source_id=source_id, **of_request).as_bits(), marked=marked, colour=colour)
    return decode(Transaction, encode(Transaction, **fields))


class ContextBench:
    """A context walker with a memory that holds one root entry and one context entry."""

    def __init__(
        self,
        *,
        root=ROOT,
        context=CONTEXT,
        memory=None,
        word_bits=128,
        slots=2,
        waiters=16,
        chunk_bits=128,
        chunk_delay=0,
        **straps,
    ):
        config = IommuConfig(context_slots=slots, waiters=waiters, memory_word_bits=word_bits)
        self.dut = ContextWalker(config, chunk_bits=chunk_bits)
        self.memory = memory or MemoryMock(word_bits=word_bits)
        self.memory.store(ROOT_HPA, root if isinstance(root, int) else encode(RootEntry, **root), 16)
        self.memory.store(CONTEXT_HPA, context if isinstance(context, int) else encode(ContextEntry, **context), 16)
        self.straps = describe_straps(STRAPS_DEFAULT) | straps
        self.chunk_delay = chunk_delay
        self.fills = Listener(self.dut.fill)
        self.answers = Listener(self.dut.answers)
        self.walks = Listener(self.dut.walk_requests)
        self.reads = Listener(self.dut.memory_requests)
        self.begins, self.ends = (Listener(port) for port in self.dut.events)

    def run(self, *testbenches, cycles=5000, results_taken=True):
        """Run testbenches with the memory; without `results_taken` they take answers and walk requests themselves."""

        async def constants(ctx):
            ctx.set(self.dut.straps, decode(Straps, encode(Straps, **self.straps)))
            ctx.set(
                self.dut.control, decode(UnitControl, encode(UnitControl, translation_enabled=1, root_table=ROOT_PAGE))
            )
            ctx.set(self.dut.chunk_delay, self.chunk_delay)
            ctx.set(self.dut.answers.ready, results_taken)
            ctx.set(self.dut.walk_requests.ready, results_taken)

        listeners = (self.fills, self.answers, self.walks, self.reads, self.begins, self.ends)
        run(
            self.dut,
            constants,
            *testbenches,
            cycles=cycles,
            background=(
                self.memory.process(self.dut.memory_requests, self.dut.memory_replies),
                *(listener.process for listener in listeners),
            ),
        )

    async def ended(self, ctx, count):
        """Wait until so many transactions have left."""
        while len(self.answers) + len(self.walks) < count:
            await ctx.tick()

    def look_up(self, *transactions):
        """Send transactions and wait for what becomes of them."""

        async def testbench(ctx):
            for each in transactions:
                await send(ctx, self.dut.requests, each)
            await self.ended(ctx, len(transactions))

        self.run(testbench)
        return self

    def reason(self, **of_request):
        """Fault reason of one transaction; NONE if it became a walk."""
        self.look_up(transaction(**of_request))
        return self.answers.payloads[0].fault_reason if self.answers.payloads else FaultReason.NONE
