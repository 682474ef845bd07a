"""From a configuration file (YAML) to a trainer of GLEE."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path

import torch
from torch.utils.data import Dataset

from ..errors import ConfigError
from ..models.glee.configuration_glee import GLEEConfig
from ..models.glee.modeling_glee import GLEEForVideoSegmentation
from ..models.glee.processing_glee import GLEEProcessor
from .glee_arguments import GLEETrainingArguments
from .glee_trainer import GLEETrainer
from .runs.config_file import arguments, check_choice, check_keys, read_config, section, sections
from .runs.library_errors import make_arguments
from .runs.run_data import load_rows
from .samples.glee_collator import GLEECollator
from .samples.image_augmentation import AUGMENTATIONS
from .samples.instance_dataset import LABELS, InstanceDataset
from .samples.ratio_mixture import RatioMixture
from .samples.referring_video_dataset import ReferringVideoDataset


@dataclass
class GLEEModelSection:
    """The model to start from.

    Args:
        pretrained: folder, alias or Hub name.
        dtype: of the weights that are loaded.
        distill: hold a frozen copy of the text tower, and keep the trained one near it; a checkpoint that has the copy
            goes on with that.
        options: fields of `GLEEConfig` to change, such as `distill_loss: mse`.
    """

    pretrained: str = ""
    dtype: str = "float32"
    distill: bool = False
    options: dict = field(default_factory=dict)


@dataclass
class GLEEDataset:
    """One dataset: of images with instances where it has `annotations`, else of videos with expressions.

    Args:
        name: of instances any name; of videos as of `load_referring_dataset`.
        weight: how often its samples are drawn, relative to the others, whatever their number.
        annotations: file in the format of COCO or YouTube-VIS, or a list of them, below `data.root`.
        images: folder of the images, below `data.root`.
        labels: "categories", "descriptions", "expressions" or "objects", see [`InstanceDataset`].
        num_names: least names of a batch; all by default.
        masks: false trains class and box alone.
        data_dir, split, options: of videos, as of `load_referring_dataset`.
    """

    name: str = ""
    weight: float = 1.0
    annotations: str | list[str] | None = None
    images: str | None = None
    labels: str = "categories"
    num_names: int | None = None
    masks: bool = True
    data_dir: str | None = None
    split: str = "train"
    options: dict = field(default_factory=dict)


@dataclass
class GLEEDataSection:
    """What to train on.

    Args:
        train: list of [`GLEEDataset`], drawn from by weight; every batch is of one of them.
        root: folder of the data.
        augmentation: "none", "shortest_edge" (Lite and Plus) or "large_scale_jitter" (Pro).
        max_expressions: most expressions of a video in a sample.
        on_error: "raise" or "skip" samples that cannot be read.
        cache_dir: where rows of videos are kept.
    """

    train: list[GLEEDataset] = sections(GLEEDataset)
    root: str | None = None
    augmentation: str = "shortest_edge"
    max_expressions: int = 1
    on_error: str = "raise"
    cache_dir: str | None = None


@dataclass
class GLEERunConfig:
    """A training run. `training` are fields of [`GLEETrainingArguments`]; `export` is the folder that gets the model
    at the end."""

    model: GLEEModelSection = section(GLEEModelSection)
    data: GLEEDataSection = section(GLEEDataSection)
    training: dict = arguments(GLEETrainingArguments)
    export: str | None = None


def load_glee_config(file: str | os.PathLike, overrides: Sequence[str] = ()) -> GLEERunConfig:
    """Read a configuration.

    Args:
        file: YAML with the sections of [`GLEERunConfig`].
        overrides: "section.key=value" each, the value in YAML; go before the file.

    Raises:
        ConfigError: the file cannot be read, an unknown key, a value of the wrong kind, no model or no data, no
            `max_steps`; one line.

    Example:

        >>> load_glee_config("glee_stage2.yaml").training["lr_drop_steps"]  # doctest: +SKIP
        [400000]
    """
    config = read_config(GLEERunConfig, file, overrides)
    check_choice(file, "data.augmentation", config.data.augmentation, tuple(AUGMENTATIONS))
    check_keys(
        file, GLEERunConfig, "model.options", config.model.options, [entry.name for entry in fields(GLEEConfig)]
    )
    for index, dataset in enumerate(config.data.train):
        check_choice(file, f"data.train.{index}.labels", dataset.labels, LABELS)
        if dataset.annotations and not dataset.images:
            raise ConfigError(f"{file}: data.train.{index} has annotations but no folder of images; set images")
    if not config.training.get("max_steps", 0) > 0:
        raise ConfigError(f"{file}: training.max_steps is missing; add it: data that is drawn from has no end")
    return config


def build_glee_trainer(config: GLEERunConfig) -> GLEETrainer:
    """Model, data and trainer of a run. Nothing is trained yet.

    Raises:
        UserError: something of the configuration does not fit; one line.
    """
    args = make_arguments(GLEETrainingArguments, config.training)
    processor = GLEEProcessor.from_pretrained(config.model.pretrained)
    with args.main_process_first(desc="reading the datasets"):  # the others find them in the cache
        mixture = _mixture(config, args)
    collator = GLEECollator(processor, AUGMENTATIONS[config.data.augmentation])
    return GLEETrainer(load_model(config.model), args, collator, train_dataset=mixture, processing_class=processor)


def load_model(model_section: GLEEModelSection) -> GLEEForVideoSegmentation:
    """The model to start from."""
    dtype = getattr(torch, model_section.dtype)
    model = GLEEForVideoSegmentation.from_pretrained(model_section.pretrained, dtype=dtype, **model_section.options)
    if model_section.distill:
        model.add_text_teacher()
    return model


def _mixture(config: GLEERunConfig, args: GLEETrainingArguments) -> RatioMixture:
    """All datasets, one epoch long."""
    parts: dict[str, Dataset] = {}
    weights = {}
    for index, dataset in enumerate(config.data.train):
        name = dataset.name if dataset.name not in parts else f"{dataset.name}.{index}"
        parts[name], weights[name] = _dataset(config, dataset, args.seed), dataset.weight
    kinds = {name: part.kinds for name, part in parts.items() if isinstance(part, InstanceDataset)}
    num_batches = args.max_steps * args.gradient_accumulation_steps * max(args.world_size, 1)
    return RatioMixture(parts, weights, num_batches, kinds, args.seed)


def _dataset(config: GLEERunConfig, dataset: GLEEDataset, seed: int) -> Dataset:
    if dataset.annotations:
        root = Path(config.data.root or ".")
        files = [dataset.annotations] if isinstance(dataset.annotations, str) else dataset.annotations
        return InstanceDataset(
            [root / file for file in files],
            root / dataset.images,
            labels=dataset.labels,
            num_names=dataset.num_names,
            masks=dataset.masks,
            name=dataset.name,
            seed=seed,
            on_error=config.data.on_error,
        )
    return ReferringVideoDataset(
        load_rows(config.data, dataset),
        num_context_frames=0,
        num_query_frames=1,
        max_expressions=config.data.max_expressions,
        seed=seed,
        on_error=config.data.on_error,
        prepare_expressions=False,
    )


__all__ = ["GLEERunConfig", "build_glee_trainer", "load_glee_config"]
