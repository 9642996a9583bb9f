# amaranth: UnusedElaboratable=no
"""The judge is fed lies, and must object; and it is fed truths, and must not."""
import pytest
from amaranth.sim import Simulator

from hw.spec.bench import POISON_BYTE, DeviceDomains, page_signature
from hw.spec.codec import decode, encode
from hw.spec.dma import Access, Status
from hw.spec.events import Verdict
from hw.traffic.judge import Judge
from hw.traffic.messages import Flight, Outcome

OLD_PAGE, NEW_PAGE, OTHER_PAGE = 0x11111, 0x22222, 0x33333
OLD_DOMAIN, NEW_DOMAIN, OTHER_DOMAIN = 5, 9, 6
PLACE = 0x7C0  # in the page
POISON = int.from_bytes(bytes([POISON_BYTE] * 8), "little")

BOTH = {"old_permitted": 1, "new_permitted": 1}
ONLY_OLD = {"old_permitted": 1}
ONLY_NEW = {"new_permitted": 1}
NEITHER = {}


def verdict(*, page=OLD_PAGE, domain_id=OLD_DOMAIN, begun=ONLY_OLD, now=ONLY_OLD, old_page=OLD_PAGE, new_page=NEW_PAGE,
            new_domain_id=NEW_DOMAIN, place=PLACE, **outcome):
    """What the judge says of a DMA that landed in `page` under `domain_id`."""
    def declared(permitted):
        return encode(DeviceDomains, old_domain_id=OLD_DOMAIN, new_domain_id=new_domain_id, **permitted)

    flight = encode(Flight, device=3, source_id=0x103, access=Access.READ, iova=0xABCDE000 + PLACE, old_page=old_page,
                    new_page=new_page, declared=declared(begun))
    case = encode(Outcome, **{"status": Status.OK, "flight": flight, "domain_id": domain_id,
                              "hpa": (page << 12) + place, "signature": page_signature(page)} | outcome)
    dut = Judge()
    said = []

    async def testbench(ctx):
        ctx.set(dut.outcome, decode(Outcome, case))
        ctx.set(dut.declared, decode(DeviceDomains, declared(now)))
        await ctx.delay(0)
        said.append(ctx.get(dut.verdict))

    simulator = Simulator(dut)
    simulator.add_testbench(testbench)
    simulator.run()
    return said[0]


def test_the_old_page_under_the_old_domain_is_old():
    assert verdict() == Verdict.OLD


def test_the_new_page_under_the_new_domain_is_new():
    assert verdict(page=NEW_PAGE, domain_id=NEW_DOMAIN, begun=BOTH, now=BOTH) == Verdict.NEW


@pytest.mark.parametrize("lie", [
    {"page": OTHER_PAGE},
    {"signature": page_signature(OTHER_PAGE)},
    {"signature": page_signature(OLD_PAGE) ^ 1 << 63},
    {"signature": page_signature(OLD_PAGE) ^ 1},
    {"signature": OLD_PAGE},
    {"signature": 0},
    {"domain_id": OTHER_DOMAIN},
    {"place": PLACE + 64},
    {"place": 0},
    {"page": OLD_PAGE, "domain_id": NEW_DOMAIN},
    {"page": NEW_PAGE, "domain_id": OLD_DOMAIN},
    {"page": NEW_PAGE, "domain_id": NEW_DOMAIN, "place": PLACE ^ 0x800},
], ids=str)
def test_a_lie_is_wrong_whatever_is_permitted(lie):
    assert verdict(begun=BOTH, now=BOTH, **lie) == Verdict.WRONG


def test_the_page_is_believed_from_memory_and_not_from_the_reply():
    # The reply says the old page; what is there belongs to another one.
    assert verdict(page=OLD_PAGE, signature=page_signature(OTHER_PAGE)) == Verdict.WRONG


@pytest.mark.parametrize(("begun", "now", "expected"), [
    (ONLY_OLD, ONLY_OLD, Verdict.OLD),
    (BOTH, ONLY_NEW, Verdict.OLD),       # accepted while the old one was permitted: may end there
    (ONLY_OLD, NEITHER, Verdict.OLD),
    (ONLY_NEW, ONLY_NEW, Verdict.WRONG),  # accepted after the old one was declared gone
    (NEITHER, NEITHER, Verdict.WRONG),
    (ONLY_NEW, BOTH, Verdict.OLD),       # a replacement was taken back
])
def test_the_old_table_is_permitted_by_either_declaration(begun, now, expected):
    assert verdict(begun=begun, now=now) == expected


@pytest.mark.parametrize(("begun", "now", "expected"), [
    (ONLY_OLD, ONLY_OLD, Verdict.WRONG),  # the new one before it was declared
    (ONLY_OLD, BOTH, Verdict.NEW),       # accepted before the declaration, translated after it
    (ONLY_NEW, ONLY_NEW, Verdict.NEW),
    (BOTH, NEITHER, Verdict.NEW),
])
def test_the_new_table_is_permitted_by_either_declaration(begun, now, expected):
    assert verdict(page=NEW_PAGE, domain_id=NEW_DOMAIN, begun=begun, now=now) == expected


@pytest.mark.parametrize(("begun", "now", "expected"), [
    (BOTH, BOTH, Verdict.OLD),
    (ONLY_OLD, BOTH, Verdict.OLD),
    (ONLY_NEW, ONLY_NEW, Verdict.NEW),
    (NEITHER, NEITHER, Verdict.WRONG),
])
def test_where_both_tables_look_alike_old_goes_first(begun, now, expected):
    assert verdict(new_page=OLD_PAGE, new_domain_id=OLD_DOMAIN, begun=begun, now=now) == expected


def test_the_domain_alone_tells_tables_apart_that_give_the_same_page():
    same_page = {"new_page": OLD_PAGE, "begun": BOTH, "now": BOTH}
    assert verdict(domain_id=OLD_DOMAIN, **same_page) == Verdict.OLD
    assert verdict(domain_id=NEW_DOMAIN, **same_page) == Verdict.NEW
    assert verdict(domain_id=OTHER_DOMAIN, **same_page) == Verdict.WRONG


def test_poison_is_a_use_after_free_and_half_poison_is_wrong():
    assert verdict(signature=POISON) == Verdict.AFTER_FREE
    assert verdict(signature=POISON ^ 0xFF) == Verdict.WRONG
    assert verdict(signature=POISON ^ 1 << 63) == Verdict.WRONG


def test_a_memory_error_is_an_error_whatever_the_data_looks_like():
    assert verdict(error=1) == Verdict.ERROR
    assert verdict(error=1, signature=POISON) == Verdict.ERROR


@pytest.mark.parametrize(("status", "expected"), [
    (Status.BLOCKED, Verdict.BLOCKED), (Status.INTERRUPT, Verdict.WRONG), (Status.RESERVED_3, Verdict.WRONG),
])
def test_only_a_translated_dma_is_judged_by_its_data(status, expected):
    assert verdict(status=status) == expected
