"""From a configuration file (YAML) to a trainer of GLEE."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, field, fields

import torch
from torch.utils.data import Dataset

from ..errors import ConfigError, DatasetContentError, DatasetFileError
from ..models.glee.configuration_glee import GLEEConfig
from ..models.glee.modeling_glee import GLEEForVideoSegmentation
from ..models.glee.processing_glee import GLEEProcessor
from .glee_arguments import GLEETrainingArguments
from .glee_trainer import GLEETrainer
from .runs.config_file import arguments, check_choice, check_keys, read_config, section, sections
from .runs.library_errors import make_arguments
from .runs.run_data import load_objects, load_rows, part_of_rows
from .samples.clip_dataset import ClipDataset
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
        prompter: take visual prompts; a checkpoint without a prompter gets one of new weights.
        options: fields of `GLEEConfig` to change, such as `distill_loss: mse`.
    """

    pretrained: str = ""
    dtype: str = "float32"
    distill: bool = False
    prompter: bool = False
    options: dict = field(default_factory=dict)


@dataclass
class GLEEDataset:
    """One dataset: of objects where it has `labels`, else of videos with expressions.

    Args:
        name: as of `load_object_dataset`, or without `labels` as of `load_referring_dataset`.
        weight: how often its samples are drawn, relative to the others, whatever their number.
        data_dir, split, options: as of the same function; `data_dir` is `data.root` by default.
        labels: "categories", "descriptions", "expressions" or "objects", see [`InstanceDataset`].
        num_names: least names of a batch; all by default.
        masks: false trains class and box alone.
        prompts: share of batches in which one object of each image, or clip, is meant by a visual prompt.
        frames: of a clip, for datasets of videos; 1 takes frames as images.
        frame_range: how many frames apart the first and the others of a clip are at most.
    """

    name: str = ""
    weight: float = 1.0
    data_dir: str | None = None
    split: str = "train"
    options: dict = field(default_factory=dict)
    labels: str | None = None
    num_names: int | None = None
    masks: bool = True
    prompts: float = 0.0
    frames: int = 1
    frame_range: int = 10


OF_OBJECTS = ("num_names", "masks", "prompts", "frames", "frame_range")
"""What only datasets with `labels` have a use for."""


@dataclass
class GLEEDataSection:
    """What to train on.

    Args:
        train: list of [`GLEEDataset`], drawn from by weight; every batch is of one of them.
        root: folder that holds the folders of the datasets.
        augmentation: a name of [`AUGMENTATIONS`]: "none", "shortest_edge" (Lite and Plus), "large_scale_jitter" (Pro)
            or, of clips, "clip" and "small_clip".
        max_expressions: most expressions of a video in a sample.
        on_error: "raise" or "skip" samples that cannot be read.
        cache_dir: where rows are kept.
        without: names of datasets of `train` to leave out.
        share: part of the images, or of the videos, of every dataset, from 0 to 1, that follows from the seed of the
            training; a smaller one is part of a larger one.
    """

    train: list[GLEEDataset] = sections(GLEEDataset)
    root: str | None = None
    augmentation: str = "shortest_edge"
    max_expressions: int = 1
    on_error: str = "raise"
    cache_dir: str | None = None
    without: list[str] = field(default_factory=list)
    share: float = 1.0


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
    if not 0 < config.data.share <= 1:
        raise ConfigError(f"{file}: data.share must be more than 0 and at most 1, got {config.data.share}")
    for name in config.data.without:
        check_choice(file, "data.without", name, tuple(dataset.name for dataset in config.data.train))
    config.data.train = [each for each in config.data.train if each.name not in config.data.without]
    if not config.data.train:
        raise ConfigError(f"{file}: data.without leaves no dataset; name fewer")
    for index, dataset in enumerate(config.data.train):
        check_choice(file, f"data.train.{index}.labels", dataset.labels, (*LABELS, None))
        needless = [name for name in OF_OBJECTS if getattr(dataset, name) != getattr(GLEEDataset, name)]
        if dataset.labels is None and needless:
            raise ConfigError(f"{file}: data.train.{index} has {needless[0]}, but is of expressions; set labels")
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
    model = load_model(config.model, args.seed)
    _check_prompts(config, model)
    with args.main_process_first(desc="reading the datasets"):  # the others find them in the cache
        mixture = _mixture(config, args)
    collator = GLEECollator(processor, AUGMENTATIONS[config.data.augmentation])
    return GLEETrainer(model, args, collator, train_dataset=mixture, processing_class=processor)


def load_model(model_section: GLEEModelSection, seed: int = 0) -> GLEEForVideoSegmentation:
    """The model to start from; `seed` is that of new weights."""
    dtype = getattr(torch, model_section.dtype)
    model = GLEEForVideoSegmentation.from_pretrained(model_section.pretrained, dtype=dtype, **model_section.options)
    if model_section.distill:
        model.add_text_teacher()
    if model_section.prompter:
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            model.add_visual_prompter()
    return model


def _check_prompts(config: GLEERunConfig, model: GLEEForVideoSegmentation) -> None:
    prompted = [dataset.name for dataset in config.data.train if dataset.prompts]
    if prompted and model.config.visual_prompter is None:
        raise ConfigError(
            f"{config.model.pretrained} takes no visual prompts, as {prompted[0]} asks for; set model.prompter=true"
        )


def _mixture(config: GLEERunConfig, args: GLEETrainingArguments) -> RatioMixture:
    """All datasets, one epoch long."""
    parts: dict[str, Dataset] = {}
    weights, missing = {}, {}
    for index, dataset in enumerate(config.data.train):
        name = dataset.name if dataset.name not in weights else f"{dataset.name}.{index}"
        weights[name] = dataset.weight
        try:
            parts[name] = _dataset(config, dataset, args.seed)
        except DatasetContentError:
            raise
        except DatasetFileError as error:
            missing[name] = error
    if missing:
        raise _not_there(missing)
    kinds = {name: part.kinds for name, part in parts.items() if isinstance(part, InstanceDataset)}
    num_batches = args.max_steps * args.gradient_accumulation_steps * max(args.world_size, 1)
    return RatioMixture(parts, weights, num_batches, kinds, args.seed)


def _not_there(problems: dict[str, DatasetFileError]) -> DatasetFileError:
    """One line for all datasets that cannot be read."""
    name, first = next(iter(problems.items()))
    if len(problems) == 1:
        return DatasetFileError(f"{name}: {first}; or take it out of data.train")
    return DatasetFileError(
        f"{len(problems)} datasets of data.train cannot be read: {', '.join(problems)}. The first: {first}; or take "
        "them out of data.train"
    )


def _dataset(config: GLEERunConfig, dataset: GLEEDataset, seed: int) -> Dataset:
    if dataset.labels is not None:
        return _objects(config.data, dataset, seed)
    return ReferringVideoDataset(
        part_of_rows(load_rows(config.data, dataset), config.data.share, seed),
        num_context_frames=0,
        num_query_frames=1,
        max_expressions=config.data.max_expressions,
        seed=seed,
        on_error=config.data.on_error,
        prepare_expressions=False,
    )


def _objects(data: GLEEDataSection, dataset: GLEEDataset, seed: int) -> InstanceDataset:
    rows, names = load_objects(data, dataset)
    rows = part_of_rows(rows, data.share, seed)
    options = {name: getattr(dataset, name) for name in ("labels", "num_names", "masks", "prompts")}
    options |= {"name": dataset.name, "seed": seed, "on_error": data.on_error}
    if dataset.frames == 1:
        return InstanceDataset(rows, names, **options)
    return ClipDataset(rows, names, num_frames=dataset.frames, frame_range=dataset.frame_range, **options)


__all__ = ["GLEERunConfig", "build_glee_trainer", "load_glee_config"]
