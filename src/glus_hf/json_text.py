"""JSON that every reader takes: a number that is not finite is written as null.

Python's own writer puts `NaN` and `Infinity` there, which are no JSON: `jq`, JavaScript and strict readers end with an
error on the whole line.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping


def json_text(content: object, **options) -> str:
    """The content as JSON, NaN and infinite numbers as null: there is no such score.

    Args:
        content: what `json.dumps` takes.
        options: of `json.dumps`.

    Example:
        >>> json_text({"J": float("nan"), "frames": [1, float("inf")]})
        '{"J": null, "frames": [1, null]}'
    """
    return json.dumps(_finite(content), allow_nan=False, **options)


def _finite(content: object) -> object:
    if isinstance(content, float):  # those of NumPy too
        return float(content) if math.isfinite(content) else None
    if isinstance(content, Mapping):
        return {key: _finite(value) for key, value in content.items()}
    if isinstance(content, (list, tuple)):
        return [_finite(value) for value in content]
    return content


__all__ = ["json_text"]
