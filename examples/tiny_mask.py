"""The mask stage of glus-tiny, and what later stages share of it: drawing masks with memory, and their losses."""

from __future__ import annotations

import numpy as np
import torch
from tiny_batches import SIZE, coverage, normalize, sample_times
from tiny_model import oracle_prompt
from torch import Tensor
from torch.nn import functional as F

from glus_hf.data.motion_shapes import sample_scene, sample_veiled_scene
from glus_hf.metrics.overlap import overlap
from glus_hf.models.memory_bank import MemoryBank
from glus_hf.models.recipe_losses import mask_bce_loss, mask_dice_loss


def mask_step(model, processor, rng, progress: float, sample_scene=sample_scene) -> tuple[Tensor, dict]:
    """First single frames with an oracle prompt, then clips in which a third of the prompts are blank."""
    with_memory = progress > 0.25
    clips, frames, groups = (8, 5, 2) if with_memory else (16, 2, 2)
    pixels, targets, objects = [], [], []
    while len(pixels) < clips:
        scene = sample_veiled_scene(rng) if with_memory and rng.random() < 0.3 else sample_scene(rng)
        times = sample_times(rng, processor, frames)[-frames:]
        image, masks = scene.render(times, SIZE)
        chosen = [
            rng.choice(len(masks), size=min(len(masks), 1 + int(rng.random() < 0.25)), replace=False)
            for _ in range(groups)
        ]
        pixels.append(image)
        targets.append(np.stack([masks[object_ids].any(0) for object_ids in chosen]))
        objects.append(masks.any(0))
    _, mask_view = normalize(processor, np.stack(pixels))
    targets = np.stack(targets)
    prompts = oracle_prompt(model, torch.from_numpy(coverage(targets)))
    if with_memory:
        blank = torch.rand(prompts.shape[:3]) < 0.35
        blank[:, :, 0] = False
        prompts = prompts.masked_fill(blank[..., None], 0)
    prompts = prompts * (1 + 0.15 * torch.randn(prompts.shape[:3])[..., None]) + 0.08 * torch.randn_like(prompts)
    logits = decode(model, mask_view, prompts.flatten(0, 1), groups, 7 if with_memory else 0)
    objects = torch.from_numpy(np.stack(objects)).float().repeat_interleave(groups, dim=0)
    targets = torch.from_numpy(targets).float().flatten(0, 1)
    loss, metrics = mask_loss(logits, targets, objects)
    if with_memory:
        logits = F.interpolate(logits.detach(), size=targets.shape[-2:], mode="bilinear", align_corners=False)
        blank = blank.flatten(0, 1)
        scores = ious(logits > 0, targets > 0.5)
        metrics |= {
            "J_blank": round(scores[blank].mean().item(), 3),
            "J_prompted": round(scores[~blank].mean().item(), 3),
        }
    return loss + scale_penalty(model, mask_view), metrics


def scale_penalty(model, mask_pixel_values: Tensor) -> Tensor:
    """Keeps the features that memory attention reads at a root mean square near 1.

    Left alone they grow a hundredfold, and the memory encoder's sum of features and mask no longer shows the mask.
    """
    scale = model.model.encode_mask_frames(mask_pixel_values[:, 0]).embedding.square().mean().sqrt()
    return 0.2 * scale.log().square()


def decode(
    model, mask_pixel_values: Tensor, prompts: Tensor, groups: int, num_maskmem: int, stride: int = 1
) -> Tensor:
    """Masks of `[clips, frames]` images for `prompts [clips * groups, frames, dim]` -> logits, 32x32 each."""
    clips, frames = mask_pixel_values.shape[:2]
    features = model.model.encode_mask_frames(mask_pixel_values.flatten(0, 1))
    owner = torch.arange(clips).repeat_interleave(groups)
    bank = MemoryBank(num_maskmem, stride)
    active = [True] * len(owner)
    return torch.stack(
        [
            model.model.decode_frame(features.select(owner * frames + frame), prompts[:, frame], bank, frame, active)
            for frame in range(frames)
        ],
        dim=1,
    )


def mask_loss(logits: Tensor, targets: Tensor, objects: Tensor) -> tuple[Tensor, dict]:
    """GLUS's 2 BCE + 0.5 Dice, and a BCE near any object, where one is told from the others."""
    logits = F.interpolate(logits, size=targets.shape[-2:], mode="bilinear", align_corners=False)
    bce, dice = mask_bce_loss(logits, targets).mean(), mask_dice_loss(logits, targets).mean()
    near = F.max_pool2d(objects, 7, stride=1, padding=3)
    pixel = F.binary_cross_entropy_with_logits(logits, targets, reduction="none")
    foreground = (pixel * near).sum() / near.sum().clamp(min=1)
    return 2 * bce + 0.5 * dice + foreground, {"J": round(mean_iou(logits > 0, targets > 0.5), 3), "bce": bce.item()}


def mean_iou(predictions: Tensor, targets: Tensor) -> float:
    return ious(predictions, targets).mean().item()


def ious(predictions: Tensor, targets: Tensor) -> Tensor:
    intersection, union = overlap(predictions, targets)
    return torch.where(union > 0, intersection / union.clamp(min=1), 1.0)
