"""Strategies: what each prints that it will do, and that it does just that, in that order."""
import pytest

from hw.spec.bench import UPDATE_BASE, Phase, UpdateRegister, UpdateStatus
from hw.spec.codec import encode
from sw.armed_update import ArmedUpdate, Arming
from sw.errors import EntryChanged, UpdateRefused
from sw.invalidation import RegisterInvalidation
from sw.registers import RegisterFile
from sw.strategies import AtomicSwap, BreakBeforeMake, Run
from sw.traffic import TrafficEngine
from tests.sw.machine import Machine, drive

SOURCE_ID, ENTRY = 0x0018, 0x6180
OLD = 0x111001 | 2 << 64 | 3 << 72
NEW = 0x222001 | 2 << 64 | 103 << 72
LOW = (1 << 64) - 1
PHASE, CCMD, IOTLB = 0x2_0008, 0x28, 0xF8

CONTEXT_OF_OLD = ("register", CCMD, 1 << 63 | 3 << 61 | SOURCE_ID << 16 | 3)
IOTLB_OF_OLD = ("register", IOTLB, 1 << 63 | 2 << 60 | 3 << 48 | 3 << 32)


def phase(which):
    return "register", PHASE, which.value


def execute(strategy, *, machine=None, in_memory=OLD):
    machine = machine or Machine()
    machine.memory.write(ENTRY, in_memory.to_bytes(16, "little"))
    registers = drive(RegisterFile.open(machine.transport))
    run = Run(machine.transport, RegisterInvalidation(registers), ArmedUpdate(machine.transport),
              TrafficEngine(machine.transport), ENTRY)
    for step in strategy.steps(SOURCE_ID, OLD, NEW):
        drive(step.execute(run))
    return machine, run


def entry(machine):
    return int.from_bytes(machine.memory.read(ENTRY, 16), "little")


def test_atomic_swap_is_one_exchange_then_context_then_iotlb_by_the_old_domain_id():
    machine, _ = execute(AtomicSwap())
    assert machine.transport.log == [phase(Phase.SWAP), ("exchange", ENTRY, NEW), phase(Phase.INVALIDATE),
                                     CONTEXT_OF_OLD, IOTLB_OF_OLD]
    assert entry(machine) == NEW
    assert machine.device.protocol_errors == []


def test_break_before_make_shows_not_present_until_the_old_is_invalidated():
    machine, _ = execute(BreakBeforeMake())
    assert machine.transport.log == [
        phase(Phase.BREAK), ("store64", ENTRY, OLD & LOW & ~1),
        phase(Phase.INVALIDATE), CONTEXT_OF_OLD, IOTLB_OF_OLD,
        phase(Phase.MAKE), ("store64", ENTRY + 8, NEW >> 64), ("store64", ENTRY, NEW & LOW)]
    assert entry(machine) == NEW


def test_cold_break_before_make_invalidates_before_the_break_too():
    machine, _ = execute(BreakBeforeMake(cold=True))
    assert machine.transport.log[:4] == [CONTEXT_OF_OLD, IOTLB_OF_OLD, phase(Phase.BREAK),
                                         ("store64", ENTRY, OLD & LOW & ~1)]
    assert machine.transport.log[4:] == execute(BreakBeforeMake())[0].transport.log[2:]


def test_strategies_print_their_steps():
    assert [str(step) for step in AtomicSwap().steps(SOURCE_ID, OLD, NEW)] == [
        "phase SWAP",
        f"compare-exchange of 128 bits: {OLD:#034x} -> {NEW:#034x}",
        "phase INVALIDATE",
        "invalidate the cached context of device 0x0018, domain 3; wait",
        "invalidate the IOTLB of domain 3 and drain; wait",
    ]
    assert [str(step) for step in BreakBeforeMake().steps(SOURCE_ID, OLD, NEW)][1] == (
        "store of 64 bits: word 0 := 0x0000000000111000 (not present)")
    assert "armed for device 0x0018" in str(AtomicSwap(armed=True).steps(SOURCE_ID, OLD, NEW)[1])


def test_armed_swap_goes_through_the_update_window_with_its_condition():
    machine, run = execute(AtomicSwap(armed=True, offset_cycles=7))
    window = {place - UPDATE_BASE: value for kind, place, value in machine.transport.log
              if kind == "register" and UPDATE_BASE <= place < UPDATE_BASE + 0x1000}
    assert window == {UpdateRegister.ADDRESS: ENTRY, UpdateRegister.EXPECTED_LOW: OLD & LOW,
                      UpdateRegister.EXPECTED_HIGH: OLD >> 64, UpdateRegister.DESIRED_LOW: NEW & LOW,
                      UpdateRegister.DESIRED_HIGH: NEW >> 64,
                      UpdateRegister.COMMAND: 0b10 | SOURCE_ID << 16 | 7 << 32}
    assert entry(machine) == NEW
    assert run.triggered
    assert 0 < run.commit_cycle < machine.device.cycle


@pytest.mark.parametrize("armed", [False, True])
def test_entry_that_is_not_what_the_plan_was_made_for_is_left_alone_and_both_values_named(armed):
    machine = Machine()
    with pytest.raises(EntryChanged) as caught:
        execute(AtomicSwap(armed=armed), machine=machine, in_memory=OLD | 2)
    assert f"{OLD:#034x}" in str(caught.value)
    assert f"{OLD | 2:#034x}" in str(caught.value)
    assert entry(machine) == OLD | 2
    assert CONTEXT_OF_OLD not in machine.transport.log


class BusyWindow(Machine):
    """An update port that shows one status for ever."""

    def __init__(self, status):
        super().__init__()
        read = self.transport.read_register

        async def read_register(offset, width):
            if offset == UPDATE_BASE + UpdateRegister.STATUS:
                return status
            return await read(offset, width)

        self.transport.read_register = read_register


def test_armed_store_whose_moment_never_comes_is_refused_with_its_numbers():
    machine = BusyWindow(encode(UpdateStatus, busy=1))
    update = ArmedUpdate(machine.transport, timeout_cycles=500)
    with pytest.raises(UpdateRefused, match=r"no walk and hit of device 0x0018 .* within 5\d\d cycles; .* still armed"):
        drive(update.exchange(ENTRY, expected=OLD, desired=NEW, arming=Arming(SOURCE_ID)))


def test_armed_store_that_memory_refuses_is_an_error_not_a_changed_entry():
    machine = BusyWindow(encode(UpdateStatus, error=1))
    with pytest.raises(UpdateRefused, match="the memory refused the address"):
        drive(ArmedUpdate(machine.transport).exchange(ENTRY, expected=OLD, desired=NEW, arming=Arming(SOURCE_ID)))
