"""The traffic engine's latency histogram on a whole machine, beside the event log; run in the simulator by test_latency.py."""
from collections import Counter as Tally
from pathlib import Path

import cocotb

from hw.spec.events import EventKind
from sim.bench import give_result
from sim.events import detail_of
from sim.stories.lab import Lab
from sw.traffic import TrafficEngine

_CAPTURE = Path(__file__).parents[1] / "data" / "real-tables" / "hwpt48"


def _latencies(events):
    """Cycles from each request to its reply: all of them, and those of hits."""
    begun, every, hits = {}, Tally(), Tally()
    for event in events:
        tag = int(event["tag"])
        if event["kind"] == EventKind.REQUEST:
            begun[tag] = int(event["cycle"])
        elif event["kind"] == EventKind.REPLY:
            latency = int(event["cycle"]) - begun.pop(tag)
            every[latency] += 1
            if detail_of(event).hit:
                hits[latency] += 1
    return every, hits


@cocotb.test()
async def misses_and_hits(dut):
    """From cold caches to warm ones: all devices, then one alone beside the others."""
    lab = await Lab.open(dut, _CAPTURE)
    engine = TrafficEngine(lab.transport)
    await lab.boot()
    told = []
    for device in (None, lab.experiment.devices[0]):
        await lab.quiesce()
        await engine.watch_latency(device and device.index)
        before = len(lab.bench.log)
        await lab.start_traffic()
        await lab.run(3000)
        await lab.quiesce()
        events = lab.bench.log[before:]
        if device:
            events = events[events["source_id"] == device.source_id]
        every, hits = _latencies(events)
        histogram = await engine.latency_histogram()
        told.append({"histogram": histogram, "longest": await engine.latency_max(),
                     "events": [every[latency] for latency in range(len(histogram))], "count": sum(every.values()),
                     "hits": sorted(hits)})
    give_result(told)
