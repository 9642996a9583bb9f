r"""Follows every DMA from its reply through its data access to its verdict and its retire. Ours.

::

    accepted --> flights (by tag) ------------+---------------------------------+
                                              v                                 v
    dma_replies ---------------------> [reply] --blocked--------------> [outcome] --> Judge --> judged
                                          |  \                            ^    |
                                          |   +--> landings (by tag) -----|    +--> dma_retires
                                          v                               |
                                     data_requests     data_replies --> [data]
"""
from amaranth import *
from amaranth.lib import data, stream, wiring
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out

from hw.spec.bench import DataWord, DeviceDomains, WriteStamp
from hw.spec.dma import TAG_BITS, Access, DmaReply, DmaRetire, Status
from hw.spec.events import Verdict
from hw.spec.memory import QUANTUM_BITS, QUANTUM_BYTES, MemoryOperation, MemoryRequest, memory_reply_layout
from hw.traffic.judge import Judge
from hw.traffic.messages import Flight, Outcome, Strobe, TablePort

__all__ = ["Checker", "Judgement"]

_BYTE_BITS = 8
_STAMP = data.Layout.cast(DataWord)["stamp"]
_STAMP_MASK = ((1 << _STAMP.width // _BYTE_BITS) - 1) << _STAMP.offset // _BYTE_BITS


class Judgement(data.Struct):
    """An outcome and its verdict."""

    outcome: Outcome
    verdict: Verdict


class _Landing(data.Struct):
    """What is remembered of a reply during the data access."""

    domain_id: 16
    hpa: 52
    colour: 1


class Checker(wiring.Component):
    """Makes the data access of every translated DMA, judges every DMA, and retires it.

    Parameters
    ----------
    devices : int
        Rows of the device table.

    Members
    -------
    domains
        The host's way to DeviceDomains.
    accepted
        A DMA begins: its tag, and what is to be remembered of it.
    dma_replies, data_requests, data_replies, dma_retires
        The unit's replies, one data access for each translated DMA, one retire for each DMA.
    answer, awaited
        Asks whether a reply was due; one that was not is dropped and reported by `stray`, and neither makes a data
        access nor is retired.
    judged
        The verdict; the DMA is done and its tag is free.
    hold
        Take no further outcome in this cycle.

    Timing
    ------
    One DMA per cycle on every stream. A blocked DMA is retired two cycles after its reply was taken, another one two
    cycles after its data reply, if nothing is in the way; the verdict is given in the cycle in which the retire is
    accepted. Where a data reply and a blocked DMA meet, the data reply goes first: as the blocked one holds up new data
    accesses, it waits for those under way at most. The reply to a request comes at least a cycle after it was accepted.
    """

    def __init__(self, *, devices):
        self._devices = devices
        super().__init__({
            "domains": In(TablePort(DeviceDomains, rows=devices)),
            "accepted": In(Strobe(data.StructLayout({"tag": TAG_BITS, "flight": Flight}))),
            "dma_replies": In(stream.Signature(DmaReply)),
            "data_requests": Out(stream.Signature(MemoryRequest)),
            "data_replies": In(stream.Signature(memory_reply_layout(QUANTUM_BITS))),
            "dma_retires": Out(stream.Signature(DmaRetire)),
            "answer": Out(Strobe(TAG_BITS)),
            "awaited": In(1),
            "stray": Out(1),
            "judged": Out(Strobe(Judgement)),
            "hold": In(1),
        })

    def elaborate(self, platform):
        m = Module()
        depth = 1 << TAG_BITS
        m.submodules.judge = judge = Judge()
        m.submodules.domains_memory = domains = Memory(shape=DeviceDomains, depth=self._devices, init=[])
        m.submodules.flights = flights = Memory(shape=Flight, depth=depth, init=[])
        m.submodules.landings = landings = Memory(shape=_Landing, depth=depth, init=[])

        # What is declared: for the host, for the DMA that begins, for the one that is judged.
        domains_write = domains.write_port()
        host, at_begin, at_end = (domains.read_port(domain="comb") for _ in range(3))
        m.d.comb += [
            domains_write.addr.eq(self.domains.row),
            domains_write.data.eq(self.domains.write_data),
            domains_write.en.eq(self.domains.write),
            host.addr.eq(self.domains.row),
            self.domains.read_data.eq(host.data),
        ]

        # A DMA begins.
        flight_write = flights.write_port()
        begun = self.accepted.payload
        m.d.comb += [
            at_begin.addr.eq(begun.flight.device),
            flight_write.addr.eq(begun.tag),
            flight_write.data.eq(begun.flight),
            flight_write.data.declared.eq(at_begin.data),
            flight_write.en.eq(self.accepted.valid),
        ]

        # [reply] holds the unit's reply until its data access is accepted, or, if there is none, its outcome.
        reply = Signal(DmaReply)
        reply_valid = Signal()
        reply_done = Signal()
        translated = Signal()
        reply_flight = flights.read_port()
        arrives = Signal()
        m.d.comb += [
            self.dma_replies.ready.eq(~reply_valid | reply_done),
            arrives.eq(self.dma_replies.valid & self.dma_replies.ready),
            self.answer.payload.eq(self.dma_replies.payload.tag),
            self.answer.valid.eq(arrives & self.awaited),
            self.stray.eq(arrives & ~self.awaited),
            reply_flight.addr.eq(self.dma_replies.payload.tag),
            reply_flight.en.eq(self.dma_replies.ready),
            translated.eq(reply.status == Status.OK),
        ]
        with m.If(self.dma_replies.ready):
            m.d.sync += [reply_valid.eq(self.answer.valid), reply.eq(self.dma_replies.payload)]

        # The data access: a write replaces the stamp alone, and sees the signature like a read.
        access = self.data_requests.payload
        word = data.View(DataWord, access.data)
        stamp = data.View(WriteStamp, word.stamp)
        landing_write = landings.write_port()
        m.d.comb += [
            self.data_requests.valid.eq(reply_valid & translated),
            access.operation.eq(
                Mux(reply_flight.data.access == Access.WRITE, MemoryOperation.WRITE, MemoryOperation.READ)),
            access.hpa.eq(reply.hpa & ~(QUANTUM_BYTES - 1)),
            access.write_mask.eq(_STAMP_MASK),
            access.tag.eq(reply.tag),
            stamp.sequence.eq(reply_flight.data.sequence),
            stamp.tag.eq(reply.tag),
            stamp.source_id.eq(reply_flight.data.source_id),
            landing_write.addr.eq(reply.tag),
            landing_write.data.domain_id.eq(reply.domain_id),
            landing_write.data.hpa.eq(reply.hpa),
            landing_write.data.colour.eq(reply.colour),
            landing_write.en.eq(self.data_requests.valid & self.data_requests.ready),
        ]

        # [data] holds the memory's reply until its outcome is taken.
        found = Signal(memory_reply_layout(QUANTUM_BITS))
        found_valid = Signal()
        found_done = Signal()
        found_flight = flights.read_port()
        found_landing = landings.read_port()
        m.d.comb += [
            self.data_replies.ready.eq(~found_valid | found_done),
            found_flight.addr.eq(self.data_replies.payload.tag),
            found_flight.en.eq(self.data_replies.ready),
            found_landing.addr.eq(self.data_replies.payload.tag),
            found_landing.en.eq(self.data_replies.ready),
        ]
        with m.If(self.data_replies.ready):
            m.d.sync += [found_valid.eq(self.data_replies.valid), found.eq(self.data_replies.payload)]

        # [outcome] holds a DMA until its retire is accepted, which is when it is judged.
        outcome = Signal(Outcome)
        outcome_valid = Signal()
        takes = Signal()
        m.d.comb += [
            takes.eq((~outcome_valid | self.dma_retires.ready) & ~self.hold),
            found_done.eq(takes),
            reply_done.eq(Mux(translated, self.data_requests.ready, takes & ~found_valid)),
        ]
        with m.If(self.dma_retires.ready):
            m.d.sync += outcome_valid.eq(0)
        with m.If(takes & found_valid):
            m.d.sync += [
                outcome_valid.eq(1), outcome.eq(0),
                outcome.tag.eq(found.tag), outcome.flight.eq(found_flight.data), outcome.status.eq(Status.OK),
                outcome.domain_id.eq(found_landing.data.domain_id), outcome.hpa.eq(found_landing.data.hpa),
                outcome.colour.eq(found_landing.data.colour), outcome.error.eq(found.error),
                outcome.signature.eq(data.View(DataWord, found.data).signature),
            ]
        with m.Elif(takes & reply_valid & ~translated):
            m.d.sync += [
                outcome_valid.eq(1), outcome.eq(0),
                outcome.tag.eq(reply.tag), outcome.flight.eq(reply_flight.data), outcome.status.eq(reply.status),
                outcome.domain_id.eq(reply.domain_id), outcome.colour.eq(reply.colour),
            ]

        m.d.comb += [
            at_end.addr.eq(outcome.flight.device),
            judge.outcome.eq(outcome),
            judge.declared.eq(at_end.data),
            self.dma_retires.valid.eq(outcome_valid),
            self.dma_retires.payload.colour.eq(outcome.colour),
            self.judged.valid.eq(outcome_valid & self.dma_retires.ready),
            self.judged.payload.outcome.eq(outcome),
            self.judged.payload.verdict.eq(judge.verdict),
        ]
        return m
