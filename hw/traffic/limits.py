"""Which devices have as many DMAs in flight as they may have. Ours."""
from amaranth import *
from amaranth.lib import wiring
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out

from hw.spec.bench import DeviceConfig
from hw.spec.codec import field_width
from hw.spec.dma import TAG_BITS

__all__ = ["DeviceLimits"]


class DeviceLimits(wiring.Component):
    """Counts the DMAs of each device, against a limit of its own.

    Two parties change what is in flight, so each owns a memory: DMAs begun, DMAs done, modulo 2**(TAG_BITS + 1). Rows
    keep their contents over a reset; the first write of a row of the device table makes the two equal.

    Parameters
    ----------
    devices : int
        Rows of the device table.

    Members
    -------
    row, written
        The host writes that row of the device table.
    row, begins, limit
        A DMA of that device begins; `limit` is the device's, see DeviceConfig. Never together with `written`.
    done, done_row
        A DMA of that device is done.
    full
        One bit per device: it has reached its limit.

    Timing
    ------
    One `begins` and one `done` per cycle, of the same device or of two. `full` follows both by one cycle. A limit that is
    lowered while more DMAs are in flight holds only once these are done: until then one may begin for each that is done.
    """

    def __init__(self, *, devices):
        self._devices = devices
        super().__init__({
            "row": In(range(devices)), "written": In(1), "begins": In(1), "limit": In(field_width(DeviceConfig, "limit")),
            "done": In(1), "done_row": In(range(devices)),
            "full": Out(devices),
        })

    def elaborate(self, platform):
        m = Module()
        width = TAG_BITS + 1
        m.submodules.begun = begun = Memory(shape=width, depth=self._devices, init=[])
        m.submodules.finished = finished = Memory(shape=width, depth=self._devices, init=[])
        begun_write, finished_write = begun.write_port(), finished.write_port()
        begun_read, finished_read, finishing = (
            begun.read_port(domain="comb"), finished.read_port(domain="comb"), finished.read_port(domain="comb"))
        known = Signal(self._devices)  # written since the reset

        begun_next = Signal(width)
        m.d.comb += [
            begun_read.addr.eq(self.row),
            finished_read.addr.eq(self.row),
            finishing.addr.eq(self.done_row),
            finished_write.addr.eq(self.done_row),
            finished_write.data.eq(finishing.data + 1),
            finished_write.en.eq(self.done),
            begun_next.eq(begun_read.data + 1),
            begun_write.addr.eq(self.row),
            begun_write.data.eq(Mux(self.written, finished_read.data, begun_next)),
            begun_write.en.eq(self.begins | (self.written & ~known.bit_select(self.row, 1))),
        ]
        with m.If(self.written):
            m.d.sync += known.bit_select(self.row, 1).eq(1)

        in_flight = Signal(width)
        m.d.comb += in_flight.eq(begun_next - finished_read.data - (self.done & (self.done_row == self.row)))
        reached = Cat(bit & (self.limit <= place + 1) for place, bit in enumerate(in_flight)).any() & (self.limit != 0)
        with m.If(self.done):
            m.d.sync += self.full.bit_select(self.done_row, 1).eq(0)
        with m.If(self.begins):
            m.d.sync += self.full.bit_select(self.row, 1).eq(reached)
        return m
