"""The device with no gateware: its registers as VT-d has them, and caches that keep what nobody invalidates."""
import asyncio

import pytest

from hw.spec.bench import TRAFFIC_BASE, UPDATE_BASE, TrafficRegister, UpdateCommand, UpdateOperation, UpdateRegister
from hw.spec.capabilities import Straps, cap_value, ecap_value
from hw.spec.codec import decode, encode
from hw.spec.dma import Access, Status
from hw.spec.faults import FaultReason, FaultRecord
from hw.spec.invalidation import Granularity
from hw.spec.registers import REGISTERS, register_offset
from hw.spec.tables import PageSize
from sim.model.device import ModelDevice
from sim.model.register_file import RegisterError
from sim.transport_model import ModelTransport
from sw.transport import MemoryRefused, RegisterRefused, Transport
from tests.sim.machine import CONTEXT, ROOT, context_entry, entry, root_entry, stores_of_path, straps

A, B = 0x18, 0x20
TABLE, NEW_TABLE, IOVA = 0x200, 0x300, 0x1000
LEAF = (TABLE + 3 << 12) + 8
ENTRY_A = (CONTEXT << 12) + 16 * A
WIDE = 8


class Host:
    """A driver of few words: registers by name and field."""

    def __init__(self, device, *, fro=0x22, iro=0xF):
        self.device, self._bases = device, {"fro": fro, "iro": iro}

    def offset(self, name, index=0):
        return register_offset(name, **self._bases, index=index)

    def read(self, name, field, index=0):
        row = REGISTERS[name]
        value = sum(self.device.read_register(self.offset(name, index) + 4 * dword, 4) << 32 * dword
                    for dword in range(row.width // 32))
        return (value & row.field(field).mask) >> row.field(field).low

    def write(self, name, *, width=None, index=0, **fields):
        row = REGISTERS[name]
        value = sum(number << row.field(field).low for field, number in fields.items())
        self.device.write_register(self.offset(name, index), width or min(row.width, 64) // 8, value)

    def enable(self):
        self.write("RTADDR", RTA=ROOT)
        self.write("GCMD", SRTP=1)
        self.write("GCMD", TE=1)

    def invalidate_contexts(self, granularity=Granularity.GLOBAL, **fields):
        self.write("CCMD", ICC=1, CIRG=granularity.value, **fields)

    def invalidate_iotlb(self, granularity=Granularity.GLOBAL, **fields):
        self.write("IOTLB", IVT=1, IIRG=granularity.value, **fields)


def machine(**options):
    """A device with two sources in one domain, translation on."""
    device = ModelDevice(**options)
    device.memory.write(ROOT << 12, root_entry().to_bytes(16, "little"))
    for source_id in (A, B):
        device.memory.write((CONTEXT << 12) + 16 * source_id, context_entry(TABLE, 5).to_bytes(16, "little"))
    for table, page in ((TABLE, 0x9000), (NEW_TABLE, 0xA000)):
        for hpa, value in stores_of_path(table, IOVA, entry(page)):
            device.memory.store64(hpa, value)
    host = Host(device)
    host.enable()
    return device, host


# --- registers ---

def test_capabilities_follow_the_straps():
    strap = straps(sagaw=0b0100, mgaw=47, fault_record_offset=0x40, invalidation_offset=0x50)
    device, constant = ModelDevice(straps=strap), decode(Straps, strap)
    assert device.read_register(8, WIDE) == int(cap_value(constant))
    assert device.read_register(16, WIDE) == int(ecap_value(constant))
    assert device.read_register(0, 4) == 0x50
    host = Host(device, fro=0x40, iro=0x50)
    host.invalidate_iotlb()
    assert host.read("IOTLB", "IAIG") == 1


def test_root_table_takes_effect_with_its_command_and_translation_with_its_own():
    device, host = machine()
    assert (host.read("GSTS", "RTPS"), host.read("GSTS", "TES")) == (1, 1)
    assert device.dma(A, IOVA).hpa == 0x9000_000
    host.write("RTADDR", RTA=0x7777)
    assert device.dma(A, IOVA).status is Status.OK
    host.write("GCMD", SRTP=1, TE=1)
    assert device.dma(A, IOVA).fault_reason is FaultReason.ROOT_NOT_PRESENT
    host.write("GCMD")
    assert (host.read("GSTS", "TES"), device.dma(A, IOVA).hpa) == (0, IOVA)


@pytest.mark.parametrize("stale", [False, True])
@pytest.mark.parametrize(("width", "beyond"), [(52, 1 << 40), (52, 1 << 51), (39, 1 << 27)])
def test_root_table_that_the_host_does_not_have_blocks_whatever_is_cached_until_another_is_set(width, beyond, stale):
    device, host = machine(stale=stale, straps=straps(host_address_width=width))
    assert device.dma(A, IOVA).status is Status.OK
    host.write("RTADDR", RTA=beyond | ROOT)
    assert device.dma(A, IOVA).status is Status.OK
    host.write("GCMD", SRTP=1, TE=1)
    assert device.dma(A, IOVA).fault_reason is FaultReason.ROOT_POINTER_INVALID
    assert (host.read("FRCD", "FR"), host.read("GSTS", "RTPS"), device.protocol_errors) == (0x30, 1, [])
    host.write("RTADDR", RTA=ROOT)
    host.write("GCMD", SRTP=1, TE=1)
    assert device.dma(A, IOVA).status is Status.OK


@pytest.mark.parametrize("fields", [{"SRTP": 1}, {"QIE": 1}, {"TE": 1, "QIE": 1, "SRTP": 1}, {"TE": 1, "WBF": 1}])
def test_more_than_one_change_at_a_time_is_a_protocol_error_and_does_nothing(fields):
    device, host = machine()
    host.write("RTADDR", RTA=0x7777)
    host.write("GCMD", **fields)   # SRTP alone would turn translation off as well
    assert len(device.protocol_errors) == 1
    assert device.dma(A, IOVA).status is Status.OK


def test_write_only_command_reads_zero_and_read_only_status_ignores_writes():
    device, host = machine()
    host.write("GSTS", TES=0)
    assert host.read("GSTS", "TES") == 1
    assert device.read_register(host.offset("GCMD"), 4) == 0
    host.write("IVA", ADDR=5)
    assert host.read("IVA", "ADDR") == 0


@pytest.mark.parametrize(("offset", "width"), [(0x004, 8), (0x034, 8), (0x002, 4), (0x00C, 8), (0x5000, 4), (0x008, 2)])
def test_access_that_the_window_does_not_permit_is_refused(offset, width):
    with pytest.raises(RegisterError, match=f"no access of {width} bytes at offset {offset:#x}"):
        ModelDevice().read_register(offset, width)


def test_place_without_a_register_reads_zero():
    assert ModelDevice().read_register(0x800, 8) == 0


def test_command_belongs_to_the_write_of_the_high_half():
    device, host = machine(stale=True)
    device.dma(A, IOVA)
    device.memory.store64(LEAF, 0)
    place = host.offset("IOTLB")
    device.write_register(place, 4, 0)
    assert device.dma(A, IOVA).status is Status.OK
    device.write_register(place + 4, 4, 1 << 31 | 1 << 28)
    assert device.dma(A, IOVA).status is Status.BLOCKED


# --- invalidations ---

def test_without_stale_caches_every_dma_sees_memory_as_it_is():
    device, _ = machine()
    device.dma(A, IOVA)
    device.memory.store64(LEAF, 0)
    assert device.dma(A, IOVA).fault_reason is FaultReason.READ_PERMISSION


def test_stale_translation_lives_until_its_own_invalidation():
    device, host = machine(stale=True)
    assert device.dma(A, IOVA).hpa == 0x9000_000
    device.memory.store64(LEAF, 0)
    host.invalidate_contexts()
    host.invalidate_iotlb(Granularity.DOMAIN_SELECTIVE, DID=6)
    host.write("IVA", ADDR=8, AM=2)
    host.invalidate_iotlb(Granularity.SELECTIVE, DID=5)
    assert device.dma(A, IOVA + 5).hpa == 0x9000_005
    assert device.dma(B, IOVA).status is Status.OK     # same domain, same line
    host.write("IVA", ADDR=0, AM=1)
    host.invalidate_iotlb(Granularity.SELECTIVE, DID=5)
    assert (host.read("IOTLB", "IAIG"), host.read("IOTLB", "IVT")) == (3, 0)
    assert device.dma(A, IOVA).status is Status.BLOCKED


def test_stale_context_lives_until_an_invalidation_names_the_domain_it_was_cached_under():
    device, host = machine(stale=True)
    device.dma(A, IOVA)
    device.memory.write(ENTRY_A, context_entry(NEW_TABLE, 6).to_bytes(16, "little"))
    host.invalidate_iotlb()
    host.invalidate_contexts(Granularity.SELECTIVE, DID=6, SID=A)
    assert device.dma(A, IOVA).hpa == 0x9000_000
    host.invalidate_contexts(Granularity.SELECTIVE, DID=5, SID=A)
    assert host.read("CCMD", "CAIG") == 3
    assert device.dma(A, IOVA).hpa == 0xA000_000


def test_line_whose_permission_does_not_suffice_is_looked_up_in_memory():
    device, _ = machine(stale=True)
    device.memory.store64(LEAF, entry(0x9000, writable=0))
    assert device.dma(A, IOVA).status is Status.OK
    assert device.dma(A, IOVA, Access.WRITE).fault_reason is FaultReason.WRITE_PERMISSION
    device.memory.store64(LEAF, entry(0x9000))
    assert device.dma(A, IOVA, Access.WRITE).status is Status.OK


def test_stale_superpage_answers_for_all_its_pages():
    device, _ = machine(stale=True)
    place = (TABLE + 2 << 12) + 8
    device.memory.store64(place, entry(0x40000, page_size=1))
    device.dma(A, 0x20_0000)
    device.memory.store64(place, 0)
    result = device.dma(A, 0x20_5678)
    assert (result.hpa, result.page_size) == (0x4000_5678, PageSize.SIZE_2M)
    assert device.dma(A, 0x40_0000).status is Status.BLOCKED


def test_more_pages_than_the_machine_can_name_become_the_whole_domain_and_are_answered_so():
    device, host = machine(stale=True, straps=straps(max_address_mask=3))
    device.dma(A, IOVA)
    device.memory.store64(LEAF, 0)
    host.write("IVA", ADDR=1 << 20, AM=4)
    host.invalidate_iotlb(Granularity.SELECTIVE, DID=5)
    assert host.read("IOTLB", "IAIG") == 2
    assert device.dma(A, IOVA).status is Status.BLOCKED


def test_granularity_zero_invalidates_nothing_and_is_answered_zero():
    device, host = machine(stale=True)
    device.dma(A, IOVA)
    device.memory.store64(LEAF, 0)
    host.invalidate_iotlb(Granularity.RESERVED_0)
    assert (host.read("IOTLB", "IAIG"), device.dma(A, IOVA).status) == (0, Status.OK)


@pytest.mark.parametrize("esrtps", [0, 1])
def test_root_command_invalidates_everything_only_where_the_machine_says_so(esrtps):
    device, host = machine(stale=True, straps=straps(esrtps=esrtps))
    device.dma(A, IOVA)
    device.memory.store64(LEAF, 0)
    host.write("GCMD", SRTP=1, TE=1)
    assert device.dma(A, IOVA).status is (Status.BLOCKED if esrtps else Status.OK)


def test_driver_that_does_not_wait_for_completion_is_caught():
    device, host = machine(stale=True)
    device._command_cycles = 5
    device.dma(A, IOVA)
    device.memory.store64(LEAF, 0)
    host.invalidate_iotlb()
    assert host.read("IOTLB", "IVT") == 1
    assert device.dma(A, IOVA).status is Status.OK
    host.invalidate_contexts()
    assert device.protocol_errors == ["CCMD written while an invalidation is pending"]
    device.pause(5)
    assert host.read("IOTLB", "IVT") == 0
    assert device.dma(A, IOVA).status is Status.BLOCKED


# --- faults ---

def test_fault_record_says_who_wanted_what_and_why():
    device, host = machine()
    device.dma(A, 0x7654_3210, Access.WRITE)
    low, high = (device.read_register(host.offset("FRCD") + part, WIDE) for part in (0, 8))
    record = decode(FaultRecord, high << 64 | low)
    assert (record.source_id, record.fault_info, record.fault_reason) == (A, 0x76543, FaultReason.WRITE_PERMISSION)
    assert (record.fault, record.type_1, record.type_2) == (1, 0, 0)
    device.dma(A, 0x1_0000, Access.READ)
    device.dma(A, 0x1_0000, Access.ATOMIC)
    kinds = [(host.read("FRCD", "T1", index), host.read("FRCD", "T2", index)) for index in (1, 2)]
    assert kinds == [(1, 0), (1, 1)]


def test_records_fill_up_overflow_and_go_on_where_they_stopped():
    device, host = machine(straps=straps(fault_records=1))
    for iova in (0x10_000, 0x11_000, 0x12_000):
        device.dma(A, iova)
    assert [host.read("FRCD", "FI", index) for index in (0, 1)] == [0x10, 0x11]
    assert (host.read("FSTS", "PFO"), host.read("FSTS", "PPF"), host.read("FSTS", "FRI")) == (1, 1, 0)
    host.device.write_register(host.offset("FRCD", 0) + 12, 4, 1 << 31)
    device.dma(A, 0x13_000)   # PFO still stands
    assert host.read("FRCD", "F", 0) == 0
    assert host.read("FSTS", "PPF") == 1
    host.write("FSTS", IQE=1)
    assert host.read("FSTS", "PFO") == 1
    host.write("FSTS", PFO=1)
    device.dma(A, 0x14_000)
    assert (host.read("FRCD", "FI", 0), host.read("FRCD", "F", 0)) == (0x14, 1)


def test_suppressed_fault_blocks_and_leaves_no_record():
    device, host = machine()
    device.memory.write(ENTRY_A, context_entry(TABLE, 5, fault_processing_disable=1).to_bytes(16, "little"))
    result = device.dma(A, 0x99_000)
    assert (result.status, host.read("FSTS", "PPF")) == (Status.BLOCKED, 0)


def test_fault_event_is_pending_while_masked_and_sent_when_unmasked():
    device, host = machine()
    device.dma(A, 0x99_000)
    device.dma(A, 0x99_000)
    assert (host.read("FECTL", "IP"), len(device.messages)) == (1, 0)
    host.write("FECTL", IM=0)
    assert (host.read("FECTL", "IP"), len(device.messages)) == (0, 1)
    device.dma(A, 0x99_000)   # there is a cause already: no second event
    assert len(device.messages) == 1


def test_pending_event_goes_with_its_last_cause():
    device, host = machine()
    device.dma(A, 0x99_000)
    device.write_register(host.offset("FRCD") + 12, 4, 1 << 31)
    assert (host.read("FECTL", "IP"), host.read("FSTS", "PPF")) == (0, 0)


# --- update window, traffic window, transport ---

def command(device, operation, *, address, expected=0, desired=0):
    for register, value in (
        (UpdateRegister.ADDRESS, address),
        (UpdateRegister.EXPECTED_LOW, expected & (1 << 64) - 1), (UpdateRegister.EXPECTED_HIGH, expected >> 64),
        (UpdateRegister.DESIRED_LOW, desired & (1 << 64) - 1), (UpdateRegister.DESIRED_HIGH, desired >> 64),
        (UpdateRegister.COMMAND, encode(UpdateCommand, operation=operation, armed=1)),
    ):
        device.write_register(UPDATE_BASE + register, WIDE, value)
    return device.read_register(UPDATE_BASE + UpdateRegister.STATUS, WIDE)


def test_update_window_exchanges_stores_and_refuses():
    device, _ = machine()
    old, new = context_entry(TABLE, 5), context_entry(NEW_TABLE, 6)
    exchange = UpdateOperation.COMPARE_EXCHANGE_128
    busy, swapped, error, triggered = 1, 2, 4, 8
    assert command(device, exchange, address=ENTRY_A, expected=new, desired=new) == triggered
    observed = [device.read_register(UPDATE_BASE + register, WIDE) for register in (
        UpdateRegister.OBSERVED_LOW, UpdateRegister.OBSERVED_HIGH)]
    assert observed[1] << 64 | observed[0] == old
    assert command(device, exchange, address=ENTRY_A, expected=old, desired=new) == triggered | swapped
    assert device.dma(A, IOVA).hpa == 0xA000_000
    assert command(device, UpdateOperation.STORE_64, address=LEAF, desired=entry(0x77)) == triggered | swapped
    assert device.memory.read64(LEAF) == entry(0x77)
    assert command(device, exchange, address=LEAF) == triggered | error
    assert command(device, exchange, address=1 << 52) == triggered | error
    assert not command(device, exchange, address=ENTRY_A) & busy
    with pytest.raises(RegisterError, match="only aligned accesses of 8 bytes"):
        device.read_register(UPDATE_BASE, 4)


def test_traffic_window_tells_the_time_and_keeps_what_is_written():
    device = ModelDevice()
    device.write_register(TRAFFIC_BASE + TrafficRegister.PHASE, WIDE, 6)
    device.pause(100)
    assert device.read_register(TRAFFIC_BASE + TrafficRegister.PHASE, WIDE) == 6
    assert device.read_register(TRAFFIC_BASE + TrafficRegister.CYCLE, WIDE) == 103


def test_transport_gives_the_driver_the_device_and_its_refusals():
    async def story(transport):
        await transport.write_memory(0x5000, b"abc")
        await transport.store64(0x6000, 7)
        swapped = await transport.compare_exchange128(0x6000, 7, 9)
        await transport.write_register(0x20, WIDE, 0x1000)
        await transport.pause(10)
        seen = await transport.read_memory(0x5000, 3), swapped, await transport.read_memory(0x6000, 1)
        refused = []
        for error, access in (
            (RegisterRefused, transport.read_register(4, 8)), (RegisterRefused, transport.write_register(2, 4, 0)),
            (MemoryRefused, transport.store64(0x6001, 0)), (MemoryRefused, transport.compare_exchange128(8, 0, 0)),
            (MemoryRefused, transport.read_memory(1 << 52, 1)), (MemoryRefused, transport.write_memory(1 << 52, b"a")),
        ):
            with pytest.raises(error) as caught:
                await access
            refused.append(str(caught.value))
        return seen, await transport.read_register(0x20, WIDE), refused

    transport = ModelTransport(ModelDevice())
    assert isinstance(transport, Transport)
    seen, root, refused = asyncio.run(story(transport))
    assert (seen, root, len(refused)) == ((b"abc", 7, b"\x09"), 0x1000, 6)
    assert transport.device.cycle == 14   # a refused register access takes its cycle too
