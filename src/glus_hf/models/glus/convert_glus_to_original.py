"""Back to the released layout: a folder that the original code loads."""

from __future__ import annotations

import json
import os
import re
import shutil
from collections.abc import Iterable, Iterator
from pathlib import Path

import torch
from torch import Tensor

from ...atomic_write import new_folder
from ...conversion.llava_names import OUR_CLIP_PREFIX
from ...conversion.plan import WeightsDoNotFit, write_weights
from ...conversion.provenance import RECORD_FILE, read_json
from ...conversion.weight_files import WeightFiles, find_weight_files, shard_limit
from ...errors import CheckpointError, UserError
from ..checkpoint_loading import check_checkpoint, check_files, readable_errors, resolve_name
from .configuration_glus import GLUSConfig
from .original_config_glus import upstream_from_config
from .weight_names_glus import (
    MEMORY_PROJECTION,
    POSITION_MATRIX_COPY,
    identity_projection,
    upstream_names,
)


FORMATS = ("upstream",)
QUERY_WEIGHT = re.compile(r"(model\.layers\.\d+\.self_attn\.)q_proj\.weight")
BASE_TOKENS = ("<unk>", "<s>", "</s>")


def export_checkpoint(
    model: str | os.PathLike,
    output: str | os.PathLike,
    format: str = "upstream",
    tokenizer: str | os.PathLike | None = None,
    max_shard_size: int | str = "10GB",
    progress: bool = True,
) -> Path:
    """Write a model as a folder that the original code loads: its names of weights, config fields and tokenizer.

    The CLIP tower is left out, as in the released files; the rotary constants that these keep with the weights
    are written again. All other tensors are those of the model, bit by bit.

    Args:
        model (`str`): folder or alias. A LoRA adapter must be merged first.
        output (`str`): folder to make; appears only when it is complete.
        format (`str`): "upstream".
        tokenizer (`str`, *optional*): folder with the sentencepiece `tokenizer.model`, if the model's has none.
        max_shard_size (`int` or `str`): bytes, or for instance "5GB".
        progress (`bool`): show a bar.

    Returns:
        The output folder.

    Raises:
        CheckpointError: no such model, no `tokenizer.model`, or parts that the original code does not have; one line.

    Example:

        >>> export_checkpoint("my-trained-glus", "my-glus-upstream")  # doctest: +SKIP
    """
    from transformers import AutoTokenizer

    if format not in FORMATS:
        raise UserError(f"format {format!r} is unknown; use {', '.join(FORMATS)}")
    folder = Path(resolve_name(model))
    check_checkpoint(str(folder), [GLUSConfig.model_type])
    if not folder.is_dir():
        raise CheckpointError(f"{folder}: is no folder; download the model first (hf download)")
    if not (folder / "config.json").is_file():
        raise CheckpointError(f"{folder}: is a LoRA adapter; merge it first (glus_hf.training.export.export_adapter)")
    config = GLUSConfig.from_pretrained(str(folder))
    sentencepiece = _sentencepiece_file(folder, None if tokenizer is None else Path(tokenizer))
    check_files(folder, {}, of_model=False)
    with readable_errors(folder):
        own_tokenizer = AutoTokenizer.from_pretrained(str(folder), local_files_only=True, trust_remote_code=False)
    weights = WeightFiles(str(folder), find_weight_files(folder))
    _check_names(folder, weights)
    record = read_json(folder / RECORD_FILE) if (folder / RECORD_FILE).is_file() else {}
    rotary = _rotary_constants(config, record)
    left_out = _identities(folder, weights)
    num_bytes = sum(tensor.nbytes for _, tensor in _upstream_weights(weights.shapes().items(), rotary, left_out))
    with new_folder(Path(output)) as temporary:
        limit, written = shard_limit(max_shard_size, [weights]), _upstream_weights(weights.read(), rotary, left_out)
        write_weights(written, temporary, limit, num_bytes, progress, "exporting")
        original = record.get("upstream_config")
        _write_json(temporary / "config.json", upstream_from_config(config, original))
        _write_tokenizer(temporary, own_tokenizer, sentencepiece, config)
    return Path(output)


def _check_names(folder: Path, weights: WeightFiles) -> None:
    unknown = [name for name in weights.shapes() if not upstream_names(name) and name != POSITION_MATRIX_COPY]
    if unknown:
        keys = {"that the original code does not have": sorted(unknown)}
        raise WeightsDoNotFit(str(folder), keys, "models with such parts exist only here; keep them in our format")


def _identities(folder: Path, weights: WeightFiles) -> set[str]:
    """The original code's names of weights that we have for the sake of the layout and SAM-2 has not."""
    shapes = {theirs: tensor for name, tensor in weights.shapes().items() for theirs in upstream_names(name)}
    identity = identity_projection({n: t for n, t in shapes.items() if not n.startswith(MEMORY_PROJECTION)})
    for name, tensor in weights.read() if identity else ():
        for theirs in upstream_names(name):
            if theirs in identity and not torch.equal(tensor, identity[theirs].to(tensor.dtype)):
                keys = {"that the original code does not have": [theirs]}
                raise WeightsDoNotFit(str(folder), keys, "models with such parts exist only here; keep our format")
    return set(identity)


def _upstream_weights(
    weights: Iterable[tuple[str, Tensor]], rotary: Tensor | None, left_out: set[str]
) -> Iterator[tuple[str, Tensor]]:
    for name, tensor in weights:
        names = upstream_names(name, rows=len(tensor) if tensor.ndim else 1)
        if name.startswith(OUR_CLIP_PREFIX) or left_out.intersection(names):
            continue
        if len(names) == 1:
            yield names[0], tensor
        else:
            yield from ((row_name, tensor[row : row + 1].clone()) for row, row_name in enumerate(names))
        for row_name in names:
            match = QUERY_WEIGHT.fullmatch(row_name)
            if match and rotary is not None:
                yield f"{match[1]}rotary_emb.inv_freq", rotary.clone()


def _rotary_constants(config: GLUSConfig, record: dict) -> Tensor | None:
    """Inverse frequencies of the rotary embedding, one per pair of dimensions of a head: those of the checkpoint that
    the model was converted from (`None` if it had none), or computed."""
    if "inv_freq" in record:
        original = record["inv_freq"]
        return original and torch.tensor(original["values"], dtype=getattr(torch, original["dtype"]))
    text = config.text_config
    size = getattr(text, "head_dim", None) or text.hidden_size // text.num_attention_heads
    theta = (text.to_dict().get("rope_parameters") or {}).get("rope_theta", 10000.0)
    return 1.0 / (theta ** (torch.arange(0, size, 2).float() / size))


def _sentencepiece_file(folder: Path, tokenizer: Path | None) -> Path:
    folders = [folder] if tokenizer is None else [tokenizer]
    for candidate in folders:
        if (candidate / "tokenizer.model").is_file():
            return candidate / "tokenizer.model"
    raise CheckpointError(
        f"{folders[0]}: has no tokenizer.model, which the original code needs; pass --tokenizer with the folder of "
        "the checkpoint that the model was made from"
    )


def _write_tokenizer(output: Path, tokenizer, sentencepiece: Path, config: GLUSConfig) -> None:
    """The slow Llama tokenizer as transformers 4.31 saves it."""
    added = {token: index for token, index in tokenizer.get_added_vocab().items() if token not in BASE_TOKENS}
    shutil.copy2(sentencepiece, output / "tokenizer.model")
    _write_json(output / "added_tokens.json", added)
    edges = {"lstrip": False, "normalized": True, "rstrip": False, "single_word": False}
    specials = {"bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>"}
    contents = {name: {"content": token, **edges} for name, token in specials.items()}
    _write_json(output / "special_tokens_map.json", {**contents, "pad_token": "<unk>"})
    settings = {
        "add_bos_token": True,
        "add_eos_token": False,
        "clean_up_tokenization_spaces": False,
        "legacy": True,
        "model_max_length": min(tokenizer.model_max_length, config.text_config.max_position_embeddings),
        "pad_token": None,
        "padding_side": "right",
        "sp_model_kwargs": {},
        "tokenizer_class": "LlamaTokenizer",
    }
    settings |= {name: {"__type": "AddedToken", **content} for name, content in contents.items()}
    _write_json(output / "tokenizer_config.json", settings)


def _write_json(file: Path, content: dict) -> None:
    file.write_text(json.dumps(content, indent=2, sort_keys=True) + "\n", encoding="utf-8")


__all__ = ["export_checkpoint"]
