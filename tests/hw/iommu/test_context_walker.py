# amaranth: UnusedElaboratable=no
"""From source ID to context. Expected results are worked by hand from VT-d 4.1, 3.4.2, 7.2, 9.1 and 9.3."""
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hw.iommu.config import IommuConfig
from hw.iommu.context_walker import ContextWalker
from hw.iommu.messages import Transaction, UnitControl
from hw.spec.capabilities import STRAPS_DEFAULT, Straps, describe_straps
from hw.spec.codec import decode, encode
from hw.spec.dma import Access, RequestKind
from hw.spec.events import ContextDetail, EventKind
from hw.spec.faults import FaultReason
from hw.spec.tables import ContextEntry, PageSize, RootEntry, TranslationType
from tests.hw.iommu.bench import Listener, begin, receive, run, send, wait
from tests.hw.iommu.memory_mock import MemoryMock
from tests.hw.iommu.request_path import invalidation, request

ROOT_PAGE, CONTEXT_PAGE = 0x111, 0x2222
SOURCE_ID = 0x03A5                        # bus 0x03, index 0xA5 of its context table
ROOT_HPA = 0x11_1000 + 16 * 0x03
CONTEXT_HPA = 0x222_2000 + 16 * 0xA5
ROOT = dict(present=1, context_table_pointer=CONTEXT_PAGE)
CONTEXT = dict(present=1, second_stage_pointer=0x777, address_width=2, domain_id=5)
PASS_THROUGH = CONTEXT | dict(translation_type=TranslationType.PASS_THROUGH)


def transaction(*, source_id=SOURCE_ID, marked=0, colour=0, **of_request):
    """A transaction, as a constant."""
    fields = dict(request=request(source_id=source_id, **of_request).as_bits(), marked=marked, colour=colour)
    return decode(Transaction, encode(Transaction, **fields))


class Bench:
    """A context walker with a memory that holds one root entry and one context entry."""

    def __init__(self, *, root=ROOT, context=CONTEXT, memory=None, word_bits=128, slots=2, chunk_bits=128,
                 chunk_delay=0, **straps):
        config = IommuConfig(context_slots=slots, memory_word_bits=word_bits)
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
            ctx.set(self.dut.control, decode(UnitControl, encode(
                UnitControl, translation_enabled=1, root_table=ROOT_PAGE)))
            ctx.set(self.dut.chunk_delay, self.chunk_delay)
            ctx.set(self.dut.answers.ready, results_taken)
            ctx.set(self.dut.walk_requests.ready, results_taken)

        listeners = (self.fills, self.answers, self.walks, self.reads, self.begins, self.ends)
        run(self.dut, constants, *testbenches, cycles=cycles, background=(
            self.memory.process(self.dut.memory_requests, self.dut.memory_replies),
            *(listener.process for listener in listeners)))

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


# --- legal contexts ----------------------------------------------------------------------------------------------------

@pytest.mark.parametrize(("word_bits", "chunk_bits"), [(128, 128), (128, 64), (512, 128), (512, 64)])
def test_a_legal_context_becomes_a_walk_and_a_fill(word_bits, chunk_bits):
    bench = Bench(word_bits=word_bits, chunk_bits=chunk_bits)
    sent = transaction(iova=0x12_3000, tag=9, colour=1)
    bench.look_up(sent)
    walk, = bench.walks.payloads
    fill, = bench.fills.payloads
    assert walk.transaction.as_bits() == sent.as_bits()
    assert (walk.context.table_pointer, walk.context.domain_id, walk.context.address_width) == (0x777, 5, 2)
    assert walk.context.translation_type == TranslationType.MULTI_LEVEL
    assert fill.context.as_bits() == walk.context.as_bits()
    assert (fill.source_id, fill.pasid_present, fill.pasid) == (SOURCE_ID, 0, 0)
    assert len(bench.answers) == 0


def test_root_and_context_entry_are_read_where_the_source_id_says():
    bench = Bench().look_up(transaction())
    assert [read.hpa for read in bench.reads.payloads] == [ROOT_HPA, CONTEXT_HPA]


def test_pass_through_is_answered_without_a_walk():
    bench = Bench(context=PASS_THROUGH).look_up(transaction(iova=0x12_3456, tag=4))
    answer, = bench.answers.payloads
    assert answer.fault_reason == FaultReason.NONE
    assert (answer.page_size, answer.page, answer.hit, answer.interrupt) == (PageSize.UNTRANSLATED, 0x123, 0, 0)
    assert (answer.context.domain_id, answer.transaction.request.tag) == (5, 4)
    assert len(bench.fills) == 1
    assert len(bench.walks) == 0


@pytest.mark.parametrize("field", ["_ignored_70_67", "fault_processing_disable"])
def test_fields_that_do_not_matter_here_are_let_through(field):
    assert Bench(context=CONTEXT | {field: 1}).reason() == FaultReason.NONE


@pytest.mark.parametrize("address_width", [1, 2, 3])
def test_every_address_width_of_sagaw_is_legal(address_width):
    assert Bench(context=CONTEXT | dict(address_width=address_width)).reason() == FaultReason.NONE


# --- faults ------------------------------------------------------------------------------------------------------------

NARROW = dict(host_address_width=39, domain_id_width_code=2)    # HPA bits 38:0, domain IDs of 8 bits

FAULTS = {   # root, context, straps, request, reason
    "an empty root entry": (dict(), CONTEXT, {}, {}, 0x01),
    "root: low reserved bits": (ROOT | dict(_reserved_11_1=1), CONTEXT, {}, {}, 0x0A),
    "root: bit 11": (ROOT | dict(_reserved_11_1=1 << 10), CONTEXT, {}, {}, 0x0A),
    "root: bit 64": (ROOT | dict(_reserved_127_64=1), CONTEXT, {}, {}, 0x0A),
    "root: bit 127": (ROOT | dict(_reserved_127_64=1 << 63), CONTEXT, {}, {}, 0x0A),
    "root: pointer beyond 52 bits": (ROOT | dict(context_table_pointer=1 << 40), CONTEXT, {}, {}, 0x0A),
    "root: pointer beyond the host width": (ROOT | dict(context_table_pointer=1 << 27), CONTEXT, NARROW, {}, 0x0A),
    "an empty context entry": (ROOT, dict(), {}, {}, 0x02),
    "context: bit 4": (ROOT, CONTEXT | dict(_reserved_11_4=1), {}, {}, 0x0B),
    "context: bit 11": (ROOT, CONTEXT | dict(_reserved_11_4=1 << 7), {}, {}, 0x0B),
    "context: bit 71": (ROOT, CONTEXT | dict(_reserved_71=1), {}, {}, 0x0B),
    "context: bit 88": (ROOT, CONTEXT | dict(_reserved_127_88=1), {}, {}, 0x0B),
    "context: bit 127": (ROOT, CONTEXT | dict(_reserved_127_88=1 << 39), {}, {}, 0x0B),
    "context: pointer beyond 52 bits": (ROOT, CONTEXT | dict(second_stage_pointer=1 << 40), {}, {}, 0x0B),
    "context: pointer beyond the host width": (ROOT, CONTEXT | dict(second_stage_pointer=1 << 27), NARROW, {}, 0x0B),
    "pass-through: pointer beyond the host width": (
        ROOT, PASS_THROUGH | dict(second_stage_pointer=1 << 27), NARROW, {}, 0x0B),
    "context: domain ID beyond ND": (ROOT, CONTEXT | dict(domain_id=0x100), NARROW, {}, 0x0B),
    "translation type 3": (ROOT, CONTEXT | dict(translation_type=3), {}, {}, 0x03),
    "a device-TLB, which there is not": (ROOT, CONTEXT | dict(translation_type=1), {}, {}, 0x03),
    "pass-through without the capability": (ROOT, PASS_THROUGH, dict(pass_through=0), {}, 0x03),
    "address width 0": (ROOT, CONTEXT | dict(address_width=0), dict(sagaw=0b11111), {}, 0x03),
    "address width 4": (ROOT, CONTEXT | dict(address_width=4), dict(sagaw=0b11111), {}, 0x03),
    "an address width that is not in SAGAW": (ROOT, CONTEXT | dict(address_width=3), dict(sagaw=0b00110), {}, 0x03),
    "pass-through with such a width": (ROOT, PASS_THROUGH | dict(address_width=3), dict(sagaw=0b00110), {}, 0x03),
    "an IOVA beyond AW": (ROOT, CONTEXT, {}, dict(iova=1 << 48), 0x04),
    "an IOVA beyond MGAW": (ROOT, CONTEXT, dict(mgaw=38), dict(iova=1 << 39), 0x04),
    "a translated request": (ROOT, CONTEXT, {}, dict(kind=RequestKind.TRANSLATED), 0x0D),
    # Precedence: the first step that fails decides, and within a step the order of the specification.
    "root: presence before reserved bits": (dict(_reserved_11_1=1), CONTEXT, {}, {}, 0x01),
    "root: reserved bits before the context entry": (ROOT | dict(_reserved_127_64=1), dict(), {}, {}, 0x0A),
    "context: presence before reserved bits": (ROOT, dict(_reserved_71=1, translation_type=3), {}, {}, 0x02),
    "context: reserved bits before type and width": (
        ROOT, CONTEXT | dict(_reserved_71=1, translation_type=3, address_width=0), {}, {}, 0x0B),
    "context: type before the request": (
        ROOT, CONTEXT | dict(translation_type=3), {}, dict(iova=1 << 60, kind=RequestKind.TRANSLATED), 0x03),
    "context: reserved bits before the request": (ROOT, CONTEXT | dict(_reserved_71=1), {}, dict(iova=1 << 60), 0x0B),
}


@pytest.mark.parametrize("case", FAULTS)
def test_each_fault_has_its_reason(case):
    root, context, straps, of_request, reason = FAULTS[case]
    bench = Bench(root=root, context=context, **straps)
    assert bench.reason(**of_request) == reason
    assert len(bench.fills) == int(reason in (0x04, 0x0D))    # the context itself is legal there
    assert len(bench.walks) == 0


@pytest.mark.parametrize(("case", "widest"), [
    ("root: pointer beyond the host width", dict(root=ROOT | dict(context_table_pointer=(1 << 26) | CONTEXT_PAGE))),
    ("context: pointer beyond the host width", dict(context=CONTEXT | dict(second_stage_pointer=1 << 26))),
    ("context: domain ID beyond ND", dict(context=CONTEXT | dict(domain_id=0xFF))),
])
def test_the_widest_value_that_fits_is_legal(case, widest):
    assert FAULTS[case][2] is NARROW
    memory = MemoryMock()
    memory.store((1 << 38) | CONTEXT_HPA, encode(ContextEntry, **CONTEXT), 16)
    assert Bench(memory=memory, **widest, **NARROW).reason() == FaultReason.NONE


@pytest.mark.parametrize(("hpa", "reason", "reads"), [(ROOT_HPA, 0x08, 1), (CONTEXT_HPA, 0x09, 2)])
@pytest.mark.parametrize("entry", ["sound", "empty"])
def test_an_unreadable_entry_has_its_own_reason_whatever_the_data_seem_to_say(hpa, reason, reads, entry):
    sound = entry == "sound" or hpa == CONTEXT_HPA
    bench = Bench(root=ROOT if sound else {}, context=CONTEXT if entry == "sound" else {})
    bench.memory.refuse(hpa)
    assert bench.reason() == reason
    assert len(bench.reads) == reads
    assert bench.answers.payloads[0].context.as_bits() == 0


@pytest.mark.parametrize(("root", "context", "known"), [
    (ROOT, dict(fault_processing_disable=1), 1),
    (ROOT, dict(), 0),
    (ROOT, CONTEXT | dict(fault_processing_disable=1, _reserved_71=1), 1),
    (ROOT, CONTEXT | dict(fault_processing_disable=1, translation_type=3), 1),
    (dict(), CONTEXT | dict(fault_processing_disable=1), 0),
])
def test_fault_processing_disable_is_known_once_the_context_entry_was_read(root, context, known):
    bench = Bench(root=root, context=context).look_up(transaction())
    answer, = bench.answers.payloads
    assert answer.context.fault_processing_disable == known
    assert (answer.context.domain_id, answer.context.table_pointer) == (0, 0)


def test_a_blocked_request_to_a_legal_context_carries_that_context():
    bench = Bench(context=CONTEXT | dict(fault_processing_disable=1)).look_up(transaction(iova=1 << 48))
    answer, = bench.answers.payloads
    assert (answer.context.domain_id, answer.context.fault_processing_disable) == (5, 1)


# --- random entries against another reading of the rules -----------------------------------------------------------------

def expected_reason(root, context, straps):
    """VT-d's rules once more, on raw integers; the request itself is fine."""
    above_width = ((1 << 64) - 1) & ~((1 << straps["host_address_width"]) - 1)
    if not root & 1:
        return 0x01
    if root >> 64 or root & 0xFFE or root & above_width:
        return 0x0A
    if not context & 1:
        return 0x02
    domain_id = context >> 72 & 0xFFFF
    if context & 0xFF0 or context & above_width or context >> 71 & 1 or context >> 88:
        return 0x0B
    if domain_id >> (4 + 2 * straps["domain_id_width_code"]):
        return 0x0B
    translation_type, address_width = context >> 2 & 3, context >> 64 & 7
    if translation_type not in ((0, 2) if straps["pass_through"] else (0,)):
        return 0x03
    if address_width not in (1, 2, 3) or not straps["sagaw"] >> address_width & 1:
        return 0x03
    return 0x00


BLEMISHES = st.one_of(st.just(0), st.just(0), st.integers(0, 127).map(lambda bit: 1 << bit))
ENTRIES = st.tuples(BLEMISHES, st.builds(
    lambda blemish, address_width, translation_type, domain_id: blemish ^ encode(
        ContextEntry, present=1, second_stage_pointer=0x777, address_width=address_width,
        translation_type=translation_type, domain_id=domain_id),
    BLEMISHES, st.sampled_from([1, 2, 3, 3, 4]), st.sampled_from([0, 0, 0, 2, 2, 1]), st.sampled_from([5, 0x3FF])))
STRAPS = st.fixed_dictionaries({
    "host_address_width": st.sampled_from([39, 48, 52]), "domain_id_width_code": st.sampled_from([2, 4, 6]),
    "sagaw": st.sampled_from([0b00010, 0b00110, 0b01110]), "pass_through": st.sampled_from([0, 1])})


@settings(max_examples=12, deadline=None)
@given(entries=st.lists(ENTRIES, min_size=10, max_size=10), straps=STRAPS)
def test_random_entries_agree_with_another_reading_of_the_rules(entries, straps):
    bench = Bench(**straps)
    roots = {}
    for bus, (blemish, context) in enumerate(entries):
        roots[bus] = blemish ^ encode(RootEntry, present=1, context_table_pointer=0x5000 + 0x111 * bus)
        bench.memory.store(ROOT_PAGE * 4096 + 16 * bus, roots[bus], 16)
        bench.memory.store(roots[bus] & 0x000F_FFFF_FFFF_F000 | 16 * 0xA5, context, 16)
    bench.look_up(*(transaction(source_id=bus << 8 | 0xA5, tag=bus) for bus in roots))
    reasons = {walk.transaction.request.tag: 0 for walk in bench.walks.payloads}
    reasons |= {answer.transaction.request.tag: answer.fault_reason for answer in bench.answers.payloads}
    for bus, root in roots.items():
        context = bench.memory.load(root & 0x000F_FFFF_FFFF_F000 | 16 * 0xA5, 16)
        assert reasons[bus] == expected_reason(root, context, bench.straps)


# --- many at once ------------------------------------------------------------------------------------------------------

@pytest.mark.parametrize("slots", [1, 3, 4])
def test_fetches_in_any_order_give_every_device_its_own_context(slots):
    memory = MemoryMock(latency=(1, 25), reorder=True, ready_percent=60, seed=slots)
    bench = Bench(memory=memory, slots=slots, chunk_bits=64, chunk_delay=3)
    for function in range(30):
        context = CONTEXT | dict(domain_id=100 + function)
        if function % 3 == 0:
            context |= dict(translation_type=TranslationType.PASS_THROUGH)
        memory.store(0x222_2000 + 16 * function, encode(ContextEntry, **context), 16)

    async def giver(ctx):
        for function in range(30):
            await send(ctx, bench.dut.requests, transaction(source_id=0x0300 + function, tag=function))

    async def answers(ctx):
        for _ in range(10):
            await receive(ctx, bench.dut.answers)
            await wait(ctx, 3)

    async def walks(ctx):
        for _ in range(20):
            await receive(ctx, bench.dut.walk_requests)
            await wait(ctx, 3)

    bench.run(giver, answers, walks, cycles=10000, results_taken=False)
    domains = {each.transaction.request.tag: each.context.domain_id for each in
               (*bench.answers.payloads, *bench.walks.payloads)}
    assert domains == {function: 100 + function for function in range(30)}
    assert {answer.transaction.request.tag % 3 for answer in bench.answers.payloads} == {0}
    assert sorted((fill.source_id, fill.context.domain_id) for fill in bench.fills.payloads) == [
        (0x0300 + function, 100 + function) for function in range(30)]


def test_as_many_fetches_are_in_flight_as_there_are_slots():
    bench = Bench(memory=MemoryMock(latency=(60, 60)), slots=3)
    bench.look_up(*(transaction(tag=tag) for tag in range(4)))
    assert bench.begins.cycles[2] < 10
    assert bench.begins.cycles[3] > bench.ends.cycles[0]


# --- invalidations -----------------------------------------------------------------------------------------------------

GLOBAL, DOMAIN, SELECTIVE = 1, 2, 3

COVERED = {   # of a fetch for source 0x03A5 (function 5): the invalidation, and whether it may cover the fetch
    "global": (invalidation("CONTEXT_CACHE", GLOBAL), 1),
    "any domain": (invalidation("CONTEXT_CACHE", DOMAIN, domain_id=6), 1),
    "the device": (invalidation("CONTEXT_CACHE", SELECTIVE, domain_id=5, source_id=0x03A5), 1),
    "another function": (invalidation("CONTEXT_CACHE", SELECTIVE, domain_id=5, source_id=0x03A4), 0),
    "another bus": (invalidation("CONTEXT_CACHE", SELECTIVE, domain_id=5, source_id=0x04A5), 0),
    "function mask 1": (invalidation("CONTEXT_CACHE", SELECTIVE, source_id=0x03A1, function_mask=1), 1),
    "function mask 1, bit 1 differs": (invalidation("CONTEXT_CACHE", SELECTIVE, source_id=0x03A3, function_mask=1), 0),
    "function mask 2": (invalidation("CONTEXT_CACHE", SELECTIVE, source_id=0x03A3, function_mask=2), 1),
    "function mask 2, bit 0 differs": (invalidation("CONTEXT_CACHE", SELECTIVE, source_id=0x03A4, function_mask=2), 0),
    "function mask 3": (invalidation("CONTEXT_CACHE", SELECTIVE, source_id=0x03A2, function_mask=3), 1),
    "function mask 3, another device": (
        invalidation("CONTEXT_CACHE", SELECTIVE, source_id=0x03AD, function_mask=3), 0),
    "the IOTLB, whose walk is yet to begin": (invalidation("IOTLB", GLOBAL), 0),
}


@pytest.mark.parametrize("case", COVERED)
def test_a_fetch_that_an_invalidation_covers_goes_on_marked_and_fills_nothing(case):
    what, marked = COVERED[case]
    bench = Bench(memory=MemoryMock(latency=(20, 20)))

    async def testbench(ctx):
        await send(ctx, bench.dut.requests, transaction())
        await wait(ctx, 30)
        await begin(ctx, bench.dut.invalidation, what)
        await bench.ended(ctx, 1)

    bench.run(testbench)
    assert bench.walks.payloads[0].context.domain_id == 5
    assert bench.walks.payloads[0].transaction.marked == marked
    assert len(bench.fills) == 1 - marked


def test_a_marked_transaction_goes_on_marked_and_fills_nothing():
    bench = Bench().look_up(transaction(marked=1))
    assert bench.walks.payloads[0].transaction.marked == 1
    assert len(bench.fills) == 0


def test_a_mark_does_not_outlive_its_fetch():
    bench = Bench(slots=1).look_up(transaction(marked=1), transaction())
    assert [walk.transaction.marked for walk in bench.walks.payloads] == [1, 0]
    assert bench.fills.cycles == bench.ends.cycles[1:]


@pytest.mark.parametrize("cycle", range(-2, 3))
def test_the_cycle_of_begin_decides_about_mark_and_fill(cycle):
    """`cycle` counts from the fill: an invalidation that begins in it is too late to stop it, but still marks the walk."""
    unmarked = Bench(slots=1).look_up(transaction())
    bench = Bench(slots=1)

    async def walker(ctx):
        await send(ctx, bench.dut.requests, transaction())
        await bench.ended(ctx, 1)

    async def invalidator(ctx):
        await wait(ctx, unmarked.fills.cycles[0] + cycle)
        await begin(ctx, bench.dut.invalidation, invalidation("CONTEXT_CACHE", GLOBAL))

    bench.run(walker, invalidator)
    assert bench.fills.cycles == [unmarked.fills.cycles[0]] * (cycle >= 0)
    assert bench.walks.payloads[0].transaction.marked == (cycle <= 0)


def test_a_walk_request_that_waits_is_marked_by_any_invalidation():
    bench = Bench()

    async def testbench(ctx):
        await send(ctx, bench.dut.requests, transaction())
        await wait(ctx, 30)
        await begin(ctx, bench.dut.invalidation, invalidation("IOTLB", GLOBAL))
        await wait(ctx, 3)
        await receive(ctx, bench.dut.walk_requests)

    bench.run(testbench, results_taken=False)
    assert bench.walks.payloads[0].transaction.marked == 1
    assert len(bench.fills) == 1


def test_a_transaction_accepted_while_an_invalidation_begins_is_marked():
    bench = Bench()

    async def walker(ctx):
        await wait(ctx, 3)
        await send(ctx, bench.dut.requests, transaction())
        await bench.ended(ctx, 1)

    async def invalidator(ctx):
        await wait(ctx, 3)
        await begin(ctx, bench.dut.invalidation, invalidation("CONTEXT_CACHE", SELECTIVE, source_id=1))

    bench.run(walker, invalidator)
    assert bench.begins.cycles == [3]
    assert len(bench.fills) == 0


# --- torn fetches, and events ------------------------------------------------------------------------------------------

@pytest.mark.parametrize(("chunk_bits", "seen"), [(128, (0x777, 5)), (64, (0x777, 6))])
def test_only_a_fetch_in_halves_can_see_half_of_an_exchange(chunk_bits, seen):
    """Pointer and domain ID are exchanged at one instant; a unit that reads halves may mix old pointer and new domain."""
    bench = Bench(chunk_bits=chunk_bits, chunk_delay=50)
    new = encode(ContextEntry, **CONTEXT | dict(second_stage_pointer=0x888, domain_id=6))

    async def testbench(ctx):
        await send(ctx, bench.dut.requests, transaction())
        while not any(hpa == CONTEXT_HPA for _, _, hpa, _ in bench.memory.accesses):
            await ctx.tick()
        bench.memory.store(CONTEXT_HPA, new, 16)
        await bench.ended(ctx, 1)

    bench.run(testbench)
    context = bench.walks.payloads[0].context
    assert (context.table_pointer, context.domain_id) == seen


@pytest.mark.parametrize(("context", "iova", "reason"), [
    (CONTEXT, 0, FaultReason.NONE), (CONTEXT, 1 << 48, FaultReason.ADDRESS_BEYOND_WIDTH)])
def test_events_tell_where_a_fetch_began_and_how_it_ended(context, iova, reason):
    bench = Bench(context=context).look_up(transaction(tag=33, iova=iova, access=Access.WRITE))
    begun, ended = bench.begins.payloads[0], bench.ends.payloads[0]
    assert (begun.kind, begun.source_id, begun.tag) == (EventKind.CONTEXT_FETCH, SOURCE_ID, 33)
    assert (ended.kind, ended.source_id, ended.tag) == (EventKind.CONTEXT_RESULT, SOURCE_ID, 33)
    assert (ended.domain_id, ended.hpa) == (5, 0x777 << 12)
    detail = decode(ContextDetail, ended.detail)
    assert (detail.fault_reason, detail.address_width, detail.marked) == (reason, 2, 0)
    assert detail.translation_type == TranslationType.MULTI_LEVEL
    assert bench.fills.cycles == bench.ends.cycles
