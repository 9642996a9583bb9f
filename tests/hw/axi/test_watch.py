# amaranth: UnusedElaboratable=no
"""The watch on channels finds what it is there for."""
import pytest
from amaranth import *
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import Out

from tests.hw.axi.bench import watched
from tests.hw.iommu.bench import run, wait


class Fickle(wiring.Component):
    """Offers something, and then thinks better of it."""

    o: Out(stream.Signature(4))

    def __init__(self, what):
        self._what = what
        super().__init__()

    def elaborate(self, platform):
        m = Module()
        age = Signal(4)
        m.d.sync += age.eq(age + 1)
        m.d.comb += self.o.valid.eq((age < 4) if self._what == "VALID" else 1)
        m.d.comb += self.o.payload.eq((age < 4) if self._what == "payload" else 1)
        return m


async def ten_cycles(ctx):
    """Time for it."""
    await wait(ctx, 10)


@pytest.mark.parametrize(("what", "sentence"), [("VALID", "VALID fell before READY"), ("payload", "changed before READY")])
def test_an_offer_that_does_not_stand_is_found(what, sentence):
    dut = Fickle(what)
    with pytest.raises(AssertionError, match=sentence):
        run(dut, ten_cycles, background=[watched(dut.o)])


def test_an_offer_that_stands_passes():
    dut = Fickle("nothing")
    run(dut, ten_cycles, background=[watched(dut.o)])
