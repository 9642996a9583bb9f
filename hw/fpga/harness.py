"""A component alone on an FPGA, with registers for pins. Ours.

::

    serial_in --> shift register --> component --> registers --> exclusive or, bit by bit --> serial_out

Thousands of ports need no pins this way, every path begins and ends in a flip-flop, and nothing can be optimised away: each
input bit can be any value, each output bit reaches a pin.
"""
from amaranth import *
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

__all__ = ["RegisteredPins", "UNCONNECTED"]

UNCONNECTED = ("events",)
"""Outputs that only a simulation looks at: their logic is not built."""


class RegisteredPins(wiring.Component):
    """One component between registers.

    Parameters
    ----------
    component : wiring.Component
        What is measured.
    unconnected : tuple of str
        Its members that are left alone.

    Members
    -------
    serial_in, serial_out
        The two pins.

    Attributes
    ----------
    own_luts, own_flip_flops : int
        What this harness adds, to be taken off the totals: one LUT for each output bit, and a flip-flop for each input
        bit, two for each output bit.
    """

    serial_in: In(1)
    serial_out: Out(1)

    def __init__(self, component, *, unconnected=UNCONNECTED):
        super().__init__()
        self._component = component
        inputs, outputs = [], []
        for path, member, value in component.signature.flatten(component):
            if path[0] not in unconnected:
                (inputs if member.flow == In else outputs).append(Value.cast(value))
        self._inputs, self._outputs = Cat(inputs), Cat(outputs)
        self.own_luts = len(self._outputs)
        self.own_flip_flops = len(self._inputs) + 2 * len(self._outputs)

    def elaborate(self, platform):
        m = Module()
        m.submodules.component = self._component
        shifted = Signal(len(self._inputs))
        seen, folded = Signal(len(self._outputs)), Signal(len(self._outputs))
        m.d.comb += [self._inputs.eq(shifted), self.serial_out.eq(folded[-1])]
        m.d.sync += [
            shifted.eq(Cat(self.serial_in, shifted)),
            seen.eq(self._outputs),
            folded.eq(seen ^ Cat(Const(0, 1), folded)),
        ]
        return m
