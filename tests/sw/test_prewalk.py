"""The pre-walk as the driver asks for it: registers by hand, and what a machine keeps of it."""
import pytest

from hw.spec.dma import Status
from hw.spec.tables import PageSize
from sw.errors import PrewalkRefused, RegisterTimeout
from sw.prewalk import Prewalk, prewalk
from tests.sim.test_model_device import ENTRY_A, IOVA, LEAF, A, machine
from tests.sw.machine import Machine, Recorder, drive

WINDOW = 0x1_C000
LOW, HIGH, SOURCE, PAGE, STATUS = (WINDOW + offset for offset in (0x00, 0x08, 0x10, 0x18, 0x20))
ENTRY = 0x7_02 << 64 | 0x8_0001     # domain 7, AW = 2, tables in page 0x80, present
DISTURBED, PENDING = 1 << 1, 1 << 16


class Slow(Recorder):
    """A machine whose STATUS shows these values, one at each look, the last for ever."""

    def __init__(self, *shown):
        super().__init__(Machine().device)
        self.shown = list(shown)
        self.paused = 0

    async def read_register(self, offset, width):
        assert (offset, width) == (STATUS, 8)
        return self.shown.pop(0) if len(self.shown) > 1 else self.shown[0]

    async def pause(self, cycles):
        self.paused += cycles


def test_each_page_is_asked_for_once_under_the_entry():
    transport = Recorder(Machine().device)
    done = drive(prewalk(transport, ENTRY, [0x5000, 0x5FFF, 0x12_3000, 0x5000], source_id=0x0310))
    assert done == Prewalk(2, False)
    assert transport.log == [
        ("register", LOW, 0x8_0001), ("register", HIGH, 0x702), ("register", SOURCE, 0x0310), ("register", STATUS, 0),
        ("register", PAGE, 5), ("register", PAGE, 0x123)]


def test_the_next_page_waits_until_the_one_before_has_been_taken_and_the_end_for_the_last():
    transport = Slow(0, PENDING | 1, PENDING | 1, PENDING, 2 * PENDING | 1, 2 * PENDING, PENDING, DISTURBED)
    assert drive(prewalk(transport, ENTRY, [0x5000, 0x6000], source_id=0)) == Prewalk(2, True)
    assert transport.paused == 32 * 4
    assert transport.shown == [DISTURBED]


@pytest.mark.parametrize(("status", "field"), [(PENDING | 1, "waiting"), (PENDING, "pending")])
def test_a_unit_that_does_not_get_on_is_a_timeout(status, field):
    with pytest.raises(RegisterTimeout, match=rf"pre-walk window did not become {field}=0 within .* reads {field}=1"):
        drive(prewalk(Slow(0, status), ENTRY, [0x5000], source_id=0, cycles=100))


@pytest.mark.parametrize(("entry", "iova"), [
    (ENTRY & ~1, 0x5000), (ENTRY | 2 << 2, 0x5000), (ENTRY | 1 << 5, 0x5000), (ENTRY, 1 << 48), (ENTRY, 0xFEE0_0000)])
def test_what_no_device_could_translate_is_refused(entry, iova):
    transport = Recorder(Machine().device)
    with pytest.raises(PrewalkRefused, match=f"no device could translate {iova:#x} under context entry 0x0+"):
        drive(prewalk(transport, entry, [iova, 0x4000], source_id=0))


def test_an_iova_that_is_none_is_refused_before_it_is_asked_for():
    with pytest.raises(ValueError, match="iova_page"):
        drive(prewalk(Recorder(Machine().device), ENTRY, [1 << 64], source_id=0))


def test_what_was_walked_ahead_is_kept_and_needs_an_invalidation():
    device, host = machine(stale=True)
    transport = Recorder(device)
    drive(prewalk(transport, device.memory.read128(ENTRY_A), [IOVA], source_id=A))
    before = device.memory.read64(LEAF)
    device.memory.store64(LEAF, before + (0x100 << 12))
    old = (before >> 12 & 0xFF_FFFF_FFFF) << 12
    first = device.dma(A, IOVA)
    assert (first.status, first.hpa, first.page_size) == (Status.OK, old, PageSize.SIZE_4K)
    host.invalidate_iotlb()
    assert device.dma(A, IOVA).hpa == old + (0x100 << 12)
