# amaranth: UnusedElaboratable=no
"""The IOTLB against an account in Python of what may be cached when: lookups in every cycle, fills and scans among.

Each set of each array has room for every key that is used in it, so that nothing is evicted and a miss needs an
invalidation, or a fill of its own line, as its reason.
"""

import random
from dataclasses import replace

import pytest

from hw.iommu.iotlb import Iotlb
from hw.spec.invalidation import Granularity
from hw.spec.tables import PageSize
from tests.hw.iommu.iotlb_bench import SIZES, SPAN
from tests.hw.iommu.request_path import SMALL, entry, invalidation, iotlb_line, put, simulate

PAGES_2M, PAGES_1G = SPAN[PageSize.SIZE_2M], SPAN[PageSize.SIZE_1G]
SETS = {
    PageSize.SIZE_4K: SMALL.iotlb_sets,
    PageSize.SIZE_2M: SMALL.superpage_sets,
    PageSize.SIZE_1G: SMALL.superpage_sets,
}
DOMAINS = [5, 6]


def line_pages(line):
    """The 4 KiB pages of a line: first and one beyond the last."""
    span = SPAN[line.page_size] * len(line.entries)
    first = line.iova_page // span * span
    return first, first + span


def covered(value, line):
    """Does the invalidation name anything of this line? By intervals of 4 KiB pages."""
    if value.granularity == Granularity.GLOBAL:
        return True
    if value.domain_id != line.domain_id:
        return False
    if value.granularity == Granularity.DOMAIN_SELECTIVE:
        return True
    first, beyond = line_pages(line)
    return value.page < beyond and first < value.page + (1 << value.address_mask)


def translation(line, iova_page):
    """What the line says of a page, as the IOTLB tells it; None if nothing."""
    found = line.entries[iova_page // SPAN[line.page_size] % len(line.entries)]
    if not found.valid:
        return None
    return (found.page, line.page_size, found.readable, found.writable, line.table_pointer)


def answers(found, read, write):
    """Does the page suffice, or is there none at all?"""
    _, _, readable, writable, _ = found
    return not (readable or writable) or (readable >= read and writable >= write)


class Account:
    """What was put in and what was taken out, by cycle."""

    def __init__(self):
        self.fills = []  # (cycle, line)
        self.invalidations = []  # (begin cycle, invalidation)

    def permitted(self, cycle, iova_page, domain_id, read, write):
        """Every result that a lookup compared in `cycle` may have."""
        results = []
        for size in SIZES:
            line, state = self._latest(cycle, size, iova_page, domain_id)
            found = None if line is None or state == "gone" else translation(line, iova_page)
            if found is None or not answers(found, read, write):
                continue
            results.append(found)
            if state == "certain":
                return results
        return [*results, None]

    def _latest(self, cycle, size, iova_page, domain_id):
        """The last line of its key to be written before the lookup's memory was read: a fill is written a cycle later."""
        state = None
        for arrived, line in reversed(self.fills):
            first, beyond = line_pages(line)
            if line.page_size != size or not first <= iova_page < beyond or line.domain_id != domain_id:
                continue
            if arrived == cycle - 2:
                state = "gone"  # its way is being written: neither the old line nor the new one
            elif arrived < cycle - 2:
                return line, state or self._state(cycle, arrived, line)
        return None, "gone"

    def _state(self, cycle, arrived, line):
        state = "certain"
        for begun, value in self.invalidations:
            if begun >= cycle or not covered(value, line):
                continue
            if arrived <= begun:
                return "gone"
            if arrived <= begun + SETS[line.page_size] + 3:
                state = "either"  # newer than the invalidation, but the scan may come by
        return state


@pytest.mark.parametrize(("seed", "memory_word_bits"), [(0, 128), (1, 128), (2, 128), (3, 512), (4, 512)])
def test_every_lookup_of_a_random_run_is_right(seed, memory_word_bits):
    config = replace(SMALL, memory_word_bits=memory_word_bits)
    entries = config.entries_per_word
    dut = Iotlb(config)
    generator = random.Random(seed)
    account = Account()
    outcomes = {"hit": 0, "miss": 0}
    pool = {  # first pages of the lines used: one for each set of their array, of either domain
        PageSize.SIZE_4K: [0, entries, PAGES_2M + 2 * entries, PAGES_1G + 3 * entries],
        PageSize.SIZE_2M: [0, PAGES_2M * entries],
        PageSize.SIZE_1G: [0, PAGES_1G * entries],
    }

    def random_page():
        return generator.choice(generator.choice(list(pool.values())))

    def random_entry():
        return entry(
            generator.getrandbits(40),
            valid=int(generator.random() < 0.8),
            readable=int(generator.random() < 0.9),
            writable=int(generator.random() < 0.7),
        )

    def random_fill():
        size = generator.choice(SIZES)
        return iotlb_line(
            [random_entry() for _ in range(entries)],
            domain_id=generator.choice(DOMAINS),
            iova_page=generator.choice(pool[size]) + generator.randrange(SPAN[size] * entries),
            page_size=size,
            table_pointer=generator.getrandbits(40),
        )

    def random_invalidation():
        mask = generator.choice([0, 1, 2, 3, 4, 9, 10, 18, 19])
        page = random_page() + generator.randrange(4 * entries)
        return invalidation(
            generator.choice(["IOTLB"] * 5 + ["CONTEXT_CACHE"]),
            generator.choice([Granularity.SELECTIVE] * 3 + [Granularity.DOMAIN_SELECTIVE, Granularity.GLOBAL]),
            domain_id=generator.choice(DOMAINS),
            page=page >> mask << mask,
            address_mask=mask,
        )

    async def bench(ctx):
        indexed = compared = None  # lookups in the pipeline
        rest, was_busy = 0, 0
        for cycle in range(700):
            if compared is not None:
                wanted, compare_cycle = compared
                found = None
                if ctx.get(dut.hit):
                    line = ctx.get(dut.line)
                    found = (line.page, line.page_size, line.readable, line.writable, line.table_pointer)
                assert found in account.permitted(compare_cycle, *wanted)
                outcomes["hit" if found is not None else "miss"] += 1
            if indexed is not None:
                _, domain_id, read, write = indexed
                ctx.set(dut.compared.domain_id, domain_id)
                ctx.set(dut.compared.needs_read, read)
                ctx.set(dut.compared.needs_write, write)
                compared = (indexed, cycle)
            needs = generator.choice([(1, 0), (0, 1), (1, 1)])
            page = random_page() + generator.choice([0, 0, 1, entries - 1, 511, PAGES_2M])
            indexed = (page, generator.choice(DOMAINS), *needs)
            ctx.set(dut.iova_page, page)
            ctx.set(dut.looked_up, generator.getrandbits(1))

            filling = generator.random() < 0.3
            ctx.set(dut.fill.valid, filling)
            if filling:
                line = random_fill()
                put(ctx, dut.fill.payload, line)
                account.fills.append((cycle, line))
            rest = max(rest - 1, 0)
            beginning = not was_busy and rest == 0 and generator.random() < (0.1 if seed % 2 else 0.4)
            was_busy = ctx.get(dut.busy)
            ctx.set(dut.invalidation.begin, beginning)
            if beginning:
                value = random_invalidation()
                put(ctx, dut.invalidation.payload, value)
                if value.kind.name == "IOTLB":
                    account.invalidations.append((cycle, value))
                rest = 2
            await ctx.tick()

    simulate(dut, bench)
    assert min(outcomes.values()) > 50
