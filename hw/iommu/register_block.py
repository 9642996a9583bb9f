"""The registers of hw.spec.registers as hardware: software's way in. Source: VT-d 4.1, 11.4.

::

    accesses --> bus decode --> Csr per register --+--> GCMD handshake -------> control
    replies <-------- read mux <-------------------+--> CCMD, IVA, IOTLB, SRTP --> invalidations, <-- invalidation_done
                                                   +--> FECTL, FEDATA, FEADDR ---> messages
                                                   +--> FSTS, FRCD <-- faults --> FaultRecorder
"""
from functools import reduce
from operator import or_

from amaranth import *
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out, flipped

from hw.iommu.fault_recorder import FaultRegisterPort
from hw.iommu.invalidation_commands import InvalidationCommands
from hw.iommu.messages import EventPort, UnitControl
from hw.lib.csr import Csr
from hw.lib.stream import connect_stream
from hw.spec.bench import HOST_ADDRESS_BITS, HostReply, HostRequest
from hw.spec.capabilities import Straps, cap_value, ecap_value
from hw.spec.events import EventKind
from hw.spec.invalidation import Invalidation
from hw.spec.registers import REGISTER_WINDOW_BYTES, REGISTERS, Base
from hw.spec.tables import PAGE_BITS

__all__ = ["Message", "RegisterBlock"]

_LANE_BITS = 32   # every register stands on whole lanes of 4 bytes, in rows of four
_LANES = 4
_INVALIDATION_REGISTERS = ("CCMD", "IVA", "IOTLB")


class _Address(data.Struct):
    """An address in the window."""

    byte: 2
    lane: 2
    row: HOST_ADDRESS_BITS - 4


class Message(data.Struct):
    """A fault event message: a store of `data` to `address` (VT-d 11.4.11)."""

    address: 64
    data: 32


class RegisterBlock(wiring.Component):
    """VT-d registers, and what a write to one of them sets off.

    Accesses: 4 bytes anywhere, 8 bytes to a 64-bit register or to half a fault record. `error` answers an access that
    is misaligned, beyond the window, or 8 bytes wide where a 32-bit register stands; it reads zero and does nothing.
    So does an access where there is no register, without `error`. A command (ICC, IVT, F) belongs to the write that
    carries its high half. The straps must keep the fault records, the invalidation registers and the fixed ones apart;
    registers that overlap all the same are written together and read ORed.

    GCMD takes one change at a time. A write that changes two things, or something while SRTP is under way, or that
    asks for what the unit does not have, is a protocol error: it does nothing at all. RTADDR takes effect with
    SRTP only; of the table's address the bits above 51 do not exist. With ESRTPS, SRTP invalidates the context cache
    and then the IOTLB, both whole, before RTPS is set.

    CCMD, IVA and IOTLB stand still while any invalidation is pending, SRTP's included: a write to one of them is then
    a protocol error and ignored. What is refused and what is widened: `InvalidationCommands`.

    FECTL.IP is set when an event is due, and cleared when its message is handed to `messages` (with IM = 0, in the
    next cycle, or when the message before it has been taken) or when no cause is left.

    Parameters
    ----------
    config : IommuConfig
        Fault records built: CAP.NFR never shows more.

    Members
    -------
    accesses, replies
        One reply per access, in order; for a write, its data is zero. Addresses are relative to the window.
    straps
        Constant from the first access on.
    control
        What the path of a request obeys.
    invalidations, invalidation_done
        One at a time: the next is offered after the pulse for the one before.
    faults
        To the fault recorder.
    messages
        Fault events.
    protocol_errors
        Writes that broke a rule above; stands still at its largest value.
    events[0]
        CONTROL, in the first cycle of a changed TES or a newly latched root table; `hpa` is the table's byte address.

    Timing
    ------
    An access is accepted when the reply before it has been taken; its reply is offered in the next cycle, with what it
    read in the cycle of acceptance. The effect of a write is visible in the cycle of its reply. No combinational
    path from `replies.ready`.

    Races
    -----
    An event that is raised in the cycle in which IP would be cleared sets it.

    Source
    ------
    VT-d 4.1, 11.4; one change at a time: 11.4.4.1.
    """

    def __init__(self, config):
        self._fault_records = config.fault_records
        super().__init__({
            "accesses": In(stream.Signature(HostRequest)),
            "replies": Out(stream.Signature(HostReply)),
            "straps": In(Straps),
            "control": Out(UnitControl),
            "invalidations": Out(stream.Signature(Invalidation)),
            "invalidation_done": In(1),
            "faults": Out(FaultRegisterPort()),
            "messages": Out(stream.Signature(Message)),
            "protocol_errors": Out(16),
            "events": Out(EventPort()).array(1),
        })

    def elaborate(self, platform):
        m = Module()
        csrs = {}
        for name, row in REGISTERS.items():
            m.submodules[name.lower()] = csrs[name] = Csr(row)
        straps = Signal(Straps)
        m.d.comb += [
            straps.eq(self.straps),
            csrs["CAP"].state.eq(cap_value(straps)),
            csrs["ECAP"].state.eq(ecap_value(straps)),
        ]
        with m.If(self.straps.fault_records >= self._fault_records):
            m.d.comb += straps.fault_records.eq(self._fault_records - 1)

        m.submodules.invalidation = invalidation = InvalidationCommands()
        connect_stream(m, src=invalidation.invalidations, dst=flipped(self).invalidations)
        m.d.comb += [
            invalidation.straps.eq(straps),
            invalidation.ccmd.eq(csrs["CCMD"].value),
            invalidation.iva.eq(csrs["IVA"].value),
            invalidation.iotlb.eq(csrs["IOTLB"].value),
            invalidation.start_context.eq(csrs["CCMD"].commands.ICC),
            invalidation.start_iotlb.eq(csrs["IOTLB"].commands.IVT),
            invalidation.invalidation_done.eq(self.invalidation_done),
            csrs["CCMD"].state.ICC.eq(invalidation.context_pending),
            csrs["CCMD"].state.CAIG.eq(invalidation.context_performed),
            csrs["IOTLB"].state.IVT.eq(invalidation.iotlb_pending),
            csrs["IOTLB"].state.IAIG.eq(invalidation.iotlb_performed),
        ]

        violations = Cat(
            self._decode(m, csrs, straps, frozen=invalidation.busy),
            self._obey_global_command(m, csrs, invalidation))
        with m.If(violations.any() & ~self.protocol_errors.all()):
            m.d.sync += self.protocol_errors.eq(self.protocol_errors + 1)
        self._show_faults(m, csrs)
        return m

    def _decode(self, m, csrs, straps, *, frozen):
        """Carry each access to its register and back. Returns the value "a register that stands still was written"."""
        access = self.accesses.payload
        address = data.View(_Address, access.address)
        lanes = Signal(_LANES)                      # the one or two that take part
        row_written = Signal(_LANES * _LANE_BITS)   # what is written and read, in place in its row
        row_read = Signal.like(row_written)
        perform, write, error = Signal(), Signal(), Signal()
        bases = {Base.FIXED: 0, Base.IRO: straps.invalidation_offset, Base.FRO: straps.fault_record_offset}

        hits, reads = {}, []
        for name, csr in csrs.items():
            row = REGISTERS[name]
            place = _Address.from_bits(row.offset)
            here = lanes[place.lane:place.lane + row.width // _LANE_BITS]
            distance = address.row - (bases[row.base] + place.row)
            last = straps.fault_records if row.base is Base.FRO else 0
            hits[name] = hit = Signal(name=f"{name.lower()}_hit")
            still = frozen if name in _INVALIDATION_REGISTERS else 0
            m.d.comb += [
                hit.eq((distance >= 0) & (distance <= last) & here.any()),
                csr.data.eq(row_written >> (place.lane * _LANE_BITS)),
                csr.strobes.eq(Mux(write & hit & ~still, here, 0)),
            ]
            reads.append(Mux(hit, csr.read << (place.lane * _LANE_BITS), 0))

        narrow_hits = Cat(hit for name, hit in hits.items() if REGISTERS[name].width == _LANE_BITS)
        m.d.comb += [
            self.accesses.ready.eq(~self.replies.valid),
            self.faults.record_index.eq(address.row - straps.fault_record_offset),
            lanes.eq(Mux(access.wide, 0b11, 0b01) << address.lane),
            row_written.eq(Mux(access.wide, access.data.replicate(2), access.data[:_LANE_BITS].replicate(_LANES))),
            row_read.eq(reduce(or_, reads)),
            error.eq(address.byte.any() | (access.address >= REGISTER_WINDOW_BYTES)
                     | (access.wide & (address.lane[0] | narrow_hits.any()))),
            perform.eq(self.accesses.valid & self.accesses.ready),
            write.eq(perform & access.write & ~error),
        ]
        with m.If(perform):
            m.d.sync += [
                self.replies.valid.eq(1),
                self.replies.payload.error.eq(error),
                self.replies.payload.data.eq(Mux(access.write | error, 0, Mux(
                    access.wide,
                    row_read.word_select(address.lane[1:], 2 * _LANE_BITS),
                    row_read.word_select(address.lane, _LANE_BITS)))),
            ]
        with m.Elif(self.replies.ready):
            m.d.sync += self.replies.valid.eq(0)
        return write & frozen & Cat(hits[name] for name in _INVALIDATION_REGISTERS).any()

    def _obey_global_command(self, m, csrs, invalidation):
        """GCMD, GSTS and the state behind them. Returns the value "this write breaks the handshake"."""
        gcmd, gsts, root = csrs["GCMD"], csrs["GSTS"], csrs["RTADDR"].value
        asked = gcmd.data
        root_set, root_pending, disabling = Signal(), Signal(), Signal()
        enabling_changes = asked.TE ^ self.control.translation_enabled
        foreign = Cat(asked[f.name] for f in REGISTERS["GCMD"].fields if f.name not in {"TE", "SRTP"}).any()
        refused = foreign | (asked.SRTP & enabling_changes) | ((asked.SRTP | enabling_changes) & (root_pending | disabling))
        obeyed = gcmd.strobes & ~refused
        m.d.comb += [
            invalidation.start_root.eq(obeyed & asked.SRTP),
            invalidation.start_disable.eq(obeyed & enabling_changes & ~asked.TE),
            gsts.state.TES.eq(self.control.translation_enabled | disabling),
            gsts.state.RTPS.eq(root_set),
        ]
        with m.If(obeyed):
            m.d.sync += self.control.translation_enabled.eq(asked.TE)
        # TES falls when nothing that was translated is under way any more: software may then free its tables.
        with m.If(invalidation.start_disable):
            m.d.sync += disabling.eq(1)
        with m.Elif(~invalidation.root_pending):
            m.d.sync += disabling.eq(0)
        with m.If(invalidation.start_root):
            m.d.sync += [
                self.control.translation_table_mode.eq(root.TTM),
                self.control.root_table.eq(root.RTA),
                root_set.eq(0),
                root_pending.eq(1),
            ]
        with m.Elif(root_pending & ~invalidation.root_pending):
            m.d.sync += [root_set.eq(1), root_pending.eq(0)]

        event = self.events[0]
        latched_before = Signal()
        m.d.sync += [
            event.valid.eq(obeyed & (asked.SRTP | enabling_changes)),
            latched_before.eq(invalidation.start_root),
        ]
        m.d.comb += [
            event.payload.kind.eq(EventKind.CONTROL),
            event.payload.hpa.eq(self.control.root_table << PAGE_BITS),
            event.payload.detail.eq(Cat(self.control.translation_enabled, latched_before)),
        ]
        return gcmd.strobes & refused

    def _show_faults(self, m, csrs):
        """FSTS and FRCD as the fault recorder has them; FECTL and the messages."""
        faults, fsts, fectl, frcd = self.faults, csrs["FSTS"], csrs["FECTL"], csrs["FRCD"]
        event_pending = Signal()
        send = event_pending & ~fectl.value.IM & ~self.messages.valid
        m.d.comb += [
            fsts.state.PFO.eq(faults.overflow),
            fsts.state.PPF.eq(faults.pending),
            fsts.state.FRI.eq(faults.first_pending),
            fectl.state.IP.eq(event_pending),
            frcd.state.eq(faults.record.as_value()),
            faults.clear_overflow.eq(fsts.commands.PFO),
            faults.clear_record.eq(frcd.commands.F),
        ]
        with m.If(faults.raised):
            m.d.sync += event_pending.eq(1)
        with m.Elif(send | ~(faults.pending | faults.overflow)):
            m.d.sync += event_pending.eq(0)
        with m.If(send):
            m.d.sync += [
                self.messages.valid.eq(1),
                self.messages.payload.address.eq(Cat(csrs["FEADDR"].value, csrs["FEUADDR"].value)),
                self.messages.payload.data.eq(csrs["FEDATA"].value.IMD),
            ]
        with m.Elif(self.messages.ready):
            m.d.sync += self.messages.valid.eq(0)
