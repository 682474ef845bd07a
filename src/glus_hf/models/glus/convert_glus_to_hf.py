"""Converters: a released GLUS folder, or the parts that training starts from, into a folder for `from_pretrained`.

Names are in weight_names_glus.py and sizes in original_config_glus.py. What all families share is in `conversion`:
files, SAM-2's sizes, and the rule that every weight is used exactly once.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from pathlib import Path

from torch import Tensor

from ...conversion.download import CLIP_REPO, clip_folder
from ...conversion.llama_tokenizer import add_tokens, check_vocabulary, load_tokenizer
from ...conversion.llava_config import clip_image_processor, readable_config
from ...conversion.new_weights import NewWeights, add_rows, random_layers
from ...conversion.output_folder import existing_file, existing_folder, write_folder
from ...conversion.plan import OWN, ConversionPlan, Source
from ...conversion.provenance import (
    RECORD_FILE,
    copy_original_fields,
    describe_source,
    read_json,
    rotary_constants,
)
from ...conversion.sam2_config import find_sam2_config, mask_config_from_sam2, sam2_config_from_shapes
from ...conversion.weight_files import WeightFiles, find_weight_files
from ...errors import CheckpointError, UserError
from ..checkpoint_loading import check_checkpoint, resolve_name
from .configuration_glus import GLUSConfig
from .image_processing_glus import GLUSImageProcessor
from .modeling_glus import GLUSForVideoSegmentation
from .original_config_glus import config_from_upstream
from .presets_glus import MODEL_OPTIONS, PROCESSOR_OPTIONS, select_options
from .processing_glus import ADDED_TOKENS, SEG_TOKEN, GLUSProcessor
from .weight_names_glus import (
    MASK_PREFIX,
    OUR_MASK_PREFIX,
    POSITION_MATRIX_COPY,
    convert_state_dict,
    identity_projection,
    join_sources,
    plan_names,
    upstream_names,
)


PROJECTIONS = ("init", "lisa")
SAM2_CONFIG_FILE = "sam2_config.yaml"  # taken from a source folder that has one
# the vision tower comes from CLIP's folder, the mask branch from SAM-2's file
NOT_OF_THE_LANGUAGE_MODEL = ("model.visual_model.", "model.vision_tower.")


# ---- the three entry points


def convert_checkpoint(
    source: str | os.PathLike,
    clip: str | os.PathLike = CLIP_REPO,
    output: str | os.PathLike = "glus",
    sam2_config: str | os.PathLike | Mapping | None = None,
    compat: str | None = None,
    dtype: str = "keep",
    max_shard_size: int | str = "5GB",
    progress: bool = True,
    source_name: str | None = None,
    clip_name: str | None = None,
    **options,
) -> Path:
    """Convert a released GLUS folder (GLUS-S-partial, GLUS-S, GLUS-A, or one made by the original merge script).

    Weights are mapped file by file and written shard by shard, so the memory used stays below twice the largest file.
    `output` appears only when it is complete.

    Args:
        source (`str`): the folder, with `config.json`, weights and tokenizer.
        clip (`str`): folder or Hub name of the CLIP it was trained with.
        output (`str`): folder to make.
        sam2_config (`str`, *optional*): SAM-2's yaml file. Without it, `sam2_config.yaml` of the source folder, or for
            SAM-2's four sizes what the shapes of the weights say.
        compat (`str`, *optional*): preset of options to store (`compat_glus.COMPAT`).
        dtype (`str`): "keep", "float32", "bfloat16" or "float16".
        max_shard_size (`int` or `str`): bytes, or for instance "5GB".
        progress (`bool`): show a bar.
        source_name, clip_name (`str`, *optional*): what `conversion.json` calls the two; by default the names of
            the folders.
        options: single options to store, before those of `compat`: `fuser_scale`, `dense_position_dtype`,
            `multimask_fallback`, `memory_features`, `seg_hidden_state`, `detach_memory`, `context_frames`, `overlap`.

    Returns:
        The output folder.

    Raises:
        WeightsDoNotFit: weights are missing, unexpected or of the wrong shape; all of them in its `keys`.
        CheckpointError: a file is missing, damaged or not what it should be; one line.
        ValueError: an unknown option; one line.

    Example:

        >>> convert_checkpoint("GLUS-S", "openai/clip-vit-large-patch14", "glus-s")  # doctest: +SKIP
    """
    source, (clip, found_name) = existing_folder(source), clip_folder(clip)
    source_name, clip_name = source_name or source.name, clip_name or found_name
    options = _chosen_options(compat, options)
    upstream, tokenizer = read_json(source / "config.json"), load_tokenizer(source)
    checkpoint = WeightFiles(str(source), find_weight_files(source))
    sources = [checkpoint, WeightFiles(clip_name, find_weight_files(clip)), *_identity_projection(checkpoint)]
    yaml_file = _sam2_yaml(sam2_config, source)
    sam2 = yaml_file or sam2_config_from_shapes(_mask_shapes(checkpoint))
    config = _make_config(source, upstream, clip, sam2, tokenizer, options)

    def record() -> dict:
        return {
            "kind": "released",
            "sources": {
                "checkpoint": describe_source(source_name, checkpoint, source, progress),
                "clip": describe_source(clip_name, sources[1], clip, progress),
                "sam2_config": None if yaml_file is None else _describe_yaml(yaml_file),
            },
            "options": {"compat": compat, "dtype": dtype, **options},
            "upstream_config": copy_original_fields(upstream),
            "inv_freq": rotary_constants(checkpoint),
        }

    processor = _make_processor(config, clip, tokenizer, options)
    plan, copies = GLUSConversionPlan(config, sources, dtype), [source / "tokenizer.model"]
    return write_folder(output, plan, record, max_shard_size, progress, processor, copies)


def convert_starting_weights(
    llm: str | os.PathLike,
    sam2: str | os.PathLike,
    clip: str | os.PathLike = CLIP_REPO,
    output: str | os.PathLike = "glus-start",
    sam2_config: str | os.PathLike | Mapping | None = None,
    projection: str = "init",
    seed: int = 0,
    compat: str | None = None,
    dtype: str = "keep",
    max_shard_size: int | str = "5GB",
    progress: bool = True,
    **options,
) -> Path:
    """Put together what GLUS training starts from: LISA's language model, Meta's SAM-2 and CLIP.

    [SEG], `<im_start>` and `<im_end>` are added to the tokenizer if it lacks them, with new random rows in the
    embeddings and the head where there are none. The mask weights in LISA's folder (SAM-1) are left out.

    Args:
        llm (`str`): folder of LISA-7B-v1, or of another LLaVA-v1-like model with `mm_projector`.
        sam2 (`str`): Meta's `.pt` file, SAM 2.0 or 2.1, any size.
        clip, output, sam2_config, compat, dtype, max_shard_size, progress, options: as for [`convert_checkpoint`].
        projection (`str`): "init" starts the projection of [SEG] at random, as the original code does; "lisa"
            takes LISA's, as the paper says.
        seed (`int`): of new rows and the new projection.

    Returns:
        The output folder.

    Raises:
        As [`convert_checkpoint`].
    """
    if projection not in PROJECTIONS:
        raise UserError(f"projection {projection!r} is unknown; use {' or '.join(PROJECTIONS)}")
    llm, sam2, (clip, clip_name) = existing_folder(llm), existing_file(sam2), clip_folder(clip)
    options = _chosen_options(compat, options)
    upstream = read_json(llm / "config.json")
    tokenizer = load_tokenizer(llm)
    missing, rows = add_tokens(tokenizer, ADDED_TOKENS, upstream)
    mask_weights = _sam2_source(sam2)
    yaml_file = _sam2_yaml(sam2_config)
    mask_sizes = yaml_file or sam2_config_from_shapes(_mask_shapes(mask_weights))
    width = mask_config_from_sam2(mask_sizes)["prompt_encoder_config"]["hidden_size"]
    fields = {"mm_vision_select_layer": -2, **upstream, "vocab_size": rows, "out_dim": width}
    config = _make_config(llm, fields, clip, mask_sizes, tokenizer, options)

    left_out = NOT_OF_THE_LANGUAGE_MODEL + (("model.text_hidden_fcs.",) if projection == "init" else ())
    language = WeightFiles(
        str(llm),
        find_weight_files(llm),
        rename=lambda name: None if name.startswith(left_out) else name,
        change=lambda name, tensor: add_rows(name, tensor, rows, upstream, seed),
    )
    sources: list[Source] = [language, WeightFiles(clip_name, find_weight_files(clip)), mask_weights]
    sources += _identity_projection(mask_weights)
    if projection == "init":
        sources.append(NewWeights("the new projection", new_projection(config, seed)))

    def record() -> dict:
        return {
            "kind": "starting-weights",
            "sources": {
                "llm": describe_source(llm.name, language, llm, progress),
                "clip": describe_source(clip_name, sources[1], clip, progress),
                "sam2": describe_source(sam2.name, mask_weights, progress=progress),
                "sam2_config": None if yaml_file is None else _describe_yaml(yaml_file),
            },
            "options": {"compat": compat, "dtype": dtype, "projection": projection, "seed": seed, **options},
            "added_tokens": missing,
        }

    processor = _make_processor(config, clip, tokenizer, options)
    plan, copies = GLUSConversionPlan(config, sources, dtype), [llm / "tokenizer.model"]
    return write_folder(output, plan, record, max_shard_size, progress, processor, copies)


def replace_sam2(
    model: str | os.PathLike,
    sam2: str | os.PathLike,
    output: str | os.PathLike,
    sam2_config: str | os.PathLike | Mapping | None = None,
    dtype: str = "keep",
    max_shard_size: int | str = "5GB",
    progress: bool = True,
) -> Path:
    """Copy a model folder with another mask branch: Meta's SAM-2 weights as they are published.

    Args:
        model (`str`): folder (or alias) of a converted or trained model; it stays as it is.
        sam2 (`str`): Meta's `.pt` file. Its size may differ from the model's.
        output, dtype, max_shard_size, progress: as for [`convert_checkpoint`].
        sam2_config (`str`, *optional*): SAM-2's yaml file, for a size that neither SAM-2 nor the model has.

    Returns:
        The output folder.

    Raises:
        As [`convert_checkpoint`].
    """
    model, sam2 = Path(resolve_name(model)), existing_file(sam2)
    check_checkpoint(str(model), [GLUSConfig.model_type])
    model = existing_folder(model)
    config = GLUSConfig.from_pretrained(str(model))
    kept = WeightFiles(
        str(model),
        find_weight_files(model),
        rename=lambda name: None if name.startswith(OUR_MASK_PREFIX) else OWN + name,
    )
    mask_weights = _sam2_source(sam2)
    sources = [kept, mask_weights, *_identity_projection(mask_weights)]
    yaml_file = _sam2_yaml(sam2_config)
    if yaml_file is not None or any(GLUSConversionPlan(config, sources).misfits.values()):
        sizes = mask_config_from_sam2(yaml_file or sam2_config_from_shapes(_mask_shapes(mask_weights)))
        config = GLUSConfig.from_dict({**config.to_dict(), "mask_config": sizes})
    previous = read_json(model / RECORD_FILE) if (model / RECORD_FILE).is_file() else {}

    def record() -> dict:
        return {
            **{name: previous[name] for name in ("upstream_config", "inv_freq") if name in previous},
            "kind": "replace-sam2",
            "sources": {
                "model": describe_source(model.name, kept, model, progress),
                "sam2": describe_source(sam2.name, mask_weights, progress=progress),
                "sam2_config": None if yaml_file is None else _describe_yaml(yaml_file),
            },
            "options": {"dtype": dtype},
            "previous": previous or None,
        }

    made = {"config.json", RECORD_FILE, *(file.name for file in kept.files)}
    others = [path for path in model.iterdir() if path.is_file() and path.name not in made and not _is_index(path)]
    return write_folder(
        output, GLUSConversionPlan(config, sources, dtype), record, max_shard_size, progress, None, others
    )


# ---- parts


class GLUSConversionPlan(ConversionPlan):
    """The way of every weight into a [`GLUSForVideoSegmentation`]."""

    def _plan_names(self, names: Iterable[str]) -> tuple[dict[str, list[str]], list[str]]:
        return plan_names(names)

    def _original_names(self, target: str, rows: int) -> list[str]:
        return upstream_names(target, rows=rows)

    def _make_model(self) -> GLUSForVideoSegmentation:
        return GLUSForVideoSegmentation(self.config)

    def _join_sources(self, target: str, tensors: list[Tensor]) -> Tensor:
        return join_sources(target, tensors)

    def _is_copy(self, target: str) -> bool:
        return target == POSITION_MATRIX_COPY


def _make_config(folder: Path, fields: Mapping, clip: Path, sam2, tokenizer, options: Mapping) -> GLUSConfig:
    vocabulary = tokenizer.get_vocab()
    missing = [token for token in ADDED_TOKENS if token not in vocabulary]
    if missing:
        raise CheckpointError(
            f"{folder}: its tokenizer lacks {', '.join(missing)}, so added_tokens.json is missing or it is no GLUS "
            "checkpoint; download it again, or start training from it with --llm"
        )
    check_vocabulary(folder, fields, vocabulary, ADDED_TOKENS)
    with readable_config(folder):
        config = config_from_upstream(fields, read_json(clip / "config.json"), sam2, vocabulary[SEG_TOKEN])
    chosen = {name: value for name, value in options.items() if name in MODEL_OPTIONS}
    return GLUSConfig.from_dict({**config.to_dict(), **chosen}) if chosen else config


def _chosen_options(compat: str | None, options: Mapping) -> dict:
    unknown = sorted(set(options) - {*MODEL_OPTIONS, *PROCESSOR_OPTIONS})
    if unknown:
        raise UserError(f"unknown option {unknown[0]}; use {', '.join(MODEL_OPTIONS + PROCESSOR_OPTIONS)}")
    given = {name: value for name, value in options.items() if value is not None}
    return {**select_options(compat, MODEL_OPTIONS + PROCESSOR_OPTIONS), **given}


def _make_processor(config: GLUSConfig, clip: Path, tokenizer, options: Mapping) -> GLUSProcessor:
    side = config.mask_config.image_size
    mask_size = {"height": side, "width": side}
    image_processor = clip_image_processor(
        GLUSImageProcessor, clip, config.vision_config.image_size, mask_size=mask_size
    )
    return GLUSProcessor(
        image_processor,
        tokenizer,
        num_context_frames=config.num_context_frames,
        num_query_frames=config.num_query_frames,
        num_image_tokens=config.num_image_tokens,
        image_token_id=config.image_token_id,
        **{name: value for name, value in options.items() if name in PROCESSOR_OPTIONS},
    )


def new_projection(config: GLUSConfig, seed: int) -> dict[str, Tensor]:
    """A random projection of [SEG] under the original names."""
    hidden, width = config.text_config.hidden_size, config.seg_embedding_size
    sizes = {0: (hidden, hidden), 2: (hidden, width)}
    return random_layers("model.text_hidden_fcs.0.", sizes, seed)


def _sam2_source(file: Path) -> WeightFiles:
    return WeightFiles(str(file), [file], rename=lambda name: MASK_PREFIX + name)


def _identity_projection(source: WeightFiles) -> list[NewWeights]:
    weights = identity_projection(source.shapes())
    return [NewWeights("the identity in place of a memory projection", weights)] if weights else []


def _mask_shapes(source: WeightFiles) -> dict[str, list[int]]:
    """Shapes of the mask branch, under Meta's names."""
    shapes = source.shapes().items()
    return {name.removeprefix(MASK_PREFIX): list(t.shape) for name, t in shapes if name.startswith(MASK_PREFIX)}


def _sam2_yaml(given, folder: Path | None = None):
    if given is not None:
        return given if isinstance(given, Mapping) else find_sam2_config(given)
    return folder / SAM2_CONFIG_FILE if folder is not None and (folder / SAM2_CONFIG_FILE).is_file() else None


def _describe_yaml(sam2_config):
    return "given" if isinstance(sam2_config, Mapping) else sam2_config.name


def _is_index(path: Path) -> bool:
    return path.name.endswith(".index.json")


__all__ = [
    "config_from_upstream",
    "convert_checkpoint",
    "convert_starting_weights",
    "convert_state_dict",
    "replace_sam2",
]
