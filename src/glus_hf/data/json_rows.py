"""Rows of the lists in a large JSON file, without reading it whole: one pass finds where they are."""

from __future__ import annotations

import functools
import os
from array import array
from collections.abc import Callable

from ..errors import DatasetContentError, DatasetFileError
from ..safe_files import Stamp, file_stamp, open_file
from .strict_json import JsonScanner, parse_json


MAX_ROWS = 200_000_000
KIND = "object annotations"


class RowSpans:
    """Where the rows of one list are, and the number of what each belongs to (-1 of what belongs to nothing)."""

    def __init__(self):
        self.starts, self.stops, self.groups = array("q"), array("q"), array("q")

    def __len__(self) -> int:
        return len(self.starts)


class JsonRows:
    """The lists of a JSON file; each row is read when it is asked for.

    Memory holds 24 bytes per row, so the 26 million boxes of Objects365 take 640 MB.

    Args:
        path: file that is a list, whose name is then "", or an object with lists.
        group: called with the name of the list and a row; an integer to keep with its place.

    Attributes:
        no_rows: names of members that are something else than rows or null.

    Raises:
        DatasetFileError: no JSON, a list twice, or too many rows; one line.

    Example:
        >>> rows = JsonRows("instances_val2017.json")  # doctest: +SKIP
        >>> len(rows["images"]), rows.read("images", 0)["file_name"]  # doctest: +SKIP
        (5000, '000000397133.jpg')
    """

    def __init__(self, path: str | os.PathLike, group: Callable[[str, dict], int] = lambda name, row: -1):
        self.path = os.fspath(path)
        self._lists: dict[str, RowSpans] = {}
        self._file = open_file(self.path, KIND, DatasetFileError)  # for as long as the index lives
        scanner, total, plain = JsonScanner(self.path, self._file), 0, set()
        for name, row, start, stop in scanner.elements():
            if not isinstance(row, dict):
                plain.add(name)  # a list of plain values is no list of rows
                continue
            total += 1
            if total > MAX_ROWS:
                raise DatasetFileError(f"{self.path}: has more than {MAX_ROWS} rows: split it")
            spans = self._lists.setdefault(name, RowSpans())
            spans.starts.append(start)
            spans.stops.append(stop)
            spans.groups.append(group(name, row))
        if mixed := plain & self._lists.keys():
            name = f"the list {min(mixed)!r}" if min(mixed) else "the list"
            raise DatasetContentError(f"{self.path}: {name} has an element that is no object")
        self.no_rows = plain | set(scanner.others)
        self._lists |= {name: RowSpans() for name in scanner.lists if name not in {*self._lists, *plain}}

    def __contains__(self, name: str) -> bool:
        return name in self._lists

    def __getitem__(self, name: str) -> RowSpans:
        return self._lists.get(name) or RowSpans()

    def read(self, name: str, index: int) -> dict:
        """A row of a list.

        Raises:
            DatasetFileError: a key is there twice, a text is no UTF-8; one line.
        """
        spans = self._lists[name]
        start, stop = spans.starts[index], spans.stops[index]
        # a read at a position of its own: forked processes share the file, but not a place in it
        data = os.pread(self._file.fileno(), stop - start, start)
        return parse_json(data, f"{self.path}: {name or 'row'} {index}")


def cached_by_file(make: Callable, maxsize: int = 2) -> Callable:
    """`make(path, ...)`, kept for the next call while the file stays the same."""

    @functools.lru_cache(maxsize=maxsize)
    def made(path: str, stamp: Stamp, *options):
        return make(path, *options)

    return lambda path, *options: made(os.fspath(path), file_stamp(path, KIND, DatasetFileError), *options)


__all__ = ["JsonRows", "RowSpans", "cached_by_file"]
