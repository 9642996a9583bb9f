"""The host's way to the update port: registers, and a store that can be armed. Ours.

::

    host accesses --> registers --> control: IDLE, ARMED, DELAY, SEND, RECEIVE --> update port
                                               ^
    events --> StoreTrigger -------------------+
"""
from amaranth import *
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from hw.iommu.messages import EventPort
from hw.spec.bench import (
    HostReply,
    HostRequest,
    UpdateCommand,
    UpdateRegister,
    UpdateReply,
    UpdateRequest,
    UpdateStatus,
)
from hw.top.store_trigger import StoreTrigger

__all__ = ["UpdateWindow"]

_REGISTER_BITS = 64
_WRITABLE = (
    UpdateRegister.ADDRESS, UpdateRegister.EXPECTED_LOW, UpdateRegister.EXPECTED_HIGH,
    UpdateRegister.DESIRED_LOW, UpdateRegister.DESIRED_HIGH, UpdateRegister.COMMAND,
)


class UpdateWindow(wiring.Component):
    """Registers of the update port (UpdateRegister), and the armed store.

    A store is started by writing COMMAND. If it is armed it waits until a walk and a hit of the command's source_id are
    in flight together (see StoreTrigger), then `offset_cycles` more. By the time it commits they may have ended: that is
    for the judge of the event log to say.

    Members
    -------
    accesses, replies
        Host accesses, addresses relative to the window, one at a time. Errors: no such register, not 8 bytes wide,
        a write to a register that is read only, or to any while a store is on its way. While it is only armed, writes
        are fine: the store uses what stands there when it is sent, and a new COMMAND takes the place of the armed one.
    update_requests, update_replies
        The update port.
    cycle
        The cycle counter. COMMIT_CYCLE is its value in the cycle in which `update_requests` is accepted, which is when
        memory takes the store if nothing between here and memory adds a cycle (UpdatePort and MemoryArbiter do not).
    walk_begins, walk_ends, replies_out, retired
        WALK, WALK_RESULT, REPLY and DONE events.

    Timing
    ------
    A host access is answered in the cycle after its acceptance. An unarmed store is offered in the cycle after its
    COMMAND was accepted, an armed one `offset_cycles` + 2 cycles after the event that completed its condition.

    Races
    -----
    A COMMAND that is accepted in the cycle in which an armed store is triggered takes its place: nothing is sent for the
    old one. One that is accepted while the offset runs out does the same.

    Source: ours.
    """

    def __init__(self):
        super().__init__({
            "accesses": In(stream.Signature(HostRequest)),
            "replies": Out(stream.Signature(HostReply)),
            "update_requests": Out(stream.Signature(UpdateRequest)),
            "update_replies": In(stream.Signature(UpdateReply)),
            "cycle": In(64),
            "walk_begins": In(EventPort()),
            "walk_ends": In(EventPort()),
            "replies_out": In(EventPort()),
            "retired": In(EventPort()),
        })

    def elaborate(self, platform):
        m = Module()
        m.submodules.trigger = trigger = StoreTrigger()
        written = {row: Signal(_REGISTER_BITS, name=row.name.lower()) for row in _WRITABLE}
        command = UpdateCommand(written[UpdateRegister.COMMAND][:UpdateCommand.as_shape().size])
        status = Signal(UpdateStatus)
        observed = Signal(data.ArrayLayout(_REGISTER_BITS, 2))
        commit_cycle = Signal.like(self.cycle)
        readable = written | {
            UpdateRegister.STATUS: status.as_value(),
            UpdateRegister.OBSERVED_LOW: observed[0],
            UpdateRegister.OBSERVED_HIGH: observed[1],
            UpdateRegister.COMMIT_CYCLE: commit_cycle,
        }

        # Host accesses.
        access = self.accesses.payload
        accepted = Signal()
        on_its_way = Signal()
        reply = self.replies
        m.d.comb += [self.accesses.ready.eq(~reply.valid), accepted.eq(self.accesses.valid & self.accesses.ready)]
        with m.If(reply.ready):
            m.d.sync += reply.valid.eq(0)
        with m.If(accepted):
            m.d.sync += [reply.valid.eq(1), reply.payload.data.eq(0), reply.payload.error.eq(1)]
        for row, register in readable.items():
            addressed = accepted & access.wide & (access.address == row.value)
            with m.If(addressed & ~access.write):
                m.d.sync += [reply.payload.data.eq(register), reply.payload.error.eq(0)]
        for row, register in written.items():
            addressed = accepted & access.wide & (access.address == row.value)
            with m.If(addressed & access.write & ~on_its_way):
                m.d.sync += [register.eq(access.data), reply.payload.error.eq(0)]
        commanded = accepted & access.wide & access.write & (access.address == UpdateRegister.COMMAND.value)
        new_command = UpdateCommand(access.data[:UpdateCommand.as_shape().size])

        # The armed store's condition.
        m.d.comb += [trigger.restart.eq(commanded), trigger.source_id.eq(command.source_id)]
        for name in ("walk_begins", "walk_ends", "replies_out", "retired"):
            source, sink = getattr(self, name), getattr(trigger, name)
            m.d.comb += [sink.valid.eq(source.valid), sink.payload.eq(source.payload)]

        # The store.
        offset_left = Signal.like(command.offset_cycles)
        request = self.update_requests
        m.d.comb += [
            request.payload.operation.eq(command.operation),
            request.payload.hpa.eq(written[UpdateRegister.ADDRESS]),
            request.payload.expected.eq(Cat(written[UpdateRegister.EXPECTED_LOW], written[UpdateRegister.EXPECTED_HIGH])),
            request.payload.desired.eq(Cat(written[UpdateRegister.DESIRED_LOW], written[UpdateRegister.DESIRED_HIGH])),
        ]

        def obey():
            with m.If(commanded):
                m.next = "SEND"
                with m.If(new_command.armed):
                    m.next = "ARMED"

        with m.FSM(name="store"):
            with m.State("IDLE"):
                obey()
            with m.State("ARMED"):
                with m.If(trigger.met):
                    m.d.sync += [status.triggered.eq(1), offset_left.eq(command.offset_cycles)]
                    m.next = "DELAY"
                    with m.If(command.offset_cycles == 0):
                        m.next = "SEND"
                obey()
            with m.State("DELAY"):
                m.d.sync += offset_left.eq(offset_left - 1)
                with m.If(offset_left == 1):
                    m.next = "SEND"
                obey()
            with m.State("SEND"):
                m.d.comb += [on_its_way.eq(1), request.valid.eq(1)]
                with m.If(request.ready):
                    m.d.sync += commit_cycle.eq(self.cycle)
                    m.next = "RECEIVE"
            with m.State("RECEIVE"):
                m.d.comb += [on_its_way.eq(1), self.update_replies.ready.eq(1)]
                with m.If(self.update_replies.valid):
                    m.d.sync += [
                        status.busy.eq(0),
                        status.swapped.eq(self.update_replies.payload.swapped),
                        status.error.eq(self.update_replies.payload.error),
                        observed.eq(self.update_replies.payload.observed),
                    ]
                    m.next = "IDLE"
        with m.If(commanded & ~on_its_way):
            m.d.sync += [status.eq(0), status.busy.eq(1)]
        return m
