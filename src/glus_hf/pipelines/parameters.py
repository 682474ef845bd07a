"""The parameters of a call, checked before any work: a wrong kind is one line, not an error from deep inside."""

from __future__ import annotations

import math
from collections.abc import Callable
from numbers import Integral, Real

from ..errors import UserError
from ..inference.frame_selector import check_threshold
from ..inference.kept_masks import OUTPUTS
from ..media.decode_limits import DecodeLimits
from ..models.sessions import WINDOWS


PREPROCESS_PARAMETERS = (
    "key_frame",
    "context_frames",
    "corrections",
    "max_frames",
    "limits",
    "selector",
    "selector_processor",
    "no_target_threshold",
    "timeout",
    "max_download_bytes",
    "allow_private_addresses",
    "progress",
)
FORWARD_PARAMETERS = ("threshold", "progress", "batch_size", "output", "on_frame", "window", "frame_stride")
CALL_PARAMETERS = tuple(dict.fromkeys((*PREPROCESS_PARAMETERS, *FORWARD_PARAMETERS)))


def check_parameters(parameters: dict) -> None:
    """Refuse unknown parameters and values of the wrong kind.

    Raises:
        TypeError: a parameter that is not known; the known ones are listed.
        UserError: a value that it cannot have.

    Example:
        >>> check_parameters({"batch_size": "auto"})
        Traceback (most recent call last):
        glus_hf.errors.UserError: batch_size must be a whole number of at least 1, or None, got 'auto'
    """
    unknown = sorted(set(parameters) - set(CALL_PARAMETERS))
    if unknown:
        raise TypeError(f"unknown parameter {', '.join(unknown)}; known are {', '.join(CALL_PARAMETERS)}")
    check_threshold(parameters.get("no_target_threshold"))
    for name, (is_valid, expected) in _KINDS.items():
        if name in parameters and not is_valid(parameters[name]):
            raise UserError(f"{name} must be {expected}, got {parameters[name]!r:.80}")


def _is_number(value) -> bool:
    return isinstance(value, Real) and not isinstance(value, bool) and math.isfinite(value)


def _is_count(value) -> bool:
    return value is None or (isinstance(value, Integral) and not isinstance(value, bool) and value >= 1)


def _is_context(value) -> bool:
    value = value.tolist() if hasattr(value, "tolist") else value
    is_list = isinstance(value, (list, tuple)) and all(isinstance(index, Integral) for index in value)
    return value is None or isinstance(value, str) or is_list


def _is_switch(value) -> bool:
    return isinstance(value, bool)


_KINDS: dict[str, tuple[Callable[[object], bool], str]] = {
    "batch_size": (_is_count, "a whole number of at least 1, or None"),
    "max_frames": (_is_count, "a positive integer or None"),
    "limits": (lambda value: value is None or isinstance(value, DecodeLimits), "a DecodeLimits or None"),
    "context_frames": (_is_context, "the name of a strategy or a list of frame numbers"),
    "corrections": (
        lambda value: value is None or isinstance(value, (list, tuple)),
        "a list of (frame, number of the expression, mask)",
    ),
    "threshold": (_is_number, "a finite number"),
    "window": (lambda value: value in WINDOWS, f"one of {', '.join(WINDOWS)}"),
    "frame_stride": (lambda value: value is not None and _is_count(value), "a whole number of at least 1"),
    "output": (lambda value: value in tuple(OUTPUTS), f"one of {', '.join(OUTPUTS)}"),
    "on_frame": (lambda value: value is None or callable(value), "a function of one argument or None"),
    "timeout": (lambda value: _is_number(value) and value > 0, "a positive number of seconds"),
    "max_download_bytes": (lambda value: value is not None and _is_count(value), "a positive number of bytes"),
    "progress": (_is_switch, "True or False"),
    "allow_private_addresses": (_is_switch, "True or False"),
}


__all__ = ["CALL_PARAMETERS", "FORWARD_PARAMETERS", "PREPROCESS_PARAMETERS", "check_parameters"]
