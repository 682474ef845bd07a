"""Configuration files of training runs (YAML): what there is to set."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, field

from ..errors import CheckpointError, ConfigError
from ..model_families import load_class
from ..models.checkpoint_loading import model_type_of
from ..models.glus.configuration_glus import MINIMUMS
from .arguments import GLUSTrainingArguments
from .runs.config_file import arguments, check_choice, check_keys, read_config, section, sections
from .samples.referring_video_dataset import OVERLAPS


QUANTIZATIONS = ("4bit",)
ATTENTION = ("sdpa", "eager", "flash_attention_2")


@dataclass
class ModelSection:
    """The model to start from.

    Args:
        pretrained: folder, alias or Hub name. What the paper starts from is made by `glus-hf convert --llm`.
        dtype: of the frozen weights; what trains is always float32.
        quantization: "4bit" for the language model (needs bitsandbytes).
        attn_implementation: "sdpa", "eager" or "flash_attention_2".
        compat: preset of options, as of `from_pretrained`.
        options: fields of its configuration to change, such as `num_maskmem: 0`.
    """

    pretrained: str = "glus-tiny"
    dtype: str = "float32"
    quantization: str | None = None
    attn_implementation: str | None = None
    compat: str | None = None
    options: dict = field(default_factory=dict)


@dataclass
class DatasetSection:
    """One dataset.

    Args:
        name: as of `load_referring_dataset`.
        data_dir: its folder; by default `data.root`.
        split: of the dataset.
        weight: how often its videos are sampled, relative to the others.
        options: of its builder, such as `size` of motion_shapes.
    """

    name: str = ""
    data_dir: str | None = None
    split: str = "train"
    weight: float = 1.0
    options: dict = field(default_factory=dict)


@dataclass
class DataSection:
    """What to train on. One dataset is read through, video by video; several are sampled by weight.

    Args:
        train: list of [`DatasetSection`].
        root: folder of datasets without a `data_dir` of their own.
        samples_per_epoch: with several datasets; by default their number of videos.
        max_expressions: most expressions of a video in a sample.
        mask_overlap: "union" or "sum" (as the original code), where objects of one expression overlap.
        on_error: "raise" or "skip" samples that cannot be read.
        cache_dir: where rows are kept.
    """

    train: list[DatasetSection] = sections(DatasetSection)
    root: str | None = None
    samples_per_epoch: int | None = None
    max_expressions: int = 3
    mask_overlap: str = "union"
    on_error: str = "raise"
    cache_dir: str | None = None


@dataclass
class ValidationSection(DatasetSection):
    """A dataset with ground truth; without a name nothing is validated. `training.eval_strategy` says when.

    Args:
        name, data_dir, split, options: as of a training set; `weight` means nothing here.
        max_videos: how many videos are segmented for J&F; 0 leaves that out, so that only losses are computed.
        protocol: how to score; by default the dataset's own.
    """

    split: str = "validation"
    max_videos: int | None = 50
    protocol: str | None = None


@dataclass
class RunConfig:
    """A training run. `training` are the fields of [`GLUSTrainingArguments`]; `export` is the folder that gets the
    merged model at the end."""

    model: ModelSection = section(ModelSection)
    data: DataSection = section(DataSection)
    validation: ValidationSection = section(ValidationSection)
    training: dict = arguments(GLUSTrainingArguments)
    export: str | None = None


def load_run_config(file: str | os.PathLike, overrides: Sequence[str] = ()) -> RunConfig:
    """Read a configuration.

    Args:
        file: YAML with the sections of [`RunConfig`].
        overrides: "section.key=value" each, the value in YAML; go before the file.

    Raises:
        ConfigError: the file cannot be read, an unknown key, a value of the wrong kind, no training data; one line.

    Example:

        >>> config = load_run_config("tiny.yaml", ["training.max_steps=5"])  # doctest: +SKIP
        >>> config.training["max_steps"]  # doctest: +SKIP
        5
    """
    config = read_config(RunConfig, file, overrides)
    check_choice(file, "model.quantization", config.model.quantization, (None, *QUANTIZATIONS))
    check_choice(file, "model.attn_implementation", config.model.attn_implementation, (None, *ATTENTION))
    check_choice(file, "data.mask_overlap", config.data.mask_overlap, OVERLAPS)
    if config.model.options and (known := _options_of(config.model)):
        check_keys(file, RunConfig, "model.options", config.model.options, known)
    for name in MINIMUMS.keys() & config.model.options.keys():
        _check_count(file, f"model.options.{name}", config.model.options[name], MINIMUMS[name])
    _check_count(file, "data.max_expressions", config.data.max_expressions, 1)
    if config.validation.max_videos is not None:
        _check_count(file, "validation.max_videos", config.validation.max_videos, 0)
    return config


def _options_of(model: ModelSection) -> list[str]:
    """Fields of the configuration of the model to start from; none where it is not here: loading says so."""
    try:
        family = model_type_of(model.pretrained)
    except (CheckpointError, OSError):
        return []
    return sorted(load_class(family, "config")().to_dict())


def _check_count(file: str | os.PathLike, name: str, value, least: int) -> None:
    if type(value) is not int or value < least:
        raise ConfigError(f"{file}: {name} must be a whole number, {least} or more, got {value!r}")


__all__ = ["ConfigError", "RunConfig", "load_run_config"]
