"""The update port as registers, of a machine with no gateware: a store takes place when its command is written. Ours."""
from hw.spec.bench import UpdateCommand, UpdateOperation, UpdateRegister, UpdateStatus
from hw.spec.codec import encode
from sim.model.fields import field
from sim.model.memory import AccessError, Memory

__all__ = ["UpdateWindow"]

_OPERATION = field(UpdateCommand, "operation")
_ARMED = field(UpdateCommand, "armed")


class UpdateWindow:
    """Registers of hw.spec.bench.UpdateRegister, and the stores that they command.

    An armed store is triggered at once: there is no traffic to wait for.
    """

    def __init__(self, memory: Memory) -> None:
        self._memory = memory
        self._values: dict[int, int] = dict.fromkeys(UpdateRegister, 0)

    def read(self, offset: int) -> int:
        """A register; zero where there is none."""
        return self._values.get(offset, 0)

    def write(self, offset: int, value: int, cycle: int) -> None:
        """Write a register; COMMAND stores."""
        self._values[offset] = value
        if offset == UpdateRegister.COMMAND:
            self._store(value, cycle)

    def _store(self, command: int, cycle: int) -> None:
        window = self._values
        expected = window[UpdateRegister.EXPECTED_HIGH] << 64 | window[UpdateRegister.EXPECTED_LOW]
        desired = window[UpdateRegister.DESIRED_HIGH] << 64 | window[UpdateRegister.DESIRED_LOW]
        address, observed, swapped, error = window[UpdateRegister.ADDRESS], 0, 0, 0
        try:
            observed = self._memory.read128(address & ~0xF)
            if _OPERATION.get(command) == UpdateOperation.STORE_64.value:
                self._memory.store64(address, window[UpdateRegister.DESIRED_LOW])
                swapped = 1
            else:
                swapped = int(self._memory.compare_exchange128(address, expected, desired) == expected)
        except (AccessError, ValueError):
            error = 1
        window[UpdateRegister.STATUS] = encode(
            UpdateStatus, swapped=swapped, error=error, triggered=_ARMED.get(command))
        window[UpdateRegister.OBSERVED_LOW] = observed & (1 << 64) - 1
        window[UpdateRegister.OBSERVED_HIGH] = observed >> 64
        window[UpdateRegister.COMMIT_CYCLE] = cycle
