"""The unit as a block with AXI ports: DMA in and out, its own memory accesses, its registers. Ours.

::

    s_dma ar --> ReadPath ---+            +---> ReadPath --> m_dma ar        s_dma r <-- ReadPath <--- m_dma r
                             +--> unit ---+
    s_dma aw --> WritePath --+            +---> WritePath -> m_dma aw, w     s_dma b <-- WritePath <-- m_dma b
    s_dma w --------^                                             retires --> unit
    s_reg (AXI4-Lite) --> RegisterBridge --> HostDecoder --> unit: registers, monitor
                                                             unit --> TablePort --> m_table
"""
from amaranth import *
from amaranth.lib import wiring
from amaranth.lib.wiring import In

from hw.axi.bus import FlatBus, axi4_channels, check_sizes
from hw.axi.read_path import ReadPath
from hw.axi.register_bridge import RegisterBridge, register_channels
from hw.axi.request_former import Direction
from hw.axi.table_port import TablePort, table_channels
from hw.axi.write_path import WritePath
from hw.iommu.config import IommuConfig
from hw.iommu.unit import IommuUnit
from hw.lib.merge import Merge
from hw.lib.stream import connect_stream
from hw.spec.axi import DmaUser, MemoryUser
from hw.spec.bench import MONITOR_BASE, UNIT_BASE
from hw.spec.capabilities import Straps
from hw.spec.dma import DmaRequest, DmaRetire
from hw.top.host_decoder import HostDecoder

__all__ = ["AxiUnit"]


class AxiUnit(wiring.Component):
    """`IommuUnit` with AXI ports; docs/axi.md says what they promise.

    The update port is not connected: it stands for a CPU's compare-exchange at the memory controller, and here the CPU makes
    its own. Events and the knobs of experiments are not connected either.

    Parameters
    ----------
    config : IommuConfig
        Sizes of the unit. The data of `m_table` is `memory_word_bits` wide.
    data_bits, id_bits : int
        Of the DMA ports: 32 to 1024, a power of two; 1 to 32.
    slots : int
        Reads, and writes, under way at most, a burst in n pages counted n times: 2 to 512.

    Members
    -------
    s_dma_*
        AXI4, 64-bit addresses (IOVA), AxUSER is `DmaUser`.
    m_dma_*
        AXI4, 64-bit addresses (HPA), IDs as they came, AxUSER is `MemoryUser`.
    m_table_*
        AXI4, 64-bit addresses, 11-bit IDs, no user signals.
    s_reg_*
        AXI4-Lite, 20-bit addresses, 64 bits: the VT-d register window at 0, the monitor window at 0x18000.
    straps
        As of `IommuUnit`.

    Timing
    ------
    One address per cycle from reads and writes together, in turn; one beat per cycle and direction. A DMA that hits takes five
    cycles from its address to memory's, and one more on the way back.
    """

    def __init__(self, config=None, *, data_bits=128, id_bits=4, slots=32):
        check_sizes(data_bits=data_bits, id_bits=id_bits, slots=slots)
        self._config = config or IommuConfig()
        self._sizes = {"data_bits": data_bits, "id_bits": id_bits, "slots": slots}
        widths = {"data_bits": data_bits, "id_bits": id_bits}
        self._buses = {
            "dma": FlatBus("s_dma", axi4_channels(**widths, user=DmaUser), manager=False),
            "memory": FlatBus("m_dma", axi4_channels(**widths, user=MemoryUser), manager=True),
            "table": FlatBus("m_table", table_channels(self._config.memory_word_bits), manager=True),
            "registers": FlatBus("s_reg", register_channels(), manager=False),
        }
        super().__init__({
            **{name: member for bus in self._buses.values() for name, member in bus.members.items()},
            "straps": In(Straps),
        })

    def elaborate(self, platform):
        m = Module()
        m.submodules.unit = unit = IommuUnit(self._config)
        m.submodules.reads = reads = ReadPath(**self._sizes)
        m.submodules.writes = writes = WritePath(**self._sizes)
        m.submodules.requests = requests = Merge(DmaRequest, ports=len(Direction))
        m.submodules.retires = retires = Merge(DmaRetire, ports=len(Direction))
        m.submodules.tables = tables = TablePort(word_bits=self._config.memory_word_bits)
        m.submodules.bridge = bridge = RegisterBridge()
        m.submodules.decoder = decoder = HostDecoder(bases=(UNIT_BASE, MONITOR_BASE))

        # DMA.
        reply = unit.dma_replies
        m.d.comb += reply.ready.eq(1)
        for direction, path in ((Direction.READ, reads), (Direction.WRITE, writes)):
            connect_stream(m, src=path.requests, dst=requests.i[direction.value])
            connect_stream(m, src=path.retires, dst=retires.i[direction.value])
            m.d.comb += [
                path.reply.valid.eq(reply.valid & (reply.payload.tag[-1] == direction.value)),
                path.reply.payload.eq(reply.payload),
            ]
        connect_stream(m, src=requests.o, dst=unit.dma_requests)
        connect_stream(m, src=retires.o, dst=unit.dma_retires)
        self._connect(m, "dma", ar=reads.bursts, r=reads.data, aw=writes.bursts, w=writes.data, b=writes.responses)
        self._connect(m, "memory", ar=reads.memory_bursts, r=reads.memory_data,
                      aw=writes.memory_bursts, w=writes.memory_data, b=writes.memory_responses)

        # Tables and registers.
        connect_stream(m, src=unit.table_requests, dst=tables.requests)
        connect_stream(m, src=tables.replies, dst=unit.table_replies)
        self._connect(m, "table", **{channel: getattr(tables, channel) for channel in ("ar", "r", "aw", "w", "b")})
        self._connect(m, "registers", **{channel: getattr(bridge, channel) for channel in ("ar", "r", "aw", "w", "b")})
        connect_stream(m, src=bridge.accesses, dst=decoder.accesses)
        connect_stream(m, src=decoder.replies, dst=bridge.replies)
        for index, (accesses, replies) in enumerate((
                (unit.register_accesses, unit.register_replies), (unit.monitor_accesses, unit.monitor_replies))):
            connect_stream(m, src=decoder.targets[index], dst=accesses)
            connect_stream(m, src=replies, dst=decoder.target_replies[index])
        m.d.comb += unit.straps.eq(self.straps)
        return m

    def _connect(self, m, bus, **channels):
        for channel, port in channels.items():
            self._buses[bus].connect(m, self, channel, port)
