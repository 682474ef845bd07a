"""What all commands do with their output: one-line errors, tables, progress bars, files that can be written."""

from __future__ import annotations

import functools
import os
import sys
from pathlib import Path

from ..errors import UserError


def one_line_errors(command):
    """Print an expected error as one line on stderr, exit code 2; 130 for Ctrl-C."""

    @functools.wraps(command)
    def wrapped(*args, **kwargs):
        try:
            return command(*args, **kwargs)
        except KeyboardInterrupt:
            stop("Interrupted", 130)
        except (UserError, OSError) as error:
            stop(f"Error: {' '.join(str(error).split())}", 2)

    return wrapped


def stop(message: str, code: int) -> None:
    """End the program with a line on stderr."""
    print(message, file=sys.stderr)
    raise SystemExit(code)


def writable(path: Path) -> Path:
    """Create the parent folder now, not after the long work; one line if that is impossible."""
    if path.is_dir():
        raise UserError(f"{path}: is a folder; name a file in it")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"{path}: cannot be written ({error.strerror}); choose another place") from None
    if not os.access(path.parent, os.W_OK):
        raise UserError(f"{path}: its folder is not writable; choose another place")
    return path


def set_progress(quiet: bool) -> None:
    """With `quiet`, no progress bars and no warnings."""
    from transformers.utils import logging

    if quiet:
        logging.disable_progress_bar()
        logging.set_verbosity_error()


def print_table(header: list[str], rows: list) -> None:
    """Print rows under a header, or without one if all its names are empty."""
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(*header, show_header=any(header), box=None, pad_edge=False)
    for row in rows:
        table.add_row(*[Text(str(cell), overflow="fold") for cell in row])  # brackets in a sentence are no markup
    Console(highlight=False).print(table)


__all__ = ["one_line_errors", "print_table", "set_progress", "stop", "writable"]
