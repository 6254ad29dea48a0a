"""Factors and offsets of classes: their order is that of the exact scores, for all sums of all classes."""

import itertools
from collections.abc import Sequence
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from xnorweave.errors import UnsupportedError
from xnorweave.importers.folding.rules import batch_norm
from xnorweave.importers.folding.scales import Scores, fewest_bits

FINE = 3**60
SMALL = st.builds(Fraction, st.integers(-6, 6), st.integers(1, 4))
# Of denominators that no int64 holds, some a hair apart.
LONG = st.builds(lambda value, n: value + Fraction(n, FINE), SMALL, st.integers(-1, 1))


def check(scale: Sequence[Fraction], offset: Sequence[Fraction], low: Sequence[int], step: int, count: int) -> int:
    """Compare every two scores of two classes; gives the bits of the largest factor."""
    factors, offsets = fewest_bits(Scores(scale, offset, np.array(low), step, count))
    values = [
        [(c, scale[c] * x + offset[c], int(factors[c]) * x + int(offsets[c])) for x in range(n, n + step * count, step)]
        for c, n in enumerate(low)
    ]
    for (one, exact, found), (other, more, larger) in itertools.product(itertools.chain(*values), repeat=2):
        if one != other:
            assert (exact < more, exact == more) == (found < larger, found == larger)
    return int(np.abs(factors).max()).bit_length()


def draws(fractions: st.SearchStrategy[Fraction]) -> st.SearchStrategy[tuple]:
    each = st.tuples(fractions, fractions, st.integers(-5, 5))
    return st.tuples(
        st.lists(each, min_size=2, max_size=4).filter(lambda rows: any(row[0] for row in rows)),
        st.integers(1, 2),
        st.integers(1, 6),
    )


@settings(max_examples=100)
@given(draws(SMALL))
def test_simple_fractions_are_kept_in_order(draw):
    """Many of these scores are equal."""
    rows, step, count = draw
    check(*zip(*rows, strict=True), step, count)


@settings(max_examples=60)
@given(draws(LONG))
def test_what_is_found_for_long_fractions_is_in_order(draw):
    """Of scores a hair apart the difference may be too small for 31 bits."""
    rows, step, count = draw
    try:
        check(*zip(*rows, strict=True), step, count)
    except UnsupportedError as e:
        assert "are so close that scales rounded to 31 bits do not keep" in str(e)  # noqa: PT017


@pytest.mark.parametrize("seed", range(3))
def test_batch_norms_are_kept_in_order(seed):
    rng = np.random.default_rng(seed)
    rule = batch_norm(1e-3, "factored")
    assert rule.exact is not None
    constants = rng.normal(1, 0.3, 5), rng.normal(size=5), rng.normal(0, 3, 5), rng.random(5) * 30 + 5
    rows = zip(*(array.astype(np.float32).tolist() for array in constants), strict=True)
    both = [rule.exact(Fraction(1), Fraction(0), *map(Fraction, row)) for row in rows]
    assert check(*zip(*both, strict=True), [-20] * 5, 2, 21) <= 12


def test_the_fewest_bits_are_taken():
    zero, third = Fraction(0), Fraction(1, 3)
    assert check([third, -third], [zero, zero], [-3, -3], 2, 4) == 1
    assert check([third, 2 * third, zero], [zero, third, third], [-3, -3, -3], 2, 4) == 2


def test_classes_that_never_meet_need_no_factor():
    """The second one is always above the first, whatever their sums are."""
    scale, offset = (Fraction(1), Fraction(1, 10**6)), (Fraction(0), Fraction(90))
    factors, _ = fewest_bits(Scores(scale, offset, np.zeros(2, np.int64), 1, 9))
    assert factors.tolist() == [1, 0]


def test_scores_that_are_too_close_are_refused_with_both_sums():
    close = Fraction(1, 1 << 40)
    message = (
        r"scores of class 0 of the sum 1 and class 1 of the sum 1 are so close that scales rounded to 31 bits do n"
    )
    with pytest.raises(UnsupportedError, match=message):
        fewest_bits(Scores([Fraction(1), 1 + close], [Fraction(0), Fraction(0)], np.array([1, 1]), 1, 8))


def test_too_many_scores_that_are_all_but_equal_are_refused(monkeypatch):
    monkeypatch.setattr("xnorweave.importers.folding.scales.MAX_RESOLVED", 5)
    with pytest.raises(UnsupportedError, match=r"scores of classes \d and \d are all but the same for many sums"):
        Scores([Fraction(1), 1 + Fraction(1, FINE)], [Fraction(0), Fraction(0)], np.array([0, 0]), 1, 8)
