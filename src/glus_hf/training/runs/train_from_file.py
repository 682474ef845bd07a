"""A training run from its configuration file to the exported model, for every family that can be trained."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from pathlib import Path

from ...errors import ConfigError
from ...hub import DEFAULT_MODEL
from ...model_families import RUNS, load_module
from ...models.checkpoint_loading import model_type_of
from ..checkpoints import checkpoint_to_resume
from .config_file import read_content
from .interruption import stopping_at_ctrl_c
from .library_errors import library_errors
from .run_folders import check_run_folders


RECIPES = Path(__file__).parents[1] / "recipes"


def recipe_file(name_or_file: str | os.PathLike) -> Path:
    """The file of a recipe by its name; a file as it is.

    Raises:
        ConfigError: neither a file nor a recipe; the message lists the recipes.

    Example:

        >>> recipe_file("tiny").name
        'tiny.yaml'
    """
    file = Path(name_or_file)
    recipe = RECIPES / f"{name_or_file}.yaml"
    if file.exists() or not recipe.is_file():
        if not file.is_file():
            names = ", ".join(sorted(path.stem for path in RECIPES.glob("*.yaml")))
            raise ConfigError(f"{name_or_file}: there is no such file; name a file, or one of the recipes {names}")
        return file
    return recipe


def train_from_file(
    name_or_file: str | os.PathLike,
    overrides: Sequence[str] = (),
    resume: str | bool | None = None,
    export: str | os.PathLike | None = None,
) -> tuple:
    """Train as a configuration says. The model that it starts from decides what is trained.

    Args:
        name_or_file: name of a recipe, or a YAML file.
        overrides: "section.key=value" each; go before the file.
        resume: True goes on from the last complete checkpoint of the run, or starts anew in its folder where there is
            none; a path goes on from that checkpoint.
        export: folder for the trained model, adapter merged; goes before `export` of the file.

    Returns:
        The trainer, at the end of the training, and the folder of the model.

    Raises:
        UserError: something of the configuration, the data or the checkpoint does not fit; one line.
        TrainingStopped: Ctrl-C; the step is finished and saved first.

    Example:

        >>> trainer, folder = train_from_file("tiny", ["training.max_steps=2"])  # doctest: +SKIP
    """
    file = recipe_file(name_or_file)
    load_config, build_trainer = _run_of(file, overrides)
    config = load_config(file, overrides)
    config.export = config.export if export is None else str(export)
    check_run_folders(config, resume)
    with library_errors(config.training.get("output_dir"), config.export):
        trainer = build_trainer(config)
        with stopping_at_ctrl_c(trainer):
            checkpoint = checkpoint_to_resume(trainer.args.output_dir, resume)
            result = trainer.train(resume_from_checkpoint=checkpoint)
        trainer.log_metrics("train", result.metrics)
        trainer.save_state()
        return trainer, _save(trainer, config.export)


def _run_of(file: Path, overrides: Sequence[str]) -> tuple[Callable, Callable]:
    """The functions that read the configuration and build the trainer, by the family of the model to start from."""
    model = read_content(file, overrides).get("model")
    name = model.get("pretrained", DEFAULT_MODEL) if isinstance(model, dict) else DEFAULT_MODEL
    model_type = model_type_of(name) if name and isinstance(name, str) else next(iter(RUNS))  # its reader refuses it
    if model_type not in RUNS:
        raise ConfigError(
            f"{file}: model.pretrained: {name} is a {model_type!r} model; training starts from {' or '.join(RUNS)}"
        )
    module, load_config, build_trainer = RUNS[model_type]
    return getattr(load_module(module), load_config), getattr(load_module(module), build_trainer)


def _save(trainer, export: str | None) -> Path:
    if export:
        trainer.export(export)
    else:
        trainer.save_model()
    if trainer.args.push_to_hub:
        trainer.push_to_hub()
    return Path(export or trainer.args.output_dir)


__all__ = ["RECIPES", "recipe_file", "train_from_file"]
