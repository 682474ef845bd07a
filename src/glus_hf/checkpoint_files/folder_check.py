"""A folder of a model or a processor, file by file, before a library opens it."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path

from ..errors import CheckpointError
from ..safe_files import check_regular
from .config_bounds import check_numbers
from .json_fields import read_fields, shorten
from .safetensors_header import StoredWeight, read_header
from .tokenizer_rules import check_regex, check_tokenizer
from .weight_folder import INDEX_FILES, SINGLE_FILES, refuse_packed, refuse_pointer, shards_of


CONFIG, ADAPTER_CONFIG, TOKENIZER = "config.json", "adapter_config.json", "tokenizer.json"
BASE_CONFIG = "base_config.json"
"""Beside an adapter: the config of the model it was trained on, with the options set for that run."""
MODEL_FILES = (CONFIG, "generation_config.json")
PROCESSOR_FILES = (
    "processor_config.json",
    "preprocessor_config.json",
    "video_preprocessor_config.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "added_tokens.json",
    "chat_template.json",
)
OTHER_FILES = ("tokenizer.model", "vocab.json", "merges.txt", "chat_template.jinja")
TEMPLATES = "additional_chat_templates"
ADAPTER_WEIGHTS = ("adapter_model.safetensors", "adapter_model.bin")
MAX_RANK = 8192
MAX_SPECIAL_TOKENS = 8192  # each is compared with every other one
PATTERNS = ("target_modules", "exclude_modules", "layers_pattern", "rank_pattern", "alpha_pattern", "modules_to_save")


def check_model_files(folder: Path) -> None:
    """Refuse configuration files of a model that are damaged or out of bounds.

    Raises:
        CheckpointError: one line that names the file.
    """
    for name in _present(folder, MODEL_FILES):
        fields = read_fields(folder / name)
        check_numbers(fields, str(folder / name))
        if name == CONFIG:
            _check_weight_name(folder, fields)
    if _present(folder, [ADAPTER_CONFIG]):
        check_adapter_files(folder)


def check_adapter_files(folder: Path, needs_base: bool = True) -> None:
    """Refuse an adapter of peft whose files are damaged, or could take all time or memory.

    Args:
        folder: of the adapter.
        needs_base: it must name the model it was trained on.

    Raises:
        CheckpointError: one line that names the file.
    """
    file = folder / ADAPTER_CONFIG
    fields = read_fields(file, remedy="save the adapter again")
    check_numbers({name: value for name, value in fields.items() if name != "target_modules"}, str(file))
    if needs_base:
        _check_base(folder, fields.get("base_model_name_or_path"))
    if fields.get("megatron_config") is not None:  # older peft imports the module that it names
        raise CheckpointError(f"{file}: has a megatron_config, which no model here takes; set it to null")
    _check_ranks(file, fields)
    _check_patterns(file, fields)
    for name in _present(folder, [BASE_CONFIG]):
        check_numbers(read_fields(folder / name), str(folder / name))
    for name in _present(folder, ADAPTER_WEIGHTS):
        refuse_pointer(folder / name)
        if name.endswith(".safetensors"):
            read_header(folder / name)


def check_processor_files(folder: Path) -> None:
    """Refuse files of a processor and its tokenizer that are damaged, or could take all time or memory.

    Raises:
        CheckpointError: one line that names the file.
    """
    for name in _present(folder, PROCESSOR_FILES):
        fields = read_fields(folder / name)
        if name != "tokenizer_config.json":  # whose model_max_length stands for none
            check_numbers(fields, str(folder / name))
        _check_added_ids(folder / name, fields)
        _check_special_tokens(folder / name, fields)
    templates = sorted(f"{TEMPLATES}/{path.name}" for path in (folder / TEMPLATES).glob("*.jinja"))
    for name in _present(folder, [*OTHER_FILES, *templates]):
        check_regular(folder / name, "tokenizer", CheckpointError)
    for name in _present(folder, [TOKENIZER]):
        fields = read_fields(folder / name, "tokenizer")
        try:
            check_tokenizer(fields)
        except ValueError as error:
            raise CheckpointError(f"{folder / name}: {error}; take the tokenizer from its source again") from None


def read_weight_headers(folder: Path) -> dict[str, StoredWeight] | None:
    """Every weight of a folder by name, as the headers of its safetensors files have it.

    Returns:
        None where there are no safetensors files; PyTorch's are looked at as files only.

    Raises:
        CheckpointError: a file is damaged, missing or outside the folder; one line.
    """
    single, packed = (folder / name for name in SINGLE_FILES)
    index, packed_index = (folder / name for name in INDEX_FILES)
    if os.path.lexists(single):
        refuse_pointer(single)
        return read_header(single)
    if os.path.lexists(index):
        return _read_shards(index)
    for file in (
        [packed] if os.path.lexists(packed) else shards_of(packed_index) if os.path.lexists(packed_index) else ()
    ):
        refuse_pointer(file)
        refuse_packed(file)
    return None


def _read_shards(index: Path) -> dict[str, StoredWeight]:
    weights: dict[str, StoredWeight] = {}
    for shard in shards_of(index):
        refuse_pointer(shard)
        found = read_header(shard)
        twice = found.keys() & weights.keys()
        if twice:
            raise CheckpointError(f"{shard}: {shorten(min(twice))} is in another shard too; keep one set of weights")
        weights |= found
    return weights


def _present(folder: Path, names: Iterable[str]) -> list[str]:
    return [name for name in names if os.path.lexists(folder / name)]


def _check_weight_name(folder: Path, fields: dict) -> None:
    name = fields.get("transformers_weights")
    if name is not None and (not isinstance(name, str) or Path(name).name != name):
        message = f"transformers_weights names a file outside it ({shorten(repr(name))}); do not trust this checkpoint"
        raise CheckpointError(f"{folder / CONFIG}: {message}")


def _check_added_ids(file: Path, fields: dict) -> None:
    added = fields.get("added_tokens_decoder")
    ids = [str(index) for index in added] if isinstance(added, dict) else []
    ids += [str(index) for index in fields.values()] if file.name == "added_tokens.json" else []
    wrong = [index for index in ids if not index.isdecimal() or len(index) > 7]
    if wrong:
        message = f"has an added token with the id {shorten(wrong[0])}; save the processor again"
        raise CheckpointError(f"{file}: {message}")


def _check_special_tokens(file: Path, fields: dict) -> None:
    for name in ("additional_special_tokens", "extra_special_tokens"):
        tokens = fields.get(name)
        if isinstance(tokens, (list, dict)) and len(tokens) > MAX_SPECIAL_TOKENS:
            message = f"has {len(tokens)} {name}, more than {MAX_SPECIAL_TOKENS}; save the processor again"
            raise CheckpointError(f"{file}: {message}")


def _check_base(folder: Path, base: object) -> None:
    if not isinstance(base, str) or not base:
        raise CheckpointError(
            f"{folder}: does not name the model it was trained on; load that model and put the adapter on it with "
            "peft's PeftModel.from_pretrained"
        )
    if os.path.isdir(base) and not os.path.exists(os.path.join(base, CONFIG)):
        raise CheckpointError(
            f"{folder / ADAPTER_CONFIG}: its base model {shorten(base)} holds no model; write the folder of one there"
        )


def _check_ranks(file: Path, fields: dict) -> None:
    ranks = fields.get("rank_pattern")
    for rank in [fields.get("r"), *(ranks.values() if isinstance(ranks, dict) else ())]:
        if rank is not None and (type(rank) is not int or not 1 <= rank <= MAX_RANK):
            raise CheckpointError(f"{file}: its rank is {shorten(repr(rank))}; it must be from 1 to {MAX_RANK}")


def _check_patterns(file: Path, fields: dict) -> None:
    for name in PATTERNS:
        value = fields.get(name)
        for pattern in [value] if isinstance(value, str) else list(value) if isinstance(value, (list, dict)) else ():
            try:
                check_regex(str(pattern))
            except ValueError as error:
                raise CheckpointError(f"{file}: {name} {error}; name the modules instead") from None


__all__ = [
    "ADAPTER_CONFIG",
    "BASE_CONFIG",
    "check_adapter_files",
    "check_model_files",
    "check_processor_files",
    "read_weight_headers",
]
