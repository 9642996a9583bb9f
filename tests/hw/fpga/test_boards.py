# amaranth: UnusedElaboratable=no
"""The table of boards against what amaranth-boards knows of them."""

import pytest

from hw.fpga import bitstream
from hw.fpga.boards import BoardPins, boards
from hw.top.board_image import LAMPS

BOARDS = boards()
BUILDABLE = [key for key, board in BOARDS.items() if not board.unbuildable]


def test_the_boards_are_those_that_the_readme_promises():
    assert set(BOARDS) == {"ulx3s_85f", "orangecrab_85f", "ecpix5_85f", "arty_a7_100"}
    assert set(BOARDS) - set(BUILDABLE) == {"arty_a7_100"}


@pytest.mark.parametrize("key", BOARDS)
def test_device_package_speed_and_clock_are_the_platforms(key):
    board, platform = BOARDS[key], BOARDS[key].make_platform()
    assert (platform.device, platform.package, platform.speed) == (board.device, board.package, board.speed_grade)
    assert platform.default_clk == board.clock
    assert platform.default_clk_frequency == board.clock_megahertz * 1e6


@pytest.mark.parametrize("key", BOARDS)
def test_pins_are_where_the_platform_has_them(key):
    board, platform = BOARDS[key], BOARDS[key].make_platform()

    def site(resource, number, part=None):
        found = platform.lookup(resource, number)
        ios = next(io for io in found.ios if io.name == part).ios if part else found.ios
        return ios[0].names[0]

    assert board.pins["clock"] == site(board.clock, 0)
    assert board.pins["reset"] == site(*board.reset)
    assert {lamp: board.pins[lamp] for lamp in LAMPS} == {lamp: site(*board.lamps[lamp]) for lamp in LAMPS}


@pytest.mark.parametrize("key", BUILDABLE)
def test_every_line_of_a_boards_own_constraints_has_a_reason(key):
    reasons = lines = 0
    for line in BOARDS[key].own_constraints().splitlines()[1:]:
        reasons += line.startswith("#")
        lines += bool(line.strip()) and not line.startswith("#")
    assert lines
    assert reasons


@pytest.mark.parametrize("key", BUILDABLE)
def test_the_plan_of_a_build_places_lamps_clock_and_reset_and_adds_the_boards_own_lines(key):
    from hw.top.board_top import BoardTop
    from tests.hw.iommu.unit_bench import SMALL

    board = BOARDS[key]
    pins = BoardPins(board, BoardTop(SMALL, devices=1, pages=1))
    plan = board.make_platform().prepare(
        pins, name="top", debug_verilog=False, add_preferences=board.own_constraints()
    )
    text = plan.files["top.lpf"]
    for pin in board.pins.values():
        assert f'SITE "{pin}"' in text
    assert f"{board.clock_megahertz * 1e6:.1f} HZ" in text
    assert board.own_constraints().strip().splitlines()[-1] in text


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("ulx4", "no board 'ulx4'; there are ulx3s_85f"),
        ("arty_a7_100", "arty_a7_100 has constraints only: its bitstream needs the vendor's tools"),
    ],
)
def test_a_board_that_cannot_be_built_is_refused_with_a_sentence(name, message):
    with pytest.raises(SystemExit, match=message):
        bitstream.main(name)
