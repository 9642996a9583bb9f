"""What those who wait for a walk are told, one after the other, and what of the walk's last word is cached."""
from amaranth import *
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from hw.iommu.checks import in_interrupt_window
from hw.iommu.messages import Answer, EventPort, FillPort, Transaction, iotlb_fill_layout
from hw.iommu.walk_keys import WalkMarks
from hw.iommu.walk_step import (
    Permissions,
    permission_fault,
    permissions_after,
    second_stage_entries,
    second_stage_step,
    select_second_stage_entry,
)
from hw.iommu.walk_steps import result_layout
from hw.spec.capabilities import Straps
from hw.spec.events import EventKind, WalkDetail
from hw.spec.faults import FaultReason
from hw.spec.tables import PAGE_BITS, PageSize, top_level

__all__ = ["Waiter", "WalkAnswers"]


class Waiter(data.Struct):
    """A request that waits for a walk, and what its own context says."""

    transaction: Transaction
    fault_processing_disable: 1
    address_width: 3
    table_pointer: 40


class WalkAnswers(wiring.Component):
    """Answers the current waiter of a finished walk.

    Parameters
    ----------
    config : IommuConfig
        `memory_word_bits`.

    Members
    -------
    valid, waiter, first, fresh, lonely
        Whose turn it is, as WaiterLists says.
    result, marks
        How the walk ended, and its marks as they stand in this cycle.
    advance
        The waiter has its answer (a lonely walk: its end).
    again
        It has not: it came to the walk when that was under way, or from another context, and would be blocked by what
        may have been read before it asked. The walk must be walked again, for it and for those who wait behind it.
    from_top
        With `again`: it has another context than the walk.
    answers
        Out, behind a register.
    fill
        The translations in the walk's last word, with its first answer: those entries that a walk could end at, apart
        from pages of the interrupt window. In caching mode also pages that are not present. Nothing that its marks forbid.
    straps
        See Straps.
    events[0]
        WALK_RESULT, in the cycle of `advance`.

    Timing
    ------
    One waiter a cycle. An answer is offered in the cycle after its waiter's turn came. `fill` and `advance` are
    combinational.

    Source: VT-d 4.1, 3.7, 3.14 (interrupt window), 6.1 and 6.2 (what may be cached), 7.2 (reasons).
    """

    def __init__(self, config):
        super().__init__({
            "valid": In(1),
            "waiter": In(Waiter),
            "first": In(1),
            "fresh": In(1),
            "lonely": In(1),
            "result": In(result_layout(config.memory_word_bits)),
            "marks": In(WalkMarks),
            "advance": Out(1),
            "again": Out(1),
            "from_top": Out(1),
            "answers": Out(stream.Signature(Answer)),
            "fill": Out(FillPort(iotlb_fill_layout(config.entries_per_word))),
            "straps": In(Straps),
            "events": Out(EventPort()).array(1),
        })

    def elaborate(self, platform):
        m = Module()
        result, waiter = self.result, self.waiter
        request = waiter.transaction.request
        level, above = result.position.level, result.position.permissions

        # The waiter's own entry.
        entry = select_second_stage_entry(result.word, iova=request.iova, level=level)
        _, reserved = second_stage_step(m, entry=entry, level=level, straps=self.straps)
        permissions = Signal(Permissions)
        fault = Signal(FaultReason)
        with m.If(result.error):
            m.d.comb += permissions.eq(above)
        with m.Else():
            m.d.comb += [permissions[name].eq(value) for name, value in permissions_after(above, entry).items()]
        lacking = permission_fault(m, access=request.access, permissions=permissions)
        with m.If(lacking != FaultReason.NONE):
            m.d.comb += fault.eq(lacking)
        with m.Elif(result.error):
            top = level == top_level(result.walk.address_width)
            m.d.comb += fault.eq(Mux(top, FaultReason.CONTEXT_INVALID, FaultReason.SECOND_STAGE_ACCESS))
        with m.Elif(reserved):
            m.d.comb += fault.eq(FaultReason.SECOND_STAGE_RESERVED)

        # May it be told?
        own_context = ((waiter.table_pointer == result.walk.table_pointer)
                       & (waiter.address_width == result.walk.address_width))
        blocked = fault != FaultReason.NONE
        free = ~self.answers.valid | self.answers.ready
        m.d.comb += [
            self.again.eq(self.valid & ~self.lonely & blocked & ~(self.fresh & own_context)),
            self.from_top.eq(~own_context),
            self.advance.eq(self.valid & ~self.again & (self.lonely | free)),
        ]

        page_size = Signal(PageSize)
        marked = Signal()
        with m.If(~blocked):
            m.d.comb += page_size.eq(level - 1)
        m.d.comb += marked.eq(self._marked(page_size))
        answer = self.answers.payload
        with m.If(free):
            m.d.sync += [
                self.answers.valid.eq(self.advance & ~self.lonely),
                answer.transaction.eq(waiter.transaction),
                answer.context.domain_id.eq(result.walk.domain_id),
                answer.context.address_width.eq(waiter.address_width),
                answer.context.table_pointer.eq(result.walk.table_pointer),
                answer.context.fault_processing_disable.eq(waiter.fault_processing_disable),
                answer.fault_reason.eq(fault),
                answer.page_size.eq(page_size),
                answer.page.eq(Mux(blocked, 0, entry.address)),
            ]

        self._fill(m)

        event = self.events[0]
        detail = data.View(WalkDetail, event.payload.detail[:WalkDetail.as_shape().size])
        m.d.comb += [
            event.valid.eq(self.advance & ~self.lonely),
            event.payload.kind.eq(EventKind.WALK_RESULT),
            event.payload.source_id.eq(request.source_id),
            event.payload.domain_id.eq(result.walk.domain_id),
            event.payload.tag.eq(request.tag),
            event.payload.iova.eq(request.iova),
            event.payload.hpa.eq(result.walk.table_pointer << PAGE_BITS),
            detail.fault_reason.eq(fault),
            detail.page_size.eq(page_size),
            detail.marked.eq(marked),
            detail.page.eq(Mux(blocked, 0, entry.address)),
        ]
        return m

    def _marked(self, page_size):
        """True if a line of this page size must not be cached."""
        return Array([self.marks.near, self.marks.region, self.marks.domain, 1])[page_size.as_value()]

    def _fill(self, m):
        """The line for the IOTLB."""
        result = self.result
        level, above = result.position.level, result.position.permissions
        entries = second_stage_entries(result.word)
        own = select_second_stage_entry(
            result.word, iova=Cat(Const(0, PAGE_BITS), result.walk.iova_page), level=level)
        missing_table = Signal()     # in caching mode: no table, and so none of the line's pages, is present
        size = Signal(PageSize)
        fill = self.fill.payload
        m.d.comb += [
            missing_table.eq(self.straps.caching_mode & (level != 1) & ~own.readable & ~own.writable),
            size.eq(Mux(missing_table, PageSize.SIZE_4K.value, level - 1)),
            fill.domain_id.eq(result.walk.domain_id),
            fill.iova_page.eq(result.walk.iova_page),
            fill.page_size.eq(size),
            fill.table_pointer.eq(result.walk.table_pointer),
        ]
        for cached, entry in zip(fill.entries, entries, strict=True):
            leaf, reserved = second_stage_step(m, entry=entry, level=level, straps=self.straps)
            below = permissions_after(above, entry)
            missing = Signal(name="missing")
            with m.If(missing_table):
                m.d.comb += [missing.eq(1), cached.valid.eq(1)]
            with m.Else():
                unreachable = (level == 1) & in_interrupt_window(entry.address)
                m.d.comb += [
                    missing.eq(~entry.readable & ~entry.writable),
                    cached.valid.eq(Mux(
                        missing, self.straps.caching_mode & (level == 1),
                        (below["readable"] | below["writable"]) & leaf & ~reserved & ~unreachable)),
                ]
            with m.If(~missing):
                m.d.comb += [
                    cached.readable.eq(below["readable"]),
                    cached.writable.eq(below["writable"]),
                    cached.page.eq(entry.address),
                ]
        useful = Cat(cached.valid for cached in fill.entries).any()
        m.d.comb += self.fill.valid.eq(self.advance & self.first & ~result.error & useful & ~self._marked(size))
