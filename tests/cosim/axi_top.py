# amaranth: UnusedElaboratable=no
"""The wrapped unit, small, and beside it a channel that can break the rule that every channel is checked for."""
from amaranth import *
from amaranth.lib import enum, wiring
from amaranth.lib.wiring import In, Out

from hw.axi.axi_unit import AxiUnit
from hw.iommu.config import IommuConfig

__all__ = ["BUSES", "AxiBenchTop", "Fickle"]

BUSES = ("s_dma", "m_dma", "m_table", "s_reg", "fickle")


class Fickle(enum.IntEnum, shape=2):
    """What the channel does before READY."""
    SILENT = 0
    NOTHING = 1    # it offers something, and stands by it
    VALID = 2      # VALID falls
    PAYLOAD = 3    # the payload changes


class AxiBenchTop(wiring.Component):
    """AxiUnit with its own ports, and a response channel `fickle` that behaves as the input `fickle` says."""

    def __init__(self):
        self._unit = AxiUnit(IommuConfig(iotlb_sets=4, iotlb_ways=2, context_sets=2, context_ways=2, walk_slots=4,
                                         context_slots=2), slots=8, id_bits=3)
        super().__init__({**dict(self._unit.signature.members.items()),
                          "fickle": In(Fickle), "fickle_bvalid": Out(1), "fickle_bready": In(1), "fickle_bid": Out(4)})

    def elaborate(self, platform):
        m = Module()
        m.submodules.unit = self._unit
        for name, member in self._unit.signature.members.items():
            inside, outside = getattr(self._unit, name), getattr(self, name)
            m.d.comb += outside.eq(inside) if member.flow == Out else inside.eq(outside)

        age = Signal(5)
        m.d.sync += age.eq(age + 1)
        m.d.comb += [
            self.fickle_bvalid.eq((self.fickle == Fickle.NOTHING) | (self.fickle == Fickle.PAYLOAD)
                                  | ((self.fickle == Fickle.VALID) & (age < 16))),
            self.fickle_bid.eq(Mux(self.fickle == Fickle.PAYLOAD, age, 0)),
        ]
        return m
