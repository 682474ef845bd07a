"""What of a checkpoint's folder belongs into its repository, without what names this machine."""

from __future__ import annotations

import json
import math
import os
import re
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from fnmatch import fnmatch
from pathlib import Path

from ..checkpoint_files.folder_check import (
    ADAPTER_CONFIG,
    BASE_CONFIG,
    CONFIG,
    TOKENIZER,
    check_adapter_files,
    check_model_files,
    check_processor_files,
    read_weight_headers,
)
from ..checkpoint_files.json_fields import read_fields, shorten
from ..checkpoint_files.safetensors_header import StoredWeight, read_header
from ..checkpoint_files.weight_folder import INDEX_FILES, SINGLE_FILES, find_weight_files
from ..errors import CheckpointError
from ..hub import is_alias
from ..model_families import ALL_FAMILIES, load_class
from ..models.remote_code import class_reference, save_code
from ..safe_files import check_regular, read_text
from .model_card import CheckpointFacts


README = "README.md"
PROCESSOR = "processor_config.json"
SMALL_JSON = (
    "generation_config.json",
    PROCESSOR,
    "preprocessor_config.json",
    "video_preprocessor_config.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "added_tokens.json",
    "chat_template.json",
    "conversion.json",
)
OTHER = (TOKENIZER, "tokenizer.model", "vocab.json", "vocab.txt", "merges.txt", "chat_template.jinja", "LICENSE*")
ADAPTER_WEIGHTS = "adapter_model.safetensors"
PRIVATE = ("_name_or_path", "name_or_path", "tokenizer_file")
"""Fields of configurations that say where a file was on the machine that saved it; they are left out."""
A_PATH = re.compile(r"(?:/|~/|\.{1,2}/|[A-Za-z]:[\\/]|\\\\)\S*")


@dataclass
class Repository:
    """The files of a repository, name in it -> file on disk or content.

    Attributes:
        files: what is uploaded.
        facts: what they tell.
        left_out: names in the folder that stay here: optimizer states, logs, pickles, folders.
        base_model: alias or name on the Hub that an adapter names.
        card: text of the folder's own README.md; None without one.
    """

    files: dict[str, Path | bytes]
    facts: CheckpointFacts
    left_out: list[str] = field(default_factory=list)
    base_model: str | None = None
    card: str | None = None


def read_repository(folder: str | os.PathLike, base_model: str | None = None, with_code: bool = False) -> Repository:
    """Look at a folder of `save_pretrained`, of training or of conversion; every file is checked as before loading.

    Args:
        folder: of a model with its processor, of one of them alone, or of an adapter.
        base_model: of an adapter whose own base is a folder here: the name to write in its place.
        with_code: add the code of its classes, for `trust_remote_code=True`; a folder that has code gets it anyway.

    Raises:
        CheckpointError: no checkpoint is there, its weights are no safetensors, a file is damaged, or one holds a path
            of this machine; one line.

    Example:
        >>> repository = read_repository(os.path.join(os.path.dirname(__file__), "../checkpoints/glus-tiny"))
        >>> sorted(repository.files)[:2], repository.facts.model_type
        (['config.json', 'model.safetensors'], 'glus')
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise CheckpointError(f"{folder}: no such folder; pass the folder of a saved model")
    names = sorted(os.listdir(folder))
    is_adapter = ADAPTER_CONFIG in names and CONFIG not in names
    if not is_adapter and CONFIG not in names and PROCESSOR not in names:
        raise CheckpointError(f"{folder}: has no {CONFIG}, {PROCESSOR} or {ADAPTER_CONFIG}; save a model there first")
    _refuse_links_out(folder, names)
    check_model_files(folder)
    check_processor_files(folder)
    weights = _adapter_weights(folder) if is_adapter else _weights(folder) if CONFIG in names else {}
    files: dict[str, Path | bytes] = {path.name: path for path in weights}
    for name in names:
        if name in (CONFIG, BASE_CONFIG, *SMALL_JSON) or name == ADAPTER_CONFIG and is_adapter:
            files[name] = _clean_json(folder / name)
        elif any(fnmatch(name, pattern) for pattern in OTHER):
            check_regular(folder / name, "tokenizer", CheckpointError)
            files[name] = folder / name
    base = _name_base(files, folder, base_model) if is_adapter else None
    facts = _facts(folder, [stored for header in weights.values() for stored in header.values()], is_adapter, base)
    if with_code or "auto_map" in json.loads(_read(files.get(CONFIG, b"{}"))):
        files |= _code(facts.model_type, files)
        facts = replace(facts, has_code=True)
    _refuse_paths(files, folder)
    left_out = [name for name in names if name not in files and name != README]
    return Repository(files, facts, left_out, base or base_model, _own_card(folder))


def is_stale(name: str, files: dict) -> bool:
    """Whether a file of the repository before is of other weights, which would be read in the place of the new ones.

    Example:
        >>> is_stale("model-00001-of-00002.safetensors", {"model.safetensors": b""}), is_stale("LICENSE", {})
        (True, False)
    """
    has_weights = any(fnmatch(new, "model*.safetensors") for new in files)
    patterns = ("model*.safetensors", "pytorch_model*.bin", *INDEX_FILES)
    return has_weights and name not in files and any(fnmatch(name, pattern) for pattern in patterns)


def _refuse_links_out(folder: Path, names: list[str]) -> None:
    """A link in a folder that came from elsewhere may stand for any file of this machine."""
    roots = [folder.resolve()]
    if folder.resolve().parent.name == "snapshots":  # of the Hub's cache, whose files are links to its blobs
        roots.append(folder.resolve().parents[1] / "blobs")
    for name in names:
        target = (folder / name).resolve()
        if (folder / name).is_symlink() and not any(target.is_relative_to(root) for root in roots):
            raise CheckpointError(f"{folder / name}: is a link out of the folder; copy the file there or remove it")


def _weights(folder: Path) -> dict[Path, dict[str, StoredWeight]]:
    """Weight files, with the index first where there is one, and what their headers say."""
    files = find_weight_files(folder)
    unsafe = [file.name for file in files if file.suffix != ".safetensors"]
    if unsafe:
        raise CheckpointError(f"{folder}: {unsafe[0]} is no safetensors file; load the model and save it again")
    if read_weight_headers(folder) is None:
        raise CheckpointError(f"{folder}: has no weights; save the model there again")
    index = [] if (folder / SINGLE_FILES[0]) in files else [folder / INDEX_FILES[0]]
    return {**{file: {} for file in index}, **{file: read_header(file) for file in files}}


def _adapter_weights(folder: Path) -> dict[Path, dict[str, StoredWeight]]:
    check_adapter_files(folder, needs_base=False)
    file = folder / ADAPTER_WEIGHTS
    if not file.is_file():
        raise CheckpointError(f"{folder}: has no {ADAPTER_WEIGHTS}; save the adapter again")
    return {file: read_header(file)}


def _clean_json(file: Path) -> Path | bytes:
    """The file, or where fields of this machine are in it, its content without them."""
    content = read_fields(file, "json")
    cleaned = _without_private(content)
    return file if cleaned == content else _as_json(cleaned)


def _as_json(content: dict) -> bytes:
    return (json.dumps(content, indent=2, sort_keys=True, ensure_ascii=False) + "\n").encode()


def _without_private(content):
    if isinstance(content, dict):
        return {key: _without_private(value) for key, value in content.items() if key not in PRIVATE}
    return [_without_private(value) for value in content] if isinstance(content, list) else content


def _name_base(files: dict, folder: Path, base_model: str | None) -> str:
    """Write the name of an adapter's base that others can load; return it."""
    fields = read_fields(folder / ADAPTER_CONFIG)
    named = base_model or fields.get("base_model_name_or_path")
    if not named or not (is_alias(named) or re.fullmatch(r"[\w.-]+/[\w.-]+", named)) or os.path.exists(named):
        shown = shorten(repr(named))
        raise CheckpointError(
            f"{folder}: is an adapter of {shown}, which nobody else has: push that model first and name it with "
            "--base-model OWNER/NAME, or push the merged model (glus-hf train --export)"
        )
    files[ADAPTER_CONFIG] = _as_json(_without_private({**fields, "base_model_name_or_path": named}))
    return named


def _facts(folder: Path, weights: list[StoredWeight], is_adapter: bool, base: str | None) -> CheckpointFacts:
    count = sum(math.prod(weight.shape) for weight in weights)
    dtypes = tuple(sorted({weight.dtype for weight in weights}))
    return CheckpointFacts(_model_type(folder, is_adapter, base), count, dtypes, is_adapter)


def _model_type(folder: Path, is_adapter: bool, base: str | None) -> str:
    config = folder / (BASE_CONFIG if is_adapter else CONFIG)
    if config.is_file():
        return str(read_fields(config).get("model_type"))
    if is_adapter:
        raise CheckpointError(f"{folder}: has no {BASE_CONFIG}; train again, or push the merged model")
    processor = read_fields(folder / PROCESSOR).get("processor_class")
    return next((family for family, names in ALL_FAMILIES.items() if names["processor"] == processor), str(processor))


def _code(model_type: str, files: dict) -> dict[str, bytes]:
    """The code of the classes that the files are of, and the configurations with their `auto_map`."""
    if model_type not in ALL_FAMILIES or CONFIG not in files:
        raise CheckpointError(f"a {model_type!r} checkpoint without {CONFIG} has no code here; leave the code out")
    classes = {kind: load_class(model_type, kind) for kind in ("config", "model", "processor")}
    maps = {CONFIG: {"AutoConfig": classes["config"], "AutoModel": classes["model"]}}
    if PROCESSOR in files:
        maps[PROCESSOR] = {"AutoProcessor": classes["processor"]}
    found: dict[str, bytes] = {}
    for name, autos in maps.items():
        content = json.loads(_read(files[name]))
        known = content.get("auto_map") or {}
        content["auto_map"] = {**known, **{auto: class_reference(cls) for auto, cls in autos.items()}}
        found[name] = _as_json(content)
    with tempfile.TemporaryDirectory() as folder:
        for autos in maps.values():
            for cls in autos.values():
                save_code(cls, folder)
        found |= {path.name: path.read_bytes() for path in Path(folder).iterdir()}
    return found


def _read(file: Path | bytes) -> bytes:
    return file if isinstance(file, bytes) else file.read_bytes()


def _refuse_paths(files: dict, folder: Path) -> None:
    """No configuration may tell where things are on this machine."""
    for name, file in files.items():
        if not name.endswith(".json") or name in (TOKENIZER, "vocab.json", INDEX_FILES[0]):
            continue
        for key, value in _strings(json.loads(_read(file))):
            if A_PATH.fullmatch(value) and len(value) > 1:
                raise CheckpointError(
                    f"{folder / name}: {key} is a path, {shorten(value)}; take it out or save the model again"
                )


def _strings(content, key: str = "") -> Iterator[tuple[str, str]]:
    if isinstance(content, str):
        yield key, content
    items = content.items() if isinstance(content, dict) else enumerate(content) if isinstance(content, list) else ()
    for name, value in items:
        yield from _strings(value, str(name))


def _own_card(folder: Path) -> str | None:
    return read_text(folder / README, "text", CheckpointError) if (folder / README).is_file() else None


__all__ = ["PRIVATE", "README", "Repository", "is_stale", "read_repository"]
