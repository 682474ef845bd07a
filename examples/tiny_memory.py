"""The memory stage of glus-tiny: the mask branch learns to remember who is who while the prompt cannot tell.

The reading part is frozen. Its own [SEG] states, right or wrong, prompt the mask branch over several frames in a row,
with the memory schedule of inference. In some clips frosted glass hides the colours after a while: who is who must be
remembered. In others the target comes or goes: what is remembered must be let go.
"""

from __future__ import annotations

import numpy as np
import torch
from tiny_batches import SIZE, normalize
from tiny_mask import decode, ious, mask_loss, scale_penalty
from torch import Tensor
from torch.nn import functional as F

from glus_hf.data.motion_shapes import Scene, sample_expressions, sample_scene, sample_veiled_scene
from glus_hf.models.memory_bank import MemoryBank
from glus_hf.models.propagation import PropagationPass
from glus_hf.models.window_reader import WindowReader
from glus_hf.models.window_schedule import SlidingWindows


# frosted glass over sprites of one shape, over any scene, a target that comes or goes, any scene
CLIPS = {"veiled": 0.3, "dimmed": 0.15, "visit": 0.3, "plain": 0.25}
VISITS = ("enter", "leave")


def sample_clip(rng: np.random.Generator, kind: str, num_expressions: int, weights: dict[str, float]):
    """A scene of a kind of `CLIPS` with exactly `num_expressions` expressions: `(scene, its expressions)`."""
    while True:
        scene = sample_veiled_scene(rng) if kind == "veiled" else sample_scene(rng)
        if kind == "dimmed":
            scene.veil = (float(rng.uniform(0.2, 0.6)), float(rng.choice([rng.uniform(0.65, 0.95), 2.0])))
        count = 4 * num_expressions if kind == "visit" else num_expressions
        sampled = sample_expressions(rng, scene, count, {"static": 1.0} if kind == "veiled" else weights)
        if kind == "visit":  # those about a visitor first
            sampled.sort(key=lambda expression: -any(scene.sprites[i].motion in VISITS for i in expression.object_ids))
            if not sampled or not visitors(scene, sampled[0]):
                continue
        if sampled:
            return scene, [sampled[index % len(sampled)] for index in range(num_expressions)]


def visitors(scene: Scene, expression) -> list:
    """The sprites meant that enter or leave."""
    return [scene.sprites[index] for index in expression.object_ids if scene.sprites[index].motion in VISITS]


def sample_pass(rng: np.random.Generator, kind: str, scene: Scene, expressions, length: int, frames: int) -> range:
    """Which frames of a clip of `length` a pass over `frames` of them sees, in its order (a third go backward)."""
    start = 0 if rng.random() < 0.5 else int(rng.integers(0, length - frames + 1))
    if scene.veil is not None:  # the pass starts in the clear, not long before the veil falls
        last_clear = int(scene.veil[0] * (length - 1))
        start = int(rng.integers(0, max(1, min(last_clear, length - frames) + 1)))
    if kind == "visit":  # the target comes or goes during the pass
        times = visitors(scene, expressions[0])[0].times
        moment = int(times[1:3].mean() * (length - 1))
        start = int(np.clip(moment - rng.integers(1, frames), 0, length - frames))
    if scene.veil is None and rng.random() < 1 / 3:
        return range(start + frames - 1, start - 1, -1)
    return range(start, start + frames)


@torch.no_grad()
def read_clip(model, processor, scene: Scene, expressions, length: int, frames: range) -> tuple[Tensor, np.ndarray]:
    """[SEG] embeddings of a pass over `frames` of a clip of `length` frames, as inference computes them, and targets.

    Returns `[expressions, frames, dim]`, targets `[expressions, frames, 64, 64]`, images and masks of all sprites.
    """
    images, masks = scene.render(np.linspace(0, 1, length), SIZE)
    session = processor.init_video_session(images, [expression.text for expression in expressions])
    way = PropagationPass(frames.start, frames.step, list(range(len(expressions))), MemoryBank(0, 1))
    windows = SlidingWindows(model.config.num_query_frames)
    reader = WindowReader(model, session, batch_size=64, kept_frame=frames.start, schedule=windows)
    readings = reader.read(frames, [[way]] * len(frames))
    prompts = torch.stack([reading.embeddings for reading in readings], dim=1)
    targets = np.stack([masks[expression.object_ids].any(0) for expression in expressions])[:, frames]
    return prompts, targets, images[frames], masks.any(0)[frames]


def memory_batch(model, processor, rng, clips: int, num_expressions: int, frames: int, weights: dict[str, float]):
    """`mask_pixel_values [clips, frames, 3, 64, 64]`, `prompts` and `targets [clips * num_expressions, frames, ...]`,
    and `objects [clips, frames, 64, 64]` for the loss."""
    model.eval()
    rows = []
    for _ in range(clips):
        kind = str(rng.choice(list(CLIPS), p=list(CLIPS.values())))
        length = int(rng.integers(max(frames, 8), 25))
        scene, expressions = sample_clip(rng, kind, num_expressions, weights)
        order = sample_pass(rng, kind, scene, expressions, length, frames)
        rows.append(read_clip(model, processor, scene, expressions, length, order))
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
    logits = decode(model, pixels, prompts, groups, 7, stride=model.config.memory_stride)
    loss, metrics = mask_loss(logits, targets, objects.repeat_interleave(groups, dim=0))
    logits = F.interpolate(logits.detach(), size=targets.shape[-2:], mode="bilinear", align_corners=False)
    absent, empty = ~(targets > 0.5).any(-1).any(-1), ~(logits > 0).any(-1).any(-1)
    shown = ious(logits > 0, targets > 0.5)[~absent].mean().item()
    metrics |= {"J_shown": shown, "empty": empty[absent].float().mean().item() if absent.any() else 1.0}
    return loss + scale_penalty(model, pixels), metrics
