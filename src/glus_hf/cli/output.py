"""What all commands do with their output: one-line errors, tables, progress bars, files that can be written."""

from __future__ import annotations

import functools
import inspect
import os
import sys
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import typer

from ..errors import UserError


Debug = Annotated[bool, typer.Option("--debug", help="Show the traceback of an error.")]


def report_errors(command: Callable) -> Callable:
    """The command with `--debug`. It prints an expected error as one line on stderr, exit code 2; a defect with its
    traceback, exit code 1; Ctrl-C ends it with 130.

    Every process of a launch prints its own.
    """

    @functools.wraps(command)
    def wrapped(*args, debug: bool = False, **kwargs):
        try:
            return command(*args, **kwargs)
        except (typer.Exit, typer.Abort):
            raise
        except KeyboardInterrupt:
            stop("Interrupted", 130)
        except (UserError, OSError) as error:
            if debug:
                traceback.print_exc()
            stop(f"Error: {' '.join(str(error).split())}", 2)
        except Exception:
            traceback.print_exc()
            stop("unexpected error, please report it", 1)

    signature = inspect.signature(command, eval_str=True)
    option = inspect.Parameter("debug", inspect.Parameter.KEYWORD_ONLY, default=False, annotation=Debug)
    parameters = [*signature.parameters.values(), option]
    wrapped.__signature__ = signature.replace(parameters=parameters)
    wrapped.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}
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


__all__ = ["print_table", "report_errors", "set_progress", "stop", "writable"]
