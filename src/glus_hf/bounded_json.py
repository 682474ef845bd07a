"""JSON whose size in memory is known before it is parsed, and that says nothing twice."""

from __future__ import annotations

import json
import re

from .errors import UserError
from .safe_files import MB, readable_size


MAX_MEMORY = 1500 * MB  # that values may take when they are parsed
_HALF_CHARACTER = re.compile(rb"\\u[dD][89a-fA-F]")


def decode_json(data: bytes, max_memory: int = MAX_MEMORY):
    """Strict JSON out of UTF-8, with or without a mark at its start.

    Raises:
        UnicodeDecodeError, json.JSONDecodeError: it is no UTF-8 or no JSON.
        ValueError: an object has a key twice, a text holds half a character, a number or the nesting has no end, or it
            takes too much memory. The message does not say where.
    """
    check_memory(data, max_memory)
    try:
        content = json.loads(data.decode("utf-8-sig"), object_pairs_hook=_unique_keys)
        if _HALF_CHARACTER.search(data):  # most often of a pair, which is one character
            json.dumps(content, ensure_ascii=False).encode("utf-8")
    except UnicodeEncodeError:
        raise UserError("a text holds half a character (\\ud800 to \\udfff)") from None
    except RecursionError:
        raise UserError("is nested too deeply") from None
    return content


def parsed_size(data: bytes | str) -> int:
    """Upper bound, in bytes, of the memory that JSON takes while it is parsed, as a count of its signs tells."""
    if isinstance(data, str):
        data = data.encode("latin-1")
    return (
        5 * len(data)
        + 100 * data.count(b"[")
        + 250 * data.count(b"{")
        + 60 * data.count(b",")
        + 200 * data.count(b":")
    )


def check_memory(data: bytes | str, allowed: int) -> None:
    """Refuse JSON that may take more than `allowed` bytes of memory when it is parsed.

    Raises:
        UserError: one line, which does not say where.
    """
    needed = parsed_size(data)
    if needed > allowed:
        raise UserError(
            f"its values may take {readable_size(needed)} of memory, {readable_size(allowed)} are allowed; split it"
        )


def _unique_keys(pairs: list[tuple]) -> dict:
    result = dict(pairs)
    if len(result) != len(pairs):
        seen = set()
        twice, value = next(pair for pair in pairs if pair[0] in seen or seen.add(pair[0]))
        # the parser does not say where, and an id like '0' is in every video: the value tells
        raise UserError(f"{twice!r} appears twice, the second time with {_beginning(value)}")
    return result


def _beginning(value, length: int = 60) -> str:
    text = repr(value)
    return text if len(text) <= length else f"{text[:length]}..."


__all__ = ["MAX_MEMORY", "check_memory", "decode_json", "parsed_size"]
