# amaranth: UnusedElaboratable=no
"""A component's recipe tells everything that it is made from, and is the same for what is the same."""
import pytest
from amaranth import *
from amaranth.lib import wiring
from amaranth.lib.wiring import Out

from hw.iommu.config import CONFIGS, IommuConfig
from hw.top.bench_top import BenchTop
from sim import recipe as module
from sim import runner
from sim.recipe import recipe


class Blinker(wiring.Component):
    """Something with parameters of any kind."""

    def __init__(self, *parameters, width=1):
        self._parameters = parameters
        super().__init__({"led": Out(width)})

    def elaborate(self, platform):
        return Module()


def test_the_same_component_has_the_same_recipe():
    assert recipe(Blinker(1, "a", IommuConfig()), "x") == recipe(Blinker(1, "a", IommuConfig()), "x") is not None


def test_the_benches_have_one():
    assert recipe(BenchTop(IommuConfig()), "x") is not None


@pytest.mark.parametrize("other", [
    lambda: recipe(Blinker(1), "y"),
    lambda: recipe(Blinker(2), "x"),
    lambda: recipe(Blinker(True), "x"),
    lambda: recipe(Blinker(1, width=2), "x"),
    lambda: recipe(Blinker(CONFIGS["small"]), "x"),
    lambda: recipe(Blinker(CONFIGS["large"]), "x"),
    lambda: recipe(Blinker(Blinker(1)), "x"),
    lambda: recipe(Blinker(Blinker(2)), "x"),
    lambda: recipe(Blinker((1,)), "x"),
    lambda: recipe(Blinker({1: 2}), "x"),
])
def test_another_one_has_another(other):
    assert other() not in {None, recipe(Blinker(1), "x")}


def test_an_edit_of_a_source_of_hw_or_beside_a_class_changes_it(monkeypatch):
    before, read = recipe(Blinker(1), "x"), module.Path.read_text
    for edited in ("hw/iommu/coverage.py", "tests/sim/test_recipe.py"):
        monkeypatch.setattr(module.Path, "read_text", lambda path, edited=edited: read(path) + " " * str(path).endswith(edited))
        assert recipe(Blinker(1), "x") != before
    monkeypatch.setattr(module.Path, "read_text", read)
    assert recipe(Blinker(1), "x") == before


@pytest.mark.parametrize("parameter", [Signal(), lambda: 1, 1.5, object()])
def test_what_cannot_be_told_by_a_text_is_elaborated_each_time(parameter):
    assert recipe(Blinker(parameter), "x") is None


def test_what_was_elaborated_once_is_not_elaborated_again(monkeypatch, tmp_path):
    monkeypatch.setattr(runner, "BUILD", tmp_path)
    prints = [runner.fingerprint(Blinker(1), "x")]
    monkeypatch.setattr(module.rtlil, "convert", lambda *_, **__: pytest.fail("elaborated"))
    prints.append(runner.fingerprint(Blinker(1), "x"))
    assert len(set(prints)) == 1
