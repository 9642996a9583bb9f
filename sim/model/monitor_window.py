"""The monitor window of a machine with no gateware: what it has counted, and CONTROL. Ours."""
from collections.abc import Callable

from hw.spec.monitor import MONITOR_COUNTERS, MonitorControl, MonitorRegister
from sim.model.fields import field
from sim.model.register_file import RegisterError

__all__ = ["MonitorWindow"]

_CLEAR = field(MonitorControl, "clear").mask
_STOP = field(MonitorControl, "stop").mask


class MonitorWindow:
    """Registers of hw.spec.monitor.MonitorRegister.

    Parameters
    ----------
    counts : callable() -> dict
        What has been counted since reset, by the counter's offset. What is missing was not counted: a model promises
        results, not cycles.
    """

    def __init__(self, counts: Callable[[], dict[int, int]]) -> None:
        self._counts = counts
        self._uncounted: dict[int, int] = {}             # happened before a clear, or while stopped
        self._stopped_at: dict[int, int] | None = None

    def read(self, offset: int) -> int:
        """A register. Raises RegisterError if there is none."""
        if offset == MonitorRegister.CONTROL:
            return 0 if self._stopped_at is None else _STOP
        if offset not in MONITOR_COUNTERS:
            raise RegisterError(f"no counter at {offset:#x} of the monitor window")
        counts = self._counts() if self._stopped_at is None else self._stopped_at
        return counts.get(offset, 0) - self._uncounted.get(offset, 0)

    def write(self, offset: int, value: int) -> None:
        """Write CONTROL. Raises RegisterError for anything else."""
        if offset != MonitorRegister.CONTROL:
            raise RegisterError(f"the monitor window is read only, but for CONTROL: {offset:#x}")
        now = self._counts()
        if self._stopped_at is not None:
            for place, count in now.items():
                self._uncounted[place] = self._uncounted.get(place, 0) + count - self._stopped_at.get(place, 0)
        if value & _CLEAR:
            self._uncounted = dict(now)
        self._stopped_at = dict(now) if value & _STOP else None
