"""The memory stage of glus-tiny: the mask branch learns to remember who is who while the prompt cannot tell.

The reading part is frozen. Its own [SEG] states, right or wrong, prompt the mask branch over several frames in a row,
with the memory schedule of inference. In half of the clips frosted glass hides the colours after a while.
"""

from __future__ import annotations

import numpy as np
import torch
from tiny_batches import SIZE, normalize
from tiny_mask import draw, mask_loss, scale_penalty
from torch import Tensor

from glus_hf.data.motion_shapes import Scene, sample_expressions, sample_scene, sample_veiled_scene
from glus_hf.models.glus.inference_glus import WindowReader


def sample_clip(rng: np.random.Generator, length: int, expressions: int, weights: dict[str, float]):
    """A scene with exactly `expressions` sentences: `(scene, its sentences)`."""
    while True:
        veiled = rng.random()
        scene = sample_veiled_scene(rng) if veiled < 0.3 else sample_scene(rng)
        if 0.3 <= veiled < 0.5:
            scene.veil = (float(rng.uniform(0.2, 0.6)), float(rng.choice([rng.uniform(0.65, 0.95), 2.0])))
        drawn = sample_expressions(rng, scene, expressions, {"static": 1.0} if veiled < 0.3 else weights)
        if len(drawn) >= 1:
            return scene, [drawn[index % len(drawn)] for index in range(expressions)]


@torch.no_grad()
def read_clip(model, processor, scene: Scene, sentences, length: int, frames: range) -> tuple[Tensor, np.ndarray]:
    """[SEG] embeddings of a pass over `frames` of a clip of `length` frames, as inference computes them, and targets.

    Returns `[expressions, frames, dim]`, targets `[expressions, frames, 64, 64]`, images and masks of all sprites.
    """
    images, masks = scene.render(np.linspace(0, 1, length), SIZE)
    session = processor.init_video_session(images, [sentence.text for sentence in sentences])
    readings = WindowReader(model, session, batch_size=64).read(list(frames), range(len(frames)))
    targets = np.stack([masks[sentence.object_ids].any(0) for sentence in sentences])[:, frames]
    return readings.embeddings.transpose(0, 1), targets, images[frames], masks.any(0)[frames]


def memory_batch(model, processor, rng, clips: int, expressions: int, frames: int, weights: dict[str, float]):
    """`mask_pixel_values [clips, frames, 3, 64, 64]`, `prompts` and `targets [clips * expressions, frames, ...]`, and
    `objects [clips, frames, 64, 64]` for the loss."""
    model.eval()
    rows = []
    for _ in range(clips):
        length = int(rng.integers(max(frames, 8), 25))
        scene, sentences = sample_clip(rng, length, expressions, weights)
        start = 0 if rng.random() < 0.7 else int(rng.integers(0, length - frames + 1))
        if scene.veil is not None:  # the pass starts in the clear, not long before the veil falls
            last_clear = int(scene.veil[0] * (length - 1))
            start = int(rng.integers(0, max(1, min(last_clear, length - frames) + 1)))
        rows.append(read_clip(model, processor, scene, sentences, length, range(start, start + frames)))
    model.train()
    prompts, targets, images, objects = zip(*rows, strict=True)
    _, pixels = normalize(processor, np.stack(images))
    targets = torch.from_numpy(np.concatenate(targets)).float()
    return pixels, torch.cat(prompts), targets, torch.from_numpy(np.stack(objects)).float()


def memory_step(model, processor, rng, weights: dict[str, float]) -> tuple[Tensor, dict]:
    """Passes over several frames, prompted by the frozen reading part's own [SEG] states."""
    frames, groups = int(rng.choice([6, 10])), 3
    clips = 5 if frames == 6 else 3
    pixels, prompts, targets, objects = memory_batch(model, processor, rng, clips, groups, frames, weights)
    logits = draw(model, pixels, prompts, groups, 7, stride=model.config.memory_stride)
    loss, metrics = mask_loss(logits, targets, objects.repeat_interleave(groups, dim=0))
    return loss + scale_penalty(model, pixels), metrics
