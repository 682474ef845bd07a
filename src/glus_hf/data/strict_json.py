"""Strict JSON: UTF-8, no key twice, errors that name the file; and large files by key without reading them whole."""

from __future__ import annotations

import functools
import json
import os
import re
from collections.abc import Iterator

from ..bounded_json import MAX_MEMORY, check_memory, decode_json
from ..errors import DatasetFileError, UserError
from ..safe_files import Stamp, open_file, read_bytes
from ..safe_files import file_stamp as stamp_of_file


CHUNK = 1 << 23
MAX_KEYS = 4_000_000  # of a `JsonObject`
_SPACE = re.compile(r"[ \t\n\r]*")
_AFTER_VALUE = frozenset(",:]} \t\n\r")


def read_json(path: str | os.PathLike, max_memory: int = MAX_MEMORY):
    """Read a JSON file.

    Args:
        path: UTF-8 text.
        max_memory: bytes that its values may take, by a rough upper bound; it is known before they are parsed.

    Raises:
        DatasetFileError: it is missing, not UTF-8, not JSON (cut short, for example), too large, no regular file,
            or an object has a key twice.

    Example:
        >>> read_json("data/mevis/train/meta_expressions.json")["videos"]  # doctest: +SKIP
    """
    return parse_json(read_bytes(path, "annotations", DatasetFileError), str(path), max_memory)


def parse_json(data: bytes, name: str, max_memory: int = MAX_MEMORY):
    """Strict JSON out of `data`; `name` is for errors. See [`read_json`]."""
    try:
        return decode_json(data, max_memory)
    except UnicodeDecodeError as error:
        raise DatasetFileError(f"{name}: is not UTF-8 (byte {error.start}): convert or download it again") from None
    except json.JSONDecodeError as error:
        raise DatasetFileError(
            f"{name}: is not valid JSON or cut short (line {error.lineno}: {error.msg}): download it again"
        ) from None
    except ValueError as error:
        raise DatasetFileError(f"{name}: {error}: repair or download it again") from None


class JsonObject:
    """Values of one large JSON object by key. One pass finds where they are; each is read when asked for.

    Memory holds the keys and one value, so a mask dictionary of 400 MB costs a few.

    Args:
        path: file whose top level is an object.

    Raises:
        DatasetFileError: as [`read_json`] raises.
    """

    def __init__(self, path: str):
        self.path = path
        self._spans: dict[str, tuple[int, int]] = {}
        self._file = open_file(path, "annotations", DatasetFileError)  # for as long as the index lives
        for key, start, stop in JsonScanner(path, self._file).members():
            if key in self._spans:
                raise DatasetFileError(f"{path}: {key!r} appears twice: repair or download it again")
            self._spans[key] = (start, stop)
            if len(self._spans) > MAX_KEYS:
                raise DatasetFileError(f"{path}: has more than {MAX_KEYS} keys: split it")

    def __contains__(self, key: str) -> bool:
        return key in self._spans

    def __iter__(self) -> Iterator[str]:
        return iter(self._spans)

    def __len__(self) -> int:
        return len(self._spans)

    def __getitem__(self, key: str):
        start, stop = self._spans[key]
        # a read at a position of its own: forked processes share the file, but not a place in it
        return parse_json(os.pread(self._file.fileno(), stop - start, start), f"{self.path}: id {key!r}")


class JsonScanner:
    """Positions of an object's members, or of the elements of lists, by the C parser of the standard library on a
    sliding window.

    The window is decoded as Latin-1, where a character is a byte: no byte of a longer UTF-8 sequence can be taken for
    a quote or a bracket.
    """

    def __init__(self, path: str, file):
        self.path, self.file = path, file
        self.window, self.base, self.at, self.ended = "", 0, 0, False
        self.lists: list[str] = []  # names of those that `elements` met, empty ones too
        self.others: list[str] = []  # names of members that are neither a list nor null
        self.decode = json.JSONDecoder().raw_decode

    def members(self) -> Iterator[tuple[str, int, int]]:
        """Key and span of every member of the object that the file is."""
        if self._begin() != "{":
            self._fail("the top level must be an object")
        for key in self._keys():
            _, start, stop = self._value()
            yield key, self.base + start, self.base + stop
        self._end()

    def elements(self) -> Iterator[tuple[str, object, int, int]]:
        """List, value and span of every element of the lists that the object has, or of the list that the file is,
        whose name is then empty. Texts of a value are Latin-1; other members of the object are left out."""
        opening, seen = self._begin(), set()
        if opening == "[":
            yield from self._elements("")
        elif opening == "{":
            for key in self._keys():
                if key in seen:
                    raise DatasetFileError(f"{self.path}: {key!r} appears twice: repair or download it again")
                seen.add(key)
                if self._next() == "[":
                    yield from self._elements(key)
                elif self._value()[0] is not None:
                    self.others.append(key)
        else:
            self._fail("the top level must be an object or a list")
        self._end()

    def _begin(self) -> str:
        while len(self.window) < 3 and not self.ended:
            self._read()
        if self.window.startswith("\xef\xbb\xbf"):
            self.at = 3
        return self._next()

    def _end(self) -> None:
        if self._next():
            self._fail("text after the end")

    def _keys(self) -> Iterator[str]:
        """Keys of the object here, each with the place behind its colon; who asks reads the value."""
        for _ in self._separated("}"):
            if self._next() != '"':
                self._fail("a key in quotes expected")
            _, start, stop = self._value()
            key = parse_json(self.window[start:stop].encode("latin-1"), self.path)
            if self._next() != ":":
                self._fail("':' expected")
            self.at += 1
            self._next()
            yield key

    def _elements(self, name: str) -> Iterator[tuple[str, object, int, int]]:
        self.lists.append(name)
        for _ in self._separated("]"):
            self._next()
            value, start, stop = self._value()
            yield name, value, self.base + start, self.base + stop

    def _separated(self, closing: str) -> Iterator[None]:
        """Goes through an object or a list; who asks reads what is at the place."""
        self.at += 1
        if self._next() == closing:
            self.at += 1
            return
        while True:
            yield
            separator = self._next()
            self.at += 1
            if separator == closing:
                return
            if separator != ",":
                self._fail(f"',' or '{closing}' expected")

    def _value(self) -> tuple[object, int, int]:
        """The value at the current place and its span in the window; the place moves behind it."""
        while True:
            try:
                value, stop = self.decode(self.window, self.at)
                if self.ended or self.window[stop : stop + 1] in _AFTER_VALUE:  # else a number might go on
                    start, self.at = self.at, stop
                    return value, start, stop
            except (ValueError, RecursionError) as error:  # no JSON, a number without end, or nesting without end
                if self.ended:
                    self._fail(getattr(error, "msg", error))
            self._read()

    def _next(self) -> str:
        """Skip white space; the character there, or nothing at the end of the file."""
        while True:
            self.at = _SPACE.match(self.window, self.at).end()
            if self.at < len(self.window):
                return self.window[self.at]
            if self.ended:
                return ""
            self._read()

    def _read(self) -> None:
        # at least as much again as is left, so that a value longer than the window costs few attempts
        chunk = self.file.read(max(CHUNK, len(self.window) - self.at))
        self.ended = not chunk
        self.window = self.window[self.at :] + chunk.decode("latin-1")
        self.base, self.at = self.base + self.at, 0
        try:
            check_memory(self.window, MAX_MEMORY)
        except UserError as error:
            raise DatasetFileError(f"{self.path}: a value near byte {self.base}: {error}; use another file") from None

    def _fail(self, reason):
        raise DatasetFileError(
            f"{self.path}: is not valid JSON or cut short (near byte {self.base + self.at}: {reason}): "
            "download it again"
        )


def cached_json(path: str):
    """[`read_json`], kept for the next call while the file stays the same. Do not change what it returns."""
    return _cached_json(path, file_stamp(path))


def cached_json_object(path: str) -> JsonObject:
    """[`JsonObject`], kept for the next call while the file stays the same."""
    return _cached_json_object(path, file_stamp(path))


def file_stamp(path: str) -> Stamp:
    """What says whether what was kept of an annotation file still holds."""
    return stamp_of_file(path, "annotations", DatasetFileError)


@functools.lru_cache(maxsize=4)
def _cached_json(path: str, stamp: Stamp):
    return read_json(path)


@functools.lru_cache(maxsize=2)
def _cached_json_object(path: str, stamp: Stamp) -> JsonObject:
    return JsonObject(path)
