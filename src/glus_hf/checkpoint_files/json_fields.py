"""JSON files of a checkpoint: an object with each key once, finite numbers, and no more of anything than is sane."""

from __future__ import annotations

import json
import math
import os

from ..errors import CheckpointError
from ..safe_files import read_bytes


MAX_CONTAINERS = 2_000_000  # a tokenizer has a list per merge rule, at most about a million
MAX_DEPTH = 64
MAX_DIGITS = 40
SHOWN = 120  # letters of what a library says


def read_fields(path: str | os.PathLike, kind: str = "config", remedy: str = "save the model again") -> dict:
    """The object in a JSON file.

    Args:
        path: the file.
        kind: of [`glus_hf.safe_files`]: how large it may be.
        remedy: end of the message.

    Raises:
        CheckpointError: it is no regular file, too large, no JSON object, or has a key twice, a number that is not
            finite, or too many or too deeply nested lists; one line.

    Example:
        >>> read_fields(folder + "/config.json")["model_type"]  # doctest: +SKIP
        'glus'
    """
    try:
        return parse_fields(read_bytes(path, kind, CheckpointError))
    except UnicodeDecodeError as error:
        reason = f"is not UTF-8, byte {error.start}"
    except json.JSONDecodeError as error:
        reason = f"no JSON or cut short: line {error.lineno}, {error.msg}"
    except RecursionError:
        reason = "is nested too deeply"
    except CheckpointError:
        raise
    except ValueError as error:
        reason = shorten(error)
    raise CheckpointError(f"{path}: cannot be read ({reason}); {remedy}")


def parse_fields(content: bytes) -> dict:
    """The JSON object in `content`.

    Raises:
        ValueError, RecursionError: it is none; the message does not say where.

    Example:
        >>> parse_fields(b'{"a": [1, 2]}')
        {'a': [1, 2]}
    """
    if content.count(b"[") + content.count(b"{") > MAX_CONTAINERS:
        raise ValueError(f"has more than {MAX_CONTAINERS} lists and objects")
    fields = json.loads(
        content.decode("utf-8"), object_pairs_hook=_unique_keys, parse_constant=_refuse_constant, parse_int=_parse_int
    )
    if not isinstance(fields, dict):
        raise ValueError("is no JSON object")
    if depth(fields) > MAX_DEPTH:
        raise ValueError(f"is nested more than {MAX_DEPTH} deep")
    return fields


def depth(content) -> int:
    """Levels of nested lists and objects.

    Example:
        >>> depth({"a": [1, {"b": 2}]}), depth(7)
        (3, 0)
    """
    level, current = 0, [content]
    while current := [value for value in current if isinstance(value, (dict, list))]:
        level += 1
        current = [inner for value in current for inner in (value.values() if isinstance(value, dict) else value)]
    return level


def shorten(reason: object, length: int = SHOWN) -> str:
    """What a library says, on one line and not longer than a line.

    Example:
        >>> shorten("shape" + " x" * 100, 20)
        'shape x x x x x x x...'
    """
    text = " ".join(str(reason)[: 10 * length].split())
    return text if len(text) <= length else f"{text[:length].rstrip()}..."


def _unique_keys(pairs: list[tuple]) -> dict:
    fields = dict(pairs)
    if len(fields) != len(pairs):
        seen: set = set()
        twice = next(key for key, _ in pairs if key in seen or seen.add(key))
        raise ValueError(f"has the key {shorten(repr(twice))} twice")
    return fields


def _refuse_constant(name: str) -> None:
    raise ValueError(f"has the value {name}, which is no number")


def _parse_int(digits: str) -> int | float:
    """Python refuses thousands of digits in a way of its own; such a number is none of a checkpoint."""
    if len(digits) > MAX_DIGITS:
        raise ValueError(f"has a number of {len(digits)} digits")
    return int(digits)


def is_finite(value: object) -> bool:
    """Whether this is no number, or a finite one.

    Example:
        >>> is_finite("text"), is_finite(1e400)
        (True, False)
    """
    return not isinstance(value, float) or math.isfinite(value)


__all__ = ["depth", "is_finite", "parse_fields", "read_fields", "shorten"]
