"""A table of expressions: a `datasets.Dataset` or a list of dicts, used the same way."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence


def is_table(rows) -> bool:
    """Whether this is a `datasets.Dataset`, whose columns can be read one by one."""
    return hasattr(rows, "select_columns")


def only_columns(rows: Iterable[Mapping], names: Sequence[str]):
    """The rows with these columns alone, so that no others are decoded; of a list, the list itself.

    Example:
        >>> only_columns([{"video_id": "v", "masks": []}], ["video_id"])
        [{'video_id': 'v', 'masks': []}]
    """
    if is_table(rows):
        return rows.select_columns([name for name in names if name in rows.column_names])
    return rows if isinstance(rows, Sequence) else list(rows)


def column(rows: Sequence[Mapping], name: str) -> list:
    """One column of all rows.

    Example:
        >>> column([{"video_id": "v"}, {"video_id": "w"}], "video_id")
        ['v', 'w']
    """
    return list(rows[name]) if is_table(rows) else [row[name] for row in rows]


def first_repeated(values: Iterable):
    """The first value that was there before; None where every value is there once.

    Example:
        >>> first_repeated(["a", "b", "b", "a"])
        'b'
    """
    seen = set()
    return next((value for value in values if value in seen or seen.add(value)), None)


def select_rows(rows: Sequence[Mapping], indices: Iterable[int]):
    """The rows with these numbers, in this order.

    Example:
        >>> select_rows([{"video_id": "v"}, {"video_id": "w"}], [1])
        [{'video_id': 'w'}]
    """
    return rows.select(list(indices)) if is_table(rows) else [rows[index] for index in indices]


def filter_rows(rows: Sequence[Mapping], name: str, keep: Callable[[object], bool]):
    """The rows whose value in a column is to be kept, in their order.

    Example:
        >>> filter_rows([{"video_id": "v"}, {"video_id": "w"}], "video_id", {"w"}.__contains__)
        [{'video_id': 'w'}]
    """
    return select_rows(rows, [index for index, value in enumerate(column(rows, name)) if keep(value)])


def all_have(rows: Sequence[Mapping], name: str) -> bool:
    """Whether no row has None in a column; of a table without decoding it.

    Example:
        >>> all_have([{"masks": []}, {"masks": None}], "masks")
        False
    """
    if not is_table(rows):
        return all(row[name] is not None for row in rows)
    batches = rows.select_columns([name]).with_format("arrow").iter(batch_size=256)
    return not any(batch[name].null_count for batch in batches)


__all__ = ["all_have", "column", "filter_rows", "first_repeated", "is_table", "only_columns", "select_rows"]
