"""What of GLUS trains: LoRA on the language model, the mask decoder, the projections, embeddings and head.

Everything that trains lies in one `peft` adapter: LoRA matrices, and whole copies of the other parts. So a checkpoint
holds nothing but what was trained, and `peft` alone can load and merge it.
"""

from __future__ import annotations

import functools
import os
from collections.abc import Sequence

import torch
from peft import LoraConfig, PeftModel, get_peft_model
from peft.utils.constants import DUMMY_TARGET_MODULES
from torch import nn
from transformers import PreTrainedModel

from ..errors import NothingToTrainError, UserError
from ..hub import PACKAGED, packaged_folder


LANGUAGE_MODEL = ("lora", "full", "frozen")
EMBEDDINGS = ("full", "new_tokens", "frozen")
MASK_BRANCH = ("decoder", "full", "frozen")

DECODER_PARTS = (
    *("transformer", "upscale_conv1", "upscale_conv2", "upscale_layer_norm", "output_hypernetworks_mlps.0"),
    *("iou_token", "mask_tokens", "obj_score_token"),
)
"""Parts of SAM-2's mask decoder that get a gradient. Its other heads judge masks or decode others."""


def lora_target(model: PreTrainedModel, names: Sequence[str]) -> str:
    """What `peft` matches the names of modules against, as a whole.

    `q_proj` alone would also match those of the vision tower and of the mask model.

    Args:
        model: of the GLUS recipe.
        names: of linear layers, such as `q_proj`.
    """
    return model.trainable_parts.lora.replace("{names}", "|".join(names))


def prepare_model(
    model: PreTrainedModel,
    language_model: str = "lora",
    embeddings: str = "full",
    mask_branch: str = "decoder",
    projections: bool = True,
    vision_tower: bool = False,
    memory_gradient: bool | None = None,
    lora_rank: int = 8,
    lora_alpha: int = 16,
    lora_dropout: float = 0.05,
    lora_targets: tuple[str, ...] = ("q_proj", "v_proj"),
    new_token_ids: tuple[int, ...] = (),
    base_name: str | None = None,
) -> PeftModel | PreTrainedModel:
    """Freeze what does not train and put an adapter on the rest. The defaults are those of the released checkpoints.

    What trains is kept in float32, whatever the precision of the model.

    Args:
        model: is changed.
        language_model: "lora", "full" (its layers and norm; then no adapter is made and checkpoints hold the whole
            model) or "frozen".
        embeddings: input embeddings and head: "full" as the original code (the paper does not mention it),
            "new_tokens" (only the rows `new_token_ids`) or "frozen".
        mask_branch: of SAM-2, "decoder", "full" (everything in it that GLUS uses; needs `language_model="full"`) or
            "frozen".
        projections: from images to the language model, of [SEG] and, where there is one, of frame positions.
        vision_tower: what sees the frames too; needs `language_model="full"`.
        memory_gradient: let the loss of a frame reach earlier frames through the memory bank ("end-to-end" in the
            paper; the original code detaches it); by default what the model's `detach_memory` says.
        lora_rank, lora_alpha, lora_dropout, lora_targets: of the linear layers in the language model's attention.
        new_token_ids: for `embeddings="new_tokens"`.
        base_name: name or folder written into the adapter as its base; by default the model's own.

    Returns:
        A `PeftModel`, or with `language_model="full"` the model itself.

    Raises:
        ValueError: an unknown or impossible choice.
        NothingToTrainError: everything is frozen.
    """
    _check(language_model, embeddings, mask_branch, vision_tower, new_token_ids)
    if memory_gradient is not None:
        model.config.detach_memory = not memory_gradient
    model.requires_grad_(False)
    parts = model.trainable_parts
    if parts.are_tied and embeddings == "full" and language_model != "full":
        raise UserError(
            "embedding_training: full: an adapter would untie embeddings and head of this model; use new_tokens"
        )
    whole = list(parts.projections) if projections else []
    whole += [f"{parts.mask_model}.mask_decoder.{part}" for part in DECODER_PARTS] if mask_branch == "decoder" else []
    whole += [parts.embeddings, parts.head] if embeddings == "full" else []
    if language_model == "full":
        _train_in_place(model, whole, mask_branch, vision_tower)
        return in_float32(model)
    tables = (parts.embeddings,) if parts.are_tied else (parts.embeddings, parts.head)
    rows = dict.fromkeys(tables, list(new_token_ids)) if embeddings == "new_tokens" else None
    is_lora = language_model == "lora"
    if not (whole or rows or is_lora):
        raise NothingToTrainError(
            "no parameter is trainable; set language_model_training, mask_branch_training, train_projections or "
            "embedding_training"
        )
    config = LoraConfig(
        r=lora_rank if is_lora else 1,
        lora_alpha=lora_alpha,
        lora_dropout=lora_dropout,
        bias="none",
        target_modules=lora_target(model, lora_targets) if is_lora else DUMMY_TARGET_MODULES,
        modules_to_save=whole or None,
        trainable_token_indices=rows,
    )
    adapted = get_peft_model(model, config)
    name_base(adapted, base_name or portable_name(model.name_or_path))
    return in_float32(adapted)


def _check(language_model: str, embeddings: str, mask_branch: str, vision_tower: bool, new_token_ids) -> None:
    choices = (
        ("language_model_training", language_model, LANGUAGE_MODEL),
        ("embedding_training", embeddings, EMBEDDINGS),
        ("mask_branch_training", mask_branch, MASK_BRANCH),
    )
    for name, value, allowed in choices:
        if value not in allowed:
            raise UserError(f"{name} must be one of {', '.join(allowed)}, got {value!r}")
    if language_model != "full" and (mask_branch == "full" or vision_tower):
        raise UserError(
            "an adapter holds the mask decoder only; to train all of CLIP or SAM-2 set language_model_training: full"
        )
    if embeddings == "new_tokens" and language_model == "full":
        raise UserError("embedding_training: new_tokens needs an adapter; set language_model_training: lora")
    if embeddings == "new_tokens" and not new_token_ids:
        raise UserError("embedding_training: new_tokens needs new_token_ids; pass the processor to the trainer")


def name_base(adapted: PeftModel, name: str) -> None:
    """Write the name of the base into the adapter's files; saving them does not look for it on the Hub."""
    adapted.peft_config["default"].base_model_name_or_path = name
    adapted.get_base_model().config._name_or_path = name  # of the model card
    adapted.save_pretrained = functools.partial(adapted.save_pretrained, save_embedding_layers=False)


def portable_name(name: str) -> str:
    """The alias of a bundled checkpoint instead of its folder, which is another one on every machine."""
    for alias in PACKAGED:
        if name and os.path.realpath(name) == os.path.realpath(packaged_folder(alias)):
            return alias
    return name


def _train_in_place(model: PreTrainedModel, names: list[str], mask_branch: str, vision_tower: bool) -> None:
    parts = model.trainable_parts
    decoder, embeddings = model.get_submodule(parts.language_model), model.get_submodule(parts.embeddings)
    decoder.requires_grad_(True)
    embeddings.requires_grad_(False)
    for name in names:
        model.get_submodule(name).requires_grad_(True)
    if mask_branch == "full":
        _train_mask_branch(model, model.get_submodule(parts.mask_model))
    if vision_tower:
        _train_vision_tower(model)


def _train_mask_branch(model: PreTrainedModel, sam: nn.Module) -> None:
    """Everything in SAM-2 that the loss reaches; memory only where there is a second frame to read it."""
    decoder = sam.mask_decoder
    parts = [decoder.get_submodule(part) for part in DECODER_PARTS]
    parts += [sam.vision_encoder, decoder.conv_s0, decoder.conv_s1, sam.prompt_encoder.no_mask_embed]
    uses_memory = model.config.num_maskmem > 0 and model.config.num_query_frames > 1
    parts += [sam.memory_attention] if uses_memory else []
    if uses_memory and not model.config.detach_memory:
        parts += [sam.memory_encoder, *([sam.spatial_perceiver] if hasattr(sam, "spatial_perceiver") else [])]
    for part in parts:
        part.requires_grad_(True)
    if hasattr(sam.memory_encoder, "memory_fuser") and model.config.fuser_scale == "identity":
        sam.memory_encoder.memory_fuser.requires_grad_(False)
    sam.no_memory_embedding.requires_grad_(True)


def _train_vision_tower(model: PreTrainedModel) -> None:
    for name in model.trainable_parts.vision:
        model.get_submodule(name).requires_grad_(True)
    for module in model.unused_in_training():
        module.requires_grad_(False)


def in_float32(model: nn.Module) -> nn.Module:
    """Optimizers need more digits than bfloat16 has: 3e-4 steps on weights near 1 would be rounded away."""
    low = {torch.bfloat16, torch.float16}
    frozen = (parameter.dtype for parameter in model.parameters() if not parameter.requires_grad)
    dtype = next((found for found in frozen if found in low), None)
    for parameter in model.parameters():
        if parameter.requires_grad and parameter.dtype in low:
            parameter.data = parameter.data.float()
    if dtype is not None:  # else all states of the language model would be float32, twice as large
        model.get_input_embeddings().register_forward_hook(functools.partial(_cast_output, dtype))
    return model


def _cast_output(dtype: torch.dtype, module: nn.Module, inputs, output: torch.Tensor) -> torch.Tensor:
    return output.to(dtype)


def group_of(name: str) -> str:
    """Part of GLUS that a parameter belongs to.

    Example:

        >>> group_of("base_model.model.model.mask_model.mask_decoder.mask_tokens.modules_to_save.default.weight")
        'mask decoder'
        >>> group_of("model.language_model.layers.3.self_attn.q_proj.lora_A.default.weight")
        'LoRA'
    """
    for text, group in (
        ("lora_", "LoRA"),
        ("embed_tokens", "input embeddings"),
        ("lm_head", "language model head"),
        *((name, "vision projection") for name in ("mm_projector", "multi_modal_projector", "connector", "merger")),
        ("seg_projection", "[SEG] projection"),
        ("frame_position", "frame positions"),
        ("mask_decoder", "mask decoder"),
        ("mask_model", "mask branch"),
        *((name, "vision tower") for name in ("vision_tower", "vision_model", "visual")),
    ):
        if text in name:
            return group
    return "language model"


def trainable_parameters(model: nn.Module) -> dict[str, dict[str, int]]:
    """Number of elements of every trainable parameter: group -> name -> count.

    Raises:
        NothingToTrainError: there is none.
    """
    groups: dict[str, dict[str, int]] = {}
    for name, parameter in model.named_parameters():
        if parameter.requires_grad:
            groups.setdefault(group_of(name), {})[name] = parameter.numel()
    if not groups:
        raise NothingToTrainError("no parameter is trainable; unfreeze a part, or let GLUSTrainer choose")
    return groups


def describe_trainable(model: nn.Module) -> str:
    """One line per group and the sum, as the trainer logs it."""
    counts = {group: sum(parameters.values()) for group, parameters in trainable_parameters(model).items()}
    total = sum(parameter.numel() for parameter in model.parameters())
    lines = [f"  {group}: {count:,}" for group, count in counts.items()]
    return "\n".join([*lines, f"  trainable: {sum(counts.values()):,} of {total:,}"])


__all__ = ["NothingToTrainError", "describe_trainable", "prepare_model", "trainable_parameters"]
