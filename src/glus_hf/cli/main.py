"""The `glus-hf` command: one file per command. Heavy imports happen inside the commands, so `--help` is fast."""

from __future__ import annotations

from contextlib import suppress
from typing import Annotated

import typer

from . import data as data_commands
from .compare import compare
from .convert import convert, export
from .demo import demo
from .detect import detect
from .evaluate import evaluate
from .evaluate_objects import evaluate_objects
from .evaluate_vos import evaluate_vos
from .export_masks import export_masks
from .info import info
from .new_model import new_model
from .output import (
    end_without_reader,
    open_missing_streams,
    report_errors,
    stop,
    stop_at_error,
    stop_at_usage,
)
from .pseudo_label import pseudo_label
from .push import push
from .report import report
from .score import score
from .segment import segment
from .segment_many import segment_many
from .segment_object import segment_object
from .serve import serve
from .track import track
from .train import TrainCommand, train


UsageError = typer.BadParameter.__base__  # typer keeps click inside, or beside it

app = typer.Typer(
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},  # commands inherit it
)


def _print_version(asked: bool) -> None:
    if asked:
        from importlib.metadata import PackageNotFoundError, version

        from .. import __version__

        names = {}
        for name in ("torch", "transformers"):
            with suppress(PackageNotFoundError):
                names[name] = version(name)
        libraries = ", ".join(f"{name} {number}" for name, number in names.items())
        print(f"glus-hf {__version__} ({libraries})")
        raise typer.Exit()


@app.callback()
def options(
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version and stop.")
    ] = False,
) -> None:
    """Referring video segmentation: describe an object in words, get its mask in every frame."""


for command in (segment, segment_many, segment_object, track, detect, demo, export_masks):
    app.command()(report_errors(command))
app.command(cls=TrainCommand)(report_errors(train))
for command in (
    evaluate,
    evaluate_objects,
    evaluate_vos,
    compare,
    score,
    report,
    convert,
    new_model,
    export,
    pseudo_label,
    push,
    serve,
    info,
):
    app.command()(report_errors(command))
app.add_typer(data_commands.app, name="data")


def main(args: list[str] | None = None) -> None:
    """Entry point of the `glus-hf` command; `args` are those of the program by default."""
    open_missing_streams()
    try:
        code = app(args, prog_name="glus-hf", standalone_mode=False)
    except UsageError as error:
        stop_at_usage(error)
    except BrokenPipeError:
        end_without_reader()
    except OSError as error:
        stop_at_error(error)
    except KeyboardInterrupt:
        stop("Interrupted", 130)
    raise SystemExit(code if isinstance(code, int) else 0)


if __name__ == "__main__":
    main()
