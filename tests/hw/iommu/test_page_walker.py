# amaranth: UnusedElaboratable=no
"""Second-stage walks. Expected results are worked by hand from VT-d 4.1, 3.7, 7.2 and 9.8."""
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hw.iommu.config import IommuConfig
from hw.iommu.messages import Transaction, WalkRequest
from hw.iommu.page_walker import PageWalker
from hw.spec.capabilities import STRAPS_DEFAULT, Straps, describe_straps
from hw.spec.codec import decode, encode
from hw.spec.dma import Access
from hw.spec.events import EventKind, WalkDetail
from hw.spec.faults import FaultReason
from hw.spec.tables import PageSize, SecondStageEntry, table_index
from tests.hw.iommu.bench import Listener, begin, receive, run, send, wait
from tests.hw.iommu.memory_mock import MemoryMock
from tests.hw.iommu.request_path import context, invalidation, request

IOVA = 0x0000_7654_3211_0ABC          # indices 0xEC, 0x150, 0x190, 0x110 at levels 4 to 1
READ_WRITE = dict(readable=1, writable=1)


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


class Bench:
    """A walker with a memory, straps, and ears on everything it says."""

    def __init__(self, *, memory=None, word_bits=128, slots=2, **straps):
        self.dut = PageWalker(IommuConfig(walk_slots=slots, memory_word_bits=word_bits))
        self.memory = memory or MemoryMock(word_bits=word_bits)
        self.straps = describe_straps(STRAPS_DEFAULT) | straps
        self.fills = Listener(self.dut.fill)
        self.answers = Listener(self.dut.answers)
        self.reads = Listener(self.dut.memory_requests)
        self.begins, self.ends = (Listener(port) for port in self.dut.events)

    def run(self, *testbenches, cycles=5000):
        """Run testbenches with the memory."""
        async def strap(ctx):
            ctx.set(self.dut.straps, decode(Straps, encode(Straps, **self.straps)))

        listeners = (self.fills, self.answers, self.reads, self.begins, self.ends)
        run(self.dut, strap, *testbenches, cycles=cycles, background=(
            self.memory.process(self.dut.memory_requests, self.dut.memory_replies),
            *(listener.process for listener in listeners)))

    def walk(self, wanted, *, port=0):
        """Walk once; the answer."""
        async def testbench(ctx):
            await send(ctx, self.dut.requests[port], wanted)
            await receive(ctx, self.dut.answers)
        self.run(testbench)
        return self.answers.payloads[0]


# --- translations ------------------------------------------------------------------------------------------------------

@pytest.mark.parametrize("word_bits", [128, 512])
@pytest.mark.parametrize("top_level", [3, 4, 5])
def test_a_walk_reads_one_entry_per_level_and_ends_at_the_page(top_level, word_bits):
    bench = Bench(word_bits=word_bits)
    iova = IOVA & ((1 << 9 * top_level + 12) - 1)
    addresses = map_path(bench.memory, path(top_level), iova=iova)
    answer = bench.walk(walk_request(iova=iova, address_width=top_level - 2))
    assert [read.hpa for read in bench.reads.payloads] == addresses
    assert answer.fault_reason == FaultReason.NONE
    assert answer.page_size == PageSize.SIZE_4K
    assert answer.page == 0x1001
    assert answer.hit == 0


def test_addresses_of_a_four_level_walk_are_those_worked_by_hand():
    bench = Bench()
    map_path(bench.memory, path(4))
    bench.walk(walk_request())
    assert [read.hpa for read in bench.reads.payloads] == [
        0x0077_7000 + 8 * 0x0EC, 0x0400_1000 + 8 * 0x150, 0x0300_1000 + 8 * 0x190, 0x0200_1000 + 8 * 0x110]


@pytest.mark.parametrize("position", range(8))
@pytest.mark.parametrize("word_bits", [128, 512])
def test_the_entry_is_found_at_every_position_of_the_memory_word(word_bits, position):
    bench = Bench(word_bits=word_bits)
    for neighbour in range(8):
        iova = neighbour << 12
        map_path(bench.memory, path(3, address=0x5000 + neighbour), iova=iova)
    assert bench.walk(walk_request(iova=position << 12, address_width=1)).page == 0x5000 + position


@pytest.mark.parametrize(("leaf_level", "size", "page"), [
    (2, PageSize.SIZE_2M, 0x12_3400), (3, PageSize.SIZE_1G, 0x48_0000)])
def test_a_superpage_ends_the_walk_early(leaf_level, size, page):
    bench = Bench()
    map_path(bench.memory, path(4, leaf_level, address=page))
    answer = bench.walk(walk_request())
    assert answer.fault_reason == FaultReason.NONE
    assert (answer.page_size, answer.page) == (size, page)
    assert len(bench.reads) == 5 - leaf_level
    assert (bench.fills.payloads[0].page_size, bench.fills.payloads[0].page) == (size, page)


@pytest.mark.parametrize("field", ["executable", "_ignored_6_3", "page_size", "accessed", "dirty", "_ignored_10",
                                   "_ignored_61_52", "_ignored_63"])
def test_ignored_fields_of_a_leaf_change_nothing(field):
    bench = Bench()
    map_path(bench.memory, path(4, **{field: 1}))
    assert bench.walk(walk_request()).fault_reason == FaultReason.NONE


def test_the_fill_carries_key_page_and_permissions_of_all_levels():
    bench = Bench()
    map_path(bench.memory, [(4, READ_WRITE), (3, dict(readable=1)), (2, READ_WRITE), (1, READ_WRITE)])
    bench.walk(walk_request(domain_id=0x1234))
    fill, = bench.fills.payloads
    assert (fill.domain_id, fill.iova_page, fill.page_size, fill.page) == (0x1234, IOVA >> 12, PageSize.SIZE_4K, 0x1001)
    assert (fill.readable, fill.writable) == (1, 0)
    assert fill.table_pointer == 0x777


def test_the_answer_carries_the_request_and_its_context():
    bench = Bench()
    map_path(bench.memory, path(4))
    wanted = walk_request(tag=77, domain_id=9, fault_processing_disable=1)
    answer = bench.walk(wanted, port=1)
    assert answer.transaction.as_bits() == wanted.transaction.as_bits()
    assert answer.context.as_bits() == wanted.context.as_bits()


# --- faults ------------------------------------------------------------------------------------------------------------

def leaf(**fields):
    """Changes to the leaf of a four-level walk."""
    return path(4, **fields)


def table(level, **fields):
    """Changes to the entry of a higher level."""
    return [(each, READ_WRITE | fields if each == level else entry) for each, entry in path(4)]


FAULTS = {
    "an empty leaf, read": (leaf(readable=0, writable=0), Access.READ, 0x06),
    "an empty leaf, written": (leaf(readable=0, writable=0), Access.WRITE, 0x05),
    "an empty table entry": (table(3, readable=0, writable=0), Access.READ, 0x06),
    "execute alone is not presence": (leaf(readable=0, writable=0, executable=1), Access.READ, 0x06),
    "a write to a read-only page": (leaf(writable=0), Access.WRITE, 0x05),
    "a read of a write-only page": (leaf(readable=0), Access.READ, 0x06),
    "a write below a read-only table": (table(2, writable=0), Access.WRITE, 0x05),
    "a read below a write-only top table entry": (table(4, readable=0), Access.READ, 0x06),
    "an atomic on a read-only page": (leaf(writable=0), Access.ATOMIC, 0x05),
    "an atomic on a write-only page": (leaf(readable=0), Access.ATOMIC, 0x06),
    "an atomic on an empty page": (leaf(readable=0, writable=0), Access.ATOMIC, 0x05),
    "snoop without snoop control": (leaf(snoop=1), Access.READ, 0x0C),
    "snoop in a table entry": (table(2, snoop=1), Access.READ, 0x0C),
    "transient mapping": (leaf(transient_mapping=1), Access.READ, 0x0C),
    "page size at level 4": (table(4, page_size=1), Access.READ, 0x0C),
    "a 2 MiB page with address bit 12": (path(4, 2, address=0x201), Access.READ, 0x0C),
    "a 2 MiB page with address bit 20": (path(4, 2, address=0x300), Access.READ, 0x0C),
    "a 1 GiB page with address bit 12": (path(4, 3, address=0x4_0001), Access.READ, 0x0C),
    "a 1 GiB page with address bit 29": (path(4, 3, address=0x6_0000), Access.READ, 0x0C),
}


@pytest.mark.parametrize("case", FAULTS)
def test_each_fault_has_its_reason_and_fills_nothing(case):
    entries, access, reason = FAULTS[case]
    bench = Bench()
    map_path(bench.memory, entries)
    answer = bench.walk(walk_request(access=access))
    assert answer.fault_reason == reason
    assert len(bench.fills) == 0


@pytest.mark.parametrize(("entries", "straps"), [
    (path(4, 2, address=0x200), dict(superpages=0b10)),
    (path(4, 3, address=0x4_0000), dict(superpages=0b01)),
    (leaf(address=1 << 27), dict(host_address_width=39)),     # HPA bit 39
    (table(3, address=1 << 27), dict(host_address_width=39)),
    (path(5, 5), dict()),                                     # page size at level 5
])
def test_straps_decide_what_is_reserved(entries, straps):
    bench = Bench(**straps)
    map_path(bench.memory, entries)
    answer = bench.walk(walk_request(address_width=entries[0][0] - 2))
    assert answer.fault_reason == FaultReason.SECOND_STAGE_RESERVED


@pytest.mark.parametrize(("entries", "straps"), [
    (path(4, 2, address=0x200), dict(superpages=0b01)),
    (path(4, 3, address=0x4_0000), dict(superpages=0b10)),
    (leaf(address=1 << 26), dict(host_address_width=39)),     # HPA bit 38
    (leaf(address=1 << 39), dict(host_address_width=52)),
    (leaf(snoop=1), dict(snoop_control=1)),
])
def test_straps_decide_what_is_permitted(entries, straps):
    bench = Bench(**straps)
    map_path(bench.memory, entries)
    assert bench.walk(walk_request()).fault_reason == FaultReason.NONE


@pytest.mark.parametrize(("refused", "reason"), [(0, 0x03), (1, 0x07), (2, 0x07), (3, 0x07)])
def test_an_unreadable_table_is_03_at_the_top_and_07_below(refused, reason):
    bench = Bench()
    bench.memory.refuse(map_path(bench.memory, path(4))[refused])
    answer = bench.walk(walk_request())
    assert answer.fault_reason == reason
    assert len(bench.reads) == refused + 1
    assert len(bench.fills) == 0


PRECEDENCE = {
    "permission before reserved bits": (leaf(readable=0, snoop=1), Access.READ, 0x06),
    "an empty entry has no reserved bits": (leaf(readable=0, writable=0, snoop=1), Access.WRITE, 0x05),
    "permission of a higher level before reserved bits of a lower":
        ([(4, READ_WRITE), (3, dict(readable=1)), (2, READ_WRITE | dict(snoop=1)), (1, READ_WRITE)], Access.WRITE, 0x05),
    "reserved bits of a higher level before permission of a lower":
        ([(4, READ_WRITE), (3, READ_WRITE | dict(snoop=1)), (2, dict(readable=1)), (1, READ_WRITE)], Access.WRITE, 0x0C),
    "write permission before read permission": (leaf(readable=0, writable=0), Access.ATOMIC, 0x05),
    "read permission of a higher level before write permission of a lower":
        ([(4, READ_WRITE), (3, dict(writable=1)), (2, dict(readable=1)), (1, READ_WRITE)], Access.ATOMIC, 0x06),
    "permission before page size": (path(4, 4, readable=0), Access.READ, 0x06),
}


@pytest.mark.parametrize("case", PRECEDENCE)
def test_the_first_failing_check_decides(case):
    entries, access, reason = PRECEDENCE[case]
    bench = Bench()
    map_path(bench.memory, entries)
    assert bench.walk(walk_request(access=access)).fault_reason == reason


def test_a_memory_error_comes_before_what_the_data_seem_to_say():
    bench = Bench()
    addresses = map_path(bench.memory, leaf(readable=0, snoop=1))
    bench.memory.refuse(addresses[3])
    assert bench.walk(walk_request()).fault_reason == FaultReason.SECOND_STAGE_ACCESS


# --- random walks against another reading of the rules -------------------------------------------------------------------

def expected_result(entries, access, straps):
    """VT-d's rules once more: (reason, leaf level, page, readable, writable) of a walk along these raw entries."""
    writes, reads = access in (Access.WRITE, Access.ATOMIC), access in (Access.READ, Access.ATOMIC)
    readable = writable = 1
    host_mask = (1 << straps["host_address_width"]) - 1
    for level, raw in entries:
        if writes and not raw & 2:
            return 0x05, None, None, None, None
        if reads and not raw & 1:
            return 0x06, None, None, None, None
        address = raw & 0x000F_FFFF_FFFF_F000
        reserved = 1 << 62 | (0 if straps["snoop_control"] else 1 << 11)
        large = raw >> 7 & 1 if level > 1 else 0
        if large:
            supported = {2: straps["superpages"] & 1, 3: straps["superpages"] >> 1}.get(level, 0)
            reserved |= {2: 0x1F_F000, 3: 0x3FFF_F000}.get(level, 0)
            if not supported:
                return 0x0C, None, None, None, None
        if raw & reserved or address & ~host_mask:
            return 0x0C, None, None, None, None
        readable, writable = readable & raw, writable & raw >> 1
        if large or level == 1:
            return 0x00, level, address >> 12, readable, writable
    raise AssertionError("a walk ends at level 1")


def raw_entries(level):
    """Mostly sound entries with a few blemishes: random words would all fail at the top."""
    sound = st.builds(
        lambda page, ignored, large: 3 | (page << 12) & ~(0x3FFF_FFFF if large else 0) | ignored | large << 7,
        st.integers(0, (1 << 34) - 1), st.sampled_from([0, 4, 0x478, 1 << 8, 0xBFF << 52 & ~(1 << 62)]),
        st.sampled_from([0, 0, 0, 1] if level > 1 else [0, 1]))
    blemish = st.sampled_from([0] * 12 + [1, 2, 3, 1 << 11, 1 << 62, 1 << 12, 1 << 29, 1 << 46, 1 << 51, 1 << 7])
    return st.builds(lambda raw, flip: (level, raw ^ flip), sound, blemish)


WALKS = st.integers(3, 5).flatmap(lambda top: st.tuples(
    st.tuples(*(raw_entries(level) for level in range(top, 0, -1))),
    st.integers(0, (1 << 9 * top + 12) - 1), st.sampled_from([Access.READ, Access.WRITE, Access.ATOMIC])))
STRAPS = st.fixed_dictionaries({
    "snoop_control": st.sampled_from([0, 1]), "superpages": st.integers(0, 3),
    "host_address_width": st.sampled_from([39, 46, 48, 52])})


@settings(max_examples=25, deadline=None)
@given(walks=st.lists(WALKS, min_size=8, max_size=8), straps=STRAPS, seed=st.integers(0, 1000))
def test_random_walks_agree_with_another_reading_of_the_rules(walks, straps, seed):
    memory = MemoryMock(latency=(1, 12), reorder=True, ready_percent=70, seed=seed)
    bench = Bench(memory=memory, **straps)
    tops = [0x8_0000_0000 + tag for tag in range(len(walks))]   # above what the entries can point to
    for (entries, iova, _), table_page in zip(walks, tops, strict=True):
        for level, raw in entries:
            memory.store(table_page << 12 | 8 * table_index(iova, level), raw, 8)
            table_page = raw >> 12 & (1 << 40) - 1
    requests, expected = [], {}
    for tag, (entries, iova, access) in enumerate(walks):
        requests.append(walk_request(
            iova=iova, access=access, tag=tag, domain_id=tag, address_width=len(entries) - 2, table_pointer=tops[tag]))
        table_page, seen = tops[tag], []
        for level, _ in entries:   # read back: two walks may have met in one entry
            seen.append((level, memory.load(table_page << 12 | 8 * table_index(iova, level), 8)))
            table_page = seen[-1][1] >> 12 & (1 << 40) - 1
        expected[tag] = expected_result(seen, access, bench.straps)

    async def giver(ctx):
        for each in requests:
            await send(ctx, bench.dut.requests[0], each)

    async def taker(ctx):
        for _ in requests:
            await receive(ctx, bench.dut.answers)

    bench.run(giver, taker)
    answers = {answer.transaction.request.tag: answer for answer in bench.answers.payloads}
    fills = {fill.domain_id: fill for fill in bench.fills.payloads}
    assert set(answers) == set(expected)
    for tag, (reason, level, page, readable, writable) in expected.items():
        assert answers[tag].fault_reason == reason
        assert (tag in fills) == (reason == 0)
        if reason == 0:
            assert (answers[tag].page_size.value, answers[tag].page) == (level - 1, page)
            assert (fills[tag].readable, fills[tag].writable) == (readable, writable)


# --- many at once ------------------------------------------------------------------------------------------------------

def many_walks(count):
    """As many walks, each of its own domain, tables and page."""
    return [walk_request(iova=tag << 21, tag=tag, domain_id=tag, table_pointer=0x10_0000 + tag) for tag in range(count)]


def map_many(memory, count):
    """Their tables; walk n ends at page 0x9000 + n."""
    for tag in range(count):
        entries = [(4, READ_WRITE | {"address": 0x20_0000 + tag}), (3, READ_WRITE | {"address": 0x30_0000 + tag}),
                   (2, READ_WRITE | {"address": 0x40_0000 + tag}), (1, READ_WRITE | {"address": 0x9000 + tag})]
        map_path(memory, entries, iova=tag << 21, top_page=0x10_0000 + tag)


@pytest.mark.parametrize("slots", [1, 3, 16])
def test_walks_in_any_order_give_every_request_its_own_answer(slots):
    memory = MemoryMock(latency=(1, 30), reorder=True, ready_percent=60, seed=slots)
    bench = Bench(memory=memory, slots=slots)
    map_many(memory, 40)

    async def giver(ctx):
        for each in many_walks(40):
            await send(ctx, bench.dut.requests[0], each)

    async def taker(ctx):
        for _ in range(40):
            await receive(ctx, bench.dut.answers)
            await wait(ctx, 2)

    bench.run(giver, taker, cycles=8000)
    answered = {answer.transaction.request.tag: answer.page for answer in bench.answers.payloads}
    assert answered == {tag: 0x9000 + tag for tag in range(40)}
    assert len(bench.answers) == 40
    assert sorted((fill.domain_id, fill.page) for fill in bench.fills.payloads) == [
        (tag, 0x9000 + tag) for tag in range(40)]


def test_as_many_walks_are_in_flight_as_there_are_slots():
    bench = Bench(memory=MemoryMock(latency=(100, 100)), slots=4)
    map_many(bench.memory, 6)

    async def giver(ctx):
        for each in many_walks(6):
            await send(ctx, bench.dut.requests[0], each)

    async def taker(ctx):
        for _ in range(6):
            await receive(ctx, bench.dut.answers)

    bench.run(giver, taker)
    assert max(bench.begins.cycles[:4]) < 10
    assert bench.begins.cycles[4] > bench.ends.cycles[0]


def test_a_slot_is_held_until_its_answer_has_been_taken():
    bench = Bench(slots=2)
    map_many(bench.memory, 3)

    async def giver(ctx):
        for each in many_walks(3):
            await send(ctx, bench.dut.requests[0], each)

    async def taker(ctx):
        await wait(ctx, 100)
        for _ in range(3):
            await receive(ctx, bench.dut.answers)

    bench.run(giver, taker)
    assert bench.ends.cycles[1] < 50
    assert bench.begins.cycles[2] >= 100


def test_one_reply_a_cycle_is_processed_and_the_next_read_follows_two_cycles_later():
    bench = Bench(slots=16)
    map_many(bench.memory, 16)

    async def giver(ctx):
        for each in many_walks(16):
            await send(ctx, bench.dut.requests[0], each)

    async def taker(ctx):
        for _ in range(16):
            await receive(ctx, bench.dut.answers)

    bench.run(giver, taker)
    single = [cycle for cycle, read in zip(bench.reads.cycles, bench.reads.payloads, strict=True) if read.tag == 0]
    assert [cycle - single[0] for cycle in single[:4]] == [0, 3, 6, 9]  # memory itself takes one cycle
    assert bench.reads.cycles[-1] - bench.reads.cycles[0] < 16 * 4 + 8


def test_both_sources_of_requests_are_served_in_turn():
    bench = Bench(slots=2)
    for tag in range(20):
        map_path(bench.memory, path(4), top_page=0x777)

    def giver(port):
        async def give(ctx):
            for count in range(10):
                await send(ctx, bench.dut.requests[port], walk_request(tag=100 * port + count))
        return give

    async def taker(ctx):
        for _ in range(20):
            await receive(ctx, bench.dut.answers)

    bench.run(giver(0), giver(1), taker)
    tags = [event.tag for event in bench.begins.payloads]
    assert sorted(tags) == [*range(10), *range(100, 110)]
    for earlier, later in zip(tags, tags[1:], strict=False):
        assert (earlier < 100) != (later < 100)


# --- invalidations -----------------------------------------------------------------------------------------------------

GLOBAL, DOMAIN, SELECTIVE = 1, 2, 3
PAGE = IOVA >> 12

COVERED = {   # of a walk of domain 5, source 0x0310, at IOVA: the invalidation, and whether it covers a result of 4K, 2M, 1G
    "IOTLB global": (invalidation("IOTLB", GLOBAL), (1, 1, 1)),
    "IOTLB of the domain": (invalidation("IOTLB", DOMAIN, domain_id=5), (1, 1, 1)),
    "IOTLB of another domain": (invalidation("IOTLB", DOMAIN, domain_id=6), (0, 0, 0)),
    "the page": (invalidation("IOTLB", SELECTIVE, domain_id=5, page=PAGE), (1, 1, 1)),
    "the page in another domain": (invalidation("IOTLB", SELECTIVE, domain_id=6, page=PAGE), (0, 0, 0)),
    "the page, leaves only": (invalidation("IOTLB", SELECTIVE, domain_id=5, page=PAGE, hint=1), (1, 1, 1)),
    "the next page": (invalidation("IOTLB", SELECTIVE, domain_id=5, page=PAGE ^ 1), (0, 1, 1)),
    "16 pages around it": (invalidation("IOTLB", SELECTIVE, domain_id=5, page=PAGE & ~15, address_mask=4), (1, 1, 1)),
    "the 16 pages beside": (
        invalidation("IOTLB", SELECTIVE, domain_id=5, page=(PAGE ^ 16) & ~15, address_mask=4), (0, 1, 1)),
    "a page of the next 2 MiB": (invalidation("IOTLB", SELECTIVE, domain_id=5, page=PAGE ^ 0x200), (0, 0, 1)),
    "a page of the next 1 GiB": (invalidation("IOTLB", SELECTIVE, domain_id=5, page=PAGE ^ 0x4_0000), (0, 0, 0)),
    "everything by mask": (invalidation("IOTLB", SELECTIVE, domain_id=5, page=0, address_mask=52), (1, 1, 1)),
    "context cache global": (invalidation("CONTEXT_CACHE", GLOBAL), (1, 1, 1)),
    "context cache of the domain": (invalidation("CONTEXT_CACHE", DOMAIN, domain_id=5), (1, 1, 1)),
    "context cache of another domain": (invalidation("CONTEXT_CACHE", DOMAIN, domain_id=6), (0, 0, 0)),
    "the device": (invalidation("CONTEXT_CACHE", SELECTIVE, domain_id=5, source_id=0x0310), (1, 1, 1)),
    "the device with the wrong domain": (
        invalidation("CONTEXT_CACHE", SELECTIVE, domain_id=6, source_id=0x0310), (0, 0, 0)),
    "another device": (invalidation("CONTEXT_CACHE", SELECTIVE, domain_id=5, source_id=0x0311), (0, 0, 0)),
    "function mask 1": (
        invalidation("CONTEXT_CACHE", SELECTIVE, domain_id=5, source_id=0x0314, function_mask=1), (1, 1, 1)),
    "function mask 1, bit 1 differs": (
        invalidation("CONTEXT_CACHE", SELECTIVE, domain_id=5, source_id=0x0312, function_mask=1), (0, 0, 0)),
    "function mask 2": (
        invalidation("CONTEXT_CACHE", SELECTIVE, domain_id=5, source_id=0x0316, function_mask=2), (1, 1, 1)),
    "function mask 3": (
        invalidation("CONTEXT_CACHE", SELECTIVE, domain_id=5, source_id=0x0317, function_mask=3), (1, 1, 1)),
    "function mask 3, another device": (
        invalidation("CONTEXT_CACHE", SELECTIVE, domain_id=5, source_id=0x0308, function_mask=3), (0, 0, 0)),
}


@pytest.mark.parametrize("leaf_level", [1, 2, 3])
@pytest.mark.parametrize("case", COVERED)
def test_a_walk_that_an_invalidation_covers_answers_but_fills_nothing(case, leaf_level):
    what, covered = COVERED[case]
    bench = Bench(memory=MemoryMock(latency=(20, 20)))
    map_path(bench.memory, path(4, leaf_level, address=0x8_0000))

    async def testbench(ctx):
        await send(ctx, bench.dut.requests[0], walk_request(domain_id=5))
        await wait(ctx, 30)
        await begin(ctx, bench.dut.invalidation, what)
        await receive(ctx, bench.dut.answers)

    bench.run(testbench)
    marked = covered[leaf_level - 1]
    assert bench.answers.payloads[0].fault_reason == FaultReason.NONE
    assert bench.answers.payloads[0].page == 0x8_0000
    assert bench.answers.payloads[0].transaction.marked == marked
    assert len(bench.fills) == 1 - marked


def test_a_marked_request_fills_nothing():
    bench = Bench()
    map_path(bench.memory, path(4))
    assert bench.walk(walk_request(marked=1)).fault_reason == FaultReason.NONE
    assert len(bench.fills) == 0


def test_a_mark_does_not_outlive_its_walk():
    bench = Bench(slots=1)
    map_path(bench.memory, path(4))

    async def testbench(ctx):
        await send(ctx, bench.dut.requests[0], walk_request(marked=1))
        await receive(ctx, bench.dut.answers)
        await send(ctx, bench.dut.requests[0], walk_request())
        await receive(ctx, bench.dut.answers)

    bench.run(testbench)
    assert bench.fills.cycles == bench.ends.cycles[1:]


@pytest.mark.parametrize("cycle", range(-2, 3))
def test_the_cycle_of_begin_decides_about_mark_and_fill(cycle):
    """`cycle` counts from the fill: an invalidation that begins in it is too late to stop it."""
    unmarked = Bench(slots=1)
    map_path(unmarked.memory, path(4))
    unmarked.walk(walk_request())
    bench = Bench(slots=1, memory=unmarked.memory)

    async def walker(ctx):
        await send(ctx, bench.dut.requests[0], walk_request())
        await receive(ctx, bench.dut.answers)

    async def invalidator(ctx):
        await wait(ctx, unmarked.fills.cycles[0] + cycle)
        await begin(ctx, bench.dut.invalidation, invalidation("IOTLB", GLOBAL))

    bench.run(walker, invalidator)
    assert bench.fills.cycles == [unmarked.fills.cycles[0]] * (cycle >= 0)
    assert len(bench.answers) == 1


def test_a_walk_accepted_while_an_invalidation_begins_is_marked():
    bench = Bench()
    map_path(bench.memory, path(4))

    async def walker(ctx):
        await wait(ctx, 3)
        await send(ctx, bench.dut.requests[0], walk_request())
        await receive(ctx, bench.dut.answers)

    async def invalidator(ctx):
        await wait(ctx, 3)
        await begin(ctx, bench.dut.invalidation, invalidation("IOTLB", DOMAIN, domain_id=6))

    bench.run(walker, invalidator)
    assert bench.begins.cycles == [3]
    assert len(bench.fills) == 0


def test_an_invalidation_marks_only_the_slots_it_covers():
    bench = Bench(memory=MemoryMock(latency=(20, 20)), slots=4)
    map_many(bench.memory, 4)

    async def testbench(ctx):
        for each in many_walks(4):
            await send(ctx, bench.dut.requests[0], each)
        await begin(ctx, bench.dut.invalidation, invalidation("IOTLB", DOMAIN, domain_id=2))
        for _ in range(4):
            await receive(ctx, bench.dut.answers)

    bench.run(testbench)
    assert [fill.domain_id for fill in bench.fills.payloads] == [0, 1, 3]
    assert len(bench.answers) == 4


# --- events ------------------------------------------------------------------------------------------------------------

def test_events_tell_where_a_walk_began_and_how_it_ended():
    bench = Bench()
    map_path(bench.memory, path(4, 2, address=0x12_3400))
    bench.walk(walk_request(tag=33, domain_id=7))
    for event, kind in ((bench.begins.payloads[0], EventKind.WALK), (bench.ends.payloads[0], EventKind.WALK_RESULT)):
        assert event.kind == kind
        assert (event.source_id, event.domain_id, event.tag) == (0x0310, 7, 33)
        assert (event.iova, event.hpa) == (IOVA, 0x777 << 12)
    detail = decode(WalkDetail, bench.ends.payloads[0].detail)
    assert (detail.fault_reason, detail.page_size, detail.page) == (FaultReason.NONE, PageSize.SIZE_2M, 0x12_3400)
    assert detail.marked == 0
    assert bench.ends.cycles == bench.fills.cycles
