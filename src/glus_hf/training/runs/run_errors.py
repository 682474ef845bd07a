"""What a script says when a run cannot go on: one line; defects of the program keep their traceback."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager

from safetensors import SafetensorError


DISK = ("PytorchStreamWriter", "inline_container", "I/O error", "No space left")
MISSING_PACKAGE = "to be installed"  # transformers, of report_to


@contextmanager
def errors_in_one_line() -> Iterator[None]:
    """Leave the program with one line for what a user can set right: bad input, a full disk, a missing package."""
    try:
        yield
    except (ValueError, OSError, FloatingPointError, ImportError, RuntimeError, SafetensorError) as error:
        text = " ".join(str(error).split())
        if isinstance(error, (RuntimeError, SafetensorError)):
            if any(sign in text for sign in DISK):
                text = f"a file could not be written or read; is the disk full? ({text})"
            elif MISSING_PACKAGE not in text:
                raise
        sys.exit(f"error: {text}")


__all__ = ["errors_in_one_line"]
