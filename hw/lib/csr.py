"""One register of a register table as hardware: each field behaves as its row says. Ours."""
from functools import reduce
from operator import or_

from amaranth import *
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from hw.spec.registers import Access

__all__ = ["Csr", "register_layout"]

_PART_BITS = 32   # what a strobe stands for
_STORED = (Access.RW, Access.WO)
_COMMANDS = (Access.RW1C, Access.TRIGGER, Access.ONE_SHOT)
_HARDWARE = (Access.RO, Access.RW1C, Access.TRIGGER)


def register_layout(row):
    """The layout of a register whose fields are those of its table row, at their places."""
    return data.FlexibleLayout(row.width, {f.name: data.Field(unsigned(f.width), f.low) for f in row.fields})


def _mask(row, kinds):
    return reduce(or_, (field.mask for field in row.fields if field.access in kinds), 0)


class Csr(wiring.Component):
    """Storage, read value and commands of one register.

    ========  =======================  ============================  ============================
    access    reads                    a write                       the block sees
    ========  =======================  ============================  ============================
    RO        `state`                  does nothing
    RW        what was written         is stored                     `value`
    WO        zero                     is stored                     `value`
    RW1C      `state`                  of 1 commands                 `commands`, and owns `state`
    TRIGGER   `state`                  of 1 commands                 `commands`, and owns `state`
    ONE_SHOT  zero                     of 1 commands                 `commands`
    ========  =======================  ============================  ============================

    Parameters
    ----------
    row : hw.spec.registers.Register
        What the register is made of.

    Members
    -------
    strobes
        One bit per 32-bit part: that part of `data` is written in this cycle.
    data
        The write data, in place.
    state
        Fields that hardware owns, as they stand; a field that nothing drives stands at its reset value.
    value
        Fields that are stored, as last written.
    commands
        Fields in which this very write has a 1, in the cycle of the write; zero otherwise.
    read
        What a read sees in this cycle.

    Timing
    ------
    `value` follows a write by one cycle, `commands` and `read` are combinational.
    """

    def __init__(self, row):
        self._row = row
        layout = register_layout(row)
        reset = {field.name: field.reset for field in row.fields}
        stored = {field.name: field.reset for field in row.fields if field.access in _STORED}
        super().__init__({
            "strobes": In(row.width // _PART_BITS),
            "data": In(layout),
            "state": In(layout, init=reset),
            "value": Out(layout, init=stored),
            "commands": Out(layout),
            "read": Out(row.width),
        })

    def elaborate(self, platform):
        m = Module()
        written = Cat(strobe.replicate(_PART_BITS) for strobe in self.strobes)
        data, state, value = self.data.as_value(), self.state.as_value(), self.value.as_value()
        stored, command, hardware, readable = (
            Const(_mask(self._row, kinds), self._row.width)
            for kinds in (_STORED, _COMMANDS, _HARDWARE, (Access.RW,)))
        for index, strobe in enumerate(self.strobes):
            part = slice(index * _PART_BITS, (index + 1) * _PART_BITS)
            with m.If(strobe):  # the flip-flops' own enable: no logic in front of them
                m.d.sync += value[part].eq(data[part] & stored[part])
        m.d.comb += [
            self.commands.eq(data & written & command),
            self.read.eq((state & hardware) | (value & readable)),
        ]
        return m
