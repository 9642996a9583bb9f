# amaranth: UnusedElaboratable=no
"""The pre-walk window as the host and the page walker see it."""
import pytest

from hw.iommu.prewalk_window import PrewalkWindow
from hw.spec.capabilities import STRAPS_DEFAULT, Straps, describe_straps
from hw.spec.codec import decode, encode
from hw.spec.dma import Access, RequestKind
from hw.spec.tables import TranslationType
from tests.hw.iommu.bench import receive, run, send
from tests.hw.iommu.register_bench import access_of

CONTEXT_LOW, CONTEXT_HIGH, SOURCE_ID, PAGE, STATUS = 0x00, 0x08, 0x10, 0x18, 0x20
WAITING, DISTURBED, PENDING, DONE = 1, 2, 1 << 16, 1 << 32     # STATUS
LOW, HIGH = 0x4_5678_9001, 0x1234_02                           # present, tables in page 0x456789, AW = 2, domain 0x1234
IOVA_PAGE = 0x7_6543_2110


class Host:
    """The host's hand on the window."""

    def __init__(self, ctx, dut):
        self.ctx, self.dut = ctx, dut

    async def access(self, offset, *, width=8, write=None):
        """One access: (data, error)."""
        await send(self.ctx, self.dut.accesses, access_of(offset, width=width, write=write))
        reply = await receive(self.ctx, self.dut.replies)
        return reply.data, reply.error

    async def context(self, low=LOW, high=HIGH, source_id=0x0310):
        """Write what a walk needs beside its page."""
        for offset, value in ((CONTEXT_LOW, low), (CONTEXT_HIGH, high), (SOURCE_ID, source_id)):
            assert await self.access(offset, write=value) == (0, 0)

    async def status(self):
        """STATUS."""
        value, error = await self.access(STATUS)
        assert error == 0
        return value

    async def pulse(self, *signals):
        """One cycle of these."""
        for signal in signals:
            self.ctx.set(signal, 1)
        await self.ctx.tick()
        for signal in signals:
            self.ctx.set(signal, 0)


def run_window(testbench, **strapped):
    """Run a testbench; straps by name change the default ones."""
    dut = PrewalkWindow()

    async def bench(ctx):
        ctx.set(dut.straps, decode(Straps, encode(Straps, **(describe_straps(STRAPS_DEFAULT) | strapped))))
        await testbench(ctx, dut, Host(ctx, dut))
    run(dut, bench)


def test_a_page_is_walked_under_the_context_that_was_written():
    async def testbench(ctx, dut, host):
        await host.context()
        assert ctx.get(dut.walk_requests.valid) == 0
        assert await host.access(PAGE, write=IOVA_PAGE) == (0, 0)
        assert await host.status() == WAITING | PENDING
        walk = await receive(ctx, dut.walk_requests)
        request, context = walk.transaction.request, walk.context
        assert (request.source_id, request.iova, request.length_bytes) == (0x0310, IOVA_PAGE << 12, 1)
        assert (request.access, request.kind, request.pasid_present) == (Access.READ, RequestKind.UNTRANSLATED, 0)
        assert walk.transaction.marked == 0
        assert (context.domain_id, context.table_pointer, context.address_width) == (0x1234, 0x45_6789, 2)
        assert (context.translation_type, context.fault_reason) == (TranslationType.MULTI_LEVEL, 0)
        assert await host.status() == PENDING
        await host.pulse(dut.ended)
        assert await host.status() == DONE
    run_window(testbench)


def test_the_next_page_may_be_asked_for_when_the_one_before_has_been_taken():
    async def testbench(ctx, dut, host):
        await host.context()
        for number in range(3):
            assert await host.access(PAGE, write=IOVA_PAGE + number) == (0, 0)
            assert (await receive(ctx, dut.walk_requests)).transaction.request.iova == (IOVA_PAGE + number) << 12
        assert await host.status() == 3 * PENDING
        for _ in range(3):
            await host.pulse(dut.ended)
        assert await host.status() == 3 * DONE
        assert await host.access(STATUS, write=0) == (0, 0)
        assert await host.status() == 0
    run_window(testbench)


@pytest.mark.parametrize("offset", [CONTEXT_LOW, CONTEXT_HIGH, SOURCE_ID, PAGE])
def test_what_waits_cannot_be_changed(offset):
    async def testbench(ctx, dut, host):
        await host.context()
        await host.access(PAGE, write=IOVA_PAGE)
        before = ctx.get(dut.walk_requests.payload).as_bits()
        assert await host.access(offset, write=0x55) == (0, 1)
        assert ctx.get(dut.walk_requests.payload).as_bits() == before
        assert await host.status() == WAITING | PENDING
    run_window(testbench)


@pytest.mark.parametrize(("low", "high", "page", "straps"), [
    (LOW & ~1, HIGH, IOVA_PAGE, {}),                            # not present
    (LOW | 1 << 4, HIGH, IOVA_PAGE, {}),                        # reserved
    (LOW, HIGH | 1 << 24, IOVA_PAGE, {}),                       # reserved
    (LOW, HIGH | 1 << 7, IOVA_PAGE, {}),                        # reserved
    (LOW, HIGH, IOVA_PAGE, dict(domain_id_width_code=2)),       # a domain ID of 13 bits where there are 8
    (LOW, HIGH, IOVA_PAGE, dict(host_address_width=32)),        # tables beyond the host's addresses
    (LOW | 1 << 2, HIGH, IOVA_PAGE, {}),                        # with a device-TLB
    (LOW | 2 << 2, HIGH, IOVA_PAGE, {}),                        # passes addresses through
    (LOW | 3 << 2, HIGH, IOVA_PAGE, {}),
    (LOW, HIGH - 2, IOVA_PAGE, {}),                             # AW that does not exist
    (LOW, HIGH, IOVA_PAGE, dict(sagaw=0b01010)),                # AW that this machine does not have
    (LOW, HIGH, 1 << 36, {}),                                   # beyond AW
    (LOW, HIGH, 1 << 27, dict(mgaw=38)),                        # beyond MGAW
    (LOW, HIGH, IOVA_PAGE | 1 << 51, {}),
    (LOW, HIGH, IOVA_PAGE | 1 << 52, {}),                       # no page number
    (LOW, HIGH, IOVA_PAGE | 1 << 63, {}),
    (LOW, HIGH, 0xF_EE00, {}), (LOW, HIGH, 0xF_EEFF, {}),       # interrupt window
])
def test_a_page_that_no_device_could_translate_is_refused(low, high, page, straps):
    async def testbench(ctx, dut, host):
        await host.context(low, high)
        assert await host.access(PAGE, write=page) == (0, 1)
        assert ctx.get(dut.walk_requests.valid) == 0
        assert await host.status() == 0
    run_window(testbench, **straps)


@pytest.mark.parametrize(("page", "straps"), [
    ((1 << 36) - 1, {}), ((1 << 27) - 1, dict(mgaw=38)), (0xF_EDFF, {}), (0xF_EF00, {}), (0, {})])
def test_pages_at_the_edges_are_taken(page, straps):
    async def testbench(ctx, dut, host):
        await host.context()
        assert await host.access(PAGE, write=page) == (0, 0)
    run_window(testbench, **straps)


@pytest.mark.parametrize(("offset", "width", "write"), [
    (CONTEXT_LOW, 8, None), (PAGE, 8, None), (CONTEXT_LOW, 4, 1), (PAGE, 4, 1), (STATUS, 4, None), (STATUS, 4, 0), (0x28, 8, None),
    (0x28, 8, 1), (0x04, 8, 1), (0x1_0018, 8, 1)])
def test_any_other_access_is_an_error(offset, width, write):
    async def testbench(ctx, dut, host):
        await host.context()
        assert await host.access(offset, width=width, write=write) == (0, 1)
        assert await host.status() == 0
        assert await host.access(PAGE, write=IOVA_PAGE) == (0, 0)
        assert ctx.get(dut.walk_requests.payload.context.table_pointer) == 0x45_6789
    run_window(testbench)


def test_what_waits_when_an_invalidation_begins_is_marked_and_what_comes_later_is_not():
    async def testbench(ctx, dut, host):
        await host.context()
        for _ in range(2):
            await host.access(PAGE, write=IOVA_PAGE)
            await host.pulse(dut.invalidation.begin)
            await ctx.tick()
            assert (await receive(ctx, dut.walk_requests)).transaction.marked == 1
            assert await host.status() == DISTURBED | PENDING
            await host.pulse(dut.ended)
            await host.access(STATUS, write=0)
            await host.access(PAGE, write=IOVA_PAGE)
            assert (await receive(ctx, dut.walk_requests)).transaction.marked == 0
            await host.pulse(dut.ended)
            assert await host.status() == DONE
            await host.access(STATUS, write=0)
    run_window(testbench)


def test_what_is_taken_in_the_cycle_of_begin_is_marked():
    async def testbench(ctx, dut, host):
        await host.context()
        await host.access(PAGE, write=IOVA_PAGE)
        ctx.set(dut.invalidation.begin, 1)
        assert (await receive(ctx, dut.walk_requests)).transaction.marked == 1
        ctx.set(dut.invalidation.begin, 0)
        assert await host.status() == DISTURBED | PENDING
    run_window(testbench)


def test_an_invalidation_while_nothing_is_pending_disturbs_nothing_and_one_during_a_walk_does():
    async def testbench(ctx, dut, host):
        await host.context()
        await host.pulse(dut.invalidation.begin)
        assert await host.status() == 0
        await host.access(PAGE, write=IOVA_PAGE)
        await receive(ctx, dut.walk_requests)
        await host.pulse(dut.invalidation.begin)
        await host.pulse(dut.ended)
        assert await host.status() == DISTURBED | DONE
    run_window(testbench)


def test_a_walk_that_ends_while_status_is_written_or_another_is_accepted_is_counted():
    async def testbench(ctx, dut, host):
        await host.context()
        for _ in range(2):
            await host.access(PAGE, write=IOVA_PAGE)
            await receive(ctx, dut.walk_requests)
        ctx.set(dut.accesses.payload, access_of(STATUS, width=8, write=0))
        ctx.set(dut.accesses.valid, 1)
        await host.pulse(dut.ended)
        ctx.set(dut.accesses.valid, 0)
        await receive(ctx, dut.replies)
        assert await host.status() == PENDING | DONE
        ctx.set(dut.accesses.payload, access_of(PAGE, width=8, write=IOVA_PAGE))
        ctx.set(dut.accesses.valid, 1)
        await ctx.tick()
        ctx.set(dut.accesses.valid, 0)
        await host.pulse(dut.ended)                 # while PAGE is checked
        assert (await receive(ctx, dut.replies)).error == 0
        assert await host.status() == WAITING | PENDING | 2 * DONE
    run_window(testbench)
