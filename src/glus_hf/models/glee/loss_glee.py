"""The losses of GLEE: class, box and mask of matched queries at every stage, and of the denoising queries."""

from __future__ import annotations

import torch
from accelerate import PartialState
from accelerate.utils import reduce
from torch import Tensor
from torch.nn import functional as F
from transformers.image_transforms import center_to_corners_format
from transformers.loss.loss_for_object_detection import generalized_box_iou, sigmoid_focal_loss
from transformers.models.mask2former.modeling_mask2former import dice_loss, sample_point, sigmoid_cross_entropy_loss

from .configuration_glee import GLEEConfig
from .decoder_glee import DecoderOutput
from .denoising_glee import DenoisingQueries
from .draws_glee import GLEEDraws
from .heads_glee import GLEEPredictions
from .matcher_glee import match_queries
from .track_loss_glee import STAGE as TRACK_STAGE
from .track_loss_glee import track_loss


Labels = list[dict[str, Tensor]]
Matches = list[tuple[Tensor, Tensor]]
ENCODER_STAGE = "interm"


def glee_losses(
    output: DecoderOutput,
    labels: Labels,
    config: GLEEConfig,
    draws: GLEEDraws,
    denoising: DenoisingQueries | None,
    has_prompts: bool = False,
    clip_length: int | None = None,
) -> tuple[dict[str, Tensor], dict[str, Matches]]:
    """Unweighted losses of a batch, and which queries were matched at each stage.

    Names are those of the released code: `loss_ce` of the last layer, `loss_ce_0` of the selected queries, `loss_ce_1`
    of the first layer, ..., `loss_ce_interm` of the encoder's own predictions, `loss_ce_dn` and so on of the denoising
    queries.

    Args:
        output: with all stages.
        labels: as for [`GLEEForVideoSegmentation`].
        config: sizes and weights.
        draws: points for matching and mask losses.
        denoising: the queries that `output.denoising` is about; None without them.
        has_prompts: the images have visual prompts, so that confidence learns which query is meant.
        clip_length: the images are clips of that many frames, whose objects are followed if labels tell them apart.
    """
    num_targets = count_targets(labels, output.final.logits.device)
    losses, matches = {}, {}
    for stage, suffix, predictions in _stages(output):
        matches[stage] = match_queries(predictions, labels, config, draws, stage)
        losses |= _with_suffix(class_and_box_losses(predictions, labels, matches[stage], num_targets), suffix)
        if has_prompts and stage != ENCODER_STAGE:
            losses[f"loss_conf{suffix}"] = confidence_loss(predictions, matches[stage])
        losses |= _with_suffix(
            mask_losses(predictions, labels, matches[stage], num_targets, config, draws, stage), suffix
        )
    if clip_length is not None and all("instance_ids" in target for target in labels):
        matches[TRACK_STAGE] = match_queries(output.final, labels, config, draws, TRACK_STAGE)
        losses["track_loss"] = track_loss(output.embeddings, labels, matches[TRACK_STAGE], clip_length, config, draws)
    if denoising is not None:
        pairs = denoising.matches([len(target["class_labels"]) for target in labels])
        *earlier, last = [
            class_and_box_losses(predictions, labels, pairs, num_targets * denoising.groups)
            for predictions in output.denoising
        ]
        losses |= _with_suffix(last, "_dn")
        for index, found in enumerate(earlier):
            losses |= _with_suffix(found, f"_dn_{index}")
    return losses, matches


def total_loss(losses: dict[str, Tensor], config: GLEEConfig) -> Tensor:
    """Weighted sum; the name before the second underscore decides the weight."""
    weights = {
        "loss_ce": config.class_loss_weight,
        "loss_bbox": config.box_loss_weight,
        "loss_giou": config.giou_loss_weight,
        "loss_mask": config.mask_loss_weight,
        "loss_dice": config.dice_loss_weight,
        "loss_conf": config.confidence_loss_weight,
        "dist_loss": config.distill_loss_weight,
        "track_loss": config.track_loss_weight,
    }
    return sum(weights["_".join(name.split("_")[:2])] * loss for name, loss in losses.items())


def count_targets(labels: Labels, device) -> float:
    """Targets of the batch, 1 or more: the mean over processes, so that they step alike."""
    count = torch.as_tensor(float(sum(len(target["class_labels"]) for target in labels)), device=device)
    if PartialState._shared_state != {}:  # set up by whoever runs several processes
        count = reduce(count, "mean")
    return max(float(count), 1.0)


def class_and_box_losses(predictions: GLEEPredictions, labels: Labels, matches: Matches, number: float) -> dict:
    """Focal loss of all queries; L1 and generalized IoU of the matched ones; each a sum divided by `number`."""
    at = _queries(matches, predictions.logits.device)
    classes = _gather(labels, "class_labels", matches)
    targets = torch.zeros_like(predictions.logits)
    targets[(*at, classes)] = 1
    focal = sigmoid_focal_loss(predictions.logits, targets, number) * predictions.logits.shape[1]
    ours, theirs = predictions.pred_boxes[at].clamp(0, 1), _gather(labels, "boxes", matches).clamp(0, 1)
    overlap = generalized_box_iou(center_to_corners_format(ours), center_to_corners_format(theirs)).diag()
    return {
        "loss_ce": focal,
        "loss_bbox": F.l1_loss(ours, theirs, reduction="sum") / number,
        "loss_giou": (1 - overlap).sum() / number,
    }


def confidence_loss(predictions: GLEEPredictions, matches: Matches) -> Tensor:
    """Focal loss of the confidence of all queries: the mean of each image, summed over images as in the release."""
    logits = predictions.confidence_logits
    targets = torch.zeros_like(logits)
    targets[_queries(matches, logits.device)] = 1
    return sigmoid_focal_loss(logits, targets, num_boxes=1)


def mask_losses(
    predictions: GLEEPredictions,
    labels: Labels,
    matches: Matches,
    number: float,
    config: GLEEConfig,
    draws: GLEEDraws,
    stage: str,
) -> dict:
    """Cross entropy and Dice of the matched queries at uncertain points; none where only boxes are known."""
    pairs = [
        (logits[queries], target["masks"][targets.to(logits.device)])
        for logits, target, (queries, targets) in zip(predictions.pred_masks, labels, matches, strict=True)
        if target.get("masks") is not None
    ]
    logits = torch.cat([ours for ours, _ in pairs])[:, None] if pairs else predictions.pred_masks[:0, :1]
    points = choose_points(logits.detach(), config, draws, f"mask_loss.{stage}")
    ours = sample_point(logits, points, align_corners=False)[:, 0]
    theirs = [mask[None, None].to(logits) for _, masks in pairs for mask in masks]  # images may differ in size
    theirs = [sample_point(mask, at[None], align_corners=False)[0] for mask, at in zip(theirs, points, strict=True)]
    theirs = torch.cat(theirs) if theirs else torch.zeros_like(ours)
    return {
        "loss_mask": sigmoid_cross_entropy_loss(ours, theirs, number),
        "loss_dice": dice_loss(ours, theirs, number),
    }


@torch.no_grad()
def choose_points(logits: Tensor, config: GLEEConfig, draws: GLEEDraws, name: str) -> Tensor:
    """Points `[masks, points, 2]` at which masks are compared: the most uncertain of many, and some of any kind.

    Args:
        logits: `[masks, 1, h, w]`.
        config: number of points and the ratios.
        draws: a tensor with the name is taken as it is.
        name: of the draw.
    """
    if draws.given(name) is not None:
        return draws.given(name).to(logits.device)
    count, device = config.train_num_points, logits.device
    candidates = draws.uniform(f"{name}.candidates", (len(logits), int(config.oversample_ratio * count), 2), device)
    certainty = sample_point(logits, candidates, align_corners=False)[:, 0].abs()
    uncertain = int(config.importance_sample_ratio * count)
    best = certainty.topk(uncertain, dim=1, largest=False).indices[..., None].expand(-1, -1, 2)
    others = draws.uniform(f"{name}.others", (len(logits), count - uncertain, 2), device)
    return torch.cat([candidates.gather(1, best), others], 1)


def _stages(output: DecoderOutput):
    """Name, suffix of losses and predictions of every stage."""
    yield "final", "", output.final
    for index, predictions in enumerate(output.auxiliary):
        yield "selected_init" if index == 0 else f"layer{index - 1}", f"_{index}", predictions
    yield ENCODER_STAGE, "_interm", output.encoder


def _queries(matches: Matches, device) -> tuple[Tensor, Tensor]:
    """Index of all matched queries of a batch."""
    images = torch.cat([torch.full_like(queries, image) for image, (queries, _) in enumerate(matches)])
    return images.to(device), torch.cat([queries for queries, _ in matches]).to(device)


def _gather(labels: Labels, name: str, matches: Matches) -> Tensor:
    """Their targets, in the same order."""
    return torch.cat(
        [target[name][indices.to(target[name].device)] for target, (_, indices) in zip(labels, matches, strict=True)]
    )


def _with_suffix(losses: dict[str, Tensor], suffix: str) -> dict[str, Tensor]:
    return {f"{name}{suffix}": loss for name, loss in losses.items()}


__all__ = ["glee_losses", "total_loss"]
