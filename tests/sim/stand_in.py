"""A small machine with ports like the real bench's, to try the simulation on: registers, two memory ports, events.

    0x0_0000 + Register        its own registers
    0x1_0000 + UpdateRegister  an update window, one store at a time on the table port
"""
import functools

from amaranth import *
from amaranth.lib import data, enum, stream, wiring
from amaranth.lib.wiring import In, Out

from hw.iommu.messages import EventPort
from hw.spec.bench import UPDATE_BASE, HostReply, HostRequest, UpdateCommand, UpdateOperation, UpdateRegister
from hw.spec.capabilities import Straps
from hw.spec.events import EventKind
from hw.spec.memory import MemoryOperation, MemoryRequest, memory_reply_layout
from sim.runner import build, run

__all__ = ["Register", "StandIn", "built", "in_simulator"]


class Register(enum.IntEnum, shape=8):
    """Offsets of its own registers."""
    STRAPS = 0x00          # as they stood in the first cycle after reset; read only
    CHUNK_DELAY = 0x08     # the input, as it is; read only
    CYCLE = 0x10           # since the reset; read only
    BURST_ADDRESS = 0x18   # hpa of the next read
    BURST_TABLE = 0x20     # written: make that many reads on the table port, 64 bytes apart, tags from 0
    BURST_DATA = 0x28      # the same on the data port, 16 bytes apart
    RESERVED = 0x30        # written: one access with the reserved operation
    UNANSWERED = 0x38      # an access that is never answered


class StandIn(wiring.Component):
    """See the module. Event ports: 0 and 1 requests of table and data port, 2 and 3 their replies, 4 host accesses."""

    def __init__(self, *, table_bits=512):
        self._table_bits = table_bits
        super().__init__({
            "host_requests": In(stream.Signature(HostRequest)),
            "host_replies": Out(stream.Signature(HostReply)),
            "table_requests": Out(stream.Signature(MemoryRequest)),
            "table_replies": In(stream.Signature(memory_reply_layout(table_bits))),
            "data_requests": Out(stream.Signature(MemoryRequest)),
            "data_replies": In(stream.Signature(memory_reply_layout(128))),
            "straps": In(Straps),
            "chunk_delay": In(16),
            "access_count": Out(16),
            "events": Out(EventPort()).array(5),
        })

    def elaborate(self, platform):
        m = Module()
        command = self.host_requests.payload
        replying = Signal()
        reply = Signal(HostReply)
        m.d.comb += [
            self.host_requests.ready.eq(~replying),
            self.host_replies.valid.eq(replying),
            self.host_replies.payload.eq(reply),
        ]
        with m.If(replying & self.host_replies.ready):
            m.d.sync += replying.eq(0)
        taken = self.host_requests.valid & self.host_requests.ready
        with m.If(taken):
            m.d.sync += [replying.eq(1), reply.eq(0), self.access_count.eq(self.access_count + 1)]

        straps, sampled, cycle = Signal(Straps), Signal(), Signal(64)
        m.d.sync += [sampled.eq(1), cycle.eq(cycle + 1)]
        with m.If(~sampled):
            m.d.sync += straps.eq(self.straps)

        burst_address = Signal(52)
        left = {"table": Signal(16), "data": Signal(16)}
        update = {register: Signal(64, name=register.name.lower()) for register in UpdateRegister}
        update_request, update_busy, update_swapped, update_error = Signal(), Signal(), Signal(), Signal()
        reserved = Signal()

        # Host accesses.
        with m.If(taken), m.Switch(command.address):
            for register, value in ((Register.STRAPS, straps), (Register.CHUNK_DELAY, self.chunk_delay),
                                    (Register.CYCLE, cycle), (Register.BURST_ADDRESS, burst_address)):
                with m.Case(register.value):
                    m.d.sync += reply.data.eq(value)
            for name, register in (("table", Register.BURST_TABLE), ("data", Register.BURST_DATA)):
                with m.Case(register.value):
                    m.d.sync += left[name].eq(command.data)
            with m.Case(Register.RESERVED.value):
                m.d.sync += reserved.eq(1)
            with m.Case(Register.UNANSWERED.value):
                m.d.sync += replying.eq(0)
            with m.Case(UPDATE_BASE + UpdateRegister.STATUS.value):
                m.d.sync += reply.data.eq(Cat(update_busy, update_swapped, update_error))
            for register, value in update.items():
                if register is not UpdateRegister.STATUS:
                    with m.Case(UPDATE_BASE + register.value):
                        m.d.sync += reply.data.eq(value)
                        with m.If(command.write):
                            m.d.sync += value.eq(command.data)
            with m.Default():
                m.d.sync += reply.error.eq(1)
        with m.If(taken & command.write & (command.address == Register.BURST_ADDRESS.value)):
            m.d.sync += burst_address.eq(command.data)
        with m.If(taken & command.write & (command.address == UPDATE_BASE + UpdateRegister.COMMAND.value)):
            m.d.sync += [update_request.eq(1), update_busy.eq(1)]

        # Memory.
        for name, step, requests, replies in (("table", 64, self.table_requests, self.table_replies),
                                              ("data", 16, self.data_requests, self.data_replies)):
            tag = Signal(11, name=f"{name}_tag")
            m.d.comb += [
                requests.valid.eq(left[name] != 0),
                requests.payload.operation.eq(MemoryOperation.READ),
                requests.payload.hpa.eq(burst_address + tag * step),
                requests.payload.tag.eq(tag),
                replies.ready.eq(1),
            ]
            with m.If(requests.valid & requests.ready & (left[name] != 0)):
                m.d.sync += [left[name].eq(left[name] - 1), tag.eq(tag + 1)]
            with m.If(left[name] == 0):
                m.d.sync += tag.eq(0)
        with m.If(reserved):
            m.d.comb += [self.data_requests.valid.eq(1),
                         self.data_requests.payload.operation.eq(MemoryOperation.RESERVED_3)]
        out = self.table_requests
        update_command = update[UpdateRegister.COMMAND]
        store = Signal()
        command_bits = data.Layout.cast(UpdateCommand).size
        m.d.comb += store.eq(UpdateCommand(update_command[:command_bits]).operation == UpdateOperation.STORE_64)
        with m.If(update_request):
            high = update[UpdateRegister.ADDRESS][3]
            m.d.comb += [
                out.valid.eq(1),
                out.payload.hpa.eq(update[UpdateRegister.ADDRESS]),
                out.payload.tag.eq(0x7FF),
                out.payload.operation.eq(MemoryOperation.COMPARE_EXCHANGE),
                out.payload.data.eq(Cat(update[UpdateRegister.DESIRED_LOW], update[UpdateRegister.DESIRED_HIGH])),
                out.payload.expected.eq(Cat(update[UpdateRegister.EXPECTED_LOW], update[UpdateRegister.EXPECTED_HIGH])),
            ]
            with m.If(store):
                m.d.comb += [
                    out.payload.operation.eq(MemoryOperation.WRITE),
                    out.payload.data.eq(update[UpdateRegister.DESIRED_LOW].replicate(2)),
                    out.payload.write_mask.eq(Mux(high, 0xFF00, 0x00FF)),
                ]
            with m.If(out.ready):
                m.d.sync += [update_request.eq(0), update[UpdateRegister.COMMIT_CYCLE].eq(cycle)]
        answer = self.table_replies.payload
        quantum = (answer.data >> (update[UpdateRegister.ADDRESS][4:6] << 7))[:128] if self._table_bits == 512 \
            else answer.data
        with m.If(self.table_replies.valid & update_busy & (answer.tag == 0x7FF)):
            m.d.sync += [
                update_busy.eq(0), update_error.eq(answer.error), update_swapped.eq(~answer.error),
                update[UpdateRegister.OBSERVED_LOW].eq(quantum[:64]),
                update[UpdateRegister.OBSERVED_HIGH].eq(quantum[64:]),
            ]

        # Events.
        for port, source in enumerate((self.table_requests, self.data_requests)):
            event = self.events[port]
            m.d.comb += [
                event.valid.eq(source.valid & source.ready), event.payload.kind.eq(EventKind.MEMORY),
                event.payload.hpa.eq(source.payload.hpa), event.payload.tag.eq(source.payload.tag),
                event.payload.detail.eq(source.payload.operation),
            ]
        for port, source in enumerate((self.table_replies, self.data_replies), start=2):
            event = self.events[port]
            m.d.comb += [
                event.valid.eq(source.valid & source.ready), event.payload.kind.eq(EventKind.UPDATE),
                event.payload.tag.eq(source.payload.tag), event.payload.hpa.eq(source.payload.error),
                event.payload.detail.eq(source.payload.data),
            ]
        event = self.events[4]
        m.d.comb += [
            event.valid.eq(taken), event.payload.kind.eq(EventKind.REQUEST), event.payload.iova.eq(command.address),
            event.payload.source_id.eq(0xFFFF), event.payload.domain_id.eq(command.write),
        ]
        return m


@functools.cache
def built():
    """Its simulator, made once."""
    return build(StandIn(), "stand_in", waves=True)


def in_simulator(*testcases, seconds=120, **options):
    """Run tests of cosim_stand_in in one simulator; the RunResult."""
    return run(built(), "tests.sim.cosim_stand_in", testcase=testcases, seconds=seconds, **options)
