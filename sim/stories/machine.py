"""The simulated machine of the demo, as a process of its own: kernels come and go over a socket, the DMA never stops.

Run by sim/stories/demo.py in a simulator; leaves `result.json`, the event log and the waveforms in the run's folder.
"""
from pathlib import Path
from typing import Any

import cocotb

from hw.spec.events import EventKind, MessageKind, Verdict
from sim.bench import Bench, give_result, run_config
from sim.events import detail_column, of_kind
from sim.serve import serve
from sim.stories.evidence import blocked_windows, stores_into_entries
from sim.stories.experiment import Experiment
from sim.stories.lab import Lab
from sim.waves import write_waves
from sw.capture import Capture

__all__ = ["machine"]

_TAIL_CYCLES = 4000        # traffic goes on after the new kernel's work is done
_WAVE_MARGIN = 300         # cycles before and after the replacement that the waveform shows
_PROBE_CYCLES = 400


@cocotb.test()
async def machine(dut: Any) -> None:
    """Serve an old and a new kernel, then judge."""
    config = run_config()
    experiment = Experiment.of(Capture.load(Path(config["capture"])), dropped=config["dropped"],
                               relocate={int(key): value for key, value in config["relocate"].items()})
    bench = Bench(dut, deadline_cycles=config["deadline_cycles"])
    lab = Lab(bench, experiment, cold=config["cold"])
    await lab.start(latency=config["latency"])
    gaps: list[tuple[int, int]] = []
    sessions = await serve(lab.transport, config["address"], gap_cycles=config["gap_cycles"],
                           on_connect=lambda: gaps.append((bench.cycle, 0)),
                           on_disconnect=lambda _session: gaps.append((bench.cycle, 1)))
    await bench.pause(_TAIL_CYCLES)
    await lab.quiesce()
    cycles, speed = bench.cycle, bench.cycles_per_second
    counters = {device.source_id: await lab.counters(device) for device in experiment.devices}
    log = bench.log
    laws = lab.judge.verdict()
    faults = of_kind(log, EventKind.FAULT)
    dropped = await _probe_dropped(lab)
    stores = stores_into_entries(log, experiment)
    give_result({
        "devices": [{"source_id": device.source_id, "preserved": device.preserved, "pages": len(device.pages),
                     "old_domain_id": device.old_domain_id, "new_domain_id": device.new_domain_id,
                     "copied": any(page.old_hpa != page.new_hpa for page in device.pages),
                     "faulted": int((faults["source_id"] == device.source_id).sum()),
                     **counters[device.source_id]} for device in experiment.devices],
        "stores": stores, "windows": blocked_windows(log, experiment), "laws": laws, "dropped": dropped,
        "sessions": [{"operations": each.operations, "errors": each.errors} for each in sessions],
        "free_pages": sorted(lab.judge.free_pages), "gap_dma": _dma_between(log, gaps),
        "cycles": cycles, "cycles_per_second": round(speed),
        "events": len(log), "messages": _messages(log),
    })
    mine = [store for store in stores if store["source_id"] == config["wave_source_id"]]
    if mine:
        ends = [mine[-1]["commit_cycle"], mine[0]["invalidated_cycle"] or 0]
        write_waves(Path(f"{config['name']}.vcd"), log, source_ids=[config["wave_source_id"]],
                    first=mine[0]["commit_cycle"] - _WAVE_MARGIN, last=max(ends) + _WAVE_MARGIN)


def _messages(log: Any) -> dict[str, int]:
    """How often the unit stored something of its own accord, by what it was."""
    kinds = of_kind(log, EventKind.MESSAGE)["tag"]
    return {kind.name.lower(): int((kinds == kind).sum()) for kind in MessageKind if kind is not MessageKind.RESERVED_3}


async def _probe_dropped(lab: Lab) -> list[dict[str, int]]:
    """Let each device that was not preserved try: how many DMAs it made, and how many were blocked."""
    result = []
    for device in lab.experiment.devices:
        if not device.preserved:
            before = await lab.counters(device)
            await lab.bus_master(device, enabled=True)
            await lab.start_traffic()
            await lab.bench.pause(_PROBE_CYCLES)
            await lab.quiesce()
            after = await lab.counters(device)
            result.append({"source_id": device.source_id, "tried": after["issued"] - before["issued"],
                           "blocked": after["blocked"] - before["blocked"]})
    return result


def _dma_between(log: Any, marks: list[tuple[int, int]]) -> int:
    """DMAs done well between the first disconnection and the next connection: nobody but the devices was there."""
    ends = [cycle for cycle, gone in marks if gone]
    begins = [cycle for cycle, gone in marks if not gone]
    if not ends or len(begins) < 2:
        return 0
    done = of_kind(log, EventKind.DONE)
    good = (done["cycle"] >= ends[0]) & (done["cycle"] < begins[1]) & (detail_column(done, "verdict") == Verdict.OLD)
    return int(good.sum())
