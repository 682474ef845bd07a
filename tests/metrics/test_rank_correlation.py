"""Spearman's correlation."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import spearmanr

from glus_hf.metrics.rank_correlation import spearman


def test_known_values():
    assert spearman([1, 2, 3, 4], [10, 20, 30, 5]) == pytest.approx(-0.2)
    assert spearman([1, 2, 2, 3], [1, 3, 2, 4]) == pytest.approx(0.9486832980505138)  # ties share a rank
    assert spearman([1, 2, 3], [3, 2, 1]) == -1
    assert spearman([1], [2]) is None and spearman([1, 1, 1], [1, 2, 3]) is None
    assert spearman([], []) is None and np.isnan(spearman([1, 2, np.nan], [1, 2, 3]))
    with pytest.raises(ValueError, match="3 and 2 values"):
        spearman([1, 2, 3], [1, 2])


def test_agrees_with_scipy_up_to_its_rounding():
    rng = np.random.default_rng(0)
    for count in (2, 3, 50, 1000):
        first, second = rng.random(count), rng.integers(0, 9, count) + np.arange(count)  # without and with ties
        assert spearman(first, second) == pytest.approx(spearmanr(first, second).statistic, abs=2e-12)


@given(st.lists(st.integers(-50, 50), min_size=2, max_size=30, unique=True))
def test_only_the_order_counts(values):
    values = np.array(values, dtype=float)
    assert spearman(values, values**3) == 1 and spearman(values, -values) == -1
