"""What all commands do with their output: one-line errors, tables, progress bars, text that a terminal can show."""

from __future__ import annotations

import contextlib
import functools
import inspect
import os
import sys
import traceback
from collections.abc import Callable
from typing import Annotated

import typer

from ..control_characters import is_unseen
from ..errors import MAX_MESSAGE, UserError, one_line, system_error_line
from ..json_text import json_text


READER_LEFT = 141  # as a program that ends by SIGPIPE

Debug = Annotated[bool, typer.Option("--debug", help="Show the traceback of an error.")]


def report_errors(command: Callable) -> Callable:
    """The command with `--debug`. It prints an expected error as one line on stderr, exit code 2; a defect with its
    traceback, exit code 1; Ctrl-C ends it with 130.

    Every process of a launch prints its own.
    """

    @functools.wraps(command)
    def wrapped(*args, debug: bool = False, **kwargs):
        try:
            result = command(*args, **kwargs)
            sys.stdout.flush()
            return result
        except (typer.Exit, typer.Abort):
            raise
        except BrokenPipeError:
            end_without_reader()
        except KeyboardInterrupt:
            stop("Interrupted", 130)
        except (UserError, OSError) as error:
            if debug:
                traceback.print_exc()
            stop_at_error(error)
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
    """End the program with a line on stderr, or with the code alone where stderr cannot be written."""
    try:
        echo(message, err=True)
    except OSError:
        _forget(sys.__stderr__)
    raise SystemExit(code)


def stop_at_error(error: UserError | OSError) -> None:
    """End the program at an error that the user can set right: one line, exit code 2."""
    text = system_error_line(error) if isinstance(error, OSError) else error
    line = f"Error: {one_line(text, getattr(error, 'longest_message', MAX_MESSAGE))}"
    with contextlib.suppress(OSError):
        sys.stdout.flush()
        stop(line, 2)
    _forget(sys.__stdout__)
    stop(line, 2)


def end_without_reader() -> None:
    """End quietly where nobody reads what is printed, as after `| head -1`."""
    _forget(sys.__stdout__, sys.__stderr__)
    raise SystemExit(READER_LEFT)


def _forget(*streams) -> None:
    """Lead streams nowhere: what they still hold would fail again at the end."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    for stream in filter(None, streams):
        os.dup2(nowhere, stream.fileno())


def open_missing_streams() -> None:
    """Open what the program was started without, as by `>&-`: else the next file would take the number of stdout or
    stderr, and get what is printed."""
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        if getattr(sys, name) is None:
            setattr(sys, name, open(os.devnull, mode))  # noqa: SIM115, it stays open


def stop_at_usage(error: Exception) -> None:
    """End the program at an option or an argument that does not exist or cannot be read: one line, exit code 2.

    Args:
        error: as typer raises it; a command without any argument shows its help.
    """
    if not error.format_message() or type(error).__name__ == "NoArgsIsHelpError":
        error.show()
        raise SystemExit(2)
    context = getattr(error, "ctx", None)
    command = "glus-hf" if context is None else context.command_path
    stop(f"Error: {one_line(error.format_message().rstrip('.'))}; see {command} --help", 2)


def printable(text: object) -> str:
    """The text with control characters and the like as escapes; line breaks stay.

    Example:
        >>> printable("a dog\\x1b[2J")
        'a dog\\\\x1b[2J'
    """
    shown = lambda letter: letter.encode("unicode_escape").decode() if is_unseen(letter) and letter != "\n" else letter
    return "".join(map(shown, str(text)))


def echo(message: object, err: bool = False) -> None:
    """Print a text that may quote the user's: an expression, an id, a path."""
    print(printable(message), file=sys.stderr if err else sys.stdout)


def print_json(content: object) -> None:
    """Print the result of `--json`, one object in one line; a number that is not finite is null."""
    print(json_text(content))


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

    console = Console(highlight=False)
    table = Table(*header, show_header=any(header), box=None, pad_edge=False)
    for row in rows:
        table.add_row(
            *[Text(printable(cell), overflow="fold") for cell in row]
        )  # brackets in an expression are no markup
    with console.capture() as shown:
        console.print(table)
    print(shown.get(), end="")  # rich itself would end the program with 1 where nobody reads


__all__ = [
    "echo",
    "end_without_reader",
    "open_missing_streams",
    "print_json",
    "print_table",
    "printable",
    "report_errors",
    "set_progress",
    "stop",
    "stop_at_error",
    "stop_at_usage",
]
