"""From a configuration file (YAML) to a trainer of the key-frame selector."""

from __future__ import annotations

import dataclasses
import difflib
import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import torch
import yaml

from ..data.load_dataset import load_referring_dataset
from ..data.mixture import MixtureDataset
from ..models.glus_selector.modeling_glus_selector import GLUSSelector
from ..models.glus_selector.processing_glus_selector import GLUSSelectorProcessor
from .selector_data import SelectorDataset
from .selector_trainer import GLUSSelectorTrainer, GLUSSelectorTrainingArguments


DTYPES = ("float32", "bfloat16", "float16")


class SelectorConfigError(ValueError):
    """A configuration file cannot be used. One line: file, key, what is wrong."""


@dataclass
class SelectorModelSection:
    """The selector to start from: folder, alias or Hub name, and the precision of its frozen weights."""

    pretrained: str = ""
    dtype: str = "float32"


@dataclass
class LabelledSet:
    """One data set with labels.

    Args:
        name, data_dir, split, options: as of `load_referring_dataset`.
        labels: folder of its pseudo-labels; by default `data.labels`.
        weight: how often its videos are drawn, relative to the others.
    """

    name: str = ""
    data_dir: str | None = None
    split: str = "train"
    labels: str | None = None
    weight: float = 1.0
    options: dict = field(default_factory=dict)


@dataclass
class SelectorDataSection:
    """What to train on.

    Args:
        train: list of [`LabelledSet`]; one is read through video by video, several are drawn by weight.
        labels: folder of pseudo-labels.
        root: folder of data sets without a `data_dir` of their own.
        samples_per_epoch: with several data sets; by default their number of videos.
        context_frames: fewest and most context frames of a sample.
        max_expressions: most expressions of a video in a sample.
        on_error: "raise" or "skip" samples that cannot be read.
        cache_dir: where rows are kept.
    """

    train: list = field(default_factory=list)
    labels: str | None = None
    root: str | None = None
    samples_per_epoch: int | None = None
    context_frames: list = field(default_factory=lambda: [8, 12])
    max_expressions: int = 3
    on_error: str = "raise"
    cache_dir: str | None = None


@dataclass
class SelectorRunConfig:
    """A training run. `training` are fields of [`GLUSSelectorTrainingArguments`]; `validation` is a [`LabelledSet`],
    without a name nothing is validated; `export` is the folder that gets the merged selector at the end."""

    model: SelectorModelSection = field(default_factory=SelectorModelSection)
    data: SelectorDataSection = field(default_factory=SelectorDataSection)
    validation: LabelledSet = field(default_factory=lambda: LabelledSet(split="validation"))
    training: dict = field(default_factory=dict)
    export: str | None = None


def load_selector_config(file: str | os.PathLike, overrides: Sequence[str] = ()) -> SelectorRunConfig:
    """Read a configuration.

    Args:
        file: YAML with the sections of [`SelectorRunConfig`].
        overrides: "section.key=value" each, the value in YAML; go before the file.

    Raises:
        SelectorConfigError: the file cannot be read, an unknown key, no model or no data; one line.

    Example:

        >>> load_selector_config("examples/configs/selector.yaml").training["lora_rank"]  # doctest: +SKIP
        8
    """
    try:
        content = yaml.safe_load(Path(file).read_text(encoding="utf-8")) or {}
    except (yaml.YAMLError, OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or " ".join(str(error).split())
        raise SelectorConfigError(f"{file}: cannot be read as YAML ({reason})") from None
    for override in overrides:
        _override(content, override)
    config = _fill(SelectorRunConfig, content, file, "")
    config.model = _fill(SelectorModelSection, config.model, file, "model.")
    config.data = _fill(SelectorDataSection, config.data, file, "data.")
    config.validation = _fill(LabelledSet, config.validation, file, "validation.")
    sets = config.data.train if isinstance(config.data.train, list) else [config.data.train]
    config.data.train = [_fill(LabelledSet, one, file, f"data.train.{place}.") for place, one in enumerate(sets)]
    known = [one.name for one in dataclasses.fields(GLUSSelectorTrainingArguments) if one.init]
    _refuse_unknown(config.training, known, file, "training.")
    for key, value in config.training.items():
        if key.endswith("_strategy") and value is False:  # YAML's reading of a bare no
            config.training[key] = "no"
    if not config.model.pretrained:
        raise SelectorConfigError(f"{file}: model.pretrained is missing; name the selector to start from")
    if config.model.dtype not in DTYPES:
        raise SelectorConfigError(
            f"{file}: model.dtype must be one of {', '.join(DTYPES)}, got {config.model.dtype!r}"
        )
    if not config.data.train or not all(one.name for one in config.data.train):
        raise SelectorConfigError(f"{file}: data.train must list at least one data set with its name")
    return config


def build_selector_trainer(config: SelectorRunConfig) -> GLUSSelectorTrainer:
    """Model, data and trainer of a run. Nothing is trained yet.

    Raises:
        ValueError: something of the configuration does not fit; one line.
    """
    training = {"max_expressions": config.data.max_expressions, **config.training}
    args = GLUSSelectorTrainingArguments(**training)
    processor = GLUSSelectorProcessor.from_pretrained(config.model.pretrained)
    with args.main_process_first(desc="reading the data sets"):  # the others find them in the cache
        train = _training_set(config, args.seed)
        validation = _labelled(config, config.validation, seed=0) if config.validation.name else None
    if validation is None and args.do_eval:
        raise SelectorConfigError("training.eval_strategy is set but no data set to validate on; set validation.name")
    model = GLUSSelector.from_pretrained(config.model.pretrained, dtype=getattr(torch, config.model.dtype))
    model.name_or_path = config.model.pretrained
    return GLUSSelectorTrainer(model, args, train_dataset=train, eval_dataset=validation, processing_class=processor)


def _training_set(config: SelectorRunConfig, seed: int):
    parts = {}
    for place, section in enumerate(config.data.train):
        name = section.name if section.name not in parts else f"{section.name}.{place}"
        parts[name] = _labelled(config, section, seed)
    if len(parts) == 1:
        return next(iter(parts.values()))
    weights = {name: section.weight for name, section in zip(parts, config.data.train, strict=True)}
    return MixtureDataset(parts, weights, config.data.samples_per_epoch, seed)


def _labelled(config: SelectorRunConfig, section: LabelledSet, seed: int) -> SelectorDataset:
    data_dir = section.data_dir if section.data_dir is not None else config.data.root
    data_dir = section.data_dir if section.name == "motion_shapes" else data_dir
    labels = section.labels or config.data.labels
    if not labels:
        raise SelectorConfigError(f"{section.name} has no labels; set data.labels, see glus-hf pseudo-label")
    options = dict(section.options) | ({} if config.data.cache_dir is None else {"cache_dir": config.data.cache_dir})
    return SelectorDataset(
        load_referring_dataset(section.name, data_dir, section.split, **options),
        labels,
        context_frames=config.data.context_frames,
        max_expressions=config.data.max_expressions,
        seed=seed,
        on_error=config.data.on_error,
    )


def _fill(section: type, content, file, path: str):
    if isinstance(content, section):
        return content
    if not isinstance(content, dict):
        raise SelectorConfigError(
            f"{file}: {path.rstrip('.') or 'the file'} must be keys with values, got {content!r}"
        )
    _refuse_unknown(content, [one.name for one in dataclasses.fields(section)], file, path)
    if section is LabelledSet and path == "validation.":
        content = {"split": "validation", **content}
    return section(**content)


def _refuse_unknown(content, known: list[str], file, path: str) -> None:
    if not isinstance(content, dict):
        raise SelectorConfigError(f"{file}: {path.rstrip('.')} must be keys with values, got {content!r}")
    for key in content:
        if key not in known:
            near = difflib.get_close_matches(str(key), known, n=1, cutoff=0)[0]
            raise SelectorConfigError(f"{file}: unknown key {path}{key}; did you mean {path}{near}?")


def _override(content: dict, text: str) -> None:
    key, separator, value = text.partition("=")
    if not separator or not key:
        raise SelectorConfigError(f"{text!r}: write section.key=value")
    place, parts = content, key.strip().split(".")
    for name, following in zip(parts, [*parts[1:], None]):
        if isinstance(place, list):
            if not name.isdecimal() or int(name) >= len(place):
                raise SelectorConfigError(f"{key}: {name} is no place in a list of {len(place)}")
            name = int(name)
        elif not isinstance(place, dict):
            raise SelectorConfigError(f"{key}: {name} is below a value, not a section")
        if following is None:
            place[name] = yaml.safe_load(value)
        else:
            place = place[name] if isinstance(place, list) else place.setdefault(name, {})


__all__ = ["SelectorConfigError", "SelectorRunConfig", "build_selector_trainer", "load_selector_config"]
