"""Converters: a Chat-UniVi folder or an exported selector into a folder for `from_pretrained`.

Both have the `model_type` "ChatUniVi"; a selector is told by the fields that only its training writes. Files, shards,
records and the rule that every weight is used exactly once are those of the converter of GLUS.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from pathlib import Path

from torch import Tensor
from transformers.models.clip.image_processing_pil_clip import CLIPImageProcessorPil

from ...conversion.download import CLIP_REPO, clip_folder
from ...conversion.llama_tokenizer import add_tokens, check_vocabulary, load_tokenizer
from ...conversion.llava_config import (
    TEXT_FIELDS,
    VISION_FIELDS,
    clip_image_processor,
    pick_fields,
    readable_config,
    refuse_rope_scaling,
)
from ...conversion.new_weights import NewWeights, add_rows, random_layers
from ...conversion.output_folder import existing_folder, write_folder
from ...conversion.plan import ConversionPlan
from ...conversion.provenance import copy_original_fields, describe_source, read_json, rotary_constants
from ...conversion.weight_files import WeightFiles, find_weight_files
from ...errors import CheckpointError
from .configuration_chat_univi import ChatUniViConfig
from .configuration_glus_selector import GLUSSelectorConfig
from .modeling_chat_univi import ChatUniViForConditionalGeneration
from .modeling_glus_selector import GLUSSelector
from .processing_chat_univi import ChatUniViProcessor
from .processing_glus_selector import SCORE_TOKEN, GLUSSelectorProcessor
from .weight_names_glus_selector import (
    OUR_SCORE_HEAD_PREFIX,
    SCORE_HEAD_PREFIX,
    is_copy_of_tower,
    plan_names,
    upstream_name,
)


UPSTREAM_MODEL_TYPE = "ChatUniVi"
FIELDS_OF_A_SELECTOR = ("train_mask_decoder", "out_dim")
RELEASED_HEAD_SIZE = 256
MODELS = {"chat_univi": ChatUniViForConditionalGeneration, "glus_selector": GLUSSelector}


def convert_checkpoint(
    source: str | os.PathLike,
    clip: str | os.PathLike = CLIP_REPO,
    output: str | os.PathLike = "glus-selector",
    dtype: str = "keep",
    max_shard_size: int | str = "5GB",
    progress: bool = True,
) -> Path:
    """Convert a Chat-UniVi folder, or a selector that the original code exported.

    The first becomes a [`ChatUniViForConditionalGeneration`], the second a [`GLUSSelector`]. Weights are mapped file
    by file and written shard by shard; `output` appears only when it is complete.

    Args:
        source (`str`): the folder, with `config.json`, weights and tokenizer.
        clip (`str`): folder or Hub name of the CLIP it was trained with. A copy of the tower in `source` is left out.
        output (`str`): folder to make.
        dtype (`str`): "keep", "float32", "bfloat16" or "float16"; the score head stays in float32.
        max_shard_size (`int` or `str`): bytes, or for instance "5GB".
        progress (`bool`): show a bar.

    Returns:
        The output folder.

    Raises:
        WeightsDoNotFit: weights are missing, unexpected or of the wrong shape; all of them in its `keys`.
        CheckpointError: a file is missing, damaged or not what it should be; one line.
        ValueError: an unknown `dtype` or size; one line.

    Example:

        >>> convert_checkpoint("my-selector-export", "openai/clip-vit-large-patch14", "my-selector")  # doctest: +SKIP
    """
    source, (clip, clip_name) = existing_folder(source), clip_folder(clip)
    upstream = _read_config(source)
    is_selector = any(name in upstream for name in FIELDS_OF_A_SELECTOR)
    tokenizer = load_tokenizer(source)
    config = (_selector_config if is_selector else _base_config)(source, upstream, clip, tokenizer)
    checkpoint = _language_files(source)
    sources = [checkpoint, WeightFiles(clip_name, find_weight_files(clip))]

    def record() -> dict:
        return {
            "kind": "selector" if is_selector else "chat-univi",
            "sources": {
                "checkpoint": describe_source(source.name, checkpoint, source, progress),
                "clip": describe_source(clip_name, sources[1], clip, progress),
            },
            "options": {"dtype": dtype},
            "upstream_config": copy_original_fields(upstream),
            "inv_freq": rotary_constants(checkpoint),
        }

    processor = _make_processor(config, source, clip, tokenizer)
    plan, copies = SelectorConversionPlan(config, sources, dtype), [source / "tokenizer.model"]
    return write_folder(output, plan, record, max_shard_size, progress, processor, copies)


def convert_starting_selector(
    source: str | os.PathLike,
    clip: str | os.PathLike = CLIP_REPO,
    output: str | os.PathLike = "glus-selector-start",
    head_size: int = RELEASED_HEAD_SIZE,
    seed: int = 0,
    dtype: str = "keep",
    max_shard_size: int | str = "5GB",
    progress: bool = True,
) -> Path:
    """Make what selector training starts from: a Chat-UniVi folder, `[SCORE]` and a new score head.

    `[SCORE]` is added to the tokenizer with a random row in the embeddings and the head of the language model.

    Args:
        source (`str`): Chat-UniVi folder, in the original format.
        head_size (`int`): width of the second layer of the score head.
        seed (`int`): of the new row and the new head.
        clip, output, dtype, max_shard_size, progress: as for [`convert_checkpoint`].

    Returns:
        The output folder.

    Raises:
        As [`convert_checkpoint`]; also `CheckpointError` if the folder is a selector already.
    """
    source, (clip, clip_name) = existing_folder(source), clip_folder(clip)
    upstream = _read_config(source)
    if any(name in upstream for name in FIELDS_OF_A_SELECTOR):
        raise CheckpointError(f"{source}: is a selector with a score head already; convert it without a new one")
    tokenizer = load_tokenizer(source)
    missing, rows = add_tokens(tokenizer, [SCORE_TOKEN], upstream)
    fields = {**upstream, "vocab_size": rows, "out_dim": head_size}
    config = _selector_config(source, fields, clip, tokenizer)
    language = _language_files(source, lambda name, tensor: add_rows(name, tensor, rows, upstream, seed))
    sources = [
        language,
        WeightFiles(clip_name, find_weight_files(clip)),
        NewWeights("the new score head", new_score_head(config, seed)),
    ]

    def record() -> dict:
        return {
            "kind": "selector-starting-weights",
            "sources": {
                "checkpoint": describe_source(source.name, language, source, progress),
                "clip": describe_source(clip_name, sources[1], clip, progress),
            },
            "options": {"dtype": dtype, "head_size": head_size, "seed": seed},
            "added_tokens": missing,
        }

    processor = _make_processor(config, source, clip, tokenizer)
    plan, copies = SelectorConversionPlan(config, sources, dtype), [source / "tokenizer.model"]
    return write_folder(output, plan, record, max_shard_size, progress, processor, copies)


def new_score_head(config: GLUSSelectorConfig, seed: int) -> dict[str, Tensor]:
    """A random score head under the original names."""
    hidden, width = config.text_config.hidden_size, config.score_head_size
    sizes = {0: (hidden, hidden), 2: (hidden, width), 4: (width, 1)}
    return random_layers(f"{SCORE_HEAD_PREFIX}0.", sizes, seed)


# ---- parts


class SelectorConversionPlan(ConversionPlan):
    """The way of every weight into a [`GLUSSelector`] or a [`ChatUniViForConditionalGeneration`]."""

    def _plan_names(self, names: Iterable[str]) -> tuple[dict[str, list[str]], list[str]]:
        return plan_names(names)

    def _original_names(self, target: str, rows: int) -> list[str]:
        name = upstream_name(target)
        return [] if name is None else [name]

    def _make_model(self):
        return MODELS[self.config.model_type](self.config)

    def _cast(self, target: str, tensor: Tensor) -> Tensor:
        return tensor if target.startswith(OUR_SCORE_HEAD_PREFIX) else super()._cast(target, tensor)


def _language_files(folder: Path, change=lambda name, tensor: tensor) -> WeightFiles:
    """The weights of a folder in the original format, without the copy of CLIP's tower that some have."""
    return WeightFiles(
        str(folder),
        find_weight_files(folder),
        rename=lambda name: None if is_copy_of_tower(name) else name,
        change=change,
    )


def _read_config(folder: Path) -> dict:
    fields = read_json(folder / "config.json")
    if fields.get("model_type") != UPSTREAM_MODEL_TYPE:
        raise CheckpointError(
            f"{folder}: holds a {fields.get('model_type')!r} model, not {UPSTREAM_MODEL_TYPE!r}; pass a Chat-UniVi or "
            "selector folder in the original format"
        )
    return fields


def _selector_config(folder: Path, fields: Mapping, clip: Path, tokenizer) -> GLUSSelectorConfig:
    score_token_id = tokenizer.get_vocab().get(SCORE_TOKEN)
    if score_token_id is None:
        raise CheckpointError(f"{folder}: its tokenizer lacks {SCORE_TOKEN}, so it is no selector; download it again")
    check_vocabulary(folder, fields, tokenizer.get_vocab(), [SCORE_TOKEN])
    with readable_config(folder):
        values = _base_fields(folder, fields, clip)
        if "out_dim" not in fields:
            raise CheckpointError(f"{folder}: the config of the selector lacks 'out_dim'; download it again")
        return GLUSSelectorConfig(**values, score_token_id=score_token_id, score_head_size=fields["out_dim"])


def _base_config(folder: Path, fields: Mapping, clip: Path, tokenizer) -> ChatUniViConfig:
    with readable_config(folder):
        return ChatUniViConfig(**_base_fields(folder, fields, clip))


def _base_fields(folder: Path, fields: Mapping, clip: Path) -> dict:
    """`config.json` of the original code, read raw, as fields of [`ChatUniViConfig`]. Its nested "config" is of the
    merger; without it the original code does not merge."""
    refuse_rope_scaling(fields)
    projector = fields.get("mm_projector_type", "linear")
    if projector != "linear":
        raise CheckpointError(f"{folder}: its projector is {projector!r}; use one with a linear projector")
    clip_config = read_json(clip / "config.json")
    clip_config = clip_config.get("vision_config") or clip_config
    merger = fields.get("config") or {}
    use_cluster = bool(merger.get("use_cluster"))
    try:
        values = {
            "text_config": pick_fields(fields, TEXT_FIELDS),
            "vision_config": pick_fields(clip_config, VISION_FIELDS),
            "vision_feature_layer": fields["mm_vision_select_layer"],
            "use_cluster": use_cluster,
        }
        if use_cluster:
            rates = [merger[f"spatial_cluster_rate{stage}"] for stage in range(3)]
            values["temporal_cluster_rate"] = float(merger["temporal_cluster_rate"])
            values["spatial_clusters"] = [int(rate) for rate in rates]
    except KeyError as error:
        raise CheckpointError(f"{folder}: the config of the checkpoint lacks {error}; download it again") from None
    if use_cluster and any(rate != int(rate) or rate < 2 for rate in rates):
        raise CheckpointError(
            f"{folder}: spatial cluster rates {rates} are no numbers of tokens; use another checkpoint"
        )
    return values


def _make_processor(config: ChatUniViConfig, source: Path, clip: Path, tokenizer) -> ChatUniViProcessor:
    settings = source / "tokenizer_config.json"
    legacy = read_json(settings).get("legacy") if settings.is_file() else None
    make = GLUSSelectorProcessor if isinstance(config, GLUSSelectorConfig) else ChatUniViProcessor
    return make(
        clip_image_processor(CLIPImageProcessorPil, clip, config.vision_config.image_size),
        tokenizer,
        num_image_tokens=config.num_image_tokens,
        image_token_id=config.image_token_id,
        temporal_cluster_rate=config.temporal_cluster_rate if config.use_cluster else None,
        legacy=legacy is None or bool(legacy),  # transformers 4.31 takes no value for true
    )


__all__ = ["convert_checkpoint", "convert_starting_selector"]
