"""W9 on a machine with a bug of our choice, run in the simulator by test_swap_sweep.py."""
import cocotb

from sim.bench import Bench, give_result, run_config
from sim.measure.case import Case
from sim.stories.bench_commands import ALL_WORKLOADS
from tests.cosim.sabotage import Sabotage


@cocotb.test()
async def swept(dut):
    """A case, by the machine as it is and with the bugs that are asked for, each from a reset."""
    config = run_config()
    case = Case(**config["case"])
    bench = Bench(dut, deadline_cycles=1 << 40, keep_events=False)
    found = {}
    for bug in ("NONE", *config["bugs"]):
        bench.set_port("sabotage", Sabotage[bug])
        found[bug] = await ALL_WORKLOADS[case.bench](bench, case)
    give_result(found)
