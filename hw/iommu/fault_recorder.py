"""Fault records: what is kept of blocked requests, and what is lost if nobody reads it. Source: VT-d 4.1, 7.2-7.4."""
from amaranth import *
from amaranth.lib import memory, stream, wiring
from amaranth.lib.wiring import In, Out, Signature

from hw.iommu.messages import EventPort, FaultReport
from hw.spec.capabilities import Straps
from hw.spec.dma import Access
from hw.spec.events import EventKind, FaultDisposition
from hw.spec.faults import UNQUALIFIED_FAULT_REASONS, UNRECORDED_FAULT_REASONS, FaultRecord, FaultType
from hw.spec.tables import PAGE_BITS

__all__ = ["FaultRecorder", "FaultRegisterPort"]


class FaultRegisterPort(Signature):
    """Between the register block (which drives the Out members) and the fault recorder.

    record_index
        The record to look at; `record` shows it in the same cycle, with `fault` as it stands.
    clear_record
        Software wrote 1 to F of that record.
    clear_overflow
        Software wrote 1 to FSTS.PFO.
    overflow, pending, first_pending
        FSTS.PFO, PPF and FRI.
    remains
        A record or PFO is left once what software clears in this cycle has been cleared.
    raised
        One cycle: there is a record where none remained, so a fault event is due unless there is another cause.
    """

    def __init__(self):
        super().__init__({
            "record_index": Out(8),
            "clear_record": Out(1),
            "clear_overflow": Out(1),
            "record": In(FaultRecord),
            "overflow": In(1),
            "pending": In(1),
            "first_pending": In(8),
            "remains": In(1),
            "raised": In(1),
        })


class FaultRecorder(wiring.Component):
    """Keep one record per fault, in arrival order, until software clears it. Nothing is collapsed.

    A fault is dropped while FSTS.PFO is set, and sets PFO if the next record still has its F. It leaves no trace in
    the registers if its reason is never recorded, whatever PFO says, or if it is a qualified one and its context has
    fault processing disabled. The index of the next record is the unit's own: neither software nor translation enable
    moves it.

    Parameters
    ----------
    config : IommuConfig
        How many records are built.

    Members
    -------
    faults
        Blocked requests. Always ready.
    registers
        The register block's view.
    straps
        `fault_records` + 1 records are used, at most what was built.
    events[0]
        FAULT, in the cycle in which the fault is taken.

    Timing
    ------
    One fault per cycle. Record, FSTS and FRI show it in the next cycle, F together with the rest of its record.

    Races
    -----
    What software clears in a cycle is cleared before the fault of that cycle is looked at. So a fault that meets the
    clearing of PFO, or of the F of the very record that is next, is recorded, and that F stays set: set beats clear.
    If it is lost all the same, because the next record still has its F, PFO stays set. An event is raised if the
    clearing had left no cause.

    Source
    ------
    VT-d 4.1, 7.2.1 (qualified faults), 7.3 (recording), 7.4 (events), 11.4.14 (FRCD).
    """

    def __init__(self, config):
        self._records = config.fault_records
        super().__init__({
            "faults": In(stream.Signature(FaultReport)),
            "registers": In(FaultRegisterPort()),
            "straps": In(Straps),
            "events": Out(EventPort()).array(1),
        })

    def elaborate(self, platform):
        m = Module()
        registers, report = self.registers, self.faults.payload
        m.submodules.records = records = memory.Memory(shape=FaultRecord, depth=self._records, init=[])
        write_port, read_port = records.write_port(), records.read_port(domain="comb")

        recorded = Signal(self._records)   # F of each record
        overflow = Signal()
        following = Signal(range(self._records))
        first_pending = Signal(8)

        # What is left of the causes once software's clearing of this cycle is done.
        remaining = Signal.like(recorded)
        overflow_remains = Signal()
        m.d.comb += [
            read_port.addr.eq(registers.record_index),
            remaining.eq(recorded & ~(registers.clear_record << read_port.addr)),
            overflow_remains.eq(overflow & ~registers.clear_overflow),
        ]

        # What becomes of the fault of this cycle.
        disposition = Signal(FaultDisposition)
        keep = Signal()
        with m.If(self._is_one_of(report, UNRECORDED_FAULT_REASONS)):
            m.d.comb += disposition.eq(FaultDisposition.SUPPRESSED)
        with m.Elif(overflow_remains):
            m.d.comb += disposition.eq(FaultDisposition.OVERFLOWED)
        with m.Elif(report.fault_processing_disable & ~self._is_one_of(report, UNQUALIFIED_FAULT_REASONS)):
            m.d.comb += disposition.eq(FaultDisposition.SUPPRESSED)
        with m.Elif(remaining.bit_select(following, 1)):
            m.d.comb += disposition.eq(FaultDisposition.OVERFLOWED)
        with m.Else():
            m.d.comb += [disposition.eq(FaultDisposition.RECORDED), keep.eq(self.faults.valid)]

        m.d.comb += self.faults.ready.eq(1)
        m.d.sync += [
            recorded.eq(remaining | (keep << following)),
            overflow.eq(overflow_remains | (self.faults.valid & (disposition == FaultDisposition.OVERFLOWED))),
        ]
        with m.If(keep):
            last = (following == self.straps.fault_records) | (following == self._records - 1)
            m.d.sync += following.eq(Mux(last, 0, following + 1))
            with m.If(~remaining.any()):
                m.d.sync += first_pending.eq(following)
        m.d.comb += [
            write_port.en.eq(keep),
            write_port.addr.eq(following),
            registers.record.eq(read_port.data),
            registers.record.fault.eq(recorded.bit_select(read_port.addr, 1)),
            registers.overflow.eq(overflow),
            registers.pending.eq(recorded.any()),
            registers.first_pending.eq(first_pending),
            registers.remains.eq(remaining.any() | overflow_remains),
            registers.raised.eq(keep & ~registers.remains),
        ]
        self._fill(m, write_port.data, report)

        event = self.events[0]
        m.d.comb += [
            event.valid.eq(self.faults.valid),
            event.payload.kind.eq(EventKind.FAULT),
            event.payload.source_id.eq(report.request.source_id),
            event.payload.iova.eq(report.request.iova),
            event.payload.tag.eq(disposition),
            event.payload.detail.eq(report.fault_reason),
        ]
        return m

    @staticmethod
    def _is_one_of(report, reasons):
        """1 if the report's reason is one of these."""
        return Cat(report.fault_reason == reason for reason in reasons).any()

    @staticmethod
    def _fill(m, record, report):
        """Describe the report as a record. `fault` is kept apart, in a flip-flop of its own."""
        request = report.request
        kind = Signal(FaultType)
        with m.Switch(request.access):
            with m.Case(Access.READ):
                m.d.comb += kind.eq(FaultType.READ)
            with m.Case(Access.WRITE):
                m.d.comb += kind.eq(FaultType.WRITE)
            with m.Default():
                m.d.comb += kind.eq(FaultType.ATOMIC)
        m.d.comb += [
            record.fault_info.eq(request.iova[PAGE_BITS:]),
            record.source_id.eq(request.source_id),
            Cat(record.type_2, record.type_1).eq(kind),
            record.pasid_present.eq(request.pasid_present),
            record.fault_reason.eq(report.fault_reason),
            record.address_type.eq(request.kind),
        ]
        with m.If(request.pasid_present):
            m.d.comb += [
                record.privileged.eq(request.privileged),
                record.execute.eq(request.execute),
                record.pasid.eq(request.pasid),
            ]
