# amaranth: UnusedElaboratable=no
"""How many sets a page-selective invalidation has to be looked for in. That they are the right ones is proved in formal."""

from amaranth import *
from amaranth.sim import Simulator

from hw.iommu.coverage import differing_set_bits
from hw.spec.invalidation import Granularity, Invalidation

GEOMETRIES = [(1, 6), (3, 8), (10, 3), (19, 3), (37, 3), (1, 1)]  # pages of a line and sets, both as powers of two


def test_a_range_of_lines_is_looked_for_in_as_many_sets_as_it_has_lines_and_any_other_in_all():
    m = Module()
    invalidation = Signal(Invalidation)
    results = []
    for region_bits, index_bits in GEOMETRIES:
        result = Signal(index_bits, name=f"result_{region_bits}_{index_bits}")
        m.d.comb += result.eq(differing_set_bits(invalidation, region_bits=region_bits, index_bits=index_bits))
        results.append(result)

    async def bench(ctx):
        for granularity in (Granularity.GLOBAL, Granularity.DOMAIN_SELECTIVE, Granularity.SELECTIVE):
            for mask in range(64):
                ctx.set(invalidation.granularity, granularity)
                ctx.set(invalidation.address_mask, mask)
                for result, (region_bits, index_bits) in zip(results, GEOMETRIES, strict=True):
                    lines_log2 = max(mask - region_bits, 0) if granularity == Granularity.SELECTIVE else index_bits
                    assert ctx.get(result) == (1 << min(lines_log2, index_bits)) - 1

    simulator = Simulator(m)
    simulator.add_testbench(bench)
    simulator.run()
