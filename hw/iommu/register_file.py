"""The registers of hw.spec.registers as hardware: storage, and the way of every access. Source: VT-d 4.1, 11.4.

::

    accesses --> which row, which lanes, permitted? --> Csr per register --> registers
    replies <--- read mux <-----------------------------------/
"""
from functools import reduce
from operator import or_

from amaranth import *
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out, Signature

from hw.iommu.messages import EventPort
from hw.lib.csr import Csr, register_layout
from hw.spec.bench import HOST_ADDRESS_BITS, HostReply, HostRequest
from hw.spec.capabilities import Straps
from hw.spec.events import EventKind, RegisterAccess
from hw.spec.registers import REGISTER_WINDOW_BYTES, REGISTERS, Base

__all__ = ["CsrPort", "RegisterFile"]

_LANE_BITS = 32   # every register stands on whole lanes of 4 bytes, in rows of four
_LANES = 4
_LOCKED = {"CCMD": "invalidation_locked", "IVA": "invalidation_locked", "IOTLB": "invalidation_locked",
           "IQA": "queue_locked"}
"""Registers that can stand still, and the member that says when."""


class _Address(data.Struct):
    """An address in the window."""

    byte: 2
    lane: 2
    row: HOST_ADDRESS_BITS - 4


class CsrPort(Signature):
    """A register as the block behind it sees it; see `Csr` for `state`, `value` and `commands`.

    written, data
        In the cycle of a write to any part of it: what is written, in place. For registers of one part.
    """

    def __init__(self, row):
        layout = register_layout(row)
        super().__init__({
            "state": In(layout, init={field.name: field.reset for field in row.fields}),
            "value": Out(layout),
            "commands": Out(layout),
            "written": Out(1),
            "data": Out(layout),
        })


class RegisterFile(wiring.Component):
    """Every register of the table, reachable by the host.

    Accesses: 4 bytes anywhere, 8 bytes to a 64-bit register or to half a fault record. `error` answers an access that
    is misaligned, beyond the window, or 8 bytes wide where a 32-bit register stands; it reads zero and does nothing.
    So does an access where there is no register, without `error`. A command (ICC, IVT, F) belongs to the write that
    carries its high half. The straps must keep the fault records, the invalidation registers and the fixed ones apart;
    registers that overlap all the same are written together and read ORed.

    A write to a register that is locked does nothing, and is a protocol error.

    Members
    -------
    accesses, replies
        One reply per access, in order; for a write, its data is zero. Addresses are relative to the window.
    straps
        Where the movable registers stand, and how many fault records. Constant from the first access on.
    registers
        One CsrPort per register, by its name.
    record_index
        The fault record that an access of this cycle is for, if it is for one.
    invalidation_locked
        CCMD, IVA and IOTLB stand still.
    queue_locked
        IQA stands still.
    violation
        In the cycle of a write: it breaks a rule that the block behind the registers knows.
    protocol_error
        One cycle, of a write: it broke a rule, that one or a lock.
    events[0]
        REGISTER, in the cycle in which an access is accepted.

    Timing
    ------
    An access is accepted when the reply before it has been taken; its reply is offered in the next cycle, with what it
    read in the cycle of acceptance. The effect of a write is visible in the cycle of its reply. No combinational
    path from `replies.ready`.

    Source
    ------
    VT-d 4.1, 11.2 (access sizes), 11.4.
    """

    def __init__(self):
        super().__init__({
            "accesses": In(stream.Signature(HostRequest)),
            "replies": Out(stream.Signature(HostReply)),
            "straps": In(Straps),
            "registers": Out(Signature({name: Out(CsrPort(row)) for name, row in REGISTERS.items()})),
            "record_index": Out(8),
            "invalidation_locked": In(1),
            "queue_locked": In(1),
            "violation": In(1),
            "protocol_error": Out(1),
            "events": Out(EventPort()).array(1),
        })

    def elaborate(self, platform):
        m = Module()
        access = self.accesses.payload
        address = data.View(_Address, access.address)
        lanes = Signal(_LANES)                      # the one or two that take part
        row_written = Signal(_LANES * _LANE_BITS)   # what is written and read, in place in its row
        row_read = Signal.like(row_written)
        perform, write, error, locked = Signal(), Signal(), Signal(), Signal()
        here = self._decode_rows(m, address.row)

        hits, reads, locks = {}, [], []
        for name, row in REGISTERS.items():
            m.submodules[name.lower()] = csr = Csr(row)
            port = getattr(self.registers, name)
            place = _Address.from_bits(row.offset)
            parts = lanes[place.lane:place.lane + row.width // _LANE_BITS]
            hits[name] = hit = Signal(name=f"{name.lower()}_hit")
            still = getattr(self, _LOCKED[name]) if name in _LOCKED else Const(0)
            m.d.comb += [
                hit.eq(here[row.base, place.row] & parts.any()),
                csr.data.eq(row_written >> (place.lane * _LANE_BITS)),
                csr.strobes.eq(Mux(write & here[row.base, place.row] & ~still, parts, 0)),
                csr.state.eq(port.state),
                port.value.eq(csr.value),
                port.commands.eq(csr.commands),
                port.written.eq(csr.strobes.any()),
                port.data.eq(csr.data),
            ]
            locks.append(hit & still)
            reads.append(Mux(hit, csr.read << (place.lane * _LANE_BITS), 0))

        narrow_hits = Cat(hit for name, hit in hits.items() if REGISTERS[name].width == _LANE_BITS)
        read = Mux(access.wide, row_read.word_select(address.lane[1:], 2 * _LANE_BITS),
                   row_read.word_select(address.lane, _LANE_BITS))
        m.d.comb += [
            self.accesses.ready.eq(~self.replies.valid),
            lanes.eq(Mux(access.wide, 0b11, 0b01) << address.lane),
            row_written.eq(Mux(access.wide, access.data.replicate(2), access.data[:_LANE_BITS].replicate(_LANES))),
            row_read.eq(reduce(or_, reads)),
            error.eq(address.byte.any() | (access.address >= REGISTER_WINDOW_BYTES)
                     | (access.wide & (address.lane[0] | narrow_hits.any()))),
            perform.eq(self.accesses.valid & self.accesses.ready),
            write.eq(perform & access.write & ~error),
            locked.eq(write & Cat(locks).any()),
            self.protocol_error.eq(locked | self.violation),
        ]
        with m.If(perform):
            m.d.sync += [
                self.replies.valid.eq(1),
                self.replies.payload.error.eq(error),
                self.replies.payload.data.eq(Mux(access.write | error, 0, read)),
            ]
        with m.Elif(self.replies.ready):
            m.d.sync += self.replies.valid.eq(0)

        event, tag = self.events[0], Signal(RegisterAccess)
        m.d.comb += [
            event.valid.eq(perform),
            event.payload.kind.eq(EventKind.REGISTER),
            event.payload.hpa.eq(access.address),
            tag.write.eq(access.write),
            tag.wide.eq(access.wide),
            tag.error.eq(error),
            tag.violation.eq(self.protocol_error),
            event.payload.tag.eq(tag),
            event.payload.detail.eq(Mux(
                access.write, Mux(access.wide, access.data, access.data[:_LANE_BITS]), Mux(error, 0, read))),
        ]
        return m

    def _decode_rows(self, m, row):
        """Which rows with a register in them the address is in: by base, and row from there."""
        wanted = {(register.base, _Address.from_bits(register.offset).row) for register in REGISTERS.values()}
        from_records = Signal(len(row) + 1)   # rows from the first record on; beyond any number if before it
        m.d.comb += [
            from_records.eq(row - self.straps.fault_record_offset),
            self.record_index.eq(from_records),
        ]
        index_bits = len(self.record_index)
        here = {}
        for base, offset in sorted(wanted, key=lambda place: (place[0].name, place[1])):
            here[base, offset] = there = Signal(name=f"in_{base.name.lower()}_row_{offset}")
            match base:
                case Base.FIXED:
                    m.d.comb += there.eq(row == offset)
                case Base.IRO:
                    m.d.comb += there.eq(row == self.straps.invalidation_offset + offset)
                case Base.FRO:  # as many rows as there are records
                    m.d.comb += there.eq(~from_records[index_bits:].any() & (self.record_index <= self.straps.fault_records))
        return here
