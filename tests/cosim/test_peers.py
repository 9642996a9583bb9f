# amaranth: UnusedElaboratable=no
"""The legacy-mode cases of kvm-unit-tests' intel-iommu and of QEMU's intel-iommu qtests, by their names, on the whole unit.

Interrupt remapping ("IR IOAPIC", "IR MSI") and the scalable modes are not here: the unit has neither, and says so.
"""
import pytest

from sim.runner import run
from tests.cosim.peers_bench import (
    DEVICE,
    INVALIDATIONS,
    NEIGHBOUR,
    OTHER_A,
    OTHER_B,
    PAGE_A,
    PAGE_B,
    PATTERN,
    UNMAPPED,
)

WRITE_PERMISSION, READ_PERMISSION = 0x05, 0x06
PAGES = ("page", "other page", "other domain")
OLD = dict(zip(PAGES, (PAGE_A, OTHER_A, PAGE_A + 0x1000), strict=True))
NEW = dict(zip(PAGES, (PAGE_B, OTHER_B, PAGE_B + 0x1000), strict=True))
FORGOTTEN = {"nothing": (), "global": PAGES, "domain": PAGES[:2], "page": PAGES[:1], "two pages": PAGES[:2]}


@pytest.fixture(scope="module")
def peers(player):
    """What became of every case."""
    return run(player, "tests.cosim.peers_bench", seconds=120).value


def blocked(reason):
    return {"status": "BLOCKED", "hpa": 0, "reason": reason, "hit": False}


def landed(replies):
    """Where the writes of a round went."""
    return {name: reply["hpa"] if reply["status"] == "OK" else reply for name, reply in replies.items()}


def assert_unmapped(case, iova=UNMAPPED, source_id=DEVICE, protocol_errors=0):
    """The negative control: nothing was recorded before it, it is blocked both ways, and both are recorded."""
    unmapped = case["unmapped"]
    assert unmapped["protocol_errors"] == protocol_errors
    assert unmapped["before"] == 0
    assert [unmapped["write"]["status"], unmapped["read"]["status"]] == ["BLOCKED", "BLOCKED"]
    assert [unmapped["write"]["reason"], unmapped["read"]["reason"]] == [WRITE_PERMISSION, READ_PERMISSION]
    assert unmapped["records"] == [[source_id, iova, WRITE_PERMISSION, "WRITE"], [source_id, iova, READ_PERMISSION, "READ"]]
    assert not unmapped["overflowed"]


# --- kvm-unit-tests: x86/intel-iommu ---

def test_vtd_init_finds_no_fault_pending(peers):
    assert peers["vtd_init"]["FSTS"] == 0


@pytest.mark.parametrize(("number", "status"), [(0, "QIES"), (1, "RTPS"), (2, "TES")])
def test_vtd_init_sees_each_status_bit_after_its_command_and_not_before(peers, number, status):
    assert peers["vtd_init"]["steps"][number] == [status, 0, 1]


def test_vtd_init_finds_39_bit_tables_and_superpages(peers):
    cap = peers["vtd_init"]["CAP"]
    assert cap >> 8 & 0b00010    # SAGAW: 39 bits, three levels
    assert cap >> 34 & 0b0011    # SSLPS: 2 MiB and 1 GiB


def test_vtd_init_is_told_that_there_is_no_interrupt_remapping_and_its_commands_do_nothing(peers):
    assert peers["vtd_init"]["ECAP"] >> 3 & 1 == 0
    assert peers["vtd_init"]["errors_before"] == 0
    assert peers["vtd_init"]["refused"] == [["IRTPS", 0], ["IRES", 0]]


def test_vtd_init_leaves_a_unit_that_blocks_what_is_not_mapped(peers):
    assert_unmapped(peers["vtd_init"], iova=0, protocol_errors=2)   # the two that it was told it has not


def test_dmar_4b_memcpy(peers):
    case = peers["DMAR 4B memcpy"]
    assert (case["read"]["status"], case["read"]["hpa"]) == ("OK", PAGE_A)
    assert (case["write"]["status"], case["write"]["hpa"]) == ("OK", PAGE_A + 4)
    assert case["page"] == [PATTERN, PATTERN]
    assert_unmapped(case, iova=0x1000)


# --- QEMU: intel-iommu-test ---

def test_registers_have_their_reset_values(peers):
    """CAP: ND 6, 39, 48 and 57 bits, MGAW 57 bits, ZLR, FRO, both superpages, PSI, eight records, MAMV 18, DWD, DRD."""
    cap = (6 | 0b01110 << 8 | 56 << 16 | 1 << 22 | 0x22 << 24 | 0b11 << 34 | 1 << 39 | 7 << 40 | 18 << 48 | 0b11 << 54)
    ecap = 1 << 0 | 1 << 1 | 1 << 6 | 0xF << 8 | 1 << 52   # coherent, queue, pass-through, IRO, abort-DMA mode
    masked = 1 << 31
    not_zero = {"VER": 0x50, "CAP": cap, "ECAP": ecap, "FECTL": masked, "IECTL": masked}
    first, _ = peers["reset values"]["values"]
    assert {name: hex(value) for name, value in first.items() if value} == {name: hex(value) for name, value in not_zero.items()}


def test_reset_brings_them_back_after_use(peers):
    first, again = peers["reset values"]["values"]
    assert again == first
    assert_unmapped(peers["reset values"])


# --- QEMU: iommu-intel-test ---

def test_legacy_pt(peers):
    case = peers["legacy-pt"]
    assert (case["write"]["status"], case["write"]["hpa"], case["memory"]) == ("OK", PAGE_A, PATTERN)
    assert_unmapped(case, iova=PAGE_A, source_id=NEIGHBOUR)


def test_legacy_trans(peers):
    case = peers["legacy-trans"]
    assert (case["write"]["status"], case["write"]["hpa"], case["memory"]) == ("OK", PAGE_A, PATTERN)
    assert case["untranslated"] == 0
    assert_unmapped(case)


def test_legacy_trans_tells_of_its_fault_by_a_message(peers):
    assert peers["legacy-trans"]["message"] == PATTERN


@pytest.mark.parametrize("name", INVALIDATIONS)
def test_iotlb_inv_legacy_finds_the_stale_translation_before_the_invalidation(peers, name):
    case = peers["iotlb-inv"][name]
    assert landed(case["cold"]) == OLD
    assert landed(case["stale"]) == OLD
    assert all(reply["hit"] for reply in case["stale"].values())
    assert case["stale memory"] == [PATTERN + 1, 0]


@pytest.mark.parametrize("name", INVALIDATIONS)
def test_iotlb_inv_legacy_finds_the_new_page_where_it_was_invalidated_and_the_old_one_elsewhere(peers, name):
    case = peers["iotlb-inv"][name]
    assert landed(case["after"]) == {page: (NEW if page in FORGOTTEN[name] else OLD)[page] for page in PAGES}
    old, new = (PATTERN + 1, PATTERN + 2) if "page" in FORGOTTEN[name] else (PATTERN + 2, 0)
    assert case["memory"] == [old, new]
    assert {page: reply["hit"] for page, reply in case["after"].items()} == {
        page: page not in FORGOTTEN[name] for page in PAGES}


@pytest.mark.parametrize("name", INVALIDATIONS)
def test_iotlb_inv_legacy_blocks_what_is_not_mapped(peers, name):
    assert_unmapped(peers["iotlb-inv"][name])
