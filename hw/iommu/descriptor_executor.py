"""Execute the descriptors that have been fetched."""
from amaranth import *
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

from hw.iommu.messages import EventPort, InvalidationStep, Message
from hw.spec.events import EventKind, MessageKind, QueueTrouble
from hw.spec.invalidation import (
    ContextCacheDescriptor,
    DescriptorType,
    DeviceTlbDescriptor,
    Granularity,
    InvalidationKind,
    IotlbDescriptor,
    WaitDescriptor,
)
from hw.spec.memory import QUANTUM_BITS
from hw.spec.monitor import DeviceTlbAnswer, QueueKnobs

__all__ = ["DescriptorExecutor"]


class DescriptorExecutor(wiring.Component):
    """Take legal descriptors in order, one at a time, each until it has been executed.

    - Context cache, IOTLB: executed when the invalidator has begun them. They complete behind, at the next fence.
    - Device-TLB: executed when it is sent to its device, which answers later, one at a time: the next one waits for that.
      It is sent while invalidations before it may not have completed yet; no device has a TLB that could tell.
    - Wait: a fence at the invalidator, the answer of the device-TLB that is outstanding, the status store if it has
      SW, acknowledged by memory, and `wait_completed` if it has IF: each after the one before. Nothing behind it begins
      earlier, so that FN holds for every wait.
    - All others have no effect.

    When a device gives no answer in time, the wait that is being executed and every one that has been fetched up to then
    are abandoned: no status, no `wait_completed`. Other descriptors are executed. `abandoning` is high until all that had been
    fetched has been dealt with.

    Members
    -------
    descriptors
        First 16 bytes of each; taken when it has been executed or abandoned.
    fetching
        One is on its way to `descriptors`.
    knobs
        `execute_delay` and the answers of devices. The answer is chosen when the descriptor is executed.
    invalidations, invalidation_done
        To the invalidator; its answer to a fence.
    status, status_stored
        Status data to be stored; the memory has answered.
    executed, executed_type
        One cycle per descriptor that was executed; an abandoned wait was not.
    wait_completed
        One cycle, with `executed`: the wait has IF.
    wait_abandoned
        One cycle per wait that was abandoned.
    outstanding
        A device has not answered yet.
    abandoning
        From the cycle of `timed_out` on until nothing of what had been fetched is left.
    timed_out, completion_error, device_source
        One cycle: the device `device_source` has not answered, has answered with an error; which counts as done. Never
        both in one cycle.
    events
        0: QUEUE_ERROR, in the cycle of `timed_out` or `completion_error`. 1: WAIT_ABANDONED.

    Timing
    ------
    With all knobs zero, and an invalidator that takes a step at once: one cycle per descriptor. A wait takes four more
    than the invalidator needs from taking the fence to `invalidation_done`, and with status data one more than the store
    needs from being taken to `status_stored`. A fence is offered two cycles after the invalidation before it was
    taken. A device answers `device_tlb_delay` + 1 cycles after its descriptor was executed.

    Races
    -----
    A wait whose turn comes in the cycle of `timed_out` is abandoned. A fence that has been offered is finished though its
    wait will be abandoned.

    Source: VT-d 4.1, 6.5.2.11 (order of execution), 6.5.2.12 (time-outs); what is abandoned is ours.
    """

    def __init__(self):
        super().__init__({
            "descriptors": In(stream.Signature(QUANTUM_BITS)),
            "fetching": In(1),
            "knobs": In(QueueKnobs),
            "invalidations": Out(stream.Signature(InvalidationStep)),
            "invalidation_done": In(1),
            "status": Out(stream.Signature(Message)),
            "status_stored": In(1),
            "executed": Out(1),
            "executed_type": Out(DescriptorType),
            "wait_completed": Out(1),
            "wait_abandoned": Out(1),
            "outstanding": Out(1),
            "abandoning": Out(1),
            "timed_out": Out(1),
            "completion_error": Out(1),
            "device_source": Out(16),
            "events": Out(EventPort()).array(2),
        })

    def elaborate(self, platform):
        m = Module()
        descriptor = self.descriptors.payload
        wait = WaitDescriptor(descriptor)
        sent = Signal()          # to its device, in this cycle
        turn_cycles = Signal.like(self.knobs.execute_delay)
        due, begun = Signal(), Signal()   # what has begun is finished, though the delay be changed
        self._await_device(m, sent)
        self._form_invalidation(m)
        message = self.status.payload
        m.d.comb += [
            self.executed_type.eq(wait.type),
            self.descriptors.ready.eq(self.executed | self.wait_abandoned),
            message.kind.eq(MessageKind.STATUS),
            message.address.eq(Cat(Const(0, 2), wait.status_address)),
            message.data.eq(wait.status_data),
        ]

        with m.If(self.descriptors.ready):
            m.d.sync += [turn_cycles.eq(0), begun.eq(0)]
        with m.Elif(self.descriptors.valid & ~due):
            m.d.sync += turn_cycles.eq(turn_cycles + 1)
        with m.Elif(self.descriptors.valid):
            m.d.sync += begun.eq(1)
        m.d.comb += due.eq(begun | (turn_cycles >= self.knobs.execute_delay))
        with m.FSM(name="descriptor_executor"):
            with m.State("EXECUTE"), m.If(self.descriptors.valid & due):
                with m.Switch(wait.type):
                    with m.Case(DescriptorType.CONTEXT_CACHE, DescriptorType.IOTLB):
                        m.d.comb += [self.invalidations.valid.eq(1), self.executed.eq(self.invalidations.ready)]
                    with m.Case(DescriptorType.DEVICE_TLB):
                        m.d.comb += [sent.eq(~self.outstanding), self.executed.eq(sent)]
                    with m.Case(DescriptorType.WAIT):
                        m.d.comb += self.wait_abandoned.eq(self.abandoning)
                        with m.If(~self.abandoning):
                            m.next = "FENCE"
                    with m.Default():
                        m.d.comb += self.executed.eq(1)
            with m.State("FENCE"):
                m.d.comb += [self.invalidations.valid.eq(1), self.invalidations.payload.fence.eq(1)]
                with m.If(self.invalidations.ready):
                    m.next = "AWAIT FENCE"
            with m.State("AWAIT FENCE"):
                with m.If(self.invalidation_done):
                    m.next = "AWAIT DEVICE"
            with m.State("AWAIT DEVICE"):
                with m.If(~self.outstanding):
                    with m.If(self.abandoning):
                        m.d.comb += self.wait_abandoned.eq(1)
                        m.next = "EXECUTE"
                    with m.Elif(wait.status_write):
                        m.next = "STATUS"
                    with m.Else():
                        m.next = "COMPLETE"
            with m.State("STATUS"):
                m.d.comb += self.status.valid.eq(1)
                with m.If(self.status.ready):
                    m.next = "AWAIT STATUS"
            with m.State("AWAIT STATUS"):
                with m.If(self.status_stored):
                    m.next = "COMPLETE"
            with m.State("COMPLETE"):
                m.d.comb += [self.executed.eq(1), self.wait_completed.eq(wait.interrupt)]
                m.next = "EXECUTE"

        trouble, abandoned = self.events
        m.d.comb += [
            trouble.valid.eq(self.timed_out | self.completion_error),
            trouble.payload.kind.eq(EventKind.QUEUE_ERROR),
            trouble.payload.source_id.eq(self.device_source),
            trouble.payload.tag.eq(Mux(self.timed_out, QueueTrouble.TIME_OUT, QueueTrouble.COMPLETION_ERROR)),
            abandoned.valid.eq(self.wait_abandoned),
            abandoned.payload.kind.eq(EventKind.WAIT_ABANDONED),
            abandoned.payload.detail.eq(descriptor),
        ]
        return m

    def _form_invalidation(self, m):
        """The invalidation that a context-cache or IOTLB descriptor asks for."""
        context, iotlb = (layout(self.descriptors.payload) for layout in (ContextCacheDescriptor, IotlbDescriptor))
        invalidation = self.invalidations.payload.invalidation
        m.d.comb += invalidation.granularity.eq(context.granularity)  # at the same place in both, as the domain ID is
        m.d.comb += invalidation.domain_id.eq(context.domain_id)
        with m.If(context.type == DescriptorType.CONTEXT_CACHE):
            m.d.comb += [
                invalidation.kind.eq(InvalidationKind.CONTEXT_CACHE),
                invalidation.source_id.eq(context.source_id),
                invalidation.function_mask.eq(context.function_mask),
            ]
        with m.Else():
            m.d.comb += [
                invalidation.kind.eq(InvalidationKind.IOTLB),
                invalidation.drain.eq(iotlb.drain_reads | iotlb.drain_writes),
            ]
            with m.If(iotlb.granularity == Granularity.SELECTIVE):
                m.d.comb += [
                    invalidation.page.eq(Cat(
                        bit & (iotlb.address_mask <= place) for place, bit in enumerate(iotlb.page))),
                    invalidation.address_mask.eq(iotlb.address_mask),
                    invalidation.hint.eq(iotlb.hint),
                ]

    def _await_device(self, m, sent):
        """The device-TLB that was sent, until its device answers or is given up."""
        cycles_left = Signal.like(self.knobs.device_tlb_delay)
        answer = Signal(DeviceTlbAnswer)
        abandoning = Signal()
        answered = self.outstanding & (cycles_left == 0)
        m.d.comb += [
            self.timed_out.eq(answered & (answer == DeviceTlbAnswer.TIME_OUT)),
            self.completion_error.eq(answered & (answer == DeviceTlbAnswer.ERROR)),
            self.abandoning.eq(abandoning | self.timed_out),
        ]
        with m.If(sent):
            m.d.sync += [
                self.outstanding.eq(1),
                self.device_source.eq(DeviceTlbDescriptor(self.descriptors.payload).source_id),
                answer.eq(self.knobs.device_tlb_answer),
                cycles_left.eq(self.knobs.device_tlb_delay),
            ]
        with m.Elif(answered):
            m.d.sync += self.outstanding.eq(0)
        with m.Elif(self.outstanding):
            m.d.sync += cycles_left.eq(cycles_left - 1)
        with m.If(self.timed_out):
            m.d.sync += abandoning.eq(1)
        with m.Elif(~self.outstanding & ~self.descriptors.valid & ~self.fetching):
            m.d.sync += abandoning.eq(0)
