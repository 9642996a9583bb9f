"""Judges one DMA: by the signature that it found in memory, and the domain ID that its reply names. Ours."""
from amaranth import *
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from hw.spec.bench import POISON_BYTE, DataWord, DeviceDomains, page_signature
from hw.spec.codec import field_width
from hw.spec.dma import Status
from hw.spec.events import Verdict
from hw.spec.tables import PAGE_BITS
from hw.traffic.messages import Outcome

__all__ = ["Judge"]

_POISON = int.from_bytes(bytes([POISON_BYTE]) * (field_width(DataWord, "signature") // 8), "little")


class Judge(wiring.Component):
    """Says what became of one DMA.

    Members
    -------
    outcome
        All that is known of it.
    declared
        What the experiment declares now; `outcome.flight.declared` is what it declared when the unit accepted the DMA.
    verdict
        The first that applies: BLOCKED; WRONG for any other status but OK; ERROR; AFTER_FREE; OLD; NEW; WRONG.

    A table is permitted if either declaration names it: a DMA that was accepted while the old table was permitted may
    end there however late, one that was accepted after the old table had been declared gone may not; a DMA that was
    accepted before the new table was declared may already be translated by it. A DMA that lands at the wrong place in
    the right page is WRONG. Where both tables give the same page under the same domain ID, OLD goes first.

    Timing
    ------
    Combinational.
    """

    outcome: In(Outcome)
    declared: In(DeviceDomains)
    verdict: Out(Verdict)

    def elaborate(self, platform):
        m = Module()
        outcome, flight = self.outcome, self.outcome.flight

        old_declared = Signal()
        new_declared = Signal()
        for declared in (flight.declared, self.declared):
            with m.If(declared.old_permitted & (outcome.domain_id == declared.old_domain_id)):
                m.d.comb += old_declared.eq(1)
            with m.If(declared.new_permitted & (outcome.domain_id == declared.new_domain_id)):
                m.d.comb += new_declared.eq(1)

        placed = Signal()
        old = Signal()
        new = Signal()
        m.d.comb += [
            placed.eq(outcome.hpa[:PAGE_BITS] == flight.iova[:PAGE_BITS]),
            old.eq(old_declared & placed & (outcome.signature == page_signature(flight.old_page))),
            new.eq(new_declared & placed & (outcome.signature == page_signature(flight.new_page))),
        ]

        with m.If(outcome.status == Status.BLOCKED):
            m.d.comb += self.verdict.eq(Verdict.BLOCKED)
        with m.Elif(outcome.status != Status.OK):
            m.d.comb += self.verdict.eq(Verdict.WRONG)
        with m.Elif(outcome.error):
            m.d.comb += self.verdict.eq(Verdict.ERROR)
        with m.Elif(outcome.signature == _POISON):
            m.d.comb += self.verdict.eq(Verdict.AFTER_FREE)
        with m.Elif(old):
            m.d.comb += self.verdict.eq(Verdict.OLD)
        with m.Elif(new):
            m.d.comb += self.verdict.eq(Verdict.NEW)
        with m.Else():
            m.d.comb += self.verdict.eq(Verdict.WRONG)
        return m
