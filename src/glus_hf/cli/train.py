"""`glus-hf train`: train the model of a recipe or a configuration file."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from typer.core import TyperCommand

from .output import echo, stop


LAST = "last"


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
    config: Annotated[str, typer.Argument(metavar="CONFIG", help="Name of a recipe (tiny), or a YAML file.")],
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

    For example: glus-hf train tiny training.max_steps=5
    """
    if show:
        from ..training.runs.train_from_file import recipe_file

        print(recipe_file(config).read_text(encoding="utf-8"), end="")
        return
    from ..training.runs.interruption import TrainingStopped
    from ..training.runs.train_from_file import train_from_file

    try:
        trainer, folder = train_from_file(config, overrides or [], True if resume == LAST else resume, export)
    except TrainingStopped as stopped:
        stop(str(stopped), 130)
    if trainer.is_world_process_zero():
        echo(f"Model: {folder}")
