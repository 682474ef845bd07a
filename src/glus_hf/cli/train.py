"""`glus-hf train`: train the model of a recipe or a configuration file."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated

import typer
from typer.core import TyperCommand

from .output import echo, stop


LAST = "last"
DEFAULT = "tiny"
NO_CONFIG = (
    "No configuration given: training the bundled model on generated clips. For the paper's recipe, pass "
    "glus_s data.root=FOLDER, where FOLDER holds mevis/ and Refer-YouTube-VOS/ (docs/training.md)."
)


class TrainCommand(TyperCommand):
    """`--resume` alone stands for `--resume last`: typer has no option whose value may be left out."""

    def parse_args(self, ctx, args: list[str]) -> list[str]:
        return super().parse_args(ctx, with_resume_value(args))


def with_resume_value(args: list[str]) -> list[str]:
    """The arguments with a value after each `--resume`; what has a "=" is a key, not a checkpoint.

    Example:

        >>> with_resume_value(["tiny", "--resume", "training.max_steps=5"])
        ['tiny', '--resume', 'last', 'training.max_steps=5']
    """
    completed = []
    for arg, following in zip(args, [*args[1:], None], strict=True):
        completed.append(arg)
        if arg == "--resume" and (following is None or following.startswith("-") or "=" in following):
            completed.append(LAST)
    return completed


def train(
    config: Annotated[
        str | None, typer.Argument(metavar="[CONFIG]", help="Name of a recipe, or a YAML file; by default tiny.")
    ] = None,
    overrides: Annotated[
        list[str] | None, typer.Argument(metavar="KEY=VALUE", help="Go before the file: training.max_steps=100.")
    ] = None,
    resume: Annotated[
        str | None, typer.Option(help="Go on from the last checkpoint, or from this one.", metavar="[CHECKPOINT]")
    ] = None,
    export: Annotated[
        Path | None, typer.Option(help="Folder for the trained model, adapter merged; as `export` in the file.")
    ] = None,
    show: Annotated[bool, typer.Option("--show", help="Print the file, to copy and change it, and stop.")] = False,
) -> None:
    """Train GLUS, its key-frame selector or GLEE; the model to start from decides. Runs under accelerate and torchrun.

    Ctrl-C finishes the step, saves it and stops; --resume goes on.

    Without CONFIG the bundled model trains on generated clips, to try it out.

    For example: glus-hf train tiny training.max_steps=5
    """
    config, overrides = _with_default(config, overrides or [])
    if show:
        from ..training.runs.train_from_file import recipe_file

        print(recipe_file(config).read_text(encoding="utf-8"), end="")
        return
    from ..training.runs.interruption import TrainingStopped
    from ..training.runs.train_from_file import train_from_file

    try:
        trainer, folder = train_from_file(config, overrides, True if resume == LAST else resume, export)
    except TrainingStopped as stopped:
        stop(str(stopped), 130)
    if trainer.is_world_process_zero():
        echo(f"Model: {folder}")


def _with_default(config: str | None, overrides: list[str]) -> tuple[str, list[str]]:
    """Configuration and keys; a first argument with "=" is a key of the default one."""
    if config is not None and "=" not in config:
        return config, overrides
    if os.environ.get("RANK", "0") == "0":
        echo(NO_CONFIG, err=True)
    return DEFAULT, [*([config] if config else []), *overrides]
