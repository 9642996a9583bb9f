"""The traffic engine: devices that do DMA, and the judge that watches every one of them. Ours.

::

    accesses --> host registers --+--> Generator --> dma_requests --> (unit) --> dma_replies --+--> LatencyHistogram
                                  |       ^  |                                                 |
                                  |  TagPool +-- accepted --> Checker <------------------------+
                                  |       ^                    |   |
                                  |       +------ judged ------+   +--> data_requests --> (memory) --> data_replies
                                  +--> CounterBanks <--+           +--> dma_retires
"""
from amaranth import *
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out, connect

from hw.iommu.messages import EventPort
from hw.lib.lfsr import LFSR_BITS
from hw.lib.stream import connect_stream
from hw.spec.bench import MAX_DEVICES, Counter, HostReply, HostRequest, Phase
from hw.spec.dma import DmaReply, DmaRequest, DmaRetire
from hw.spec.events import DoneDetail, EventKind
from hw.spec.memory import QUANTUM_BITS, MemoryRequest, memory_reply_layout
from hw.traffic.checker import Checker
from hw.traffic.counters import CounterBank
from hw.traffic.generator import Generator
from hw.traffic.host_registers import HostRegisters
from hw.traffic.latency import LatencyHistogram
from hw.traffic.tags import TagPool

__all__ = ["TrafficEngine"]


class TrafficEngine(wiring.Component):
    """Traffic and its judge.

    Parameters
    ----------
    devices : int
        Rows of the device table, 1 to MAX_DEVICES.
    pages : int
        Entries of the page list, 1 to 8192.
    seed : int
        Reset value of the SEED register.

    Members
    -------
    accesses, replies
        Register accesses, addresses relative to TRAFFIC_BASE; answered one at a time, in order.
    dma_requests, dma_replies, dma_retires
        To and from the unit.
    data_requests, data_replies
        The data accesses made with the translations: one for each translated DMA, 16 bytes that stand for it.
    cycle
        Cycles since reset.
    phase
        The phase register.
    events
        DONE, PHASE.

    Timing
    ------
    One DMA per cycle, if the unit and the memory keep up, until the outstanding limit is reached. While the host writes
    a row of the device table or clears a counter, traffic pauses for a few cycles.
    """

    def __init__(self, *, devices=MAX_DEVICES, pages=8192, seed=1):
        if not 1 <= devices <= MAX_DEVICES:
            raise ValueError(f"devices must be between 1 and {MAX_DEVICES}, not {devices!r}")
        if not 1 <= pages <= 8192:
            raise ValueError(f"pages must be between 1 and 8192, not {pages!r}")
        if not 0 <= seed < 1 << LFSR_BITS:
            raise ValueError(f"seed must fit in {LFSR_BITS} bits, not {seed!r}")
        self._devices = devices
        self._pages = pages
        self._seed = seed
        super().__init__({
            "accesses": In(stream.Signature(HostRequest)),
            "replies": Out(stream.Signature(HostReply)),
            "dma_requests": Out(stream.Signature(DmaRequest)),
            "dma_replies": In(stream.Signature(DmaReply)),
            "dma_retires": Out(stream.Signature(DmaRetire)),
            "data_requests": Out(stream.Signature(MemoryRequest)),
            "data_replies": In(stream.Signature(memory_reply_layout(QUANTUM_BITS))),
            "cycle": Out(64),
            "phase": Out(Phase),
            "events": Out(EventPort()).array(2),
        })

    def elaborate(self, platform):
        m = Module()
        m.submodules.host = host = HostRegisters(devices=self._devices, pages=self._pages, seed=self._seed)
        m.submodules.generator = generator = Generator(devices=self._devices, pages=self._pages)
        m.submodules.checker = checker = Checker(devices=self._devices)
        m.submodules.tags = tags = TagPool()
        m.submodules.latencies = latencies = LatencyHistogram()
        m.submodules.verdict_counters = verdicts = CounterBank(rows=self._devices << Shape.cast(Counter).width)
        m.submodules.issued_counters = issued = CounterBank(rows=self._devices)

        # The way of a DMA.
        connect_stream(m, src=tags.tags, dst=generator.tags)
        connect_stream(m, src=generator.dma_requests, dst=self.dma_requests)
        connect(m, generator.accepted, checker.accepted)
        connect_stream(m, src=self.dma_replies, dst=checker.dma_replies)
        connect(m, checker.answer, tags.answer)
        connect_stream(m, src=checker.data_requests, dst=self.data_requests)
        connect_stream(m, src=self.data_replies, dst=checker.data_replies)
        connect_stream(m, src=checker.dma_retires, dst=self.dma_retires)
        judged, outcome = checker.judged, checker.judged.payload.outcome
        m.d.comb += [
            checker.awaited.eq(tags.awaited),
            tags.release.valid.eq(judged.valid),
            tags.release.payload.eq(outcome.tag),
            generator.in_flight.eq(tags.in_flight),
            generator.done.valid.eq(judged.valid),
            generator.done.payload.eq(outcome.flight.device),
        ]

        # Registers.
        connect_stream(m, src=self.accesses, dst=host.accesses)
        connect_stream(m, src=host.replies, dst=self.replies)
        connect(m, host.config, generator.config)
        connect(m, host.page_list, generator.page_list)
        connect(m, host.domains, checker.domains)
        m.d.sync += self.cycle.eq(self.cycle + 1)
        total = Signal.like(host.total)
        stray = Signal.like(host.stray)
        m.d.sync += [total.eq(total + judged.valid), stray.eq(stray + checker.stray)]
        m.d.comb += [
            host.total.eq(total),
            host.stray.eq(stray),
            generator.control.eq(host.control),
            generator.seed.eq(host.seed),
            host.in_flight.eq(tags.in_flight),
            host.cycle.eq(self.cycle),
            self.phase.eq(host.phase),
        ]

        # Counters: two banks, as a DMA may begin and another be judged in one cycle.
        m.d.comb += [
            verdicts.count.eq(judged.valid),
            verdicts.row.eq(Cat(judged.payload.verdict, outcome.flight.device)),
            issued.count.eq(generator.accepted.valid),
            issued.row.eq(generator.accepted.payload.flight.device),
            verdicts.host_row.eq(Cat(host.counter, host.counter_device)),
            issued.host_row.eq(host.counter_device),
            verdicts.clear.eq(host.counter_clear & (host.counter != Counter.ISSUED)),
            issued.clear.eq(host.counter_clear & (host.counter == Counter.ISSUED)),
            host.counter_cleared.eq(verdicts.cleared | issued.cleared),
            host.counter_value.eq(Mux(host.counter == Counter.ISSUED, issued.host_value, verdicts.host_value)),
            generator.hold.eq(host.counter_clear),
            checker.hold.eq(host.counter_clear),
        ]

        # Latencies.
        m.d.comb += [
            latencies.accepted.valid.eq(generator.accepted.valid),
            latencies.accepted.payload.eq(generator.accepted.payload),
            latencies.reply_valid.eq(self.dma_replies.valid),
            latencies.reply_ready.eq(self.dma_replies.ready),
            latencies.answer.valid.eq(checker.answer.valid),
            latencies.answer.payload.eq(checker.answer.payload),
            latencies.watch.eq(host.latency_watch),
            latencies.bin.eq(host.latency_bin),
            host.latency_value.eq(latencies.bin_value),
            host.latency_longest.eq(latencies.longest),
            latencies.clear.eq(host.latency_clear),
            host.latency_cleared.eq(latencies.cleared),
        ]

        # Events.
        done, phase = (port.payload for port in self.events)
        detail = Signal(DoneDetail)
        m.d.comb += [
            self.events[0].valid.eq(judged.valid),
            done.kind.eq(EventKind.DONE),
            done.source_id.eq(outcome.flight.source_id),
            done.domain_id.eq(outcome.domain_id),
            done.tag.eq(outcome.tag),
            done.iova.eq(outcome.flight.iova),
            done.hpa.eq(outcome.hpa),
            done.detail.eq(detail),
            detail.verdict.eq(judged.payload.verdict),
            detail.access.eq(outcome.flight.access),
            detail.device.eq(outcome.flight.device),
            detail.signature.eq(outcome.signature),
            self.events[1].valid.eq(host.phase_written),
            phase.kind.eq(EventKind.PHASE),
            phase.detail.eq(self.phase),
        ]
        return m
