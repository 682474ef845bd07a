"""A checkpoint to start training from: a vision-language model and a mask model of transformers, joined."""

from __future__ import annotations

import os
from dataclasses import asdict
from pathlib import Path

import torch
from transformers import AddedToken, AutoConfig, AutoModel, AutoModelForImageTextToText, AutoTokenizer

from ...checkpoint_files.json_fields import read_fields
from ...conversion.download import download_folder
from ...conversion.new_weights import NewWeights, more_rows, random_layers
from ...conversion.output_folder import write_folder
from ...conversion.provenance import describe_source
from ...conversion.weight_files import WeightFiles, find_weight_files
from ...errors import CheckpointError, UserError
from ..checkpoint_loading import check_files, readable_errors
from ..hub_parts import image_statistics
from ..joined_parts import PartsPlan, name_in_model
from ..recipe_processing import SEG_TOKEN
from ..vision_language_families import family_of
from .configuration_glus_vlm import GLUSVLMConfig
from .modeling_glus_vlm import GLUSVLMForVideoSegmentation
from .processing_glus_vlm import IMAGENET_MEAN, IMAGENET_STD, GLUSVLMProcessor, PilImageProcessor
from .prompts_glus_vlm import read_chat_template
from .render_template import render_apart


FILES = ["*.json", "*.jinja", "*.model", "*.txt"]
OF_OTHER_PARTS = ("detector_model.",)  # of a SAM 3, beside its tracker
CHAT_TEMPLATES = ("chat_template.jinja", "chat_template.json")


def make_new_model(
    vlm: str | os.PathLike,
    mask: str | os.PathLike,
    output: str | os.PathLike,
    frame_times: bool = False,
    max_frame_tokens: int = 128,
    seed: int = 0,
    dtype: str = "keep",
    max_shard_size: int | str = "5GB",
    progress: bool = True,
    **settings,
) -> Path:
    """Write a folder for `GLUSVLMForVideoSegmentation.from_pretrained` and `GLUSVLMProcessor.from_pretrained`.

    Weights go from file to file, a shard at a time; `conversion.json` records where they come from.

    Args:
        vlm: folder or Hub name of a vision-language model, see [`GLUSVLMConfig`].
        mask: folder or Hub name of a SAM-2 for videos, a SAM 3 (its tracker is taken) or an EdgeTAM.
        output: must not exist.
        frame_times, max_frame_tokens: of [`GLUSVLMProcessor`].
        seed: of the row of [SEG] and of the projection of its states.
        dtype: "keep", or of all weights.
        max_shard_size: largest weight file.
        progress: show a bar.
        settings: of [`GLUSVLMConfig`], such as `num_query_frames`.

    Raises:
        CheckpointError: a part is no such model, cannot be downloaded, or its weights do not fit; one line.
        UserError: it cannot be used here; one line.
    """
    vlm_folder, mask_folder = _folder(vlm), _folder(mask)
    vlm_config, mask_config = _config(vlm_folder), _mask_config(mask_folder)
    try:
        GLUSVLMConfig(vlm_config=vlm_config.to_dict(), mask_config=mask_config.to_dict())
    except UserError as error:
        raise CheckpointError(f"{vlm} and {mask}: {error}; choose other parts") from error
    check_files(vlm_folder, {}, of_model=False)
    with readable_errors(vlm_folder):
        tokenizer = AutoTokenizer.from_pretrained(vlm_folder, trust_remote_code=False)
    tokenizer.add_tokens([AddedToken(SEG_TOKEN, special=True, normalized=False)])
    text = vlm_config.get_text_config()
    text.vocab_size = max(text.vocab_size, len(tokenizer))
    seg = tokenizer.convert_tokens_to_ids(SEG_TOKEN)
    config = GLUSVLMConfig(
        vlm_config=vlm_config.to_dict(), mask_config=mask_config.to_dict(), seg_token_id=seg, **settings
    )
    tied = ("lm_head.weight",) if config.tie_word_embeddings else ()
    vlm_model = _without_data(AutoModelForImageTextToText, config.vlm_config)
    mask_model = _without_data(AutoModel, config.mask_config)
    parts = {
        vlm_folder: name_in_model("vlm", vlm_model, tied),
        mask_folder: name_in_model("mask_model", mask_model, OF_OTHER_PARTS),
    }
    grow = more_rows(text.vocab_size, getattr(text, "initializer_range", None) or 0.02, seed)
    sources = [WeightFiles(str(folder), find_weight_files(folder), rename, grow) for folder, rename in parts.items()]
    hidden, width = text.hidden_size, config.seg_embedding_size
    layers = random_layers("seg_projection.", {0: (hidden, hidden), 2: (hidden, width)}, seed)
    sources.append(NewWeights("the new projection", layers))
    plan = PartsPlan(GLUSVLMForVideoSegmentation, config, sources, dtype, copies=[f"vlm.{name}" for name in tied])
    processor = _processor(vlm_folder, mask_folder, tokenizer, config, frame_times, max_frame_tokens)

    def record() -> dict:
        described = zip(("vlm", "mask"), (vlm, mask), sources, (vlm_folder, mask_folder), strict=False)
        return {
            "kind": "new-model",
            "sources": {
                part: describe_source(Path(name).name if Path(name).is_dir() else str(name), source, folder, progress)
                for part, name, source, folder in described
            },
            "options": {"dtype": dtype, "seed": seed, "frame_times": frame_times, **settings},
        }

    return write_folder(output, plan, record, max_shard_size, progress, processor, [])


def _folder(name_or_path: str | os.PathLike) -> Path:
    path = Path(name_or_path)
    if path.is_dir():
        return path.absolute()
    if str(name_or_path).count("/") != 1 or str(name_or_path)[0] in "./~":
        raise CheckpointError(f"{name_or_path}: no such folder; pass a folder or a name of the Hub, owner/name")
    remedy = (
        f"if it is gated, ask for access on https://huggingface.co/{name_or_path} and log in (hf auth login); on a "
        f"machine with access, hf download {name_or_path}, and pass its folder"
    )
    return download_folder(str(name_or_path), FILES, remedy)


def _config(folder: Path):
    check_files(folder, {}, of_model=True)
    with readable_errors(folder):
        return AutoConfig.from_pretrained(folder, trust_remote_code=False)


def _mask_config(folder: Path):
    """Of the mask model; of the tracker of a SAM 3."""
    config = _config(folder)
    return getattr(config, "tracker_config", None) or config


def _without_data(auto, config):
    with torch.device("meta"):
        return auto.from_config(config)


def _processor(
    vlm: Path, mask: Path, tokenizer, config: GLUSVLMConfig, frame_times: bool, max_frame_tokens: int
) -> GLUSVLMProcessor:
    with readable_errors(vlm):
        images = PilImageProcessor.from_pretrained(vlm)
    mean, std = image_statistics(mask) or (IMAGENET_MEAN, IMAGENET_STD)
    template, placeholder = _chat_template(vlm, tokenizer), family_of(config.vlm_config.model_type).placeholder
    with readable_errors(vlm):
        frame = read_chat_template(tokenizer, template, placeholder, render_apart)
    return GLUSVLMProcessor(
        images,
        tokenizer,
        vlm_type=config.vlm_config.model_type,
        image_token=tokenizer.convert_ids_to_tokens(config.vlm_config.image_token_id),
        num_context_frames=config.num_context_frames,
        num_query_frames=config.num_query_frames,
        max_frame_tokens=max_frame_tokens,
        mask_size=config.mask_config.image_size,
        mask_image_mean=mean,
        mask_image_std=std,
        frame_times=frame_times,
        chat_template=template,
        chat_frame=asdict(frame),
    )


def _chat_template(folder: Path, tokenizer) -> str | None:
    """Of the processor, which knows images; the tokenizer's may not."""
    for name in CHAT_TEMPLATES:
        file = folder / name
        if file.is_file():
            return read_fields(file)["chat_template"] if file.suffix == ".json" else file.read_text(encoding="utf-8")
    return getattr(tokenizer, "chat_template", None)


__all__ = ["make_new_model"]
