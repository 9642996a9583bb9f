"""A machine with bugs to choose from: one build, and a port that says which of them it has.

A sabotaged block is the real one with one of its ports changed, on its way in or out. The judge knows nothing of it.
"""
import enum
import pkgutil
from contextlib import ExitStack, contextmanager
from unittest import mock

from amaranth.hdl import Module, Mux, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In

from hw.iommu.invalidation_queue import InvalidationQueue
from hw.iommu.invalidator import Invalidator
from hw.iommu.iotlb import Iotlb
from hw.iommu.page_walker import PageWalker
from hw.spec.dma import Access
from hw.top.bench_top import BenchTop

__all__ = ["Sabotage", "SabotagedTop", "sabotaged_blocks"]


class Sabotage(enum.IntEnum):
    """The bugs. 0: none, the machine is the real one."""

    NONE = 0
    STATUS_BEFORE_EFFECT = 1    # a wait does not wait for the invalidations before it
    SCAN_CLEARS_NOTHING = 2     # the IOTLB does not hear of invalidations
    MARKED_WALK_FILLS = 3       # walks in flight do not hear of them
    ANSWER_LOST = 4             # the answers of walks for writes are dropped
    DRAIN_IGNORED = 5           # a fence does not wait for memory accesses


_CHOSEN = Signal(3, name="sabotage_chosen")


def _chosen(bug):
    return _CHOSEN == bug.value


def _changed(block, changes):
    """A class like `block` whose ports are changed: path -> function of the outer component and the value there."""
    class Changed(wiring.Component):
        def __init__(self, *args, **kwargs):
            self._inner = block(*args, **kwargs)
            super().__init__(self._inner.signature)

        def elaborate(self, platform):
            m = Module()
            m.submodules.inner = self._inner
            inside = {path: value for path, _, value in self._inner.signature.flatten(self._inner)}
            for path, member, value in self.signature.flatten(self):
                change = changes.get(path, lambda _, unchanged: unchanged)
                if member.flow is In:
                    m.d.comb += inside[path].eq(change(self, value))
                else:
                    m.d.comb += value.eq(change(self._inner, inside[path]))
            return m
    Changed.__name__ = Changed.__qualname__ = block.__name__
    return Changed


def _drops(walker):
    """The answer on offer is one that gets lost."""
    return _chosen(Sabotage.ANSWER_LOST) & (
        walker.answers.payload.transaction.request.access == Access.WRITE)


_BLOCKS = {
    "hw.iommu.unit.Invalidator": _changed(Invalidator, {
        ("accessing", colour): lambda _, count: Mux(_chosen(Sabotage.DRAIN_IGNORED), 0, count) for colour in range(2)
    }),
    "hw.iommu.unit.InvalidationQueue": _changed(InvalidationQueue, {
        ("invalidation_done",): lambda _, done: done | _chosen(Sabotage.STATUS_BEFORE_EFFECT),
    }),
    "hw.iommu.lookup.Iotlb": _changed(Iotlb, {
        ("invalidation", "begin"): lambda _, begin: begin & ~_chosen(Sabotage.SCAN_CLEARS_NOTHING),
    }),
    "hw.iommu.unit.PageWalker": _changed(PageWalker, {
        ("invalidation", "begin"): lambda _, begin: begin & ~_chosen(Sabotage.MARKED_WALK_FILLS),
        ("answers", "valid"): lambda walker, valid: valid & ~_drops(walker),
        ("answers", "ready"): lambda outer, ready: Mux(_drops(outer), 1, ready),
    }),
}


class SabotagedTop(wiring.Component):
    """BenchTop with a port `sabotage`; make it, and elaborate it, within `sabotaged_blocks()`."""

    def __init__(self, *args, **kwargs):
        for place, block in _BLOCKS.items():
            assert pkgutil.resolve_name(place) is block, f"{place} is not sabotaged"
        self._inner = BenchTop(*args, **kwargs)
        super().__init__(dict(self._inner.signature.members) | {"sabotage": In(len(_CHOSEN))})

    def elaborate(self, platform):
        m = Module()
        m.submodules.bench = self._inner
        inside = {path: value for path, _, value in self._inner.signature.flatten(self._inner)}
        for path, member, value in self.signature.flatten(self):
            if path == ("sabotage",):
                m.d.comb += _CHOSEN.eq(value)
            elif member.flow is In:
                m.d.comb += inside[path].eq(value)
            else:
                m.d.comb += value.eq(inside[path])
        return m


@contextmanager
def sabotaged_blocks():
    """Everything that is elaborated within is made of sabotaged blocks."""
    with ExitStack() as stack:
        for place, block in _BLOCKS.items():
            stack.enter_context(mock.patch(place, block))
        yield
