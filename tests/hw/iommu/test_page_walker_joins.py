# amaranth: UnusedElaboratable=no
"""Requests that wait for one walk: whose answer each gets, and what a latecomer may not be told."""

import random

import pytest

from hw.spec.codec import decode, encode
from hw.spec.dma import Access
from hw.spec.events import WalkStart
from hw.spec.faults import FaultReason
from hw.spec.tables import SecondStageEntry
from tests.hw.iommu.bench import begin, receive, send, wait
from tests.hw.iommu.memory_mock import MemoryMock
from tests.hw.iommu.request_path import invalidation
from tests.hw.iommu.walk_bench import IOVA, READ_WRITE, WalkBench, filled, map_path, path, walk_request

SLOW = (40, 40)


def joined(bench):
    """Of each request in its order: whether it joined a walk."""
    return [decode(WalkStart, event.detail).joined for event in bench.begins.payloads]


def play(bench, *requests, cycles=5000):
    """Send requests, one a cycle, and take all answers: by tag."""

    async def giver(ctx):
        for each in requests:
            if callable(each):
                await each(ctx)
            else:
                await send(ctx, bench.dut.requests[0], each)

    async def taker(ctx):
        for _ in range(sum(not callable(each) for each in requests)):
            await receive(ctx, bench.dut.answers)

    bench.run(giver, taker, cycles=cycles)
    answers = {answer.transaction.request.tag: answer for answer in bench.answers.payloads}
    assert len(answers) == len(bench.answers)
    return answers


def pause(cycles):
    """A step between requests."""
    return lambda ctx: wait(ctx, cycles)


def store_leaf(bench, hpa, **fields):
    """A step: the table entry at this address becomes another one."""

    async def store(ctx):
        bench.memory.store(hpa, encode(SecondStageEntry, **fields), 8)

    return store


def test_requests_for_one_page_share_one_walk():
    bench = WalkBench(memory=MemoryMock(latency=SLOW))
    map_path(bench.memory, path(4))
    answers = play(bench, *(walk_request(tag=tag) for tag in range(8)))
    assert len(bench.reads) == 4
    assert joined(bench) == [0] + [1] * 7
    assert [answers[tag].page for tag in range(8)] == [0x1001] * 8
    assert [answer.transaction.request.tag for answer in bench.answers.payloads] == list(range(8))
    assert len(bench.fills) == 1


@pytest.mark.parametrize(("word_bits", "pages"), [(128, 2), (512, 8)])
def test_pages_of_one_word_share_one_walk_and_each_has_its_own_entry(word_bits, pages):
    bench = WalkBench(memory=MemoryMock(latency=SLOW, word_bits=word_bits), word_bits=word_bits)
    for page in range(pages):
        map_path(bench.memory, path(3, address=0x5000 + page), iova=page << 12)
    answers = play(bench, *(walk_request(iova=page << 12, tag=page, address_width=1) for page in range(pages)))
    assert len(bench.reads) == 3
    assert [answers[page].page for page in range(pages)] == [0x5000 + page for page in range(pages)]
    assert filled(bench.fills.payloads[0]) == (0, [(page, 0x5000 + page, 1, 1) for page in range(pages)])


@pytest.mark.parametrize("other", [dict(iova=IOVA ^ 1 << 13), dict(domain_id=9)])
def test_another_line_or_domain_has_a_walk_of_its_own(other):
    bench = WalkBench(memory=MemoryMock(latency=SLOW))
    map_path(bench.memory, path(4))
    map_path(bench.memory, path(4), iova=IOVA ^ 1 << 13)
    play(bench, walk_request(tag=1), walk_request(tag=2, **other))
    assert joined(bench) == [0, 0]


def test_a_marked_walk_takes_nobody_in():
    bench = WalkBench(memory=MemoryMock(latency=SLOW))
    map_path(bench.memory, path(4))
    what = invalidation("IOTLB", 2, domain_id=5)
    play(bench, walk_request(tag=1, domain_id=5), pause(5), lambda ctx: begin(ctx, bench.dut.invalidation, what),
         walk_request(tag=2, domain_id=5))
    assert joined(bench) == [0, 0]
    assert len(bench.fills) == 1


def test_a_latecomer_is_not_blocked_by_what_was_read_before_it_came():
    bench = WalkBench(memory=MemoryMock(latency=SLOW))
    leaf = map_path(bench.memory, path(4, readable=0, writable=0))[-1]
    answers = play(
        bench, walk_request(tag=1), pause(135),    # the leaf is being read by now
        store_leaf(bench, leaf, address=0x1001, **READ_WRITE), walk_request(tag=2))
    assert bench.begins.cycles[1] < bench.ends.cycles[0]
    assert joined(bench) == [0, 1]
    assert answers[1].fault_reason == FaultReason.READ_PERMISSION
    assert (answers[2].fault_reason, answers[2].page) == (FaultReason.NONE, 0x1001)


def test_who_waits_when_a_walk_is_walked_again_believes_it():
    bench = WalkBench(memory=MemoryMock(latency=SLOW))
    map_path(bench.memory, path(4, readable=0, writable=0))
    answers = play(bench, *(walk_request(tag=tag, access=Access.WRITE) for tag in range(30)))
    assert {answer.fault_reason for answer in answers.values()} == {FaultReason.WRITE_PERMISSION}
    assert len(bench.reads) == 5               # the first one's walk, and the last level once more for all others


def test_a_storm_on_one_page_costs_few_walks():
    bench = WalkBench(memory=MemoryMock(latency=(10, 30), reorder=True), slots=4)
    map_path(bench.memory, path(4, readable=0, writable=0))
    answers = play(bench, *(walk_request(tag=tag) for tag in range(150)), cycles=20000)
    assert {answer.fault_reason for answer in answers.values()} == {FaultReason.READ_PERMISSION}
    assert len(bench.reads) < 150


def test_a_reader_and_a_writer_of_one_read_only_page_each_get_what_is_theirs():
    bench = WalkBench(memory=MemoryMock(latency=SLOW))
    map_path(bench.memory, path(4, writable=0))
    answers = play(bench, walk_request(tag=1, access=Access.READ), walk_request(tag=2, access=Access.WRITE),
                   walk_request(tag=3, access=Access.READ), walk_request(tag=4, access=Access.ATOMIC))
    reasons = [answers[tag].fault_reason for tag in (1, 2, 3, 4)]
    assert reasons == [FaultReason.NONE, FaultReason.WRITE_PERMISSION, FaultReason.NONE, FaultReason.WRITE_PERMISSION]


def test_what_was_walked_again_is_not_cached():
    bench = WalkBench(memory=MemoryMock(latency=SLOW))
    leaf = map_path(bench.memory, path(4, readable=0, writable=0))[-1]
    play(bench, walk_request(tag=1), walk_request(tag=2), pause(135),
         store_leaf(bench, leaf, address=0x1001, **READ_WRITE))
    assert len(bench.fills) == 0


def test_a_latecomer_from_another_context_is_blocked_by_its_own_tables_only():
    """One domain ID, two tables: the second one maps the page. Its translation may come from either, its fault may not."""
    bench = WalkBench(memory=MemoryMock(latency=SLOW))
    map_path(bench.memory, path(4, readable=0, writable=0))
    map_path(bench.memory, [(4, READ_WRITE | {"address": 0x4001_1}), (3, READ_WRITE | {"address": 0x3001_1}),
                            (2, READ_WRITE | {"address": 0x2001_1}), (1, READ_WRITE | {"address": 0x1001_1})],
             top_page=0x888)
    answers = play(bench, walk_request(tag=1), walk_request(tag=2, table_pointer=0x888), walk_request(tag=3))
    assert joined(bench) == [0, 1, 1]
    assert answers[1].fault_reason == FaultReason.READ_PERMISSION
    assert (answers[2].fault_reason, answers[2].page) == (FaultReason.NONE, 0x1001_1)
    assert answers[2].context.table_pointer == 0x888


def test_requests_wait_outside_while_every_place_is_taken():
    bench = WalkBench(memory=MemoryMock(latency=SLOW), sizes={"waiters": 2})
    map_path(bench.memory, path(4))
    answers = play(bench, *(walk_request(tag=tag) for tag in range(9)))
    assert len(answers) == 9
    assert bench.begins.cycles[2] > bench.ends.cycles[0]


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("word_bits", [128, 512])
def test_whatever_the_crowd_each_request_gets_its_own_answer_once(seed, word_bits):
    """Random requests on few pages in two domains, random memory, slow takers, invalidations; the tables stand still."""
    rng = random.Random(seed)
    memory = MemoryMock(word_bits=word_bits, latency=(1, 40), reorder=True, ready_percent=80, seed=seed)
    bench = WalkBench(memory=memory, word_bits=word_bits, slots=rng.choice([1, 2, 5]),
                      sizes={"waiters": rng.choice([2, 9, 64])})
    leaves = {}
    for domain in (0, 1):
        for page in range(20):
            permission = rng.choice([{}, {"readable": 1}, {"writable": 1}, READ_WRITE, READ_WRITE])
            leaves[domain, page] = permission
            address = 0x5000 + 0x100 * domain + page
            map_path(memory, [(3, READ_WRITE | {"address": 0x30 + domain}), (2, READ_WRITE | {"address": 0x20 + domain}),
                              (1, permission | {"address": address})], iova=page << 12, top_page=0x10 + domain)
    wanted, requests = {}, []
    for tag in range(120):
        domain, page = rng.randrange(2), rng.randrange(20)
        access = rng.choice([Access.READ, Access.WRITE, Access.ATOMIC])
        permission = leaves[domain, page]
        if access != Access.READ and "writable" not in permission:
            wanted[tag] = (0x05, 0)
        elif access != Access.WRITE and "readable" not in permission:
            wanted[tag] = (0x06, 0)
        else:
            wanted[tag] = (0, 0x5000 + 0x100 * domain + page)
        requests.append(walk_request(iova=page << 12, tag=tag, access=access, domain_id=domain,
                                     table_pointer=0x10 + domain, address_width=1))

    def giver(port):
        async def give(ctx):
            for each in requests[port::2]:
                await send(ctx, bench.dut.requests[port], each)

        return give

    async def taker(ctx):
        for _ in requests:
            await receive(ctx, bench.dut.answers)
            await wait(ctx, rng.choice([0, 0, 1, 3]))

    async def invalidator(ctx):
        for _ in range(12):
            await wait(ctx, rng.randrange(1, 60))
            what = rng.choice([invalidation("IOTLB", 1), invalidation("IOTLB", 2, domain_id=1),
                               invalidation("IOTLB", 3, domain_id=0, page=rng.randrange(20)),
                               invalidation("CONTEXT_CACHE", 3, domain_id=1, source_id=0x0310)])
            await begin(ctx, bench.dut.invalidation, what)
            await wait(ctx, 12)

    bench.run(giver(0), giver(1), taker, invalidator, cycles=60000)
    answers = {answer.transaction.request.tag: (answer.fault_reason.value, answer.page) for answer in bench.answers.payloads}
    assert answers == wanted
    assert len(bench.answers) == len(wanted)
