"""Training batches of glus-selector-tiny: MotionShapes scenes, many targets and expressions packed into one row.

The packing is exact: the prompts of one clip share their context frames; those of one target frame share it too and
the beginning of the question. A branch sees what it shares and itself, at the positions it would have alone, so every
state that a score is read off equals that of the unpacked prompt.

What a score should be is known here: the visible part of the target, and nothing where frosted glass hides which one
it is. That is a warm-up; the trainer takes pseudo-labels of a segmentation model, as the original code does.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from tiny_batches import ATTRIBUTES, BACKGROUND, SIZE
from torch import Tensor

from glus_hf import GLUSSelectorProcessor
from glus_hf.data.motion_shapes import (
    COLORS,
    SHAPES,
    Expression,
    Scene,
    sample_expressions,
    sample_scene,
    sample_veiled_scene,
)
from glus_hf.data.motion_shapes.language import Filter, phrase


WEIGHTS = {"static": 0.4, "motion": 0.18, "conjunction": 0.14, "multi": 0.14, "relation": 0.04, "no_target": 0.1}
VEILED = 0.2  # of the clips have a veil before or after some moment
ENOUGH = 0.6  # of the largest visible area: a frame that shows as much has a score of 1


@dataclass
class PackedTargets:
    """One row per clip: `input_ids`, `position_ids [clips, length]`, additive `attention_mask [clips, 1, length,
    length]`, `image_frames [clips, images]`: the frame of each image; `score_positions [clips, targets, expressions]`;
    `target_positions [clips, targets]`: the first token of the target frame."""

    input_ids: Tensor
    position_ids: Tensor
    attention_mask: Tensor
    image_frames: Tensor
    score_positions: Tensor
    target_positions: Tensor


@dataclass
class SelectorBatch:
    """`pixel_values [clips, frames, 3, 64, 64]`, `prompts`, `targets [clips, t]`: which of the frames are targets,
    `scores [clips, t, e]` in [0, 1], `patch_labels`: attribute -> `[clips, frames, patches]`, `patch_targets
    [clips, e, frames, patches]`: part of each patch that the expression means."""

    pixel_values: Tensor
    prompts: PackedTargets
    targets: Tensor
    scores: Tensor
    patch_labels: dict[str, Tensor]
    patch_targets: Tensor
    kinds: list[list[str]]


def pack_targets(
    processor: GLUSSelectorProcessor, texts: list[list[str]], num_context: int, targets: np.ndarray
) -> PackedTargets:
    """Pack the prompts of inference of `texts[clip][expression]` for the frames `targets [clips, t]`."""
    rows = [
        _pack_row(processor, row, num_context, chosen) for row, chosen in zip(texts, targets.tolist(), strict=True)
    ]
    length = max(len(row["ids"]) for row in rows)
    ids = torch.zeros(len(rows), length, dtype=torch.long)
    positions, inner, outer = torch.zeros_like(ids), torch.full_like(ids, -1), torch.full_like(ids, -1)
    for index, row in enumerate(rows):
        size = len(row["ids"])
        for tensor, name in ((ids, "ids"), (positions, "positions"), (outer, "outer"), (inner, "inner")):
            tensor[index, :size] = torch.tensor(row[name])
    same_target = (outer[:, :, None] == outer[:, None, :]) | (outer[:, None, :] == 0)
    same_text = (inner[:, :, None] == inner[:, None, :]) | (inner[:, None, :] == 0)
    visible = same_target & same_text & torch.ones(length, length, dtype=torch.bool).tril()
    mask = torch.zeros(visible.shape).masked_fill(~visible, torch.finfo(torch.float32).min)[:, None]
    gathered = (torch.tensor([row[name] for row in rows]) for name in ("images", "scores", "starts"))
    return PackedTargets(ids, positions, mask, *gathered)


def _pack_row(processor: GLUSSelectorProcessor, texts: list[str], num_context: int, targets: list[int]) -> dict:
    pairs = [processor.split_prompt(processor.clean_expression(text), num_context) for text in texts]
    prefix, asked = pairs[0][0], [question for _, question in pairs]
    shared = 0
    while len({tuple(question[: shared + 1]) for question in asked}) == 1 and shared + 1 < min(map(len, asked)):
        shared += 1
    ids, positions = list(prefix), list(range(len(prefix)))
    outer, inner = [0] * len(ids), [0] * len(ids)
    images, scores, starts = list(range(num_context)), [], []
    for number, target in enumerate(targets, start=1):
        starts.append(len(ids) + asked[0].index(processor.image_token_id))
        images.append(target)
        branches = [(question[shared:], shared, branch) for branch, question in enumerate(asked, start=1)]
        parts, ends = [(asked[0][:shared], 0, 0), *branches], []
        for part, offset, branch in parts:
            ids = ids + part
            positions = positions + [len(prefix) + offset + step for step in range(len(part))]
            outer, inner = outer + [number] * len(part), inner + [branch] * len(part)
            ends.append(len(ids) - 1)
        scores.append(ends[1:])
    return {
        "ids": ids, "positions": positions, "outer": outer, "inner": inner,
        "images": images, "scores": scores, "starts": starts,
    }  # fmt: skip


def sample_partial_scene(rng: np.random.Generator, partial: float) -> Scene:
    """A scene; with probability `partial` one in which something enters or leaves."""
    wanted = rng.random() < partial
    for _ in range(12):
        scene = sample_scene(rng)
        if not wanted or any(sprite.motion in ("enter", "leave") for sprite in scene.sprites):
            break
    return scene


def sample_texts(rng: np.random.Generator, scene: Scene, count: int) -> list[Expression]:
    """`count` expressions: first those about something that enters or leaves, and last a look that is there or is
    nearly there, equally often: otherwise few words would mean "probably nothing"."""
    sampled = sample_expressions(rng, scene, 3 * count, WEIGHTS if scene.veil is None else {"static": 1.0})
    away = {index for index, sprite in enumerate(scene.sprites) if sprite.motion in ("enter", "leave")}
    order = sorted(range(len(sampled)), key=lambda index: (not away & set(sampled[index].object_ids), rng.random()))
    first, rest = order[: count // 2], order[count // 2 :]
    chosen = [sampled[index] for index in [*first, *rng.permutation(rest).astype(int)]][: count - 1]
    wanted = sample_look(rng, scene)
    ids = scene.targets(wanted)
    chosen.append(Expression(phrase(rng, wanted, len(ids) if 0 < len(ids) < 4 else 1), "look", ids, wanted))
    return [chosen[index % len(chosen)] for index in range(count)]


def sample_look(rng: np.random.Generator, scene: Scene) -> Filter:
    """Shape and colour of a sprite; half of the time one of the two is replaced, mostly by one that fits nothing."""
    sprite = scene.sprites[rng.integers(len(scene.sprites))]
    shape, color = sprite.shape, sprite.color
    change = rng.random()
    if change < 0.25:
        shape = str(rng.choice(SHAPES))
    elif change < 0.5:
        color = str(rng.choice(list(COLORS)))
    return Filter(shape, color)


def sample_selector_batch(
    rng: np.random.Generator,
    processor: GLUSSelectorProcessor,
    grid: int,
    clips: int,
    num_context: int,
    num_targets: int,
    expressions: int,
    partial: float = 0.75,
) -> SelectorBatch:
    """Sample and render a batch: context frames as the original code samples them, the targets among them."""
    frames, masks, labels, texts, targets, scores = [], [], [], [], [], []
    for _ in range(clips):
        is_veiled = rng.random() < VEILED
        scene = sample_veiled_scene(rng, rng.random() < 0.5) if is_veiled else sample_partial_scene(rng, partial)
        chosen = sample_texts(rng, scene, expressions)
        length = int(rng.integers(max(8, num_context), 25))
        bounds = np.linspace(0, length, num_context + 1, dtype=int)
        times = rng.integers(bounds[:-1], bounds[1:]) / (length - 1)
        pixels, visible = scene.render(times, SIZE)
        asked = np.sort(rng.choice(num_context, size=num_targets, replace=False))
        meant = np.stack([visible[expression.object_ids].any(0) for expression in chosen])
        meant[:, scene.is_veiled(times)] = False
        frames.append(pixels)
        masks.append(meant)
        labels.append(patch_labels(scene, visible, grid, times))
        texts.append(chosen)
        targets.append(asked)
        scores.append(visible_part(meant)[:, asked].T)
    targets = np.stack(targets)
    return SelectorBatch(
        normalize(processor, np.stack(frames)),
        pack_targets(processor, [[expression.text for expression in row] for row in texts], num_context, targets),
        torch.from_numpy(targets),
        torch.from_numpy(np.stack(scores)).float(),
        {name: torch.from_numpy(np.stack([label[name] for label in labels])) for name in ATTRIBUTES},
        torch.from_numpy(np.stack([coverage(meant, grid) for meant in masks])),
        [[expression.kind for expression in row] for row in texts],
    )


def visible_part(masks: np.ndarray) -> np.ndarray:
    """Visible area of each mask relative to the largest of its expression: bool `[e, frames, h, w]` -> `[e, frames]`.

    1 from `ENOUGH` of it on, 0 where nothing is seen or nothing is meant.
    """
    areas = masks.sum((-2, -1)).astype(np.float64)
    return np.clip(areas / np.maximum(ENOUGH * areas.max(-1, keepdims=True), 1), 0, 1)


def normalize(processor: GLUSSelectorProcessor, frames: np.ndarray) -> Tensor:
    """CLIP's view of frames rendered at its size, `uint8 [..., 64, 64, 3]` -> `[..., 3, 64, 64]`."""
    pixels = torch.from_numpy(frames).movedim(-1, -3).float() / 255
    mean, std = (torch.tensor(getattr(processor.image_processor, name)) for name in ("image_mean", "image_std"))
    return (pixels - mean[:, None, None]) / std[:, None, None]


def coverage(masks: np.ndarray, grid: int) -> np.ndarray:
    """Part of each patch that a mask covers: bool `[..., 64, 64]` -> float32 `[..., grid * grid]`."""
    step = SIZE // grid
    cells = masks.reshape(*masks.shape[:-2], grid, step, grid, step).mean((-3, -1), dtype=np.float32)
    return cells.reshape(*masks.shape[:-2], grid * grid)


def patch_labels(scene: Scene, masks: np.ndarray, grid: int, times: np.ndarray) -> dict[str, np.ndarray]:
    """Attributes of the sprite under every patch, `[frames, patches]`; `BACKGROUND` below a quarter of it, and for
    the colour behind the veil."""
    cells = coverage(masks, grid)
    owner = np.where(cells.max(0) > 0.25, cells.argmax(0), BACKGROUND)
    labels = {}
    for name, values in ATTRIBUTES.items():
        of_sprite = np.array([values.index(getattr(sprite, name)) for sprite in scene.sprites] + [BACKGROUND])
        labels[name] = of_sprite[owner]
    labels["color"][scene.is_veiled(times)] = BACKGROUND
    return labels
