"""The model's invalidation queue: head and execution apart, waits, errors and their recovery."""
import pytest

from hw.spec.capabilities import STRAPS_DEFAULT
from hw.spec.codec import encode
from hw.spec.dma import Status
from hw.spec.events import MessageKind
from hw.spec.invalidation import (
    DESCRIPTOR_LAYOUTS,
    ContextCacheDescriptor,
    DescriptorType,
    DeviceTlbDescriptor,
    Granularity,
    InterruptEntryCacheDescriptor,
    IotlbDescriptor,
    QueueError,
    WaitDescriptor,
)
from hw.spec.monitor import DeviceTlbAnswer, MonitorRegister
from sim.model.device import ModelDevice
from sim.model.register_file import Message, RegisterError
from tests.sim.machine import straps
from tests.sim.test_model_device import IOVA, LEAF, WIDE, A, Host, machine

QUEUE, STATUS, DONE = 0x700, 0x7F_0010, 0x600D
MONITOR = 0x18000


def context_cache(granularity=Granularity.GLOBAL, **fields):
    return encode(ContextCacheDescriptor, type=DescriptorType.CONTEXT_CACHE, granularity=granularity, **fields)


def iotlb(granularity=Granularity.GLOBAL, **fields):
    return encode(IotlbDescriptor, type=DescriptorType.IOTLB, granularity=granularity, **fields)


def device_tlb(source_id=A, **fields):
    return encode(DeviceTlbDescriptor, type=DescriptorType.DEVICE_TLB, source_id=source_id, **fields)


def interrupt_entry(**fields):
    return encode(InterruptEntryCacheDescriptor, type=DescriptorType.INTERRUPT_ENTRY_CACHE, **fields)


def wait(address=STATUS, status=DONE, **fields):
    return encode(WaitDescriptor, **{"type": DescriptorType.WAIT, "status_write": 1, "status_data": status,
                                     "status_address": address >> 2} | fields)


class Queue:
    """A driver of few words, with a queue: descriptors in, the tail behind them."""

    def __init__(self, device, host, *, wide=False, size_log2=0, page=QUEUE, on=True):
        self.device, self.host, self.wide, self.page = device, host, wide, page
        self.size = 4096 << size_log2
        self.bytes = 32 if wide else 16
        self.tail = 0
        host.write("IQT", QT=0)
        host.write("IQA", IQA=page, QS=size_log2, DW=int(wide))
        if on:
            host.write("GCMD", TE=1, QIE=1)

    def put(self, *descriptors):
        for each in descriptors:
            self.device.memory.write((self.page << 12) + self.tail, each.to_bytes(self.bytes, "little"))
            self.tail = (self.tail + self.bytes) % self.size

    def ring(self):
        self.host.write("IQT", QT=self.tail // 16)

    def give(self, *descriptors):
        self.put(*descriptors)
        self.ring()

    @property
    def head(self):
        return self.host.read("IQH", "QH") * 16

    def status(self, address=STATUS):
        return int.from_bytes(self.device.memory.read(address, 4), "little")


def queue(*, wide=False, size_log2=0, **options):
    device, host = machine(**options)
    return device, host, Queue(device, host, wide=wide, size_log2=size_log2)


# --- order, head, waits ---

@pytest.mark.parametrize("wide", [False, True])
def test_head_passes_what_is_fetched_and_the_wait_tells_when_it_is_done(wide):
    device, _, line = queue(wide=wide, stale=True, queue_cycles=100)
    device.dma(A, IOVA)
    device.memory.store64(LEAF, 0)
    line.give(iotlb(), wait())
    assert (line.head, line.status()) == (line.tail, 0)
    assert device.dma(A, IOVA).status is Status.OK      # a driver that polls the head frees a page in use
    device.pause(100)
    assert (device.dma(A, IOVA).status, line.status()) == (Status.BLOCKED, 0)
    device.pause(100)
    assert line.status() == DONE
    assert device.messages == [Message(MessageKind.STATUS, STATUS, DONE)]
    assert device.protocol_errors == []


@pytest.mark.parametrize(("descriptor", "dropped"), [
    (iotlb(), True), (iotlb(Granularity.DOMAIN_SELECTIVE, domain_id=5), True),
    (iotlb(Granularity.DOMAIN_SELECTIVE, domain_id=6), False),
    (iotlb(Granularity.SELECTIVE, domain_id=5, page=1), True),
    (iotlb(Granularity.SELECTIVE, domain_id=5, page=2), False),
    (iotlb(Granularity.SELECTIVE, domain_id=5, page=2, address_mask=2), True),
    (context_cache(), False),
])
def test_iotlb_descriptor_drops_what_it_names(descriptor, dropped):
    device, _, line = queue(stale=True)
    device.dma(A, IOVA)
    device.memory.store64(LEAF, 0)
    line.give(descriptor, wait())
    assert (device.dma(A, IOVA).status is Status.BLOCKED) == dropped


def test_ring_wraps_and_a_full_one_holds_all_but_one():
    device, _, line = queue(queue_cycles=1)
    for number in range(3):
        line.give(*(wait(STATUS + 4 * number, index) for index in range(255)))
        assert line.head == line.tail
        device.pause(300)
        assert line.status(STATUS + 4 * number) == 254
    assert line.tail == 3 * 255 * 16 % 4096
    assert device.queue.executed[DescriptorType.WAIT] == 765


def test_larger_queue_ends_where_its_size_says():
    _, _, line = queue(wide=True, size_log2=1)
    line.give(*(interrupt_entry() for _ in range(255)))
    line.give(wait())
    assert (line.tail, line.head, line.status()) == (0, 0, DONE)


def test_wait_without_status_or_interrupt_is_a_fence_and_nothing_else():
    device, host, line = queue()
    line.give(wait(status_write=0, fence=1))
    assert (device.messages, device.queue.waits_completed, host.read("ICS", "IWC")) == ([], 1, 0)


def test_interrupt_of_a_wait_comes_after_its_status_and_only_while_none_is_seen():
    device, host, line = queue()
    host.write("IEADDR", MA=0xFEE0_1000 >> 2)
    host.write("IEUADDR", MUA=1)
    host.write("IEDATA", IMD=0x42)
    line.give(wait(interrupt=1))
    assert (host.read("ICS", "IWC"), host.read("IECTL", "IP"), len(device.messages)) == (1, 1, 1)
    host.write("IECTL", IM=0)
    event = Message(MessageKind.INVALIDATION_EVENT, 0x1_FEE0_1000, 0x42)
    assert device.messages[1:] == [event]
    line.give(wait(interrupt=1))           # IWC still stands
    assert device.messages[2:] == [device.messages[0]]
    host.write("ICS", IWC=1)
    line.give(wait(interrupt=1))
    assert device.messages[3:] == [device.messages[0], event]
    assert line.status(0x1_FEE0_1000) == 0x42


def test_pending_invalidation_event_goes_with_its_cause():
    _, host, line = queue()
    line.give(wait(interrupt=1))
    host.write("ICS", IWC=1)
    assert host.read("IECTL", "IP") == 0


def test_status_that_memory_refuses_is_counted_and_the_wait_completes():
    device, host, line = queue()
    line.give(wait(1 << 52, interrupt=1))
    assert (len(device.refused_messages), device.queue.waits_completed, host.read("ICS", "IWC")) == (1, 1, 1)


# --- on and off ---

@pytest.mark.parametrize(("fields", "sentence"), [
    (dict(tail=1), "queue turned on with IQT not zero"),
    (dict(page=1 << 40), "out of reach"),
    (dict(page=(1 << 40) - 1, size=1), "out of reach"),
    (dict(page=(1 << 40) - 0x7F, size=7), "out of reach"),
])
def test_queue_is_not_turned_on_where_it_cannot_work(fields, sentence):
    device, host = machine()
    host.write("IQA", IQA=fields.get("page", QUEUE), QS=fields.get("size", 0))
    host.write("IQT", QT=fields.get("tail", 0))
    host.write("GCMD", TE=1, QIE=1)
    assert host.read("GSTS", "QIES") == 0
    assert sentence in device.protocol_errors[0]


@pytest.mark.parametrize(("page", "size"), [(QUEUE + 1, 1), (QUEUE + 3, 7), ((1 << 40) - 0x80, 7), ((1 << 40) - 1, 0)])
def test_queue_need_not_be_aligned_to_its_size_and_may_end_where_addresses_end(page, size):
    device, host = machine()
    host.write("IQA", IQA=page, QS=size)
    host.write("GCMD", TE=1, QIE=1)
    assert (host.read("GSTS", "QIES"), device.protocol_errors) == (1, [])


def test_queue_is_not_turned_on_while_an_invalidation_by_registers_is_pending():
    device, host = machine()
    device._command_cycles = 50
    host.invalidate_iotlb()
    host.write("GCMD", TE=1, QIE=1)
    assert (host.read("GSTS", "QIES"), len(device.protocol_errors)) == (0, 1)


def test_registers_of_invalidation_and_the_queue_address_stand_still_while_the_queue_is_on():
    device, host, _ = queue()
    before = host.read("IQA", "IQA")
    host.invalidate_contexts()
    host.invalidate_iotlb()
    host.write("IVA", ADDR=1)
    host.write("IQA", IQA=0x999)
    assert (host.read("CCMD", "ICC"), host.read("IOTLB", "IVT"), host.read("IQA", "IQA")) == (0, 0, before)
    assert len(device.protocol_errors) == 4


def test_queue_goes_off_when_what_was_fetched_is_done_and_its_head_returns_to_the_beginning():
    device, host, line = queue(queue_cycles=50)
    line.give(wait())
    host.write("GCMD", TE=1)
    assert (host.read("GSTS", "QIES"), device.protocol_errors) == (1, [])
    host.invalidate_iotlb()                  # not yet
    assert len(device.protocol_errors) == 1
    device.pause(50)
    assert (host.read("GSTS", "QIES"), line.head, line.status()) == (0, 0, DONE)
    host.invalidate_iotlb()
    assert (host.read("IOTLB", "IAIG"), len(device.protocol_errors)) == (1, 1)


def test_queue_turned_off_with_descriptors_in_it_forgets_them_and_that_is_an_error_unless_it_stands_still():
    device, host, line = queue()
    line.put(0, wait())
    line.ring()
    host.write("GCMD", TE=1)                 # IQE holds it
    assert (host.read("GSTS", "QIES"), device.protocol_errors, line.status()) == (0, [], 0)
    device, host, line = queue()
    device.registers.set("IQT", "QT", 4)     # a tail of which the queue has not heard
    host.device.registers.write(host.offset("GCMD"), 4, 1 << 31)
    assert device.protocol_errors == ["queue turned off with descriptors in it"]


# --- errors ---

def stuck(host, cause, head):
    return (host.read("FSTS", "IQE"), host.read("IQERCD", "IQEI"), host.read("IQH", "QH")) == (1, cause.value, head)


@pytest.mark.parametrize("wide", [False, True])
def test_illegal_descriptor_stops_the_queue_until_it_is_replaced_and_the_error_cleared(wide):
    device, host, line = queue(wide=wide)
    step = 2 if wide else 1
    line.give(interrupt_entry(), context_cache(Granularity.RESERVED_0), wait())
    assert stuck(host, QueueError.RESERVED_FIELD, step)
    host.write("FSTS", PFO=1)
    assert (line.head, line.status()) == (step * 16, 0)
    device.memory.write((QUEUE << 12) + 16 * step, wait(STATUS + 4).to_bytes(16, "little"))
    host.write("FSTS", IQE=1)
    assert (line.head, line.status(), line.status(STATUS + 4), host.read("IQERCD", "IQEI")) == (line.tail, DONE, DONE, 0)


def test_error_that_is_cleared_and_not_mended_comes_again():
    device, host, line = queue()
    host.write("FECTL", IM=0)
    line.give(0)
    host.write("FSTS", IQE=1)
    assert stuck(host, QueueError.BAD_TYPE, 0)
    assert len(device.messages) == 2


def test_bad_tail_misaligned_tail_and_refused_memory_have_their_causes():
    _, host, _ = queue()
    host.write("IQT", QT=256)
    assert stuck(host, QueueError.BAD_TAIL, 0)
    _, host, _ = queue(wide=True)
    host.write("IQT", QT=3)
    assert stuck(host, QueueError.MISALIGNED_TAIL, 0)
    device, host, line = queue()
    device.memory.mark_error(QUEUE)
    host.write("IQT", QT=1)
    assert stuck(host, QueueError.FETCH, 0)
    device.memory.mark_error(QUEUE, refused=False)
    line.give(wait())
    host.write("FSTS", IQE=1)
    assert line.status() == DONE


def test_fault_event_is_raised_by_the_first_cause_only():
    device, host, line = queue()
    host.write("FECTL", IM=0)
    device.dma(A, 0x99_000)
    line.give(0)
    assert len(device.messages) == 1     # PPF stood
    host.write("FSTS", IQE=1)
    assert host.read("FECTL", "IP") == 0
    assert len(device.messages) == 1


def test_device_that_answers_with_an_error_is_named_and_the_wait_completes():
    device, host, line = queue()
    device.device_tlb_answer = DeviceTlbAnswer.ERROR
    line.give(device_tlb(0x1234), wait())
    assert (host.read("FSTS", "ICE"), host.read("IQERCD", "ICESID"), line.status()) == (1, 0x1234, DONE)
    host.write("FSTS", ICE=1)
    assert host.read("IQERCD", "ICESID") == 0


def test_error_that_finds_its_bit_set_leaves_no_trace():
    device, host, line = queue()
    device.device_tlb_answer = DeviceTlbAnswer.ERROR
    line.give(device_tlb(0x1234), device_tlb(0x5678))
    assert host.read("IQERCD", "ICESID") == 0x1234


def test_time_out_abandons_the_waits_fetched_by_then_and_holds_the_fetch():
    device, host, line = queue(stale=True, queue_cycles=20)
    device.dma(A, IOVA)
    device.memory.store64(LEAF, 0)
    device.device_tlb_answer = DeviceTlbAnswer.TIME_OUT
    line.give(wait(STATUS + 8), device_tlb(0x1234), wait(), iotlb())
    device.pause(40)
    assert (host.read("FSTS", "ITE"), host.read("IQERCD", "ITESID")) == (1, 0x1234)
    fetched = line.head
    device.device_tlb_answer = DeviceTlbAnswer.DONE
    line.give(wait(STATUS + 4))
    assert line.head == fetched
    host.write("FSTS", ITE=1)                        # what had been fetched is not finished
    assert line.head == fetched
    device.pause(60)
    assert (line.head, line.status(STATUS + 8), line.status()) == (line.tail, DONE, 0)
    assert device.dma(A, IOVA).status is Status.BLOCKED   # what was no wait was executed
    device.pause(60)
    assert line.status(STATUS + 4) == DONE
    assert device.queue.waits_abandoned == [wait()]


def test_table_mode_of_the_queue_is_the_latched_one():
    _, host, line = queue()
    host.write("RTADDR", RTA=0x100, TTM=3)
    line.give(wait())
    assert line.status() == DONE
    host.write("GCMD", TE=1, QIE=1, SRTP=1)
    line.give(wait())
    assert stuck(host, QueueError.BAD_WIDTH, 1)


# --- monitor window ---

def test_monitor_window_counts_what_the_unit_did():
    device, host, line = queue()
    host.write("FECTL", IM=0)
    host.write("IECTL", IM=0)
    host.invalidate_iotlb()
    device.device_tlb_answer = DeviceTlbAnswer.TIME_OUT
    line.put(context_cache(), iotlb(), wait(interrupt=1), wait(1 << 52), device_tlb(), wait())
    line.ring()
    counted = {register: device.read_register(MONITOR + register, WIDE) for register in MonitorRegister
               if register <= MonitorRegister.REFUSED_MESSAGES}
    assert counted == {
        MonitorRegister.PROTOCOL_ERRORS: 1, MonitorRegister.FAULT_MESSAGES: 1, MonitorRegister.INVALIDATION_MESSAGES: 1,
        MonitorRegister.WAITS_COMPLETED: 2, MonitorRegister.WAITS_ABANDONED: 1, MonitorRegister.REFUSED_MESSAGES: 1}
    by_type = [device.read_register(MONITOR + MonitorRegister.DESCRIPTORS + 8 * kind.value, WIDE) for kind in DESCRIPTOR_LAYOUTS]
    assert by_type == [1, 1, 1, 0, 2]
    with pytest.raises(RegisterError, match="read only"):
        device.write_register(MONITOR, WIDE, 0)
    with pytest.raises(RegisterError, match="no counter at 0x40"):
        device.read_register(MONITOR + MonitorRegister.DESCRIPTORS, WIDE)


def test_monitor_window_counts_from_a_clear_on_and_not_while_it_is_stopped():
    clear, stop = 1, 2
    device, _, line = queue()

    def waits():
        return device.read_register(MONITOR + MonitorRegister.WAITS_COMPLETED, WIDE)

    line.give(wait(), wait())
    device.write_register(MONITOR + MonitorRegister.CONTROL, WIDE, clear)
    assert (waits(), device.read_register(MONITOR + MonitorRegister.CONTROL, WIDE)) == (0, 0)
    line.give(wait())
    device.write_register(MONITOR + MonitorRegister.CONTROL, WIDE, stop)
    line.give(wait(), wait())
    assert (waits(), device.read_register(MONITOR + MonitorRegister.CONTROL, WIDE)) == (1, stop)
    device.write_register(MONITOR + MonitorRegister.CONTROL, WIDE, 0)
    line.give(wait())
    assert waits() == 2
    device.write_register(MONITOR + MonitorRegister.CONTROL, WIDE, clear | stop)
    line.give(wait())
    assert waits() == 0


def test_queue_is_found_in_the_capabilities():
    host = Host(ModelDevice(straps=STRAPS_DEFAULT))
    assert (host.read("ECAP", "QI"), host.read("ECAP", "ADMS"), host.read("ECAP", "DT")) == (1, 1, 0)
    assert straps() == STRAPS_DEFAULT
