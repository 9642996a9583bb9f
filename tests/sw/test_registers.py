"""Typed register access: fields by name, places from the capabilities, handshakes one at a time."""
import pytest

from hw.spec.capabilities import STRAPS_DEFAULT, Straps, describe_straps
from hw.spec.codec import encode
from sw.errors import RegisterTimeout
from sw.registers import RegisterFile, compose
from tests.sw.machine import Machine, drive


def straps_with(**changes):
    return encode(Straps, **{**describe_straps(STRAPS_DEFAULT), **changes})


def test_register_reads_its_fields_by_name():
    registers = drive(RegisterFile.open(Machine().transport))
    assert registers.cap["ND"] == 6
    assert registers.cap["NFR"] == 7
    assert registers.cap["FRO"] == 0x22
    assert registers.ecap["IRO"] == 0xF


def test_register_prints_the_fields_that_are_set():
    registers = drive(RegisterFile.open(Machine().transport))
    assert str(drive(registers.read("VER"))) == "VER=0x50 (MAX=0x5)"
    assert str(drive(registers.read("FSTS"))) == "FSTS=0x0 (all fields 0)"


def test_unknown_field_is_named_with_those_there_are():
    registers = drive(RegisterFile.open(Machine().transport))
    with pytest.raises(KeyError, match=r"GSTS has no field 'TE'; it has .*TES"):
        _ = drive(registers.read("GSTS"))["TE"]


def test_fault_and_invalidation_registers_are_found_behind_the_capabilities():
    machine = Machine(straps=straps_with(fault_record_offset=0x30, invalidation_offset=0x51))
    registers = drive(RegisterFile.open(machine.transport))
    assert registers.offset("IVA") == 0x510
    assert registers.offset("IOTLB") == 0x518
    assert registers.offset("FRCD", 2) == 0x320


def test_value_that_does_not_fit_is_refused():
    with pytest.raises(ValueError, match=r"CCMD\.DID: 0x10000 does not fit in 16 bits"):
        compose("CCMD", DID=0x10000)


def test_value_is_composed_in_place():
    assert compose("CCMD", ICC=1, CIRG=3, FM=2, SID=0x18, DID=3) == 1 << 63 | 3 << 61 | 2 << 32 | 0x18 << 16 | 3


def test_command_waits_for_its_status_and_keeps_the_other_levels():
    machine = Machine(command_cycles=100)
    registers = drive(RegisterFile.open(machine.transport))
    drive(registers.command(command="SRTP", status="RTPS"))
    drive(registers.command(command="TE", status="TES"))
    drive(registers.command(command="SRTP", status="RTPS"))
    status = drive(registers.read("GSTS"))
    assert status["TES"] == 1
    assert status["RTPS"] == 1
    assert machine.device.protocol_errors == []


def test_command_can_turn_a_level_off():
    machine = Machine(command_cycles=100)
    registers = drive(RegisterFile.open(machine.transport))
    drive(registers.command(command="TE", status="TES"))
    drive(registers.command(command="TE", status="TES", value=0))
    assert drive(registers.read("GSTS"))["TES"] == 0


def test_command_that_never_ends_is_a_timeout_with_its_numbers():
    registers = drive(RegisterFile.open(Machine(command_cycles=1 << 40).transport))
    with pytest.raises(RegisterTimeout, match=r"GSTS did not become TES=1 within \d+ cycles; it reads GSTS=0x0") as caught:
        drive(registers.command(command="TE", status="TES"))
    assert caught.value.cycles >= 200_000
