"""Invalidations through the registers: the right command, waited for, and what was done is looked at."""
import pytest

from hw.spec.invalidation import Granularity
from sw.errors import BadRange, InvalidationRefused, RegisterTimeout
from sw.invalidation import RegisterInvalidation
from sw.registers import RegisterFile
from tests.sw.machine import Machine, drive
from tests.sw.test_registers import straps_with

CCMD, IVA, IOTLB = 0x28, 0xF0, 0xF8
IVT, DRAIN = 1 << 63, 0b11 << 48


def prepared(machine=None, **options):
    machine = machine or Machine()
    registers = drive(RegisterFile.open(machine.transport))
    return machine, RegisterInvalidation(registers, **options)


@pytest.mark.parametrize(("call", "arguments", "command"), [
    ("context_global", (), 1 << 63 | 1 << 61),
    ("context_domain", (5,), 1 << 63 | 2 << 61 | 5),
    ("context_device", (0x18, 5), 1 << 63 | 3 << 61 | 0x18 << 16 | 5),
])
def test_context_command_is_the_one_worked_out_by_hand(call, arguments, command):
    machine, invalidation = prepared()
    drive(getattr(invalidation, call)(*arguments))
    assert machine.transport.log == [("register", CCMD, command)]


def test_function_mask_is_part_of_the_context_command():
    machine, invalidation = prepared()
    drive(invalidation.context_device(0x18, 5, function_mask=3))
    assert machine.transport.log == [("register", CCMD, 1 << 63 | 3 << 61 | 3 << 32 | 0x18 << 16 | 5)]


@pytest.mark.parametrize(("call", "arguments", "command"), [
    ("iotlb_global", (), IVT | 1 << 60 | DRAIN),
    ("iotlb_domain", (5,), IVT | 2 << 60 | DRAIN | 5 << 32),
])
def test_iotlb_command_always_drains(call, arguments, command):
    machine, invalidation = prepared()
    drive(getattr(invalidation, call)(*arguments))
    assert machine.transport.log == [("register", IOTLB, command)]


@pytest.mark.parametrize(("iova", "size", "only_leaves", "address"), [
    (0x7000, 0x1000, True, 0x7000 | 1 << 6),
    (0x7000, 0x1000, False, 0x7000),
    (0x6000, 0x2000, True, 0x6000 | 1 << 6 | 1),
    (0x7000, 0x2000, True, 0x0000 | 1 << 6 | 4),    # pages 7 and 8: the smallest aligned power of two around them
    (0x200000, 0x200000, False, 0x200000 | 9),
])
def test_page_range_becomes_one_aligned_power_of_two(iova, size, only_leaves, address):
    machine, invalidation = prepared()
    drive(invalidation.iotlb_pages(5, iova, size, only_leaves=only_leaves))
    assert machine.transport.log == [("register", IVA, address), ("register", IOTLB, IVT | 3 << 60 | DRAIN | 5 << 32)]


def test_range_beyond_the_largest_address_mask_becomes_the_domain():
    machine, invalidation = prepared(Machine(straps=straps_with(max_address_mask=3)))
    assert drive(invalidation.iotlb_pages(5, 0, 0x9000, only_leaves=True)) is Granularity.DOMAIN_SELECTIVE
    assert machine.transport.log == [("register", IOTLB, IVT | 2 << 60 | DRAIN | 5 << 32)]


def test_range_that_is_no_range_is_refused():
    _, invalidation = prepared()
    with pytest.raises(BadRange, match="multiples of 0x1000"):
        drive(invalidation.iotlb_pages(5, 0x10, 0x1000, only_leaves=True))


def test_call_returns_only_when_the_unit_has_finished():
    machine, invalidation = prepared(Machine(command_cycles=5000))
    drive(invalidation.iotlb_global())
    assert machine.device.cycle >= 5000
    drive(invalidation.context_global())
    assert machine.device.protocol_errors == []


@pytest.mark.parametrize("call", ["context_global", "iotlb_global"])
def test_invalidation_that_never_ends_is_a_timeout_with_its_numbers(call):
    _, invalidation = prepared(Machine(command_cycles=1 << 40), timeout_cycles=1000)
    with pytest.raises(RegisterTimeout, match=r"did not become I..=0 within 1\d\d\d cycles"):
        drive(getattr(invalidation, call)())


class Answering(Machine):
    """A unit that says it performed something of its own choice."""

    def __init__(self, register, low, performed):
        super().__init__()
        read = self.transport.read_register

        async def read_register(offset, width):
            value = await read(offset, width)
            if offset == register and not value >> 63:
                return value & ~(3 << low) | performed << low
            return value

        self.transport.read_register = read_register


@pytest.mark.parametrize(("register", "low", "call", "arguments"), [
    (CCMD, 59, "context_domain", (5,)), (IOTLB, 57, "iotlb_domain", (5,)),
])
def test_only_the_requested_granularity_or_a_coarser_one_is_accepted(register, low, call, arguments):
    _, invalidation = prepared(Answering(register, low, 1))
    assert drive(getattr(invalidation, call)(*arguments)) is Granularity.GLOBAL
    for performed in (0, 3):
        _, invalidation = prepared(Answering(register, low, performed))
        with pytest.raises(InvalidationRefused, match=r"requested a DOMAIN_SELECTIVE invalidation, the unit performed"):
            drive(getattr(invalidation, call)(*arguments))
