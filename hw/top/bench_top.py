"""What every flow builds: the unit, the traffic engine, and the host's way in.

::

                    +-> unit.registers
    host --decoder--+-> update_window --> unit.update port
                    +-> unit.monitor
                    +-> traffic engine <== DMA requests, replies, retires ==> unit
                             |                                                 |
                        data memory  (one memory, two ports)             table memory

Under Verilator the memory is a sparse 52-bit space; on a board it is block RAM.
"""
from amaranth import *
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out, flipped

from hw.iommu.config import IommuConfig
from hw.iommu.messages import CachesOff, EventPort
from hw.iommu.unit import IommuUnit, unit_events
from hw.lib.stream import connect_stream
from hw.spec.bench import (
    MAX_DEVICES,
    MONITOR_BASE,
    PREWALK_BASE,
    TRAFFIC_BASE,
    UNIT_BASE,
    UPDATE_BASE,
    HostReply,
    HostRequest,
)
from hw.spec.capabilities import Straps
from hw.spec.memory import MemoryRequest, memory_reply_layout
from hw.spec.monitor import QueueKnobs
from hw.spec.prefetch import PrefetchKnobs
from hw.top.host_decoder import HostDecoder
from hw.top.update_window import UpdateWindow
from hw.traffic.engine import TrafficEngine

__all__ = ["BenchTop"]


_TRAFFIC_EVENTS = ("DONE", "PHASE")


class BenchTop(wiring.Component):
    """The unit with traffic, and a host port to drive both.

    Parameters
    ----------
    config : IommuConfig
        Sizes of the unit.
    chunk_bits : int
        Indivisible unit of a context fetch, 64 or 128.
    devices, pages : int
        Rows of the traffic engine's device table and page list.

    Members
    -------
    host_requests, host_replies
        Register accesses by the address map of hw.spec.bench, one at a time.
    table_requests, table_replies
        Table memory, words of `config.memory_word_bits`.
    data_requests, data_replies
        The traffic engine's data accesses, 128-bit words of the same memory.
    straps, chunk_delay, caches_off, queue_knobs, prefetch_knobs
        See IommuUnit.
    events
        Those of the unit, then DONE and PHASE, in the order in which events of one cycle are read.
    """

    def __init__(self, config=None, *, chunk_bits=128, devices=MAX_DEVICES, pages=8192):
        self._config = config or IommuConfig()
        self._chunk_bits = chunk_bits
        self._devices = devices
        self._pages = pages
        super().__init__({
            "host_requests": In(stream.Signature(HostRequest)),
            "host_replies": Out(stream.Signature(HostReply)),
            "table_requests": Out(stream.Signature(MemoryRequest)),
            "table_replies": In(stream.Signature(memory_reply_layout(self._config.memory_word_bits))),
            "data_requests": Out(stream.Signature(MemoryRequest)),
            "data_replies": In(stream.Signature(memory_reply_layout(128))),
            "straps": In(Straps),
            "chunk_delay": In(16),
            "caches_off": In(CachesOff),
            "queue_knobs": In(QueueKnobs),
            "prefetch_knobs": In(PrefetchKnobs),
            "events": Out(EventPort()).array(len(unit_events(self._config)) + len(_TRAFFIC_EVENTS)),
        })

    def elaborate(self, platform):
        m = Module()
        m.submodules.unit = unit = IommuUnit(self._config, chunk_bits=self._chunk_bits)
        m.submodules.traffic = traffic = TrafficEngine(devices=self._devices, pages=self._pages)
        m.submodules.update_window = window = UpdateWindow()
        m.submodules.decoder = decoder = HostDecoder(
            bases=(UNIT_BASE, UPDATE_BASE, MONITOR_BASE, PREWALK_BASE, TRAFFIC_BASE))

        connect_stream(m, src=flipped(self).host_requests, dst=decoder.accesses)
        connect_stream(m, src=decoder.replies, dst=flipped(self).host_replies)
        for index, (accesses, replies) in enumerate((
            (unit.register_accesses, unit.register_replies),
            (window.accesses, window.replies),
            (unit.monitor_accesses, unit.monitor_replies),
            (unit.prewalk_accesses, unit.prewalk_replies),
            (traffic.accesses, traffic.replies),
        )):
            connect_stream(m, src=decoder.targets[index], dst=accesses)
            connect_stream(m, src=replies, dst=decoder.target_replies[index])

        connect_stream(m, src=traffic.dma_requests, dst=unit.dma_requests)
        connect_stream(m, src=unit.dma_replies, dst=traffic.dma_replies)
        connect_stream(m, src=traffic.dma_retires, dst=unit.dma_retires)
        connect_stream(m, src=traffic.data_requests, dst=flipped(self).data_requests)
        connect_stream(m, src=flipped(self).data_replies, dst=traffic.data_replies)
        connect_stream(m, src=unit.table_requests, dst=flipped(self).table_requests)
        connect_stream(m, src=flipped(self).table_replies, dst=unit.table_replies)
        connect_stream(m, src=window.update_requests, dst=unit.update_requests)
        connect_stream(m, src=unit.update_replies, dst=window.update_replies)

        m.d.comb += [unit.straps.eq(self.straps), unit.chunk_delay.eq(self.chunk_delay),
                     unit.caches_off.eq(self.caches_off), unit.queue_knobs.eq(self.queue_knobs),
                     unit.prefetch_knobs.eq(self.prefetch_knobs)]

        names, sources = (*unit_events(self._config), *_TRAFFIC_EVENTS), (*unit.events, *traffic.events)
        for event, source in zip(self.events, sources, strict=True):
            m.d.comb += [event.valid.eq(source.valid), event.payload.eq(source.payload)]
        m.d.comb += window.cycle.eq(traffic.cycle)
        for observed, name in ((window.walk_begins, "WALK"), (window.walk_ends, "WALK_RESULT"),
                               (window.replies_out, "REPLY"), (window.retired, "DONE")):
            source = sources[names.index(name)]
            m.d.comb += [observed.valid.eq(source.valid), observed.payload.eq(source.payload)]
        return m
