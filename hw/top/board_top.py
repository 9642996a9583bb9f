"""What goes on a lab board: the bench with its memory in block RAM, a built-in host, and lamps.

::

    built_in_host --> bench_top --- table and data port ---> shared_memory
          |
          +--> lamps: running, fault, law_broken

There is no link to a computer yet. Until there is, the host port is driven by a list of accesses that is part of the design; it
sets up what `board_image` says, lets eight devices do DMA, and shows what the registers tell.
"""
from amaranth import *
from amaranth.lib import wiring
from amaranth.lib.wiring import Out

from hw.iommu.config import IommuConfig
from hw.lib.stream import connect_stream
from hw.spec.capabilities import STRAPS_DEFAULT
from hw.top import board_image
from hw.top.bench_top import BenchTop
from hw.top.built_in_host import BuiltInHost
from hw.top.shared_memory import SharedMemory

__all__ = ["BoardTop"]

_PAGE_LIST = 64   # rows of the traffic engine's page list: more than the memory has pages


class BoardTop(wiring.Component):
    """Bench, memory and host of a board.

    Parameters
    ----------
    config : IommuConfig
        Sizes of the unit; memory words must have 128 bits.
    devices, pages : int
        Devices that do DMA, and data pages.
    blink_bit : int
        `running` is this bit of the count of DMAs done.
    image : sequence of int
        The memory's first words; by default `board_image.image`.

    Members
    -------
    running
        Follows a bit of the number of DMAs done: blinks while they are.
    fault
        A fault is recorded, or a DMA was blocked, or the built-in host was refused an access; stays.
    law_broken
        The checker found a DMA where neither table would have sent it; stays.

    Source: ours.
    """

    running: Out(1)
    fault: Out(1)
    law_broken: Out(1)

    def __init__(self, config=None, *, devices=8, pages=8, blink_bit=23, image=None):
        super().__init__()
        self._config = config or IommuConfig()
        if self._config.memory_word_bits != 128:
            raise ValueError(f"memory_word_bits must be 128 on a board, not {self._config.memory_word_bits!r}")
        if not 1 <= pages <= _PAGE_LIST:
            raise ValueError(f"pages must be between 1 and {_PAGE_LIST}, not {pages!r}")
        self._devices = devices
        self._image = image or board_image.image(devices=devices, pages=pages)
        self._steps = list(board_image.steps(devices=devices, pages=pages))
        self._watches = list(board_image.watches(devices=devices, blink_bit=blink_bit))

    def elaborate(self, platform):
        m = Module()
        m.submodules.bench = bench = BenchTop(self._config, devices=self._devices, pages=_PAGE_LIST)
        m.submodules.memory = memory = SharedMemory(ports=2, depth_words=len(self._image), init=self._image)
        m.submodules.host = host = BuiltInHost(steps=self._steps, watches=[watch for _lamp, watch in self._watches])
        connect_stream(m, src=host.requests, dst=bench.host_requests)
        connect_stream(m, src=bench.host_replies, dst=host.replies)
        for port, name in enumerate(("table", "data")):
            connect_stream(m, src=getattr(bench, f"{name}_requests"), dst=memory.requests[port])
            connect_stream(m, src=memory.replies[port], dst=getattr(bench, f"{name}_replies"))
        m.d.comb += bench.straps.eq(STRAPS_DEFAULT)

        seen = {lamp: Cat(bit for (name, _watch), bit in zip(self._watches, host.seen, strict=True) if name == lamp).any()
                for lamp in board_image.LAMPS}
        m.d.sync += [
            self.running.eq(seen["running"]),
            self.fault.eq(self.fault | seen["fault"] | host.refused),
            self.law_broken.eq(self.law_broken | seen["law_broken"]),
        ]
        return m
