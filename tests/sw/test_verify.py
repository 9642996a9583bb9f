"""Interval sets: equal whatever their pieces, and the first difference named."""
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sw.errors import BadRange, IntervalsDiffer
from sw.intervals import Interval, Permission, coalesce, relocated
from sw.verify import first_difference, require_equal

RW = Permission.READ_WRITE
R = Permission.READ
PAGE = 0x1000


def interval(iova, pages, hpa, permission=RW):
    return Interval(iova, pages * PAGE, hpa, permission)


def test_contiguous_pieces_coalesce():
    pieces = [interval(0x2000, 1, 0x9000), interval(0x1000, 1, 0x8000), interval(0x3000, 4, 0xA000)]
    assert coalesce(pieces) == [interval(0x1000, 6, 0x8000)]


@pytest.mark.parametrize("second", [interval(0x3000, 1, 0x9000), interval(0x2000, 1, 0xA000),
                                    interval(0x2000, 1, 0x9000, R)],
                         ids=["a hole between", "other address", "other permission"])
def test_pieces_that_say_something_else_stay_apart(second):
    assert coalesce([interval(0x1000, 1, 0x8000), second]) == [interval(0x1000, 1, 0x8000), second]


def test_overlap_is_refused():
    with pytest.raises(BadRange, match="iova 0x2000: overlaps the interval 0x1000"):
        coalesce([interval(0x1000, 2, 0x8000), interval(0x2000, 1, 0x9000)])


NOW_AND_DIFFERENCE = {
    "missing at the end": ([interval(0x1000, 3, 0x8000)], (0x4000, "0xb000 RW", "nothing")),
    "missing at the start": ([interval(0x2000, 3, 0x9000)], (0x1000, "0x8000 RW", "nothing")),
    "one page more": ([interval(0x1000, 5, 0x8000)], (0x5000, "nothing", "0xc000 RW")),
    "extra mapping far away": ([interval(0x1000, 4, 0x8000), interval(0x9000, 1, 0)], (0x9000, "nothing", "0x0 RW")),
    "one page elsewhere": ([interval(0x1000, 2, 0x8000), interval(0x3000, 1, 0x100000), interval(0x4000, 1, 0xB000)],
                           (0x3000, "0xa000 RW", "0x100000 RW")),
    "one page read-only": ([interval(0x1000, 2, 0x8000), interval(0x3000, 1, 0xA000, R), interval(0x4000, 1, 0xB000)],
                           (0x3000, "0xa000 RW", "0xa000 R-")),
    "nothing at all": ([], (0x1000, "0x8000 RW", "nothing")),
}


@pytest.mark.parametrize(("now", "difference"), NOW_AND_DIFFERENCE.values(), ids=NOW_AND_DIFFERENCE.keys())
def test_first_difference_is_named(now, difference):
    was = [interval(0x1000, 4, 0x8000)]
    assert first_difference(was, now) == difference


def test_require_equal_says_where_and_what():
    with pytest.raises(IntervalsDiffer, match="at iova 0x1000 the old tables give 0x8000 RW, the new ones 0x9000 RW"):
        require_equal([interval(0x1000, 1, 0x8000)], [interval(0x1000, 1, 0x9000)])


@given(st.dictionaries(st.integers(0, 40), st.tuples(st.integers(0, 5), st.sampled_from([R, RW])), min_size=1),
       st.data())
def test_pieces_do_not_matter_but_every_page_does(pages, data):
    """A translation as single pages against itself in long runs; then with one page changed."""
    single = [interval(page * PAGE, 1, (page + 100 * group) * PAGE, permission)
              for page, (group, permission) in pages.items()]
    assert first_difference(single, coalesce(single)) is None
    victim = data.draw(st.sampled_from(sorted(pages)))
    changed = [piece._replace(hpa=piece.hpa ^ (1 << 40)) if piece.iova == victim * PAGE else piece for piece in single]
    assert first_difference(coalesce(single), coalesce(changed)).iova == victim * PAGE
    without = [piece for piece in single if piece.iova != victim * PAGE]
    assert first_difference(coalesce(single), coalesce(without)).iova == victim * PAGE


def test_relocated_moves_addresses_and_nothing_else():
    assert relocated([interval(0x1000, 2, 0x8000, R)], 0x10000) == [interval(0x1000, 2, 0x18000, R)]
