"""Training batches of glus-tiny: MotionShapes scenes rendered on the fly, several expressions packed into one row.

The packing is exact: the strict GLUS prompts of one clip share their context frames and first query frame, then split
into one branch per expression. A branch sees the shared part and itself, at the positions it would have alone, so
every [SEG] state equals that of the unpacked prompt while the shared 365 positions are computed once.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from glus_hf import GLUSProcessor
from glus_hf.data.motion_shapes import COLORS, MOTIONS, SHAPES, SIZES, Scene, sample_expressions, sample_scene
from glus_hf.data.motion_shapes.hard_expressions import sample_hard_expressions
from glus_hf.data.motion_shapes.hard_language import hard_vocabulary
from glus_hf.data.motion_shapes.hard_scenes import STATES, moment, sample_hard_scene, states
from glus_hf.data.motion_shapes.language import vocabulary
from glus_hf.models.packed_conversations import Packing


SIZE = 64
GRID = 8
ATTRIBUTES = {"shape": SHAPES, "color": tuple(COLORS), "size": tuple(SIZES), "motion": MOTIONS}
BACKGROUND = -1
IGNORED = -100


@dataclass(frozen=True)
class SceneKind:
    """What scenes and expressions batches are drawn from, their words, what is told of the sprite under
    a token, and the least and (excluded) greatest length of a clip."""

    scene: Callable[[np.random.Generator], Scene]
    expressions: Callable
    words: Callable[[], list[str]]
    motions: tuple[str, ...]
    lengths: tuple[int, int]
    is_hard: bool = False

    @property
    def attributes(self) -> dict[str, tuple[str, ...]]:
        return {**ATTRIBUTES, "motion": self.motions}


SCENES = {
    "plain": SceneKind(sample_scene, sample_expressions, vocabulary, MOTIONS, (8, 29)),
    "hard": SceneKind(sample_hard_scene, sample_hard_expressions, hard_vocabulary, STATES, (16, 33), is_hard=True),
}


@dataclass
class PackedPrompts:
    """`input_ids [rows, length]`; `packing`, which says what sees what; `image_frames [rows, images]`, the frame of
    each image; `seg_positions [rows, expressions, window]`."""

    input_ids: Tensor
    packing: Packing
    image_frames: Tensor
    seg_positions: Tensor


@dataclass
class TinyBatch:
    """`pixel_values [clips, 4 + window, 3, 64, 64]`, `mask_pixel_values` and `objects` (any sprite) of the window,
    `frame_times [clips, 4 + window]`, packed `prompts`, `targets [clips, expressions, window, 64, 64]`, `cell_labels`
    (attribute -> `[clips, frames, 64]`)."""

    pixel_values: Tensor
    mask_pixel_values: Tensor
    frame_times: Tensor
    prompts: PackedPrompts
    targets: Tensor
    objects: Tensor
    cell_labels: dict[str, Tensor]
    kinds: list[list[str]]


def pack_prompts(processor: GLUSProcessor, texts: list[list[str]], window: int) -> PackedPrompts:
    """Pack the inference prompts of `texts[clip][expression]` for a window of `window` query frames."""
    rows = [_pack_row(processor, row, window) for row in texts]
    pad = lambda name: torch.nn.utils.rnn.pad_sequence([torch.tensor(row[name]) for row in rows], batch_first=True)
    ids, segments = pad("ids"), tuple((row["shared"], tuple(row["alone"])) for row in rows)
    places = torch.arange(ids.numel()).view_as(ids)  # the rows are packed already
    images = torch.tensor([row["images"] for row in rows])
    packing = Packing(segments, places, pad("positions"), places)
    return PackedPrompts(ids, packing, images, torch.tensor([row["segs"] for row in rows]))


def _pack_row(processor: GLUSProcessor, texts: list[str], window: int) -> dict:
    block = processor.num_image_tokens + 2
    context = list(range(processor.num_context_frames))
    ids, positions, lengths, images, segs = [], [], [], [*context, len(context)], []
    for text in texts:
        prefix, turn, last = processor.split_window(processor.clean_expression(text))
        shared, alone = prefix + last[:block], (turn * (window - 1) + last)[block:]
        if not ids:
            ids, positions = shared, list(range(len(shared)))
        start = len(ids)
        ids = ids + alone
        positions = positions + list(range(len(shared), len(shared) + len(alone)))
        lengths.append(len(alone))
        ends = [p for p, token in enumerate(alone[1:]) if token == processor.seg_token_id] + [len(alone) - 1]
        segs.append([start + end for end in ends])
        images += list(range(len(context) + 1, len(context) + window))
    return {
        "ids": ids,
        "positions": positions,
        "shared": len(shared),
        "alone": lengths,
        "images": images,
        "segs": segs,
    }


def sample_times(
    rng: np.random.Generator,
    processor: GLUSProcessor,
    window: int,
    lengths: tuple[int, int] = (8, 29),
    moments: Sequence[float] = (),
) -> np.ndarray:
    """Times in [0, 1] of the context and query frames of a clip of random length.

    With `moments` two thirds of the windows show one of them.
    """
    length = int(rng.integers(*lengths))
    strategy = "middle" if rng.random() < 0.6 else "random"
    context = processor.sample_context_frames(length, strategy=strategy, generator=rng)
    start = int(rng.integers(0, length - window + 1))
    if len(moments) and rng.random() < 2 / 3:
        shown = int(np.ceil(rng.choice(moments) * (length - 1)))
        start = int(np.clip(shown - rng.integers(0, window), 0, length - window))
    return np.array([*context, *range(start, start + window)]) / (length - 1)


def sample_batch(
    rng: np.random.Generator,
    processor: GLUSProcessor,
    clips: int,
    expressions: int,
    window: int,
    weights=None,
    kind="plain",
    lengths: tuple[int, int] | None = None,
) -> TinyBatch:
    """Sample and render a batch; `kind`: of `SCENES`; `lengths`: of the clips, by default those of the kind."""
    drawn = SCENES[kind]
    frames, masks, targets, times, texts, kinds, scenes = [], [], [], [], [], [], []
    while len(frames) < clips:
        scene = drawn.scene(rng)
        sampled = drawn.expressions(rng, scene, expressions, weights)
        if not sampled:
            continue
        sampled = [sampled[index % len(sampled)] for index in range(expressions)]
        moments = [moment(sprite) for sprite in scene.sprites if moment(sprite) is not None] if drawn.is_hard else ()
        at = sample_times(rng, processor, window, lengths or drawn.lengths, moments)
        pixels, visible = scene.render(at, SIZE)
        query = visible[:, -window:]
        frames.append(pixels)
        masks.append(visible)
        targets.append(np.stack([query[expression.object_ids].any(0) for expression in sampled]))
        times.append(at)
        texts.append([expression.text for expression in sampled])
        kinds.append([expression.kind for expression in sampled])
        scenes.append(scene)
    clip_view, mask_view = normalize(processor, np.stack(frames))
    labels = [cell_labels(scene, visible) for scene, visible in zip(scenes, masks, strict=True)]
    if drawn.is_hard:
        for label, scene, visible, at in zip(labels, scenes, masks, times, strict=True):
            label["motion"] = state_labels(scene, visible, at, window)
    return TinyBatch(
        clip_view,
        mask_view[:, -window:],
        torch.tensor(np.stack(times), dtype=torch.float32),
        pack_prompts(processor, texts, window),
        torch.from_numpy(np.stack(targets)).float(),
        torch.from_numpy(np.stack([visible[:, -window:].any(0) for visible in masks])).float(),
        {name: torch.from_numpy(np.stack([label[name] for label in labels])) for name in ATTRIBUTES},
        kinds,
    )


def normalize(processor: GLUSProcessor, frames: np.ndarray) -> tuple[Tensor, Tensor]:
    """Both views of frames rendered at the model's size, `uint8 [..., 64, 64, 3]` -> `[..., 3, 64, 64]` each."""
    pixels = torch.from_numpy(frames).movedim(-1, -3).float() / 255
    image = processor.image_processor
    views = []
    for mean, std in ((image.image_mean, image.image_std), (image.mask_image_mean, image.mask_image_std)):
        views.append((pixels - torch.tensor(mean)[:, None, None]) / torch.tensor(std)[:, None, None])
    return views[0], views[1]


def coverage(masks: np.ndarray) -> np.ndarray:
    """Part of each cell of the 8x8 grid that a mask covers: bool `[..., 64, 64]` -> float `[..., 64]` in [0, 1]."""
    step = masks.shape[-1] // GRID
    cells = masks.reshape(*masks.shape[:-2], GRID, step, GRID, step).mean((-3, -1), dtype=np.float32)
    return cells.reshape(*masks.shape[:-2], GRID * GRID)


def cell_labels(scene: Scene, masks: np.ndarray) -> dict[str, np.ndarray]:
    """Attributes of the sprite under every cell, `[frames, 64]`, `BACKGROUND` where less than a fifth is covered."""
    cells = coverage(masks)
    owner = np.where(cells.max(0) > 0.2, cells.argmax(0), BACKGROUND)
    labels = {}
    for name, values in ATTRIBUTES.items():
        known = [values.index(value) if value in values else IGNORED for value in _values(scene, name)]
        labels[name] = np.array([*known, BACKGROUND])[owner]
    return labels


def _values(scene: Scene, name: str) -> list[str]:
    return [getattr(sprite, name) for sprite in scene.sprites]


def state_labels(scene: Scene, masks: np.ndarray, times: np.ndarray, window: int) -> np.ndarray:
    """What the sprite under every cell of a hard scene has done since the frame before, `[frames, 64]`; `IGNORED` in
    the first frames of context and window, which have none before them."""
    cells = coverage(masks)
    owner = np.where(cells.max(0) > 0.2, cells.argmax(0), BACKGROUND)
    doing = np.stack([*(states(sprite, times) for sprite in scene.sprites), np.full(len(times), BACKGROUND)])
    labels = doing[owner, np.arange(len(times))[:, None]]
    labels[[0, len(times) - window]] = IGNORED
    return labels
