"""The tests that `make test` leaves to `make regress`, for its time. Ours.

Most are more of what another test of the same sentence samples. Some are sentences of their own: the other negative controls
of a formal contract, and that a long fuzz run has seen everything there is.

Of tests of single blocks that have many sets of parameters a sample is kept, by rule. For the rest, a row is a pattern that the
ID of a test must contain, and what `make test` keeps of the same sentence. The whole collection must have a test for each row.
`make test ARGS="-m regress"` runs what is deferred alone.
"""
import re
from collections import Counter

__all__ = ["DEFERRED", "deferred"]

DEFERRED = {
    # What the gateware and its golden model say of random machines.
    r"cosim/test_fuzz\.py::test_.*\[220\]": "60 machines; make fuzz plays as many as one likes",
    r"cosim/test_fuzz\.py::test_a_lie_is_found_and_made_small\[(slow_head|early_status)": "the lie about a page",
    r"cosim/test_vectors\.py::test_(random_images_agree|directed_case)\[39-": "all of 48 bits",
    r"cosim/test_replay(_driver)?\.py::test_.*\[(ident39|legacy39seq)\]": "two captures of four",
    # Sweeps: a sample of each form, queue latency and number of devices is kept.
    r"cosim/test_race_sweep\.py::test_.*\[everything\]": "six offsets at five memory latencies",
    r"cosim/test_swap_sweep\.py::test_.*\[everything\]": "15 phases",
    # Negative controls of the contracts: one of each is kept.
    r"formal/test_invalidation_queue\.py::test_a_broken_queue_.*\[(?!hurries)": "the queue that hurries",
    r"formal/test_iotlb\.py::test_broken_iotlb_.*\[(?!mixes)": "the IOTLB that mixes up lines",
    r"formal/test_memory_arbiter\.py::test_broken_.*\[(?!misdelivers)": "the arbiter that misdelivers",
    r"formal/test_stream\.py::test_broken_.*\[(?!loses)": "the queue that loses",
    r"formal/test_update_port\.py::test_broken_.*\[(?!tears)": "the port that tears",
    # Products of parameters: the ends and one between are kept.
    r"hw/iommu/test_queue_enable\.py::test_a_queue_of_any_size_.*\[(?!0-|.*-[07]\])": "each size at page 0, the ends at any page",
    r"hw/iommu/test_descriptor_fetcher\.py::test_a_fetch_that_has_started_.*\[(1|2|4|5|7|8|10|11|12)-": "every third offset",
    r"hw/iommu/test_unit\.py::test_every_kind_of_build_elaborates\[changes[0124]-": "wide words in parts",
    r"hw/iommu/test_iotlb_account\.py::test_every_lookup_of_a_random_run_is_right\[[1-4]-": "a run of narrow words",
    r"hw/iommu/test_page_walker_joins\.py::test_whatever_the_crowd_.*-[02]\]": "one crowd of each word's width",
    r"hw/fpga/test_boards\.py::test_the_plan_of_a_build_.*\[(?!ulx3s)": "the board for which a bitstream is built",
    r"hw/top/test_board_top\.py::test_a_page_that_is_": "that no lamp is lit without cause",
    r"hw/traffic/test_full_rate\.py::test_sixteen_devices_.*RANDOM-10000": "the sequential pattern",
}

SAMPLED = "tests/hw/"
"""Of a test in this folder that has more than three sets of parameters, every fourth one is kept, the first included."""
_MANY, _EVERY = 3, 4

_PATTERN = re.compile("|".join(DEFERRED))


def deferred(node_ids: list[str]) -> set[str]:
    """Those of these tests that `make test` leaves to `make regress`; all of a file's tests are to be among them."""
    functions = [node_id.partition("[")[0] for node_id in node_ids]
    sets, seen = Counter(functions), Counter[str]()
    found = set()
    for node_id, function in zip(node_ids, functions, strict=True):
        left_out = function.startswith(SAMPLED) and sets[function] > _MANY and seen[function] % _EVERY
        seen[function] += 1
        if left_out or _PATTERN.search(node_id):
            found.add(node_id)
    return found
