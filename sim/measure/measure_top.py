"""BenchTop without its event ports: the machine that is measured."""
from typing import Any

from amaranth.hdl import Module
from amaranth.lib import wiring
from amaranth.lib.wiring import In, connect, flipped

from hw.iommu.config import IommuConfig
from hw.top.bench_top import BenchTop

__all__ = ["MeasureTop"]

_LEFT_OUT = "events"


class MeasureTop(wiring.Component):
    """A BenchTop, nobody of which is asked for events: what makes them is left out of the simulator.

    Parameters
    ----------
    config : IommuConfig
        Sizes of the unit.

    Members
    -------
    As those of BenchTop, but for `events`. The update window's arming still sees walks and hits.
    """

    def __init__(self, config: IommuConfig | None = None) -> None:
        self._bench = BenchTop(config or IommuConfig())
        super().__init__({name: member for name, member in self._bench.signature.members.items() if name != _LEFT_OUT})

    def elaborate(self, platform: Any) -> Module:
        """One instance, connected by name."""
        m = Module()
        m.submodules.bench = bench = self._bench
        for name, member in self.signature.members.items():
            inside, outside = getattr(bench, name), getattr(self, name)
            if not member.is_port:
                connect(m, inside, flipped(outside))
            elif member.flow == In:
                m.d.comb += inside.eq(outside)
            else:
                m.d.comb += outside.eq(inside)
        return m
