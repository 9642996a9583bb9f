"""A memory as block RAM is: registered reads that promise nothing about what is written in the same cycle. Ours."""
from amaranth import *
from amaranth.lib import memory, wiring
from amaranth.lib.wiring import In, Out

__all__ = ["PlainMemory"]


class PlainMemory(wiring.Component):
    """One write port, any number of read ports, rows of any shape.

    Synthesis maps it to block RAM with no logic around it, or, where it has few rows, to LUT RAM: a memory that
    promised the old row, or the new one, would cost a multiplexer for each bit of each read port.

    Parameters
    ----------
    shape : ShapeCastable
        One row.
    depth : int
        Rows.
    readers : int
        Read ports.

    Members
    -------
    write_enable, write_address, write_data
        A row to be written at the end of this cycle.
    read_address[n]
        Row to be read.
    read_data[n]
        In the next cycle: that row. Undefined where it was written in the cycle of the address.

    Timing
    ------
    One write and `readers` reads per cycle. All rows are zero at first; no reset changes them.

    Source: ours.
    """

    def __init__(self, shape, *, depth, readers=1):
        self._shape = shape
        self._depth = depth
        self._readers = readers
        super().__init__({
            "write_enable": In(1),
            "write_address": In(range(depth)),
            "write_data": In(shape),
            "read_address": In(range(depth)).array(readers),
            "read_data": Out(shape).array(readers),
        })

    def elaborate(self, platform):
        m = Module()
        m.submodules.rows = rows = memory.Memory(
            shape=self._shape, depth=self._depth, init=[], attrs={"no_rw_check": 1})  # yosys: as undefined as above
        write = rows.write_port()
        m.d.comb += [
            write.en.eq(self.write_enable),
            write.addr.eq(self.write_address),
            write.data.eq(self.write_data),
        ]
        # yosys takes these registers into block RAM; to a registered read port it does not apply the attribute.
        for number, (address, data) in enumerate(zip(self.read_address, self.read_data, strict=True)):
            read = rows.read_port(domain="comb")
            held = Signal(self._shape, reset_less=True, name=f"held_{number}")
            m.d.comb += [read.addr.eq(address), data.eq(held)]
            m.d.sync += held.eq(read.data)
        return m
