"""Experiments on a whole machine with real tables, run in the simulator by test_lab.py: good drivers, and bad ones."""
from pathlib import Path

import cocotb

from hw.spec.bench import (
    DEVICE_BASE,
    DEVICE_STRIDE,
    POISON_BYTE,
    TRAFFIC_BASE,
    DeviceConfig,
    DeviceField,
    Phase,
    TrafficRegister,
)
from hw.spec.codec import decode, encode
from hw.spec.tables import PAGE_BYTES, ContextEntry
from sim.bench import give_result
from sim.stories.lab import Lab
from sw.strategies import AtomicSwap, BreakBeforeMake
from tests.cosim.leaves import leaf_place

_CAPTURE = Path(__file__).parents[1] / "data" / "real-tables" / "hwpt48"
_SETTLED = 3000


async def _running(dut):
    lab = await Lab.open(dut, _CAPTURE)
    iommu = await lab.boot()
    device = lab.experiment.devices[0]
    new = await lab.rebuild(iommu, device)
    await lab.run(_SETTLED)
    return lab, iommu, device, new


async def _entries(lab, device, new):
    """The context entry as it is, and as it is to be."""
    old = int.from_bytes(await lab.transport.read_memory(device.entry_hpa, 16), "little")
    return old, new.context_entry()


async def _judged(lab, device):
    await lab.run(_SETTLED)
    outcome = await lab.finish()
    give_result({"broken": sorted(outcome.broken_laws), "unfinished": sorted(outcome.unfinished),
                 "counters": outcome.devices[device.source_id],
                 "violations": {law: row["violations"] for law, row in outcome.laws.items() if row["violations"]}})


@cocotb.test()
async def atomic_swap(dut):
    """The whole entry in one access, then the invalidations."""
    lab, iommu, device, new = await _running(dut)
    await iommu.replace(device.source_id, new, AtomicSwap(armed=True))
    await _judged(lab, device)


@cocotb.test()
async def break_before_make(dut):
    """The control."""
    lab, iommu, device, new = await _running(dut)
    await iommu.replace(device.source_id, new, BreakBeforeMake())
    await _judged(lab, device)


@cocotb.test()
async def torn_pointer_first(dut):
    """Two plain stores, the table pointer before the domain ID, with time for a fetch between them."""
    lab, iommu, device, new = await _running(dut)
    old, desired = await _entries(lab, device, new)
    await lab.transport.store64(device.entry_hpa, desired & (1 << 64) - 1)
    await iommu.invalidation.context_device(
        device.source_id, decode(ContextEntry, old).domain_id)  # as an eviction would: the unit fetches again
    await lab.run(500)
    await lab.transport.store64(device.entry_hpa + 8, desired >> 64)
    await _judged(lab, device)


@cocotb.test()
async def freed_too_early(dut):
    """The old tables of leaves poisoned straight after the exchange, with no invalidation at all."""
    lab, _, device, new = await _running(dut)
    old, desired = await _entries(lab, device, new)
    leaves = {leaf_place(lab, page.iova) & -PAGE_BYTES for page in device.pages}
    assert await lab.transport.compare_exchange128(device.entry_hpa, old, desired) == old
    for table in leaves:
        await lab.transport.write_memory(table, bytes([POISON_BYTE]) * PAGE_BYTES)
    await _judged(lab, device)


@cocotb.test()
async def never_invalidated(dut):
    """The exchange, and then nothing."""
    lab, _, device, new = await _running(dut)
    old, desired = await _entries(lab, device, new)
    assert await lab.transport.compare_exchange128(device.entry_hpa, old, desired) == old
    await _judged(lab, device)


@cocotb.test()
async def bus_mastering_withdrawn_during_handover(dut):
    """A kernel that stops a device which was to go on, for a while."""
    lab, _, device, _ = await _running(dut)
    await lab.transport.write_register(TRAFFIC_BASE + TrafficRegister.PHASE, 8, Phase.KEXEC.value)
    config = TRAFFIC_BASE + DEVICE_BASE + DEVICE_STRIDE * device.index + DeviceField.CONFIG
    running = await lab.transport.read_register(config, 8)
    await lab.transport.write_register(config, 8, running & ~encode(DeviceConfig, bus_master=1))
    await lab.run(200)
    await lab.transport.write_register(config, 8, running)
    await _judged(lab, device)


@cocotb.test()
async def translation_off_during_handover(dut):
    """A kernel that turns translation off and on again between two others."""
    lab, iommu, device, _ = await _running(dut)
    await lab.transport.write_register(TRAFFIC_BASE + TrafficRegister.PHASE, 8, Phase.KEXEC.value)
    await iommu.registers.command(command="TE", status="TES", value=0)
    await lab.run(200)
    await iommu.registers.command(command="TE", status="TES", value=1)
    await _judged(lab, device)
