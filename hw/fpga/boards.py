"""The lab boards of constraints/boards.toml, and how the design meets their pins. Ours."""
import importlib
import tomllib
from dataclasses import dataclass
from pathlib import Path

from amaranth import *
from amaranth.lib import io
from amaranth.lib.cdc import FFSynchronizer

from hw.top.board_image import LAMPS
from hw.top.board_top import BoardTop

__all__ = ["Board", "BoardPins", "boards"]

_FOLDER = Path(__file__).resolve().parents[2] / "constraints"


@dataclass(frozen=True)
class Board:
    """One table of boards.toml; the fields are explained there. `unbuildable` says why no bitstream can be made, if so."""

    key: str
    name: str
    device: str
    package: str
    speed_grade: str
    clock: str
    clock_megahertz: float
    platform: str
    constraints: str
    lamps: dict
    reset: list
    pins: dict
    unbuildable: str = ""

    def make_platform(self):
        """The board's platform of amaranth-boards."""
        module, name = self.platform.split(":")
        return getattr(importlib.import_module(module), name)()

    def own_constraints(self):
        """The text of the board's own file."""
        return (_FOLDER / self.constraints).read_text()


def boards():
    """Every board, by the name that BOARD= takes."""
    tables = tomllib.loads((_FOLDER / "boards.toml").read_text())
    return {key: Board(key=key, **table) for key, table in tables.items()}


class BoardPins(Elaboratable):
    """`BoardTop` behind the pins of a board: three lamps, and a button that resets it.

    Parameters
    ----------
    board : Board
        Whose pins.
    top : BoardTop
        What is behind them; by default one of the default configuration.
    """

    def __init__(self, board, top=None):
        self._board = board
        self._top = top or BoardTop()

    def elaborate(self, platform):
        m = Module()
        self._requested = {}
        if platform.default_rst == self._board.reset[0]:  # the platform makes it the clock domain's
            m.submodules.top = self._top
        else:
            reset = Signal()
            m.submodules.top = ResetInserter(reset)(self._top)
            m.submodules.reset_pin = reset_pin = io.Buffer("i", self._port(platform, self._board.reset))
            m.submodules.reset = FFSynchronizer(reset_pin.i, reset)
        for lamp in LAMPS:
            m.submodules[f"{lamp}_pin"] = pin = io.Buffer("o", self._port(platform, self._board.lamps[lamp]))
            m.d.comb += pin.o.eq(getattr(self._top, lamp))
        return m

    def _port(self, platform, place):
        """The port at a place; a lamp may be part of a resource that another lamp has a part of."""
        resource, number, *part = place
        if (resource, number) not in self._requested:
            ios = platform.lookup(resource, number).ios
            raw = {each.name: "-" for each in ios} if part else "-"
            self._requested[resource, number] = platform.request(resource, number, dir=raw)
        port = self._requested[resource, number]
        return getattr(port, part[0]) if part else port
