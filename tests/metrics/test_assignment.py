import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from glus_hf.metrics.assignment import best_assignment


@st.composite
def score_matrices(draw):
    shape = draw(st.integers(1, 5)), draw(st.integers(1, 5))
    values = draw(st.sampled_from(["random", "few values", "negative"]))
    random = np.random.default_rng(draw(st.integers(0, 10_000)))
    if values == "few values":  # many equally good assignments
        return random.integers(0, 3, shape) / 2
    return random.random(shape) - (values == "negative")


@settings(max_examples=200, deadline=None)
@given(score_matrices())
def test_no_other_assignment_is_better(scores):
    rows, columns = best_assignment(scores)
    num_rows, num_columns = scores.shape
    assert len(rows) == len(set(rows)) == len(set(columns)) == min(scores.shape)
    assert (np.diff(rows) > 0).all()
    if num_rows <= num_columns:
        all_pairs = [list(enumerate(order)) for order in itertools.permutations(range(num_columns), num_rows)]
    else:
        all_pairs = [
            [(row, column) for column, row in enumerate(order)]
            for order in itertools.permutations(range(num_rows), num_columns)
        ]
    best = max(sum(scores[pair] for pair in pairs) for pairs in all_pairs)
    assert scores[rows, columns].sum() == pytest.approx(best, abs=1e-12)


@pytest.mark.parametrize(
    "scores, rows, columns",  # of scipy.optimize.linear_sum_assignment(-scores)
    [
        ([[2, 2], [2, 0], [2, 2]], [0, 2], [0, 1]),
        ([[0, 0, 0], [1, 2, 2], [2, 2, 1]], [0, 1, 2], [0, 2, 1]),
        ([[1, 1, 2], [1, 0, 2]], [0, 1], [1, 2]),
        ([[1, 0, 0], [2, 0, 1], [2, 1, 0]], [0, 1, 2], [2, 0, 1]),
        ([[0, 0, 2], [1, 1, 2]], [0, 1], [2, 1]),
    ],
)
def test_of_equally_good_assignments_that_of_scipy(scores, rows, columns):
    found = best_assignment(np.array(scores) / 2)
    assert [part.tolist() for part in found] == [rows, columns]


def test_many_objects():
    hidden = np.random.default_rng(0).permutation(60)
    scores = np.random.default_rng(1).random((60, 60)) * 0.5
    scores[np.arange(60), hidden] += 1
    rows, columns = best_assignment(scores)
    np.testing.assert_array_equal(columns, hidden)
    np.testing.assert_array_equal(rows, np.arange(60))


@pytest.mark.parametrize("scores", [np.zeros(3), np.array([[np.nan, 1.0]]), np.array([[np.inf]])])
def test_only_finite_matrices(scores):
    with pytest.raises(ValueError, match="finite matrix"):
        best_assignment(scores)
