"""From a configuration file (YAML) to a trainer of the key-frame selector."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, field

import torch

from ..errors import ConfigError
from ..models.glus_selector.modeling_glus_selector import GLUSSelector
from ..models.glus_selector.processing_glus_selector import GLUSSelectorProcessor
from .runs.config_file import arguments, check_choice, read_config, section, sections
from .runs.library_errors import make_arguments
from .runs.run_data import load_rows, one_or_mixture
from .samples.selector_samples import TARGET_FRAMES, SelectorDataset
from .selector_arguments import GLUSSelectorTrainingArguments
from .selector_trainer import GLUSSelectorTrainer


@dataclass
class SelectorModelSection:
    """The selector to start from: folder, alias or Hub name, and the precision of its frozen weights."""

    pretrained: str = ""
    dtype: str = "float32"


@dataclass
class LabelledSet:
    """One dataset with labels.

    Args:
        name, data_dir, split, options: as of `load_referring_dataset`.
        labels: folder of its pseudo-labels; by default `data.labels`.
        weight: how often its videos are sampled, relative to the others.
    """

    name: str = ""
    data_dir: str | None = None
    split: str = "train"
    labels: str | None = None
    weight: float = 1.0
    options: dict = field(default_factory=dict)


@dataclass
class LabelledValidationSet(LabelledSet):
    """A dataset with labels; without a name nothing is validated. `training.eval_strategy` says when."""

    split: str = "validation"


@dataclass
class SelectorDataSection:
    """What to train on.

    Args:
        train: list of [`LabelledSet`]; one is read through video by video, several are sampled by weight.
        labels: folder of pseudo-labels.
        root: folder of datasets without a `data_dir` of their own.
        samples_per_epoch: with several datasets; by default their number of videos.
        context_frames: fewest and most context frames of a sample.
        target_frame: "context" (one of these, as the original code) or "apart" (beside them, as the paper).
        max_expressions: most expressions of a video in a sample.
        on_error: "raise" or "skip" samples that cannot be read.
        cache_dir: where rows are kept.
    """

    train: list[LabelledSet] = sections(LabelledSet)
    labels: str | None = None
    root: str | None = None
    samples_per_epoch: int | None = None
    context_frames: list = field(default_factory=lambda: [8, 12])
    target_frame: str = "context"
    max_expressions: int = 3
    on_error: str = "raise"
    cache_dir: str | None = None


@dataclass
class SelectorRunConfig:
    """A training run. `training` are fields of [`GLUSSelectorTrainingArguments`]; `export` is the folder that gets the
    merged selector at the end."""

    model: SelectorModelSection = section(SelectorModelSection)
    data: SelectorDataSection = section(SelectorDataSection)
    validation: LabelledValidationSet = section(LabelledValidationSet)
    training: dict = arguments(GLUSSelectorTrainingArguments)
    export: str | None = None


def load_selector_config(file: str | os.PathLike, overrides: Sequence[str] = ()) -> SelectorRunConfig:
    """Read a configuration.

    Args:
        file: YAML with the sections of [`SelectorRunConfig`].
        overrides: "section.key=value" each, the value in YAML; go before the file.

    Raises:
        ConfigError: the file cannot be read, an unknown key, a value of the wrong kind, no model or no data; one line.

    Example:

        >>> load_selector_config("selector.yaml").training["lora_rank"]  # doctest: +SKIP
        8
    """
    config = read_config(SelectorRunConfig, file, overrides)
    check_choice(file, "data.target_frame", config.data.target_frame, TARGET_FRAMES)
    frames = config.data.context_frames
    if len(frames) != 2 or not all(type(count) is int for count in frames) or not 1 <= frames[0] <= frames[1]:
        needed = "two whole numbers from 1 up, fewest and most"
        raise ConfigError(f"{file}: data.context_frames must be {needed}, got {frames!r}")
    return config


def build_selector_trainer(config: SelectorRunConfig) -> GLUSSelectorTrainer:
    """Model, data and trainer of a run. Nothing is trained yet.

    Raises:
        UserError: something of the configuration does not fit; one line.
    """
    training = {"max_expressions": config.data.max_expressions, **config.training}
    args = make_arguments(GLUSSelectorTrainingArguments, training)
    processor = GLUSSelectorProcessor.from_pretrained(config.model.pretrained)
    with args.main_process_first(desc="reading the datasets"):  # the others find them in the cache
        train = one_or_mixture(config.data, lambda dataset: _labelled(config, dataset, args.seed), args.seed)
        validation = _labelled(config, config.validation, seed=0) if config.validation.name else None
    if validation is None and args.do_eval:
        raise ConfigError("training.eval_strategy is set but no dataset to validate on; set validation.name")
    model = GLUSSelector.from_pretrained(config.model.pretrained, dtype=getattr(torch, config.model.dtype))
    model.name_or_path = config.model.pretrained
    return GLUSSelectorTrainer(model, args, train_dataset=train, eval_dataset=validation, processing_class=processor)


def _labelled(config: SelectorRunConfig, dataset: LabelledSet, seed: int) -> SelectorDataset:
    labels = dataset.labels or config.data.labels
    if not labels:
        raise ConfigError(f"{dataset.name} has no labels; set data.labels, see glus-hf pseudo-label")
    return SelectorDataset(
        load_rows(config.data, dataset),
        labels,
        context_frames=config.data.context_frames,
        target_frame=config.data.target_frame,
        max_expressions=config.data.max_expressions,
        seed=seed,
        on_error=config.data.on_error,
    )


__all__ = ["SelectorRunConfig", "build_selector_trainer", "load_selector_config"]
