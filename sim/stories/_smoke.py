from pathlib import Path
import cocotb, time
from sim.bench import Bench, give_result
from sim.stories.experiment import Experiment
from sim.stories.lab import Lab
from sw.capture import Capture
from sw.old_kernel import run_old_kernel
from sw.new_kernel import run_new_kernel, NewKernelPlan
from sim.events import format_event
ROOT=Path(__file__).resolve().parents[2]
@cocotb.test()
async def smoke(dut):
    t=time.time()
    cap=Capture.load(ROOT/"tests/data/real-tables/legacy48")
    ex=Experiment.of(cap, dropped=[0x300], relocate={0x40: 1<<38})
    b=Bench(dut, deadline_cycles=300000)
    lab=Lab(b,ex)
    await lab.start()
    print("started", time.time()-t, b.cycle)
    key=b"k"*16
    r=await run_old_kernel(lab.transport, cap, key=key, cycles=3000, preserved=[d.source_id for d in ex.preserved], say=print)
    print(r, time.time()-t, b.cycle)
    for d in ex.devices: print(hex(d.source_id), await lab.counters(d))
    for e in b.log[:60]: print(format_event(e))
    r=await run_new_kernel(lab.transport, NewKernelPlan(key, armed=frozenset(d.source_id for d in ex.preserved), assign={d.old_domain_id:d.new_domain_id for d in ex.preserved}, relocate=ex.relocate), say=print)
    print(r, time.time()-t, b.cycle)
    await b.pause(3000)
    await lab.quiesce()
    for d in ex.devices: print(hex(d.source_id), await lab.counters(d))
    for k,v in lab.judge.verdict().items(): print(k,v)
    from sim.stories.evidence import stores_into_entries
    for s in stores_into_entries(b.log, ex): print(s)
    print(b.cycles_per_second, time.time()-t)
