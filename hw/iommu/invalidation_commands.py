"""What ICC, IVT and SRTP ask for, as invalidations, one at a time. Source: VT-d 4.1, 11.4.4.1, 11.4.6 and 11.4.8."""
from amaranth import *
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

from hw.iommu.messages import InvalidationStep
from hw.lib.csr import register_layout
from hw.spec.capabilities import Straps
from hw.spec.invalidation import Granularity, Invalidation, InvalidationKind
from hw.spec.registers import REGISTERS

__all__ = ["InvalidationCommands"]


class InvalidationCommands(wiring.Component):
    """Form the invalidation that is pending, hand it out, and say what was performed when it has completed.

    Granularity 0 invalidates nothing and is answered 0. A page-selective request for more than 2**MAMV pages is
    performed and answered as a domain-selective one, which covers it. SRTP under ESRTPS takes two: the whole context
    cache, then the whole IOTLB, drained. Turning translation off takes the second of these. Each is followed by a fence
    of its own, which tells that it has completed.

    Members
    -------
    ccmd, iva, iotlb
        The registers. They must stand still while `busy`.
    start_context, start_iotlb, start_root, start_disable
        One cycle: ICC, IVT or SRTP was written, or TE falls; the registers hold the command from the next cycle on. The
        first two never come while `busy`, the others may.
    context_pending, iotlb_pending, root_pending
        Not completed yet.
    busy
        Any of the three.
    context_performed, iotlb_performed
        CAIG and IAIG: of the command completed last.
    invalidations, invalidation_done
        An invalidation, then a fence, until it is `done`; the next one is offered after that.
    straps
        `esrtps` and `max_address_mask`.

    Timing
    ------
    An invalidation is offered two cycles after its start, its fence in the cycle after it was taken; `pending` falls two
    cycles after `invalidation_done`; a refused command is pending for three cycles.
    """

    def __init__(self):
        super().__init__({
            "ccmd": In(register_layout(REGISTERS["CCMD"])),
            "iva": In(register_layout(REGISTERS["IVA"])),
            "iotlb": In(register_layout(REGISTERS["IOTLB"])),
            "straps": In(Straps),
            "start_context": In(1),
            "start_iotlb": In(1),
            "start_root": In(1),
            "start_disable": In(1),
            "context_pending": Out(1),
            "iotlb_pending": Out(1),
            "root_pending": Out(1),
            "busy": Out(1),
            "context_performed": Out(Granularity),
            "iotlb_performed": Out(Granularity),
            "invalidations": Out(stream.Signature(InvalidationStep)),
            "invalidation_done": In(1),
        })

    def elaborate(self, platform):
        m = Module()
        root_steps = Signal(range(3))  # to be done for SRTP: 2 context cache and IOTLB, 1 IOTLB
        m.d.comb += [
            self.root_pending.eq(root_steps != 0),
            self.busy.eq(self.context_pending | self.iotlb_pending | self.root_pending),
        ]
        with m.If(self.start_context):
            m.d.sync += self.context_pending.eq(1)
        with m.If(self.start_iotlb):
            m.d.sync += self.iotlb_pending.eq(1)
        with m.If(self.start_root):
            m.d.sync += root_steps.eq(Mux(self.straps.esrtps, 2, 0))
        with m.If(self.start_disable):
            m.d.sync += root_steps.eq(1)

        # ICC and IVT are never pending together, and neither begins to be while SRTP has steps to do: whichever of
        # them is pending goes first, and is the one that is answered.
        chosen = Signal(Invalidation)
        m.d.comb += self.invalidations.payload.invalidation.eq(chosen)
        context_command, iotlb_command, root_command = self._commands(m, root_steps)
        with m.FSM(name="invalidation_commands"):
            with m.State("IDLE"):
                with m.If(self.context_pending):
                    m.d.sync += chosen.eq(context_command)
                with m.Elif(self.iotlb_pending):
                    m.d.sync += chosen.eq(iotlb_command)
                with m.Else():
                    m.d.sync += chosen.eq(root_command)
                with m.If(self.busy):
                    m.next = "OFFER"
            with m.State("OFFER"):
                with m.If(chosen.granularity == Granularity.RESERVED_0):
                    m.next = "ANSWER"
                with m.Else():
                    m.d.comb += self.invalidations.valid.eq(1)
                    with m.If(self.invalidations.ready):
                        m.next = "FENCE"
            with m.State("FENCE"):
                m.d.comb += [self.invalidations.valid.eq(1), self.invalidations.payload.fence.eq(1)]
                with m.If(self.invalidations.ready):
                    m.next = "WAIT"
            with m.State("WAIT"):
                with m.If(self.invalidation_done):
                    m.next = "ANSWER"
            with m.State("ANSWER"):
                with m.If(self.context_pending):
                    m.d.sync += [self.context_pending.eq(0), self.context_performed.eq(chosen.granularity)]
                with m.Elif(self.iotlb_pending):
                    m.d.sync += [self.iotlb_pending.eq(0), self.iotlb_performed.eq(chosen.granularity)]
                with m.Else():
                    m.d.sync += root_steps.eq(root_steps - 1)
                m.next = "IDLE"
        return m

    def _commands(self, m, root_steps):
        """The three commands as they would be carried out now."""
        ccmd, iva, iotlb = self.ccmd, self.iva, self.iotlb
        context_command, iotlb_command, root_command = (
            Signal(Invalidation, name=name) for name in ("context_command", "iotlb_command", "root_command"))
        m.d.comb += [
            context_command.kind.eq(InvalidationKind.CONTEXT_CACHE),
            context_command.granularity.eq(ccmd.CIRG),
            context_command.domain_id.eq(ccmd.DID),
            context_command.source_id.eq(ccmd.SID),
            context_command.function_mask.eq(ccmd.FM),

            iotlb_command.kind.eq(InvalidationKind.IOTLB),
            iotlb_command.granularity.eq(iotlb.IIRG),
            iotlb_command.domain_id.eq(iotlb.DID),
            iotlb_command.drain.eq(iotlb.DR | iotlb.DW),

            root_command.kind.eq(Mux(root_steps == 1, InvalidationKind.IOTLB, InvalidationKind.CONTEXT_CACHE)),
            root_command.granularity.eq(Granularity.GLOBAL),
            root_command.drain.eq(root_steps == 1),
        ]
        with m.If(iotlb.IIRG == Granularity.SELECTIVE):
            with m.If(iva.AM > self.straps.max_address_mask):
                m.d.comb += iotlb_command.granularity.eq(Granularity.DOMAIN_SELECTIVE)
            with m.Else():
                m.d.comb += [
                    iotlb_command.page.eq(Cat(bit & (iva.AM <= place) for place, bit in enumerate(iva.ADDR))),
                    iotlb_command.address_mask.eq(iva.AM),
                    iotlb_command.hint.eq(iva.IH),
                ]
        return context_command, iotlb_command, root_command
