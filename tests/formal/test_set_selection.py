# amaranth: UnusedElaboratable=no
"""A selective scan reaches every set that can hold a covered line: for every page, range, domain, and every build's sizes."""

import pytest
from amaranth import *
from amaranth.hdl import Assert, Assume
from amaranth.lib import wiring
from amaranth.lib.wiring import In
from amaranth.utils import ceil_log2

from hw.iommu.config import CONFIGS
from hw.iommu.coverage import covers_region, differing_set_bits
from hw.lib.match import fold
from hw.spec.invalidation import Granularity, Invalidation, InvalidationKind
from hw.spec.tables import LEVEL_BITS
from tests.formal.harness import Refuted

PAGE_BITS = 45


def geometries():
    """(pages of a line, sets), as powers of two, of every array that is scanned selectively."""
    found = set()
    for config in CONFIGS.values():
        line_bits = ceil_log2(config.entries_per_word)
        sets = {0: config.iotlb_sets, 1: config.superpage_sets, 2: config.superpage_sets}
        found |= {(LEVEL_BITS * size + line_bits, ceil_log2(number)) for size, number in sets.items()}
        sets = dict.fromkeys((3, 4, 5), config.upper_structure_sets) | {2: config.structure_sets}
        found |= {(LEVEL_BITS * (level - 1) + line_bits, ceil_log2(number)) for level, number in sets.items()}
    return sorted(found)


class SelectionSpec(wiring.Component):
    """Any line of each geometry, any invalidation. `flawed`: forgets the highest bit that differs."""

    invalidation: In(Invalidation)
    domain_id: In(16)
    page: In(PAGE_BITS)

    def __init__(self, *, flawed=False):
        self._flawed = flawed
        super().__init__()

    def elaborate(self, platform):
        m = Module()
        invalidation = self.invalidation
        m.d.comb += [
            Assume(invalidation.kind == InvalidationKind.IOTLB),
            Assume(invalidation.granularity != Granularity.RESERVED_0),
        ]
        for region_bits, index_bits in geometries():
            def set_of(page, region_bits=region_bits, index_bits=index_bits):
                return fold(page[region_bits:PAGE_BITS], index_bits)

            differing = differing_set_bits(invalidation, region_bits=region_bits, index_bits=index_bits)
            if self._flawed:
                differing = differing & (differing >> 1)
            covered = covers_region(
                invalidation, domain_id=self.domain_id, iova_page=self.page, region_bits=region_bits)
            scanned = ((set_of(self.page) ^ set_of(invalidation.page)) & ~differing) == 0
            m.d.comb += [
                Assert(~covered | scanned),
            ]
        return m


def test_every_set_that_can_hold_a_covered_line_is_scanned(formal):
    formal.holds(SelectionSpec(), depth=1)


def test_a_scan_that_leaves_sets_out_is_refuted(formal):
    with pytest.raises(Refuted, match=r"Assert\(~covered \| scanned\)"):
        formal.holds(SelectionSpec(flawed=True), depth=1)
