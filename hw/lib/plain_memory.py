"""A memory as block RAM is: registered reads that promise nothing about what is written in the same cycle. Ours."""
from amaranth import *
from amaranth.lib import memory

__all__ = ["plain_memory"]


def plain_memory(m, name, shape, *, depth, enable, address, data, reads):
    """Add a memory of `depth` rows of `shape` to `m`, with one write port and a read port for each address in `reads`.

    Synthesis maps it to block RAM with no logic around it, or, where it has few rows, to LUT RAM: a memory that
    promised the old row, or the new one, would cost a multiplexer for each bit of each read port.

    Returns
    -------
    list
        For each of `reads`, the row at that address, in the next cycle. Undefined where the row was written, too, in
        the cycle of the address. All rows are zero at first; no reset changes them.
    """
    m.submodules[name] = rows = memory.Memory(
        shape=shape, depth=depth, init=[], attrs={"no_rw_check": 1})  # yosys: as undefined as that
    write = rows.write_port()
    m.d.comb += [write.en.eq(enable), write.addr.eq(address), write.data.eq(data)]
    found = []
    for number, read_address in enumerate(reads):
        # yosys takes these registers into block RAM; of a read port that is registered already it ignores the attribute.
        read = rows.read_port(domain="comb")
        row = Signal(shape, reset_less=True, name=f"{name}_{number}")
        m.d.comb += read.addr.eq(read_address)
        m.d.sync += row.eq(read.data)
        found.append(row)
    return found
