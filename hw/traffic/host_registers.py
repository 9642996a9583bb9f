"""The traffic engine's registers, as hw.spec.bench lays them out. Ours."""
from amaranth import *
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

from hw.lib.lfsr import LFSR_BITS
from hw.spec.bench import (
    COUNTER_BASE,
    DEVICE_BASE,
    DEVICE_STRIDE,
    HISTOGRAM_BASE,
    HISTOGRAM_BINS,
    PAGE_ENTRY_BYTES,
    PAGE_LIST_BASE,
    TRAFFIC_BASE,
    Counter,
    DeviceConfig,
    DeviceDomains,
    DeviceField,
    HostReply,
    HostRequest,
    LatencyWatch,
    Phase,
    TrafficControl,
    TrafficRegister,
)
from hw.spec.dma import TAG_BITS
from hw.traffic.counters import COUNTER_BITS
from hw.traffic.generator import PAGE_ENTRY_WORDS
from hw.traffic.latency import LATENCY_BITS
from hw.traffic.messages import PagePort, TablePort

__all__ = ["HostRegisters"]

_REGISTER_BYTES = 8
_READ_ONLY = (TrafficRegister.IN_FLIGHT, TrafficRegister.CYCLE, TrafficRegister.TOTAL, TrafficRegister.STRAY,
              TrafficRegister.LATENCY_MAX)


class HostRegisters(wiring.Component):
    """Decodes the host's accesses and keeps the control registers.

    Parameters
    ----------
    devices, pages : int
        Rows that are there; an access to another one is answered with an error.
    seed : int
        Reset value of SEED.

    Members
    -------
    accesses, replies
        One reply per access, in order. An error: no such register, an access of 4 bytes or unaligned, a write to the
        histogram or another register that is read only, a read of the page list, a phase that has no name. The data of
        a reply to a write mean nothing.
    control, seed, phase, phase_written
        The registers of these names; `phase_written` is high in the cycle after PHASE was written.
    in_flight, cycle, total, stray
        What the read-only registers show.
    config, domains, page_list
        The tables.
    counter, counter_device, counter_value, counter_clear, counter_cleared
        One counter: its value a cycle after it was named, and its clearing, which may take time.
    latency_watch, latency_bin, latency_value, latency_longest, latency_clear, latency_cleared
        The latency histogram, likewise.

    Timing
    ------
    An access is answered two cycles after it was accepted, one to a counter or the histogram after three or more. A write
    to LATENCY is answered when the histogram has been cleared.
    """

    def __init__(self, *, devices, pages, seed):
        self._devices = devices
        self._pages = pages
        super().__init__({
            "accesses": In(stream.Signature(HostRequest)),
            "replies": Out(stream.Signature(HostReply)),
            "control": Out(TrafficControl),
            "seed": Out(LFSR_BITS, init=seed),
            "phase": Out(Phase),
            "phase_written": Out(1),
            "in_flight": In(TAG_BITS + 1),
            "cycle": In(64),
            "total": In(64),
            "stray": In(64),
            "config": Out(TablePort(DeviceConfig, rows=devices)),
            "domains": Out(TablePort(DeviceDomains, rows=devices)),
            "page_list": Out(PagePort(rows=pages, words=PAGE_ENTRY_WORDS)),
            "counter": Out(Counter),
            "counter_device": Out(range(devices)),
            "counter_value": In(COUNTER_BITS),
            "counter_clear": Out(1),
            "counter_cleared": In(1),
            "latency_watch": Out(LatencyWatch),
            "latency_bin": Out(range(HISTOGRAM_BINS)),
            "latency_value": In(COUNTER_BITS),
            "latency_longest": In(LATENCY_BITS),
            "latency_clear": Out(1),
            "latency_cleared": In(1),
        })

    def elaborate(self, platform):
        m = Module()
        access = Signal(HostRequest)
        reply = Signal(HostReply)

        def rows(base, stride, count):
            """Is the address in this table, in which row, how far from its start?"""
            place = Signal.like(access.address)
            m.d.comb += place.eq(access.address - base)
            return (access.address >= base) & (place < stride * count), place // stride, place % stride

        in_devices, device, device_field = rows(DEVICE_BASE, DEVICE_STRIDE, self._devices)
        in_counters, counter_device, counter_place = rows(COUNTER_BASE, DEVICE_STRIDE, self._devices)
        in_histogram, latency_bin, _ = rows(HISTOGRAM_BASE, _REGISTER_BYTES, HISTOGRAM_BINS)
        in_pages, page, page_place = rows(PAGE_LIST_BASE - TRAFFIC_BASE, PAGE_ENTRY_BYTES, self._pages)
        m.d.comb += [
            self.config.row.eq(device),
            self.config.write_data.eq(access.data),
            self.domains.row.eq(device),
            self.domains.write_data.eq(access.data),
            self.counter.eq(counter_place // _REGISTER_BYTES),
            self.counter_device.eq(counter_device),
            self.latency_bin.eq(latency_bin),
            self.page_list.row.eq(page),
            self.page_list.word.eq(page_place // _REGISTER_BYTES),
            self.page_list.write_data.eq(access.data),
            self.replies.payload.eq(reply),
        ]
        m.d.sync += self.phase_written.eq(0)

        with m.FSM(name="host"):
            with m.State("IDLE"):
                m.d.comb += self.accesses.ready.eq(1)
                with m.If(self.accesses.valid):
                    m.d.sync += [access.eq(self.accesses.payload), reply.eq(0)]
                    m.next = "EXECUTE"

            with m.State("EXECUTE"):
                m.next = "REPLY"
                with m.If(~access.wide | (access.address % _REGISTER_BYTES != 0)):
                    m.d.sync += reply.error.eq(1)
                with m.Elif(in_devices):
                    with m.Switch(device_field):
                        with m.Case(DeviceField.CONFIG):
                            m.d.comb += self.config.write.eq(access.write)
                            m.d.sync += reply.data.eq(self.config.read_data)
                        with m.Case(DeviceField.DOMAINS):
                            m.d.comb += self.domains.write.eq(access.write)
                            m.d.sync += reply.data.eq(self.domains.read_data)
                        with m.Default():
                            m.d.sync += reply.error.eq(1)
                with m.Elif(in_counters & (counter_place < _REGISTER_BYTES * len(Counter))):
                    m.next = "COUNTER"
                with m.Elif(in_histogram & ~access.write):
                    m.next = "HISTOGRAM"
                with m.Elif(in_pages & (page_place < _REGISTER_BYTES * PAGE_ENTRY_WORDS) & access.write):
                    m.d.comb += self.page_list.write.eq(1)
                with m.Else():
                    self._control_block(m, access, reply)

            with m.State("COUNTER"):
                with m.If(access.write):
                    m.d.comb += self.counter_clear.eq(1)
                    with m.If(self.counter_cleared):
                        m.next = "REPLY"
                with m.Else():
                    m.d.sync += reply.data.eq(self.counter_value)
                    m.next = "REPLY"

            with m.State("HISTOGRAM"):
                m.d.sync += reply.data.eq(self.latency_value)
                m.next = "REPLY"

            with m.State("CLEAR-HISTOGRAM"):
                m.d.comb += self.latency_clear.eq(1)
                with m.If(self.latency_cleared):
                    m.next = "REPLY"

            with m.State("REPLY"):
                m.d.comb += self.replies.valid.eq(1)
                with m.If(self.replies.ready):
                    m.next = "IDLE"
        return m

    def _control_block(self, m, access, reply):
        """One access to TrafficRegister; everything else is an error."""
        shown = {
            TrafficRegister.CONTROL: self.control, TrafficRegister.PHASE: self.phase,
            TrafficRegister.IN_FLIGHT: self.in_flight, TrafficRegister.CYCLE: self.cycle,
            TrafficRegister.SEED: self.seed, TrafficRegister.TOTAL: self.total, TrafficRegister.STRAY: self.stray,
            TrafficRegister.LATENCY: self.latency_watch, TrafficRegister.LATENCY_MAX: self.latency_longest,
        }
        with m.Switch(access.address):
            for register, value in shown.items():
                with m.Case(register):
                    m.d.sync += [reply.data.eq(value), reply.error.eq(access.write & (register in _READ_ONLY))]
            with m.Default():
                m.d.sync += reply.error.eq(1)
        with m.If(access.write):
            with m.Switch(access.address):
                with m.Case(TrafficRegister.CONTROL):
                    m.d.sync += self.control.eq(access.data)
                with m.Case(TrafficRegister.SEED):
                    m.d.sync += self.seed.eq(access.data)
                with m.Case(TrafficRegister.LATENCY):
                    m.d.sync += self.latency_watch.eq(access.data)
                    m.next = "CLEAR-HISTOGRAM"
                with m.Case(TrafficRegister.PHASE):
                    with m.If(access.data <= max(phase.value for phase in Phase)):
                        m.d.sync += [self.phase.eq(access.data), self.phase_written.eq(1)]
                    with m.Else():
                        m.d.sync += reply.error.eq(1)
