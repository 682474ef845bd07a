"""Configuration files of training runs (YAML): what there is to set, and errors that name the nearest valid key."""

from __future__ import annotations

import dataclasses
import difflib
import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import yaml

from .arguments import GLUSTrainingArguments


QUANTIZATIONS = ("4bit",)
DTYPES = ("float32", "bfloat16", "float16")


class ConfigError(ValueError):
    """A configuration file cannot be used. One line: file, key, what is wrong, what to do."""


@dataclass
class ModelSection:
    """The model to start from.

    Args:
        pretrained: folder, alias or Hub name. What the paper starts from is made by `glus-hf convert --llm`.
        dtype: of the frozen weights; what trains is always float32.
        quantization: "4bit" for the language model (needs bitsandbytes and a GPU).
        attn_implementation: "sdpa", "eager" or "flash_attention_2".
        compat: preset of options, as of `from_pretrained`.
        options: fields of `GLUSConfig` to change, such as `num_maskmem: 0`.
    """

    pretrained: str = "glus-tiny"
    dtype: str = "float32"
    quantization: str | None = None
    attn_implementation: str | None = None
    compat: str | None = None
    options: dict = field(default_factory=dict)


@dataclass
class DatasetSection:
    """One data set.

    Args:
        name: as of `load_referring_dataset`.
        data_dir: its folder; by default `data.root`.
        split: of the data set.
        weight: how often its videos are drawn, relative to the others.
        options: of its builder, such as `size` of motion_shapes.
    """

    name: str = ""
    data_dir: str | None = None
    split: str = "train"
    weight: float = 1.0
    options: dict = field(default_factory=dict)


@dataclass
class DataSection:
    """What to train on. One data set is read through, video by video; several are drawn by weight.

    Args:
        train: list of [`DatasetSection`].
        root: folder of data sets without a `data_dir` of their own.
        samples_per_epoch: with several data sets; by default their number of videos.
        max_expressions: most expressions of a video in a sample.
        mask_overlap: "union" or "sum" (upstream), where objects of one expression overlap.
        on_error: "raise" or "skip" samples that cannot be read.
        cache_dir: where rows are kept.
    """

    train: list[DatasetSection] = field(default_factory=list)
    root: str | None = None
    samples_per_epoch: int | None = None
    max_expressions: int = 3
    mask_overlap: str = "union"
    on_error: str = "raise"
    cache_dir: str | None = None


@dataclass
class ValidationSection(DatasetSection):
    """A data set with ground truth; without a name nothing is validated. `training.eval_strategy` says when.

    Args:
        name, data_dir, split, options: as of a training set; `weight` means nothing here.
        max_videos: how many videos are segmented for J&F; 0 leaves that out, so that only losses are computed.
        protocol: how to score; by default the data set's own.
    """

    split: str = "validation"
    max_videos: int | None = 50
    protocol: str | None = None


@dataclass
class RunConfig:
    """A training run. `training` are the fields of [`GLUSTrainingArguments`]; `export` is the folder that gets the
    merged model at the end."""

    model: ModelSection = field(default_factory=ModelSection)
    data: DataSection = field(default_factory=DataSection)
    validation: ValidationSection = field(default_factory=ValidationSection)
    training: dict = field(default_factory=dict)
    export: str | None = None


def load_run_config(file: str | os.PathLike, overrides: Sequence[str] = ()) -> RunConfig:
    """Read a configuration.

    Args:
        file: YAML with the sections of [`RunConfig`].
        overrides: "section.key=value" each, the value in YAML; go before the file.

    Raises:
        ConfigError: the file cannot be read, an unknown key, a value of the wrong kind, no training data; one line.

    Example:

        >>> config = load_run_config("examples/configs/tiny.yaml", ["training.max_steps=5"])  # doctest: +SKIP
        >>> config.training["max_steps"]  # doctest: +SKIP
        5
    """
    try:
        content = yaml.safe_load(Path(file).read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ConfigError(f"{file}: there is no such file") from None
    except (yaml.YAMLError, UnicodeDecodeError, OSError) as error:
        raise ConfigError(f"{file}: cannot be read as YAML ({' '.join(str(error).split())})") from None
    content = {} if content is None else content
    for override in overrides:
        _override(content, override)
    config = _fill(RunConfig, content, str(file), "")
    if not config.data.train:
        raise ConfigError(f"{file}: data.train is empty; list at least one data set with its name")
    for place, dataset in enumerate(config.data.train):
        if not dataset.name:
            raise ConfigError(f"{file}: data.train.{place} has no name; see load_referring_dataset")
    _check_choice(file, "model.dtype", config.model.dtype, DTYPES)
    _check_choice(file, "model.quantization", config.model.quantization, (None, *QUANTIZATIONS))
    return config


def _override(content, text: str) -> None:
    """Set one dotted key of nested dicts and lists."""
    key, separator, value = text.partition("=")
    if not separator or not key:
        raise ConfigError(f"{text!r}: write section.key=value")
    place = content
    *parents, last = key.strip().split(".")
    for name in parents:
        if isinstance(place, list):
            place = place[_index(place, name, key)]
        else:
            place = place.setdefault(name, {})
        if not isinstance(place, (dict, list)):
            raise ConfigError(f"{key}: {name} is a value, no section")
    if isinstance(place, list):
        place[_index(place, last, key)] = yaml.safe_load(value)
    else:
        place[last] = yaml.safe_load(value)


def _index(place: list, name: str, key: str) -> int:
    if not name.isdecimal() or int(name) >= len(place):
        raise ConfigError(f"{key}: {name} is no place in a list of {len(place)}")
    return int(name)


def _fill(section: type, content, file: str, path: str):
    """An instance of a dataclass from a dict, checked key by key."""
    if not isinstance(content, dict):
        raise ConfigError(f"{file}: {path.rstrip('.') or 'the file'} must be keys with values, got {content!r}")
    known = {one.name: one for one in dataclasses.fields(section)}
    values = {}
    for key, value in content.items():
        if key not in known:
            raise ConfigError(f"{file}: unknown key {path}{key}; {_nearest(str(key), path, list(known))}")
        values[key] = _value(section, known[key], value, file, f"{path}{key}")
    return section(**values)


def _value(section: type, known: dataclasses.Field, value, file: str, path: str):
    nested = {"model": ModelSection, "data": DataSection, "validation": ValidationSection}
    if section is RunConfig and known.name in nested:
        return _fill(nested[known.name], value or {}, file, f"{path}.")
    if section is RunConfig and known.name == "training":
        return _training(value or {}, file)
    if section is DataSection and known.name == "train":
        if not isinstance(value, list):
            raise ConfigError(f"{file}: {path} must be a list of data sets, got {value!r}")
        return [_fill(DatasetSection, one, file, f"{path}.{place}.") for place, one in enumerate(value)]
    return _checked(known, value, file, path)


def _training(content, file: str) -> dict:
    if not isinstance(content, dict):
        raise ConfigError(f"{file}: training must be keys with values, got {content!r}")
    known = {one.name: one for one in dataclasses.fields(GLUSTrainingArguments) if one.init}
    unknown = [key for key in content if key not in known]
    if unknown:
        nearest = _nearest(str(unknown[0]), "training.", list(known))
        raise ConfigError(f"{file}: unknown key training.{unknown[0]}; {nearest}")
    return {key: _checked(known[key], value, file, f"training.{key}") for key, value in content.items()}


def _checked(known: dataclasses.Field, value, file: str, path: str):
    """YAML reads 3e-4 as text: make it the number that it is, and refuse text or truth where a number belongs."""
    written = known.type if isinstance(known.type, str) else getattr(known.type, "__name__", str(known.type))
    kinds = written.replace(" ", "").split("|")
    if value is None or "str" in kinds or any(kind.startswith(("dict", "list")) for kind in kinds):
        return value
    if "bool" in kinds:
        if not isinstance(value, bool):
            raise ConfigError(f"{file}: {path} must be true or false, got {value!r}")
        return value
    if "float" in kinds or "int" in kinds:
        try:
            if isinstance(value, bool):
                raise ValueError
            return int(value) if "float" not in kinds and float(value) == int(value) else float(value)
        except (TypeError, ValueError):
            raise ConfigError(f"{file}: {path} must be a number, got {value!r}") from None
    return value


def _nearest(key: str, path: str, valid: list[str]) -> str:
    """The closest valid key: of this section, else of another one."""
    near = difflib.get_close_matches(key, valid, n=1)
    if near:
        return f"did you mean {path}{near[0]}?"
    everywhere = {name: place for place, names in _all_keys().items() for name in names}
    near = difflib.get_close_matches(key, everywhere, n=1, cutoff=0.8)
    if near:
        return f"did you mean {everywhere[near[0]]}{near[0]}?"
    shown = valid if len(valid) <= 12 else difflib.get_close_matches(key, valid, n=3, cutoff=0)
    return f"valid keys {'are' if len(valid) <= 12 else 'nearest to it are'} {', '.join(shown)}"


def _all_keys() -> dict[str, list[str]]:
    sections = {
        "training.": GLUSTrainingArguments,
        "validation.": ValidationSection,
        "data.": DataSection,
        "model.": ModelSection,
        "": RunConfig,
    }
    return {path: [one.name for one in dataclasses.fields(section)] for path, section in sections.items()}


def _check_choice(file, name: str, value, choices: tuple) -> None:
    if value not in choices:
        shown = ", ".join("null" if choice is None else choice for choice in choices)
        raise ConfigError(f"{file}: {name} must be one of {shown}, got {value!r}")


__all__ = ["ConfigError", "RunConfig", "load_run_config"]
