"""The best one-to-one assignment, exact, without SciPy: the Hungarian method with shortest augmenting paths."""

import numpy as np


def best_assignment(scores: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Pair rows with columns so that the sum of their scores is as large as possible.

    Kuhn's method in the form of Jonker and Volgenant, `O(rows² columns)`. Of several equally good assignments it takes
    the one that SciPy's `linear_sum_assignment` takes, because they can differ in J and F by themselves.

    Args:
        scores: `[rows, columns]`, finite.

    Returns:
        Rows in ascending order and the column of each, `min(rows, columns)` pairs, as two integer arrays.

    Raises:
        ValueError: the scores are not a finite matrix.

    Example:
        >>> rows, columns = best_assignment(np.array([[0.9, 0.8], [0.7, 0.1]]))
        >>> rows.tolist(), columns.tolist()
        ([0, 1], [1, 0])
    """
    scores = np.asarray(scores, dtype=float)
    if scores.ndim != 2 or not np.isfinite(scores).all():
        raise ValueError(f"scores must be a finite matrix, got shape {scores.shape}")
    if scores.shape[0] > scores.shape[1]:
        columns, rows = best_assignment(scores.T)
        order = np.argsort(rows)
        return rows[order], columns[order]
    owner = _owners(-scores)
    columns = np.flatnonzero(owner >= 0)
    order = np.argsort(owner[columns])
    return owner[columns][order], columns[order]


def _owners(costs: np.ndarray) -> np.ndarray:
    """For each column the row it is assigned to at least cost, -1 for none; needs `rows <= columns`."""
    num_rows, num_columns = costs.shape
    row_price, column_price = np.zeros(num_rows), np.zeros(num_columns)
    owner = np.full(num_columns, -1)
    for start in range(num_rows):
        # the cheapest path from the new row over assigned columns to a free one
        distance, previous = np.full(num_columns, np.inf), np.full(num_columns, -1)
        # the columns that are not done in the order in which SciPy keeps them, which decides between equal distances
        done, left = np.zeros(num_columns, dtype=bool), np.arange(num_columns)[::-1].copy()
        row, column, length = start, -1, 0.0
        while row >= 0:
            reduced = length + costs[row] - row_price[row] - column_price
            closer = ~done & (reduced < distance)
            distance[closer], previous[closer] = reduced[closer], column
            nearest = np.flatnonzero(distance[left] == distance[left].min())
            free = nearest[owner[left[nearest]] < 0]
            place = free[-1] if len(free) else nearest[0]
            column = int(left[place])
            length, row = distance[column], owner[column]
            done[column] = True
            left[place], left = left[-1], left[:-1]
        # prices that keep every reduced cost non-negative and those of the assignment zero
        inner = done.copy()
        inner[column] = False
        row_price[start] += length
        row_price[owner[inner]] += length - distance[inner]
        column_price[inner] -= length - distance[inner]
        while column >= 0:  # hand the columns on along the path
            before = previous[column]
            owner[column] = start if before < 0 else owner[before]
            column = before
    return owner
