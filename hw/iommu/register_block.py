"""What the registers set off, and where they get what they show. Source: VT-d 4.1, 11.4.

::

    accesses --> register_file --+--> GCMD, RTADDR -------> global_command ------> control
    replies <--------/           +--> CCMD, IVA, IOTLB ---> invalidation_commands -> invalidations, <-- invalidation_done
                                 +--> IQA, IQT -----------> queue (IQH, IQE, ICE, ITE and IWC come back)
                                 +--> FSTS, FRCD <--------> faults
                                 +--> FECTL, FEDATA, ... -> fault_event ---------> fault_messages
                                 +--> IECTL, IEDATA, ... -> invalidation_event --> invalidation_messages
"""
from amaranth import *
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out, flipped

from hw.iommu.event_control import EventControl
from hw.iommu.fault_recorder import FaultRegisterPort
from hw.iommu.global_command import GlobalCommand
from hw.iommu.invalidation_commands import InvalidationCommands
from hw.iommu.messages import EventPort, InvalidationStep, Message, QueuePort, UnitControl
from hw.iommu.register_file import RegisterFile
from hw.lib.stream import connect_stream
from hw.spec.bench import HostReply, HostRequest
from hw.spec.capabilities import Straps, cap_value, ecap_value
from hw.spec.events import MessageKind

__all__ = ["RegisterBlock"]


class RegisterBlock(wiring.Component):
    """VT-d registers, and what a write to one of them sets off.

    How they are accessed: `RegisterFile`. What GCMD may ask for: `GlobalCommand`. What ICC, IVT and SRTP invalidate:
    `InvalidationCommands`. When a message is sent: `EventControl`.

    CCMD, IVA and IOTLB stand still while any invalidation by registers is pending, SRTP's included, and while
    GSTS.QIES is set; IQA stands still while GSTS.QIES is set: a write to one of them is then a protocol error and
    ignored. RTADDR takes effect with SRTP only.

    The causes of a fault event are PFO, PPF, IQE, ICE and ITE. It is raised by one that is set when none was left; the
    invalidation event likewise by IWC. IQERCD shows what set the bit: what happens again while IQE, ICE or ITE is set
    leaves no trace.

    Parameters
    ----------
    config : IommuConfig
        Fault records built: CAP.NFR never shows more.

    Members
    -------
    accesses, replies
        One reply per access, in order. Addresses are relative to the window.
    straps
        Constant from the first access on.
    control
        What the path of a request obeys.
    invalidations, invalidation_done
        An invalidation and its fence, one pair at a time; the pulse says that the fence has been passed.
    queue
        To the invalidation queue.
    faults
        To the fault recorder.
    fault_messages, invalidation_messages
        Events, to be stored.
    protocol_error
        One cycle, of a write that breaks a rule of the programming interface.
    events
        CONTROL, REGISTER: in the cycle in which the access is accepted.

    Races
    -----
    What software clears in a cycle is cleared before what happens in that cycle is looked at: set beats clear, and it
    raises its event if the clearing had left no cause.

    Source
    ------
    VT-d 4.1, 11.4; events: 7.4 and 6.5.2.8; the queue's errors: 6.5.2.12, 11.4.9.9.
    """

    def __init__(self, config):
        self._fault_records = config.fault_records
        super().__init__({
            "accesses": In(stream.Signature(HostRequest)),
            "replies": Out(stream.Signature(HostReply)),
            "straps": In(Straps),
            "control": Out(UnitControl),
            "invalidations": Out(stream.Signature(InvalidationStep)),
            "invalidation_done": In(1),
            "queue": Out(QueuePort()),
            "faults": Out(FaultRegisterPort()),
            "fault_messages": Out(stream.Signature(Message)),
            "invalidation_messages": Out(stream.Signature(Message)),
            "protocol_error": Out(1),
            "events": Out(EventPort()).array(2),
        })

    def elaborate(self, platform):
        m = Module()
        m.submodules.register_file = file = RegisterFile()
        m.submodules.global_command = command = GlobalCommand()
        m.submodules.invalidation_commands = invalidation = InvalidationCommands()
        m.submodules.fault_event = fault_event = EventControl(kind=MessageKind.FAULT_EVENT)
        m.submodules.invalidation_event = invalidation_event = EventControl(kind=MessageKind.INVALIDATION_EVENT)
        registers, straps = file.registers, Signal(Straps)

        m.d.comb += straps.eq(self.straps)
        with m.If(self.straps.fault_records >= self._fault_records):
            m.d.comb += straps.fault_records.eq(self._fault_records - 1)
        connect_stream(m, src=flipped(self).accesses, dst=file.accesses)
        connect_stream(m, src=file.replies, dst=flipped(self).replies)
        connect_stream(m, src=invalidation.invalidations, dst=flipped(self).invalidations)
        connect_stream(m, src=fault_event.messages, dst=flipped(self).fault_messages)
        connect_stream(m, src=invalidation_event.messages, dst=flipped(self).invalidation_messages)
        m.d.comb += [
            file.straps.eq(straps),
            file.invalidation_locked.eq(invalidation.busy | command.status.QIES),
            file.queue_locked.eq(command.status.QIES),
            file.violation.eq(command.violation),
            registers.CAP.state.eq(cap_value(straps)),
            registers.ECAP.state.eq(ecap_value(straps)),
            self.protocol_error.eq(file.protocol_error),
            self.control.eq(command.control),
        ]
        for event, source in zip(self.events, (command.events[0], file.events[0]), strict=True):
            m.d.comb += [event.valid.eq(source.valid), event.payload.eq(source.payload)]

        self._connect_commands(m, registers, straps, command, invalidation)
        held, queue_remains, queue_raised = self._connect_queue(m, registers, command, invalidation_event)
        self._connect_faults(m, file, fault_event, queue_remains, queue_raised)
        m.d.comb += [self.queue.held.eq(held), command.queue_held.eq(held)]
        for name, control in (("FE", fault_event), ("IE", invalidation_event)):
            ctl, message_data, low, high = (getattr(registers, name + part) for part in ("CTL", "DATA", "ADDR", "UADDR"))
            m.d.comb += [
                ctl.state.IP.eq(control.pending),
                control.masked.eq(ctl.value.IM),
                control.address.eq(Cat(low.value, high.value)),
                control.data.eq(message_data.value.IMD),
            ]
        return m

    def _connect_commands(self, m, registers, straps, command, invalidation):
        """GCMD, GSTS and RTADDR; CCMD, IVA and IOTLB."""
        m.d.comb += [
            command.written.eq(registers.GCMD.written),
            command.asked.eq(registers.GCMD.data),
            command.root.eq(registers.RTADDR.value),
            command.queue_address.eq(registers.IQA.value),
            command.queue_tail.eq(registers.IQT.value.QT),
            command.queue_head.eq(self.queue.head),
            command.queue_drained.eq(self.queue.drained),
            command.invalidation_pending.eq(invalidation.busy),
            command.root_pending.eq(invalidation.root_pending),
            command.straps.eq(straps),
            registers.GSTS.state.eq(command.status),

            invalidation.straps.eq(straps),
            invalidation.ccmd.eq(registers.CCMD.value),
            invalidation.iva.eq(registers.IVA.value),
            invalidation.iotlb.eq(registers.IOTLB.value),
            invalidation.start_context.eq(registers.CCMD.commands.ICC),
            invalidation.start_iotlb.eq(registers.IOTLB.commands.IVT),
            invalidation.start_root.eq(command.start_root),
            invalidation.start_disable.eq(command.start_disable),
            invalidation.invalidation_done.eq(self.invalidation_done),
            registers.CCMD.state.ICC.eq(invalidation.context_pending),
            registers.CCMD.state.CAIG.eq(invalidation.context_performed),
            registers.IOTLB.state.IVT.eq(invalidation.iotlb_pending),
            registers.IOTLB.state.IAIG.eq(invalidation.iotlb_performed),
        ]

    def _connect_queue(self, m, registers, command, invalidation_event):
        """The queue's registers, its errors and its completions.

        Returns "nothing may be fetched", "an error remains once software's clearing of this cycle is done", and "a new
        one is set".
        """
        queue, address = self.queue, registers.IQA.value
        fsts, record = registers.FSTS, registers.IQERCD.state
        m.d.comb += [
            queue.enabled.eq(command.queue_enabled),
            queue.tail.eq(registers.IQT.value.QT),
            queue.base.eq(address.IQA),
            queue.size_log2.eq(address.QS),
            queue.wide.eq(address.DW),
            queue.table_mode.eq(self.control.translation_table_mode),
            registers.IQH.state.QH.eq(queue.head),
        ]
        remains, raised = {}, {}
        for name, happened, shown, cause in (
                ("IQE", queue.queue_error, record.IQEI, queue.queue_error_cause),
                ("ITE", queue.timed_out, record.ITESID, queue.timed_out_source),
                ("ICE", queue.completion_error, record.ICESID, queue.completion_error_source)):
            kept = Signal.like(shown, name=f"{name.lower()}_cause")
            remains[name] = fsts.state[name] & ~fsts.commands[name]
            raised[name] = happened & ~remains[name]
            m.d.comb += shown.eq(Mux(fsts.state[name], kept, 0))
            m.d.sync += fsts.state[name].eq(remains[name] | happened)
            with m.If(raised[name]):
                m.d.sync += kept.eq(cause)

        completed, completed_remains = registers.ICS.state.IWC, Signal()
        m.d.comb += [
            completed_remains.eq(completed & ~registers.ICS.commands.IWC),
            invalidation_event.cause.eq(completed),
            invalidation_event.raised.eq(queue.wait_completed & ~completed_remains),
        ]
        m.d.sync += completed.eq(completed_remains | queue.wait_completed)
        return fsts.state.IQE | fsts.state.ITE, Cat(remains.values()).any(), Cat(raised.values()).any()

    def _connect_faults(self, m, file, fault_event, queue_remains, queue_raised):
        """FSTS and FRCD as the fault recorder has them, and the event that it and the queue have in common."""
        faults, fsts, frcd = self.faults, file.registers.FSTS, file.registers.FRCD
        errors = Cat(fsts.state[name] for name in ("IQE", "ICE", "ITE"))
        m.d.comb += [
            fsts.state.PFO.eq(faults.overflow),
            fsts.state.PPF.eq(faults.pending),
            fsts.state.FRI.eq(faults.first_pending),
            frcd.state.eq(faults.record.as_value()),
            faults.record_index.eq(file.record_index),
            faults.clear_overflow.eq(fsts.commands.PFO),
            faults.clear_record.eq(frcd.commands.F),
            fault_event.cause.eq(faults.overflow | faults.pending | errors.any()),
            fault_event.raised.eq((faults.raised | queue_raised) & ~faults.remains & ~queue_remains),
        ]
