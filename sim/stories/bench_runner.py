"""The cocotb side of `make bench`: measures the cases that it is given, one after the other, in one simulator.

Leaves `case-<n>.value.json` for each as soon as it is done, and says so in the log.
"""
import time
from typing import Any

import cocotb

from sim.bench import Bench, give_result, run_config
from sim.measure.case import Case
from sim.measure.recorded_bench import RecordedBench
from sim.stories.bench_commands import ALL_WORKLOADS
from sw.errors import DriverError

__all__ = ["DONE", "measure", "value_name"]

DONE = "bench: measured case "

_DEADLINE_CYCLES = 2_000_000_000
_RECORDED = {"sim_speed"}


def value_name(number: int) -> str:
    """Name of the result of the case with that number."""
    return f"case-{number:04}"


@cocotb.test()
async def measure(dut: Any) -> None:
    """All of them. One that fails does not keep the others from being measured: its result says why."""
    for number, fields in enumerate(run_config()["cases"]):
        case = Case(**fields)
        kind = RecordedBench if case.bench in _RECORDED else Bench
        bench = kind(dut, deadline_cycles=_DEADLINE_CYCLES, keep_events=False)
        began = time.monotonic()
        result: dict[str, Any] = {"case": fields}
        try:
            result["observed"] = await ALL_WORKLOADS[case.bench](bench, case)
        except (AssertionError, DriverError) as error:
            result["error"] = f"{type(error).__name__}: {error}"
        result |= {"cycles": bench.cycle, "seconds": round(time.monotonic() - began, 2)}
        give_result(result, name=value_name(number))
        print(f"{DONE}{number}", flush=True)
