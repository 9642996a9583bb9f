"""What the tests of the two kernels share: a machine that an old one has left, and what its devices reach."""
from pathlib import Path

from hw.spec.capabilities import straps_from_capabilities
from hw.spec.dma import Access, Status
from sw.capture import Capture
from sw.new_kernel import NewKernelPlan, run_new_kernel
from sw.old_kernel import run_old_kernel
from tests.sw.machine import Machine, drive

ROOT = Path(__file__).parents[2]
CAPTURES = ROOT / "tests" / "data" / "real-tables"
KEY = bytes(range(16))
PHASE_REGISTER, GCMD, RTADDR = 0x2_0008, 0x18, 0x20
GCMD_TE, GCMD_QIE = 1 << 31, 1 << 26
SMALL_DEVICE, SMALL_DOMAIN = 0x0040, 8  # 14 pages
OFFSET = 0x20_0000_0000


def machine_of(capture):
    return Machine(straps=straps_from_capabilities(capture.cap.value, capture.ecap.value))


def old_kernel(name="legacy48", preserved=None):
    """A machine that an old kernel has left; every device has used what it has."""
    capture = Capture.load(CAPTURES / name)
    machine = machine_of(capture)
    report = drive(run_old_kernel(machine.transport, capture, key=KEY, cycles=100, preserved=preserved, say=lambda _: None))
    for probe in capture.probes:
        reaches(machine, probe)
    machine.transport.log.clear()
    return capture, machine, report


def new_kernel(machine, **plan):
    return drive(run_new_kernel(machine.transport, NewKernelPlan(KEY, **plan), say=lambda _: None))


def reaches(machine, probe):
    """Where a probe's request lands, or None."""
    result = machine.device.dma(probe.source_id, probe.iova, Access.WRITE if probe.write else Access.READ)
    return result.hpa if result.status is Status.OK else None


def expected(probe):
    return {"ok": probe.hpa, "pass": probe.iova, "fault": None}[probe.result]


def comparable(capture):
    """Probes whose outcome the specification and the independent implementation see alike."""
    return [probe for probe in capture.probes if probe.result != "pass" or probe.iova < 1 << capture.cap["MGAW"] + 1]


