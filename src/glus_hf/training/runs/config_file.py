"""Configuration files (YAML) as dataclasses: read, override, check; errors name the nearest valid key."""

from __future__ import annotations

import dataclasses
import difflib
import json
import math
import os
import reprlib
from collections.abc import Sequence
from dataclasses import field
from typing import TypeVar

import yaml

from ...errors import ConfigError
from ...rows import first_repeated
from ...safe_files import read_text


Config = TypeVar("Config")

DTYPES = ("float32", "bfloat16", "float16")
KINDS = {"str": (str, "text"), "list": (list, "a list"), "dict": (dict, "keys with values")}
KINDS["bool"] = (bool, "true or false")
NUMBERS = ("int", "float")
MAX_ALIASES, MAX_DEPTH, MAX_DIGITS, MAX_VALUES = 20, 50, 100, 20_000
NUMBER_TAGS = ("tag:yaml.org,2002:int", "tag:yaml.org,2002:float")
# the others are of values that do not fit the tag before them, as in `!!int ''` and `!!bool maybe`
YAML_ERRORS = (yaml.YAMLError, ValueError, RecursionError, LookupError, AttributeError, TypeError, ArithmeticError)


def section(kind: type):
    """A field that is a section of the file, read into the dataclass `kind`."""
    return field(default_factory=kind, metadata={"section": kind})


def sections(kind: type):
    """A field that is a list of sections."""
    return field(default_factory=list, metadata={"sections": kind})


def arguments(kind: type):
    """A field that is a dict of fields of `kind`."""
    return field(default_factory=dict, metadata={"arguments": kind})


def read_config(kind: type[Config], file: str | os.PathLike, overrides: Sequence[str] = ()) -> Config:
    """Read a file into the dataclass `kind`, whose fields are plain or made by the functions above.

    Args:
        kind: has the sections `model` (with `dtype`) and `data` (with the list `train`).
        file: YAML.
        overrides: "section.key=value" each, the value in YAML; go before the file.

    Raises:
        ConfigError: the file cannot be read, an unknown key, a value of the wrong kind, no training data; one line.
    """
    config = kind(**_values(kind, read_content(file, overrides), _Location(kind, str(file))))
    if not config.data.train:
        raise ConfigError(f"{file}: data.train is empty; add a dataset with its name")
    for index, dataset in enumerate(config.data.train):
        if not dataset.name:
            raise ConfigError(f"{file}: data.train.{index} has no name; see load_referring_dataset")
        if not dataset.weight > 0:
            raise ConfigError(f"{file}: data.train.{index}.weight must be more than 0, got {dataset.weight}")
    samples = getattr(config.data, "samples_per_epoch", None)
    if samples is not None and samples < 1:
        raise ConfigError(f"{file}: data.samples_per_epoch must be 1 or more, got {samples}")
    if not config.model.pretrained:
        raise ConfigError(f"{file}: model.pretrained is missing; name the model to start from")
    if not config.training.get("output_dir", "trainer_output"):
        raise ConfigError(f"{file}: training.output_dir is missing; name the folder of the run")
    check_choice(file, "model.dtype", config.model.dtype, DTYPES)
    return config


def read_content(file: str | os.PathLike, overrides: Sequence[str] = ()) -> dict:
    """Keys and values of a file after the overrides, as YAML has them.

    Raises:
        ConfigError: the file cannot be read, or an override does not fit it; one line.
    """
    content = _read(file)
    for override in overrides:
        _override(content, override)
    return content


def check_choice(file: str | os.PathLike, name: str, value, choices: tuple) -> None:
    """Raise a [`ConfigError`] for a value that is none of `choices`."""
    if value not in choices:
        shown = ", ".join("null" if choice is None else choice for choice in choices)
        raise ConfigError(f"{file}: {name} must be one of {shown}, got {value!r}")


def check_keys(file: str | os.PathLike, root: type, name: str, content: dict, valid: list[str]) -> None:
    """Raise a [`ConfigError`] for a key of the section `name` that is none of `valid`."""
    at = _Location(root, str(file), name)
    for key in content:
        if key not in valid:
            raise ConfigError(f"{file}: unknown key {at.below(key).path}; {_nearest(str(key), at, valid)}")


def _read(file: str | os.PathLike) -> dict:
    text = read_text(file, "yaml", ConfigError)
    try:
        content = _load_yaml(text)
    except YAML_ERRORS as error:
        raise ConfigError(f"{file}: is no YAML ({' '.join(str(error).split())[:300]}); correct it") from None
    return _mapping({} if content is None else content, str(file), "the file")


class _Loader(yaml.SafeLoader):
    """YAML without code, depth, keys twice, endless numbers, and aliases that make an endless text of a short one."""

    num_aliases = num_values = 0

    def fetch_flow_collection_start(self, token_class):
        if self.flow_level >= MAX_DEPTH:  # the time to scan grows with its square
            raise yaml.YAMLError(f"more than {MAX_DEPTH} brackets in each other")
        super().fetch_flow_collection_start(token_class)

    def fetch_alias(self):
        self.num_aliases += 1
        if self.num_aliases > MAX_ALIASES:
            raise yaml.YAMLError(f"more than {MAX_ALIASES} aliases")
        super().fetch_alias()

    def compose_scalar_node(self, anchor):
        node = super().compose_scalar_node(anchor)
        self.num_values += 1
        if self.num_values > MAX_VALUES:
            raise yaml.YAMLError(f"more than {MAX_VALUES} keys and values")
        if node.tag in NUMBER_TAGS and len(node.value) > MAX_DIGITS:  # 1:59:59:... takes minutes to work out
            raise yaml.YAMLError(f"a number of more than {MAX_DIGITS} letters")
        return node

    def compose_mapping_node(self, anchor):
        node = super().compose_mapping_node(anchor)
        twice = first_repeated(key.value for key, _ in node.value if isinstance(key, yaml.ScalarNode))
        if twice is not None:
            raise yaml.YAMLError(f"the key {twice!r} appears twice")
        return node


def _load_yaml(text: str):
    content = yaml.load(text, Loader=_Loader)
    json.dumps(content, default=str, skipkeys=True)  # raises where something holds itself
    return content


def _mapping(content, file: str, name: str) -> dict:
    if not isinstance(content, dict):
        raise ConfigError(f"{file}: {name} must be keys with values, got {reprlib.repr(content)}")
    return content


# ---- overrides


def _override(content: dict, text: str) -> None:
    """Set one dotted key of nested dicts and lists."""
    key, separator, value = text.partition("=")
    if not separator or not key:
        raise ConfigError(f"{text!r}: write section.key=value")
    target = content
    *parents, last = key.strip().split(".")
    for name in parents:
        target = target[_index(target, name, key)] if isinstance(target, list) else target.setdefault(name, {})
        if not isinstance(target, (dict, list)):
            raise ConfigError(f"{key}: {name} is a value, no section; use a shorter key")
    try:
        target[_index(target, last, key) if isinstance(target, list) else last] = _load_yaml(value)
    except YAML_ERRORS:
        raise ConfigError(f"{text!r}: the value cannot be read as YAML; quote it") from None


def _index(values: list, name: str, key: str) -> int:
    if not name.isdecimal() or len(name) > MAX_DIGITS or int(name) >= len(values):
        raise ConfigError(f"{key}: {name} is no position in a list of {len(values)}; use a smaller one")
    return int(name)


# ---- from dicts to dataclasses


@dataclasses.dataclass(frozen=True)
class _Location:
    """Where in a file a value is: for errors. `root` is the dataclass of the whole file."""

    root: type
    file: str
    path: str = ""

    def below(self, name) -> _Location:
        return dataclasses.replace(self, path=f"{self.path}.{name}".lstrip("."))


def _values(kind: type, content, at: _Location) -> dict:
    """Values for the fields of `kind`, checked key by key."""
    content = _mapping(content, at.file, at.path)
    known = {known.name: known for known in dataclasses.fields(kind) if known.init}
    check_keys(at.file, at.root, at.path, content, list(known))
    return {key: _value(known[key], value, at.below(key)) for key, value in content.items()}


def _value(known: dataclasses.Field, value, at: _Location):
    match known.metadata:
        case {"section": kind}:
            return kind(**_values(kind, value or {}, at))
        case {"arguments": kind}:
            return _values(kind, value or {}, at)
        case {"sections": kind}:
            if not isinstance(value, list):
                raise ConfigError(f"{at.file}: {at.path} must be a list of datasets, got {reprlib.repr(value)}")
            return [kind(**_values(kind, part, at.below(index))) for index, part in enumerate(value)]
    return _checked(known, value, at)


def _checked(known: dataclasses.Field, value, at: _Location):
    """YAML reads 3e-4 as text and a bare no as false: make them what they are, and refuse what is of another kind than
    the dataclass says."""
    if known.name.endswith("_strategy") and value is False:
        return "no"
    written = known.type if isinstance(known.type, str) else getattr(known.type, "__name__", str(known.type))
    kinds = [kind.partition("[")[0] for kind in written.replace(" ", "").split("|")]
    if value is None and ("None" in kinds or known.default in (None, "")):  # a missing text: said elsewhere
        return value
    if any(isinstance(value, KINDS[kind][0]) for kind in kinds if kind in KINDS):
        if "list[str]" in written and isinstance(value, list) and not all(isinstance(text, str) for text in value):
            raise ConfigError(f"{at.file}: {at.path} must be a list of texts, got {reprlib.repr(value)}")
        return value
    if any(kind in NUMBERS for kind in kinds):
        return _number(value, "float" not in kinds, at)
    wanted = " or ".join(KINDS[kind][1] for kind in kinds if kind in KINDS)
    if wanted:
        raise ConfigError(f"{at.file}: {at.path} must be {wanted}, got {reprlib.repr(value)}")
    return value


def _number(value, is_whole: bool, at: _Location) -> int | float:
    try:
        if isinstance(value, bool):
            raise ValueError
        number = float(value)
    except (TypeError, ValueError, OverflowError):
        raise ConfigError(f"{at.file}: {at.path} must be a number, got {reprlib.repr(value)}") from None
    if not math.isfinite(number):
        raise ConfigError(f"{at.file}: {at.path} must be a finite number, got {value!r}")
    if is_whole and not number.is_integer():
        raise ConfigError(f"{at.file}: {at.path} must be a whole number, got {value!r}")
    return int(number) if is_whole else number


# ---- unknown keys


def _nearest(key: str, at: _Location, valid: list[str]) -> str:
    """The closest valid key: of this section, else of another one."""
    near = difflib.get_close_matches(key, valid, n=1)
    if near:
        return f"did you mean {at.below(near[0]).path}?"
    everywhere = _all_keys(at.root)
    near = difflib.get_close_matches(key, everywhere, n=1, cutoff=0.8)
    if near:
        return f"did you mean {everywhere[near[0]]}?"
    shown = valid if len(valid) <= 12 else difflib.get_close_matches(key, valid, n=3, cutoff=0)
    return f"valid keys {'are' if len(valid) <= 12 else 'nearest to it are'} {', '.join(shown)}"


def _all_keys(root: type) -> dict[str, str]:
    """Full names of the keys of all sections by their last part; an outer or earlier section's goes before."""
    keys: dict[str, str] = {}
    for outer in reversed(dataclasses.fields(root)):
        kind = outer.metadata.get("section") or outer.metadata.get("arguments")
        keys |= {inner.name: f"{outer.name}.{inner.name}" for inner in dataclasses.fields(kind)} if kind else {}
    return keys | {outer.name: outer.name for outer in dataclasses.fields(root)}


__all__ = [
    "DTYPES",
    "ConfigError",
    "arguments",
    "check_choice",
    "check_keys",
    "read_config",
    "read_content",
    "section",
    "sections",
]
