"""GCMD and GSTS: translation enable, the root table, and the invalidation queue on and off. Source: VT-d 4.1, 11.4.4.

::

    GCMD write --+--> refused, or obeyed -+--> TE ----> control, drain, then TES
    RTADDR ------+                        +--> SRTP --> control, (invalidations,) then RTPS
    IQA, IQT ----+                        +--> QIE ---> queue_enabled, drain, then QIES
"""
from amaranth import *
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from hw.iommu.messages import EventPort, UnitControl
from hw.lib.csr import register_layout
from hw.lib.match import beyond
from hw.spec.capabilities import MAX_HOST_ADDRESS_WIDTH, Straps
from hw.spec.events import ControlDetail, EventKind
from hw.spec.registers import REGISTERS
from hw.spec.tables import PAGE_BITS

__all__ = ["GlobalCommand"]

_COMMANDS = {"TE", "SRTP", "QIE"}   # what the unit has
_PAGE_NUMBER_BITS = MAX_HOST_ADDRESS_WIDTH - PAGE_BITS


class GlobalCommand(wiring.Component):
    """Obey GCMD, one change at a time.

    A write that asks for two changes, or for one while another is under way, or for what the unit does not have, is a
    violation and does nothing at all. A level bit that stands as it stood is no change.

    TE falls at once for new requests; TES falls when what was translated before has been drained, so that software may
    then free its tables. SRTP latches the root table and its mode at once; RTPS is set when what ESRTPS implies has
    been done. A root table that does not lie within the host address width is latched as `root_invalid` (VT-d 7.2,
    reason 30): it is never read, and requests that were looked up before end with the root table of then.

    QIE rises if the queue begins at its beginning (IQT = 0), ends within 52 bits, and no invalidation by registers is
    pending; otherwise it is a violation and stays off. QIE always falls, but it is a violation if descriptors wait that
    the queue could fetch (IQH differs from IQT, and no error holds it). QIES falls when what was fetched has been
    executed.

    Members
    -------
    written, asked
        One cycle: GCMD is written with `asked`.
    root, queue_address, queue_tail
        RTADDR, IQA and IQT.QT, as last written.
    queue_head, queue_held, queue_drained
        As in QueuePort.
    straps
        The host address width.
    invalidation_pending
        An invalidation by registers is under way, or the drain of TE.
    start_root, start_disable
        One cycle: SRTP, and TE off, have been obeyed: `InvalidationCommands` does what follows.
    root_pending
        It is still at it, from the cycle after the start on.
    control, queue_enabled
        What is obeyed. Changes in the cycle after the write.
    status
        GSTS.
    violation
        In the cycle of the write.
    events[0]
        CONTROL, in the cycle of a write that changes TE or latches a root table: what holds from the next cycle on.

    Source
    ------
    VT-d 4.1, 11.4.4 (GCMD, GSTS), 11.4.5 (RTADDR), 6.5.2 (queue on and off).
    """

    def __init__(self):
        super().__init__({
            "written": In(1),
            "asked": In(register_layout(REGISTERS["GCMD"])),
            "root": In(register_layout(REGISTERS["RTADDR"])),
            "queue_address": In(register_layout(REGISTERS["IQA"])),
            "queue_tail": In(15),
            "queue_head": In(15),
            "queue_held": In(1),
            "queue_drained": In(1),
            "straps": In(Straps),
            "invalidation_pending": In(1),
            "start_root": Out(1),
            "start_disable": Out(1),
            "root_pending": In(1),
            "control": Out(UnitControl),
            "queue_enabled": Out(1),
            "status": Out(register_layout(REGISTERS["GSTS"])),
            "violation": Out(1),
            "events": Out(EventPort()).array(1),
        })

    def elaborate(self, platform):
        m = Module()
        asked, control = self.asked, self.control
        setting, disabling, queue_disabling = Signal(), Signal(), Signal()   # the change that is under way
        root_set = Signal()
        foreign, changes = Signal(), Signal(3)   # changes: TE, SRTP, QIE
        obeyed, enable_queue = Signal(), Signal()
        m.d.comb += [
            foreign.eq(Cat(asked[f.name] for f in REGISTERS["GCMD"].fields if f.name not in _COMMANDS).any()),
            changes.eq(Cat(asked.TE ^ control.translation_enabled, asked.SRTP, asked.QIE ^ self.queue_enabled)),
            enable_queue.eq(changes[2] & asked.QIE),
        ]
        busy = setting | disabling | queue_disabling
        several = (changes & (changes - 1)[:3]).any()
        refused = foreign | several | (changes.any() & busy) | (enable_queue & ~self._may_enable_queue())
        abandons = changes[2] & ~asked.QIE & ~self.queue_held & (self.queue_head != self.queue_tail)
        m.d.comb += [
            obeyed.eq(self.written & ~refused),
            self.violation.eq(self.written & (refused | abandons)),
            self.start_disable.eq(obeyed & changes[0] & ~asked.TE),
            self.start_root.eq(obeyed & asked.SRTP),
            self.status.TES.eq(control.translation_enabled | disabling),
            self.status.RTPS.eq(root_set),
            self.status.QIES.eq(self.queue_enabled | queue_disabling),
        ]

        following = Signal(UnitControl)   # control from the next cycle on
        unreachable = Signal()            # RTADDR as it stands
        reachable_bits = (self.straps.host_address_width - PAGE_BITS)[:len(self.straps.host_address_width)]
        m.d.comb += [
            following.eq(control),
            unreachable.eq(beyond(self.root.RTA, reachable_bits)),
        ]
        with m.If(obeyed):
            m.d.comb += following.translation_enabled.eq(asked.TE)
            m.d.sync += self.queue_enabled.eq(asked.QIE)
        with m.If(self.start_root):
            m.d.comb += [following.translation_table_mode.eq(self.root.TTM), following.root_invalid.eq(unreachable)]
            with m.If(~unreachable):
                m.d.comb += following.root_table.eq(self.root.RTA)
        m.d.sync += control.eq(following)

        # Each change ends when what it has set off is over.
        with m.If(self.start_disable):
            m.d.sync += disabling.eq(1)
        with m.Elif(~self.root_pending):
            m.d.sync += disabling.eq(0)
        with m.If(self.start_root):
            m.d.sync += [setting.eq(1), root_set.eq(0)]
        with m.Elif(setting & ~self.root_pending):
            m.d.sync += [setting.eq(0), root_set.eq(1)]
        with m.If(obeyed & changes[2]):
            m.d.sync += queue_disabling.eq(~asked.QIE)
        with m.Elif(self.queue_drained):
            m.d.sync += queue_disabling.eq(0)

        event, detail = self.events[0], Signal(ControlDetail)
        m.d.comb += [
            event.valid.eq(obeyed & changes[:2].any()),
            event.payload.kind.eq(EventKind.CONTROL),
            event.payload.hpa.eq(following.root_table << PAGE_BITS),
            detail.translation_enabled.eq(following.translation_enabled),
            detail.latched.eq(self.start_root),
            detail.translation_table_mode.eq(following.translation_table_mode),
            detail.root_invalid.eq(following.root_invalid),
            event.payload.detail.eq(detail),
        ]
        return m

    def _may_enable_queue(self):
        """Nothing stands against QIE: no invalidation by registers, no tail, and a queue that ends within 52 bits."""
        address, most = self.queue_address.IQA, (1 << len(self.queue_address.QS)) - 1   # 2**most pages at most
        last_page = address[:most] + ((1 << self.queue_address.QS) - 1)[:most]          # its low part, and a carry
        leaves = address[_PAGE_NUMBER_BITS:].any() | (address[most:_PAGE_NUMBER_BITS].all() & last_page[most])
        return ~(self.invalidation_pending | self.queue_tail.any() | leaves)
