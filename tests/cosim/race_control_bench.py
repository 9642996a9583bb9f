"""W8 on a machine with a bug of our choice, run in the simulator by test_race_sweep.py: the device is the traffic engine's.

The host starts the device and rings the doorbell, one after the other, so placements close to each other are left out.
"""
import cocotb

from hw.spec.tables import PAGE_BITS
from sim.bench import Bench, give_result, run_config
from sim.stories.race_machine import FAST_QUEUE, GAP_CYCLES, NEIGHBOUR, PAGE, PLAYS, SOURCE_ID, RaceMachine
from sim.stories.race_sweep import sweep
from sim.transport import CosimTransport
from sw.intervals import Permission
from sw.traffic import TrafficEngine, TrafficPage
from tests.cosim.sabotage import Sabotage

_OLD, _NEW = 1 << 40, 1 << 41
_SLOWEST_GAP = 255
_STARTED_CYCLES = 40   # until requests come, whatever the engine was at


class EngineDevice:
    """A device of the traffic engine that reads and writes, with a list of the neighbour, then the page."""

    def __init__(self, bench):
        self._bench = bench
        self._engine = TrafficEngine(CosimTransport(bench))
        self._listed = False

    async def _visit(self, entry):
        """Let it begin on one entry of its list."""
        if not self._listed:
            self._bench.memory.set_signed_pages(range(_OLD >> PAGE_BITS, 2 * _NEW >> PAGE_BITS))
            await self._engine.write_pages(0, [TrafficPage(page, _OLD + page, _NEW + page, Permission.READ_WRITE)
                                               for page in (NEIGHBOUR, PAGE)])
            await self._engine.expect(0, old_domain_id=1, new_domain_id=2, new_permitted=True)
            self._listed = True
        await self._engine.configure_device(0, source_id=SOURCE_ID, first_page=entry, page_count=1)

    async def warm(self):
        """As Device; it may read more than once."""
        await self._bench.pause(_SLOWEST_GAP)   # as long as the engine may still wait
        await self._visit(0)
        await self._engine.run(outstanding_limit=1, gap_cycles=GAP_CYCLES)
        await self._bench.pause(_STARTED_CYCLES)
        await self.stop()

    async def place(self, offset, ring, *, lone):
        """As Device, about."""
        await self._bench.pause(_SLOWEST_GAP)   # as long as the engine may still wait
        await self._visit(1)
        if offset < 0:
            await ring()
            await self._bench.pause(-offset)
        await self._engine.run(outstanding_limit=64, gap_cycles=_SLOWEST_GAP if lone else GAP_CYCLES)
        if offset >= 0:
            await self._bench.pause(max(1, offset))
            await ring()
        await self._bench.pause(_STARTED_CYCLES)

    async def probe(self, *, lone):
        """As Device."""
        await self._bench.pause(_SLOWEST_GAP + _STARTED_CYCLES if lone else _STARTED_CYCLES)

    async def stop(self):
        """As Device."""
        await self._engine.stop()
        await self._engine.wait_idle(cycles=10_000)


@cocotb.test()
async def swept(dut):
    """Both forms, by the machine as it is and with a bug; then placements that hang, and one more without the bug."""
    config = run_config()
    bench = Bench(dut, deadline_cycles=1 << 40, keep_events=False)
    found = {}
    for bug in (Sabotage.NONE, Sabotage.MARKED_WALK_FILLS):
        bench.set_port("sabotage", Sabotage.NONE)
        machine = await RaceMachine.start(bench, latency=config["latency"], fetch_delay=FAST_QUEUE,
                                          make_device=EngineDevice)
        bench.set_port("sabotage", bug)
        found[bug.name] = {form: await sweep(machine, form, config["offsets"], exact=False) for form in ("iotlb", "context")}
    found["hangs"] = []
    for bug in (Sabotage.ANSWER_LOST, Sabotage.ANSWER_LOST, Sabotage.NONE):
        bench.set_port("sabotage", bug)
        found["hangs"].append((await machine.page_changes(40, PLAYS[0])).hang)
    give_result(found)
