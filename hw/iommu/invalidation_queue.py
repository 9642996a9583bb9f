"""The invalidation queue: instances and connections, nothing else.

::

    memory --> DescriptorFetcher --> Queue --> DescriptorExecutor --+--> invalidations (invalidator)
                 |  head, QUEUE_ERROR           ^   |               +--> status (message writer)
                 v                    devices --+   v
               registers <------------- ITE, ICE, IWC
"""
from amaranth import *
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out, flipped

from hw.iommu.descriptor_executor import DescriptorExecutor
from hw.iommu.descriptor_fetcher import DescriptorFetcher
from hw.iommu.messages import EventPort, InvalidationStep, Message, QueuePort
from hw.lib.stream import Queue, connect_stream
from hw.spec.capabilities import Straps
from hw.spec.invalidation import DescriptorType
from hw.spec.memory import QUANTUM_BITS, MemoryRequest, memory_reply_layout
from hw.spec.monitor import QueueKnobs

__all__ = ["FETCHED_DEPTH", "InvalidationQueue"]

FETCHED_DEPTH = 16  # descriptors that have been fetched and wait, the one that is executed included


class InvalidationQueue(wiring.Component):
    """Fetch descriptors from memory, and execute them in order.

    The head says what has been fetched. What has been executed only a wait can tell: see DescriptorExecutor.

    Parameters
    ----------
    config : IommuConfig
        `memory_word_bits`.
    depth : int
        Descriptors that can be fetched ahead of the execution; a power of two, 2 to 256.

    Members
    -------
    registers
        See QueuePort. At most one of `queue_error`, `timed_out` and `completion_error` is high in a cycle.
    straps
        `max_address_mask`.
    knobs
        See QueueKnobs.
    memory_requests, memory_replies
        Reads of descriptors, `depth` at a time; replies in any order.
    invalidations, invalidation_done
        To the invalidator, one step at a time; its answer to a fence.
    status, status_stored
        Status data of waits, one at a time; the memory has answered.
    executed, executed_type
        One cycle per descriptor that was executed.
    wait_abandoned
        One cycle per wait that will never complete, because of a time-out.
    events
        0: DESCRIPTOR, in the cycle whose end advances the head. 1: QUEUE_ERROR. 2: WAIT_ABANDONED.

    Timing
    ------
    With all knobs zero and memory that answers n cycles after the request: the first descriptor is passed on n + 3 cycles
    after the tail has moved, and the others follow one per cycle (two if wide), up to `depth` in the time from the read
    to the end of the execution: a page-selective invalidation every two cycles while n is below 2 `depth` - 6. Its turn
    comes in the cycle after the event. `drained` may be high only while nothing can start.

    Races
    -----
    In the cycle of `timed_out` no fetch starts; one that starts in that of `queue_error` is thrown away, with all that are
    under way then. `held` must be high from the next one on. What is under way at `timed_out` is finished, and its waits
    are abandoned too. After a time-out fetching goes on when `held` has
    fallen and all that had been fetched has been executed or abandoned.

    Source: VT-d 4.1, 6.5.2; ours where DescriptorFetcher and DescriptorExecutor say so.
    """

    def __init__(self, config, *, depth=FETCHED_DEPTH):
        self._word_bits = config.memory_word_bits
        self._depth = depth
        super().__init__({
            "registers": In(QueuePort()),
            "straps": In(Straps),
            "knobs": In(QueueKnobs),
            "memory_requests": Out(stream.Signature(MemoryRequest)),
            "memory_replies": In(stream.Signature(memory_reply_layout(self._word_bits))),
            "invalidations": Out(stream.Signature(InvalidationStep)),
            "invalidation_done": In(1),
            "status": Out(stream.Signature(Message)),
            "status_stored": In(1),
            "executed": Out(1),
            "executed_type": Out(DescriptorType),
            "wait_abandoned": Out(1),
            "events": Out(EventPort()).array(3),
        })

    def elaborate(self, platform):
        m = Module()
        m.submodules.fetcher = fetcher = DescriptorFetcher(word_bits=self._word_bits, depth=self._depth)
        m.submodules.fetched = fetched = Queue(QUANTUM_BITS, depth=self._depth)
        m.submodules.executor = executor = DescriptorExecutor()
        registers = self.registers

        connect_stream(m, src=fetcher.memory_requests, dst=flipped(self).memory_requests)
        connect_stream(m, src=flipped(self).memory_replies, dst=fetcher.memory_replies)
        connect_stream(m, src=fetcher.descriptors, dst=fetched.i)
        connect_stream(m, src=fetched.o, dst=executor.descriptors)
        connect_stream(m, src=executor.invalidations, dst=flipped(self).invalidations)
        connect_stream(m, src=executor.status, dst=flipped(self).status)

        for name in ("enabled", "held", "tail", "base", "size_log2", "wide", "table_mode"):
            m.d.comb += getattr(fetcher, name).eq(getattr(registers, name))
        m.d.comb += [
            fetcher.max_address_mask.eq(self.straps.max_address_mask),
            fetcher.delay.eq(self.knobs.fetch_delay),
            fetcher.barred.eq(executor.abandoning),
            fetcher.reserved.eq(executor.timed_out | executor.completion_error),
            fetcher.waiting.eq(fetched.level),
            fetcher.empty.eq((fetched.level == 0) & ~executor.outstanding),
            executor.fetching.eq(fetcher.fetching),
            executor.knobs.eq(self.knobs),
            executor.invalidation_done.eq(self.invalidation_done),
            executor.status_stored.eq(self.status_stored),

            registers.head.eq(fetcher.head),
            registers.drained.eq(fetcher.empty & ~fetcher.fetching & ~fetcher.starting),
            registers.queue_error.eq(fetcher.error),
            registers.queue_error_cause.eq(fetcher.error_cause),
            registers.timed_out.eq(executor.timed_out),
            registers.timed_out_source.eq(executor.device_source),
            registers.completion_error.eq(executor.completion_error),
            registers.completion_error_source.eq(executor.device_source),
            registers.wait_completed.eq(executor.wait_completed),
            self.executed.eq(executor.executed),
            self.executed_type.eq(executor.executed_type),
            self.wait_abandoned.eq(executor.wait_abandoned),
        ]

        # Events. The two that report trouble never do so in the same cycle.
        passed, fetch_error = fetcher.events
        device_error, abandoned = executor.events
        for event, source in ((self.events[0], passed), (self.events[2], abandoned)):
            m.d.comb += [event.valid.eq(source.valid), event.payload.eq(source.payload)]
        m.d.comb += [
            self.events[1].valid.eq(fetch_error.valid | device_error.valid),
            self.events[1].payload.eq(Mux(device_error.valid, device_error.payload, fetch_error.payload)),
        ]
        return m
