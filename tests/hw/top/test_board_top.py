# amaranth: UnusedElaboratable=no
"""The board's design in simulation: it starts by itself, its lamps tell the truth."""

import pytest

from hw.iommu.config import IommuConfig
from hw.spec.memory import QUANTUM_BYTES
from hw.spec.tables import PAGE_BYTES
from hw.top import board_image
from hw.top.board_top import BoardTop
from tests.hw.iommu.bench import run
from tests.hw.iommu.unit_bench import SMALL

DEVICES, PAGES = 2, 2
WORDS_PER_PAGE = PAGE_BYTES // QUANTUM_BYTES
LEAVES = 4  # page of the last table
SECONDS_LIKE = 1500  # cycles, of which some 400 are spent on the list of accesses


def lamps(image):
    """How often `running` changed, and whether the other two were lit in the end."""
    dut = BoardTop(SMALL, devices=DEVICES, pages=PAGES, blink_bit=3, image=image)
    changes, before, end = 0, 0, (0, 0)

    async def watch(ctx):
        nonlocal changes, before, end
        for _ in range(SECONDS_LIKE):
            await ctx.tick()
            now = ctx.get(dut.running)
            changes, before = changes + (now != before), now
        end = ctx.get(dut.fault), ctx.get(dut.law_broken)

    run(dut, watch, cycles=2 * SECONDS_LIKE)
    return changes, *end


@pytest.fixture
def image():
    """The memory as a board starts with it."""
    return board_image.image(devices=DEVICES, pages=PAGES)


def test_dma_runs_without_fault_and_lands_where_it_should(image):
    changes, fault, law_broken = lamps(image)
    assert changes > 4
    assert (fault, law_broken) == (0, 0)


def test_a_page_that_is_not_mapped_lights_the_fault_lamp_alone(image):
    image[LEAVES * WORDS_PER_PAGE] &= (1 << 64) - 1  # page 1 is the entry in the high half
    _changes, fault, law_broken = lamps(image)
    assert (fault, law_broken) == (1, 0)


def test_a_page_that_is_another_one_lights_the_law_lamp_alone(image):
    first = image[LEAVES * WORDS_PER_PAGE] & (1 << 64) - 1
    image[LEAVES * WORDS_PER_PAGE] = first << 64 | first
    _changes, fault, law_broken = lamps(image)
    assert (fault, law_broken) == (0, 1)


def test_memory_words_of_512_bits_are_refused():
    with pytest.raises(ValueError, match="memory_word_bits must be 128 on a board, not 512"):
        BoardTop(IommuConfig(memory_word_bits=512))
