"""What the unit has counted since reset, for the host. Source: ours (hw.spec.monitor)."""
from amaranth import *
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

from hw.spec.bench import HostReply, HostRequest
from hw.spec.invalidation import ABORT_MODE_DESCRIPTORS, DescriptorType
from hw.spec.monitor import MonitorRegister

__all__ = ["Monitor"]


class Monitor(wiring.Component):
    """One counter per row of MonitorRegister, read only; the one of descriptors once per type.

    Only reads of 8 bytes at a counter's offset are permitted; everything else is answered by `error` and zero. A
    counter stands still at its largest value.

    Parameters
    ----------
    counter_bits : int
        Width of a counter.

    Members
    -------
    accesses, replies
        One reply per access, in order. Addresses are relative to the window.
    protocol_error, fault_message, invalidation_message, refused_message, wait_abandoned
        One cycle each time it happens.
    executed, executed_type
        One cycle for each descriptor that has been executed: a wait, that has completed.

    Timing
    ------
    A counter shows in the next cycle what has happened. A reply is offered in the cycle after its access is accepted,
    with what stood there in the cycle of acceptance; the next access is accepted when it has been taken.
    """

    def __init__(self, *, counter_bits=32):
        self._counter_bits = counter_bits
        super().__init__({
            "accesses": In(stream.Signature(HostRequest)),
            "replies": Out(stream.Signature(HostReply)),
            "protocol_error": In(1),
            "fault_message": In(1),
            "invalidation_message": In(1),
            "refused_message": In(1),
            "wait_abandoned": In(1),
            "executed": In(1),
            "executed_type": In(DescriptorType),
        })

    def elaborate(self, platform):
        m = Module()
        happenings = {
            MonitorRegister.PROTOCOL_ERRORS: self.protocol_error,
            MonitorRegister.FAULT_MESSAGES: self.fault_message,
            MonitorRegister.INVALIDATION_MESSAGES: self.invalidation_message,
            MonitorRegister.WAITS_COMPLETED: self.executed & (self.executed_type == DescriptorType.WAIT),
            MonitorRegister.WAITS_ABANDONED: self.wait_abandoned,
            MonitorRegister.REFUSED_MESSAGES: self.refused_message,
        } | {
            MonitorRegister.DESCRIPTORS + 8 * kind.value: self.executed & (self.executed_type == kind)
            for kind in ABORT_MODE_DESCRIPTORS
        }

        access, reply = self.accesses.payload, self.replies
        m.d.comb += self.accesses.ready.eq(~reply.valid)
        with m.If(reply.ready):
            m.d.sync += reply.valid.eq(0)
        with m.If(self.accesses.valid & self.accesses.ready):
            m.d.sync += [reply.valid.eq(1), reply.payload.data.eq(0), reply.payload.error.eq(1)]
        for offset, happened in happenings.items():
            counter = Signal(self._counter_bits, name=f"counter_{int(offset):02x}")
            with m.If(happened & ~counter.all()):
                m.d.sync += counter.eq(counter + 1)
            addressed = access.wide & ~access.write & (access.address == int(offset))
            with m.If(self.accesses.valid & self.accesses.ready & addressed):
                m.d.sync += [reply.payload.data.eq(counter), reply.payload.error.eq(0)]
        return m
