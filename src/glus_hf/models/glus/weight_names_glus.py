"""Names of weights: the released GLUS layout <-> ours.

The released files hold the language model, the projections and the mask branch under Meta's SAM-2 names. The CLIP
tower comes from its own folder; its names are taken with or without `vision_model.` in front.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import torch
from torch import Tensor

from ...conversion.llava_names import CLIP_NAMES, IGNORED, LANGUAGE_MODEL_NAMES
from ...conversion.name_rules import NameRules, compile_pattern, with_prefixes
from ...conversion.sam2_names import SAM2_NAMES
from ...errors import UserError


MASK_PREFIX = "model.visual_model."
OUR_MASK_PREFIX = "model.mask_model."
# transformers keeps one matrix twice, and the four point embeddings as one
POSITION_MATRIX = OUR_MASK_PREFIX + "prompt_encoder.shared_embedding.positional_embedding"
POSITION_MATRIX_COPY = OUR_MASK_PREFIX + "shared_image_embedding.positional_embedding"
POINT_EMBEDDINGS = OUR_MASK_PREFIX + "prompt_encoder.point_embed.weight"
# a convolution here, nothing at all in SAM-2 where the memory is as wide as the features
MEMORY_PROJECTION = MASK_PREFIX + "memory_encoder.out_proj."
MEMORY_WIDTHS = (MASK_PREFIX + "memory_encoder.pix_feat_proj.bias", MASK_PREFIX + "maskmem_tpos_enc")
UPSTREAM_POINT = MASK_PREFIX + "sam_prompt_encoder.point_embeddings.{i}.weight"
POINT_RULE = compile_pattern(UPSTREAM_POINT)
RULES = NameRules(
    LANGUAGE_MODEL_NAMES
    | {"model.text_hidden_fcs.0.{i}.{p}": "model.seg_projection.{i}.{p}"}
    | with_prefixes(SAM2_NAMES, MASK_PREFIX, OUR_MASK_PREFIX)
    | CLIP_NAMES
)


def our_name(name: str) -> str | None:
    """Our name of an original weight; `None` for a name that is not of the layout.

    Example:
        >>> our_name("model.text_hidden_fcs.0.2.bias")
        'model.seg_projection.2.bias'
    """
    return POINT_EMBEDDINGS if POINT_RULE.fullmatch(name) else RULES.our_name(name)


def upstream_names(name: str, rows: int = 4) -> list[str]:
    """The original names of one of our weights: one, or one per row of the point embeddings. Empty for our copies.

    Example:
        >>> upstream_names("model.seg_projection.2.bias")
        ['model.text_hidden_fcs.0.2.bias']
    """
    if name == POINT_EMBEDDINGS:
        return [UPSTREAM_POINT.format(i=row) for row in range(rows)]
    if name == POSITION_MATRIX_COPY:
        return []
    translated = RULES.original_name(name)
    return [] if translated is None else [translated]


def plan_names(names: Iterable[str]) -> tuple[dict[str, list[str]], list[str]]:
    """Which original weights make which of ours.

    Returns:
        `dict[str, list[str]]`: our name -> the original ones (several for the point embeddings only, in order), and
        the names that are not of the layout, sorted. A name of ours with two sources of which only one can be used has
        both in the list. Constants that are computed today and the text half of CLIP are in neither.
    """
    names = list(names)
    points = [name for name in names if POINT_RULE.fullmatch(name)]
    plan, unknown = RULES.plan((name for name in names if name not in set(points)), IGNORED)
    if points:
        plan[POINT_EMBEDDINGS] = points
    if POINT_EMBEDDINGS in plan:
        plan[POINT_EMBEDDINGS].sort(key=lambda name: int(POINT_RULE.fullmatch(name)["i"]))
    if POSITION_MATRIX in plan:
        plan[POSITION_MATRIX_COPY] = plan[POSITION_MATRIX]
    return plan, unknown


def identity_projection(weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The memory projection of a checkpoint that has none, because features and memories are equally wide: a 1 x 1
    convolution that changes nothing. Empty for other checkpoints."""
    features, memories = (weights.get(name) for name in MEMORY_WIDTHS)
    has_one = MEMORY_PROJECTION + "weight" in weights or MEMORY_PROJECTION + "bias" in weights
    if has_one or features is None or memories is None or features.shape[-1] != memories.shape[-1]:
        return {}
    kernel = torch.eye(features.shape[-1], dtype=features.dtype)[..., None, None]
    return {MEMORY_PROJECTION + "weight": kernel, MEMORY_PROJECTION + "bias": torch.zeros(len(kernel)).to(kernel)}


def convert_state_dict(upstream_state: Mapping[str, Tensor], clip_state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Weights of [`GLUSForVideoSegmentation`] from those of a released checkpoint. Every one is used exactly once.

    Args:
        upstream_state (`Mapping[str, Tensor]`): the merged checkpoint.
        clip_state (`Mapping[str, Tensor]`): the vision tower, or the whole CLIP.

    Returns:
        `dict[str, Tensor]`: tensors in their own dtype, shared with the inputs where nothing changes.

    Raises:
        `ValueError`: names that are not of the layout, all listed, or two with one target.
    """
    state = {**upstream_state, **identity_projection(upstream_state), **clip_state}
    plan, unknown = plan_names(state)
    if unknown:
        raise UserError(
            f"{len(unknown)} weights are not of the released GLUS layout, download it again: {', '.join(unknown)}"
        )
    doubled = [name for target in doubled_targets(plan) for name in plan[target]]
    if doubled:
        raise UserError(f"{len(doubled)} weights have the same target, download it again: {', '.join(doubled)}")
    return {target: join_sources(target, [state[name] for name in sources]) for target, sources in plan.items()}


def doubled_targets(plan: Mapping[str, list[str]]) -> list[str]:
    """Our names that more than one original weight would fill."""
    return [target for target, sources in plan.items() if target != POINT_EMBEDDINGS and len(sources) > 1]


def join_sources(target: str, tensors: list[Tensor]) -> Tensor:
    """Our weight from its original weights, in the order of the plan."""
    if target == POINT_EMBEDDINGS:
        return torch.cat(tensors)
    return tensors[0].clone() if target == POSITION_MATRIX_COPY else tensors[0]


__all__ = ["convert_state_dict", "identity_projection", "our_name", "plan_names", "upstream_names"]
